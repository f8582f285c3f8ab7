/* The workload: threads that append records and batches, one that checkpoints and truncates, one that reads along. */
#define _POSIX_C_SOURCE 200809L

#include "real.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNSYNCED_RECORDS = 64, SYNC_INTERVAL_US = 2000, WAIT_US = 1000, PAUSE_US = 3000 };

typedef struct {
  host_t *host;
  uint32_t number; /* Those of writers come first, then the store's, then the reader's. */
  uint64_t random;
} thread_t;

wal_options_t options_of(const plan_t *plan)
{
  wal_options_t options;
  wal_options_init(&options, sizeof options);
  options.sync_mode = plan->sync_mode;
  options.segment_size = plan->segment_size;
  options.recycle_segments = plan->recycle_segments;
  options.option_flags = plan->option_flags;
  if (plan->sync_mode == WAL_SYNC_BATCH) {
    options.batch_records = UNSYNCED_RECORDS;
    options.batch_interval_us = plan->option_flags & WAL_OPTION_NO_THREAD ? 0 : SYNC_INTERVAL_US;
  }
  return options;
}

static void tell(host_t *host, message_t message)
{
  host->tell(host->context, &message);
}

/* The first error ends a thread; where none is expected, it ends everything. */
static bool is_end(const host_t *host, wal_status_t status, const char *call, const wal_error_t *err)
{
  if (status >= 0) return false;
  if (!host->plan->expect_end) {
    fprintf(stderr, "%s: %s: %s\n", call, wal_status_name(status), err->message);
    _Exit(3);
  }
  return true;
}

/* Whether a call that returned this error has perhaps had its effect. Any other error promises that it has not. */
static bool leaves_doubt(wal_status_t status)
{
  return status == WAL_E_FAILED || status == WAL_E_CLOSED || status == WAL_E_PANIC;
}

/* ---- Writers ---- */

/* Appends `count` records from `counter` on, and tells. */
static wal_status_t append(thread_t *thread, uint64_t counter, uint32_t count, uint32_t flags, uint64_t *last_seq)
{
  static _Thread_local unsigned char keys[MOST_IN_BATCH][KEY_BYTES], values[LARGEST_SEGMENT];
  host_t *host = thread->host;
  wal_entry_t entries[MOST_IN_BATCH];
  wal_error_t err;
  wal_status_t status;
  uint64_t room = (host->plan->segment_size - 512 - 4) / count - 12 - KEY_BYTES, used = 0;
  uint64_t most = draw(&thread->random, 8) == 0 ? room - LEAST_VALUE_BYTES : 200;
  for (uint32_t at = 0; at < count; at++) {
    uint32_t len = (uint32_t)(LEAST_VALUE_BYTES + draw(&thread->random, most + 1));
    identity_t identity = {host->nonce, counter + at, thread->number, at, count, len};
    write_record(&identity, keys[at], values + used);
    entries[at] = (wal_entry_t){keys[at], values + used, KEY_BYTES, len, WAL_OP_PUT, 0};
    used += len;
  }
  tell(host, (message_t){.kind = APPENDING, .writer = thread->number, .counter = counter + count - 1});
  if (host->plan->early) tell(host, (message_t){.kind = SAFE, .seq = wal_last_seq(host->wal) + count});
  if (count == 1 && flags == 0) {
    status = wal_append(host->wal, WAL_OP_PUT, keys[0], KEY_BYTES, values, entries[0].value_len, last_seq, &err);
  } else {
    status = wal_append_batch(host->wal, entries, count, flags, last_seq, &err);
  }
  if (is_end(host, status, "append", &err)) {
    if (!leaves_doubt(status)) tell(host, (message_t){.kind = WITHDRAWN, .writer = thread->number, .counter = counter - 1});
    return status;
  }
  tell(host, (message_t){.kind = APPENDED, .writer = thread->number, .counter = counter, .count = count, .seq = *last_seq - count + 1});
  return status;
}

/* What this thread has appended up to `seq` may be safe as it is, and is now and then made so. */
static wal_status_t make_safe(thread_t *thread, uint64_t seq, bool must)
{
  host_t *host = thread->host;
  const plan_t *plan = host->plan;
  wal_error_t err;
  wal_status_t status = WAL_OK;
  bool safe = plan->sync_mode == WAL_SYNC_ALWAYS || (plan->sync_mode == WAL_SYNC_OS && !plan->power);
  switch (must ? 0 : draw(&thread->random, 16)) {
  case 0:
    status = wal_sync(host->wal, seq, &err);
    safe = true;
    break;
  case 1:
    status = wal_flush(host->wal, &err);
    safe = safe || !plan->power;
    break;
  case 2:
    status = wal_wait_durable(host->wal, seq, WAIT_US, &err);
    safe = safe || status == WAL_OK;
    break;
  }
  /* What was safe before a call that failed still is. */
  if (status < 0) safe = plan->sync_mode == WAL_SYNC_ALWAYS;
  if (safe) tell(host, (message_t){.kind = SAFE, .seq = seq});
  return is_end(host, status, "making durable", &err) ? status : WAL_OK;
}

