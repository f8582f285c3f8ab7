/* What a log tells beside its answers: messages to the host's callback, and the numbers of wal_stat. */

#include "harness.h"

#include <stdatomic.h>
#include <time.h>

/* What the callback heard, and what it does. */
typedef struct {
  pthread_mutex_t lock;
  char heard[256][600];
  uint32_t levels[256];
  pthread_t threads[256];
  atomic_uint count;
  /* Set while the callback runs: it must never run twice at once. */
  atomic_bool running;
  /* If not NULL, the callback uses this log, so often at the most: where that causes messages, it would never end. */
  _Atomic(wal_t *) use;
  atomic_uint uses;
  atomic_uint used;
} ears_t;

/* Everything that could wait for a lock that the caller of the callback holds. */
static void use_log(ears_t *ears, wal_t *wal)
{
  wal_stat_t stat;
  uint64_t seq = 0;
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  wal_error_t error;
  CHECK(wal_stat(wal, &stat, sizeof stat, &error) == WAL_OK);
  wal_status_t status = wal_append(wal, WAL_OP_PUT, NULL, 0, "from the callback", 17, &seq, &error);
  CHECK(status == WAL_OK || status == WAL_E_FAILED || status == WAL_E_NO_SPACE || status == WAL_E_CLOSED);
  status = wal_sync(wal, WAL_SEQ_LAST, &error);
  CHECK(status == WAL_OK || status == WAL_E_FAILED || status == WAL_E_CLOSED);
  if (wal_replay_open(wal, 0, 0, &cursor, &error) == WAL_OK) {
    CHECK(wal_replay_next(cursor, &record, &error) >= 0);
    wal_replay_close(cursor);
  }
  atomic_fetch_add(&ears->used, 1);
}

static void hear(void *context, uint32_t level, const char *message)
{
  ears_t *ears = context;
  CHECK(!atomic_exchange(&ears->running, true));
  pthread_mutex_lock(&ears->lock);
  unsigned at = atomic_load(&ears->count);
  CHECK(level >= WAL_LOG_ERROR && level <= WAL_LOG_INFO);
  CHECK(strlen(message) < 512);
  if (at < 256) {
    snprintf(ears->heard[at], sizeof ears->heard[at], "%s", message);
    ears->levels[at] = level;
    ears->threads[at] = pthread_self();
  }
  atomic_store(&ears->count, at + 1);
  pthread_mutex_unlock(&ears->lock);
  wal_t *use = atomic_load(&ears->use);
  if (use != NULL && atomic_load(&ears->used) < atomic_load(&ears->uses)) use_log(ears, use);
  atomic_store(&ears->running, false);
}

static ears_t *new_ears(void)
{
  ears_t *ears = calloc(1, sizeof *ears);
  CHECK(ears != NULL);
  pthread_mutex_init(&ears->lock, NULL);
  atomic_store(&ears->uses, 20);
  return ears;
}

static wal_options_t heard_by(ears_t *ears)
{
  wal_options_t options = defaults();
  options.log_callback = hear;
  options.log_context = ears;
  return options;
}

/* The nth message, from 0, must have this level and contain this text and the log's directory. */
static void expect_heard(const ears_t *ears, unsigned nth, uint32_t level, const char *dir, const char *part)
{
  if (nth >= atomic_load(&ears->count)) FAIL("only %u messages, and not \"%s\"", atomic_load(&ears->count), part);
  const char *tail = strlen(dir) > 100 ? dir + strlen(dir) - 100 : dir;
  if (strstr(ears->heard[nth], part) == NULL || strstr(ears->heard[nth], tail) == NULL) FAIL("no \"%s\" in \"%s\"", part, ears->heard[nth]);
  EQUAL(ears->levels[nth], level);
}

static unsigned heard_with(const ears_t *ears, const char *part)
{
  unsigned found = 0;
  for (unsigned at = 0; at < atomic_load(&ears->count) && at < 256; at++) found += strstr(ears->heard[at], part) != NULL;
  return found;
}

static uint64_t total(const uint64_t *histogram)
{
  uint64_t sum = 0;
  for (int at = 0; at < WAL_STAT_BUCKETS; at++) sum += histogram[at];
  return sum;
}

