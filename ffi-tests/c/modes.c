/* The four sync modes: what is durable when, and what a process that is killed loses. */

#include "harness.h"

typedef struct {
  const char *dir;
  wal_options_t options;
  uint64_t count;
  /* 0: dies at once; otherwise calls it first. */
  enum { NOTHING, FLUSH, SYNC, SYNC_HALF } then;
} killed_t;

static void append_and_die(void *context)
{
  killed_t *given = context;
  wal_t *wal = open_log(given->dir, &given->options);
  uint64_t first = wal_last_seq(wal);
  fill_to(wal, first + given->count / 2, 60);
  if (given->then == SYNC_HALF) OK(wal_sync(wal, WAL_SEQ_LAST, &err));
  fill_to(wal, first + given->count, 60);
  if (given->then == FLUSH) OK(wal_flush(wal, &err));
  if (given->then == SYNC) OK(wal_sync(wal, WAL_SEQ_LAST, &err));
  die();
}

/* How many records of `count` a killed process leaves. What is left must be a prefix. */
static uint64_t left_of(const char *dir, const char *name, uint32_t mode, uint64_t count, int then)
{
  killed_t given = {path_in(dir, name), segments_of(16384), count, then};
  given.options.sync_mode = mode;
  if (mode == WAL_SYNC_BATCH) given.options.batch_records = 10;
  child_dies(append_and_die, &given);
  wal_t *wal = open_log(given.dir, NULL);
  uint64_t left = wal_last_seq(wal);
  CHECK(left <= count);
  expect_numbers(wal, 0, 1, left);
  EQUAL(put(wal, "next"), left + 1);
  close_log(wal);
  return left;
}

static void always_loses_nothing_with_the_process(const char *dir)
{
  EQUAL(left_of(dir, "one", WAL_SYNC_ALWAYS, 2, NOTHING), 2);
  EQUAL(left_of(dir, "many", WAL_SYNC_ALWAYS, 600, NOTHING), 600);
}

static void os_loses_nothing_with_the_process(const char *dir)
{
  EQUAL(left_of(dir, "one", WAL_SYNC_OS, 2, NOTHING), 2);
  EQUAL(left_of(dir, "many", WAL_SYNC_OS, 3000, NOTHING), 3000);
}

static void batch_loses_no_more_than_its_bound_with_the_process(const char *dir)
{
  CHECK(left_of(dir, "few", WAL_SYNC_BATCH, 8, NOTHING) <= 8);
  for (uint64_t count = 600; count < 610; count++) {
    char name[16];
    snprintf(name, sizeof name, "log%llu", (unsigned long long)count);
    CHECK(left_of(dir, name, WAL_SYNC_BATCH, count, NOTHING) + 10 >= count);
  }
  EQUAL(left_of(dir, "synced", WAL_SYNC_BATCH, 8, SYNC), 8);
  EQUAL(left_of(dir, "flushed", WAL_SYNC_BATCH, 8, FLUSH), 8);
}

static void none_loses_its_buffer_with_the_process(const char *dir)
{
  /* It is in the buffer and nowhere else. */
  EQUAL(left_of(dir, "lost", WAL_SYNC_NONE, 20, NOTHING), 0);
  EQUAL(left_of(dir, "half", WAL_SYNC_NONE, 20, SYNC_HALF), 10);
  EQUAL(left_of(dir, "flushed", WAL_SYNC_NONE, 20, FLUSH), 20);
  EQUAL(left_of(dir, "synced", WAL_SYNC_NONE, 20, SYNC), 20);
  /* A rotation writes the buffer; what is left is a prefix all the same. */
  CHECK(left_of(dir, "many", WAL_SYNC_NONE, 1000, NOTHING) > 500);
}

static void always_is_durable_when_append_returns(const char *dir)
{
  wal_t *wal = open_log(path_in(dir, "log"), NULL);
  for (uint64_t seq = 1; seq <= 20; seq++) {
    put(wal, "x");
    EQUAL(wal_durable_seq(wal), seq);
  }
  close_log(wal);
}

