/* Reading a log that another process writes. */

#include "harness.h"

static wal_options_t live(void)
{
  wal_options_t options = defaults();
  options.open_flags = WAL_OPEN_READ_ONLY | WAL_OPEN_LIVE;
  return options;
}

static wal_t *open_live(const char *log)
{
  wal_options_t options = live();
  return open_log(log, &options);
}

/* Reads what there is; each record has its own seq as number. Returns how it ended. */
static wal_status_t read_on(wal_cursor_t *cursor, uint64_t *next)
{
  wal_record_t record;
  wal_status_t status;
  for (;;) {
    err_clear();
    status = wal_replay_next(cursor, &record, &err);
    if (status != WAL_OK) return status;
    EQUAL(record.seq, *next);
    EQUAL(number_of(&record), *next);
    ++*next;
  }
}

static void it_takes_no_lock_and_changes_nothing(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = live();
  wal_t *reader = NULL;
  uint64_t n = 0;
  STATUS(WAL_E_NOT_FOUND, wal_open(log, &options, &reader, &err));
  CHECK(!exists(log));
  options.open_flags = WAL_OPEN_LIVE;
  STATUS(WAL_E_INVALID, wal_open(log, &options, &reader, &err));
  options.open_flags = WAL_OPEN_READ_ONLY | WAL_OPEN_LIVE | WAL_OPEN_NEW;
  STATUS(WAL_E_INVALID, wal_open(log, &options, &reader, &err));
  options = live();
  options.recovery = WAL_RECOVER_PREFIX;
  STATUS(WAL_E_INVALID, wal_open(log, &options, &reader, &err));
  wal_options_t alone = defaults();
  alone.option_flags = WAL_OPTION_NO_THREAD;
  wal_t *wal = open_log(log, &alone);
  fill_to(wal, 10, 100);
  uint64_t before = fingerprint(log);
  reader = open_live(log);
  wal_t *second = open_live(log);
  wal_cursor_t *cursor = NULL;
  STATUS(WAL_E_READ_ONLY, wal_append(reader, WAL_OP_PUT, NULL, 0, "v", 1, NULL, &err));
  STATUS(WAL_E_READ_ONLY, wal_truncate(reader, 1, 0, &err));
  STATUS(WAL_E_READ_ONLY, wal_checkpoint(reader, 1, &n, &err));
  STATUS(WAL_E_READ_ONLY, wal_publish(reader, &err));
  STATUS(WAL_E_INVALID, wal_replay_open(reader, 0, WAL_REPLAY_UNSYNCED, &cursor, &err));
  STATUS(WAL_E_GAP, wal_replay_open(reader, 11, 0, &cursor, &err));
  EQUAL(wal_last_seq(reader), 10);
  EQUAL(wal_durable_seq(reader), 9);
  expect_numbers(reader, 0, 1, 9);
  expect_numbers(second, 5, 6, 9);
  EQUAL(fingerprint(log), before);
  close_log(second);
  close_log(wal);
  expect_numbers(reader, 0, 1, 10);
  close_log(reader);
  options = live();
  options.store_seq = 3;
  OK(wal_open(log, &options, &reader, &err));
  close_log(reader);
  memset(options.expected_log_id, 7, sizeof options.expected_log_id);
  STATUS(WAL_E_WRONG_LOG, wal_open(log, &options, &reader, &err));
}

static void it_follows_and_publishing_shows_the_last(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = segments_of(4096);
  wal_t *wal = open_log(log, &options);
  wal_t *reader = open_live(log);
  wal_cursor_t *cursor = NULL;
  uint64_t next = 1;
  OK(wal_replay_open(reader, 0, 0, &cursor, &err));
  EQUAL(read_on(cursor, &next), WAL_END);
  STATUS(WAL_TIMEOUT, wal_replay_wait(cursor, 0, &err));
  for (uint64_t last = 1; last <= 60; last++) {
    fill_to(wal, last, 500);
    EQUAL(read_on(cursor, &next), WAL_END);
    EQUAL(next, last);
    if (last % 7 == 0) {
      OK(wal_publish(wal, &err));
      OK(wal_replay_wait(cursor, WAL_WAIT_FOREVER, &err));
      EQUAL(read_on(cursor, &next), WAL_END);
      EQUAL(next, last + 1);
    }
  }
  OK(wal_publish(wal, &err));
  OK(wal_publish(wal, &err));
  EQUAL(read_on(cursor, &next), WAL_END);
  EQUAL(next, 61);
  OK(wal_shutdown(reader, &err));
  wal_record_t record;
  STATUS(WAL_E_CLOSED, wal_replay_next(cursor, &record, &err));
  STATUS(WAL_E_CLOSED, wal_replay_wait(cursor, WAL_WAIT_FOREVER, &err));
  close_log(reader);
  wal_replay_close(cursor);
  close_log(wal);
}

