/* Appending: sequence numbers, batches, sizes, rotation. */

#include "harness.h"

static void three_appends_get_1_2_3_and_truncate_2_leaves_only_seq_3(const char *dir)
{
  wal_t *wal = open_log(path_in(dir, "log"), NULL);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  EQUAL(put(wal, "one"), 1);
  EQUAL(put(wal, "two"), 2);
  EQUAL(put(wal, "three"), 3);
  OK(wal_truncate(wal, 2, WAL_TRUNCATE_UNCHECKED, &err));
  EQUAL(wal_oldest_seq(wal), 3);
  OK(wal_replay_open(wal, WAL_REPLAY_OLDEST, 0, &cursor, &err));
  OK(wal_replay_next(cursor, &record, &err));
  EQUAL(record.seq, 3);
  STATUS(WAL_END, wal_replay_next(cursor, &record, &err));
  wal_replay_close(cursor);
  expect_texts(wal, 2, "three", NULL);
  close_log(wal);
}

static void the_next_seq_follows_after_reopening(const char *dir)
{
  const char *log = path_in(dir, "log");
  for (uint64_t round = 1; round <= 5; round++) {
    wal_t *wal = open_log(log, NULL);
    EQUAL(wal_last_seq(wal), 2 * (round - 1));
    fill_to(wal, 2 * round, 20);
    expect_numbers(wal, 0, 1, 2 * round);
    close_log(wal);
  }
}

static void the_next_seq_follows_after_everything_was_truncated(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = segments_of(4096);
  uint64_t last = 0;
  for (int round = 0; round < 4; round++) {
    wal_t *wal = open_log(log, &options);
    EQUAL(wal_last_seq(wal), last);
    expect_numbers(wal, last, 1, 0);
    /* The first round fits into a segment, the later ones do not. */
    last += round == 0 ? 3 : 50;
    fill_to(wal, last, 200);
    OK(wal_truncate(wal, last, WAL_TRUNCATE_UNCHECKED, &err));
    EQUAL(wal_oldest_seq(wal), last + 1);
    close_log(wal);
  }
  wal_t *wal = open_log(log, NULL);
  EQUAL(put(wal, "next"), last + 1);
  close_log(wal);
}

typedef struct {
  const char *dir;
  uint64_t last;
} truncated_t;

static void truncate_everything_and_die(void *context)
{
  const truncated_t *given = context;
  wal_options_t options = segments_of(4096);
  wal_t *wal = open_log(given->dir, &options);
  fill_to(wal, given->last, 100);
  OK(wal_truncate(wal, given->last, WAL_TRUNCATE_UNCHECKED, &err));
  die();
}

static void the_next_seq_follows_after_everything_was_truncated_and_a_kill(const char *dir)
{
  const char *log = path_in(dir, "log");
  for (uint64_t last = 1; last <= 100; last += 33) {
    truncated_t given = {log, last};
    child_dies(truncate_everything_and_die, &given);
    wal_t *wal = open_log(log, NULL);
    EQUAL(wal_last_seq(wal), last);
    EQUAL(wal_oldest_seq(wal), last + 1);
    expect_numbers(wal, last, 1, 0);
    close_log(wal);
  }
}

/* Around every limit there is: empty, a padding, a page, a buffer, and 100 kB in the middle. */
static const size_t sizes[] = {0,    1,     7,      8,      9,       31,          255,         4071,    4072,          4096,
                               4097, 65535, 65536, 100000, 1048551, 1048552, 1048576 - 24, 1048576, 1048577, 3 * 1048576};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void fill_bytes(unsigned char *bytes, size_t len, unsigned from)
{
  for (size_t at = 0; at < len; at++) bytes[at] = (unsigned char)(from + at * 13 + (at >> 9));
}

