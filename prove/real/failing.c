/*
 * failing: a host on a disk that begins to fail, and its restart.
 *
 *     failing break DIR CONTROL LEDGER MODE POINT FAULT SEED    works, lets the disk fail at a point, sees that nothing is acknowledged any more
 *     failing check DIR LEDGER MODE END SEED                    opens the log, compares it with the ledger, goes on; END: closed, abrupt
 *     failing naive FILE CONTROL FAULT                          the mistake itself: a log that syncs again after a failed sync
 *     failing naive-lost FILE                                   and what became of its record
 *
 * MODE    always, os
 * POINT   append, rotate, checkpoint, truncate, open: the disk fails when that is done next; threads: amid the work of several threads
 * FAULT   file: writes to the blocks that the point writes to, nothing else; all: every write; flushes; cut: the power
 *
 * CONTROL is the control file of the disk (disk.c). The ledger stands on another disk. failing.sh puts it all together.
 */
#define _GNU_SOURCE

#include "real.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { SEGMENT_BYTES = 16384, MOST_EXTENTS = 16, MOST_APPENDS = 1000, THREADS_US = 30000, NAIVE_BYTES = 65536, PATH_BYTES = 4096 };

static ledger_t *ledger;
static pthread_mutex_t ledger_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- The disk ---- */

static int control = -1;

