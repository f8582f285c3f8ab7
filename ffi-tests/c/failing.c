/* Disks that fail and disks that are full. The faults are planted in the calls that the library makes: see harness.h. */

#include "harness.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

/* A log without its background thread, whose calls would be met instead of those that are meant. */
static wal_t *open_quiet(const char *dir, uint32_t sync_mode)
{
  wal_options_t options = defaults();
  options.sync_mode = sync_mode;
  options.option_flags = WAL_OPTION_NO_THREAD;
  return open_log(dir, &options);
}

/* Everything that writes must be refused now. */
static void expect_poisoned(wal_t *wal)
{
  const wal_entry_t entry = {NULL, "v", 0, 1, WAL_OP_PUT, 0};
  uint64_t number = 99;
  wal_stat_t stat;
  STATUS(WAL_E_FAILED, wal_append(wal, WAL_OP_PUT, NULL, 0, "v", 1, &number, &err));
  /* Whoever comes later learns why, too. */
  CHECK(err.os_error != 0);
  STATUS(WAL_E_FAILED, wal_append_batch(wal, &entry, 1, WAL_APPEND_ASYNC, &number, &err));
  STATUS(WAL_E_FAILED, wal_sync(wal, WAL_SEQ_LAST, &err));
  STATUS(WAL_E_FAILED, wal_flush(wal, &err));
  STATUS(WAL_E_FAILED, wal_checkpoint(wal, 0, &number, &err));
  STATUS(WAL_E_FAILED, wal_truncate(wal, 1, WAL_TRUNCATE_UNCHECKED, &err));
  STATUS(WAL_E_FAILED, wal_wait_durable(wal, wal_durable_seq(wal) + 1, WAL_WAIT_FOREVER, &err));
  EQUAL(number, 99);
  OK(wal_stat(wal, &stat, sizeof stat, &err));
  EQUAL(stat.poisoned, 1);
}

static void a_failed_sync_poisons_the_handle(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = open_quiet(log, WAL_SYNC_ALWAYS);
  wal_cursor_t *cursor = NULL, *after = NULL;
  wal_record_t record;
  uint64_t seq = 99;
  fill_to(wal, 5, 20);
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  OK(wal_replay_next(cursor, &record, &err));
  fault_fail(CALL_SYNC, 1, EIO, false);
  STATUS(WAL_E_FAILED, put_number(wal, 6, 20, &seq, &err));
  ERR_SEQS(6, 6);
  EQUAL(err.os_error, EIO);
  EQUAL(err.segment, 1);
  MESSAGE_HAS("/log/0000000001.wal: a write or sync failed; close the log and open it again");
  EQUAL(seq, 99);
  EQUAL(fault_clear(), 1);
  /* The disk works again, and would answer a second sync with success. */
  expect_poisoned(wal);
  EQUAL(wal_durable_seq(wal), 5);
  /* What is durable can still be read, by old cursors and new ones. */
  EQUAL(drain(cursor), 4);
  STATUS(WAL_E_FAILED, wal_replay_wait(cursor, WAL_WAIT_FOREVER, &err));
  wal_replay_close(cursor);
  OK(wal_replay_open(wal, 2, WAL_REPLAY_UNSYNCED, &after, &err));
  EQUAL(drain(after), 3);
  wal_replay_close(after);
  STATUS(WAL_E_FAILED, wal_close(wal, &err));
  wal_report_t report;
  wal = open_log(log, NULL);
  OK(wal_report(wal, &report, sizeof report, &err));
  EQUAL(report.clean, 0);
  uint64_t last = wal_last_seq(wal);
  CHECK(last == 5 || last == 6);
  expect_numbers(wal, 0, 1, last);
  EQUAL(put(wal, "on"), last + 1);
  close_log(wal);
}

typedef struct {
  wal_t *wal;
  wal_cursor_t *cursor;
  uint64_t number;
  uint64_t seq;
  wal_status_t status;
  wal_error_t error;
} call_t;

static void *append_one(void *context)
{
  call_t *call = context;
  call->status = put_number(call->wal, call->number, 20, &call->seq, &call->error);
  return NULL;
}