static void records_of_0_bytes_and_100_kB_and_more_come_back(const char *dir)
{
  const char *log = path_in(dir, "log");
  size_t most = sizes[SIZES - 1];
  unsigned char *bytes = malloc(most), *expected = malloc(most);
  CHECK(bytes != NULL && expected != NULL);
  wal_t *wal = open_log(log, NULL);
  for (unsigned at = 0; at < SIZES; at++) {
    fill_bytes(bytes, sizes[at], at);
    OK(wal_append(wal, WAL_OP_PUT, NULL, 0, bytes, sizes[at], NULL, &err));
    OK(wal_append(wal, WAL_OP_DELETE, bytes, sizes[at], NULL, 0, NULL, &err));
    OK(wal_append(wal, 16, bytes, sizes[at] / 3, bytes, sizes[at], NULL, &err));
  }
  for (int round = 0; round < 2; round++) {
    wal_cursor_t *cursor = NULL;
    wal_record_t record;
    OK(wal_replay_open(wal, 0, 0, &cursor, &err));
    for (unsigned at = 0; at < SIZES; at++) {
      size_t size = sizes[at];
      const size_t keys[] = {0, size, size / 3}, values[] = {size, 0, size}, ops[] = {WAL_OP_PUT, WAL_OP_DELETE, 16};
      fill_bytes(expected, size, at);
      for (int kind = 0; kind < 3; kind++) {
        OK(wal_replay_next(cursor, &record, &err));
        EQUAL(record.seq, 3 * at + (unsigned)kind + 1);
        EQUAL(record.batch_last_seq, record.seq);
        EQUAL(record.op, ops[kind]);
        EQUAL(record.key_len, keys[kind]);
        EQUAL(record.value_len, values[kind]);
        CHECK(record.key != NULL && record.value != NULL);
        CHECK(memcmp(record.key, expected, record.key_len) == 0);
        CHECK(memcmp(record.value, expected, record.value_len) == 0);
      }
    }
    STATUS(WAL_END, wal_replay_next(cursor, &record, &err));
    wal_replay_close(cursor);
    close_log(wal);
    wal = open_log(log, NULL);
  }
  close_log(wal);
  free(bytes);
  free(expected);
}

static void the_largest_record_fits_and_a_byte_more_is_refused(const char *dir)
{
  const uint64_t segments[] = {4096, 131072};
  unsigned char *bytes = calloc(1, 140000);
  CHECK(bytes != NULL);
  for (int at = 0; at < 2; at++) {
    char name[16];
    snprintf(name, sizeof name, "log%d", at);
    wal_options_t options = segments_of(segments[at]);
    size_t most = segments[at] - 512;
    wal_t *wal = open_log(path_in(dir, name), &options);
    for (unsigned round = 0; round < 3; round++) {
      uint64_t before = wal_last_seq(wal), seq = 77;
      OK(wal_append(wal, WAL_OP_PUT, NULL, 0, bytes, most, &seq, &err));
      EQUAL(seq, before + 1);
      OK(wal_append(wal, WAL_OP_PUT, bytes, 100, bytes, most - 100, &seq, &err));
      STATUS(WAL_E_TOO_LARGE, wal_append(wal, WAL_OP_PUT, NULL, 0, bytes, most + 1, &seq, &err));
      STATUS(WAL_E_TOO_LARGE, wal_append(wal, WAL_OP_PUT, bytes, 100, bytes, most - 99, &seq, &err));
      EQUAL(seq, before + 2);
      EQUAL(wal_last_seq(wal), before + 2);
      if (at == 1) {
        OK(wal_append(wal, WAL_OP_PUT, bytes, 65535, bytes, most - 65535, NULL, &err));
        OK(wal_append(wal, WAL_OP_PUT, bytes, 65536, bytes, most - 16 - 65536, NULL, &err));
        STATUS(WAL_E_TOO_LARGE, wal_append(wal, WAL_OP_PUT, bytes, 65536, bytes, most - 15 - 65536, NULL, &err));
      }
      wal_entry_t entries[2] = {{bytes, bytes, 1, most - 4 - 2 * 12 - 2, WAL_OP_PUT, 0}, {bytes, bytes, 1, 0, WAL_OP_PUT, 0}};
      OK(wal_append_batch(wal, entries, 2, 0, NULL, &err));
      entries[1].value_len = 1;
      STATUS(WAL_E_TOO_LARGE, wal_append_batch(wal, entries, 2, 0, NULL, &err));
    }
    uint64_t last = wal_last_seq(wal);
    close_log(wal);
    wal = open_log(path_in(dir, name), NULL);
    wal_cursor_t *cursor = NULL;
    OK(wal_replay_open(wal, 0, 0, &cursor, &err));
    EQUAL(drain(cursor), last);
    wal_replay_close(cursor);
    close_log(wal);
  }
  free(bytes);
}