static void a_logs_life_is_told_in_order(const char *dir)
{
  const char *log = path_in(dir, "log");
  ears_t *ears = new_ears();
  wal_options_t options = heard_by(ears);
  wal_t *wal = open_log(log, &options);
  EQUAL(atomic_load(&ears->count), 2);
  expect_heard(ears, 0, WAL_LOG_INFO, log, "a new log was created");
  expect_heard(ears, 1, WAL_LOG_INFO, log, "no records, the next seq is 1");
  fill_to(wal, 5, 20);
  close_log(wal);
  EQUAL(atomic_load(&ears->count), 3);
  expect_heard(ears, 2, WAL_LOG_INFO, log, "closed at seq 5");
  wal = open_log(log, &options);
  EQUAL(atomic_load(&ears->count), 4);
  expect_heard(ears, 3, WAL_LOG_INFO, log, "seq 1 to 5");
  /* An opening that fails tells its caller, and nobody else. */
  wal_t *second = NULL;
  STATUS(WAL_E_LOCKED, wal_open(log, &options, &second, &err));
  EQUAL(atomic_load(&ears->count), 4);
  close_log(wal);
  /* One that changes nothing has nothing to tell but that it is there. */
  options.open_flags = WAL_OPEN_READ_ONLY;
  wal = open_log(log, &options);
  EQUAL(atomic_load(&ears->count), 6);
  expect_heard(ears, 5, WAL_LOG_INFO, log, "seq 1 to 5");
  close_log(wal);
  EQUAL(atomic_load(&ears->count), 6);
  free(ears);
}

static void append_and_die(void *log)
{
  wal_options_t options = defaults();
  options.sync_mode = WAL_SYNC_OS;
  wal_t *wal = open_log(log, &options);
  fill_to(wal, 7, 30);
  die();
}

static void a_recovery_is_told(const char *dir)
{
  const char *log = path_in(dir, "log");
  ears_t *ears = new_ears();
  wal_options_t options = heard_by(ears);
  char name[32];
  child_dies(append_and_die, (void *)(uintptr_t)log);
  place_t place = find_number(log, 7);
  flip_bit(place.path, place.offset);
  wal_t *wal = open_log(log, &options);
  EQUAL(atomic_load(&ears->count), 3);
  snprintf(name, sizeof name, "of segment %u", (unsigned)place.segment);
  expect_heard(ears, 0, WAL_LOG_WARNING, log, "an unfinished write was dropped");
  expect_heard(ears, 0, WAL_LOG_WARNING, log, name);
  expect_heard(ears, 1, WAL_LOG_INFO, log, "made durable anew: 6 (");
  expect_heard(ears, 2, WAL_LOG_INFO, log, "seq 1 to 6");
  close_log(wal);
  free(ears);
}

static void damage_is_told_with_what_it_took(const char *dir)
{
  const char *log = path_in(dir, "log");
  ears_t *ears = new_ears();
  wal_options_t options = segments_of(4096);
  wal_t *wal = open_log(log, &options);
  fill_to(wal, 100, 200);
  close_log(wal);
  place_t place = find_number(log, 50);
  flip_bit(place.path, place.offset);
  options = heard_by(ears);
  options.recovery = WAL_RECOVER_PREFIX;
  wal = open_log(log, &options);
  expect_heard(ears, 0, WAL_LOG_ERROR, log, "the log is damaged: 00000000");
  EQUAL(heard_with(ears, "damage took the records with seq 50 to "), 1);
  EQUAL(heard_with(ears, "damaged files were moved aside: "), 1);
  close_log(wal);
  free(ears);
}

static void a_poisoned_handle_is_told_once_and_remembered(const char *dir)
{
  const char *log = path_in(dir, "log");
  ears_t *ears = new_ears();
  wal_options_t options = heard_by(ears);
  options.option_flags = WAL_OPTION_NO_THREAD;
  wal_t *wal = open_log(log, &options);
  uint64_t seq = 0;
  fill_to(wal, 5, 20);
  EQUAL(stat_of(wal).failures, 0);
  EQUAL(stat_of(wal).last_error_us, 0);
  atomic_store(&ears->use, wal);
  fault_fail(CALL_SYNC, 1, EIO, false);
  STATUS(WAL_E_FAILED, put_number(wal, 6, 20, &seq, &err));
  fault_clear();
  /* It was told before the call returned, and the callback could use the log. */
  EQUAL(atomic_load(&ears->count), 3);
  EQUAL(atomic_load(&ears->used), 1);
  expect_heard(ears, 2, WAL_LOG_ERROR, log, "accepts nothing more");
  expect_heard(ears, 2, WAL_LOG_ERROR, log, "(seq 6) (os error 5)");
  for (int again = 0; again < 3; again++) STATUS(WAL_E_FAILED, put_number(wal, 6, 20, &seq, &err));
  EQUAL(atomic_load(&ears->count), 3);
  wal_stat_t stat = stat_of(wal);
  EQUAL(stat.poisoned, 1);
  EQUAL(stat.failures, 1);
  EQUAL(stat.last_error_code, WAL_E_IO);
  EQUAL(stat.last_error_os_error, EIO);
  EQUAL(stat.last_error_seq, 6);
  EQUAL(stat.last_error_segment, 1);
  uint64_t now = (uint64_t)time(NULL);
  CHECK(stat.last_error_us / 1000000 + 100 > now && stat.last_error_us / 1000000 < now + 2);
  STATUS(WAL_E_FAILED, wal_close(wal, &err));
  EQUAL(heard_with(ears, "closed"), 1); /* In "until it is closed and opened again". */
  free(ears);
}

