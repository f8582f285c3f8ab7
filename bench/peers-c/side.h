/* A log behind the line protocol that ../src/peers/side.rs describes. */
#ifndef SIDE_H
#define SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOST_THREADS = 64 };

/* What every function answers: done, no such operation, or failed; for the last two side_because has the reason. */
typedef enum { SIDE_OK, SIDE_NO, SIDE_FAILED } side_status;

side_status side_no(const char *why);
side_status side_failed(const char *what, const char *why);

/* Shown to every record of a replay. */
typedef void side_visit(void *context, const void *value, size_t len);

/* One log is open at a time. Functions that are NULL stand for operations that need nothing done; fill and append_group have defaults. */
typedef struct {
  const char *(*version)(void);
  /* durable: an append returns when the record is on the disk. Otherwise as soon as the log has it. */
  side_status (*open)(const char *dir, bool durable);
  /* thread counts the callers from 0. */
  side_status (*append)(int thread, const void *value, size_t len);
  /* Makes count records durable with one sync; callers that meet are led by the first (side.c). NULL: append does its own grouping. */
  side_status (*append_group)(const void *const *values, const size_t *lens, size_t count);
  /* count records in the fastest way. NULL: append, one by one. */
  side_status (*fill)(const void *value, size_t len, uint64_t count);
  side_status (*sync)(void);
  side_status (*replay)(side_visit *visit, void *context);
  side_status (*prepare_forget)(void);
  side_status (*forget_half)(void);
  side_status (*close)(void);
} side_log;

/* Answers until there is nothing more to read; for main to return. */
int side_serve(const side_log *log);

#endif
