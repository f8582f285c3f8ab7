/* Pins: what the host forgets and somebody else needs. */

#include "harness.h"

enum { SIZE = 1000, PER_SEGMENT = 3 };

/* A log in small segments, each of which holds three records, with records up to `last`. */
static wal_t *small_log(const char *log, uint64_t last, uint32_t flags)
{
  wal_options_t options = segments_of(4096);
  options.option_flags = flags;
  wal_t *wal = open_log(log, &options);
  fill_to(wal, last, SIZE);
  return wal;
}

static wal_pin_t only_pin(const char *log)
{
  wal_pin_t pin;
  size_t count = 0;
  OK(wal_pin_list(log, &pin, 1, &count, &err));
  EQUAL(count, 1);
  return pin;
}

static void a_pin_keeps_what_the_host_forgets(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = small_log(log, 30, WAL_OPTION_NO_THREAD);
  wal_cursor_t *cursor = NULL;
  uint64_t pinned = 0;
  EQUAL(stat_of(wal).pins, 0);
  EQUAL(stat_of(wal).pinned_seq, UINT64_MAX);
  OK(wal_pin_create(log, "backup-1", 7, 0, 0, &pinned, &err));
  EQUAL(pinned, 7);
  OK(wal_truncate(wal, 30, WAL_TRUNCATE_UNCHECKED, &err));
  /* The host sees nothing of it. */
  EQUAL(wal_oldest_seq(wal), 31);
  STATUS(WAL_E_GAP, wal_replay_open(wal, 7, 0, &cursor, &err));
  STATUS(WAL_E_GAP, wal_replay_open(wal, 6, WAL_REPLAY_PINNED, &cursor, &err));
  CHECK(cursor == NULL);
  expect_numbers(wal, WAL_REPLAY_OLDEST, 1, 0);
  expect_pinned(wal, 7, 8, 30);
  expect_pinned(wal, 20, 21, 30);
  expect_pinned(wal, WAL_REPLAY_OLDEST, 8, 30);
  wal_stat_t stat = stat_of(wal);
  EQUAL(stat.pins, 1);
  EQUAL(stat.pinned_seq, 7);
  CHECK(stat.pinned_bytes >= 6 * 4096 && stat.pinned_bytes <= 9 * 4096);
  wal_pin_t pin = only_pin(log);
  CHECK(strcmp(pin.name, "backup-1") == 0);
  EQUAL(pin.seq, 7);
  EQUAL(pin.held_bytes, stat.pinned_bytes);
  EQUAL(pin.lost + pin.damaged + pin.max_bytes + pin.lost_seq_last + pin.flags, 0);
  close_log(wal);
  /* Nor does it lose any by being opened again, after a close and after a kill, by a reader or by a writer. */
  wal_options_t options = defaults();
  options.open_flags = WAL_OPEN_READ_ONLY;
  wal = open_log(log, &options);
  expect_pinned(wal, 7, 8, 30);
  EQUAL(stat_of(wal).pinned_bytes, pin.held_bytes);
  close_log(wal);
  wal = small_log(log, 33, WAL_OPTION_NO_THREAD);
  OK(wal_pin_advance(log, "backup-1", 7, &err));
  expect_pinned(wal, 7, 8, 33);
  STATUS(WAL_E_RANGE, wal_pin_advance(log, "backup-1", 6, &err));
  OK(wal_pin_advance(log, "backup-1", 20, &err));
  EQUAL(only_pin(log).seq, 20);
  OK(wal_truncate(wal, 32, WAL_TRUNCATE_UNCHECKED, &err));
  STATUS(WAL_E_GAP, wal_replay_open(wal, 19, WAL_REPLAY_PINNED, &cursor, &err));
  expect_pinned(wal, 20, 21, 33);
  CHECK(stat_of(wal).pinned_bytes < pin.held_bytes);
  OK(wal_pin_drop(log, "backup-1", &err));
  STATUS(WAL_E_NOT_FOUND, wal_pin_drop(log, "backup-1", &err));
  STATUS(WAL_E_NOT_FOUND, wal_pin_advance(log, "backup-1", 25, &err));
  OK(wal_truncate(wal, 33, WAL_TRUNCATE_UNCHECKED, &err));
  stat = stat_of(wal);
  EQUAL(stat.pins + stat.pinned_bytes, 0);
  CHECK(stat.segments <= 2);
  EQUAL(files_ending(log, ".pin", NULL), 0);
  close_log(wal);
}

