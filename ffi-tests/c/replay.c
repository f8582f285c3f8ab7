/* Replay: where it starts, what it shows, waiting, and what ends it. */

#include "harness.h"

static void after_the_end_it_goes_on_with_what_came_since(const char *dir)
{
  wal_options_t options = segments_of(4096);
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  STATUS(WAL_END, wal_replay_next(cursor, &record, &err));
  for (uint64_t seq = 1; seq <= 300; seq++) {
    fill_to(wal, seq, 100);
    OK(wal_replay_next(cursor, &record, &err));
    EQUAL(record.seq, seq);
    EQUAL(number_of(&record), seq);
    STATUS(WAL_END, wal_replay_next(cursor, &record, &err));
  }
  uint64_t n = 0;
  OK(wal_checkpoint(wal, 300, &n, &err));
  STATUS(WAL_END, wal_replay_next(cursor, &record, &err));
  EQUAL(put(wal, "more"), 302);
  OK(wal_replay_next(cursor, &record, &err));
  EQUAL(record.seq, 302);
  wal_replay_close(cursor);
  close_log(wal);
}

static void a_replay_shows_what_is_durable_and_unsynced_all(const char *dir)
{
  const uint32_t modes[] = {WAL_SYNC_OS, WAL_SYNC_NONE};
  for (int at = 0; at < 2; at++) {
    wal_options_t options = defaults();
    options.sync_mode = modes[at];
    wal_t *wal = open_log(path_in(dir, at ? "none" : "os"), &options);
    wal_cursor_t *durable = NULL, *all = NULL;
    wal_record_t record;
    fill_to(wal, 3, 20);
    EQUAL(wal_durable_seq(wal), 0);
    OK(wal_replay_open(wal, 0, 0, &durable, &err));
    EQUAL(wal_durable_seq(wal), 3);
    OK(wal_replay_open(wal, 0, WAL_REPLAY_UNSYNCED, &all, &err));
    fill_to(wal, 5, 20);
    EQUAL(drain(durable), 3);
    EQUAL(drain(all), 5);
    OK(wal_sync(wal, 4, &err));
    CHECK(drain(durable) >= 1);
    OK(wal_sync(wal, WAL_SEQ_LAST, &err));
    drain(durable);
    fill_to(wal, 6, 20);
    STATUS(WAL_END, wal_replay_next(durable, &record, &err));
    OK(wal_replay_next(all, &record, &err));
    EQUAL(record.seq, 6);
    EQUAL(number_of(&record), 6);
    EQUAL(wal_durable_seq(wal), 5);
    wal_replay_close(durable);
    wal_replay_close(all);
    close_log(wal);
  }
}

static void raw_shows_checkpoints(const char *dir)
{
  wal_t *wal = open_log(path_in(dir, "log"), NULL);
  wal_cursor_t *cursor = NULL;
  uint64_t n = 0;
  for (int round = 0; round < 5; round++) {
    put(wal, "data");
    OK(wal_checkpoint(wal, WAL_SEQ_LAST, &n, &err));
  }
  EQUAL(n, 10);
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  EQUAL(drain(cursor), 5);
  wal_replay_close(cursor);
  OK(wal_replay_open(wal, 0, WAL_REPLAY_RAW, &cursor, &err));
  wal_record_t record;
  for (uint64_t seq = 1; seq <= 10; seq++) {
    OK(wal_replay_next(cursor, &record, &err));
    EQUAL(record.seq, seq);
    EQUAL(record.op, seq % 2 ? WAL_OP_PUT : WAL_OP_CHECKPOINT);
    EQUAL(record.reserved[0] | record.reserved[1] | record.reserved[2], 0);
  }
  STATUS(WAL_END, wal_replay_next(cursor, &record, &err));
  wal_replay_close(cursor);
  close_log(wal);
}

static void many_cursors_read_independently(const char *dir)
{
  enum { CURSORS = 8 };
  wal_options_t options = segments_of(4096);
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  wal_cursor_t *cursors[CURSORS];
  wal_record_t record;
  fill_to(wal, 200, 100);
  for (uint64_t at = 0; at < CURSORS; at++) OK(wal_replay_open(wal, 20 * at, 0, &cursors[at], &err));
  for (uint64_t step = 1; step <= 60; step++) {
    for (uint64_t at = 0; at < CURSORS; at++) {
      OK(wal_replay_next(cursors[at], &record, &err));
      EQUAL(record.seq, 20 * at + step);
      EQUAL(number_of(&record), record.seq);
    }
  }
  for (int at = 0; at < CURSORS; at++) wal_replay_close(cursors[at]);
  close_log(wal);
}

