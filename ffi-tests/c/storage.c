/* Logs on a file layer of the host's own: the disk of disk.h, which loses power at every call, fails at every call, and answers what is no answer. */

#include "disk.h"

enum { MOST_RECORDS = 1000, ROUNDS = 6, BATCH = 5, SEGMENT = 4096 };

/* ---- A host, and what it may expect ---- */

typedef enum {
  UNTRIED,
  IN_DOUBT, /* Appended while the power failed, or in doubt by the log's own word. */
  REFUSED,  /* The log has said that it is not there. */
  HANDED,   /* Appended; to be durable after the next sync. */
  DURABLE
} standing_t;

typedef struct {
  standing_t standing;
  uint64_t seq;
  unsigned batch; /* The number of its batch's first record plus 1; 0: alone. */
  bool seen;
} record_t;

/* What survives a power cut: the host's own store, and what it was told. */
typedef struct {
  disk_t *disk;
  uint32_t sync_mode, option_flags;
  record_t records[MOST_RECORDS];
  unsigned count;
  uint64_t store_n;    /* What the store has saved. */
  uint64_t durable;    /* The highest seq that was called durable. */
  uint64_t checkpoint; /* Likewise for what wal_checkpoint returned, */
  uint64_t floor;      /* and what wal_truncate has forgotten. */
  wal_error_t error;   /* The first. */
  bool failed;
} host_t;

static wal_options_t options_of(const host_t *host)
{
  wal_options_t options = segments_of(SEGMENT);
  options.sync_mode = host->sync_mode;
  options.option_flags = host->option_flags;
  options.storage = disk_storage(host->disk);
  options.store_seq = host->store_n > 0 ? host->store_n : WAL_STORE_EMPTY;
  return options;
}

/* The size of a record's value, and its bytes, follow from its number. */
static size_t value_of(unsigned number, unsigned char value[1200])
{
  size_t size = number % 7 == 6 ? 1200 : 40 + number % 50;
  for (size_t at = 0; at < size; at++) value[at] = (unsigned char)(number * 31 + at);
  return size;
}

static unsigned begin(host_t *host, unsigned count, unsigned batch)
{
  unsigned first = host->count;
  CHECK(first + count <= MOST_RECORDS);
  for (; host->count < first + count; host->count++) host->records[host->count] = (record_t){IN_DOUBT, 0, batch, false};
  return first;
}

/* Whether a call has succeeded. The first that has not is remembered. */
static bool good(host_t *host, wal_status_t status)
{
  if (status >= 0) return true;
  EQUAL(err.code, status);
  if (!host->failed) host->error = err;
  host->failed = true;
  return false;
}

static bool ended(host_t *host, wal_status_t status, unsigned first, uint64_t last_seq)
{
  bool fine = good(host, status), always = host->sync_mode == WAL_SYNC_ALWAYS;
  for (unsigned at = first; at < host->count; at++) {
    record_t *record = &host->records[at];
    record->seq = fine ? last_seq - (host->count - 1 - at) : 0;
    if (fine) record->standing = always ? DURABLE : HANDED;
    if (!fine && status != WAL_E_FAILED && !disk_is_dead(host->disk)) record->standing = REFUSED;
  }
  if (fine && always) host->durable = last_seq;
  return fine;
}

static bool append(host_t *host, wal_t *wal)
{
  unsigned char value[1200];
  uint64_t seq = 0;
  unsigned number = begin(host, 1, 0);
  size_t size = value_of(number, value);
  wal_status_t status = wal_append(wal, WAL_OP_PUT, &number, sizeof number, value, size, &seq, &err);
  return ended(host, status, number, seq);
}

static bool append_batch(host_t *host, wal_t *wal)
{
  unsigned char values[BATCH][1200];
  unsigned numbers[BATCH], first = begin(host, BATCH, host->count + 1);
  wal_entry_t entries[BATCH];
  uint64_t last = 0;
  for (unsigned at = 0; at < BATCH; at++) {
    numbers[at] = first + at;
    size_t size = value_of(first + at, values[at]);
    entries[at] = (wal_entry_t){&numbers[at], values[at], sizeof numbers[at], size % 100, WAL_OP_USER, 0};
  }
  wal_status_t status = wal_append_batch(wal, entries, BATCH, 0, &last, &err);
  return ended(host, status, first, last);
}