static void what_is_forgotten_cannot_be_pinned(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = small_log(log, 9, WAL_OPTION_NO_THREAD);
  uint64_t pinned = 0, n = 0;
  OK(wal_checkpoint(wal, WAL_SEQ_LAST, &n, &err));
  OK(wal_truncate(wal, n, 0, &err));
  STATUS(WAL_E_GAP, wal_pin_create(log, "late", 8, 0, 0, &pinned, &err));
  ERR_SEQS(9, 9);
  EQUAL(pinned, 0);
  EQUAL(files_ending(log, ".pin", NULL), 0);
  /* Between 9 and 10 is nothing but a CHECKPOINT record. */
  OK(wal_pin_create(log, "right", 9, 0, 0, &pinned, &err));
  EQUAL(pinned, 10);
  OK(wal_pin_create(log, "oldest", WAL_PIN_OLDEST, 0, 0, &pinned, &err));
  EQUAL(pinned, 10);
  STATUS(WAL_E_EXISTS, wal_pin_create(log, "right", 10, 0, 0, NULL, &err));
  OK(wal_pin_create(log, "ahead", 1000, 0, 0, NULL, &err));
  close_log(wal);
}

static void a_pin_above_its_limit_is_lost_and_says_so(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = small_log(log, 12, WAL_OPTION_NO_THREAD);
  wal_cursor_t *cursor = NULL;
  OK(wal_pin_create(log, "slow", 0, 3 * 4096, 0, NULL, &err));
  OK(wal_pin_create(log, "quick", 9, 3 * 4096, 0, NULL, &err));
  OK(wal_truncate(wal, 9, WAL_TRUNCATE_UNCHECKED, &err));
  EQUAL(stat_of(wal).pins_lost, 0);
  expect_pinned(wal, 0, 1, 12);
  fill_to(wal, 18, SIZE);
  OK(wal_truncate(wal, 15, WAL_TRUNCATE_UNCHECKED, &err));
  wal_stat_t stat = stat_of(wal);
  EQUAL(stat.pins, 1);
  EQUAL(stat.pins_lost, 1);
  EQUAL(stat.pinned_seq, 9);
  STATUS(WAL_E_GAP, wal_replay_open(wal, 0, WAL_REPLAY_PINNED, &cursor, &err));
  expect_pinned(wal, 9, 10, 18);
  STATUS(WAL_E_GAP, wal_pin_advance(log, "slow", 12, &err));
  ERR_SEQS(1, 15);
  close_log(wal);
  wal = small_log(log, 18, 0);
  EQUAL(stat_of(wal).pins_lost, 1);
  wal_pin_t pins[2];
  size_t count = 0;
  OK(wal_pin_list(log, pins, 2, &count, &err));
  EQUAL(count, 2);
  EQUAL(pins[0].lost, 1);
  EQUAL(pins[0].lost_seq_last, 15);
  EQUAL(pins[0].held_bytes, 0);
  EQUAL(pins[1].lost, 0);
  OK(wal_pin_drop(log, "slow", &err));
  OK(wal_pin_create(log, "slow", WAL_PIN_OLDEST, 0, 0, NULL, &err));
  close_log(wal);
}