static void *wait_for_one(void *context)
{
  call_t *call = context;
  call->status = wal_wait_durable(call->wal, call->number, WAL_WAIT_FOREVER, &call->error);
  return NULL;
}

static void *wait_for_more(void *context)
{
  call_t *call = context;
  call->status = wal_replay_wait(call->cursor, WAL_WAIT_FOREVER, &call->error);
  return NULL;
}

static void a_failed_sync_reaches_everybody_who_waits_for_it(const char *dir)
{
  enum { FOLLOWERS = 5 };
  const char *log = path_in(dir, "log");
  wal_t *wal = open_quiet(log, WAL_SYNC_ALWAYS);
  fill_to(wal, 3, 20);
  call_t calls[FOLLOWERS + 1], durable = {.wal = wal, .number = 4}, more = {.wal = wal};
  pthread_t threads[FOLLOWERS + 1];
  OK(wal_replay_open(wal, 0, 0, &more.cursor, &err));
  EQUAL(drain(more.cursor), 3);
  /* The leader's sync is held; followers come while it is under way. */
  fault_hold(CALL_SYNC);
  calls[0] = (call_t){.wal = wal, .number = 100};
  threads[0] = start(append_one, &calls[0]);
  fault_await_held();
  pthread_t waiter = start(wait_for_one, &durable), reader = start(wait_for_more, &more);
  for (uint64_t at = 1; at <= FOLLOWERS; at++) {
    calls[at] = (call_t){.wal = wal, .number = 100 + at};
    threads[at] = start(append_one, &calls[at]);
  }
  AWAIT(wal_last_seq(wal) == 4 + FOLLOWERS);
  fault_release(EIO);
  for (int at = 0; at <= FOLLOWERS; at++) {
    join(threads[at]);
    EQUAL(calls[at].status, WAL_E_FAILED);
    EQUAL(calls[at].error.code, WAL_E_FAILED);
    EQUAL(calls[at].error.seq, 4);
    EQUAL(calls[at].error.seq_last, 4 + FOLLOWERS);
  }
  join(waiter);
  join(reader);
  EQUAL(durable.status, WAL_E_FAILED);
  EQUAL(more.status, WAL_E_FAILED);
  fault_clear();
  EQUAL(wal_durable_seq(wal), 3);
  expect_poisoned(wal);
  EQUAL(drain(more.cursor), 0);
  wal_replay_close(more.cursor);
  STATUS(WAL_E_FAILED, wal_close(wal, &err));
  wal = open_log(log, NULL);
  CHECK(wal_last_seq(wal) >= 3);
  wal_cursor_t *cursor = NULL;
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  EQUAL(drain(cursor), wal_last_seq(wal));
  wal_replay_close(cursor);
  close_log(wal);
}

static void many_appends_share_a_sync(const char *dir)
{
  enum { FOLLOWERS = 5 };
  wal_t *wal = open_quiet(path_in(dir, "log"), WAL_SYNC_ALWAYS);
  wal_stat_t before, after;
  fill_to(wal, 3, 20);
  OK(wal_stat(wal, &before, sizeof before, &err));
  call_t calls[FOLLOWERS + 1];
  pthread_t threads[FOLLOWERS + 1];
  fault_hold(CALL_SYNC);
  calls[0] = (call_t){.wal = wal, .number = 100};
  threads[0] = start(append_one, &calls[0]);
  fault_await_held();
  for (uint64_t at = 1; at <= FOLLOWERS; at++) {
    calls[at] = (call_t){.wal = wal, .number = 100 + at};
    threads[at] = start(append_one, &calls[at]);
  }
  AWAIT(wal_last_seq(wal) == 4 + FOLLOWERS);
  /* What was written while a sync ran is not durable by it. */
  EQUAL(wal_durable_seq(wal), 3);
  fault_release(0);
  uint64_t seen = 0;
  for (int at = 0; at <= FOLLOWERS; at++) {
    join(threads[at]);
    EQUAL(calls[at].status, WAL_OK);
    seen |= (uint64_t)1 << calls[at].seq;
  }
  EQUAL(seen, 0x1F0 | (uint64_t)1 << 9);
  EQUAL(wal_durable_seq(wal), 9);
  OK(wal_stat(wal, &after, sizeof after, &err));
  EQUAL(after.syncs - before.syncs, 2);
  fault_clear();
  close_log(wal);
}