static void ops_come_back_and_reserved_ones_are_refused(const char *dir)
{
  wal_t *wal = open_log(path_in(dir, "log"), NULL);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  for (unsigned op = 0; op <= 255; op++) {
    bool good = op == WAL_OP_PUT || op == WAL_OP_DELETE || op >= WAL_OP_USER;
    wal_entry_t entry = {"k", "v", 1, 1, op, 0};
    STATUS(good ? WAL_OK : WAL_E_INVALID, wal_append_batch(wal, &entry, 1, WAL_APPEND_ASYNC, NULL, &err));
  }
  for (unsigned op = 0; op < WAL_OP_USER; op++) {
    bool good = op == WAL_OP_PUT || op == WAL_OP_DELETE;
    STATUS(good ? WAL_OK : WAL_E_INVALID, wal_append(wal, (uint8_t)op, NULL, 0, NULL, 0, NULL, &err));
  }
  wal_entry_t entry = {NULL, NULL, 0, 0, 256 + WAL_OP_PUT, 0};
  STATUS(WAL_E_INVALID, wal_append_batch(wal, &entry, 1, 0, NULL, &err));
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  for (unsigned op = 0; op <= 255; op++) {
    if (op != WAL_OP_PUT && op != WAL_OP_DELETE && op < WAL_OP_USER) continue;
    OK(wal_replay_next(cursor, &record, &err));
    EQUAL(record.op, op);
  }
  EQUAL(drain(cursor), 2);
  wal_replay_close(cursor);
  close_log(wal);
}

static void a_batch_gets_consecutive_seqs(const char *dir)
{
  wal_t *wal = open_log(path_in(dir, "log"), NULL);
  wal_entry_t entries[100];
  char keys[100][8];
  uint64_t last = 0;
  put(wal, "before");
  for (unsigned at = 0; at < 100; at++) {
    snprintf(keys[at], sizeof keys[at], "k%u", at);
    entries[at] = (wal_entry_t){keys[at], keys[at] + 1, strlen(keys[at]), at % 3 ? 1 : 0, at % 2 ? WAL_OP_PUT : WAL_OP_DELETE, 0};
  }
  OK(wal_append_batch(wal, entries, 100, 0, &last, &err));
  EQUAL(last, 101);
  OK(wal_append_batch(wal, entries, 1, 0, NULL, &err));
  EQUAL(put(wal, "after"), 103);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  OK(wal_replay_open(wal, 1, 0, &cursor, &err));
  for (unsigned at = 0; at < 100; at++) {
    OK(wal_replay_next(cursor, &record, &err));
    EQUAL(record.seq, at + 2);
    EQUAL(record.batch_last_seq, 101);
    EQUAL(record.op, entries[at].op);
    EQUAL(record.key_len, entries[at].key_len);
    EQUAL(record.value_len, entries[at].value_len);
    CHECK(memcmp(record.key, entries[at].key, record.key_len) == 0);
    CHECK(memcmp(record.value, entries[at].value, record.value_len) == 0);
  }
  OK(wal_replay_next(cursor, &record, &err));
  EQUAL(record.seq, 102);
  EQUAL(record.batch_last_seq, 102);
  EQUAL(drain(cursor), 1);
  wal_replay_close(cursor);
  close_log(wal);
}

static void a_wrong_entry_is_named_and_nothing_is_appended(const char *dir)
{
  wal_t *wal = open_log(path_in(dir, "log"), NULL);
  const wal_entry_t good = {"k", "v", 1, 1, WAL_OP_PUT, 0};
  const wal_entry_t wrong[] = {{"k", "v", 1, 1, 0, 0},  {"k", "v", 1, 1, WAL_OP_CHECKPOINT, 0}, {"k", "v", 1, 1, WAL_OP_PUT, 1},
                               {NULL, "v", 1, 1, 1, 0}, {"k", NULL, 1, 1, 1, 0}};
  for (unsigned kind = 0; kind < sizeof wrong / sizeof *wrong; kind++) {
    for (unsigned at = 0; at < 4; at++) {
      wal_entry_t entries[4] = {good, good, good, good};
      uint64_t last = 99;
      entries[at] = wrong[kind];
      STATUS(WAL_E_INVALID, wal_append_batch(wal, entries, 4, 0, &last, &err));
      EQUAL(err.offset, at);
      EQUAL(last, 99);
    }
  }
  EQUAL(wal_last_seq(wal), 0);
  EQUAL(put(wal, "first"), 1);
  close_log(wal);
}

static void what_is_appended_is_not_kept_by_pointer(const char *dir)
{
  wal_options_t options = defaults();
  options.sync_mode = WAL_SYNC_NONE;
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  char key[] = "key", value[] = "value";
  wal_entry_t entry = {key, value, 3, 5, WAL_OP_PUT, 0};
  OK(wal_append(wal, WAL_OP_PUT, NULL, 0, value, 5, NULL, &err));
  OK(wal_append_batch(wal, &entry, 1, 0, NULL, &err));
  memset(key, 'x', sizeof key);
  memset(value, 'x', sizeof value);
  memset(&entry, 0xFF, sizeof entry);
  expect_texts(wal, 0, "value", "value", NULL);
  close_log(wal);
}