static void a_pin_may_refuse_appends_above_its_limit(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = small_log(log, 12, WAL_OPTION_NO_THREAD);
  OK(wal_pin_create(log, "strict", 0, 3 * 4096, WAL_PIN_REFUSE, NULL, &err));
  EQUAL(only_pin(log).flags, WAL_PIN_REFUSE);
  for (int round = 0; round < 2; round++) {
    wal_status_t status = WAL_OK;
    uint64_t last = wal_last_seq(wal);
    /* Each truncation forgets another segment, and the last one too many. */
    for (unsigned at = 0; at < 100 && status == WAL_OK; at++) {
      last = wal_last_seq(wal);
      err_clear();
      status = put_number(wal, last + 1, SIZE, NULL, &err);
      if (status == WAL_OK) OK(wal_truncate(wal, last, WAL_TRUNCATE_UNCHECKED, &err));
    }
    EQUAL(status, WAL_E_NO_SPACE);
    MESSAGE_HAS("pin");
    EQUAL(wal_last_seq(wal), last);
    EQUAL(stat_of(wal).pins_lost, 0);
    expect_pinned(wal, 0, 1, last);
    close_log(wal);
    wal = small_log(log, last, WAL_OPTION_NO_THREAD);
    STATUS(WAL_E_NO_SPACE, put_number(wal, last + 1, SIZE, NULL, &err));
  }
  OK(wal_pin_advance(log, "strict", wal_last_seq(wal), &err));
  fill_to(wal, wal_last_seq(wal) + 10, SIZE);
  close_log(wal);
}

static void wrong_arguments_are_refused(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_pin_t pin;
  size_t count = 77;
  uint64_t pinned = 77;
  STATUS(WAL_E_NOT_FOUND, wal_pin_create(log, "a", 0, 0, 0, NULL, &err));
  CHECK(!exists(log));
  CHECK(mkdir(log, 0700) == 0);
  STATUS(WAL_E_NOT_FOUND, wal_pin_create(log, "a", 0, 0, 0, NULL, &err));
  STATUS(WAL_E_NOT_FOUND, wal_pin_list(log, NULL, 0, &count, &err));
  STATUS(WAL_E_NOT_FOUND, wal_pin_drop(log, "a", &err));
  uint64_t empty = fingerprint(log);
  wal_t *wal = small_log(log, 3, WAL_OPTION_NO_THREAD);
  uint64_t before = fingerprint(log);
  static const char *const names[] = {"", "a/b", "../x", "white space", "\xC3\xA4", "0000000001.pin", "0000000001.wal", "PINS", "LOCK",
                                      "0123456789012345678901234567890123456789012345678901234567890123"};
  for (size_t at = 0; at < sizeof names / sizeof *names; at++) {
    STATUS(WAL_E_INVALID, wal_pin_create(log, names[at], 0, 0, 0, &pinned, &err));
    STATUS(WAL_E_NOT_FOUND, wal_pin_advance(log, names[at], 1, &err));
    STATUS(WAL_E_NOT_FOUND, wal_pin_drop(log, names[at], &err));
  }
  STATUS(WAL_E_INVALID, wal_pin_drop(log, "\xFF", &err));
  STATUS(WAL_E_INVALID, wal_pin_create(NULL, "a", 0, 0, 0, &pinned, &err));
  STATUS(WAL_E_INVALID, wal_pin_create("", "a", 0, 0, 0, &pinned, &err));
  STATUS(WAL_E_INVALID, wal_pin_create(log, NULL, 0, 0, 0, &pinned, &err));
  STATUS(WAL_E_INVALID, wal_pin_create(log, "a", 0, 0, WAL_PIN_REFUSE, &pinned, &err));
  for (uint32_t bit = 2; bit != 0; bit <<= 1) STATUS(WAL_E_INVALID, wal_pin_create(log, "a", 0, 4096, bit, &pinned, &err));
  STATUS(WAL_E_RANGE, wal_pin_create(log, "a", UINT64_C(1) << 62, 0, 0, &pinned, &err));
  STATUS(WAL_E_RANGE, wal_pin_create(log, "a", WAL_SEQ_LAST, 0, 0, &pinned, &err));
  STATUS(WAL_E_RANGE, wal_pin_advance(log, "a", UINT64_MAX, &err));
  STATUS(WAL_E_INVALID, wal_pin_advance(NULL, "a", 1, &err));
  STATUS(WAL_E_INVALID, wal_pin_advance(log, NULL, 1, &err));
  STATUS(WAL_E_INVALID, wal_pin_drop(NULL, "a", &err));
  STATUS(WAL_E_INVALID, wal_pin_drop(log, NULL, &err));
  STATUS(WAL_E_INVALID, wal_pin_list(NULL, &pin, 1, &count, &err));
  STATUS(WAL_E_INVALID, wal_pin_list(log, NULL, 1, &count, &err));
  STATUS(WAL_E_INVALID, wal_pin_list(log, &pin, 1, NULL, &err));
  EQUAL(count, 77);
  EQUAL(pinned, 77);
  OK(wal_pin_list(log, NULL, 0, &count, &err));
  EQUAL(count, 0);
  /* The lock's file is there now, and is all that has come. */
  CHECK(exists(path_in(log, "PINS")) && file_size(path_in(log, "PINS")) == 0);
  CHECK(unlink(path_in(log, "PINS")) == 0);
  EQUAL(fingerprint(log), before);
  CHECK(empty != before);
  EQUAL(wal_pin_create(log, "ok", 0, 0, 0, NULL, NULL), WAL_OK);
  EQUAL(wal_pin_create(log, "ok", 0, 0, 0, NULL, NULL), WAL_E_EXISTS);
  close_log(wal);
}