static void a_shutdown_amid_a_sync_lets_it_complete(const char *dir)
{
  wal_t *wal = open_quiet(path_in(dir, "log"), WAL_SYNC_ALWAYS);
  fill_to(wal, 3, 20);
  call_t leader = {.wal = wal, .number = 4};
  fault_hold(CALL_SYNC);
  pthread_t thread = start(append_one, &leader);
  fault_await_held();
  OK(wal_shutdown(wal, &err));
  fault_release(0);
  join(thread);
  CHECK(leader.status == WAL_OK || leader.status == WAL_E_CLOSED);
  fault_clear();
  close_log(wal);
  wal = open_log(path_in(dir, "log"), NULL);
  if (leader.status == WAL_OK) EQUAL(wal_last_seq(wal), 4);
  expect_numbers(wal, 0, 1, wal_last_seq(wal));
  close_log(wal);
}

static void a_failed_write_is_taken_back(const char *dir)
{
  const char *log = path_in(dir, "log");
  const uint32_t modes[] = {WAL_SYNC_ALWAYS, WAL_SYNC_OS};
  for (int at = 0; at < 2; at++) {
    wal_t *wal = open_quiet(log, modes[at]);
    uint64_t seq = 99, before = wal_last_seq(wal);
    fill_to(wal, before + 3, 20);
    for (uint64_t round = 0; round < 3; round++) {
      fault_fail(CALL_WRITE, 1, EIO, false);
      STATUS(WAL_E_IO, put_number(wal, 77, 20, &seq, &err));
      EQUAL(err.os_error, EIO);
      MESSAGE_HAS(".wal");
      CHECK(err.segment > 0);
      EQUAL(seq, 99);
      fault_clear();
      EQUAL(wal_last_seq(wal), before + 3 + round);
      /* Its seq goes to the next. */
      fill_to(wal, before + 4 + round, 20);
    }
    close_log(wal);
  }
  wal_t *wal = open_log(log, NULL);
  EQUAL(wal_last_seq(wal), 12);
  expect_numbers(wal, 0, 1, 12);
  close_log(wal);
}

static void a_failed_write_that_cannot_be_taken_back_poisons_the_handle(const char *dir)
{
  const char *log = path_in(dir, "log");
  const int errors[] = {EIO, EFBIG, ENOSPC};
  for (int at = 0; at < 3; at++) {
    wal_t *wal = open_quiet(log, WAL_SYNC_ALWAYS);
    uint64_t seq = 99;
    fill_to(wal, 3, 20);
    /* The write fails, and so does overwriting with zeros what it may have left. */
    fault_fail(CALL_WRITE, 1, errors[at], true);
    STATUS(WAL_E_FAILED, put_number(wal, 4, 20, &seq, &err));
    ERR_SEQS(4, 4);
    EQUAL(seq, 99);
    fault_clear();
    expect_poisoned(wal);
    expect_numbers(wal, 0, 1, 3);
    STATUS(WAL_E_FAILED, wal_close(wal, &err));
    wal = open_log(log, NULL);
    expect_numbers(wal, 0, 1, wal_last_seq(wal));
    close_log(wal);
    remove_directory(log);
  }
}

static void a_failed_write_of_accepted_records_poisons_the_handle(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = open_quiet(log, WAL_SYNC_NONE);
  fill_to(wal, 3, 20);
  OK(wal_sync(wal, WAL_SEQ_LAST, &err));
  fill_to(wal, 7, 20);
  fault_fail(CALL_WRITE, 1, EIO, false);
  STATUS(WAL_E_FAILED, wal_sync(wal, WAL_SEQ_LAST, &err));
  ERR_SEQS(4, 7);
  fault_clear();
  expect_poisoned(wal);
  expect_numbers(wal, 0, 1, 3);
  STATUS(WAL_E_FAILED, wal_close(wal, &err));
  wal = open_log(log, NULL);
  CHECK(wal_last_seq(wal) >= 3 && wal_last_seq(wal) <= 7);
  expect_numbers(wal, 0, 1, wal_last_seq(wal));
  close_log(wal);
}

