/* Directories that hold no log, other things than a log, a damaged log, or one from the future. */

#include "harness.h"

enum { PAGE = 4096, COPIES = 4, COPY_CRC = 252, HEADER_CRC = 60, READER_VERSION = 10, FORMAT_VERSION = 8 };

static void refused(wal_status_t status, const char *dir)
{
  wal_t *wal = NULL;
  STATUS(status, wal_open(dir, NULL, &wal, &err));
  CHECK(wal == NULL);
}

static void a_directory_that_cannot_be_created_is_named(const char *dir)
{
  const char *missing = path_in(dir, "missing/log"), *file = path_in(dir, "file"), *below = path_in(dir, "file/log");
  write_file(file, "not a directory");
  refused(WAL_E_NOT_FOUND, missing);
  MESSAGE_HAS("missing/log");
  EQUAL(err.os_error, ENOENT);
  CHECK(!exists(path_in(dir, "missing")));
  refused(WAL_E_IO, below);
  MESSAGE_HAS("file/log");
  EQUAL(err.os_error, ENOTDIR);
  refused(WAL_E_IO, file);
  MESSAGE_HAS("/file");
  EQUAL(err.os_error, ENOTDIR);
  EQUAL(file_size(file), 15);
  CHECK(symlink("loop", path_in(dir, "loop")) == 0);
  refused(WAL_E_IO, path_in(dir, "loop"));
  EQUAL(err.os_error, ELOOP);
}

static void foreign_files_are_left_alone(const char *dir)
{
  static const char *const foreign[] = {"notes.txt", "1.wal", "00000000001.wal", "0000000001.wal.bak", "0000000000.wal",
                                        "9999999999.wal", "x000000001.wal", "MANIFEST.old", ".hidden", "lock"};
  enum { FOREIGN = sizeof foreign / sizeof *foreign };
  const char *log = path_in(dir, "log");
  wal_options_t options = segments_of(4096);
  CHECK(mkdir(log, 0700) == 0);
  for (int at = 0; at < FOREIGN; at++) write_file(path_in(log, foreign[at]), "mine");
  CHECK(mkdir(path_in(log, "subdirectory"), 0700) == 0);
  for (uint64_t round = 1; round <= 3; round++) {
    wal_t *wal = open_log(log, &options);
    fill_to(wal, 200 * round, 100);
    expect_numbers(wal, 200 * (round - 1), 200 * (round - 1) + 1, 200 * round);
    OK(wal_truncate(wal, 200 * round, WAL_TRUNCATE_UNCHECKED, &err));
    close_log(wal);
    for (int at = 0; at < FOREIGN; at++) {
      char text[5] = {0};
      read_bytes(path_in(log, foreign[at]), 0, text, 4);
      CHECK(strcmp(text, "mine") == 0);
      EQUAL(file_size(path_in(log, foreign[at])), 4);
    }
    CHECK(exists(path_in(log, "subdirectory")));
  }
}

static void make_log(const char *dir)
{
  wal_options_t options = segments_of(4096);
  wal_t *wal = open_log(dir, &options);
  fill_to(wal, 100, 100);
  close_log(wal);
}

static void links_in_place_of_files_are_refused(const char *dir)
{
  const char *log = path_in(dir, "log"), *target = path_in(dir, "target");
  static const char *const names[] = {"MANIFEST", "0000000001.wal", "0000000002.wal", "LOCK"};
  for (int at = 0; at < 4; at++) {
    make_log(log);
    CHECK(rename(path_in(log, names[at]), target) == 0);
    CHECK(symlink(target, path_in(log, names[at])) == 0);
    wal_t *wal = NULL;
    err_clear();
    CHECK(wal_open(log, NULL, &wal, &err) < 0 && wal == NULL);
    CHECK(err.code == WAL_E_IO || err.code == WAL_E_CORRUPT);
    MESSAGE_HAS(names[at]);
    CHECK(unlink(path_in(log, names[at])) == 0);
    /* A directory under that name is no file either. */
    CHECK(mkdir(path_in(log, names[at]), 0700) == 0);
    err_clear();
    CHECK(wal_open(log, NULL, &wal, &err) < 0 && wal == NULL);
    CHECK(rmdir(path_in(log, names[at])) == 0);
    CHECK(rename(target, path_in(log, names[at])) == 0);
    wal = open_log(log, NULL);
    expect_numbers(wal, 0, 1, 100);
    close_log(wal);
    remove_directory(log);
  }
}

/* ---- The manifest ---- */