static bool make_durable(host_t *host, wal_t *wal)
{
  uint64_t last = wal_last_seq(wal);
  if (!good(host, wal_sync(wal, WAL_SEQ_LAST, &err))) return false;
  for (unsigned at = 0; at < host->count; at++) {
    if (host->records[at].standing == HANDED) host->records[at].standing = DURABLE;
  }
  host->durable = last;
  return true;
}

static bool flush_store(host_t *host, wal_t *wal)
{
  uint64_t n = 0;
  if (!good(host, wal_checkpoint(wal, WAL_SEQ_LAST, &n, &err))) return false;
  for (unsigned at = 0; at < host->count; at++) {
    if (host->records[at].standing == HANDED) host->records[at].standing = DURABLE;
  }
  host->checkpoint = host->store_n = host->durable = n;
  if (!good(host, wal_truncate(wal, n, 0, &err))) return false;
  host->floor = n;
  return true;
}

/* Reads everything that the store lacks. Every durable record is there with its bytes, in order, each batch whole; nothing is there that was refused. */
static bool read_all(host_t *host, wal_t *wal)
{
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  unsigned char value[1200];
  uint64_t before = host->store_n;
  wal_status_t status;
  if (!good(host, wal_replay_open(wal, host->store_n, 0, &cursor, &err))) return false;
  for (unsigned at = 0; at < host->count; at++) host->records[at].seen = false;
  while ((status = wal_replay_next(cursor, &record, &err)) == WAL_OK) {
    unsigned number;
    CHECK(record.seq > before && record.key_len == sizeof number);
    before = record.seq;
    memcpy(&number, record.key, sizeof number);
    CHECK(number < host->count);
    record_t *known = &host->records[number];
    size_t size = value_of(number, value);
    CHECK(record.value_len == (known->batch > 0 ? size % 100 : size) && memcmp(record.value, value, record.value_len) == 0);
    CHECK(known->standing != REFUSED && !known->seen);
    if (known->standing >= HANDED) EQUAL(record.seq, known->seq);
    known->seen = true;
    known->seq = record.seq;
  }
  wal_replay_close(cursor);
  if (!good(host, status)) return false;
  EQUAL(status, WAL_END);
  for (unsigned at = 0; at < host->count; at++) {
    const record_t *known = &host->records[at];
    if (known->standing == DURABLE && known->seq > host->store_n && !known->seen) FAIL("record %u, seq %llu is lost", at, (unsigned long long)known->seq);
    if (known->batch > 0 && known->seen != host->records[known->batch - 1].seen) FAIL("the batch of record %u is torn", at);
  }
  CHECK(wal_last_seq(wal) >= host->durable && wal_checkpoint_seq(wal) >= host->checkpoint && wal_oldest_seq(wal) > host->floor);
  return true;
}

/* What is appended and was in doubt, or handed over, and has been read back, is durable; the rest is not there and never will be. */
static void settle_doubts(host_t *host)
{
  for (unsigned at = 0; at < host->count; at++) {
    record_t *record = &host->records[at];
    if (record->standing != IN_DOUBT && record->standing != HANDED) continue;
    record->standing = record->seen ? DURABLE : REFUSED;
  }
}

/* A life of a host: appends, batches, syncs, rotations, checkpoints, truncations, a close and another opening. */
static void live(host_t *host)
{
  wal_options_t options = options_of(host);
  for (int opening = 0; opening < 2; opening++) {
    wal_t *wal = NULL;
    bool goes_on = good(host, wal_open("log", &options, &wal, &err)) && read_all(host, wal);
    for (int round = 0; goes_on && round < ROUNDS - opening; round++) {
      for (int at = 0; goes_on && at < 6; at++) goes_on = append(host, wal);
      goes_on = goes_on && append_batch(host, wal) && make_durable(host, wal) && append(host, wal);
      if (round != 1) goes_on = goes_on && flush_store(host, wal) && append(host, wal);
    }
    if (wal != NULL && !good(host, wal_close(wal, &err))) goes_on = false;
    if (!goes_on) break;
    for (unsigned at = 0; at < host->count; at++) {
      if (host->records[at].standing == HANDED) host->records[at].standing = DURABLE;
    }
    options = options_of(host);
  }
  EQUAL(disk_open_files(host->disk), 0);
  EQUAL(disk_locks(host->disk), 0);
}