/* Neither a log that is shut down, nor one that is closed, nor one in another process, is needed. */
static void pin_and_read(void *context)
{
  const char *log = context;
  OK(wal_pin_create(log, "child", 3, 0, 0, NULL, &err));
  OK(wal_pin_advance(log, "child", 4, &err));
  wal_pin_t pin = only_pin(log);
  EQUAL(pin.seq, 4);
}

static void no_open_log_is_needed_and_a_forked_child_may_pin(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = small_log(log, 12, 0);
  child_succeeds(pin_and_read, (void *)(uintptr_t)log);
  /* The child has neither kept nor given up the lock of the pins, nor the parent's of the log. */
  OK(wal_truncate(wal, 12, WAL_TRUNCATE_UNCHECKED, &err));
  expect_pinned(wal, 4, 5, 12);
  OK(wal_shutdown(wal, &err));
  OK(wal_pin_advance(log, "child", 5, &err));
  OK(wal_pin_create(log, "after-the-shutdown", WAL_PIN_OLDEST, 0, 0, NULL, &err));
  OK(wal_close(wal, &err));
  OK(wal_pin_drop(log, "after-the-shutdown", &err));
  OK(wal_pin_advance(log, "child", 6, &err));
  wal = small_log(log, 12, 0);
  expect_pinned(wal, 6, 7, 12);
  close_log(wal);
}

static void files_of_pins_are_for_whom_the_manifest_is(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = segments_of(4096);
  options.file_mode = 0640;
  mode_t before = umask(0);
  wal_t *wal = open_log(log, &options);
  OK(wal_pin_create(log, "a", 0, 0, 0, NULL, &err));
  umask(before);
  struct stat stat_;
  CHECK(stat(path_in(log, "0000000001.pin"), &stat_) == 0 && (stat_.st_mode & 07777) == 0640);
  CHECK(stat(path_in(log, "PINS"), &stat_) == 0 && (stat_.st_mode & 07777) == 0640);
  EQUAL(file_size(path_in(log, "0000000001.pin")), 8192);
  close_log(wal);
}

