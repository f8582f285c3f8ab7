/* What the hosts on real files share: records that say who wrote them, the ledger of what a log has promised, and a workload. */

#ifndef REAL_H
#define REAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <wal.h>

enum {
  MOST_WRITERS = 4,
  MOST_IN_BATCH = 8,
  MOST_SEQS = 1 << 19,     /* A log whose seqs come near is left for a new one. */
  LARGEST_SEGMENT = 1 << 16
};

/* ---- support.c: small things ---- */

/* The program cannot do its work, which says nothing about the log. */
_Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Numbers that follow from a seed. */
uint64_t mix(uint64_t number);
uint64_t draw(uint64_t *random, uint64_t below);
/* From 1 to `most`; each power of two as often as the next. */
uint64_t draw_log(uint64_t *random, uint64_t most);

uint64_t now_us(void);
void sleep_us(uint64_t us);

/* ---- ledger.c: what the log has promised, and whether it is kept ---- */

/* What one process tells about its dealings with the log; what is told before a call says `about to`. Shorter than PIPE_BUF: written to a pipe, one
 * arrives whole or not at all. */
typedef struct {
  enum {
    OPENED = 1,    /* wal_open is back; `seq` is the last one. */
    WORKING,       /* From here on the log may end elsewhere. */
    APPENDING,     /* `writer` is about to append records up to its `counter`. */
    WITHDRAWN,     /* The log has refused the one behind `counter`: it is not there. */
    APPENDED,      /* They are in the log: `count` of them, the first has number `counter` and `seq`. Not a promise. */
    SAFE,          /* Whatever stands at `seq` or below must survive. */
    CHECKPOINTED,  /* wal_checkpoint(`covered`) gave the n `seq`, and the store has saved it. */
    TRUNCATING,    /* wal_truncate(`seq`) is about to be called. */
    TRUNCATED      /* It is back. */
  } kind;
  uint32_t writer;
  uint32_t count;
  uint32_t reserved;
  uint64_t counter;
  uint64_t seq;
  uint64_t covered;
} message_t;

/* A record, by who wrote it: every byte follows from this, and this can be read from its bytes. */
typedef struct {
  uint64_t nonce;       /* The log's. */
  uint64_t counter;     /* The writer's own numbers, from 1 without gaps. */
  uint32_t writer;
  uint32_t batch_at;    /* The place in its batch, */
  uint32_t batch_count; /* which has so many records. */
  uint32_t value_len;
} identity_t;

enum { KEY_BYTES = 16, LEAST_VALUE_BYTES = sizeof(identity_t) + 8 };

/* Writes KEY_BYTES and identity->value_len bytes. */
void write_record(const identity_t *identity, unsigned char *key, unsigned char *value);

typedef struct {
  enum { UNKNOWN, DATA, CHECKPOINT } kind;
  uint32_t writer;
  uint32_t batch_at;
  uint32_t batch_count;
  uint64_t counter;
} entry_t;

typedef struct {
  uint64_t appended;                /* Records that were appended, as far as has been told. */
  uint64_t promises;                /* Acknowledged records that an examination looked for first, */
  uint64_t seen_again;              /* later ones again; */
  uint64_t in_doubt;                /* and records that were there without having been acknowledged. */
  uint64_t complaints;
  bool silent;                      /* They are wanted, and not printed. */
  char first_complaint[256];

  /* The log's; the next log's are 0 again. */
  uint64_t nonce;
  bool has_id;
  uint8_t log_id[16];
  uint64_t settled;                 /* At the last examination the log ended here: all entries up to here are known. */
  uint64_t opened;                  /* What the openings since then said is the last seq; UINT64_MAX: nothing yet. */
  uint64_t openings;                /* How many openings have said so. */
  uint64_t safe;                    /* Everything up to here must survive. */
  uint64_t highest;                 /* No entry above this one is known. */
  uint64_t checkpoint;              /* The highest n, */
  uint64_t stored;                  /* and the highest that the store has saved. */
  uint64_t forgotten;               /* A truncation up to here is acknowledged, */
  uint64_t forgetting;              /* one up to here was asked for. */
  uint64_t floor;                   /* The entries up to here are no longer looked at. */
  uint64_t announced[MOST_WRITERS]; /* The highest number that each writer may have appended, */
  uint64_t started[MOST_WRITERS];   /* and the first one since the last examination. */
  entry_t entries[MOST_SEQS];
} ledger_t;

/* A ledger that forked processes share; with a path it is a file, which is made or continued. */
ledger_t *ledger_at(const char *path);
/* Another log begins. */
void ledger_begin(ledger_t *ledger, uint64_t nonce);
void ledger_note(ledger_t *ledger, const message_t *message);

/* Options with what the ledger knows: the n that the store has saved, the log's id. */
void ledger_options(const ledger_t *ledger, wal_options_t *options);

/* Compares an opened log with everything that it has promised. What is found becomes a promise: it has been shown. Complaints are printed and
 * counted. */
void ledger_examine(ledger_t *ledger, wal_t *wal);

void complain(ledger_t *ledger, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- host.c: threads that append, synchronise, checkpoint, truncate and read ---- */

typedef struct {
  uint32_t sync_mode;
  uint32_t writers;
  uint64_t segment_size;
  uint32_t recycle_segments;
  uint32_t option_flags;
  bool power;       /* Only what is synced is safe; otherwise also what the system has been handed. */
  bool expect_end;  /* The threads end at the first error instead of taking it for a bug. */
  bool early;       /* A host that is wrong on purpose: it says that a record is safe before it has appended it. */
} plan_t;

typedef struct {
  const plan_t *plan;
  wal_t *wal;
  uint64_t nonce;
  uint64_t seed;
  uint64_t next_counter[MOST_WRITERS];
  /* Called by many threads at once. */
  void (*tell)(void *context, const message_t *message);
  void *context;
  atomic_uint writing; /* Writers that have not met an error. */
} host_t;

wal_options_t options_of(const plan_t *plan);

/* Tells that the log is open, and works on it; returns when every writer has met an error. */
void host_run(host_t *host);

/* Appends `records` records, one at a time, as writer 0, and makes them safe. WAL_OK, or the error that ended it. */
wal_status_t host_append(host_t *host, uint64_t records);

#endif