/* The log opens, has what it must have, has the same at a second opening, and takes more. */
static void judge(host_t *host)
{
  host->failed = false;
  for (int time = 0; time < 2; time++) {
    wal_options_t options = options_of(host);
    wal_t *wal = NULL;
    OK(wal_open("log", &options, &wal, &err));
    CHECK(read_all(host, wal));
    settle_doubts(host);
    CHECK(append(host, wal) && append_batch(host, wal) && make_durable(host, wal) && read_all(host, wal));
    OK(wal_close(wal, &err));
  }
  EQUAL(disk_open_files(host->disk), 0);
  EQUAL(disk_locks(host->disk), 0);
}

/* Which syncs of a new host's disk are lies, and whether its log has no thread of its own. */
static unsigned lies;
static uint32_t thread = WAL_OPTION_NO_THREAD;

static host_t *new_host(uint32_t sync_mode, uint64_t seed)
{
  host_t *host = calloc(1, sizeof *host);
  CHECK(host != NULL);
  host->disk = disk_new(seed);
  host->sync_mode = sync_mode;
  host->option_flags = thread;
  disk_lie(host->disk, lies);
  return host;
}

static void end_host(host_t *host)
{
  disk_free(host->disk);
  free(host);
}

/* ---- Power cuts ---- */

static unsigned states;

/* Every state that chance makes of what was not synced is judged; for some, the power fails again while the log recovers. */
static void judge_power_cut(const host_t *host, uint64_t seed)
{
  for (unsigned at = 0; at < (scaled(10) == 10 && host->option_flags == WAL_OPTION_NO_THREAD ? 30 : 6); at++) {
    int keep = at == 0 ? KEEP_NOTHING : at == 1 ? KEEP_ALL : at % 2 == 0 ? KEEP_SOME : KEEP_TORN;
    host_t *after = malloc(sizeof *after);
    CHECK(after != NULL);
    *after = *host;
    after->disk = disk_restart(host->disk, keep, seed * 31 + at);
    disk_list_noise(after->disk, at % 3 == 1);
    if (at % 4 >= 2) {
      disk_cut(after->disk, DISK_ANY, 1 + (unsigned)(seed * 7 + at * 13) % 40);
      live(after);
      disk_t *second = disk_restart(after->disk, keep, seed * 37 + at);
      disk_free(after->disk);
      after->disk = second;
    }
    judge(after);
    states++;
    end_host(after);
  }
}

static void cut_at_every_call(uint32_t sync_mode, unsigned calls)
{
  unsigned stride = scaled(10) == 10 ? 1 : 17;
  for (unsigned nth = 1;; nth += stride) {
    host_t *host = new_host(sync_mode, nth);
    disk_cut(host->disk, calls, nth);
    live(host);
    bool over = !disk_is_dead(host->disk);
    if (over) CHECK(!host->failed && nth > 40);
    judge_power_cut(host, nth);
    end_host(host);
    if (over) break;
  }
  printf("tally: callback-states %u states\n", states);
}

static void nothing_acknowledged_is_lost_to_a_power_cut_at_any_call(const char *dir)
{
  (void)dir;
  cut_at_every_call(WAL_SYNC_ALWAYS, DISK_ANY);
}

static void nothing_synced_is_lost_to_a_power_cut_at_any_call(const char *dir)
{
  (void)dir;
  cut_at_every_call(WAL_SYNC_OS, DISK_ANY & ~(DISK_READ | DISK_SIZE));
}

static void nothing_is_lost_to_a_power_cut_amid_the_work_of_the_logs_thread(const char *dir)
{
  (void)dir;
  thread = 0;
  cut_at_every_call(WAL_SYNC_ALWAYS, DISK_ANY);
}

static void cut_disks_that_lie(void *context)
{
  (void)context;
  cut_at_every_call(WAL_SYNC_ALWAYS, DISK_ANY);
}

/* What would pass with such a disk proves nothing with another. */
static void a_disk_that_calls_durable_what_is_not_is_noticed(const char *dir)
{
  (void)dir;
  const unsigned calls[] = {DISK_SYNC, DISK_SYNC_DIR};
  for (unsigned at = 0; at < 2; at++) {
    lies = calls[at];
    int status = in_child(cut_disks_that_lie, NULL);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) != 0 && !succeeded(status));
  }
}

