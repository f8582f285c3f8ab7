/* Processes that die: at every step of the protocol, at every call into the operating system, with and without writers beside them; and torn ends of files. */

#include "harness.h"

enum { MOST_SEQS = 100000 };

/* What survives a child: its store, and what it was told. It stands for the host's own durable state, so every assignment is a durable write. */
typedef struct {
  uint64_t store_n;           /* The n that the store has saved; its data is durable up to there. */
  uint64_t previous_n;        /* The one before. */
  uint64_t flushed;           /* Up to where the store's data is durable: n or above. */
  uint64_t forgotten;         /* Up to where a truncation was asked for. */
  uint64_t steps;             /* Left until the process dies; 0: it does not. */
  uint64_t finished;          /* The whole script has run. */
  uint64_t lives;             /* So that numbers differ between lives. */
  uint64_t numbers[MOST_SEQS]; /* For each acknowledged data record its number, 0 for others. */
} world_t;

static void step(world_t *world)
{
  if (world->steps > 0 && --world->steps == 0) die();
}

static wal_t *open_of_world(const char *dir, const world_t *world, uint32_t option_flags)
{
  wal_options_t options = segments_of(4096);
  options.store_seq = world->store_n > 0 ? world->store_n : WAL_STORE_EMPTY;
  options.option_flags = option_flags;
  return open_log(dir, &options);
}

/* A replay from `after` must yield every acknowledged data record above it, in order, and nothing that was not appended. */
static void expect_world(wal_t *wal, const world_t *world, uint64_t after)
{
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  uint64_t next = after + 1;
  OK(wal_replay_open(wal, after, 0, &cursor, &err));
  for (;;) {
    err_clear();
    wal_status_t status = wal_replay_next(cursor, &record, &err);
    uint64_t seq = status == WAL_OK ? record.seq : MOST_SEQS;
    if (status != WAL_END) status_at(status, WAL_OK, "wal_replay_next", __FILE__, __LINE__);
    CHECK(seq >= next && seq <= MOST_SEQS);
    for (; next < seq; next++) {
      if (world->numbers[next] != 0) FAIL("record %llu was acknowledged and is lost", (unsigned long long)next);
    }
    if (status == WAL_END) break;
    uint64_t number = number_of(&record);
    if (world->numbers[seq] != 0) EQUAL(number, world->numbers[seq]);
    next = seq + 1;
  }
  wal_replay_close(cursor);
}

/* Whatever a store says it holds: either the log refuses it, or it completes it. */
static void expect_refusal_or_everything(const char *dir, const char *copy, const world_t *world, uint64_t store)
{
  copy_directory(dir, copy);
  wal_options_t options = defaults();
  wal_t *wal = NULL;
  options.store_seq = store > 0 ? store : WAL_STORE_EMPTY;
  options = as_asked(&options);
  err_clear();
  wal_status_t status = wal_open(copy, &options, &wal, &err);
  if (status == WAL_OK) {
    expect_world(wal, world, store);
    close_log(wal);
  } else if (status == WAL_E_NOT_FOUND && store > 0) {
    /* The crash was amid the log's creation. */
    for (uint64_t seq = 1; seq < MOST_SEQS; seq++) EQUAL(world->numbers[seq], 0);
  } else {
    status_at(status, WAL_E_GAP, "wal_open", __FILE__, __LINE__);
    CHECK(store < world->forgotten || store > world->store_n);
    CHECK(err.seq > 0 && err.seq_last >= err.seq);
  }
  remove_directory(copy);
}

typedef struct {
  const char *dir;
  world_t *world;
  uint32_t option_flags;
  unsigned die_at_call; /* 0: at none. */
  size_t torn;
} host_t;

/* Appends a record and remembers that it was acknowledged. */
static void append_to_world(wal_t *wal, world_t *world, size_t size)
{
  uint64_t seq = wal_last_seq(wal) + 1, got = 0;
  /* A record that is not acknowledged may be there or not, and its seq may be another record's later. */
  CHECK(seq < MOST_SEQS);
  world->numbers[seq] = 0;
  OK(put_number(wal, seq, size, &got, &err));
  EQUAL(got, seq);
  world->numbers[seq] = seq;
}

