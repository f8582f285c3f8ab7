/* Opening: what there must be, whose log it is, who else has it open, what the store says. */

#include "harness.h"

static void no_handle(wal_status_t status, const char *dir, const wal_options_t *options)
{
  wal_t *wal = (wal_t *)&wal;
  STATUS(status, wal_open(dir, options, &wal, &err));
  CHECK(wal == (wal_t *)&wal);
}

static void a_new_log_is_created_and_an_existing_one_refused(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = defaults();
  wal_report_t report;
  options.open_flags = WAL_OPEN_NEW;
  wal_t *wal = open_log(log, &options);
  OK(wal_report(wal, &report, sizeof report, &err));
  EQUAL(report.created, 1);
  EQUAL(report.last_seq, 0);
  EQUAL(wal_last_seq(wal), 0);
  EQUAL(wal_oldest_seq(wal), 1);
  put(wal, "a");
  close_log(wal);
  uint64_t before = fingerprint(log);
  no_handle(WAL_E_EXISTS, log, &options);
  EQUAL(fingerprint(log), before);
  options.open_flags = WAL_OPEN_EXISTING;
  wal = open_log(log, &options);
  OK(wal_report(wal, &report, sizeof report, &err));
  EQUAL(report.created, 0);
  EQUAL(report.clean, 1);
  EQUAL(report.last_seq, 1);
  close_log(wal);
}

static void where_a_log_must_exist_nothing_is_created(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = defaults();
  const uint32_t flags[] = {WAL_OPEN_EXISTING, WAL_OPEN_READ_ONLY, WAL_OPEN_EXISTING | WAL_OPEN_READ_ONLY};
  for (unsigned at = 0; at < 3; at++) {
    options.open_flags = flags[at];
    no_handle(WAL_E_NOT_FOUND, log, &options);
    CHECK(!exists(log));
  }
  options.open_flags = 0;
  options.store_seq = 1;
  no_handle(WAL_E_NOT_FOUND, log, &options);
  options.store_seq = 0;
  options.expected_log_id[15] = 1;
  no_handle(WAL_E_NOT_FOUND, log, &options);
  options.store_seq = WAL_STORE_EMPTY;
  no_handle(WAL_E_NOT_FOUND, log, &options);
  CHECK(!exists(log));
  /* A directory without a log is no log either. */
  CHECK(mkdir(log, 0700) == 0);
  no_handle(WAL_E_NOT_FOUND, log, &options);
  memset(options.expected_log_id, 0, sizeof options.expected_log_id);
  options.store_seq = 7;
  no_handle(WAL_E_NOT_FOUND, log, &options);
  CHECK(!exists(path_in(log, "MANIFEST")));
  EQUAL(files_ending(log, ".wal", NULL), 0);
  options.store_seq = WAL_STORE_EMPTY;
  close_log(open_log(log, &options));
}

static void contradicting_options_are_refused(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = defaults();
  options.open_flags = WAL_OPEN_NEW | WAL_OPEN_EXISTING;
  no_handle(WAL_E_INVALID, log, &options);
  options.open_flags = WAL_OPEN_NEW | WAL_OPEN_READ_ONLY;
  no_handle(WAL_E_INVALID, log, &options);
  options.open_flags = WAL_OPEN_NEW;
  options.store_seq = 3;
  no_handle(WAL_E_INVALID, log, &options);
  options.store_seq = 0;
  options.expected_log_id[0] = 1;
  no_handle(WAL_E_INVALID, log, &options);
  options = defaults();
  options.batch_records = 5;
  no_handle(WAL_E_INVALID, log, &options);
  MESSAGE_HAS("batch_records");
  options = defaults();
  options.batch_interval_us = 5;
  no_handle(WAL_E_INVALID, log, &options);
  options.sync_mode = WAL_SYNC_BATCH;
  options.option_flags = WAL_OPTION_NO_THREAD;
  no_handle(WAL_E_INVALID, log, &options);
  MESSAGE_HAS("batch_interval_us");
  CHECK(!exists(log));
}

