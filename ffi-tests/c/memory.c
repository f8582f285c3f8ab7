/* Memory that is refused, one allocation after the other, once and from then on: every call answers with a code and a message, the log is as before, and
 * the same call succeeds when there is memory again. A program of its own, because it has its own allocator. */

#include "allocator.h"
#include "harness.h"
#include "through.h"

/* What one run of a script has been told. */
typedef struct {
  const char *log;
  wal_options_t options;
  wal_t *wal;
  /* Seqs of the records that were acknowledged. Each record's number is its seq. */
  uint64_t told[1024];
  size_t count;
  /* Records up to here may be gone. */
  uint64_t floor;
} run_t;

/* ---- Calls ---- */

/* The call returns `status` whatever memory there is; or it says that there was too little, and then, with memory again, returns `status`. */
#define TRY(status, call)                                                             \
  do {                                                                                \
    err_clear();                                                                      \
    wal_status_t first_ = (call);                                                     \
    if (first_ == WAL_E_NO_MEMORY) {                                                  \
      CHECK(memory_back() > 0);                                                       \
      status_at(first_, WAL_E_NO_MEMORY, #call, __FILE__, __LINE__);                  \
      STATUS(status, call);                                                           \
    } else {                                                                          \
      status_at(first_, status, #call, __FILE__, __LINE__);                           \
    }                                                                                 \
  } while (0)

static void open_run(run_t *run)
{
  wal_options_t asked = as_asked(&run->options);
  TRY(WAL_OK, wal_open(run->log, &asked, &run->wal, &err));
}

/* Closing needs no memory: it could not be tried again. */
static void close_run(run_t *run)
{
  OK(wal_close(run->wal, &err));
  run->wal = NULL;
}

static void tell(run_t *run, uint64_t seq)
{
  CHECK(run->count < sizeof run->told / sizeof *run->told);
  run->told[run->count++] = seq;
}

static void append(run_t *run, unsigned records, size_t size)
{
  for (unsigned at = 0; at < records; at++) {
    uint64_t last = wal_last_seq(run->wal), seq = 0;
    err_clear();
    wal_status_t status = put_number(run->wal, last + 1, size, &seq, &err);
    if (status == WAL_E_NO_MEMORY) {
      CHECK(memory_back() > 0);
      EQUAL(seq, 0);
      EQUAL(wal_last_seq(run->wal), last);
      OK(put_number(run->wal, last + 1, size, &seq, &err));
    } else {
      status_at(status, WAL_OK, "wal_append", __FILE__, __LINE__);
    }
    EQUAL(seq, last + 1);
    tell(run, seq);
  }
}

enum { IN_A_BATCH = 5 };

/* As a batch or as a packed one. */
static wal_status_t append_entries(wal_t *wal, const wal_entry_t *entries, bool packed, uint32_t flags, uint64_t *last)
{
  static unsigned char bytes[IN_A_BATCH * (1024 + 8)];
  wal_packed_entry_t lengths[IN_A_BATCH];
  size_t len = 0;
  if (!packed) return wal_append_batch(wal, entries, IN_A_BATCH, flags, last, &err);
  for (unsigned at = 0; at < IN_A_BATCH; at++) {
    const wal_entry_t *entry = &entries[at];
    lengths[at] = (wal_packed_entry_t){(uint32_t)entry->key_len, (uint32_t)entry->value_len, entry->op};
    memcpy(bytes + len, entry->key, entry->key_len);
    memcpy(bytes + len + entry->key_len, entry->value, entry->value_len);
    len += entry->key_len + entry->value_len;
  }
  return wal_append_packed(wal, lengths, IN_A_BATCH, bytes, len, flags, last, &err);
}

static void append_batch(run_t *run, size_t size, uint32_t flags)
{
  static unsigned char values[IN_A_BATCH][1024];
  static uint64_t numbers[IN_A_BATCH];
  wal_entry_t entries[IN_A_BATCH] = {{0}};
  uint64_t last = wal_last_seq(run->wal), seq = 0;
  for (unsigned at = 0; at < IN_A_BATCH; at++) {
    numbers[at] = last + 1 + at;
    number_value(numbers[at], values[at], size);
    entries[at] = (wal_entry_t){&numbers[at], values[at], sizeof numbers[at], size, WAL_OP_USER, 0};
  }
  err_clear();
  wal_status_t status = append_entries(run->wal, entries, last % 2, flags, &seq);
  if (status == WAL_E_NO_MEMORY) {
    CHECK(memory_back() > 0);
    EQUAL(wal_last_seq(run->wal), last);
    OK(append_entries(run->wal, entries, last % 2, flags, &seq));
  } else {
    status_at(status, WAL_OK, "append_entries", __FILE__, __LINE__);
  }
  EQUAL(seq, last + IN_A_BATCH);
  for (uint64_t each = last + 1; each <= seq; each++) tell(run, each);
}

/* Declares everything covered and forgets it. */
static void forget_all(run_t *run)
{
  uint64_t n = 0;
  TRY(WAL_OK, wal_checkpoint(run->wal, WAL_SEQ_LAST, &n, &err));
  TRY(WAL_OK, wal_truncate(run->wal, n, 0, &err));
  run->floor = n;
}

/* The next record of a cursor is the next of those that were told. */
static void read_next(const run_t *run, wal_cursor_t *cursor, size_t *place)
{
  wal_record_t record;
  TRY(WAL_OK, wal_replay_next(cursor, &record, &err));
  CHECK(*place < run->count);
  EQUAL(record.seq, run->told[*place]);
  EQUAL(number_of(&record), record.seq);
  ++*place;
}

static void read_all(const run_t *run, uint64_t after, uint32_t flags)
{
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  TRY(WAL_OK, wal_replay_open(run->wal, after, flags, &cursor, &err));
  size_t place = 0;
  while (place < run->count && run->told[place] <= run->floor) place++;
  while (place < run->count) read_next(run, cursor, &place);
  TRY(WAL_END, wal_replay_next(cursor, &record, &err));
  TRY(WAL_TIMEOUT, wal_replay_wait(cursor, 0, &err));
  wal_replay_close(cursor);
}

/* ---- Running scripts ---- */

/* Makes the log that a script begins with: `run->log` is where, `run->told` what is in it afterwards. */
typedef void prepare_t(run_t *run);
typedef void script_t(run_t *run);

static unsigned failures;

/* One run; how many allocations failed in it. Afterwards the log has what was acknowledged, its lock is free, and no block of memory is left. */
static unsigned starve_once(const run_t *prepared, const char *made, script_t *script, unsigned nth, bool from_then_on)
{
  static run_t run;
  run = *prepared;
  if (exists(made)) copy_directory(made, run.log);
  long blocks = memory_blocks();
  memory_fail(nth, from_then_on);
  script(&run);
  unsigned failed = memory_back();
  CHECK(run.wal == NULL);
  if (nth > 0) EQUAL(memory_blocks(), blocks);
  if (exists(run.log)) {
    wal_options_t options = defaults();
    options.open_flags = WAL_OPEN_EXISTING;
    run.wal = open_log(run.log, &options);
    read_all(&run, WAL_REPLAY_OLDEST, WAL_REPLAY_SKIP_LOST);
    append(&run, 1, 100);
    close_log(run.wal);
    remove_directory(run.log);
  }
  return failed;
}

static void starve(const char *dir, const wal_options_t *options, prepare_t *prepare, script_t *script)
{
  static run_t run;
  const char *made = path_in(dir, "made"), *log = path_in(dir, "log");
  run = (run_t){.log = made};
  if (prepare != NULL) prepare(&run);
  run.log = log;
  run.options = *options;
  /* Once without a failure: the system keeps what it needs for a first thread. */
  EQUAL(starve_once(&run, made, script, 0, false), 0);
  unsigned here = 0;
  /* A part of them under a tool that makes everything slow, every one otherwise. */
  unsigned apart = scaled(10) < 10 ? 6 : 1;
  for (unsigned from_then_on = 0; from_then_on < 2; from_then_on++) {
    unsigned failed, nth = 1 + from_then_on * (apart / 2);
    for (; (failed = starve_once(&run, made, script, nth, from_then_on)) > 0; nth += apart) here += failed;
  }
  CHECK(here > 0);
  failures += here;
  if (prepare != NULL) remove_directory(made);
}

static void report_tally(void)
{
  printf("tally: failed-allocations %u allocations\n", failures);
}

static wal_options_t small(uint32_t option_flags)
{
  wal_options_t options = segments_of(4096);
  options.option_flags = option_flags;
  return options;
}

/* ---- Logs to begin with ---- */

static void told_up_to(run_t *run, uint64_t last)
{
  for (uint64_t seq = 1; seq <= last; seq++) tell(run, seq);
}

static void closed_log(run_t *run)
{
  wal_options_t options = small(0);
  wal_t *wal = open_log(run->log, &options);
  fill_to(wal, 100, 100);
  close_log(wal);
  told_up_to(run, 100);
}

static void fill_and_die(void *context)
{
  wal_options_t options = small(WAL_OPTION_NO_THREAD);
  options.sync_mode = WAL_SYNC_OS;
  wal_t *wal = open_log(context, &options);
  fill_to(wal, 60, 100);
  OK(wal_sync(wal, WAL_SEQ_LAST, &err));
  fill_to(wal, 75, 100);
  die();
}

static void killed_log(run_t *run)
{
  child_dies(fill_and_die, (void *)run->log);
  told_up_to(run, 75);
}

/* Seq 50 is damaged, and seq 100 the last. */
static void damaged_log(run_t *run)
{
  closed_log(run);
  place_t place = find_number(run->log, 50);
  flip_bit(place.path, place.offset + 40);
  run->count = 49;
}

static void log_without_a_manifest(run_t *run)
{
  closed_log(run);
  CHECK(unlink(path_in(run->log, "MANIFEST")) == 0);
}

/* Larger than any buffer, in segments that it fits into. */
enum { LARGE = (1 << 20) + 4096, FOR_LARGE = LARGE + 4096 };

static wal_options_t large(void)
{
  wal_options_t options = segments_of(FOR_LARGE);
  options.option_flags = WAL_OPTION_NO_THREAD;
  return options;
}

/* Seq 2 is the large one. */
static void log_with_a_large_record(run_t *run)
{
  wal_options_t options = large();
  wal_t *wal = open_log(run->log, &options);
  uint64_t seq;
  fill_to(wal, 1, 100);
  OK(put_number(wal, 2, LARGE, &seq, &err));
  fill_to(wal, 3, 100);
  close_log(wal);
  told_up_to(run, 3);
}

/* ---- Scripts ---- */

static void append_and_close(run_t *run)
{
  open_run(run);
  append(run, 3, 100);
  close_run(run);
}

static void opening_a_new_log(const char *dir)
{
  wal_options_t options = small(0);
  starve(dir, &options, NULL, append_and_close);
  report_tally();
}

static void opening_a_closed_log(const char *dir)
{
  wal_options_t options = defaults();
  starve(dir, &options, closed_log, append_and_close);
  report_tally();
}

static void opening_a_log_after_a_kill(const char *dir)
{
  wal_options_t options = defaults();
  starve(dir, &options, killed_log, append_and_close);
  report_tally();
}

static void open_twice(run_t *run)
{
  wal_t *other = NULL;
  open_run(run);
  TRY(WAL_E_LOCKED, wal_open(run->log, &run->options, &other, &err));
  CHECK(other == NULL);
  close_run(run);
}

static void be_refused(run_t *run)
{
  wal_t *none = NULL;
  wal_options_t options = defaults();
  options.open_flags = WAL_OPEN_NEW;
  TRY(WAL_E_EXISTS, wal_open(run->log, &options, &none, &err));
  options = defaults();
  options.store_seq = 101;
  TRY(WAL_E_GAP, wal_open(run->log, &options, &none, &err));
  options = defaults();
  options.expected_log_id[3] = 1;
  TRY(WAL_E_WRONG_LOG, wal_open(run->log, &options, &none, &err));
  CHECK(none == NULL);
}

static void refusals(const char *dir)
{
  wal_options_t options = defaults();
  starve(dir, &options, closed_log, open_twice);
  starve(dir, &options, closed_log, be_refused);
  report_tally();
}

static void recover_prefix(run_t *run)
{
  open_run(run);
  EQUAL(wal_last_seq(run->wal), 100);
  append(run, 2, 100);
  close_run(run);
}

static void refuse_then_recover(run_t *run)
{
  wal_t *none = NULL;
  TRY(WAL_E_CORRUPT, wal_open(run->log, NULL, &none, &err));
  CHECK(none == NULL);
  recover_prefix(run);
}

static void recovering_what_precedes_damage(const char *dir)
{
  wal_options_t options = defaults();
  options.recovery = WAL_RECOVER_PREFIX;
  starve(dir, &options, damaged_log, recover_prefix);
  starve(dir, &options, log_without_a_manifest, refuse_then_recover);
  report_tally();
}

/* Every call that appends, and what belongs to it. */
static void append_everything(run_t *run)
{
  wal_stat_t stat;
  wal_report_t report;
  open_run(run);
  append(run, 30, 300);
  append_batch(run, 200, 0);
  append_batch(run, 300, WAL_APPEND_SYNC);
  append_batch(run, 300, WAL_APPEND_ASYNC);
  append(run, 20, 900);
  TRY(WAL_OK, wal_flush(run->wal, &err));
  TRY(WAL_OK, wal_sync(run->wal, WAL_SEQ_LAST, &err));
  TRY(WAL_OK, wal_wait_durable(run->wal, wal_last_seq(run->wal), 0, &err));
  TRY(WAL_TIMEOUT, wal_wait_durable(run->wal, wal_last_seq(run->wal) + 1, 0, &err));
  TRY(WAL_OK, wal_stat(run->wal, &stat, sizeof stat, &err));
  CHECK(stat.rotations > 5);
  TRY(WAL_OK, wal_report(run->wal, &report, sizeof report, &err));
  close_run(run);
}

static void appending(const char *dir)
{
  static const uint32_t modes[] = {WAL_SYNC_ALWAYS, WAL_SYNC_BATCH, WAL_SYNC_OS, WAL_SYNC_NONE};
  for (unsigned at = 0; at < sizeof modes / sizeof *modes; at++) {
    wal_options_t options = small(WAL_OPTION_NO_THREAD);
    options.sync_mode = modes[at];
    starve(dir, &options, NULL, append_everything);
  }
  report_tally();
}

static void appending_beside_the_background_thread(const char *dir)
{
  wal_options_t options = small(0);
  starve(dir, &options, NULL, append_everything);
  options.sync_mode = WAL_SYNC_BATCH;
  options.batch_interval_us = 200;
  starve(dir, &options, NULL, append_everything);
  report_tally();
}

/* A record that goes to the file without a buffer. */
static void append_large(run_t *run)
{
  static unsigned char value[LARGE];
  uint64_t seq = 0, number = 1;
  number_value(number, value, sizeof value);
  open_run(run);
  TRY(WAL_OK, wal_append(run->wal, WAL_OP_USER, &number, sizeof number, value, sizeof value, &seq, &err));
  EQUAL(seq, 1);
  tell(run, seq);
  append(run, 3, 1000);
  close_run(run);
}

static void appending_a_large_record(const char *dir)
{
  wal_options_t options = large();
  starve(dir, &options, NULL, append_large);
  report_tally();
}

/* Forgets segments that a cursor still reads, then what it has read, and goes on in recycled ones. */
static void forget(run_t *run)
{
  wal_cursor_t *cursor = NULL;
  open_run(run);
  append(run, 40, 300);
  TRY(WAL_OK, wal_replay_open(run->wal, 0, 0, &cursor, &err));
  size_t place = 0;
  read_next(run, cursor, &place);
  forget_all(run);
  append(run, 20, 300);
  while (place < run->count) read_next(run, cursor, &place);
  wal_replay_close(cursor);
  append(run, 40, 300);
  TRY(WAL_E_NOT_CHECKPOINTED, wal_truncate(run->wal, wal_last_seq(run->wal) - 10, 0, &err));
  TRY(WAL_OK, wal_truncate(run->wal, wal_last_seq(run->wal) - 10, WAL_TRUNCATE_UNCHECKED, &err));
  run->floor = wal_last_seq(run->wal) - 10;
  append(run, 20, 300);
  TRY(WAL_E_GAP, wal_replay_open(run->wal, run->floor - 20, 0, &cursor, &err));
  forget_all(run);
  append(run, 1, 300);
  forget_all(run);
  close_run(run);
}

static void checkpoints_and_truncation(const char *dir)
{
  wal_options_t options = small(WAL_OPTION_NO_THREAD);
  starve(dir, &options, NULL, forget);
  options.recycle_segments = WAL_RECYCLE_NONE;
  starve(dir, &options, NULL, forget);
  starve(dir, &options, closed_log, forget);
  report_tally();
}

static void checkpoints_and_truncation_beside_the_background_thread(const char *dir)
{
  wal_options_t options = small(0);
  starve(dir, &options, NULL, forget);
  report_tally();
}

static void read_and_close(run_t *run)
{
  open_run(run);
  read_all(run, 0, 0);
  close_run(run);
}

/* A pin that is refused memory is not there, and one that was to go or move has not. */
static void pin(run_t *run)
{
  wal_pin_t pins[2];
  wal_cursor_t *cursor = NULL;
  size_t count = 0, places = 4;
  open_run(run);
  append(run, 12, 1000);
  TRY(WAL_OK, wal_pin_create(run->log, "one", 4, 0, 0, NULL, &err));
  TRY(WAL_OK, wal_pin_create(run->log, "two", 8, 0, 0, NULL, &err));
  TRY(WAL_OK, wal_truncate(run->wal, 12, WAL_TRUNCATE_UNCHECKED, &err));
  run->floor = 12;
  TRY(WAL_OK, wal_replay_open(run->wal, 4, WAL_REPLAY_PINNED, &cursor, &err));
  while (places < run->count) read_next(run, cursor, &places);
  wal_replay_close(cursor);
  TRY(WAL_OK, wal_pin_list(run->log, pins, 2, &count, &err));
  EQUAL(count, 2);
  TRY(WAL_OK, wal_pin_advance(run->log, "one", 6, &err));
  TRY(WAL_OK, wal_pin_drop(run->log, "two", &err));
  TRY(WAL_OK, wal_pin_list(run->log, pins, 2, &count, &err));
  EQUAL(count, 1);
  EQUAL(pins[0].seq, 6);
  close_run(run);
  open_run(run);
  TRY(WAL_OK, wal_pin_drop(run->log, "one", &err));
  close_run(run);
}

static void pins(const char *dir)
{
  wal_options_t options = small(WAL_OPTION_NO_THREAD);
  starve(dir, &options, NULL, pin);
  report_tally();
}

enum { CURSORS = 9 };

static void replay(run_t *run)
{
  wal_cursor_t *cursors[CURSORS] = {NULL};
  size_t places[CURSORS] = {0};
  open_run(run);
  read_all(run, 0, WAL_REPLAY_RAW | WAL_REPLAY_UNSYNCED);
  for (unsigned at = 0; at < CURSORS; at++) TRY(WAL_OK, wal_replay_open(run->wal, 0, 0, &cursors[at], &err));
  for (unsigned at = 0; at < CURSORS; at++) {
    while (places[at] < run->count) read_next(run, cursors[at], &places[at]);
  }
  OK(wal_shutdown(run->wal, &err));
  close_run(run);
  for (unsigned at = 0; at < CURSORS; at++) {
    wal_record_t record;
    TRY(WAL_E_CLOSED, wal_replay_next(cursors[at], &record, &err));
    wal_replay_close(cursors[at]);
  }
}

static void replays(const char *dir)
{
  wal_options_t options = defaults();
  starve(dir, &options, closed_log, replay);
  starve(dir, &options, log_with_a_large_record, read_and_close);
  report_tally();
}

/* What nothing vouches for is shown only if that is asked for. */
static void read_only(run_t *run)
{
  uint64_t before = 0;
  memory_pause();
  before = fingerprint(run->log);
  memory_resume();
  open_run(run);
  read_all(run, 0, WAL_REPLAY_UNSYNCED);
  TRY(WAL_E_READ_ONLY, wal_append(run->wal, WAL_OP_PUT, NULL, 0, "v", 1, NULL, &err));
  close_run(run);
  memory_pause();
  EQUAL(fingerprint(run->log), before);
}

static void reading_only(const char *dir)
{
  wal_options_t options = defaults();
  options.open_flags = WAL_OPEN_READ_ONLY;
  starve(dir, &options, closed_log, read_only);
  starve(dir, &options, killed_log, read_only);
  report_tally();
}

/* An inspection says the same as with memory enough, and changes nothing. */
static void look(run_t *run)
{
  static const uint32_t flags[] = {0, WAL_INSPECT_FULL};
  for (unsigned at = 0; at < sizeof flags / sizeof *flags; at++) {
    wal_report_t report, expected;
    memory_pause();
    uint64_t before = fingerprint(run->log);
    OK(wal_inspect(run->log, NULL, flags[at], &expected, sizeof expected, &err));
    memory_resume();
    TRY(WAL_OK, wal_inspect(run->log, NULL, flags[at], &report, sizeof report, &err));
    memory_pause();
    EQUAL(fingerprint(run->log), before);
    report.duration_us = expected.duration_us;
    CHECK(memcmp(&report, &expected, sizeof report) == 0);
    memory_resume();
  }
}

/* The log is opened afterwards, which a damaged one has to be asked for. */
static void look_and_recover(run_t *run)
{
  look(run);
  open_run(run);
  close_run(run);
}

static void inspecting(const char *dir)
{
  wal_options_t options = defaults();
  starve(dir, &options, closed_log, look);
  starve(dir, &options, killed_log, look);
  options.recovery = WAL_RECOVER_PREFIX;
  starve(dir, &options, damaged_log, look_and_recover);
  report_tally();
}

/* The first lock of a process registers handlers for fork, for which the C library has room up to some number of them. */
static void do_nothing(void)
{
}

static void inherit(void *wal)
{
  STATUS(WAL_E_FORKED, wal_sync(wal, WAL_SEQ_LAST, &err));
  STATUS(WAL_E_FORKED, wal_close(wal, &err));
}

static void watching_forks(const char *dir)
{
  static run_t run;
  run = (run_t){.log = path_in(dir, "log"), .options = small(0)};
  for (int at = 0; at < 200; at++) CHECK(pthread_atfork(do_nothing, do_nothing, do_nothing) == 0);
  /* Each attempt comes one allocation further; the handlers are asked for until they are there. */
  unsigned refused = 0;
  for (unsigned nth = 1; run.wal == NULL; nth++) {
    memory_fail(nth, false);
    err_clear();
    wal_status_t status = wal_open(run.log, &run.options, &run.wal, &err);
    unsigned failed = memory_back();
    failures += failed;
    if (status == WAL_OK) break;
    status_at(status, WAL_E_NO_MEMORY, "wal_open", __FILE__, __LINE__);
    refused += failed;
  }
  CHECK(refused > 0);
  append(&run, 1, 100);
  child_succeeds(inherit, run.wal);
  close_run(&run);
  report_tally();
}

/* The layer itself needs no memory. */
static void a_hosts_own_file_layer(const char *dir)
{
  wal_options_t options = small(WAL_OPTION_NO_THREAD);
  options.storage = through_storage();
  starve(dir, &options, NULL, forget);
  starve(dir, &options, killed_log, append_and_close);
  starve(dir, &options, closed_log, look);
  report_tally();
}

static const test_t memory_tests[] = {
    TEST(opening_a_new_log),
    TEST(opening_a_closed_log),
    TEST(opening_a_log_after_a_kill),
    TEST(refusals),
    TEST(recovering_what_precedes_damage),
    TEST(appending),
    TEST(appending_beside_the_background_thread),
    TEST(appending_a_large_record),
    TEST(checkpoints_and_truncation),
    TEST(checkpoints_and_truncation_beside_the_background_thread),
    TEST(replays),
    TEST(reading_only),
    TEST(inspecting),
    TEST(pins),
    TEST(watching_forks),
    TEST(a_hosts_own_file_layer),
    NO_MORE_TESTS,
};

const group_t groups[] = {{"memory", memory_tests}, {NULL, NULL}};