static void a_callback_may_use_the_log(const char *dir)
{
  const char *log = path_in(dir, "log");
  ears_t *ears = new_ears();
  wal_options_t options = heard_by(ears);
  options.option_flags = WAL_OPTION_NO_THREAD;
  wal_t *wal = open_log(log, &options);
  uint64_t seq = 0;
  fill_to(wal, 5, 20);
  atomic_store(&ears->use, wal);
  fault_fail(CALL_WRITE, 1, EIO, false);
  STATUS(WAL_E_IO, put_number(wal, 6, 20, &seq, &err));
  fault_clear();
  expect_heard(ears, 2, WAL_LOG_ERROR, log, "a write failed and was taken back");
  expect_heard(ears, 2, WAL_LOG_ERROR, log, "(seq 6)");
  EQUAL(atomic_load(&ears->used), 1);
  /* The callback's record took the place of the one that was refused. */
  EQUAL(wal_last_seq(wal), 6);
  EQUAL(wal_durable_seq(wal), 6);
  EQUAL(stat_of(wal).failures, 1);
  EQUAL(stat_of(wal).last_error_code, WAL_E_IO);
  EQUAL(stat_of(wal).poisoned, 0);
  atomic_store(&ears->use, NULL);
  close_log(wal);
  free(ears);
}

static void a_spare_that_cannot_be_had_is_told_by_the_background_thread(const char *dir)
{
  const char *log = path_in(dir, "log");
  ears_t *ears = new_ears();
  wal_options_t options = heard_by(ears);
  options.segment_size = 4096;
  wal_t *wal = open_log(log, &options);
  atomic_store(&ears->use, wal);
  /* The first append prepares one spare itself; the second one is the thread's. */
  fault_fail(CALL_ALLOCATE, 2, ENOSPC, true);
  put(wal, "x");
  AWAIT(atomic_load(&ears->used) >= 1);
  fault_clear();
  expect_heard(ears, 2, WAL_LOG_WARNING, log, "no spare segment could be prepared");
  CHECK(!pthread_equal(ears->threads[2], pthread_self()));
  atomic_store(&ears->use, NULL);
  AWAIT(!atomic_load(&ears->running));
  wal_stat_t stat = stat_of(wal);
  EQUAL(stat.last_error_code, WAL_E_NO_SPACE);
  EQUAL(stat.last_error_os_error, ENOSPC);
  /* There is space again, and the log goes on. */
  for (int count = 0; count < 100; count++) put(wal, "a record that fills a small segment in the long run");
  CHECK(stat_of(wal).rotations > 0);
  close_log(wal);
  free(ears);
}

static void *put_one(void *wal)
{
  put(wal, "x");
  return NULL;
}

static void a_slow_sync_is_seen_while_it_runs_and_told_afterwards(const char *dir)
{
  const char *log = path_in(dir, "log");
  ears_t *ears = new_ears();
  wal_options_t options = heard_by(ears);
  options.option_flags = WAL_OPTION_NO_THREAD;
  options.slow_sync_us = 30000;
  wal_t *wal = open_log(log, &options);
  put(wal, "x");
  EQUAL(stat_of(wal).sync_running_us, 0);
  fault_hold(CALL_SYNC);
  pthread_t thread = start(put_one, wal);
  fault_await_held();
  AWAIT(stat_of(wal).sync_running_us > 40000);
  EQUAL(heard_with(ears, "a sync took"), 0);
  fault_release(0);
  join(thread);
  CHECK(heard_with(ears, "a sync took") >= 1);
  CHECK(heard_with(ears, "records that waited for it: 1") >= 1);
  wal_stat_t stat = stat_of(wal);
  EQUAL(stat.sync_running_us, 0);
  CHECK(stat.sync_max_us > 40000 && stat.sync_us >= stat.sync_max_us);
  uint64_t slow = 0;
  for (int at = 16; at < WAL_STAT_BUCKETS; at++) slow += stat.sync_us_histogram[at];
  CHECK(slow >= 1 || stat.sync_max_us < 32768 * 2);
  close_log(wal);
  free(ears);
}