static void segment_sizes_are_checked(const char *dir)
{
  const uint64_t wrong[] = {1, 4095, 4097, 6000, (1u << 30) + 4096, UINT64_MAX, UINT64_MAX - 4095, (uint64_t)1 << 63};
  for (unsigned at = 0; at < sizeof wrong / sizeof *wrong; at++) {
    wal_options_t options = segments_of(wrong[at]);
    no_handle(WAL_E_INVALID, path_in(dir, "log"), &options);
    MESSAGE_HAS("segment_size");
  }
  CHECK(!exists(path_in(dir, "log")));
  wal_options_t options = segments_of(8192);
  close_log(open_log(path_in(dir, "log"), &options));
  /* An existing log keeps its own. */
  options.segment_size = 4096;
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  wal_stat_t stat;
  OK(wal_stat(wal, &stat, sizeof stat, &err));
  EQUAL(stat.segment_size, 8192);
  close_log(wal);
}

static void files_are_the_owners_unless_told_otherwise(const char *dir)
{
  struct stat found;
  wal_options_t options = defaults();
  umask(0);
  close_log(open_log(path_in(dir, "private"), NULL));
  CHECK(stat(path_in(dir, "private"), &found) == 0);
  EQUAL(found.st_mode & 07777, 0700);
  const char *names[] = {"private/MANIFEST", "private/LOCK", "private/0000000001.wal"};
  for (int at = 0; at < 3; at++) {
    CHECK(stat(path_in(dir, names[at]), &found) == 0);
    EQUAL(found.st_mode & 07777, 0600);
  }
  options.directory_mode = 0750;
  options.file_mode = 0640;
  close_log(open_log(path_in(dir, "shared"), &options));
  CHECK(stat(path_in(dir, "shared"), &found) == 0);
  EQUAL(found.st_mode & 07777, 0750);
  const char *more[] = {"shared/MANIFEST", "shared/LOCK", "shared/0000000001.wal"};
  for (int at = 0; at < 3; at++) {
    CHECK(stat(path_in(dir, more[at]), &found) == 0);
    EQUAL(found.st_mode & 07777, 0640);
  }
  options.file_mode = 0040;
  no_handle(WAL_E_INVALID, path_in(dir, "none"), &options);
  options.file_mode = 0;
  options.directory_mode = 0070;
  no_handle(WAL_E_INVALID, path_in(dir, "none"), &options);
}

static void read_only_reads_and_changes_nothing(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = segments_of(4096);
  wal_t *wal = open_log(log, &options);
  fill_to(wal, 100, 100);
  uint64_t n = 0;
  OK(wal_checkpoint(wal, 100, &n, &err));
  OK(wal_truncate(wal, 50, 0, &err));
  close_log(wal);
  uint64_t before = fingerprint(log);

  options.open_flags = WAL_OPEN_READ_ONLY;
  wal = open_log(log, &options);
  const wal_entry_t entry = {NULL, "v", 0, 1, WAL_OP_PUT, 0};
  n = 99;
  STATUS(WAL_E_READ_ONLY, wal_append(wal, WAL_OP_PUT, NULL, 0, "v", 1, &n, &err));
  STATUS(WAL_E_READ_ONLY, wal_append_batch(wal, &entry, 1, 0, &n, &err));
  STATUS(WAL_E_READ_ONLY, wal_sync(wal, WAL_SEQ_LAST, &err));
  STATUS(WAL_E_READ_ONLY, wal_flush(wal, &err));
  STATUS(WAL_E_READ_ONLY, wal_wait_durable(wal, 1, 0, &err));
  STATUS(WAL_E_READ_ONLY, wal_checkpoint(wal, 100, &n, &err));
  STATUS(WAL_E_READ_ONLY, wal_truncate(wal, 60, WAL_TRUNCATE_UNCHECKED, &err));
  EQUAL(n, 99);
  EQUAL(wal_last_seq(wal), 101);
  EQUAL(wal_oldest_seq(wal), 51);
  EQUAL(wal_checkpoint_seq(wal), 101);
  expect_numbers(wal, 50, 51, 100);
  /* Readers share the log; a writer does not. */
  wal_t *second = open_log(log, &options);
  expect_numbers(second, 70, 71, 100);
  options.open_flags = 0;
  no_handle(WAL_E_LOCKED, log, &options);
  close_log(second);
  close_log(wal);
  EQUAL(fingerprint(log), before);

  wal = open_log(log, NULL);
  options.open_flags = WAL_OPEN_READ_ONLY;
  no_handle(WAL_E_LOCKED, log, &options);
  wal_report_t report;
  STATUS(WAL_E_LOCKED, wal_inspect(log, NULL, 0, &report, sizeof report, &err));
  close_log(wal);
}