static void set_copy(const char *log, int copy, int at, uint16_t value)
{
  unsigned char bytes[COPY_CRC];
  uint64_t offset = (uint64_t)copy * PAGE;
  read_bytes(path_in(log, "MANIFEST"), offset, bytes, sizeof bytes);
  bytes[at] = (unsigned char)value;
  bytes[at + 1] = (unsigned char)(value >> 8);
  uint32_t crc = crc32_of(0, bytes, sizeof bytes);
  const unsigned char stored[4] = {(unsigned char)crc, (unsigned char)(crc >> 8), (unsigned char)(crc >> 16), (unsigned char)(crc >> 24)};
  write_bytes(path_in(log, "MANIFEST"), offset, bytes, sizeof bytes);
  write_bytes(path_in(log, "MANIFEST"), offset + COPY_CRC, stored, sizeof stored);
}

static void a_newer_manifest_is_refused_and_not_touched(const char *dir)
{
  const char *log = path_in(dir, "log");
  for (int copy = 0; copy < COPIES; copy++) {
    make_log(log);
    /* The same number again proves that the bytes are understood: it opens. */
    set_copy(log, copy, READER_VERSION, 1);
    close_log(open_log(log, NULL));
    set_copy(log, copy, READER_VERSION, 2);
    uint64_t before = fingerprint(log);
    wal_options_t options = defaults();
    wal_t *wal = NULL;
    wal_report_t report;
    refused(WAL_E_FORMAT, log);
    MESSAGE_HAS("MANIFEST");
    options.recovery = WAL_RECOVER_PREFIX;
    STATUS(WAL_E_FORMAT, wal_open(log, &options, &wal, &err));
    options.open_flags = WAL_OPEN_READ_ONLY;
    STATUS(WAL_E_FORMAT, wal_open(log, &options, &wal, &err));
    STATUS(WAL_E_FORMAT, wal_inspect(log, NULL, 0, &report, sizeof report, &err));
    EQUAL(fingerprint(log), before);
    remove_directory(log);
  }
}

static void a_newer_writer_that_old_readers_understand_is_accepted(const char *dir)
{
  const char *log = path_in(dir, "log");
  make_log(log);
  for (int copy = 0; copy < COPIES; copy++) set_copy(log, copy, FORMAT_VERSION, 7);
  wal_t *wal = open_log(log, NULL);
  expect_numbers(wal, 0, 1, 100);
  close_log(wal);
}

static void a_newer_segment_is_refused_and_not_touched(const char *dir)
{
  const char *log = path_in(dir, "log");
  make_log(log);
  const char *segment = path_in(log, "0000000002.wal");
  unsigned char bytes[HEADER_CRC];
  read_bytes(segment, 0, bytes, sizeof bytes);
  bytes[READER_VERSION] = 2;
  uint32_t crc = crc32_of(0, bytes, sizeof bytes);
  const unsigned char stored[4] = {(unsigned char)crc, (unsigned char)(crc >> 8), (unsigned char)(crc >> 16), (unsigned char)(crc >> 24)};
  write_bytes(segment, 0, bytes, sizeof bytes);
  write_bytes(segment, HEADER_CRC, stored, sizeof stored);
  uint64_t before = fingerprint(log);
  wal_options_t options = defaults();
  wal_t *wal = NULL;
  refused(WAL_E_FORMAT, log);
  EQUAL(err.segment, 2);
  options.recovery = WAL_RECOVER_PREFIX;
  STATUS(WAL_E_FORMAT, wal_open(log, &options, &wal, &err));
  EQUAL(fingerprint(log), before);
}

static void destroy_copies(const char *log, unsigned copies)
{
  unsigned char junk[256];
  memset(junk, 0x5A, sizeof junk);
  for (unsigned copy = 0; copy < COPIES; copy++) {
    if (copies & 1u << copy) write_bytes(path_in(log, "MANIFEST"), (uint64_t)copy * PAGE, junk, sizeof junk);
  }
}

static void a_log_opens_with_any_copy_of_its_manifest_and_not_with_none(const char *dir)
{
  const char *log = path_in(dir, "log");
  for (unsigned copies = 1; copies < 1u << COPIES; copies++) {
    make_log(log);
    destroy_copies(log, copies);
    if (copies == 15) {
      uint64_t before = fingerprint(log);
      refused(WAL_E_CORRUPT, log);
      MESSAGE_HAS("MANIFEST");
      EQUAL(fingerprint(log), before);
      remove_directory(log);
      continue;
    }
    wal_t *wal = open_log(log, NULL);
    expect_numbers(wal, 0, 1, 100);
    fill_to(wal, 110, 100);
    close_log(wal);
    wal = open_log(log, NULL);
    expect_numbers(wal, 0, 1, 110);
    close_log(wal);
    remove_directory(log);
  }
}