static void a_damaged_pin_is_reported_and_keeps_everything(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = small_log(log, 12, WAL_OPTION_NO_THREAD);
  OK(wal_pin_create(log, "a", 9, 0, 0, NULL, &err));
  flip_bit(path_in(log, "0000000001.pin"), 40);
  EQUAL(only_pin(log).damaged, 0);
  flip_bit(path_in(log, "0000000001.pin"), 4096 + 40);
  wal_pin_t pin = only_pin(log);
  EQUAL(pin.damaged, 1);
  CHECK(strcmp(pin.name, "0000000001.pin") == 0);
  OK(wal_truncate(wal, 9, WAL_TRUNCATE_UNCHECKED, &err));
  EQUAL(stat_of(wal).pins_damaged, 1);
  EQUAL(stat_of(wal).pinned_seq, 0);
  CHECK(stat_of(wal).pinned_bytes >= 2 * 4096);
  close_log(wal);
  wal = small_log(log, 15, WAL_OPTION_NO_THREAD);
  CHECK(stat_of(wal).pinned_bytes >= 2 * 4096);
  OK(wal_pin_drop(log, pin.name, &err));
  OK(wal_truncate(wal, 15, WAL_TRUNCATE_UNCHECKED, &err));
  EQUAL(stat_of(wal).pinned_bytes, 0);
  close_log(wal);
}

static void an_inspection_reads_what_only_pins_need(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = small_log(log, 30, WAL_OPTION_NO_THREAD);
  wal_report_t report;
  wal_error_t damages[4];
  size_t count = 0;
  OK(wal_pin_create(log, "backup", 7, 0, 0, NULL, &err));
  OK(wal_pin_create(log, "later", 17, 0, 0, NULL, &err));
  OK(wal_truncate(wal, 29, WAL_TRUNCATE_UNCHECKED, &err));
  close_log(wal);
  OK(wal_inspect(log, NULL, WAL_INSPECT_FULL, &report, sizeof report, &err));
  EQUAL(report.damages, 0);
  /* A frame, and a whole segment. */
  place_t frame = find_number(log, 11), gone = find_number(log, 14);
  flip_bit(frame.path, frame.offset + 100);
  CHECK(unlink(gone.path) == 0);
  OK(wal_inspect_damage(log, NULL, damages, 4, &count, &err));
  EQUAL(count, 2);
  EQUAL(damages[0].code, WAL_E_CORRUPT);
  EQUAL(damages[0].segment, frame.segment);
  EQUAL(damages[0].seq, 11);
  EQUAL(damages[0].seq_last, 11);
  EQUAL(damages[1].segment, gone.segment);
  EQUAL(damages[1].seq, 13);
  EQUAL(damages[1].seq_last, 15);
  CHECK(strstr(damages[1].message, "which only pins need") != NULL);
  /* An opening does not need them. */
  OK(wal_inspect(log, NULL, WAL_INSPECT_FULL, &report, sizeof report, &err));
  EQUAL(report.damages, 2);
  EQUAL(report.damage_code, WAL_OK);
  OK(wal_inspect(log, NULL, 0, &report, sizeof report, &err));
  EQUAL(report.damages, 0);
  OK(wal_pin_advance(log, "backup", 16, &err));
  OK(wal_inspect_damage(log, NULL, damages, 4, &count, &err));
  EQUAL(count, 0);
  /* Where the OPEN is lost that says what came before, whatever stands in front of it is looked at, too. */
  place_t opened = find_number(log, 20);
  flip_bit(opened.path, 64 + 30);
  OK(wal_inspect_damage(log, NULL, damages, 4, &count, &err));
  CHECK(count >= 1);
  EQUAL(damages[count - 1].segment, opened.segment);
  OK(wal_pin_drop(log, "backup", &err));
  OK(wal_pin_drop(log, "later", &err));
  OK(wal_inspect_damage(log, NULL, damages, 4, &count, &err));
  EQUAL(count, 0);
}

/* Another process makes, moves and drops pins as fast as it can while the host appends, forgets and recycles; it is killed at some time, and its last
 * pin must still hold. */
typedef struct {
  const char *log;
  /* One more than what the child's pin is at; 0 while it is made, moved or taken away. */
  volatile uint64_t *held, *last, *rounds;
} feed_t;

