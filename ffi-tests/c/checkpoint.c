/* Checkpoint and truncate, to the letter. */

#include "harness.h"

static void a_checkpoints_seq_follows_the_last_records(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = open_log(log, NULL);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  uint64_t n = 0;
  fill_to(wal, 3, 20);
  OK(wal_checkpoint(wal, WAL_SEQ_LAST, &n, &err));
  EQUAL(n, 4);
  EQUAL(wal_last_seq(wal), 4);
  EQUAL(wal_durable_seq(wal), 4);
  EQUAL(wal_checkpoint_seq(wal), 4);
  EQUAL(put(wal, "next"), 5);
  OK(wal_replay_open(wal, 3, WAL_REPLAY_RAW, &cursor, &err));
  OK(wal_replay_next(cursor, &record, &err));
  EQUAL(record.seq, 4);
  EQUAL(record.op, WAL_OP_CHECKPOINT);
  EQUAL(record.key_len, 0);
  EQUAL(record.value_len, 16);
  static const unsigned char value[16] = {4, 0, 0, 0, 0, 0, 0, 0, 3};
  CHECK(memcmp(record.value, value, sizeof value) == 0);
  EQUAL(drain(cursor), 1);
  wal_replay_close(cursor);
  close_log(wal);
}

static void checkpoint(wal_t *wal, uint64_t covered, uint64_t expected)
{
  uint64_t n = 0, before = wal_last_seq(wal);
  OK(wal_checkpoint(wal, covered, &n, &err));
  EQUAL(n, expected);
  EQUAL(wal_last_seq(wal), before + 1);
}

static void n_is_its_own_seq_if_nothing_stands_between_and_covered_otherwise(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = open_log(log, NULL);
  wal_stat_t stat;
  checkpoint(wal, WAL_SEQ_LAST, 1);
  checkpoint(wal, 0, 2);
  fill_to(wal, 5, 20);
  checkpoint(wal, 4, 4);  /* Record 5 stands between. */
  checkpoint(wal, 5, 7);  /* Only CHECKPOINT 6. */
  checkpoint(wal, 6, 8);
  checkpoint(wal, 8, 9);
  put(wal, "10");
  checkpoint(wal, 9, 9);
  checkpoint(wal, 0, 0);  /* Takes nothing back. */
  EQUAL(wal_checkpoint_seq(wal), 9);
  checkpoint(wal, 5, 5);
  EQUAL(wal_checkpoint_seq(wal), 9);
  checkpoint(wal, 10, 14);
  EQUAL(wal_checkpoint_seq(wal), 14);
  put(wal, "15");
  checkpoint(wal, WAL_SEQ_LAST, 16);
  OK(wal_stat(wal, &stat, sizeof stat, &err));
  EQUAL(stat.checkpoint_seq, 16);
  EQUAL(stat.checkpoint_covered, 15);
  close_log(wal);
  wal = open_log(log, NULL);
  EQUAL(wal_checkpoint_seq(wal), 16);
  checkpoint(wal, 16, 17);
  close_log(wal);
}

/* As above after every way in which the tail becomes known again. */
static void n_is_right_after_reopening(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = open_log(log, NULL);
  fill_to(wal, 3, 20);
  checkpoint(wal, 3, 4);
  close_log(wal);
  wal = open_log(log, NULL);
  checkpoint(wal, 3, 5);
  OK(wal_truncate(wal, 5, 0, &err));
  close_log(wal);
  wal = open_log(log, NULL);
  EQUAL(wal_oldest_seq(wal), 6);
  checkpoint(wal, 3, 6);
  checkpoint(wal, 2, 2);
  close_log(wal);
}

static void covered_above_the_last_seq_is_refused(const char *dir)
{
  wal_t *wal = open_log(path_in(dir, "log"), NULL);
  uint64_t n = 99;
  STATUS(WAL_E_RANGE, wal_checkpoint(wal, 1, &n, &err));
  fill_to(wal, 3, 20);
  STATUS(WAL_E_RANGE, wal_checkpoint(wal, 4, &n, &err));
  STATUS(WAL_E_RANGE, wal_checkpoint(wal, WAL_SEQ_LAST - 1, &n, &err));
  STATUS(WAL_E_RANGE, wal_checkpoint(wal, WAL_REPLAY_OLDEST, &n, &err));
  STATUS(WAL_E_INVALID, wal_checkpoint(wal, 3, NULL, &err));
  EQUAL(n, 99);
  EQUAL(wal_last_seq(wal), 3);
  EQUAL(wal_checkpoint_seq(wal), 0);
  close_log(wal);
}