static void a_missing_or_cut_manifest_is_damage(const char *dir)
{
  const char *log = path_in(dir, "log");
  make_log(log);
  CHECK(unlink(path_in(log, "MANIFEST")) == 0);
  uint64_t before = fingerprint(log);
  refused(WAL_E_CORRUPT, log);
  EQUAL(fingerprint(log), before);
  remove_directory(log);
  make_log(log);
  CHECK(truncate(path_in(log, "MANIFEST"), 0) == 0);
  refused(WAL_E_CORRUPT, log);
  /* A prefix recovery finds out from the segments what the manifest said. */
  wal_options_t options = defaults();
  options.recovery = WAL_RECOVER_PREFIX;
  wal_t *wal = open_log(log, &options);
  wal_report_t report;
  OK(wal_report(wal, &report, sizeof report, &err));
  EQUAL(report.rebuilt_manifest, 1);
  expect_numbers(wal, 0, 1, 100);
  CHECK(wal_last_seq(wal) >= 100);
  close_log(wal);
  close_log(open_log(log, NULL));
}

/* ---- Segments ---- */

static void a_missing_segment_is_damage(const char *dir)
{
  const char *log = path_in(dir, "log");
  make_log(log);
  CHECK(unlink(path_in(log, "0000000002.wal")) == 0);
  uint64_t before = fingerprint(log);
  refused(WAL_E_CORRUPT, log);
  EQUAL(err.segment, 2);
  MESSAGE_HAS("0000000002.wal");
  EQUAL(fingerprint(log), before);
}

static void a_cut_segment_is_damage(const char *dir)
{
  const char *log = path_in(dir, "log");
  const uint64_t sizes[] = {0, 63, 64, 2000, 4095};
  for (int at = 0; at < 5; at++) {
    make_log(log);
    CHECK(truncate(path_in(log, "0000000003.wal"), (off_t)sizes[at]) == 0);
    refused(WAL_E_CORRUPT, log);
    EQUAL(err.segment, 3);
    remove_directory(log);
  }
}

static void the_seqs_at_risk_of_a_lost_segment_are_named(const char *dir)
{
  const char *log = path_in(dir, "log");
  make_log(log);
  place_t first = find_number(log, 1);
  uint64_t lost = 1;
  while (find_number(log, lost).segment == first.segment) lost++;
  CHECK(unlink(path_in(log, "0000000002.wal")) == 0);
  refused(WAL_E_CORRUPT, log);
  CHECK(err.seq > 0 && err.seq <= lost && err.seq_last >= lost);
}

/* Flips a bit of a record in the middle; the record is never shown, nor is the end taken for it. */
static void a_flipped_bit_is_reported_where_it_is(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  for (uint64_t victim = 5; victim <= 100; victim += scaled(10) == 1 ? 31 : 7) {
    make_log(log);
    place_t place = find_number(log, victim);
    flip_bit(place.path, place.offset + 40);
    wal_t *wal = NULL;
    err_clear();
    wal_status_t status = wal_open(log, NULL, &wal, &err);
    if (status == WAL_OK) {
      OK(wal_replay_open(wal, 0, 0, &cursor, &err));
      for (uint64_t seq = 1; seq < victim; seq++) {
        OK(wal_replay_next(cursor, &record, &err));
        EQUAL(record.seq, seq);
        EQUAL(number_of(&record), seq);
      }
      /* And so it stays. */
      for (int round = 0; round < 3; round++) {
        STATUS(WAL_E_CORRUPT, wal_replay_next(cursor, &record, &err));
        EQUAL(err.segment, place.segment);
        EQUAL(err.seq, victim);
        CHECK(err.offset < place.offset && err.offset + 64 > place.offset);
        CHECK(err.seq_last >= victim);
      }
      /* There is something to say, and waiting says so. */
      wal_status_t waited = wal_replay_wait(cursor, WAL_WAIT_FOREVER, NULL);
      CHECK(waited == WAL_OK || waited == WAL_E_CORRUPT);
      wal_replay_close(cursor);
      close_log(wal);
    } else {
      status_at(status, WAL_E_CORRUPT, "wal_open", __FILE__, __LINE__);
      EQUAL(err.segment, place.segment);
      EQUAL(err.seq, victim);
    }
    wal_report_t report;
    OK(wal_inspect(log, NULL, WAL_INSPECT_FULL, &report, sizeof report, &err));
    EQUAL(report.damage_code, WAL_E_CORRUPT);
    EQUAL(report.damage_segment, place.segment);
    EQUAL(report.damage_seq, victim);
    remove_directory(log);
  }
}