typedef struct {
  wal_t *wal;
  wal_cursor_t *cursor;
  uint64_t seq;
  wal_status_t status;
  int ready;
} waiter_t;

static void *wait_for_durable(void *context)
{
  waiter_t *waiter = context;
  __atomic_store_n(&waiter->ready, 1, __ATOMIC_SEQ_CST);
  waiter->status = wal_wait_durable(waiter->wal, waiter->seq, WAL_WAIT_FOREVER, NULL);
  return NULL;
}

static void *wait_for_more(void *context)
{
  waiter_t *waiter = context;
  __atomic_store_n(&waiter->ready, 1, __ATOMIC_SEQ_CST);
  waiter->status = wal_replay_wait(waiter->cursor, WAL_WAIT_FOREVER, NULL);
  return NULL;
}

static void await_ready(waiter_t *waiter)
{
  AWAIT(__atomic_load_n(&waiter->ready, __ATOMIC_SEQ_CST));
}

static void waiting_ends_when_there_is_more(const char *dir)
{
  wal_t *wal = open_log(path_in(dir, "log"), NULL);
  waiter_t waiter = {.wal = wal};
  wal_record_t record;
  OK(wal_replay_open(wal, 0, 0, &waiter.cursor, &err));
  STATUS(WAL_TIMEOUT, wal_replay_wait(waiter.cursor, 0, &err));
  STATUS(WAL_TIMEOUT, wal_replay_wait(waiter.cursor, 1000, &err));
  for (uint64_t seq = 1; seq <= scaled(100); seq++) {
    waiter.status = 99;
    waiter.ready = 0;
    pthread_t thread = start(wait_for_more, &waiter);
    if (seq % 2) await_ready(&waiter);
    put(wal, "more");
    join(thread);
    EQUAL(waiter.status, WAL_OK);
    /* Having waited is not having read. */
    OK(wal_replay_wait(waiter.cursor, 0, &err));
    OK(wal_replay_next(waiter.cursor, &record, &err));
    EQUAL(record.seq, seq);
    STATUS(WAL_END, wal_replay_next(waiter.cursor, &record, &err));
    STATUS(WAL_TIMEOUT, wal_replay_wait(waiter.cursor, 0, &err));
  }
  wal_replay_close(waiter.cursor);
  close_log(wal);
}

static void waiting_for_a_seq_that_is_yet_to_come(const char *dir)
{
  wal_options_t options = defaults();
  options.sync_mode = WAL_SYNC_NONE;
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  OK(wal_wait_durable(wal, 0, 0, &err));
  OK(wal_wait_durable(wal, WAL_SEQ_LAST, WAL_WAIT_FOREVER, &err));
  STATUS(WAL_TIMEOUT, wal_wait_durable(wal, 1, 0, &err));
  STATUS(WAL_E_RANGE, wal_wait_durable(wal, (uint64_t)1 << 62, 0, &err));
  STATUS(WAL_E_RANGE, wal_wait_durable(wal, WAL_SEQ_LAST - 1, 0, &err));
  STATUS(WAL_TIMEOUT, wal_wait_durable(wal, ((uint64_t)1 << 62) - 1, 1000, &err));
  waiter_t waiter = {.wal = wal, .seq = 5, .status = 99};
  pthread_t thread = start(wait_for_durable, &waiter);
  await_ready(&waiter);
  fill_to(wal, 4, 20);
  OK(wal_sync(wal, WAL_SEQ_LAST, &err));
  fill_to(wal, 5, 20);
  STATUS(WAL_TIMEOUT, wal_wait_durable(wal, WAL_SEQ_LAST, 0, &err));
  STATUS(WAL_TIMEOUT, wal_wait_durable(wal, 5, 0, &err));
  EQUAL(wal_durable_seq(wal), 4);
  OK(wal_sync(wal, 5, &err));
  join(thread);
  EQUAL(waiter.status, WAL_OK);
  OK(wal_wait_durable(wal, WAL_SEQ_LAST, 0, &err));
  close_log(wal);
}