static void the_numbers_add_up(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = segments_of(8192);
  wal_t *wal = open_log(log, &options);
  const wal_entry_t entries[3] = {{NULL, "a", 0, 1, WAL_OP_PUT, 0}, {NULL, "b", 0, 1, WAL_OP_PUT, 0}, {NULL, "c", 0, 1, WAL_OP_PUT, 0}};
  uint64_t seq = 0, n = 0;
  fill_to(wal, 10, 20);
  OK(wal_append_batch(wal, entries, 3, 0, &seq, &err));
  for (int count = 0; count < 5; count++) OK(wal_append_batch(wal, entries, 3, WAL_APPEND_ASYNC, &seq, &err));
  OK(wal_sync(wal, WAL_SEQ_LAST, &err));
  wal_stat_t stat = stat_of(wal);
  EQUAL(stat.appends, 16);
  EQUAL(stat.records, 28);
  EQUAL(stat.synced_records, 28);
  EQUAL(stat.syncs, 12);
  EQUAL(stat.group_histogram[1], 10);
  EQUAL(stat.group_histogram[2], 1);
  EQUAL(stat.group_histogram[4], 1);
  EQUAL(stat.group_max_records, 15);
  EQUAL(total(stat.group_histogram), stat.syncs);
  EQUAL(total(stat.sync_us_histogram), stat.syncs);
  fill_to(wal, 300, 100);
  OK(wal_checkpoint(wal, WAL_SEQ_LAST, &n, &err));
  OK(wal_truncate(wal, n, 0, &err));
  OK(wal_truncate(wal, n, 0, &err)); /* Forgets nothing. */
  stat = stat_of(wal);
  EQUAL(stat.checkpoints, 1);
  EQUAL(stat.truncations, 1);
  CHECK(stat.rotations > 2);
  CHECK(stat.group_histogram[0] > 0); /* A rotation's sync has no records of its own, where every record is synced at once. */
  EQUAL(total(stat.group_histogram), stat.syncs);
  EQUAL(stat.synced_records, stat.records);
  CHECK(stat.spares_ready <= stat.spares);
  EQUAL(stat.failures, 0);
  EQUAL(stat.last_error_code, WAL_OK);
  AWAIT(stat_of(wal).segments_forgotten == 0);
  close_log(wal);
}

enum { WRITERS = 6 };

static void *write_many(void *wal)
{
  for (unsigned count = 0; count < scaled(60); count++) put(wal, "x");
  return NULL;
}

/* Threads that cause messages all the time, a callback that uses the log in each: none is lost without a word, none comes late. */
static void messages_of_many_threads_come_one_at_a_time(const char *dir)
{
  const char *log = path_in(dir, "log");
  ears_t *ears = new_ears();
  wal_options_t options = heard_by(ears);
  options.slow_sync_us = 1;
  options.segment_size = 16384;
  wal_t *wal = open_log(log, &options);
  atomic_store(&ears->use, wal);
  pthread_t threads[WRITERS];
  for (int at = 0; at < WRITERS; at++) threads[at] = start(write_many, wal);
  for (int at = 0; at < WRITERS; at++) join(threads[at]);
  /* How many syncs are slow is the disk's to say. */
  CHECK(atomic_load(&ears->used) <= 20);
  close_log(wal);
  /* Freed at once: a call after wal_close would be seen by the sanitizers, and by the next line. */
  memset(ears, 0xEE, sizeof *ears);
  free(ears);
}

const test_t watching_tests[] = {
    TEST(a_logs_life_is_told_in_order),
    TEST(a_recovery_is_told),
    TEST(damage_is_told_with_what_it_took),
    TEST(a_poisoned_handle_is_told_once_and_remembered),
    TEST(a_callback_may_use_the_log),
    TEST(a_spare_that_cannot_be_had_is_told_by_the_background_thread),
    TEST(a_slow_sync_is_seen_while_it_runs_and_told_afterwards),
    TEST(the_numbers_add_up),
    TEST(messages_of_many_threads_come_one_at_a_time),
    NO_MORE_TESTS,
};