static void append_unsynced_and_die(void *context)
{
  wal_options_t options = defaults();
  options.sync_mode = WAL_SYNC_OS;
  wal_t *wal = open_log(context, &options);
  put(wal, "one");
  put(wal, "two");
  OK(wal_sync(wal, 2, &err));
  put(wal, "three");
  put(wal, "four");
  die();
}

static void read_only_shows_the_undecided_only_if_asked(const char *dir)
{
  const char *log = path_in(dir, "log");
  child_dies(append_unsynced_and_die, (void *)log);
  uint64_t before = fingerprint(log);
  wal_options_t options = defaults();
  options.open_flags = WAL_OPEN_READ_ONLY;
  wal_t *wal = open_log(log, &options);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  wal_report_t report;
  OK(wal_report(wal, &report, sizeof report, &err));
  EQUAL(report.clean, 0);
  /* The record behind the sync carries its watermark. */
  EQUAL(wal_durable_seq(wal), 2);
  expect_texts(wal, 0, "one", "two", NULL);
  OK(wal_replay_open(wal, 0, WAL_REPLAY_UNSYNCED, &cursor, &err));
  for (uint64_t seq = 1; seq <= 4; seq++) {
    OK(wal_replay_next(cursor, &record, &err));
    EQUAL(record.seq, seq);
  }
  STATUS(WAL_END, wal_replay_next(cursor, &record, &err));
  wal_replay_close(cursor);
  close_log(wal);
  EQUAL(fingerprint(log), before);
  wal = open_log(log, NULL);
  expect_texts(wal, 0, "one", "two", "three", "four", NULL);
  close_log(wal);
}

static void another_stores_log_is_refused(const char *dir)
{
  const char *mine = path_in(dir, "mine"), *other = path_in(dir, "other");
  wal_options_t options = defaults();
  uint8_t other_id[16];
  wal_t *wal = open_log(mine, NULL);
  wal_log_id(wal, options.expected_log_id);
  put(wal, "mine");
  close_log(wal);
  wal = open_log(other, NULL);
  wal_log_id(wal, other_id);
  CHECK(memcmp(other_id, options.expected_log_id, sizeof other_id) != 0);
  put(wal, "other");
  close_log(wal);

  wal = open_log(mine, &options);
  uint8_t again[16];
  wal_log_id(wal, again);
  CHECK(memcmp(again, options.expected_log_id, sizeof again) == 0);
  close_log(wal);
  uint64_t before = fingerprint(other);
  no_handle(WAL_E_WRONG_LOG, other, &options);
  options.open_flags = WAL_OPEN_READ_ONLY;
  no_handle(WAL_E_WRONG_LOG, other, &options);
  wal_report_t report;
  STATUS(WAL_E_WRONG_LOG, wal_inspect(other, &options, 0, &report, sizeof report, &err));
  /* Damage or not: a store's recovery must not touch another store's log. */
  options.open_flags = 0;
  options.recovery = WAL_RECOVER_PREFIX;
  no_handle(WAL_E_WRONG_LOG, other, &options);
  EQUAL(fingerprint(other), before);
}

/* A log with data 1..10, a CHECKPOINT as 11, data 12..20; forgotten up to `floor`. */
static void make_log(const char *dir, uint64_t floor)
{
  wal_options_t options = segments_of(4096);
  wal_t *wal = open_log(dir, &options);
  uint64_t n = 0;
  fill_to(wal, 10, 50);
  OK(wal_checkpoint(wal, 10, &n, &err));
  EQUAL(n, 11);
  fill_to(wal, 20, 50);
  OK(wal_truncate(wal, floor, WAL_TRUNCATE_UNCHECKED, &err));
  close_log(wal);
}