static void write_records(thread_t *thread)
{
  host_t *host = thread->host;
  uint64_t *counter = &host->next_counter[thread->number], seq = 0;
  for (;;) {
    uint32_t count = draw(&thread->random, 3) == 0 ? (uint32_t)draw(&thread->random, MOST_IN_BATCH) + 1 : 1;
    uint32_t flags = draw(&thread->random, 24) == 0 ? WAL_APPEND_SYNC : draw(&thread->random, 24) == 0 ? WAL_APPEND_ASYNC : 0;
    if (append(thread, *counter, count, flags, &seq) != WAL_OK) return;
    *counter += count;
    if (flags == WAL_APPEND_SYNC) tell(host, (message_t){.kind = SAFE, .seq = seq});
    if (flags == 0 && make_safe(thread, seq, false) != WAL_OK) return;
    /* Some are in less of a hurry than others: groups of all sizes come about. */
    if (draw(&thread->random, 8) < thread->number) sleep_us(draw(&thread->random, 300));
  }
}

/* ---- The store, which holds whatever the log holds for sure ---- */

static void flush_store(thread_t *thread)
{
  host_t *host = thread->host;
  wal_error_t err;
  while (host->writing > 0) {
    sleep_us(draw(&thread->random, PAUSE_US));
    uint64_t durable = wal_durable_seq(host->wal), behind = draw(&thread->random, 64), n = 0;
    uint64_t covered = behind >= 32 ? durable : behind < durable ? durable - behind : 0;
    if (is_end(host, wal_checkpoint(host->wal, covered, &n, &err), "wal_checkpoint", &err)) return;
    tell(host, (message_t){.kind = CHECKPOINTED, .covered = covered, .seq = n});
    if (draw(&thread->random, 4) == 0) continue;
    /* The store saves n before it lets the log forget; it need not forget all. */
    uint64_t up_to = draw(&thread->random, 4) == 0 ? n - draw(&thread->random, n + 1) : n;
    tell(host, (message_t){.kind = TRUNCATING, .seq = up_to});
    if (is_end(host, wal_truncate(host->wal, up_to, 0, &err), "wal_truncate", &err)) return;
    tell(host, (message_t){.kind = TRUNCATED, .seq = up_to});
  }
}

/* ---- A reader, whom the truncation must not disturb ---- */

static void read_along(thread_t *thread)
{
  host_t *host = thread->host;
  wal_error_t err;
  wal_record_t record;
  while (host->writing > 0) {
    wal_cursor_t *cursor = NULL;
    wal_status_t status = wal_replay_open(host->wal, WAL_REPLAY_OLDEST, WAL_REPLAY_RAW, &cursor, &err);
    uint64_t before = 0;
    for (uint64_t left = draw_log(&thread->random, 4096); status == WAL_OK && left > 0; left--) {
      status = wal_replay_next(cursor, &record, &err);
      if (status == WAL_OK && before != 0 && record.seq != before + 1) {
        fprintf(stderr, "a cursor went from seq %" PRIu64 " to %" PRIu64 "\n", before, record.seq);
        _Exit(3);
      }
      if (status == WAL_OK) before = record.seq;
      if (status == WAL_END) status = wal_replay_wait(cursor, WAIT_US, &err);
    }
    wal_replay_close(cursor);
    if (is_end(host, status, "replay", &err)) return;
    sleep_us(draw(&thread->random, PAUSE_US));
  }
}

static void *run_thread(void *context)
{
  thread_t *thread = context;
  host_t *host = thread->host;
  if (thread->number < host->plan->writers) {
    write_records(thread);
    host->writing--;
  } else if (thread->number == host->plan->writers) {
    flush_store(thread);
  } else {
    read_along(thread);
  }
  return NULL;
}

void host_run(host_t *host)
{
  pthread_t threads[MOST_WRITERS + 2];
  thread_t contexts[MOST_WRITERS + 2];
  uint32_t count = host->plan->writers + 2;
  host->writing = host->plan->writers;
  tell(host, (message_t){.kind = WORKING});
  for (uint32_t at = 0; at < count; at++) {
    contexts[at] = (thread_t){host, at, mix(host->seed + at)};
    if (pthread_create(&threads[at], NULL, run_thread, &contexts[at]) != 0) give_up("no thread");
  }
  for (uint32_t at = 0; at < count; at++) pthread_join(threads[at], NULL);
}

wal_status_t host_append(host_t *host, uint64_t records)
{
  thread_t thread = {host, 0, mix(host->seed)};
  wal_status_t status = WAL_OK;
  uint64_t seq = wal_last_seq(host->wal);
  tell(host, (message_t){.kind = WORKING});
  for (; records > 0 && status == WAL_OK; records--) {
    status = append(&thread, host->next_counter[0], 1, 0, &seq);
    if (status == WAL_OK) host->next_counter[0]++;
  }
  return status == WAL_OK ? make_safe(&thread, seq, true) : status;
}