static void a_failed_sync_at_close_is_told(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = open_quiet(log, WAL_SYNC_OS);
  fill_to(wal, 3, 20);
  OK(wal_sync(wal, WAL_SEQ_LAST, &err));
  fill_to(wal, 5, 20);
  fault_fail(CALL_SYNC, 1, EIO, false);
  err_clear();
  CHECK(wal_close(wal, &err) < 0);
  CHECK(err.code == WAL_E_FAILED || err.code == WAL_E_IO);
  fault_clear();
  wal_report_t report;
  wal = open_log(log, NULL);
  OK(wal_report(wal, &report, sizeof report, &err));
  EQUAL(report.clean, 0);
  CHECK(wal_last_seq(wal) >= 3);
  expect_numbers(wal, 0, 1, wal_last_seq(wal));
  close_log(wal);
}

static void a_checkpoint_that_fails_licenses_nothing(const char *dir)
{
  for (unsigned nth = 1; nth <= 12; nth++) {
    char name[16];
    snprintf(name, sizeof name, "log%u", nth);
    const char *log = path_in(dir, name);
    wal_t *wal = open_quiet(log, WAL_SYNC_ALWAYS);
    fill_to(wal, 5, 20);
    uint64_t n = 99;
    fault_fail(CALL_WRITE | CALL_SYNC, nth, EIO, false);
    err_clear();
    wal_status_t status = wal_checkpoint(wal, 5, &n, &err);
    if (fault_clear() < nth) {
      EQUAL(status, WAL_OK);
      CHECK(nth > 4);
      close_log(wal);
      return;
    }
    CHECK(status == WAL_E_IO || status == WAL_E_FAILED);
    EQUAL(n, 99);
    err_clear();
    status = wal_truncate(wal, 5, 0, &err);
    CHECK(status == WAL_E_NOT_CHECKPOINTED || status == WAL_E_FAILED);
    EQUAL(wal_checkpoint_seq(wal), 0);
    expect_numbers(wal, 0, 1, 5);
    err_clear();
    if (wal_close(wal, &err) != WAL_OK) EQUAL(err.code, WAL_E_FAILED);
    wal = open_log(log, NULL);
    expect_numbers(wal, 0, 1, 5);
    close_log(wal);
  }
  FAIL("a checkpoint has more calls than that?");
}

/* ---- Each call fails once, and each for good ---- */

/* Runs a script in which anything may fail; what was acknowledged must be there afterwards, and what was forgotten must not hurt. */
static unsigned run_with_fault(const char *log, unsigned nth, int error_number, bool for_good)
{
  enum { RECORDS = 60 };
  wal_options_t options = segments_of(4096);
  wal_t *wal = NULL;
  uint64_t acknowledged[2 * RECORDS] = {0}, last = 0, floor = 0, n = 0;
  bool refused[RECORDS + 1] = {false};
  options.option_flags = WAL_OPTION_NO_THREAD;
  options = as_asked(&options);
  fault_fail(CALL_ANY, nth, error_number, for_good);
  err_clear();
  wal_status_t status = wal_open(log, &options, &wal, &err);
  if (status != WAL_OK) {
    CHECK(wal == NULL && err.code == status && err.message[0] != 0);
    CHECK(status == WAL_E_IO || status == WAL_E_NO_SPACE || status == WAL_E_FAILED);
  } else {
    for (uint64_t at = 1; at <= RECORDS; at++) {
      uint64_t seq = 0;
      wal_error_t error = {.code = 0};
      status = put_number(wal, 1000 + at, 200, &seq, &error);
      if (status == WAL_OK) {
        CHECK(seq == last + 1 || seq > last);
        last = seq;
        acknowledged[seq] = 1000 + at;
      } else {
        CHECK(status == WAL_E_IO || status == WAL_E_NO_SPACE || status == WAL_E_FAILED);
        CHECK(error.code == status && error.message[0] != 0);
        refused[at] = status != WAL_E_FAILED;
      }
      if (at % 20 != 0 || last == 0) continue;
      if (wal_checkpoint(wal, last, &n, NULL) != WAL_OK) continue;
      CHECK(n >= last);
      status = wal_truncate(wal, n - 10, 0, NULL);
      if (status == WAL_OK) floor = n - 10;
      /* A truncation that failed may have happened. */
      else if (n - 10 > floor) floor = n - 10;
      last = wal_last_seq(wal);
    }
    status = wal_close(wal, NULL);
    CHECK(status == WAL_OK || status == WAL_E_IO || status == WAL_E_NO_SPACE || status == WAL_E_FAILED);
  }
  unsigned seen = fault_clear();
  wal = open_log(log, NULL);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  uint64_t next = wal_oldest_seq(wal);
  CHECK(next <= floor + 1);
  OK(wal_replay_open(wal, WAL_REPLAY_OLDEST, 0, &cursor, &err));
  for (;;) {
    err_clear();
    status = wal_replay_next(cursor, &record, &err);
    uint64_t seq = status == WAL_OK ? record.seq : last + 1;
    if (status != WAL_END) status_at(status, WAL_OK, "wal_replay_next", __FILE__, __LINE__);
    for (; next < seq; next++) {
      if (next < 2 * RECORDS && acknowledged[next] != 0) FAIL("fault %u: record %llu is lost", nth, (unsigned long long)next);
    }
    if (status == WAL_END) break;
    uint64_t number = number_of(&record);
    CHECK(number > 1000 && number <= 1000 + RECORDS);
    if (refused[number - 1000]) FAIL("fault %u: an append returned an error that says it is not there, and it is seq %llu", nth, (unsigned long long)seq);
    if (seq < 2 * RECORDS && acknowledged[seq] != 0) EQUAL(number, acknowledged[seq]);
    next = seq + 1;
  }
  wal_replay_close(cursor);
  put(wal, "on");
  close_log(wal);
  return seen;
}