static void a_store_of_the_right_age_is_accepted_and_others_have_a_gap(const char *dir)
{
  const uint64_t floors[] = {0, 1, 9, 10, 11, 12, 20};
  for (unsigned at = 0; at < sizeof floors / sizeof *floors; at++) {
    uint64_t floor = floors[at];
    char name[16];
    snprintf(name, sizeof name, "log%u", at);
    const char *log = path_in(dir, name);
    make_log(log, floor);
    /* The last forgotten record that is no CHECKPOINT. */
    uint64_t data = floor == 11 ? 10 : floor;
    for (uint64_t store = 0; store <= 23; store++) {
      wal_options_t options = defaults();
      options.store_seq = store == 0 ? WAL_STORE_EMPTY : store;
      uint64_t before = fingerprint(log);
      if (store < data) {
        no_handle(WAL_E_GAP, log, &options);
        ERR_SEQS(store + 1, data);
      } else if (store > 20) {
        no_handle(WAL_E_GAP, log, &options);
        ERR_SEQS(21, store);
      } else {
        wal_t *wal = open_log(log, &options);
        wal_cursor_t *cursor = NULL;
        EQUAL(wal_oldest_seq(wal), floor + 1);
        /* What open has promised, replay keeps. */
        OK(wal_replay_open(wal, store, 0, &cursor, &err));
        uint64_t first = store > floor ? store + 1 : floor + 1;
        EQUAL(drain(cursor), first <= 11 ? 20 - first : 21 - first);
        wal_replay_close(cursor);
        close_log(wal);
      }
      EQUAL(fingerprint(log), before);
    }
  }
}

static void a_replay_from_the_wrong_place_has_a_gap(const char *dir)
{
  const char *log = path_in(dir, "log");
  make_log(log, 11);
  wal_t *wal = open_log(log, NULL);
  for (uint64_t after = 0; after <= 23; after++) {
    wal_cursor_t *cursor = (wal_cursor_t *)&cursor;
    if (after < 10) {
      STATUS(WAL_E_GAP, wal_replay_open(wal, after, 0, &cursor, &err));
      ERR_SEQS(after + 1, 10);
    } else if (after > 20) {
      STATUS(WAL_E_GAP, wal_replay_open(wal, after, 0, &cursor, &err));
      ERR_SEQS(21, after);
    } else {
      OK(wal_replay_open(wal, after, 0, &cursor, &err));
      EQUAL(drain(cursor), after < 11 ? 9 : 20 - after);
      wal_replay_close(cursor);
      continue;
    }
    CHECK(cursor == (wal_cursor_t *)&cursor);
  }
  wal_cursor_t *cursor = NULL;
  OK(wal_replay_open(wal, WAL_REPLAY_OLDEST, 0, &cursor, &err));
  EQUAL(drain(cursor), 9);
  wal_replay_close(cursor);
  close_log(wal);
}

static void an_empty_store_needs_a_log_that_forgot_nothing(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = open_with_store(log, WAL_STORE_EMPTY);
  close_log(wal);
  wal = open_with_store(log, WAL_STORE_EMPTY);
  fill_to(wal, 5, 20);
  close_log(wal);
  wal = open_with_store(log, WAL_STORE_EMPTY);
  expect_numbers(wal, 0, 1, 5);
  uint64_t n = 0;
  OK(wal_checkpoint(wal, 1, &n, &err));
  EQUAL(n, 1);
  OK(wal_truncate(wal, 1, 0, &err));
  close_log(wal);
  wal_options_t options = defaults();
  options.store_seq = WAL_STORE_EMPTY;
  no_handle(WAL_E_GAP, log, &options);
  ERR_SEQS(1, 1);
  /* No number can be the store's that no record can have. */
  options.store_seq = ((uint64_t)1 << 62);
  no_handle(WAL_E_INVALID, log, &options);
  options.store_seq = UINT64_MAX;
  no_handle(WAL_E_INVALID, log, &options);
}