/* Damages in several files are all named by one inspection, which changes nothing. */
static void an_inspection_names_every_damage(const char *dir)
{
  const char *log = path_in(dir, "log");
  static const uint64_t victims[] = {5, 30, 31, 60, 99};
  enum { VICTIMS = sizeof victims / sizeof victims[0] };
  wal_error_t damages[16];
  wal_report_t report;
  place_t places[VICTIMS];
  size_t count = 99;
  make_log(log);
  OK(wal_inspect_damage(log, NULL, NULL, 0, &count, &err));
  EQUAL(count, 0);
  for (int at = 0; at < VICTIMS; at++) places[at] = find_number(log, victims[at]);
  for (int at = 0; at < VICTIMS; at++) flip_bit(places[at].path, places[at].offset + 40);
  OK(wal_inspect_damage(log, NULL, damages, 16, &count, &err));
  EQUAL(count, VICTIMS);
  for (int at = 0; at < VICTIMS; at++) {
    EQUAL(damages[at].code, WAL_E_CORRUPT);
    EQUAL(damages[at].segment, places[at].segment);
    EQUAL(damages[at].seq, victims[at]);
    EQUAL(damages[at].seq_last, victims[at]);
    CHECK(damages[at].offset < places[at].offset && damages[at].offset + 64 > places[at].offset);
    CHECK(strstr(damages[at].message, ".wal") != NULL);
  }
  /* Less room takes the first ones, and the number stays what it is. */
  memset(damages, 0xEE, sizeof damages);
  OK(wal_inspect_damage(log, NULL, damages, 2, &count, &err));
  EQUAL(count, VICTIMS);
  EQUAL(damages[1].seq, victims[1]);
  EQUAL(damages[2].seq, 0xEEEEEEEEEEEEEEEEu);
  OK(wal_inspect(log, NULL, WAL_INSPECT_FULL, &report, sizeof report, &err));
  EQUAL(report.damages, VICTIMS);
  EQUAL(report.damage_seq, victims[0]);
  /* A copy of the manifest, a lost file. */
  flip_bit(path_in(log, "MANIFEST"), 3 * PAGE + 20);
  CHECK(unlink(places[3].path) == 0);
  OK(wal_inspect_damage(log, NULL, damages, 16, &count, &err));
  EQUAL(count, VICTIMS + 1);
  EQUAL(damages[0].segment, 0);
  EQUAL(damages[0].offset, 3 * PAGE);
  EQUAL(damages[4].segment, places[3].segment);
  CHECK(damages[4].seq <= victims[3] && damages[4].seq_last >= victims[3]);
}

static void damage_last_record(const char *log)
{
  wal_t *wal = open_log(log, NULL);
  put(wal, "first");
  put(wal, "second");
  put(wal, "<the last one>");
  close_log(wal);
  place_t place = find_text(log, "<the last one>");
  flip_bit(place.path, place.offset + 3);
}

static void a_last_record_damaged_after_a_clean_close_is_reported(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = NULL;
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  wal_error_t said;
  damage_last_record(log);
  err_clear();
  wal_status_t status = wal_open(log, NULL, &wal, &err);
  if (status == WAL_OK) {
    OK(wal_replay_open(wal, 0, 0, &cursor, &err));
    OK(wal_replay_next(cursor, &record, &err));
    OK(wal_replay_next(cursor, &record, &err));
    STATUS(WAL_E_CORRUPT, wal_replay_next(cursor, &record, &err));
    said = err;
    wal_replay_close(cursor);
    close_log(wal);
  } else {
    status_at(status, WAL_E_CORRUPT, "wal_open", __FILE__, __LINE__);
    said = err;
  }
  err = said;
  EQUAL(err.seq, 3);
  EQUAL(err.segment, 1);
  MESSAGE_HAS("0000000001.wal");
}