static void what_is_not_synced_is_not_shown(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = defaults();
  options.sync_mode = WAL_SYNC_OS;
  wal_t *wal = open_log(log, &options);
  fill_to(wal, 50, 100);
  wal_t *reader = open_live(log);
  expect_numbers(reader, 0, 1, 0);
  EQUAL(wal_last_seq(reader), 50);
  OK(wal_sync(wal, 20, &err));
  OK(wal_publish(wal, &err));
  expect_numbers(reader, 0, 1, 50);
  close_log(reader);
  close_log(wal);
}

static void a_reader_that_was_overtaken_has_a_gap(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = segments_of(4096);
  options.option_flags = WAL_OPTION_NO_THREAD;
  wal_t *wal = open_log(log, &options);
  fill_to(wal, 60, 500);
  wal_t *reader = open_live(log);
  wal_cursor_t *cursor = NULL, *at_end = NULL, *refused = NULL;
  uint64_t next = 1, end = 60;
  wal_record_t record;
  OK(wal_replay_open(reader, 0, 0, &cursor, &err));
  OK(wal_replay_next(cursor, &record, &err));
  OK(wal_replay_open(reader, 59, 0, &at_end, &err));
  OK(wal_truncate(wal, 58, WAL_TRUNCATE_UNCHECKED, &err));
  fill_to(wal, 120, 500);
  next = record.seq + 1;
  /* What it has in its buffer it may still yield. */
  EQUAL(read_on(cursor, &next), WAL_E_GAP);
  EQUAL(err.seq, next);
  EQUAL(err.seq_last, 58);
  STATUS(WAL_E_GAP, wal_replay_next(cursor, &record, &err));
  STATUS(WAL_E_GAP, wal_replay_open(reader, 0, 0, &refused, &err));
  EQUAL(read_on(at_end, &end), WAL_END);
  EQUAL(end, 120);
  wal_replay_close(cursor);
  wal_replay_close(at_end);
  close_log(reader);
  close_log(wal);
}

static void a_pin_keeps_it_from_being_overtaken(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = segments_of(4096);
  options.option_flags = WAL_OPTION_NO_THREAD;
  wal_t *wal = open_log(log, &options);
  fill_to(wal, 30, 500);
  OK(wal_pin_create(log, "replica", 3, 0, 0, NULL, &err));
  OK(wal_truncate(wal, 30, WAL_TRUNCATE_UNCHECKED, &err));
  wal_t *reader = open_live(log);
  wal_cursor_t *cursor = NULL;
  uint64_t next = 4;
  STATUS(WAL_E_GAP, wal_replay_open(reader, 3, 0, &cursor, &err));
  OK(wal_replay_open(reader, 3, WAL_REPLAY_PINNED, &cursor, &err));
  for (uint64_t last = 40; last <= 100; last += 20) {
    fill_to(wal, last, 500);
    OK(wal_truncate(wal, last, WAL_TRUNCATE_UNCHECKED, &err));
    EQUAL(read_on(cursor, &next), WAL_END);
    EQUAL(next, last + 1);
    if (last == 60) OK(wal_pin_advance(log, "replica", 50, &err));
  }
  wal_replay_close(cursor);
  STATUS(WAL_E_GAP, wal_replay_open(reader, 49, WAL_REPLAY_PINNED, &cursor, &err));
  OK(wal_replay_open(reader, WAL_REPLAY_OLDEST, WAL_REPLAY_PINNED, &cursor, &err));
  next = 51;
  EQUAL(read_on(cursor, &next), WAL_END);
  EQUAL(next, 101);
  wal_replay_close(cursor);
  close_log(reader);
  close_log(wal);
}

/* A writer that appends, publishes, forgets and recycles at full speed, is killed now and then, and starts again; readers that check every byte and the
 * order, one of them pinned. */
typedef struct {
  const char *log;
  uint32_t mode;
  volatile uint64_t *done;
} writer_t;