static void follow(void *context)
{
  feed_t *feed = context;
  for (;;) {
    uint64_t from = 0;
    wal_status_t made = wal_pin_create(feed->log, "feed", WAL_PIN_OLDEST, 0, 0, &from, &err);
    if (made != WAL_OK) FAIL("%d: %s", made, err.message);
    *feed->held = from + 1;
    for (int step = 0; step < 5; step++) {
      uint64_t last = *feed->last;
      if (last > from) from += (last - from) / 2;
      *feed->held = 0;
      OK(wal_pin_advance(feed->log, "feed", from, &err));
      *feed->held = from + 1;
      ++*feed->rounds;
    }
    *feed->held = 0;
    OK(wal_pin_drop(feed->log, "feed", &err));
  }
}

static void another_process_pins_while_the_host_forgets(const char *dir)
{
  const char *log = path_in(dir, "log");
  volatile uint64_t *shared = shared_memory(3 * sizeof *shared);
  feed_t feed = {log, &shared[0], &shared[1], &shared[2]};
  wal_t *wal = small_log(log, 3, 0);
  *feed.last = 3;
  fflush(stdout);
  pid_t process = fork();
  CHECK(process >= 0);
  if (process == 0) {
    limit_childs_time();
    follow(&feed);
  }
  uint64_t goal = scaled(30), checked = 0;
  while (*feed.rounds < goal || checked == 0) {
    fill_to(wal, wal_last_seq(wal) + 4, SIZE);
    *feed.last = wal_last_seq(wal);
    OK(wal_truncate(wal, wal_last_seq(wal) - 2, WAL_TRUNCATE_UNCHECKED, &err));
    uint64_t held = 0;
    wal_cursor_t *cursor = NULL;
    AWAIT((held = *feed.held) > 0);
    if (wal_replay_open(wal, held - 1, WAL_REPLAY_PINNED, &cursor, &err) == WAL_OK) {
      wal_record_t record;
      for (uint64_t seq = held; seq <= wal_last_seq(wal); seq++, checked++) {
        OK(wal_replay_next(cursor, &record, &err));
        EQUAL(record.seq, seq);
        EQUAL(number_of(&record), seq);
      }
      wal_replay_close(cursor);
    } else {
      /* It has moved on, or gone, since. */
      CHECK(*feed.held != held);
    }
  }
  CHECK(kill(process, SIGKILL) == 0 && waitpid(process, NULL, 0) == process);
  CHECK(checked > 0);
  wal_pin_t pin;
  size_t count = 0;
  uint64_t last = wal_last_seq(wal) + 6;
  fill_to(wal, last, SIZE);
  OK(wal_truncate(wal, last, WAL_TRUNCATE_UNCHECKED, &err));
  for (int round = 0; round < 2; round++) {
    OK(wal_pin_list(log, &pin, 1, &count, &err));
    CHECK(count <= 1);
    if (count == 1) expect_pinned(wal, pin.seq, pin.seq + 1, last);
    close_log(wal);
    wal = small_log(log, last, 0);
  }
  if (count == 1) OK(wal_pin_drop(log, "feed", &err));
  close_log(wal);
}

const test_t pin_tests[] = {
    TEST(a_pin_keeps_what_the_host_forgets),
    TEST(what_is_forgotten_cannot_be_pinned),
    TEST(a_pin_above_its_limit_is_lost_and_says_so),
    TEST(a_pin_may_refuse_appends_above_its_limit),
    TEST(wrong_arguments_are_refused),
    TEST(no_open_log_is_needed_and_a_forked_child_may_pin),
    TEST(files_of_pins_are_for_whom_the_manifest_is),
    TEST(an_inspection_reads_what_only_pins_need),
    TEST(a_damaged_pin_is_reported_and_keeps_everything),
    TEST(another_process_pins_while_the_host_forgets),
    NO_MORE_TESTS,
};
