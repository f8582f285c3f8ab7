/* Bugs in the library, which end in a code and not in the host's death. The library takes a clock that fails for a bug, so a clock is made to fail. */

#include "harness.h"

/* Every call that changes something is refused from here on, reading ends at what is durable, and closing says that something was wrong. */
static void expect_unusable(wal_t *wal, uint64_t durable)
{
  const wal_entry_t entry = {NULL, "v", 0, 1, WAL_OP_PUT, 0};
  uint64_t number = 99;
  wal_stat_t stat;
  STATUS(WAL_E_FAILED, wal_append(wal, WAL_OP_PUT, NULL, 0, "v", 1, &number, &err));
  STATUS(WAL_E_FAILED, wal_append_batch(wal, &entry, 1, 0, &number, &err));
  STATUS(WAL_E_FAILED, wal_sync(wal, WAL_SEQ_LAST, &err));
  STATUS(WAL_E_FAILED, wal_flush(wal, &err));
  STATUS(WAL_E_FAILED, wal_checkpoint(wal, 0, &number, &err));
  STATUS(WAL_E_FAILED, wal_truncate(wal, 1, WAL_TRUNCATE_UNCHECKED, &err));
  STATUS(WAL_E_FAILED, wal_wait_durable(wal, wal_last_seq(wal) + 1, WAL_WAIT_FOREVER, &err));
  EQUAL(number, 99);
  OK(wal_stat(wal, &stat, sizeof stat, &err));
  EQUAL(stat.poisoned, 1);
  EQUAL(wal_durable_seq(wal), durable);
  expect_numbers(wal, 0, 1, durable);
  STATUS(WAL_E_FAILED, wal_close(wal, &err));
}

/* Everything acknowledged is there, and the log goes on. */
static void expect_whole(const char *log, uint64_t acknowledged)
{
  wal_report_t report;
  wal_t *wal = open_log(log, NULL);
  OK(wal_report(wal, &report, sizeof report, &err));
  EQUAL(report.clean, 0);
  uint64_t last = wal_last_seq(wal);
  CHECK(last >= acknowledged);
  expect_numbers(wal, 0, 1, last);
  fill_to(wal, last + 10, 100);
  close_log(wal);
}

static void a_panic_in_an_append_poisons_the_handle(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = defaults();
  uint64_t seq = 99;
  options.sync_mode = WAL_SYNC_BATCH;
  options.batch_interval_us = 50000000;
  wal_t *wal = open_log(log, &options);
  fill_to(wal, 5, 100);
  close_log(wal);
  wal = open_log(log, &options);
  /* The first append asks when its sync is due. */
  fault_clock(CLOCK_FAILS_HERE);
  STATUS(WAL_E_PANIC, put_number(wal, 6, 100, &seq, &err));
  fault_clock(CLOCK_RUNS);
  MESSAGE_HAS("a bug in this library was caught");
  EQUAL(seq, 99);
  expect_unusable(wal, 5);
  expect_whole(log, 5);
}

typedef struct {
  wal_t *wal;
  wal_status_t status;
} waiter_t;

static void *wait_for_more(void *context)
{
  waiter_t *waiter = context;
  waiter->status = wal_wait_durable(waiter->wal, 1000000, WAL_WAIT_FOREVER, NULL);
  return NULL;
}

static bool is_poisoned(wal_t *wal)
{
  wal_stat_t stat;
  OK(wal_stat(wal, &stat, sizeof stat, &err));
  return stat.poisoned != 0;
}

/* Nobody would sync any more what the mode promises to sync. */
static void a_panic_of_the_background_thread_poisons_the_handle(const char *dir)
{
  const char *log = path_in(dir, "log");
  uint64_t n = 0;
  wal_t *wal = open_log(log, NULL);
  waiter_t waiter = {wal, WAL_OK};
  fill_to(wal, 5, 100);
  pthread_t thread = start(wait_for_more, &waiter);
  fault_clock(CLOCK_FAILS_ELSEWHERE);
  /* Wakes the thread, if it waits already. */
  wal_status_t status = wal_checkpoint(wal, WAL_SEQ_LAST, &n, NULL);
  CHECK(status == WAL_OK || status == WAL_E_FAILED);
  status = wal_truncate(wal, n, 0, NULL);
  CHECK(status == WAL_OK || status == WAL_E_FAILED);
  wal_status_t appended = WAL_OK;
  while (!is_poisoned(wal) && appended == WAL_OK) {
    appended = put_number(wal, wal_last_seq(wal) + 1, 100, NULL, NULL);
    sched_yield();
  }
  AWAIT(is_poisoned(wal));
  fault_clock(CLOCK_RUNS);
  join(thread);
  EQUAL(waiter.status, WAL_E_FAILED);
  STATUS(WAL_E_FAILED, wal_append(wal, WAL_OP_PUT, NULL, 0, "v", 1, NULL, &err));
  STATUS(WAL_E_FAILED, wal_close(wal, &err));
  wal = open_log(log, NULL);
  CHECK(wal_last_seq(wal) >= 5);
  close_log(wal);
}

static void a_panic_in_an_opening_leaves_nothing_behind(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = NULL;
  wal_report_t report;
  close_log(open_log(log, NULL));
  fault_clock(CLOCK_FAILS_HERE);
  STATUS(WAL_E_PANIC, wal_open(log, NULL, &wal, &err));
  STATUS(WAL_E_PANIC, wal_inspect(log, NULL, 0, &report, sizeof report, &err));
  fault_clock(CLOCK_RUNS);
  CHECK(wal == NULL);
  OK(wal_inspect(log, NULL, 0, &report, sizeof report, &err));
  close_log(open_log(log, NULL));
}

static void a_panic_in_a_cursor_breaks_that_cursor_alone(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_cursor_t *broken = NULL, *whole = NULL;
  wal_record_t record;
  wal_t *wal = open_log(log, NULL);
  fill_to(wal, 5, 100);
  OK(wal_replay_open(wal, 0, 0, &broken, &err));
  OK(wal_replay_open(wal, 0, 0, &whole, &err));
  EQUAL(drain(broken), 5);
  fault_clock(CLOCK_FAILS_HERE);
  STATUS(WAL_E_PANIC, wal_replay_wait(broken, 1000, &err));
  fault_clock(CLOCK_RUNS);
  STATUS(WAL_E_FAILED, wal_replay_next(broken, &record, &err));
  STATUS(WAL_E_FAILED, wal_replay_wait(broken, 0, &err));
  EQUAL(drain(whole), 5);
  fill_to(wal, 10, 100);
  EQUAL(drain(whole), 5);
  wal_replay_close(broken);
  wal_replay_close(whole);
  close_log(wal);
}

const test_t panic_tests[] = {
    TEST(a_panic_in_an_append_poisons_the_handle),
    TEST(a_panic_of_the_background_thread_poisons_the_handle),
    TEST(a_panic_in_an_opening_leaves_nothing_behind),
    TEST(a_panic_in_a_cursor_breaks_that_cursor_alone),
    NO_MORE_TESTS,
};