static void order(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void order(const char *format, ...)
{
  char text[64];
  va_list arguments;
  va_start(arguments, format);
  int len = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (pwrite(control, text, (size_t)len, 0) != len) give_up("the disk does not understand %s: %m", text);
}

static uint64_t requests_failed(void)
{
  char text[64] = "";
  if (pread(control, text, sizeof text - 1, 0) <= 0) give_up("the disk says nothing: %m");
  return strtoull(text, NULL, 10);
}

/* Writes to the blocks of a file fail. */
static void fail_blocks_of(int file)
{
  struct {
    struct fiemap map;
    struct fiemap_extent extents[MOST_EXTENTS];
  } answer = {.map = {.fm_length = FIEMAP_MAX_OFFSET, .fm_flags = FIEMAP_FLAG_SYNC, .fm_extent_count = MOST_EXTENTS}};
  if (ioctl(file, FS_IOC_FIEMAP, &answer.map) != 0) give_up("FIEMAP: %m");
  if (answer.map.fm_mapped_extents == MOST_EXTENTS) give_up("a file in more than %d pieces", MOST_EXTENTS - 1);
  for (uint32_t at = 0; at < answer.map.fm_mapped_extents; at++) {
    order("writes %" PRIu64 " %" PRIu64, (uint64_t)answer.extents[at].fe_physical, (uint64_t)answer.extents[at].fe_length);
  }
}

static void fail_files(const char *dir, const char *ending)
{
  DIR *list = opendir(dir);
  const struct dirent *item;
  if (list == NULL) give_up("%s: %m", dir);
  while ((item = readdir(list)) != NULL) {
    size_t len = strlen(item->d_name), tail = strlen(ending);
    if (len < tail || strcmp(item->d_name + len - tail, ending) != 0) continue;
    int file = openat(dirfd(list), item->d_name, O_RDONLY | O_CLOEXEC);
    if (file < 0 && errno == ENOENT) continue; /* The log has just renamed or removed it. */
    if (file < 0) give_up("%s: %m", item->d_name);
    fail_blocks_of(file);
    close(file);
  }
  closedir(list);
}

typedef struct {
  const char *dir;
  const char *point;
  const char *fault;
  uint64_t random;
} trouble_t;

static bool is(const char *text, const char *other)
{
  return strcmp(text, other) == 0;
}

static void let_it_fail(trouble_t *trouble)
{
  if (is(trouble->fault, "file")) {
    fail_files(trouble->dir, is(trouble->point, "checkpoint") || is(trouble->point, "truncate") || is(trouble->point, "open") ? "MANIFEST" : ".wal");
  } else if (is(trouble->fault, "all")) {
    order("writes 0 %" PRIu64, UINT64_MAX / 2);
  } else if (is(trouble->fault, "flushes")) {
    order("flushes");
  } else {
    order("cut %" PRIu64, draw(&trouble->random, UINT64_MAX));
  }
}

/* ---- The host ---- */

static void tell_ledger(void *context, const message_t *message)
{
  (void)context;
  pthread_mutex_lock(&ledger_lock);
  ledger_note(ledger, message);
  pthread_mutex_unlock(&ledger_lock);
}

static plan_t plan_for(const char *mode, uint64_t seed)
{
  return (plan_t){
      .sync_mode = is(mode, "os") ? WAL_SYNC_OS : WAL_SYNC_ALWAYS,
      .writers = MOST_WRITERS,
      .segment_size = SEGMENT_BYTES,
      .recycle_segments = seed % 2 == 0 ? WAL_RECYCLE_NONE : 0,
      .option_flags = (seed % 4 < 2 ? WAL_OPTION_NO_THREAD : 0) | (is(mode, "direct") ? WAL_OPTION_DIRECT : 0),
      .power = true,
      .expect_end = true,
  };
}

static wal_status_t open_log(const char *dir, const plan_t *plan, wal_t **wal, wal_error_t *err)
{
  wal_options_t options = options_of(plan);
  ledger_options(ledger, &options);
  return wal_open(dir, &options, wal, err);
}

static host_t host_on(const plan_t *plan, wal_t *wal, uint64_t seed)
{
  host_t host = {.plan = plan, .wal = wal, .nonce = ledger->nonce, .seed = seed, .tell = tell_ledger};
  for (unsigned writer = 0; writer < MOST_WRITERS; writer++) host.next_counter[writer] = ledger->announced[writer] + 1;
  return host;
}

static wal_stat_t stat_of(const wal_t *wal)
{
  wal_error_t err;
  wal_stat_t stat;
  if (wal_stat(wal, &stat, sizeof stat, &err) != WAL_OK) give_up("wal_stat: %s", err.message);
  return stat;
}

static wal_status_t checkpoint(wal_t *wal, uint64_t *n)
{
  wal_error_t err;
  uint64_t covered = wal_durable_seq(wal);
  tell_ledger(NULL, &(message_t){.kind = WORKING});
  wal_status_t status = wal_checkpoint(wal, covered, n, &err);
  if (status == WAL_OK) tell_ledger(NULL, &(message_t){.kind = CHECKPOINTED, .covered = covered, .seq = *n});
  return status;
}

static wal_status_t truncate_log(wal_t *wal, uint64_t up_to)
{
  wal_error_t err;
  tell_ledger(NULL, &(message_t){.kind = TRUNCATING, .seq = up_to});
  wal_status_t status = wal_truncate(wal, up_to, 0, &err);
  if (status == WAL_OK) tell_ledger(NULL, &(message_t){.kind = TRUNCATED, .seq = up_to});
  return status;
}

static wal_status_t append_until_rotation(host_t *host)
{
  uint64_t rotations = stat_of(host->wal).rotations;
  wal_status_t status = WAL_OK;
  for (unsigned at = 0; at < MOST_APPENDS && status == WAL_OK && stat_of(host->wal).rotations == rotations; at++) status = host_append(host, 1);
  return status;
}

static void *fail_amid_work(void *context)
{
  trouble_t *trouble = context;
  sleep_us(draw(&trouble->random, THREADS_US));
  let_it_fail(trouble);
  return NULL;
}

/* What is to be done at the point, with the disk failing from there on. The error that ended it. */
static wal_status_t meet_trouble(host_t *host, trouble_t *trouble)
{
  pthread_t helper;
  uint64_t n = 0;
  wal_status_t status = WAL_OK;
  if (is(trouble->point, "threads")) {
    if (pthread_create(&helper, NULL, fail_amid_work, trouble) != 0) give_up("no thread");
    host_run(host);
    pthread_join(helper, NULL);
    return WAL_E_IO; /* Each thread has met an error, or would not have ended. */
  }
  if (is(trouble->point, "truncate")) status = checkpoint(host->wal, &n);
  if (status != WAL_OK) give_up("no checkpoint on a disk in good order");
  let_it_fail(trouble);
  if (is(trouble->point, "append")) return host_append(host, 1);
  if (is(trouble->point, "rotate")) return append_until_rotation(host);
  return is(trouble->point, "checkpoint") ? checkpoint(host->wal, &n) : truncate_log(host->wal, n);
}

static void expect_failed(const char *call, wal_status_t status)
{
  if (status != WAL_E_FAILED) complain(ledger, "%s on a poisoned handle: %s", call, wal_status_name(status));
}

/* Nothing is acknowledged any more, whatever the disk does. */
static void expect_poisoned(host_t *host)
{
  wal_t *wal = host->wal;
  wal_error_t err;
  wal_entry_t entry = {NULL, "x", 0, 1, WAL_OP_PUT, 0};
  uint64_t n = 0, durable = wal_durable_seq(wal);
  expect_failed("wal_append", wal_append(wal, WAL_OP_PUT, NULL, 0, "x", 1, NULL, &err));
  uint64_t last = wal_last_seq(wal);
  if (err.seq != (last > durable ? durable + 1 : 0) || err.seq_last != (last > durable ? last : 0)) {
    complain(ledger, "in doubt are %" PRIu64 " to %" PRIu64 ", durable is %" PRIu64, err.seq, err.seq_last, durable);
  }
  expect_failed("wal_append_batch", wal_append_batch(wal, &entry, 1, WAL_APPEND_SYNC, NULL, &err));
  expect_failed("wal_append_batch, not waiting", wal_append_batch(wal, &entry, 1, WAL_APPEND_ASYNC, NULL, &err));
  expect_failed("wal_sync", wal_sync(wal, WAL_SEQ_LAST, &err));
  expect_failed("wal_flush", wal_flush(wal, &err));
  expect_failed("wal_checkpoint", wal_checkpoint(wal, wal_durable_seq(wal), &n, &err));
  if (wal_last_seq(wal) > durable) expect_failed("wal_wait_durable", wal_wait_durable(wal, WAL_SEQ_LAST, 0, &err));
  if (ledger->stored > stat_of(wal).floor_seq) expect_failed("wal_truncate", wal_truncate(wal, ledger->stored, 0, &err));
  if (wal_durable_seq(wal) != durable) complain(ledger, "a poisoned handle made more durable");
}

static void break_it(const char *mode, trouble_t *trouble)
{
  plan_t plan = plan_for(mode, trouble->random);
  wal_error_t err;
  wal_t *wal = NULL;
  uint64_t n = 0;
  bool at_opening = is(trouble->point, "open");
  if (ledger->nonce == 0) ledger_begin(ledger, mix(trouble->random));
  if (open_log(trouble->dir, &plan, &wal, &err) != WAL_OK) give_up("wal_open on a disk in good order: %s", err.message);
  tell_ledger(NULL, &(message_t){.kind = OPENED, .seq = wal_last_seq(wal)});
  host_t host = host_on(&plan, wal, trouble->random);

  /* Three segments, so that there is something to forget, and a fourth one begun. */
  bool works = append_until_rotation(&host) == WAL_OK && host_append(&host, 3) == WAL_OK && checkpoint(wal, &n) == WAL_OK &&
               truncate_log(wal, n - 2) == WAL_OK && append_until_rotation(&host) == WAL_OK && append_until_rotation(&host) == WAL_OK &&
               host_append(&host, 5) == WAL_OK;
  if (!works) give_up("the log does not work on a disk in good order");
  if (at_opening) exit(0);

  wal_status_t status = meet_trouble(&host, trouble);
  if (status >= 0) complain(ledger, "%s: %s although the disk fails", trouble->point, wal_status_name(status));
  if (requests_failed() == 0) complain(ledger, "%s: the disk was not asked for anything that fails", trouble->point);
  bool is_poisoned = stat_of(wal).poisoned != 0;
  if (status == WAL_E_FAILED ? !is_poisoned : is_poisoned && !is(trouble->point, "threads")) {
    complain(ledger, "%s: %s, and the handle is %s", trouble->point, wal_status_name(status), is_poisoned ? "poisoned" : "not poisoned");
  }
  /* Not poisoned: what failed was the preparation of a segment, which nobody has been promised anything about. */
  if (is_poisoned) expect_poisoned(&host);
  if (!is(trouble->fault, "cut")) order("heal");
  /* Now another sync would succeed. */
  if (is_poisoned) expect_poisoned(&host);
  if (!is_poisoned) (void)host_append(&host, 3);
  status = wal_close(wal, &err);
  if (is_poisoned) expect_failed("wal_close", status);
  printf("%s", is_poisoned ? "poisoned" : "usable");
}

static void break_opening(const char *mode, trouble_t *trouble)
{
  plan_t plan = plan_for(mode, trouble->random);
  wal_error_t err;
  wal_t *wal = NULL;
  let_it_fail(trouble);
  wal_status_t status = open_log(trouble->dir, &plan, &wal, &err);
  if (status == WAL_OK) {
    complain(ledger, "open: WAL_OK although the disk fails");
    status = wal_close(wal, &err);
  }
  if (requests_failed() == 0) complain(ledger, "open: the disk was not asked for anything that fails");
  order("heal");
  printf("refused, %s", wal_status_name(status));
}

static void check_it(const char *dir, const char *mode, bool closed, uint64_t seed)
{
  plan_t plan = plan_for(mode, seed);
  wal_error_t err;
  wal_t *wal = NULL;
  if (open_log(dir, &plan, &wal, &err) != WAL_OK) {
    complain(ledger, "wal_open: %s", err.message);
    return;
  }
  tell_ledger(NULL, &(message_t){.kind = OPENED, .seq = wal_last_seq(wal)});
  ledger_examine(ledger, wal);
  host_t host = host_on(&plan, wal, seed);
  if (append_until_rotation(&host) != WAL_OK || host_append(&host, 3) != WAL_OK) complain(ledger, "appends do not go on");
  if (closed && wal_close(wal, &err) != WAL_OK) complain(ledger, "wal_close: %s", err.message);
}

/* ---- The mistake ---- */

static int naive_file(const char *path)
{
  int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) give_up("%s: %m", path);
  return file;
}