static void open_elsewhere(void *context)
{
  no_handle(WAL_E_LOCKED, context, NULL);
}

static void open_and_die(void *context)
{
  wal_t *wal = open_log(context, NULL);
  put(wal, "x");
  die();
}

static void a_second_open_is_refused_in_this_process_and_in_another(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = open_log(log, NULL);
  put(wal, "one");
  no_handle(WAL_E_LOCKED, log, NULL);
  MESSAGE_HAS("LOCK");
  child_succeeds(open_elsewhere, (void *)log);
  /* The refused ones took nothing away. */
  put(wal, "two");
  close_log(wal);
  child_dies(open_and_die, (void *)log);
  wal = open_log(log, NULL);
  expect_texts(wal, 0, "one", "two", "x", NULL);
  close_log(wal);
}

static void an_unclean_opening_is_reported_and_counted(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_report_t report;
  wal_t *wal = open_log(log, NULL);
  OK(wal_report(wal, &report, sizeof report, &err));
  uint64_t epoch = report.epoch;
  close_log(wal);
  for (uint64_t round = 1; round <= 3; round++) {
    child_dies(open_and_die, (void *)log);
    wal_report_t found;
    OK(wal_inspect(log, NULL, WAL_INSPECT_FULL, &found, sizeof found, &err));
    EQUAL(found.clean, 0);
    EQUAL(found.last_seq, round);
    EQUAL(found.damage_code, WAL_OK);
    wal = open_log(log, NULL);
    OK(wal_report(wal, &report, sizeof report, &err));
    EQUAL(report.clean, 0);
    EQUAL(report.last_seq, round);
    EQUAL(report.copied_records, 1);
    EQUAL(report.epoch, epoch + round);
    close_log(wal);
    wal = open_log(log, NULL);
    OK(wal_report(wal, &report, sizeof report, &err));
    EQUAL(report.clean, 1);
    EQUAL(report.epoch, epoch + round);
    EQUAL(report.copied_records, 0);
    close_log(wal);
  }
}

static void inspecting_changes_nothing_and_creates_nothing(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_report_t report;
  STATUS(WAL_E_NOT_FOUND, wal_inspect(log, NULL, 0, &report, sizeof report, &err));
  CHECK(!exists(log));
  make_log(log, 11);
  uint64_t before = fingerprint(log);
  for (uint32_t flags = 0; flags <= WAL_INSPECT_FULL; flags++) {
    OK(wal_inspect(log, NULL, flags, &report, sizeof report, &err));
    EQUAL(report.clean, 1);
    EQUAL(report.last_seq, 20);
    EQUAL(report.oldest_seq, 12);
    EQUAL(report.floor_seq, 11);
    EQUAL(report.forgotten_data_seq, 10);
    EQUAL(report.checkpoint_seq, 11);
    EQUAL(report.checkpoint_covered, 10);
    EQUAL(report.damage_code, WAL_OK);
  }
  EQUAL(fingerprint(log), before);
}

const test_t opening_tests[] = {
    TEST(a_new_log_is_created_and_an_existing_one_refused),
    TEST(where_a_log_must_exist_nothing_is_created),
    TEST(contradicting_options_are_refused),
    TEST(segment_sizes_are_checked),
    TEST(files_are_the_owners_unless_told_otherwise),
    TEST(read_only_reads_and_changes_nothing),
    TEST(read_only_shows_the_undecided_only_if_asked),
    TEST(another_stores_log_is_refused),
    TEST(a_store_of_the_right_age_is_accepted_and_others_have_a_gap),
    TEST(a_replay_from_the_wrong_place_has_a_gap),
    TEST(an_empty_store_needs_a_log_that_forgot_nothing),
    TEST(a_second_open_is_refused_in_this_process_and_in_another),
    TEST(an_unclean_opening_is_reported_and_counted),
    TEST(inspecting_changes_nothing_and_creates_nothing),
    NO_MORE_TESTS,
};