static void batch_to_world(wal_t *wal, world_t *world)
{
  uint64_t numbers[5], first = wal_last_seq(wal) + 1, last = 0;
  wal_entry_t entries[5];
  for (uint64_t at = 0; at < 5; at++) {
    numbers[at] = first + at;
    world->numbers[first + at] = 0;
    entries[at] = (wal_entry_t){&numbers[at], &numbers[at], 8, 8, WAL_OP_USER, 0};
  }
  OK(wal_append_batch(wal, entries, 5, 0, &last, &err));
  EQUAL(last, first + 4);
  for (uint64_t seq = first; seq <= last; seq++) world->numbers[seq] = seq;
}

/* One life of a host: opens, completes its store, and runs through the protocol three times. */
static void live(void *context)
{
  const host_t *host = context;
  world_t *world = host->world;
  if (host->die_at_call > 0) fault_die(CALL_ANY, host->die_at_call, host->torn);
  wal_t *wal = open_of_world(host->dir, world, host->option_flags);
  step(world);
  expect_world(wal, world, world->store_n);
  step(world);
  for (int round = 0; round < 3; round++) {
    uint64_t n = 0;
    for (int at = 0; at < 4; at++) {
      append_to_world(wal, world, round == 1 ? 1500 : 60);
      step(world);
    }
    batch_to_world(wal, world);
    step(world);
    /* The store flushes what it has so far; one more record comes before the checkpoint. */
    uint64_t covered = wal_last_seq(wal);
    if (round == 2) append_to_world(wal, world, 100);
    world->flushed = covered;
    step(world);
    world->numbers[wal_last_seq(wal) + 1] = 0;
    OK(wal_checkpoint(wal, covered, &n, &err));
    EQUAL(n, round == 2 ? covered : covered + 1);
    step(world);
    world->previous_n = world->store_n;
    world->store_n = n;
    step(world);
    world->forgotten = n;
    OK(wal_truncate(wal, n, 0, &err));
    step(world);
  }
  OK(wal_close(wal, &err));
  world->finished = 1;
}

/* What the next life and any other store would find. */
static void examine(const host_t *host)
{
  const world_t *world = host->world;
  char *copy = strdup(host->dir);
  CHECK(copy != NULL);
  memcpy(copy + strlen(copy) - 3, "cpy", 3);
  if (exists(path_in(host->dir, "MANIFEST"))) {
    uint64_t n = world->store_n;
    const uint64_t stores[] = {n, 0, world->previous_n, n > 0 ? n - 1 : 0, n + 1, n + 1000};
    for (size_t at = 0; at < sizeof stores / sizeof *stores; at++) expect_refusal_or_everything(host->dir, copy, world, stores[at]);
  }
  free(copy);
}

static void the_protocol_survives_a_crash_at_every_step(const char *dir)
{
  /* Each life goes on with what the one before has left. */
  host_t host = {path_in(dir, "log"), shared_memory(sizeof(world_t)), WAL_OPTION_NO_THREAD, 0, 0};
  for (uint64_t at = 1;; at++) {
    host.world->steps = at;
    host.world->finished = 0;
    int status = in_child(live, &host);
    if (host.world->finished) {
      CHECK(succeeded(status));
      CHECK(at >= 30);
      break;
    }
    CHECK(was_killed(status));
    examine(&host);
  }
  wal_t *wal = open_of_world(host.dir, host.world, 0);
  expect_world(wal, host.world, host.world->store_n);
  close_log(wal);
}