static void batch_flags_overrule_the_mode(const char *dir)
{
  wal_options_t options = defaults();
  const wal_entry_t entry = {NULL, "v", 0, 1, WAL_OP_PUT, 0};
  uint64_t seq = 0;
  options.sync_mode = WAL_SYNC_NONE;
  wal_t *wal = open_log(path_in(dir, "none"), &options);
  OK(wal_append_batch(wal, &entry, 1, 0, &seq, &err));
  EQUAL(wal_durable_seq(wal), 0);
  OK(wal_append_batch(wal, &entry, 1, WAL_APPEND_SYNC, &seq, &err));
  EQUAL(seq, 2);
  EQUAL(wal_durable_seq(wal), 2);
  STATUS(WAL_E_INVALID, wal_append_batch(wal, &entry, 1, WAL_APPEND_SYNC | WAL_APPEND_ASYNC, &seq, &err));
  STATUS(WAL_E_INVALID, wal_append_batch(wal, &entry, 1, 4, &seq, &err));
  EQUAL(wal_last_seq(wal), 2);
  close_log(wal);

  wal = open_log(path_in(dir, "always"), NULL);
  OK(wal_append_batch(wal, &entry, 1, WAL_APPEND_ASYNC, &seq, &err));
  EQUAL(seq, 1);
  EQUAL(wal_durable_seq(wal), 0);
  EQUAL(put(wal, "a"), 2);
  EQUAL(wal_durable_seq(wal), 2);
  close_log(wal);
}

static void small_segments_rotate_and_replay_in_order(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = segments_of(4096);
  for (uint32_t flags = 0; flags <= WAL_OPTION_NO_THREAD; flags++) {
    uint64_t last = 1000 * (flags + 1);
    options.option_flags = flags;
    wal_t *wal = open_log(log, &options);
    wal_stat_t stat;
    fill_to(wal, last, 100);
    OK(wal_stat(wal, &stat, sizeof stat, &err));
    CHECK(stat.rotations > 30);
    EQUAL(stat.segment_size, 4096);
    EQUAL(stat.records, 1000);
    expect_numbers(wal, 0, 1, last);
    expect_numbers(wal, 600, 601, last);
    close_log(wal);
    CHECK(files_ending(log, ".wal", NULL) > 30);
    wal = open_log(log, NULL);
    expect_numbers(wal, 0, 1, last);
    close_log(wal);
  }
}

static void batches_go_whole_into_the_next_segment(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = segments_of(4096);
  wal_t *wal = open_log(log, &options);
  unsigned char bytes[300] = {0};
  uint64_t last = 0;
  for (unsigned round = 1; round <= 60; round++) {
    wal_entry_t entries[10];
    for (unsigned at = 0; at < 10; at++) entries[at] = (wal_entry_t){NULL, bytes, 0, 5 * round, WAL_OP_PUT, 0};
    OK(wal_append_batch(wal, entries, 10, 0, &last, &err));
    EQUAL(last, 10 * round);
  }
  close_log(wal);
  wal = open_log(log, NULL);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  for (uint64_t seq = 1; seq <= last; seq++) {
    OK(wal_replay_next(cursor, &record, &err));
    EQUAL(record.seq, seq);
    EQUAL(record.batch_last_seq, (seq + 9) / 10 * 10);
    EQUAL(record.value_len, 5 * ((seq + 9) / 10));
  }
  EQUAL(drain(cursor), 0);
  wal_replay_close(cursor);
  close_log(wal);
}

const test_t appending_tests[] = {
    TEST(three_appends_get_1_2_3_and_truncate_2_leaves_only_seq_3),
    TEST(the_next_seq_follows_after_reopening),
    TEST(the_next_seq_follows_after_everything_was_truncated),
    TEST(the_next_seq_follows_after_everything_was_truncated_and_a_kill),
    TEST(records_of_0_bytes_and_100_kB_and_more_come_back),
    TEST(the_largest_record_fits_and_a_byte_more_is_refused),
    TEST(ops_come_back_and_reserved_ones_are_refused),
    TEST(a_batch_gets_consecutive_seqs),
    TEST(a_wrong_entry_is_named_and_nothing_is_appended),
    TEST(what_is_appended_is_not_kept_by_pointer),
    TEST(batch_flags_overrule_the_mode),
    TEST(small_segments_rotate_and_replay_in_order),
    TEST(batches_go_whole_into_the_next_segment),
    NO_MORE_TESTS,
};