static void a_checkpoint_makes_everything_durable(const char *dir)
{
  const uint32_t modes[] = {WAL_SYNC_BATCH, WAL_SYNC_OS, WAL_SYNC_NONE};
  for (int at = 0; at < 3; at++) {
    char name[16];
    snprintf(name, sizeof name, "log%d", at);
    wal_options_t options = defaults();
    options.sync_mode = modes[at];
    wal_t *wal = open_log(path_in(dir, name), &options);
    fill_to(wal, 10, 20);
    EQUAL(wal_durable_seq(wal), 0);
    checkpoint(wal, 4, 4);
    EQUAL(wal_durable_seq(wal), 11);
    close_log(wal);
  }
}

static void replay_after_a_checkpoint_is_empty(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = open_log(log, NULL);
  fill_to(wal, 3, 20);
  checkpoint(wal, 3, 4);
  expect_numbers(wal, 4, 1, 0);
  expect_numbers(wal, 3, 1, 0);
  close_log(wal);
  wal = open_with_store(log, 4);
  expect_numbers(wal, 4, 1, 0);
  OK(wal_truncate(wal, 4, 0, &err));
  expect_numbers(wal, 4, 1, 0);
  close_log(wal);
  wal = open_with_store(log, 4);
  expect_numbers(wal, 4, 1, 0);
  close_log(wal);
}

static void replay_after_n_yields_what_came_later(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = open_log(log, NULL);
  fill_to(wal, 3, 20);
  checkpoint(wal, 3, 4);
  put(wal, "five");
  put(wal, "six");
  expect_texts(wal, 4, "five", "six", NULL);
  expect_texts(wal, 5, "six", NULL);
  expect_texts(wal, 6, NULL);
  OK(wal_truncate(wal, 4, 0, &err));
  expect_texts(wal, 4, "five", "six", NULL);
  close_log(wal);
  wal = open_with_store(log, 4);
  expect_texts(wal, 4, "five", "six", NULL);
  put(wal, "seven");
  expect_texts(wal, 4, "five", "six", "seven", NULL);
  close_log(wal);
}

static void truncate_refuses_what_is_not_there_and_what_no_checkpoint_covers(const char *dir)
{
  wal_t *wal = open_log(path_in(dir, "log"), NULL);
  OK(wal_truncate(wal, 0, 0, &err));
  OK(wal_truncate(wal, 0, WAL_TRUNCATE_UNCHECKED, &err));
  STATUS(WAL_E_RANGE, wal_truncate(wal, 1, 0, &err));
  STATUS(WAL_E_RANGE, wal_truncate(wal, 1, WAL_TRUNCATE_UNCHECKED, &err));
  fill_to(wal, 10, 20);
  STATUS(WAL_E_NOT_CHECKPOINTED, wal_truncate(wal, 1, 0, &err));
  ERR_SEQS(1, 1);
  STATUS(WAL_E_NOT_CHECKPOINTED, wal_truncate(wal, 10, 0, &err));
  ERR_SEQS(1, 10);
  checkpoint(wal, 4, 4);
  STATUS(WAL_E_NOT_CHECKPOINTED, wal_truncate(wal, 5, 0, &err));
  ERR_SEQS(5, 5);
  STATUS(WAL_E_NOT_CHECKPOINTED, wal_truncate(wal, 11, 0, &err));
  STATUS(WAL_E_RANGE, wal_truncate(wal, 12, 0, &err));
  STATUS(WAL_E_RANGE, wal_truncate(wal, 12, WAL_TRUNCATE_UNCHECKED, &err));
  STATUS(WAL_E_RANGE, wal_truncate(wal, WAL_SEQ_LAST, WAL_TRUNCATE_UNCHECKED, &err));
  STATUS(WAL_E_RANGE, wal_truncate(wal, WAL_SEQ_LAST - 1, 0, &err));
  EQUAL(wal_oldest_seq(wal), 1);
  OK(wal_truncate(wal, 4, 0, &err));
  EQUAL(wal_oldest_seq(wal), 5);
  for (uint64_t forgotten = 0; forgotten <= 4; forgotten++) OK(wal_truncate(wal, forgotten, 0, &err));
  EQUAL(wal_oldest_seq(wal), 5);
  OK(wal_truncate(wal, 7, WAL_TRUNCATE_UNCHECKED, &err));
  EQUAL(wal_oldest_seq(wal), 8);
  /* Unchecked once is not checked for good. */
  STATUS(WAL_E_NOT_CHECKPOINTED, wal_truncate(wal, 8, 0, &err));
  ERR_SEQS(5, 8);
  STATUS(WAL_E_INVALID, wal_truncate(wal, 8, 2, &err));
  STATUS(WAL_E_INVALID, wal_truncate(wal, 8, UINT32_MAX, &err));
  expect_numbers(wal, 7, 8, 10);
  close_log(wal);
}

