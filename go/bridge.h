/* What the Go package calls: the functions of wal.h with results by value. An error's details are copied only if there is an error, so that a call
 * that succeeds costs no 320 bytes; a status and a number come back in registers. Bytes are uint8_t here, since cgo looks at what a void pointer
 * points to at every call. */

#ifndef WAL_GO_BRIDGE_H
#define WAL_GO_BRIDGE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wal.h>

typedef struct {
  uint64_t value;
  wal_error_t *error; /* the caller's to free; NULL without an error, or without memory for one */
  wal_status_t status;
} walgo_result_t;

#if defined(__GNUC__)
__attribute__((cold, noinline, unused))
#endif
static wal_error_t *walgo_keep(const wal_error_t *error)
{
  wal_error_t *kept = malloc(sizeof *kept);
  if (kept != NULL) *kept = *error;
  return kept;
}

#define WALGO_RETURN(call)                                      \
  do {                                                          \
    wal_error_t error;                                          \
    wal_error_t *err = &error;                                  \
    walgo_result_t result = {0, NULL, 0};                       \
    uint64_t *value = &result.value;                            \
    (void)value;                                                \
    result.status = (call);                                     \
    if (result.status < 0) result.error = walgo_keep(&error);   \
    return result;                                              \
  } while (0)

/* The same for calls that tell how many: a size_t. */
#define WALGO_RETURN_COUNT(call)                               \
  do {                                                         \
    size_t number = 0;                                         \
    size_t *count = &number;                                   \
    wal_error_t error;                                         \
    wal_error_t *err = &error;                                 \
    walgo_result_t result = {0, NULL, 0};                      \
    result.status = (call);                                    \
    if (result.status < 0) result.error = walgo_keep(&error);  \
    result.value = number;                                     \
    return result;                                             \
  } while (0)

/* Where the log's messages go: into a pipe, so that no thread of C ever runs Go, and a call that has something to tell is one that never calls back. */
typedef struct {
  int file;
  uint64_t dropped;
} walgo_mouth_t;

static inline walgo_mouth_t *walgo_mouth(int file)
{
  walgo_mouth_t *mouth = calloc(1, sizeof *mouth);
  if (mouth != NULL) mouth->file = file;
  return mouth;
}

static inline void walgo_close_mouth(walgo_mouth_t *mouth)
{
  close(mouth->file);
  free(mouth);
}

/* The level, a sentence and a NUL, in one write, which a pipe takes whole or not at all. */
static inline int walgo_write(const walgo_mouth_t *mouth, uint32_t level, const char *message)
{
  char text[1024];
  size_t len = strlen(message);
  if (len > sizeof text - 2) len = sizeof text - 2;
  text[0] = (char)level;
  memcpy(text + 1, message, len);
  text[1 + len] = 0;
  return write(mouth->file, text, len + 2) > 0;
}

/* The library never calls it twice at once. */
static inline void walgo_say(void *context, uint32_t level, const char *message)
{
  walgo_mouth_t *mouth = context;
  if (mouth->dropped > 0) {
    char text[128];
    snprintf(text, sizeof text, "messages that were dropped because the logger was too slow: %llu", (unsigned long long)mouth->dropped);
    if (!walgo_write(mouth, WAL_LOG_WARNING, text)) {
      mouth->dropped++;
      return;
    }
    mouth->dropped = 0;
  }
  if (!walgo_write(mouth, level, message)) mouth->dropped++;
}

static inline walgo_result_t walgo_open(const char *dir, const wal_options_t *options, walgo_mouth_t *mouth, wal_t **wal)
{
  wal_options_t heard = *options;
  if (mouth != NULL) {
    heard.log_callback = walgo_say;
    heard.log_context = mouth;
  }
  WALGO_RETURN(wal_open(dir, &heard, wal, err));
}

static inline walgo_result_t walgo_shutdown(wal_t *wal) { WALGO_RETURN(wal_shutdown(wal, err)); }

static inline walgo_result_t walgo_close(wal_t *wal) { WALGO_RETURN(wal_close(wal, err)); }

static inline walgo_result_t walgo_append(wal_t *wal, uint8_t op, const uint8_t *key, size_t key_len, const uint8_t *bytes,
                                          size_t value_len)
{
  WALGO_RETURN(wal_append(wal, op, key, key_len, bytes, value_len, value, err));
}