static void prefix_keeps_what_precedes_the_damage_and_says_so(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  wal_report_t report;
  wal_options_t options = defaults();
  damage_last_record(log);
  options.recovery = WAL_RECOVER_PREFIX;
  wal_t *wal = open_log(log, &options);
  OK(wal_report(wal, &report, sizeof report, &err));
  EQUAL(report.damage_code, WAL_E_CORRUPT);
  EQUAL(report.damage_segment, 1);
  EQUAL(report.damage_seq, 3);
  EQUAL(report.lost_first_seq, 3);
  CHECK(report.lost_last_seq >= 3);
  EQUAL(report.last_seq, report.lost_last_seq);
  /* What follows goes on above every seq that was ever used. */
  uint64_t next = put(wal, "next");
  CHECK(next > 3);
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  for (uint64_t seq = 1; seq <= 2; seq++) {
    OK(wal_replay_next(cursor, &record, &err));
    EQUAL(record.seq, seq);
  }
  STATUS(WAL_E_GAP, wal_replay_next(cursor, &record, &err));
  ERR_SEQS(3, next - 1);
  STATUS(WAL_E_GAP, wal_replay_next(cursor, &record, &err));
  wal_replay_close(cursor);
  OK(wal_replay_open(wal, 0, WAL_REPLAY_SKIP_LOST, &cursor, &err));
  for (int at = 0; at < 3; at++) OK(wal_replay_next(cursor, &record, &err));
  EQUAL(record.seq, next);
  STATUS(WAL_END, wal_replay_next(cursor, &record, &err));
  wal_replay_close(cursor);
  close_log(wal);
  /* A store that lacks what was lost is not completed behind its back. */
  for (uint64_t store = 1; store <= next; store++) {
    wal_t *none = NULL;
    options = defaults();
    options.store_seq = store;
    if (store < next - 1) {
      STATUS(WAL_E_GAP, wal_open(log, &options, &none, &err));
    } else {
      wal = open_log(log, &options);
      expect_texts(wal, store, store < next ? "next" : NULL, NULL);
      close_log(wal);
    }
  }
}

static void prefix_moves_damaged_segments_aside(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = defaults();
  wal_report_t report;
  make_log(log);
  place_t place = find_number(log, 50);
  flip_bit(place.path, place.offset + 40);
  options.recovery = WAL_RECOVER_PREFIX;
  wal_t *wal = open_log(log, &options);
  OK(wal_report(wal, &report, sizeof report, &err));
  EQUAL(report.damage_segment, place.segment);
  EQUAL(report.damage_seq, 50);
  EQUAL(report.lost_first_seq, 50);
  EQUAL(report.lost_last_seq, 100);
  CHECK(report.files_aside >= 1);
  EQUAL(files_ending(log, ".damaged", NULL), report.files_aside);
  EQUAL(wal_last_seq(wal), 100);
  EQUAL(put(wal, "next"), 101);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  OK(wal_replay_open(wal, 0, WAL_REPLAY_SKIP_LOST, &cursor, &err));
  for (uint64_t seq = 1; seq < 50; seq++) {
    OK(wal_replay_next(cursor, &record, &err));
    EQUAL(number_of(&record), seq);
  }
  OK(wal_replay_next(cursor, &record, &err));
  EQUAL(record.seq, 101);
  wal_replay_close(cursor);
  close_log(wal);
  /* The evidence stays. */
  wal = open_with_store(log, 100);
  expect_texts(wal, 100, "next", NULL);
  EQUAL(files_ending(log, ".damaged", NULL), report.files_aside);
  close_log(wal);
}

static void an_old_copy_of_the_manifest_is_noticed(const char *dir)
{
  const char *log = path_in(dir, "log");
  static unsigned char old[COPIES * PAGE];
  make_log(log);
  read_bytes(path_in(log, "MANIFEST"), 0, old, sizeof old);
  wal_t *wal = open_log(log, NULL);
  fill_to(wal, 200, 100);
  close_log(wal);
  write_bytes(path_in(log, "MANIFEST"), 0, old, sizeof old);
  refused(WAL_E_CORRUPT, log);
}

const test_t damage_tests[] = {
    TEST(a_directory_that_cannot_be_created_is_named),
    TEST(foreign_files_are_left_alone),
    TEST(links_in_place_of_files_are_refused),
    TEST(a_newer_manifest_is_refused_and_not_touched),
    TEST(a_newer_writer_that_old_readers_understand_is_accepted),
    TEST(a_newer_segment_is_refused_and_not_touched),
    TEST(a_log_opens_with_any_copy_of_its_manifest_and_not_with_none),
    TEST(a_missing_or_cut_manifest_is_damage),
    TEST(a_missing_segment_is_damage),
    TEST(a_cut_segment_is_damage),
    TEST(the_seqs_at_risk_of_a_lost_segment_are_named),
    TEST(a_flipped_bit_is_reported_where_it_is),
    TEST(an_inspection_names_every_damage),
    TEST(a_last_record_damaged_after_a_clean_close_is_reported),
    TEST(prefix_keeps_what_precedes_the_damage_and_says_so),
    TEST(prefix_moves_damaged_segments_aside),
    TEST(an_old_copy_of_the_manifest_is_noticed),
    NO_MORE_TESTS,
};