static void crash_at_every_call(const char *dir, bool same_log, uint32_t option_flags, size_t torn, unsigned stride)
{
  host_t host = {path_in(dir, "log"), shared_memory(sizeof(world_t)), option_flags, 0, torn};
  for (host.die_at_call = 1;; host.die_at_call += stride) {
    host.world->finished = 0;
    int status = in_child(live, &host);
    if (host.world->finished) {
      CHECK(succeeded(status));
      CHECK(host.die_at_call > 50);
      break;
    }
    CHECK(was_killed(status));
    if (host.die_at_call % 7 == 0) examine(&host);
    /* What a crash during the next opening leaves is in the next round, on the same log; here it opens to the end. */
    if (!same_log) {
      if (host.world->store_n == 0 || exists(path_in(host.dir, "MANIFEST"))) {
        wal_t *wal = open_of_world(host.dir, host.world, 0);
        expect_world(wal, host.world, host.world->store_n);
        close_log(wal);
      }
      if (exists(host.dir)) remove_directory(host.dir);
      memset(host.world, 0, sizeof *host.world);
    }
  }
}

static void a_new_log_survives_a_crash_at_every_call(const char *dir)
{
  crash_at_every_call(dir, false, WAL_OPTION_NO_THREAD, 0, scaled(10) == 1 ? 11 : 1);
}

static void a_new_log_survives_a_crash_amid_every_write(const char *dir)
{
  crash_at_every_call(dir, false, WAL_OPTION_NO_THREAD, 30, scaled(10) == 1 ? 13 : 1);
}

static void an_old_log_survives_a_crash_at_every_call(const char *dir)
{
  crash_at_every_call(dir, true, WAL_OPTION_NO_THREAD, 0, scaled(10) == 1 ? 11 : 1);
}

static void an_old_log_survives_a_crash_amid_every_write(const char *dir)
{
  crash_at_every_call(dir, true, WAL_OPTION_NO_THREAD, 100, scaled(10) == 1 ? 13 : 1);
}

static void a_log_with_its_thread_survives_a_crash_at_every_call(const char *dir)
{
  crash_at_every_call(dir, true, 0, 8, scaled(10) == 1 ? 11 : 2);
}

/* ---- With writers ---- */

typedef struct {
  wal_t *wal;
  world_t *world;
  uint64_t writer;
  const uint64_t *limit; /* How far writers may go. */
} writer_t;

static void *write_on(void *context)
{
  const writer_t *writer = context;
  for (uint64_t count = 1;; count++) {
    uint64_t number = writer->writer << 32 | count, seq = 0;
    AWAIT(wal_last_seq(writer->wal) < __atomic_load_n(writer->limit, __ATOMIC_SEQ_CST));
    /* The process is killed; what ends it otherwise is an error. */
    wal_error_t error;
    wal_status_t status = put_number(writer->wal, number, 40 + count % 200, &seq, &error);
    if (status != WAL_OK) FAIL("%s: %s", wal_status_name(status), error.message);
    CHECK(seq < MOST_SEQS);
    __atomic_store_n(&writer->world->numbers[seq], number, __ATOMIC_SEQ_CST);
  }
  return NULL;
}

/* Up to where every seq is acknowledged or a CHECKPOINT: what a store may flush and declare. */
static uint64_t contiguous(const world_t *world, const uint64_t *checkpoints, uint64_t from)
{
  while (__atomic_load_n(&world->numbers[from + 1], __ATOMIC_SEQ_CST) != 0 || checkpoints[from + 1]) from++;
  return from;
}