static void fail_every_call(const char *dir, int error_number, bool for_good)
{
  const char *log = path_in(dir, "log");
  for (unsigned nth = 1;; nth += scaled(10) == 1 ? 17 : 1) {
    unsigned seen = run_with_fault(log, nth, error_number, for_good);
    remove_directory(log);
    if (seen < nth) {
      CHECK(nth > 100);
      return;
    }
  }
}

static void every_call_fails_once(const char *dir)
{
  fail_every_call(dir, EIO, false);
}

static void every_call_fails_for_good(const char *dir)
{
  fail_every_call(dir, EIO, true);
}

static void every_call_lacks_space_once(const char *dir)
{
  fail_every_call(dir, ENOSPC, false);
}

static void every_call_lacks_space_for_good(const char *dir)
{
  fail_every_call(dir, ENOSPC, true);
}

static void an_interrupted_call_is_repeated(const char *dir)
{
  const char *log = path_in(dir, "log");
  for (unsigned nth = 1;; nth += 3) {
    uint64_t n = 0;
    wal_options_t options = segments_of(4096);
    fault_fail(CALL_ANY, nth, EINTR, false);
    wal_t *wal = open_log(log, &options);
    fill_to(wal, 60, 100);
    OK(wal_checkpoint(wal, 60, &n, &err));
    OK(wal_truncate(wal, 30, 0, &err));
    close_log(wal);
    if (fault_clear() < nth) break;
    wal = open_log(log, NULL);
    expect_numbers(wal, 30, 31, 60);
    close_log(wal);
    remove_directory(log);
  }
}

/* ---- Full disks ---- */

/* Appends records of 100 bytes until there is no space; returns the last acknowledged seq. The log must name a file and be as before. */
static uint64_t append_until_full(wal_t *wal, uint64_t most)
{
  for (;;) {
    uint64_t last = wal_last_seq(wal), seq = 99;
    CHECK(last < most);
    err_clear();
    wal_status_t status = put_number(wal, last + 1, 100, &seq, &err);
    if (status == WAL_OK) {
      EQUAL(seq, last + 1);
      continue;
    }
    status_at(status, WAL_E_NO_SPACE, "wal_append", __FILE__, __LINE__);
    CHECK(err.os_error == ENOSPC || err.os_error == EFBIG);
    CHECK(strstr(err.message, "00000") != NULL || strstr(err.message, "MANIFEST") != NULL);
    EQUAL(seq, 99);
    EQUAL(wal_last_seq(wal), last);
    EQUAL(wal_durable_seq(wal), last);
    /* Asking again changes nothing. */
    STATUS(WAL_E_NO_SPACE, put_number(wal, last + 1, 100, &seq, &err));
    EQUAL(wal_last_seq(wal), last);
    return last;
  }
}