static void batch_leaves_no_more_than_its_bound_unsynced(const char *dir)
{
  wal_options_t options = defaults();
  options.sync_mode = WAL_SYNC_BATCH;
  options.batch_records = 7;
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  unsigned behind = 0;
  for (uint64_t seq = 1; seq <= 50; seq++) {
    put(wal, "x");
    CHECK(seq - wal_durable_seq(wal) < 7);
    behind += seq != wal_durable_seq(wal);
  }
  CHECK(behind > 30);
  /* A larger batch goes alone, once nothing else is at risk. */
  wal_entry_t entries[20];
  for (int at = 0; at < 20; at++) entries[at] = (wal_entry_t){NULL, "v", 0, 1, WAL_OP_PUT, 0};
  uint64_t last = 0;
  OK(wal_append_batch(wal, entries, 20, 0, &last, &err));
  EQUAL(last, 70);
  EQUAL(wal_durable_seq(wal), 70);
  OK(wal_append_batch(wal, entries, 5, 0, &last, &err));
  EQUAL(wal_durable_seq(wal), 70);
  OK(wal_append_batch(wal, entries, 5, 0, &last, &err));
  CHECK(wal_durable_seq(wal) >= 75);
  close_log(wal);
}

static void batch_syncs_when_its_interval_is_over(const char *dir)
{
  wal_options_t options = defaults();
  options.sync_mode = WAL_SYNC_BATCH;
  options.batch_interval_us = 2000;
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  for (uint64_t seq = 1; seq <= 10; seq++) {
    put(wal, "x");
    /* Nobody else asks for a sync. */
    OK(wal_wait_durable(wal, seq, WAL_WAIT_FOREVER, &err));
    EQUAL(wal_durable_seq(wal), seq);
  }
  close_log(wal);
}

static void os_and_none_are_durable_when_asked(const char *dir)
{
  for (uint32_t mode = WAL_SYNC_OS; mode <= WAL_SYNC_NONE; mode++) {
    wal_options_t options = defaults();
    options.sync_mode = mode;
    wal_t *wal = open_log(path_in(dir, mode == WAL_SYNC_OS ? "os" : "none"), &options);
    fill_to(wal, 5, 20);
    EQUAL(wal_durable_seq(wal), 0);
    OK(wal_flush(wal, &err));
    EQUAL(wal_durable_seq(wal), 0);
    OK(wal_sync(wal, 0, &err));
    EQUAL(wal_durable_seq(wal), 0);
    OK(wal_sync(wal, 3, &err));
    CHECK(wal_durable_seq(wal) >= 3);
    STATUS(WAL_E_RANGE, wal_sync(wal, 6, &err));
    STATUS(WAL_E_RANGE, wal_sync(wal, WAL_SEQ_LAST - 1, &err));
    OK(wal_sync(wal, WAL_SEQ_LAST, &err));
    EQUAL(wal_durable_seq(wal), 5);
    wal_stat_t before, after;
    OK(wal_stat(wal, &before, sizeof before, &err));
    OK(wal_sync(wal, WAL_SEQ_LAST, &err));
    OK(wal_sync(wal, 5, &err));
    OK(wal_stat(wal, &after, sizeof after, &err));
    EQUAL(after.syncs, before.syncs);
    close_log(wal);
  }
}

static void os_and_none_sync_in_the_background(const char *dir)
{
  wal_options_t options = segments_of(64 << 20);
  options.sync_mode = WAL_SYNC_OS;
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  /* 17 MiB, of which 16 have to become durable without anybody asking. */
  fill_to(wal, 17, 1 << 20);
  OK(wal_wait_durable(wal, 10, WAL_WAIT_FOREVER, &err));
  close_log(wal);
}

static void a_clean_close_makes_everything_durable(const char *dir)
{
  for (uint32_t mode = WAL_SYNC_ALWAYS; mode <= WAL_SYNC_NONE; mode++) {
    char name[16];
    snprintf(name, sizeof name, "log%u", mode);
    wal_options_t options = segments_of(65536);
    options.sync_mode = mode;
    wal_t *wal = open_log(path_in(dir, name), &options);
    fill_to(wal, 500, 100);
    close_log(wal);
    wal_report_t report;
    wal = open_log(path_in(dir, name), NULL);
    OK(wal_report(wal, &report, sizeof report, &err));
    EQUAL(report.clean, 1);
    EQUAL(wal_durable_seq(wal), 500);
    expect_numbers(wal, 0, 1, 500);
    close_log(wal);
  }
}

const test_t mode_tests[] = {
    TEST(always_loses_nothing_with_the_process),
    TEST(os_loses_nothing_with_the_process),
    TEST(batch_loses_no_more_than_its_bound_with_the_process),
    TEST(none_loses_its_buffer_with_the_process),
    TEST(always_is_durable_when_append_returns),
    TEST(batch_leaves_no_more_than_its_bound_unsynced),
    TEST(batch_syncs_when_its_interval_is_over),
    TEST(os_and_none_are_durable_when_asked),
    TEST(os_and_none_sync_in_the_background),
    TEST(a_clean_close_makes_everything_durable),
    NO_MORE_TESTS,
};
