/* Many threads on one log. */

#include "harness.h"

enum { APPENDERS = 6, MOST_RECORDS = 200000 };

/* What all threads of a test share. Counters are only added to. */
typedef struct {
  wal_t *wal;
  uint64_t each;            /* Records that every appender appends. */
  uint64_t done;            /* Appenders that have finished. */
  uint64_t replayed;        /* Records that replays have read. */
  wal_cursor_t *follower;   /* Opened before anything can be forgotten. */
  uint64_t floor;           /* Up to where a truncation was asked for. */
  uint64_t acknowledged[MOST_RECORDS]; /* For each seq the number of the record that was acknowledged under it. */
} shared_t;

static uint64_t load(const uint64_t *number)
{
  return __atomic_load_n(number, __ATOMIC_SEQ_CST);
}

typedef struct {
  shared_t *shared;
  uint64_t appender;
} appender_t;

static void acknowledge(shared_t *shared, uint64_t seq, uint64_t number)
{
  CHECK(seq > 0 && seq < MOST_RECORDS);
  uint64_t before = __atomic_exchange_n(&shared->acknowledged[seq], number, __ATOMIC_SEQ_CST);
  if (before != 0) FAIL("seq %llu was given out twice", (unsigned long long)seq);
}

static void *append_on(void *context)
{
  const appender_t *me = context;
  shared_t *shared = me->shared;
  uint64_t previous = 0;
  for (uint64_t count = 1; count <= shared->each;) {
    uint64_t number = me->appender << 32 | count, seq = 0;
    if (count % 10 != 0) {
      OK(put_number(shared->wal, number, 8 + number % 300, &seq, &err));
      acknowledge(shared, seq, number);
      count++;
    } else {
      /* Ten at once, as a batch. */
      uint64_t numbers[10];
      wal_entry_t entries[10];
      for (uint64_t at = 0; at < 10; at++) {
        numbers[at] = number + at;
        entries[at] = (wal_entry_t){&numbers[at], &numbers[at], 8, 8, WAL_OP_USER, 0};
      }
      OK(wal_append_batch(shared->wal, entries, 10, 0, &seq, &err));
      for (uint64_t at = 0; at < 10; at++) acknowledge(shared, seq - 9 + at, numbers[at]);
      count += 10;
    }
    CHECK(seq > previous);
    previous = seq;
  }
  __atomic_fetch_add(&shared->done, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

/* Declares what is durable and forgets half of it, over and over. */
static void *checkpoint_on(void *context)
{
  shared_t *shared = context;
  uint64_t rounds = 0;
  while (load(&shared->done) < APPENDERS || rounds < 3) {
    uint64_t covered = wal_durable_seq(shared->wal), n = 0;
    OK(wal_checkpoint(shared->wal, covered, &n, &err));
    CHECK(n >= covered && n <= wal_last_seq(shared->wal));
    /* Between covered and n there is nothing but CHECKPOINTs. */
    for (uint64_t seq = covered + 1; seq <= n; seq++) EQUAL(load(&shared->acknowledged[seq]), 0);
    if (covered / 2 > load(&shared->floor)) {
      __atomic_store_n(&shared->floor, covered / 2, __ATOMIC_SEQ_CST);
      OK(wal_truncate(shared->wal, covered / 2, 0, &err));
      CHECK(wal_oldest_seq(shared->wal) > covered / 2);
    }
    rounds++;
  }
  return NULL;
}

/* Replays what there is, over and over: seqs rise, numbers of one appender rise, batches are whole. */
static void *replay_on(void *context)
{
  shared_t *shared = context;
  bool more = true;
  while (more) {
    wal_cursor_t *cursor = NULL;
    wal_record_t record;
    uint64_t previous = 0, counts[APPENDERS + 1] = {0};
    more = load(&shared->done) < APPENDERS;
    OK(wal_replay_open(shared->wal, WAL_REPLAY_OLDEST, 0, &cursor, &err));
    for (;;) {
      err_clear();
      wal_status_t status = wal_replay_next(cursor, &record, &err);
      if (status == WAL_END) break;
      status_at(status, WAL_OK, "wal_replay_next", __FILE__, __LINE__);
      uint64_t number = number_of(&record), appender = number >> 32, count = number & UINT32_MAX;
      CHECK(record.seq > previous && record.seq <= record.batch_last_seq);
      CHECK(appender >= 1 && appender <= APPENDERS && count > counts[appender]);
      counts[appender] = count;
      previous = record.seq;
      __atomic_fetch_add(&shared->replayed, 1, __ATOMIC_SEQ_CST);
    }
    CHECK(previous <= wal_durable_seq(shared->wal));
    wal_replay_close(cursor);
  }
  return NULL;
}

/* Follows the end as a replica does: every record once, in order, each when it is durable. */
static void *follow(void *context)
{
  shared_t *shared = context;
  wal_cursor_t *cursor = shared->follower;
  wal_record_t record;
  uint64_t read = 0, previous = 0;
  while (read < APPENDERS * shared->each) {
    err_clear();
    wal_status_t status = wal_replay_next(cursor, &record, &err);
    if (status == WAL_END) {
      OK(wal_replay_wait(cursor, WAL_WAIT_FOREVER, &err));
      continue;
    }
    status_at(status, WAL_OK, "wal_replay_next", __FILE__, __LINE__);
    CHECK(record.seq > previous && record.seq <= wal_durable_seq(shared->wal));
    previous = record.seq;
    number_of(&record);
    read++;
  }
  wal_replay_close(cursor);
  return NULL;
}

/* All at once; afterwards, and after reopening, everything acknowledged and not forgotten is there, once, under its seq. */
static void all_at_once(const char *log, const wal_options_t *options, uint64_t each)
{
  shared_t *shared = calloc(1, sizeof *shared);
  CHECK(shared != NULL);
  shared->wal = open_log(log, options);
  shared->each = each / 10 * 10 + 9;
  appender_t appenders[APPENDERS];
  pthread_t threads[APPENDERS + 4];
  OK(wal_replay_open(shared->wal, 0, 0, &shared->follower, &err));
  threads[APPENDERS] = start(follow, shared);
  for (uint64_t at = 0; at < APPENDERS; at++) {
    appenders[at] = (appender_t){shared, at + 1};
    threads[at] = start(append_on, &appenders[at]);
  }
  threads[APPENDERS + 1] = start(replay_on, shared);
  threads[APPENDERS + 2] = start(replay_on, shared);
  AWAIT(wal_durable_seq(shared->wal) > 0);
  threads[APPENDERS + 3] = start(checkpoint_on, shared);
  for (int at = 0; at < APPENDERS + 4; at++) join(threads[at]);
  CHECK(load(&shared->replayed) > 0);

  uint64_t last = wal_last_seq(shared->wal), appended = 0;
  for (uint64_t seq = 1; seq <= last; seq++) appended += shared->acknowledged[seq] != 0;
  EQUAL(appended, APPENDERS * shared->each);
  close_log(shared->wal);
  shared->wal = open_with_store(log, last);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  EQUAL(wal_last_seq(shared->wal), last);
  CHECK(wal_oldest_seq(shared->wal) >= shared->floor + 1);
  /* Dense: every seq is a record or a CHECKPOINT. */
  OK(wal_replay_open(shared->wal, WAL_REPLAY_OLDEST, WAL_REPLAY_RAW, &cursor, &err));
  for (uint64_t seq = wal_oldest_seq(shared->wal); seq <= last; seq++) {
    OK(wal_replay_next(cursor, &record, &err));
    EQUAL(record.seq, seq);
    if (record.op == WAL_OP_CHECKPOINT) EQUAL(shared->acknowledged[seq], 0);
    else EQUAL(number_of(&record), shared->acknowledged[seq]);
  }
  STATUS(WAL_END, wal_replay_next(cursor, &record, &err));
  wal_replay_close(cursor);
  close_log(shared->wal);
  free(shared);
}

static void everything_at_once_with_group_commit(const char *dir)
{
  wal_options_t options = segments_of(16384);
  all_at_once(path_in(dir, "log"), &options, scaled(1000));
}

static void everything_at_once_with_batches(const char *dir)
{
  wal_options_t options = segments_of(16384);
  options.sync_mode = WAL_SYNC_BATCH;
  options.batch_records = 20;
  options.batch_interval_us = 500;
  all_at_once(path_in(dir, "log"), &options, scaled(1000));
}

static void everything_at_once_without_a_background_thread(const char *dir)
{
  wal_options_t options = segments_of(16384);
  options.option_flags = WAL_OPTION_NO_THREAD;
  all_at_once(path_in(dir, "log"), &options, scaled(1000));
}

static void everything_at_once_in_small_segments(const char *dir)
{
  wal_options_t options = segments_of(4096);
  all_at_once(path_in(dir, "log"), &options, scaled(600));
}

typedef struct {
  wal_t *wal;
  uint64_t *acknowledged;
} hurried_t;

static void *append_until_closed(void *context)
{
  hurried_t *hurried = context;
  for (;;) {
    uint64_t seq = 0;
    wal_error_t error;
    wal_status_t status = put_number(hurried->wal, 1, 100, &seq, &error);
    if (status == WAL_E_CLOSED) return NULL;
    EQUAL(status, WAL_OK);
    __atomic_fetch_add(hurried->acknowledged, 1, __ATOMIC_SEQ_CST);
  }
}

static void *checkpoint_until_closed(void *context)
{
  hurried_t *hurried = context;
  for (;;) {
    uint64_t n = 0;
    wal_error_t error;
    wal_status_t status = wal_checkpoint(hurried->wal, 0, &n, &error);
    if (status == WAL_E_CLOSED) return NULL;
    EQUAL(status, WAL_OK);
  }
}

static void a_shutdown_in_full_flight_loses_nothing_acknowledged(const char *dir)
{
  for (unsigned round = 0; round < scaled(20); round++) {
    char name[16];
    snprintf(name, sizeof name, "log%u", round);
    const char *log = path_in(dir, name);
    wal_options_t options = segments_of(8192);
    uint64_t acknowledged = 0;
    hurried_t hurried = {open_log(log, &options), &acknowledged};
    pthread_t threads[5];
    for (int at = 0; at < 4; at++) threads[at] = start(append_until_closed, &hurried);
    threads[4] = start(checkpoint_until_closed, &hurried);
    AWAIT(load(&acknowledged) > 20);
    OK(wal_shutdown(hurried.wal, &err));
    for (int at = 0; at < 5; at++) join(threads[at]);
    close_log(hurried.wal);
    wal_t *wal = open_log(log, NULL);
    wal_cursor_t *cursor = NULL;
    OK(wal_replay_open(wal, 0, 0, &cursor, &err));
    CHECK(drain(cursor) >= acknowledged);
    wal_replay_close(cursor);
    close_log(wal);
  }
}

static void *open_and_close(void *context)
{
  const char *dir = context;
  static uint64_t opened;
  for (unsigned round = 0; round < 50; round++) {
    wal_t *wal = NULL;
    wal_error_t error;
    wal_status_t status = wal_open(dir, NULL, &wal, &error);
    if (status == WAL_E_LOCKED) continue;
    EQUAL(status, WAL_OK);
    /* Nobody else is in. */
    EQUAL(__atomic_add_fetch(&opened, 1, __ATOMIC_SEQ_CST), 1);
    CHECK(wal_append(wal, WAL_OP_PUT, NULL, 0, "x", 1, NULL, NULL) == WAL_OK);
    EQUAL(__atomic_sub_fetch(&opened, 1, __ATOMIC_SEQ_CST), 0);
    EQUAL(wal_close(wal, NULL), WAL_OK);
  }
  return NULL;
}

static void threads_that_open_one_log_exclude_each_other(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = segments_of(4096);
  close_log(open_log(log, &options));
  pthread_t threads[4];
  for (int at = 0; at < 4; at++) threads[at] = start(open_and_close, (void *)log);
  for (int at = 0; at < 4; at++) join(threads[at]);
  wal_t *wal = open_log(log, NULL);
  CHECK(wal_last_seq(wal) > 0);
  close_log(wal);
}

const test_t thread_tests[] = {
    TEST(everything_at_once_with_group_commit),
    TEST(everything_at_once_with_batches),
    TEST(everything_at_once_without_a_background_thread),
    TEST(everything_at_once_in_small_segments),
    TEST(a_shutdown_in_full_flight_loses_nothing_acknowledged),
    TEST(threads_that_open_one_log_exclude_each_other),
    NO_MORE_TESTS,
};