static void write_naively(const char *path, const char *fault)
{
  static char bytes[NAIVE_BYTES];
  int file = naive_file(path);
  if (pwrite(file, bytes, sizeof bytes, 0) != sizeof bytes || fsync(file) != 0) give_up("%s: %m", path);
  if (is(fault, "file")) {
    fail_blocks_of(file);
  } else {
    order("writes 0 %" PRIu64, UINT64_MAX / 2);
  }
  memset(bytes, 'x', sizeof bytes);
  if (pwrite(file, bytes, sizeof bytes, 0) != sizeof bytes) give_up("%s: %m", path);
  bool first = fdatasync(file) == 0;
  order("heal");
  bool second = fdatasync(file) == 0;
  close(file);
  if (first) give_up("the disk fails, and fdatasync does not say so");
  if (!second) give_up("the kernel no longer forgets that a sync has failed: this test is of no use");
}

static void read_naively(const char *path)
{
  char byte = 0;
  int file = naive_file(path);
  if (pread(file, &byte, 1, NAIVE_BYTES / 2) != 1) give_up("%s: %m", path);
  close(file);
  if (byte == 'x') give_up("what a failed sync should have lost is there: this test cannot fail");
}

int main(int count, char **arguments)
{
  const char *task = count > 1 ? arguments[1] : "";
  if (is(task, "break") && count == 9) {
    trouble_t trouble = {arguments[2], arguments[6], arguments[7], strtoull(arguments[8], NULL, 10)};
    control = open(arguments[3], O_RDWR | O_CLOEXEC);
    if (control < 0) give_up("%s: %m", arguments[3]);
    ledger = ledger_at(arguments[4]);
    /* The opening that fails is the second one. */
    if (is(trouble.point, "open") && ledger->nonce != 0) {
      break_opening(arguments[5], &trouble);
    } else {
      break_it(arguments[5], &trouble);
    }
    return ledger->complaints > 0;
  }
  if (is(task, "check") && count == 7) {
    ledger = ledger_at(arguments[3]);
    check_it(arguments[2], arguments[4], is(arguments[5], "closed"), strtoull(arguments[6], NULL, 10));
    fflush(stdout);
    if (ledger->complaints > 0) return 1;
    _exit(0); /* What is still open is not closed. */
  }
  if (is(task, "naive") && count == 5) {
    control = open(arguments[3], O_RDWR | O_CLOEXEC);
    if (control < 0) give_up("%s: %m", arguments[3]);
    write_naively(arguments[2], arguments[4]);
    return 0;
  }
  if (is(task, "naive-lost") && count == 3) {
    read_naively(arguments[2]);
    return 0;
  }
  give_up("see the top of failing.c");
}