static void live_with_writers(void *context)
{
  enum { WRITERS = 3 };
  static uint64_t checkpoints[MOST_SEQS];
  const host_t *host = context;
  world_t *world = host->world;
  writer_t writers[WRITERS];
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  wal_t *wal = open_of_world(host->dir, world, host->option_flags);
  expect_world(wal, world, world->store_n);
  /* The store takes over what a crash left unacknowledged; which seqs are CHECKPOINTs a raw replay says. */
  OK(wal_replay_open(wal, world->store_n, WAL_REPLAY_RAW, &cursor, &err));
  while (wal_replay_next(cursor, &record, NULL) == WAL_OK) {
    if (record.op == WAL_OP_CHECKPOINT) checkpoints[record.seq] = 1;
    else world->numbers[record.seq] = number_of(&record);
  }
  wal_replay_close(cursor);
  uint64_t covered = world->store_n, limit = wal_last_seq(wal) + 200;
  for (uint64_t at = 0; at < WRITERS; at++) {
    writers[at] = (writer_t){wal, world, world->lives << 4 | (at + 1), &limit};
    start(write_on, &writers[at]);
  }
  step(world);
  for (int round = 0; round < 3; round++) {
    uint64_t n = 0;
    __atomic_store_n(&limit, wal_last_seq(wal) + 200, __ATOMIC_SEQ_CST);
    AWAIT(contiguous(world, checkpoints, covered) >= covered + 20);
    covered = contiguous(world, checkpoints, covered);
    world->flushed = covered;
    step(world);
    OK(wal_checkpoint(wal, covered, &n, &err));
    CHECK(n >= covered);
    /* What n takes in above covered is in no store: it may be CHECKPOINTs and nothing else. */
    OK(wal_replay_open(wal, covered, WAL_REPLAY_RAW, &cursor, &err));
    while (wal_replay_next(cursor, &record, NULL) == WAL_OK) {
      if (record.op == WAL_OP_CHECKPOINT) checkpoints[record.seq] = 1;
      else CHECK(record.seq > n);
    }
    wal_replay_close(cursor);
    step(world);
    world->previous_n = world->store_n;
    world->store_n = n;
    step(world);
    world->forgotten = n;
    OK(wal_truncate(wal, n, 0, &err));
    step(world);
  }
  world->finished = 1;
  die();
}

static void the_protocol_survives_a_crash_at_every_step_with_writers(const char *dir)
{
  host_t host = {path_in(dir, "log"), shared_memory(sizeof(world_t)), 0, 0, 0};
  uint64_t steps = 0;
  for (unsigned pass = 0; pass < scaled(5); pass++) {
    host.world->finished = 0;
    for (uint64_t at = 1; !host.world->finished; at++) {
      host.world->steps = at;
      host.world->lives++;
      child_dies(live_with_writers, &host);
      if (host.world->finished || at % 4 == 0) examine(&host);
      steps++;
    }
  }
  CHECK(steps >= 13);
  wal_t *wal = open_of_world(host.dir, host.world, 0);
  expect_world(wal, host.world, host.world->store_n);
  close_log(wal);
}

/* ---- Stores of another age, or of another log ---- */

static void a_store_of_another_log_is_told_apart_after_a_crash(const char *dir)
{
  const char *logs[2] = {path_in(dir, "one"), path_in(dir, "two")};
  wal_options_t options[2];
  for (int at = 0; at < 2; at++) {
    host_t host = {logs[at], shared_memory(sizeof(world_t)), 0, 0, 0};
    host.world->steps = 20;
    child_dies(live, &host);
    options[at] = defaults();
    options[at].store_seq = host.world->store_n;
    wal_t *wal = open_log(logs[at], &options[at]);
    wal_log_id(wal, options[at].expected_log_id);
    close_log(wal);
  }
  /* The same seqs, so the numbers fit: only the id tells. */
  EQUAL(options[0].store_seq, options[1].store_seq);
  for (int at = 0; at < 2; at++) {
    wal_t *wal = NULL;
    uint64_t before = fingerprint(logs[1 - at]);
    STATUS(WAL_E_WRONG_LOG, wal_open(logs[1 - at], &options[at], &wal, &err));
    EQUAL(fingerprint(logs[1 - at]), before);
    close_log(open_log(logs[at], &options[at]));
  }
}

static void an_old_copy_of_the_log_is_refused_by_the_store(const char *dir)
{
  const char *log = path_in(dir, "log"), *backup = path_in(dir, "backup");
  wal_options_t options = segments_of(4096);
  wal_t *wal = open_log(log, &options);
  uint64_t n = 0;
  fill_to(wal, 10, 50);
  close_log(wal);
  copy_directory(log, backup);
  wal = open_log(log, NULL);
  fill_to(wal, 20, 50);
  OK(wal_checkpoint(wal, 20, &n, &err));
  close_log(wal);
  options = defaults();
  options.store_seq = n;
  STATUS(WAL_E_GAP, wal_open(backup, &options, &wal, &err));
  ERR_SEQS(11, n);
  /* Even if it was refused before, its own store is welcome. */
  options.store_seq = 10;
  close_log(open_log(backup, &options));
}