static void what_a_store_says_at_opening_may_be_truncated(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = open_log(log, NULL);
  fill_to(wal, 10, 20);
  checkpoint(wal, 6, 6);
  fill_to(wal, 20, 20);
  close_log(wal);
  /* The store's own seq counts, be it below the manifest's checkpoint or above. */
  wal = open_with_store(log, 4);
  STATUS(WAL_E_NOT_CHECKPOINTED, wal_truncate(wal, 6, 0, &err));
  ERR_SEQS(5, 6);
  OK(wal_truncate(wal, 4, 0, &err));
  close_log(wal);
  wal = open_with_store(log, 8);
  OK(wal_truncate(wal, 8, 0, &err));
  STATUS(WAL_E_NOT_CHECKPOINTED, wal_truncate(wal, 9, 0, &err));
  checkpoint(wal, 9, 9);
  OK(wal_truncate(wal, 9, 0, &err));
  checkpoint(wal, 12, 12);
  close_log(wal);
  /* Without it, the manifest's checkpoint. */
  wal = open_log(log, NULL);
  EQUAL(wal_checkpoint_seq(wal), 12);
  OK(wal_truncate(wal, 12, 0, &err));
  STATUS(WAL_E_NOT_CHECKPOINTED, wal_truncate(wal, 13, 0, &err));
  close_log(wal);
}

static void what_is_forgotten_stays_forgotten_and_the_rest_stays(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = segments_of(4096);
  uint64_t floor = 0, last = 0;
  for (int round = 0; round < 10; round++) {
    wal_t *wal = open_log(log, &options);
    EQUAL(wal_oldest_seq(wal), floor + 1);
    last += 37;
    fill_to(wal, last, 150);
    expect_numbers(wal, floor, floor + 1, last);
    floor += 23;
    OK(wal_truncate(wal, floor, WAL_TRUNCATE_UNCHECKED, &err));
    expect_numbers(wal, floor, floor + 1, last);
    wal_cursor_t *cursor = NULL;
    STATUS(WAL_E_GAP, wal_replay_open(wal, floor - 1, 0, &cursor, &err));
    ERR_SEQS(floor, floor);
    close_log(wal);
  }
}

static void an_open_cursor_keeps_what_it_still_has_to_read(const char *dir)
{
  for (uint32_t flags = 0; flags <= WAL_OPTION_NO_THREAD; flags++) {
    wal_options_t options = segments_of(4096);
    options.option_flags = flags;
    wal_t *wal = open_log(path_in(dir, flags ? "inline" : "background"), &options);
    wal_cursor_t *cursor = NULL;
    wal_record_t record;
    fill_to(wal, 300, 100);
    OK(wal_replay_open(wal, 0, 0, &cursor, &err));
    for (uint64_t seq = 1; seq <= 50; seq++) OK(wal_replay_next(cursor, &record, &err));
    OK(wal_truncate(wal, 300, WAL_TRUNCATE_UNCHECKED, &err));
    /* Blocks are used again, but not those. */
    fill_to(wal, 600, 100);
    for (uint64_t seq = 51; seq <= 600; seq++) {
      OK(wal_replay_next(cursor, &record, &err));
      EQUAL(record.seq, seq);
      EQUAL(number_of(&record), seq);
    }
    STATUS(WAL_END, wal_replay_next(cursor, &record, &err));
    wal_replay_close(cursor);
    STATUS(WAL_E_GAP, wal_replay_open(wal, 50, 0, &cursor, &err));
    expect_numbers(wal, 300, 301, 600);
    close_log(wal);
  }
}

