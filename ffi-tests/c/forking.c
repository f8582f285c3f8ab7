/* What a child made by fork may do with its parent's log: nothing. */

#include "harness.h"

typedef struct {
  const char *dir;
  wal_t *wal;
  wal_cursor_t *cursor;
} inherited_t;

static void use_what_was_inherited(void *context)
{
  inherited_t *got = context;
  uint64_t number = 99;
  uint8_t id[16];
  static const uint8_t no_id[16];
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  wal_stat_t stat;
  wal_report_t report;
  const wal_entry_t entry = {NULL, "v", 0, 1, WAL_OP_PUT, 0};
  STATUS(WAL_E_FORKED, wal_append(got->wal, WAL_OP_PUT, NULL, 0, "v", 1, &number, &err));
  STATUS(WAL_E_FORKED, wal_append_batch(got->wal, &entry, 1, 0, &number, &err));
  STATUS(WAL_E_FORKED, wal_sync(got->wal, WAL_SEQ_LAST, &err));
  STATUS(WAL_E_FORKED, wal_flush(got->wal, &err));
  STATUS(WAL_E_FORKED, wal_wait_durable(got->wal, 1, WAL_WAIT_FOREVER, &err));
  STATUS(WAL_E_FORKED, wal_checkpoint(got->wal, WAL_SEQ_LAST, &number, &err));
  STATUS(WAL_E_FORKED, wal_truncate(got->wal, 1, WAL_TRUNCATE_UNCHECKED, &err));
  STATUS(WAL_E_FORKED, wal_replay_open(got->wal, 0, 0, &cursor, &err));
  STATUS(WAL_E_FORKED, wal_replay_next(got->cursor, &record, &err));
  STATUS(WAL_E_FORKED, wal_replay_wait(got->cursor, WAL_WAIT_FOREVER, &err));
  STATUS(WAL_E_FORKED, wal_stat(got->wal, &stat, sizeof stat, &err));
  STATUS(WAL_E_FORKED, wal_report(got->wal, &report, sizeof report, &err));
  STATUS(WAL_E_FORKED, wal_shutdown(got->wal, &err));
  EQUAL(number, 99);
  EQUAL(wal_last_seq(got->wal), 0);
  EQUAL(wal_durable_seq(got->wal), 0);
  EQUAL(wal_checkpoint_seq(got->wal), 0);
  EQUAL(wal_oldest_seq(got->wal), 0);
  memset(id, 0xFF, sizeof id);
  wal_log_id(got->wal, id);
  CHECK(memcmp(id, no_id, sizeof id) == 0);
  wal_replay_close(got->cursor);
  STATUS(WAL_E_FORKED, wal_close(got->wal, &err));
}

static void write_a_log(void *context)
{
  const inherited_t *got = context;
  wal_t *wal = open_log(got->dir, NULL);
  fill_to(wal, 3, 100);
  close_log(wal);
}

/* The only log of this process takes no lock, which forks are otherwise watched with. */
static void a_live_readers_child_is_told_apart_without_a_lock(const char *dir)
{
  inherited_t given = {path_in(dir, "log"), NULL, NULL};
  wal_options_t options = defaults();
  options.open_flags = WAL_OPEN_READ_ONLY | WAL_OPEN_LIVE;
  child_succeeds(write_a_log, &given);
  given.wal = open_log(given.dir, &options);
  OK(wal_replay_open(given.wal, 0, 0, &given.cursor, &err));
  child_succeeds(use_what_was_inherited, &given);
  EQUAL(drain(given.cursor), 3);
  wal_replay_close(given.cursor);
  close_log(given.wal);
}

static void a_childs_calls_are_refused_and_its_close_discards(const char *dir)
{
  wal_options_t options = segments_of(4096);
  options.sync_mode = WAL_SYNC_NONE;
  const char *log = path_in(dir, "log");
  inherited_t given = {log, open_log(log, &options), NULL};
  /* The background thread runs by then, and the buffer is not empty: neither is the child's. */
  fill_to(given.wal, 100, 100);
  OK(wal_replay_open(given.wal, 0, 0, &given.cursor, &err));
  for (int round = 0; round < 3; round++) {
    child_succeeds(use_what_was_inherited, &given);
    fill_to(given.wal, wal_last_seq(given.wal) + 50, 100);
  }
  expect_numbers(given.wal, 0, 1, 250);
  EQUAL(drain(given.cursor), 250);
  wal_replay_close(given.cursor);
  close_log(given.wal);
  given.wal = open_log(log, NULL);
  expect_numbers(given.wal, 0, 1, 250);
  close_log(given.wal);
}

/* A child that lives until it is told to go on. */
typedef struct {
  pid_t process;
  int go;
} waiting_t;

static waiting_t fork_waiting(void (*body)(void *), void *context)
{
  int ends[2];
  CHECK(pipe(ends) == 0);
  fflush(stdout);
  waiting_t child = {fork(), ends[1]};
  CHECK(child.process >= 0);
  if (child.process == 0) {
    char byte;
    limit_childs_time();
    close(ends[1]);
    CHECK(read(ends[0], &byte, 1) == 1);
    body(context);
    succeed();
  }
  close(ends[0]);
  return child;
}

static void let_go_and_reap(waiting_t child)
{
  int status = 0;
  CHECK(write(child.go, "", 1) == 1);
  close(child.go);
  CHECK(waitpid(child.process, &status, 0) == child.process);
  CHECK(succeeded(status));
}

static void is_forked(void *context)
{
  inherited_t *got = context;
  STATUS(WAL_E_FORKED, wal_close(got->wal, &err));
}