/* ---- Truncation ---- */

typedef struct {
  const char *dir;
  unsigned die_at_call;
  uint32_t option_flags;
  uint64_t up_to;
  uint64_t *done;
} truncating_t;

static void truncate_and_die(void *context)
{
  const truncating_t *given = context;
  wal_options_t options = defaults();
  options.option_flags = given->option_flags;
  wal_t *wal = open_log(given->dir, &options);
  fault_die(CALL_ANY, given->die_at_call, 0);
  OK(wal_truncate(wal, given->up_to, WAL_TRUNCATE_UNCHECKED, &err));
  *given->done = 1;
  OK(wal_close(wal, &err));
  *given->done = 2;
}

static void a_truncation_keeps_what_is_above_wherever_the_process_dies(const char *dir)
{
  const char *whole = path_in(dir, "whole"), *log = path_in(dir, "log");
  wal_options_t options = segments_of(4096);
  wal_t *wal = open_log(whole, &options);
  fill_to(wal, 200, 100);
  close_log(wal);
  uint64_t *done = shared_memory(sizeof *done);
  const uint64_t ends[] = {30, 100, 199, 200};
  for (unsigned at = 0; at < 8; at++) {
    truncating_t given = {log, 1, at / 4 ? 0 : WAL_OPTION_NO_THREAD, ends[at % 4], done};
    for (;; given.die_at_call += scaled(10) == 1 ? 3 : 1) {
      *done = 0;
      copy_directory(whole, log);
      int status = in_child(truncate_and_die, &given);
      CHECK(was_killed(status) || *done == 2);
      wal = open_log(log, NULL);
      uint64_t oldest = wal_oldest_seq(wal);
      CHECK(oldest == given.up_to + 1 || (oldest == 1 && *done == 0));
      expect_numbers(wal, oldest - 1, oldest, 200);
      fill_to(wal, 205, 100);
      expect_numbers(wal, oldest - 1, oldest, 205);
      close_log(wal);
      remove_directory(log);
      if (*done == 2) break;
    }
    CHECK(given.die_at_call > 3);
  }
}

/* ---- Torn ends ---- */

typedef struct {
  const char *dir;
  unsigned records;
} torn_t;

static void append_a_batch_and_die(void *context)
{
  const torn_t *given = context;
  wal_options_t options = segments_of(4096);
  options.sync_mode = WAL_SYNC_OS;
  wal_t *wal = open_log(given->dir, &options);
  char values[16][32];
  wal_entry_t entries[16];
  put(wal, "one");
  put(wal, "two");
  for (unsigned at = 0; at < given->records; at++) {
    const char *place = at == 0 ? "begin" : at + 1 == given->records ? "finis" : "middle";
    snprintf(values[at], sizeof values[at], "<%s-%u>", place, at);
    entries[at] = (wal_entry_t){"key", values[at], 3, strlen(values[at]), WAL_OP_PUT, 0};
  }
  OK(wal_append_batch(wal, entries, given->records, 0, NULL, &err));
  die();
}