static void disk_space_comes_back(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = segments_of(4096);
  options.recycle_segments = WAL_RECYCLE_NONE;
  wal_t *wal = open_log(log, &options);
  wal_stat_t stat;
  fill_to(wal, 1000, 100);
  OK(wal_stat(wal, &stat, sizeof stat, &err));
  CHECK(stat.segments > 30);
  OK(wal_truncate(wal, 1000, WAL_TRUNCATE_UNCHECKED, &err));
  close_log(wal);
  CHECK(files_ending(log, ".wal", NULL) <= 4);
  EQUAL(files_ending(log, ".spare", NULL), 0);
  wal = open_log(log, NULL);
  EQUAL(put(wal, "next"), 1001);
  expect_texts(wal, 1000, "next", NULL);
  close_log(wal);
}

static void recycled_segments_bring_nothing_back(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = segments_of(4096);
  options.option_flags = WAL_OPTION_NO_THREAD;
  uint64_t last = 0;
  wal_stat_t stat = {.recycled = 0};
  for (int round = 0; round < 10; round++) {
    wal_t *wal = open_log(log, &options);
    EQUAL(wal_last_seq(wal), last);
    fill_to(wal, last + 100 - 7 * (uint64_t)round, 100);
    expect_numbers(wal, last, last + 1, wal_last_seq(wal));
    last = wal_last_seq(wal);
    OK(wal_truncate(wal, last, WAL_TRUNCATE_UNCHECKED, &err));
    OK(wal_stat(wal, &stat, sizeof stat, &err));
    close_log(wal);
  }
  CHECK(stat.recycled > 0);
}

static void a_truncation_inside_a_batch_leaves_the_rest(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = open_log(log, NULL);
  const wal_entry_t entries[4] = {{NULL, "a", 0, 1, 1, 0}, {NULL, "b", 0, 1, 1, 0}, {NULL, "c", 0, 1, 1, 0}, {NULL, "d", 0, 1, 1, 0}};
  OK(wal_append_batch(wal, entries, 4, 0, NULL, &err));
  put(wal, "e");
  for (int round = 0; round < 2; round++) {
    uint64_t n = 0;
    expect_texts(wal, 1, "b", "c", "d", "e", NULL);
    OK(wal_checkpoint(wal, 2, &n, &err));
    EQUAL(n, 2);
    close_log(wal);
    wal = open_with_store(log, 2);
  }
  OK(wal_truncate(wal, 2, 0, &err));
  for (int round = 0; round < 2; round++) {
    wal_cursor_t *cursor = NULL;
    wal_record_t record;
    expect_texts(wal, 2, "c", "d", "e", NULL);
    OK(wal_replay_open(wal, 2, 0, &cursor, &err));
    OK(wal_replay_next(cursor, &record, &err));
    EQUAL(record.seq, 3);
    EQUAL(record.batch_last_seq, 4);
    wal_replay_close(cursor);
    close_log(wal);
    wal = open_with_store(log, 2);
  }
  close_log(wal);
}

static void truncating_first_makes_durable_what_it_forgets(const char *dir)
{
  wal_options_t options = defaults();
  options.sync_mode = WAL_SYNC_NONE;
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  fill_to(wal, 5, 20);
  EQUAL(wal_durable_seq(wal), 0);
  OK(wal_truncate(wal, 3, WAL_TRUNCATE_UNCHECKED, &err));
  CHECK(wal_durable_seq(wal) >= 3);
  close_log(wal);
}

const test_t checkpoint_tests[] = {
    TEST(a_checkpoints_seq_follows_the_last_records),
    TEST(n_is_its_own_seq_if_nothing_stands_between_and_covered_otherwise),
    TEST(n_is_right_after_reopening),
    TEST(covered_above_the_last_seq_is_refused),
    TEST(a_checkpoint_makes_everything_durable),
    TEST(replay_after_a_checkpoint_is_empty),
    TEST(replay_after_n_yields_what_came_later),
    TEST(truncate_refuses_what_is_not_there_and_what_no_checkpoint_covers),
    TEST(what_a_store_says_at_opening_may_be_truncated),
    TEST(what_is_forgotten_stays_forgotten_and_the_rest_stays),
    TEST(an_open_cursor_keeps_what_it_still_has_to_read),
    TEST(disk_space_comes_back),
    TEST(recycled_segments_bring_nothing_back),
    TEST(a_truncation_inside_a_batch_leaves_the_rest),
    TEST(truncating_first_makes_durable_what_it_forgets),
    NO_MORE_TESTS,
};