static void a_shutdown_wakes_all_who_wait(const char *dir)
{
  for (int round = 0; round < 20; round++) {
    char name[16];
    snprintf(name, sizeof name, "log%d", round);
    wal_options_t options = segments_of(4096);
    wal_t *wal = open_log(path_in(dir, name), &options);
    waiter_t durable[3], more[3];
    pthread_t threads[6];
    fill_to(wal, 3, 20);
    for (int at = 0; at < 3; at++) {
      durable[at] = (waiter_t){.wal = wal, .seq = 4 + (uint64_t)at, .status = 99};
      more[at] = (waiter_t){.status = 99};
      OK(wal_replay_open(wal, 3, 0, &more[at].cursor, &err));
      EQUAL(drain(more[at].cursor), 0);
      threads[2 * at] = start(wait_for_durable, &durable[at]);
      threads[2 * at + 1] = start(wait_for_more, &more[at]);
    }
    for (int at = 0; at < 3; at++) {
      await_ready(&durable[at]);
      await_ready(&more[at]);
    }
    OK(wal_shutdown(wal, &err));
    for (int at = 0; at < 6; at++) join(threads[at]);
    for (int at = 0; at < 3; at++) {
      EQUAL(durable[at].status, WAL_E_CLOSED);
      EQUAL(more[at].status, WAL_E_CLOSED);
      wal_replay_close(more[at].cursor);
    }
    close_log(wal);
  }
}

static void after_a_shutdown_everything_answers_closed(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = open_log(log, NULL);
  wal_cursor_t *cursor = NULL, *another = NULL;
  wal_record_t record;
  uint64_t number = 99;
  const wal_entry_t entry = {NULL, "v", 0, 1, WAL_OP_PUT, 0};
  fill_to(wal, 3, 20);
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  OK(wal_replay_next(cursor, &record, &err));
  OK(wal_shutdown(wal, &err));
  OK(wal_shutdown(wal, &err));
  STATUS(WAL_E_CLOSED, wal_append(wal, WAL_OP_PUT, NULL, 0, "v", 1, &number, &err));
  STATUS(WAL_E_CLOSED, wal_append_batch(wal, &entry, 1, 0, &number, &err));
  STATUS(WAL_E_CLOSED, wal_sync(wal, WAL_SEQ_LAST, &err));
  STATUS(WAL_E_CLOSED, wal_flush(wal, &err));
  STATUS(WAL_E_CLOSED, wal_wait_durable(wal, 4, 0, &err));
  STATUS(WAL_E_CLOSED, wal_wait_durable(wal, 3, 0, &err));
  STATUS(WAL_E_CLOSED, wal_checkpoint(wal, 3, &number, &err));
  STATUS(WAL_E_CLOSED, wal_truncate(wal, 3, WAL_TRUNCATE_UNCHECKED, &err));
  STATUS(WAL_E_CLOSED, wal_replay_open(wal, 0, 0, &another, &err));
  STATUS(WAL_E_CLOSED, wal_replay_next(cursor, &record, &err));
  STATUS(WAL_E_CLOSED, wal_replay_wait(cursor, 0, &err));
  EQUAL(number, 99);
  close_log(wal);
  /* A cursor outlives the log, and does not hold its lock. */
  STATUS(WAL_E_CLOSED, wal_replay_next(cursor, &record, &err));
  STATUS(WAL_E_CLOSED, wal_replay_wait(cursor, WAL_WAIT_FOREVER, &err));
  wal = open_log(log, NULL);
  expect_numbers(wal, 0, 1, 3);
  STATUS(WAL_E_CLOSED, wal_replay_next(cursor, &record, &err));
  wal_replay_close(cursor);
  close_log(wal);
}

static void a_record_longer_than_the_buffer_is_read_whole(const char *dir)
{
  wal_options_t options = segments_of(8 << 20);
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  for (uint64_t seq = 1; seq <= 6; seq++) OK(put_number(wal, seq, seq % 2 ? 5 << 20 : 100, NULL, &err));
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  for (uint64_t seq = 1; seq <= 6; seq++) {
    OK(wal_replay_next(cursor, &record, &err));
    EQUAL(record.value_len, seq % 2 ? 5 << 20 : 100);
    EQUAL(number_of(&record), seq);
  }
  wal_replay_close(cursor);
  close_log(wal);
}

const test_t replay_tests[] = {
    TEST(after_the_end_it_goes_on_with_what_came_since),
    TEST(a_replay_shows_what_is_durable_and_unsynced_all),
    TEST(raw_shows_checkpoints),
    TEST(many_cursors_read_independently),
    TEST(waiting_ends_when_there_is_more),
    TEST(waiting_for_a_seq_that_is_yet_to_come),
    TEST(a_shutdown_wakes_all_who_wait),
    TEST(after_a_shutdown_everything_answers_closed),
    TEST(a_record_longer_than_the_buffer_is_read_whole),
    NO_MORE_TESTS,
};