/* ---- Faults ---- */

static const unsigned kinds[] = {DISK_MAKE_DIR, DISK_LIST, DISK_OPEN,   DISK_SIZE,     DISK_READ, DISK_WRITE,
                                 DISK_SYNC,     DISK_RENAME, DISK_REMOVE, DISK_SYNC_DIR, DISK_LOCK, DISK_RANDOM};

/* The log's answer to a fault is the fault, or none. */
static void expect_passed_through(const host_t *host, int answer)
{
  if (!host->failed) return;
  int expected = answer > 0 ? answer : EPROTO;
  CHECK(answer != DISK_SHORT);
  EQUAL(host->error.os_error, expected);
  bool known = host->error.code == WAL_E_IO || host->error.code == WAL_E_FAILED || (answer == ENOSPC && host->error.code == WAL_E_NO_SPACE);
  if (!known) FAIL("%d: %s", host->error.code, host->error.message);
  if (strncmp(host->error.message, "log", 3) != 0) FAIL("no file is named: %s", host->error.message);
}

/* Every call of every kind fails once in this way, or from then on: what was acknowledged is there afterwards, on the same machine and after a power cut. */
static void fail_at_every_call(int answer)
{
  unsigned stride = scaled(10) == 10 ? 1 : 13, faults = 0;
  for (unsigned kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
    for (unsigned nth = 1, met = 1; met; nth += stride) {
      for (int for_good = 0; for_good < 2; for_good++) {
        host_t *host = new_host(nth % 2 ? WAL_SYNC_ALWAYS : WAL_SYNC_OS, nth);
        disk_fail(host->disk, kinds[kind], nth, answer, for_good);
        live(host);
        met = disk_failed(host->disk);
        disk_clear(host->disk);
        expect_passed_through(host, answer);
        faults += met;
        if (met && nth % 3 == 0) {
          disk_t *after = disk_restart(host->disk, KEEP_SOME, nth);
          disk_free(host->disk);
          host->disk = after;
        }
        judge(host);
        end_host(host);
      }
    }
  }
  CHECK(faults > 40);
  printf("tally: callback-faults %u calls\n", faults);
}

static void every_call_fails(const char *dir)
{
  (void)dir;
  fail_at_every_call(EIO);
}

static void every_call_lacks_space(const char *dir)
{
  (void)dir;
  fail_at_every_call(ENOSPC);
}

static void short_reads_and_writes_are_completed(const char *dir)
{
  (void)dir;
  fail_at_every_call(DISK_SHORT);
}

static void counts_above_what_was_asked_for_are_errors(const char *dir)
{
  (void)dir;
  fail_at_every_call(DISK_TOO_MUCH);
}

static void error_numbers_that_nobody_negated_are_errors(const char *dir)
{
  (void)dir;
  fail_at_every_call(DISK_POSITIVE);
}

static void a_file_that_is_null_is_an_error(const char *dir)
{
  (void)dir;
  for (unsigned nth = 1, met = 1; met; nth++) {
    host_t *host = new_host(WAL_SYNC_ALWAYS, nth);
    disk_fail(host->disk, DISK_OPEN, nth, DISK_NO_FILE, false);
    live(host);
    met = disk_failed(host->disk);
    disk_clear(host->disk);
    expect_passed_through(host, DISK_NO_FILE);
    judge(host);
    end_host(host);
  }
}

const test_t storage_tests[] = {
    TEST(nothing_acknowledged_is_lost_to_a_power_cut_at_any_call),
    TEST(nothing_synced_is_lost_to_a_power_cut_at_any_call),
    TEST(nothing_is_lost_to_a_power_cut_amid_the_work_of_the_logs_thread),
    TEST(a_disk_that_calls_durable_what_is_not_is_noticed),
    TEST(every_call_fails),
    TEST(every_call_lacks_space),
    TEST(short_reads_and_writes_are_completed),
    TEST(counts_above_what_was_asked_for_are_errors),
    TEST(error_numbers_that_nobody_negated_are_errors),
    TEST(a_file_that_is_null_is_an_error),
    NO_MORE_TESTS,
};