static void a_child_does_not_hold_the_lock(const char *dir)
{
  const char *log = path_in(dir, "log");
  inherited_t given = {log, open_log(log, NULL), NULL};
  put(given.wal, "one");
  waiting_t child = fork_waiting(is_forked, &given);
  wal_t *mine = given.wal;
  put(mine, "two");
  close_log(mine);
  /* The child lives and has its copy of the handle. */
  wal_t *again = open_log(log, NULL);
  expect_texts(again, 0, "one", "two", NULL);
  let_go_and_reap(child);
  put(again, "three");
  close_log(again);
}

static void open_other_logs(void *context)
{
  inherited_t *got = context;
  wal_t *own = open_log(path_in(got->dir, "own"), NULL);
  put(own, "own");
  expect_texts(own, 0, "own", NULL);
  close_log(own);
  wal_t *none = NULL;
  STATUS(WAL_E_LOCKED, wal_open(path_in(got->dir, "log"), NULL, &none, &err));
}

/*
 * The log of a parent whose child goes on using the library. AddressSanitizer's allocator does not survive a fork while another thread is in
 * it, as glibc's does; under it the parent has one thread.
 */
static wal_t *open_parents_log(const char *dir)
{
  wal_options_t options = defaults();
#ifdef __SANITIZE_ADDRESS__
  options.option_flags = WAL_OPTION_NO_THREAD;
#endif
  return open_log(path_in(dir, "log"), &options);
}

static void a_child_may_open_other_logs_and_not_the_parents(const char *dir)
{
  inherited_t given = {dir, open_parents_log(dir), NULL};
  put(given.wal, "one");
  child_succeeds(open_other_logs, &given);
  put(given.wal, "two");
  close_log(given.wal);
}

static void reopen_the_parents(void *context)
{
  inherited_t *got = context;
  STATUS(WAL_E_FORKED, wal_append(got->wal, WAL_OP_PUT, NULL, 0, "v", 1, NULL, &err));
  wal_t *own = open_log(path_in(got->dir, "log"), NULL);
  expect_texts(own, 0, "one", NULL);
  EQUAL(put(own, "child"), 2);
  close_log(own);
  STATUS(WAL_E_FORKED, wal_close(got->wal, &err));
}

static void a_child_may_open_the_log_when_the_parent_has_closed_it(const char *dir)
{
  inherited_t given = {dir, open_parents_log(dir), NULL};
  put(given.wal, "one");
  waiting_t child = fork_waiting(reopen_the_parents, &given);
  close_log(given.wal);
  let_go_and_reap(child);
  wal_t *wal = open_log(path_in(dir, "log"), NULL);
  expect_texts(wal, 0, "one", "child", NULL);
  close_log(wal);
}

static void *append_until_shut_down(void *context)
{
  wal_t *wal = context;
  wal_status_t status;
  while ((status = wal_append(wal, WAL_OP_PUT, "k", 1, "v", 1, NULL, NULL)) == WAL_OK) continue;
  EQUAL(status, WAL_E_CLOSED);
  return NULL;
}

/* The locks that other threads hold at the moment of the fork stay locked in the child for ever: it must not come near them. */
static void forks_amid_appends_harm_neither_side(const char *dir)
{
  wal_options_t options = segments_of(65536);
  options.sync_mode = WAL_SYNC_OS;
  const char *log = path_in(dir, "log");
  inherited_t given = {log, open_log(log, &options), NULL};
  pthread_t threads[3];
  OK(wal_replay_open(given.wal, 0, 0, &given.cursor, &err));
  for (int at = 0; at < 3; at++) threads[at] = start(append_until_shut_down, given.wal);
  for (unsigned round = 0; round < scaled(50); round++) child_succeeds(use_what_was_inherited, &given);
  wal_replay_close(given.cursor);
  OK(wal_shutdown(given.wal, &err));
  for (int at = 0; at < 3; at++) join(threads[at]);
  uint64_t last = wal_last_seq(given.wal);
  close_log(given.wal);
  given.wal = open_log(log, NULL);
  EQUAL(wal_last_seq(given.wal), last);
  OK(wal_replay_open(given.wal, 0, 0, &given.cursor, &err));
  EQUAL(drain(given.cursor), last);
  wal_replay_close(given.cursor);
  close_log(given.wal);
}

static void a_program_that_is_executed_inherits_no_file_of_the_log(const char *dir)
{
  const char *log = path_in(dir, "open-log");
  wal_options_t options = segments_of(4096);
  wal_t *wal = open_log(log, &options);
  wal_cursor_t *cursor = NULL;
  fill_to(wal, 100, 100);
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  int ends[2];
  CHECK(pipe(ends) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    execl("/bin/sh", "sh", "-c", "ls -l /proc/self/fd", (char *)NULL);
    _exit(9);
  }
  close(ends[1]);
  char text[8192];
  size_t len = 0;
  ssize_t got;
  while ((got = read(ends[0], text + len, sizeof text - 1 - len)) > 0) len += (size_t)got;
  text[len] = 0;
  close(ends[0]);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(strstr(text, "pipe:") != NULL);
  if (strstr(text, "open-log") != NULL) FAIL("a descriptor was inherited: %s", text);
  wal_replay_close(cursor);
  close_log(wal);
}

const test_t forking_tests[] = {
    TEST(a_childs_calls_are_refused_and_its_close_discards),
    TEST(a_live_readers_child_is_told_apart_without_a_lock),
    TEST(a_child_does_not_hold_the_lock),
    TEST(a_child_may_open_other_logs_and_not_the_parents),
    TEST(a_child_may_open_the_log_when_the_parent_has_closed_it),
    TEST(forks_amid_appends_harm_neither_side),
    TEST(a_program_that_is_executed_inherits_no_file_of_the_log),
    NO_MORE_TESTS,
};