/* What must work on a full disk, then what works again when `make_space` has been called. */
static void live_on_a_full_disk(const char *log, wal_t *wal, uint64_t last, void (*make_space)(void *), void *context)
{
  uint64_t n = 0;
  expect_numbers(wal, 0, 1, last);
  close_log(wal);
  wal = open_log(log, NULL);
  expect_numbers(wal, 0, 1, last);
  /* Without room for a record the manifest alone holds the declaration, and n is what was covered. */
  OK(wal_checkpoint(wal, last / 2, &n, &err));
  EQUAL(n, last / 2);
  EQUAL(wal_checkpoint_seq(wal), n);
  uint64_t now = wal_last_seq(wal);
  make_space(context);
  uint64_t seq = 0;
  OK(put_number(wal, now + 1, 100, &seq, &err));
  EQUAL(seq, now + 1);
  OK(wal_truncate(wal, last / 2, 0, &err));
  close_log(wal);
  wal = open_with_store(log, last / 2);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  OK(wal_replay_open(wal, last / 2, 0, &cursor, &err));
  for (uint64_t at = last / 2 + 1; at <= last; at++) {
    OK(wal_replay_next(cursor, &record, &err));
    EQUAL(record.seq, at);
    EQUAL(number_of(&record), at);
  }
  EQUAL(drain(cursor), 1);
  wal_replay_close(cursor);
  close_log(wal);
}

static void disk_has_space(void *context)
{
  (void)context;
  fault_full(false);
}

static void a_full_disk_is_found_before_anything_is_written(const char *dir)
{
  const char *log = path_in(dir, "log");
  for (uint32_t flags = 0; flags <= WAL_OPTION_NO_THREAD; flags++) {
    wal_options_t options = segments_of(4096);
    options.option_flags = flags;
    wal_t *wal = open_log(log, &options);
    fill_to(wal, 100, 100);
    fault_full(true);
    uint64_t last = append_until_full(wal, 300);
    live_on_a_full_disk(log, wal, last, disk_has_space, NULL);
    remove_directory(log);
  }
}

static void truncating_makes_room_on_a_full_disk(const char *dir)
{
  wal_options_t options = segments_of(4096);
  options.option_flags = WAL_OPTION_NO_THREAD;
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  fill_to(wal, 300, 100);
  fault_full(true);
  for (int round = 0; round < 5; round++) {
    uint64_t last = append_until_full(wal, 2000), n = 0;
    OK(wal_checkpoint(wal, last, &n, &err));
    OK(wal_truncate(wal, n, 0, &err));
    /* Forgotten segments are written again; no file has to grow. */
    uint64_t next = wal_last_seq(wal) + 1, seq = 0;
    OK(put_number(wal, next, 100, &seq, &err));
    EQUAL(seq, next);
    expect_numbers(wal, n, next, next);
  }
  fault_full(false);
  close_log(wal);
}

static void crash_on_a_full_disk(void *context)
{
  wal_options_t options = segments_of(4096);
  wal_t *wal = open_log(context, &options);
  fill_to(wal, wal_last_seq(wal) + 50, 100);
  fault_full(true);
  append_until_full(wal, 1000);
  die();
}

static void a_crashed_log_opens_on_a_full_disk(const char *dir)
{
  const char *log = path_in(dir, "log");
  child_dies(crash_on_a_full_disk, (void *)log);
  fault_full(true);
  wal_t *wal = open_log(log, NULL);
  uint64_t last = wal_last_seq(wal);
  CHECK(last > 50);
  expect_numbers(wal, 0, 1, last);
  close_log(wal);
  fault_full(false);
  wal = open_log(log, NULL);
  fill_to(wal, last + 10, 100);
  close_log(wal);
}