/* Writes `fill` over the last batch from every byte of it on, to its end; nothing of it may ever be seen. */
static void tear(const char *dir, unsigned records, int fill)
{
  const char *whole = path_in(dir, "whole"), *log = path_in(dir, "log");
  torn_t given = {whole, records};
  child_dies(append_a_batch_and_die, &given);
  char last[32];
  snprintf(last, sizeof last, "finis-%u>", records - 1);
  /* Of a batch of one, the begin is the end. */
  place_t end = find_text(whole, records == 1 ? "begin-0>" : last);
  uint64_t after = end.offset + strlen(records == 1 ? "begin-0>" : last);
  uint64_t frame = find_text(whole, "two").offset + 3;
  frame = (frame + 7) / 8 * 8;
  unsigned char junk[1024];
  memset(junk, fill, sizeof junk);
  CHECK(after > frame && after - frame < sizeof junk);
  for (uint64_t from = frame; from < after; from += scaled(10) == 1 ? 9 : 1) {
    copy_directory(whole, log);
    place_t place = find_text(log, "two");
    unsigned char before[1024];
    read_bytes(place.path, from, before, after - from);
    write_bytes(place.path, from, junk, after - from);
    bool changed = memcmp(before, junk, after - from) != 0;
    wal_options_t options = defaults();
    wal_t *wal = open_log(log, &options);
    wal_report_t report;
    OK(wal_report(wal, &report, sizeof report, &err));
    if (changed) {
      EQUAL(wal_last_seq(wal), 2);
      expect_texts(wal, 0, "one", "two", NULL);
      /* All zeros behind a frame is what an end looks like; anything else is reported. */
      if (fill != 0 || from >= frame + 24) {
        EQUAL(report.dropped_segment, place.segment);
        EQUAL(report.dropped_offset, frame);
        CHECK(report.dropped_bytes > 0);
      }
      EQUAL(put(wal, "three"), 3);
    } else {
      EQUAL(wal_last_seq(wal), 2 + records);
    }
    close_log(wal);
    wal = open_log(log, NULL);
    if (changed) expect_texts(wal, 0, "one", "two", "three", NULL);
    close_log(wal);
    remove_directory(log);
  }
}

static void a_batch_whose_end_is_missing_never_shows(const char *dir)
{
  tear(dir, 4, 0);
}

static void a_batch_whose_end_is_garbage_never_shows(const char *dir)
{
  tear(dir, 4, 0xFF);
}

static void a_torn_record_is_dropped_and_what_follows_is_found(const char *dir)
{
  tear(dir, 1, 0);
}

static void append_half_and_die(void *context)
{
  wal_options_t options = segments_of(65536);
  /* Whose write of a spare might come first. */
  options.option_flags = WAL_OPTION_NO_THREAD;
  wal_t *wal = open_log(context, &options);
  fill_to(wal, wal_last_seq(wal) + 3, 100);
  /* The next write of the record is cut short, also if it begins where the block does. */
  fault_die(CALL_WRITE, 1, 4096);
  fill_to(wal, wal_last_seq(wal) + 1, 5000);
}

static void torn_records_pile_up_without_harm(const char *dir)
{
  const char *log = path_in(dir, "log");
  uint64_t epoch = 0;
  for (uint64_t round = 1; round <= 10; round++) {
    child_dies(append_half_and_die, (void *)log);
    if (round % 2 == 0) continue;
    wal_report_t report;
    wal_t *wal = open_log(log, NULL);
    OK(wal_report(wal, &report, sizeof report, &err));
    CHECK(report.epoch > epoch);
    epoch = report.epoch;
    expect_numbers(wal, 0, 1, 3 * round);
    EQUAL(report.last_seq, 3 * round);
    CHECK(report.dropped_bytes > 0);
    close_log(wal);
  }
}

const test_t crash_tests[] = {
    TEST(the_protocol_survives_a_crash_at_every_step),
    TEST(a_new_log_survives_a_crash_at_every_call),
    TEST(a_new_log_survives_a_crash_amid_every_write),
    TEST(an_old_log_survives_a_crash_at_every_call),
    TEST(an_old_log_survives_a_crash_amid_every_write),
    TEST(a_log_with_its_thread_survives_a_crash_at_every_call),
    TEST(the_protocol_survives_a_crash_at_every_step_with_writers),
    TEST(a_store_of_another_log_is_told_apart_after_a_crash),
    TEST(an_old_copy_of_the_log_is_refused_by_the_store),
    TEST(a_truncation_keeps_what_is_above_wherever_the_process_dies),
    TEST(a_batch_whose_end_is_missing_never_shows),
    TEST(a_batch_whose_end_is_garbage_never_shows),
    TEST(a_torn_record_is_dropped_and_what_follows_is_found),
    TEST(torn_records_pile_up_without_harm),
    NO_MORE_TESTS,
};