static void write_and_forget(void *context)
{
  const writer_t *writer = context;
  wal_options_t options = segments_of(4096);
  options.sync_mode = writer->mode;
  options.recycle_segments = 3;
  wal_t *wal = open_log(writer->log, &options);
  for (;;) {
    uint64_t last = wal_last_seq(wal);
    for (unsigned at = 1; at <= 10; at++) OK(put_number(wal, last + at, 16 + (last + at) * 37 % 900, NULL, &err));
    if (last % 3 == 0) OK(wal_publish(wal, &err));
    if (last > 40) OK(wal_truncate(wal, last - 30, WAL_TRUNCATE_UNCHECKED, &err));
    ++*writer->done;
  }
}

static pid_t start_writer(writer_t *writer)
{
  fflush(stdout);
  pid_t process = fork();
  CHECK(process >= 0);
  if (process == 0) {
    limit_childs_time();
    write_and_forget(writer);
  }
  return process;
}

static void readers_keep_up_with_a_writer_that_forgets_recycles_and_dies(const char *dir)
{
  volatile uint64_t *done = shared_memory(sizeof *done);
  for (int mode = 0; mode < 2; mode++) {
    writer_t writer = {path_in(dir, mode == 0 ? "always" : "os"), mode == 0 ? WAL_SYNC_ALWAYS : WAL_SYNC_OS, done};
    uint64_t read = 0, gaps = 0, deaths = 0, followed = 0;
    uint64_t begun = *done;
    pid_t process = start_writer(&writer);
    AWAIT(*done > begun);
    uint64_t pinned = 0, reads_of_pin = 0;
    OK(wal_pin_create(writer.log, "replica", WAL_PIN_OLDEST, 0, 0, &pinned, &err));
    wal_t *reader = open_live(writer.log), *replica = open_live(writer.log);
    wal_cursor_t *cursor = NULL, *feed = NULL;
    OK(wal_replay_open(replica, pinned, WAL_REPLAY_PINNED, &feed, &err));
    uint64_t next = 0, wanted = pinned + 1, goal = *done + scaled(100), next_death = *done + scaled(30);
    /* Of a slow writer in the mode OS nothing is durable for a while. */
    while (*done < goal || read == 0 || reads_of_pin == 0) {
      if (cursor == NULL) {
        OK(wal_replay_open(reader, WAL_REPLAY_OLDEST, 0, &cursor, &err));
        next = 0;
      }
      wal_record_t record;
      err_clear();
      wal_status_t status = wal_replay_next(cursor, &record, &err);
      if (status == WAL_OK) {
        if (next != 0) EQUAL(record.seq, next);
        EQUAL(number_of(&record), record.seq);
        next = record.seq + 1;
        read++;
      } else if (status == WAL_E_GAP) {
        gaps++;
        wal_replay_close(cursor);
        cursor = NULL;
      } else {
        if (status != WAL_END) FAIL("%d: %s", status, err.message);
        followed++;
      }
      /* The replica must never be overtaken. */
      uint64_t before = wanted;
      if (read % 8 == 0) {
        status = read_on(feed, &wanted);
        if (status != WAL_END) FAIL("%d: %s", status, err.message);
        reads_of_pin += wanted - before;
        if (wanted > before + 1) OK(wal_pin_advance(writer.log, "replica", wanted - 2, &err));
      }
      if (*done >= next_death) {
        CHECK(kill(process, SIGKILL) == 0 && waitpid(process, NULL, 0) == process);
        deaths++;
        process = start_writer(&writer);
        next_death = *done + scaled(30);
      }
    }
    CHECK(kill(process, SIGKILL) == 0 && waitpid(process, NULL, 0) == process);
    printf("read %llu and %llu from the pin, %llu gaps, %llu ends, %llu deaths of the writer\n", (unsigned long long)read,
           (unsigned long long)reads_of_pin, (unsigned long long)gaps, (unsigned long long)followed, (unsigned long long)deaths);
    /* What a killed writer left is shown as far as it is proven, and the rest when the log was opened again. */
    wal_t *wal = open_log(writer.log, NULL);
    uint64_t last = wal_last_seq(wal);
    close_log(wal);
    EQUAL(read_on(feed, &wanted), WAL_END);
    EQUAL(wanted, last + 1);
    if (cursor != NULL) wal_replay_close(cursor);
    wal_replay_close(feed);
    close_log(reader);
    close_log(replica);
  }
}

const test_t live_tests[] = {
    TEST(it_takes_no_lock_and_changes_nothing),
    TEST(it_follows_and_publishing_shows_the_last),
    TEST(what_is_not_synced_is_not_shown),
    TEST(a_reader_that_was_overtaken_has_a_gap),
    TEST(a_pin_keeps_it_from_being_overtaken),
    TEST(readers_keep_up_with_a_writer_that_forgets_recycles_and_dies),
    NO_MORE_TESTS,
};