static void no_log_is_created_on_a_full_disk(const char *dir)
{
  wal_t *wal = NULL;
  fault_full(true);
  STATUS(WAL_E_NO_SPACE, wal_open(path_in(dir, "log"), NULL, &wal, &err));
  CHECK(wal == NULL);
  fault_full(false);
  wal = open_log(path_in(dir, "log"), NULL);
  EQUAL(wal_last_seq(wal), 0);
  EQUAL(put(wal, "first"), 1);
  close_log(wal);
}

static void set_file_limit(rlim_t bytes)
{
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
  limit.rlim_cur = bytes;
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static void lift_file_limit(void *context)
{
  (void)context;
  set_file_limit(RLIM_INFINITY);
}

static void a_limit_on_file_sizes_loses_nothing(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = segments_of(65536);
  uint64_t last = 0, seq = 99;
  signal(SIGXFSZ, SIG_IGN);
  wal_t *wal = open_log(log, &options);
  for (int round = 0; round < 5; round++) {
    /* It cuts through a segment: sooner or later even overwriting is refused. The manifest's pages fit below it. */
    set_file_limit(24000 + 9000 * (rlim_t)round);
    wal_status_t status;
    do {
      err_clear();
      last = wal_last_seq(wal);
      CHECK(last < 10000);
      status = put_number(wal, last + 1, 100, &seq, &err);
    } while (status == WAL_OK);
    CHECK(status == WAL_E_NO_SPACE || status == WAL_E_FAILED);
    if (status == WAL_E_NO_SPACE) {
      EQUAL(err.os_error, EFBIG);
      MESSAGE_HAS("/00000000");
      EQUAL(wal_last_seq(wal), last);
    } else {
      STATUS(WAL_E_FAILED, wal_close(wal, &err));
    }
    lift_file_limit(NULL);
    if (status == WAL_E_FAILED) wal = open_log(log, NULL);
    CHECK(wal_last_seq(wal) >= last);
    expect_numbers(wal, 0, 1, wal_last_seq(wal));
    fill_to(wal, wal_last_seq(wal) + 300, 100);
  }
  close_log(wal);
  wal = open_log(log, NULL);
  expect_numbers(wal, 0, 1, wal_last_seq(wal));
  close_log(wal);
}

static void remove_ballast(void *context)
{
  CHECK(unlink(context) == 0);
}

static void a_small_file_system_that_fills_up(const char *dir)
{
  /* A mount that nobody else sees, and that ends with this process. */
  if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) skip("no mount namespace may be made");
  if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 || mount("wal", dir, "tmpfs", 0, "size=1m") != 0) {
    skip("no file system may be mounted");
  }
  const char *log = path_in(dir, "log"), *ballast = path_in(dir, "ballast");
  static char filling[256 << 10];
  write_bytes(ballast, 0, filling, sizeof filling);
  wal_options_t options = segments_of(65536);
  wal_t *wal = open_log(log, &options);
  uint64_t last = append_until_full(wal, 100000);
  CHECK(last > 1000);
  live_on_a_full_disk(log, wal, last, remove_ballast, (void *)ballast);
}

const test_t failing_tests[] = {
    TEST(a_failed_sync_poisons_the_handle),
    TEST(a_failed_sync_reaches_everybody_who_waits_for_it),
    TEST(many_appends_share_a_sync),
    TEST(a_shutdown_amid_a_sync_lets_it_complete),
    TEST(a_failed_write_is_taken_back),
    TEST(a_failed_write_that_cannot_be_taken_back_poisons_the_handle),
    TEST(a_failed_write_of_accepted_records_poisons_the_handle),
    TEST(a_failed_sync_at_close_is_told),
    TEST(a_checkpoint_that_fails_licenses_nothing),
    TEST(every_call_fails_once),
    TEST(every_call_fails_for_good),
    TEST(every_call_lacks_space_once),
    TEST(every_call_lacks_space_for_good),
    TEST(an_interrupted_call_is_repeated),
    TEST(a_full_disk_is_found_before_anything_is_written),
    TEST(truncating_makes_room_on_a_full_disk),
    TEST(a_crashed_log_opens_on_a_full_disk),
    TEST(no_log_is_created_on_a_full_disk),
    TEST(a_limit_on_file_sizes_loses_nothing),
    TEST(a_small_file_system_that_fills_up),
    NO_MORE_TESTS,
};