/* With flags, which only batches have: a batch of one. */
static inline walgo_result_t walgo_append_flagged(wal_t *wal, uint8_t op, const uint8_t *key, size_t key_len, const uint8_t *bytes,
                                                  size_t value_len, uint32_t flags)
{
  wal_entry_t entry = {key, bytes, key_len, value_len, op, 0};
  WALGO_RETURN(wal_append_batch(wal, &entry, 1, flags, value, err));
}

static inline walgo_result_t walgo_append_packed(wal_t *wal, const wal_packed_entry_t *entries, size_t count, const uint8_t *bytes,
                                                 size_t bytes_len, uint32_t flags)
{
  WALGO_RETURN(wal_append_packed(wal, entries, count, bytes, bytes_len, flags, value, err));
}

static inline walgo_result_t walgo_sync(wal_t *wal, uint64_t seq) { WALGO_RETURN(wal_sync(wal, seq, err)); }

static inline walgo_result_t walgo_flush(wal_t *wal) { WALGO_RETURN(wal_flush(wal, err)); }

static inline walgo_result_t walgo_publish(wal_t *wal) { WALGO_RETURN(wal_publish(wal, err)); }

static inline walgo_result_t walgo_wait_durable(wal_t *wal, uint64_t seq, uint64_t timeout_us)
{
  WALGO_RETURN(wal_wait_durable(wal, seq, timeout_us, err));
}

static inline walgo_result_t walgo_checkpoint(wal_t *wal, uint64_t covered) { WALGO_RETURN(wal_checkpoint(wal, covered, value, err)); }

static inline walgo_result_t walgo_truncate(wal_t *wal, uint64_t up_to, uint32_t flags)
{
  WALGO_RETURN(wal_truncate(wal, up_to, flags, err));
}

static inline walgo_result_t walgo_replay_open(wal_t *wal, uint64_t after, uint32_t flags, wal_cursor_t **cursor)
{
  WALGO_RETURN(wal_replay_open(wal, after, flags, cursor, err));
}

static inline walgo_result_t walgo_replay_next_packed(wal_cursor_t *cursor, wal_packed_record_t *records, size_t capacity, uint8_t *bytes,
                                                      size_t size)
{
  WALGO_RETURN_COUNT(wal_replay_next_packed(cursor, records, capacity, bytes, size, count, err));
}

static inline walgo_result_t walgo_replay_wait(wal_cursor_t *cursor, uint64_t timeout_us)
{
  WALGO_RETURN(wal_replay_wait(cursor, timeout_us, err));
}

static inline walgo_result_t walgo_stat(const wal_t *wal, wal_stat_t *stat) { WALGO_RETURN(wal_stat(wal, stat, sizeof *stat, err)); }

static inline walgo_result_t walgo_report(const wal_t *wal, wal_report_t *report)
{
  WALGO_RETURN(wal_report(wal, report, sizeof *report, err));
}

static inline walgo_result_t walgo_inspect(const char *dir, const wal_options_t *options, uint32_t flags, wal_report_t *report)
{
  WALGO_RETURN(wal_inspect(dir, options, flags, report, sizeof *report, err));
}

static inline walgo_result_t walgo_inspect_damage(const char *dir, const wal_options_t *options, wal_error_t *damages, size_t capacity)
{
  WALGO_RETURN_COUNT(wal_inspect_damage(dir, options, damages, capacity, count, err));
}

static inline walgo_result_t walgo_pin_create(const char *dir, const char *name, uint64_t seq, uint64_t max_bytes, uint32_t flags)
{
  WALGO_RETURN(wal_pin_create(dir, name, seq, max_bytes, flags, value, err));
}

static inline walgo_result_t walgo_pin_advance(const char *dir, const char *name, uint64_t seq)
{
  WALGO_RETURN(wal_pin_advance(dir, name, seq, err));
}

static inline walgo_result_t walgo_pin_drop(const char *dir, const char *name) { WALGO_RETURN(wal_pin_drop(dir, name, err)); }

static inline walgo_result_t walgo_pin_list(const char *dir, wal_pin_t *pins, size_t capacity)
{
  WALGO_RETURN_COUNT(wal_pin_list(dir, pins, capacity, count, err));
}

#endif
