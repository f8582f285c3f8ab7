/*
 * killed: a host that is killed at random moments, and a judge who survives.
 *
 *     killed DIR KILLS [SEED]         so many kills
 *     killed DIR MINUTESm [SEED]      as many as fit into so many minutes
 *
 * The host is a child process: it opens a log below DIR, and its threads append, checkpoint, truncate and read. What it is about to do and what the
 * log has acknowledged it tells this process, the judge, through a pipe; what the pipe holds when the host dies still counts. The judge kills it with
 * SIGKILL, now and then also the next ones while they recover from the kill before, and then has a third process open the log and compare it
 * with all that it has promised. The same log goes on for some fifty kills. First the judge is tried on two hosts that deserve a complaint.
 *
 * The seed decides the plan of logs, workloads and delays; when a signal really comes is for the machine to decide. Exit status: 0 if every promise
 * was kept, 1 if not (the log stays where it is), 2 if the judge could not work.
 */
#define _GNU_SOURCE

#include "real.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
  PATH_BYTES = 4096,
  KILLS_OF_A_LOG = 50,
  LEAST_US = 100,
  MOST_LIFE_US = 30000,
  MOST_OPENING_US = 3000,
  PIPE_ROOM = 1 << 20,
  MINUTE_US = 60000000,
  PATIENCE_US = MINUTE_US, /* An opening that takes longer hangs. */
  EARLY_KILLS = 500
};

typedef struct {
  char dir[PATH_BYTES]; /* The log's. */
  bool may_be_direct;   /* Whether logs can be there that write past the system's cache. */
  plan_t plan;
  ledger_t *ledger;
  uint64_t random;
  uint64_t kills;
  uint64_t kills_in_opening;
  uint64_t logs;
} judge_t;

/* ---- The hosts ---- */

typedef enum { WORK, ONLY_OPEN } task_t;

static void tell_pipe(void *context, const message_t *message)
{
  ssize_t done;
  do {
    done = write(*(const int *)context, message, sizeof *message);
  } while (done < 0 && errno == EINTR);
  if (done != (ssize_t)sizeof *message) _Exit(2);
}

static void tell_ledger(void *context, const message_t *message)
{
  ledger_note(context, message);
}

static wal_t *open_log(const judge_t *judge)
{
  wal_options_t options = options_of(&judge->plan);
  wal_error_t err;
  wal_t *wal = NULL;
  ledger_options(judge->ledger, &options);
  wal_status_t status = wal_open(judge->dir, &options, &wal, &err);
  if (status != WAL_OK) complain(judge->ledger, "wal_open: %s: %s", wal_status_name(status), err.message);
  return wal;
}

static host_t host_on(const judge_t *judge, wal_t *wal, uint64_t seed)
{
  host_t host = {.plan = &judge->plan, .wal = wal, .nonce = judge->ledger->nonce, .seed = seed};
  for (unsigned writer = 0; writer < MOST_WRITERS; writer++) host.next_counter[writer] = judge->ledger->announced[writer] + 1;
  return host;
}

static _Noreturn void be_host(const judge_t *judge, task_t task, uint64_t seed, int pipe)
{
  wal_t *wal = open_log(judge);
  if (wal == NULL) _Exit(1);
  host_t host = host_on(judge, wal, seed);
  host.tell = tell_pipe;
  host.context = &pipe;
  tell_pipe(&pipe, &(message_t){.kind = OPENED, .seq = wal_last_seq(wal)});
  if (task == WORK) host_run(&host);
  for (;;) pause();
}

/* Opens the log like a host that was restarted, and compares. Then it works on, and may itself end without closing. */
static _Noreturn void be_examiner(const judge_t *judge, uint64_t seed)
{
  ledger_t *ledger = judge->ledger;
  wal_options_t options = options_of(&judge->plan);
  wal_report_t foreseen;
  wal_error_t err;
  wal_status_t status = wal_inspect(judge->dir, &options, WAL_INSPECT_FULL, &foreseen, sizeof foreseen, &err);
  wal_t *wal = open_log(judge);
  if (wal == NULL) _Exit(1);
  if (status == WAL_OK ? foreseen.last_seq != wal_last_seq(wal) || foreseen.damage_code != WAL_OK : status != WAL_E_NOT_FOUND) {
    complain(ledger, "wal_inspect: %s, damage %s, last seq %" PRIu64 "; the opening found %" PRIu64, wal_status_name(status),
             wal_status_name(foreseen.damage_code), foreseen.last_seq, wal_last_seq(wal));
  }
  ledger_note(ledger, &(message_t){.kind = OPENED, .seq = wal_last_seq(wal)});
  ledger_examine(ledger, wal);
  host_t host = host_on(judge, wal, seed);
  host.tell = tell_ledger;
  host.context = ledger;
  if (host_append(&host, draw(&seed, 8)) != WAL_OK) _Exit(1);
  if (draw(&seed, 2) == 0 && (status = wal_close(wal, &err)) != WAL_OK) complain(ledger, "wal_close: %s", err.message);
  _Exit(0);
}

/* ---- The judge ---- */

static pid_t fork_child(void)
{
  fflush(stdout);
  pid_t judge = getpid(), pid = fork();
  if (pid < 0) give_up("fork: %m");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != judge) _Exit(2);
  }
  return pid;
}

/* Waits for messages until the time comes; false at the end of the pipe. */
static bool listen_until(judge_t *judge, int pipe, uint64_t until_us)
{
  static message_t messages[1024];
  uint64_t now = now_us(), left = until_us > now ? until_us - now : 0;
  struct timespec timeout = {(time_t)(left / 1000000), (long)(left % 1000000) * 1000};
  struct pollfd waiting = {pipe, POLLIN, 0};
  int ready = ppoll(&waiting, 1, &timeout, NULL);
  if (ready < 0 && errno != EINTR) give_up("poll: %m");
  if (ready <= 0) return true;
  ssize_t got = read(pipe, messages, sizeof messages);
  if (got < 0 || (size_t)got % sizeof *messages != 0) give_up("read %zd bytes from the pipe: %m", got);
  for (size_t at = 0; at < (size_t)got / sizeof *messages; at++) ledger_note(judge->ledger, &messages[at]);
  return got > 0;
}

/* One host's life. */
static void live_and_die(judge_t *judge, task_t task)
{
  int ends[2], status;
  uint64_t seed = draw(&judge->random, UINT64_MAX);
  /* Most die at work, some before that. */
  bool from_birth = task == ONLY_OPEN || draw(&judge->random, 5) == 0;
  uint64_t most_us = task == ONLY_OPEN ? MOST_OPENING_US : MOST_LIFE_US;
  uint64_t delay_us = draw(&judge->random, LEAST_US);
  delay_us += LEAST_US * (draw_log(&judge->random, most_us / LEAST_US) - 1);
  if (pipe2(ends, O_CLOEXEC) != 0) give_up("pipe: %m");
  (void)fcntl(ends[1], F_SETPIPE_SZ, PIPE_ROOM); /* A wish. */
  pid_t pid = fork_child();
  if (pid == 0) {
    close(ends[0]);
    be_host(judge, task, seed, ends[1]);
  }
  close(ends[1]);

  uint64_t opened_before = judge->ledger->openings, born = now_us();
  uint64_t end = born + (from_birth ? delay_us : PATIENCE_US);
  bool is_open = false;
  while (now_us() < end && listen_until(judge, ends[0], end)) {
    if (!is_open && judge->ledger->openings != opened_before) {
      is_open = true;
      if (!from_birth) end = now_us() + delay_us;
    }
  }
  if (!from_birth && !is_open && now_us() >= end) complain(judge->ledger, "the opening hangs");
  kill(pid, SIGKILL);
  while (listen_until(judge, ends[0], UINT64_MAX / 2)) {
  }
  close(ends[0]);
  if (waitpid(pid, &status, 0) != pid) give_up("waitpid: %m");
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) complain(judge->ledger, "the host was not killed but gave up");
  judge->kills++;
  if (judge->ledger->openings == opened_before) judge->kills_in_opening++;
}

static void examine(judge_t *judge)
{
  int status;
  uint64_t seed = draw(&judge->random, UINT64_MAX);
  pid_t pid = fork_child();
  if (pid == 0) be_examiner(judge, seed);
  if (waitpid(pid, &status, 0) != pid) give_up("waitpid: %m");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) complain(judge->ledger, "the examiner ended with status %#x", (unsigned)status);
}

static void remove_log(const char *dir)
{
  DIR *list = opendir(dir);
  const struct dirent *item;
  if (list == NULL) return;
  while ((item = readdir(list)) != NULL) {
    if (item->d_name[0] != '.' && unlinkat(dirfd(list), item->d_name, 0) != 0) give_up("%s/%s: %m", dir, item->d_name);
  }
  closedir(list);
  if (rmdir(dir) != 0) give_up("%s: %m", dir);
}

static const char *name_of(uint32_t mode)
{
  static const char *const names[] = {"ALWAYS", "BATCH", "OS", "NONE"};
  return names[mode];
}

/* Whether files in `dir` can be written past the system's cache. */
static bool takes_direct_writes(const char *dir)
{
  char path[PATH_BYTES];
  if (snprintf(path, sizeof path, "%s/probe", dir) >= (int)sizeof path) give_up("the path is too long");
  int file = open(path, O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
  if (file >= 0) close(file);
  unlink(path);
  return file >= 0;
}

static void new_log(judge_t *judge)
{
  static const uint64_t sizes[] = {4096, 8192, 16384, LARGEST_SEGMENT};
  static const uint32_t modes[] = {WAL_SYNC_ALWAYS, WAL_SYNC_OS, WAL_SYNC_ALWAYS, WAL_SYNC_BATCH, WAL_SYNC_OS, WAL_SYNC_NONE};
  remove_log(judge->dir);
  ledger_begin(judge->ledger, draw(&judge->random, UINT64_MAX));
  uint32_t mode = modes[judge->logs % 6];
  bool direct = judge->may_be_direct && (mode == WAL_SYNC_ALWAYS || mode == WAL_SYNC_BATCH) && draw(&judge->random, 2) == 0;
  judge->plan = (plan_t){
      .sync_mode = mode,
      .writers = 1 + (uint32_t)draw(&judge->random, MOST_WRITERS),
      .segment_size = sizes[draw(&judge->random, 4)],
      .recycle_segments = draw(&judge->random, 4) == 0 ? WAL_RECYCLE_NONE : 0,
      .option_flags = (draw(&judge->random, 4) == 0 ? WAL_OPTION_NO_THREAD : 0) | (direct ? WAL_OPTION_DIRECT : 0),
  };
  judge->logs++;
}

/* ---- Is the judge worth anything? ---- */

/* The last acknowledged record is wiped out of the segments: only the ledger knows that it was there. */
static void lose_last_record(const judge_t *judge)
{
  static unsigned char bytes[LARGEST_SEGMENT], value[LARGEST_SEGMENT];
  const entry_t *entry = &judge->ledger->entries[judge->ledger->safe];
  identity_t identity = {judge->ledger->nonce, entry->counter, entry->writer, entry->batch_at, entry->batch_count, LEAST_VALUE_BYTES};
  unsigned char key[KEY_BYTES];
  unsigned found = 0;
  DIR *list = opendir(judge->dir);
  const struct dirent *item;
  write_record(&identity, key, value);
  while (list != NULL && (item = readdir(list)) != NULL) {
    int file = openat(dirfd(list), item->d_name, O_RDWR | O_CLOEXEC);
    ssize_t len = file < 0 ? -1 : pread(file, bytes, sizeof bytes, 0);
    unsigned char *place = len < KEY_BYTES ? NULL : memmem(bytes, (size_t)len, key, KEY_BYTES);
    if (place != NULL) {
      memset(place, 0, (size_t)(bytes + len - place));
      if (pwrite(file, bytes, (size_t)len, 0) != len) give_up("%s: %m", item->d_name);
      found++;
    }
    if (file >= 0) close(file);
  }
  if (list != NULL) closedir(list);
  if (found != 1) give_up("the last acknowledged record stands in %u segments", found);
}

/* The ledger must be full of complaints now; they are not the log's. */
static void expect_complaints(judge_t *judge, const char *what)
{
  ledger_t *ledger = judge->ledger;
  if (ledger->complaints == 0) {
    printf("THE JUDGE IS BLIND: no complaint about %s\n", what);
    exit(1);
  }
  printf("the judge complains about %s: %s\n", what, ledger->first_complaint);
  memset(ledger, 0, offsetof(ledger_t, silent));
  judge->kills = judge->kills_in_opening = 0;
  remove_log(judge->dir);
}

static void try_the_judge(judge_t *judge)
{
  judge->ledger->silent = true;
  ledger_begin(judge->ledger, draw(&judge->random, UINT64_MAX));
  judge->plan = (plan_t){.sync_mode = WAL_SYNC_ALWAYS, .writers = 1, .segment_size = LARGEST_SEGMENT, .option_flags = WAL_OPTION_NO_THREAD};
  while (judge->ledger->safe == 0 || judge->ledger->entries[judge->ledger->safe].kind != DATA) live_and_die(judge, WORK);
  if (judge->ledger->complaints > 0) give_up("a complaint about a log that nobody has touched: %s", judge->ledger->first_complaint);
  lose_last_record(judge);
  examine(judge);
  expect_complaints(judge, "a log whose last acknowledged record was wiped out");

  ledger_begin(judge->ledger, draw(&judge->random, UINT64_MAX));
  judge->plan = (plan_t){.sync_mode = WAL_SYNC_OS, .writers = 2, .segment_size = LARGEST_SEGMENT, .early = true};
  for (unsigned kills = 0; kills < EARLY_KILLS && judge->ledger->complaints == 0; kills++) {
    live_and_die(judge, WORK);
    examine(judge);
  }
  expect_complaints(judge, "a host that acknowledges before it appends");
  judge->ledger->silent = false;
}

/* ---- The run ---- */

static void say_how_it_goes(const judge_t *judge, uint64_t born)
{
  const ledger_t *ledger = judge->ledger;
  printf("%" PRIu64 " s: %" PRIu64 " kills of %" PRIu64 " logs, %" PRIu64 " of them during the opening; of %" PRIu64 " records appended %" PRIu64
         " were acknowledged and not yet forgotten, and were there, %" PRIu64 " were there besides; %" PRIu64 " were seen again later\n",
         (now_us() - born) / 1000000, judge->kills, judge->logs, judge->kills_in_opening, ledger->appended, ledger->promises, ledger->in_doubt,
         ledger->seen_again);
  fflush(stdout);
}

/* The lines that `make prove` adds up. */
static void say_tally(const judge_t *judge, uint64_t born)
{
  double seconds = (double)(now_us() - born) / 1e6;
  printf("tally: kills %" PRIu64 " kills; %.1f seconds; %" PRIu64 " found\n", judge->kills, seconds, judge->ledger->complaints);
  printf("tally: kills-records %" PRIu64 " acknowledged records; %" PRIu64 " found\n", judge->ledger->promises, judge->ledger->complaints);
}

int main(int count, char **arguments)
{
  char *rest = NULL;
  static judge_t judge;
  if (count < 3 || count > 4) give_up("killed DIR KILLS|MINUTESm [SEED]");
  if (mkdir(arguments[1], 0700) != 0 && errno != EEXIST) give_up("%s: %m", arguments[1]);
  judge.may_be_direct = takes_direct_writes(arguments[1]);
  if (snprintf(judge.dir, sizeof judge.dir, "%s/log", arguments[1]) >= (int)sizeof judge.dir) give_up("the path is too long");
  uint64_t amount = strtoull(arguments[2], &rest, 10);
  bool minutes = strcmp(rest, "m") == 0;
  if (amount == 0 || (!minutes && *rest != 0)) give_up("so many kills, or so many minutes with an m: not %s", arguments[2]);
  uint64_t seed = count > 3 ? strtoull(arguments[3], NULL, 10) : now_us() ^ (uint64_t)getpid() << 40;
  uint64_t born = now_us(), end = minutes ? born + amount * MINUTE_US : UINT64_MAX, most = minutes ? UINT64_MAX : amount, told = born;
  printf("kill harness: seed %" PRIu64 "\n", seed);
  judge.random = mix(seed);
  judge.ledger = ledger_at(NULL);
  try_the_judge(&judge);
  for (uint64_t log_end = 0; judge.kills < most && now_us() < end; ) {
    if (judge.kills >= log_end || judge.ledger->highest > MOST_SEQS / 2) {
      new_log(&judge);
      log_end = judge.kills + KILLS_OF_A_LOG;
    }
    live_and_die(&judge, WORK);
    while (draw(&judge.random, 3) == 0) live_and_die(&judge, ONLY_OPEN);
    examine(&judge);
    if (judge.ledger->complaints > 0) {
      printf("A PROMISE WAS BROKEN at kill %" PRIu64 " of seed %" PRIu64 ": mode %s, %u writers, segments of %" PRIu64 " bytes; the log is in %s\n",
             judge.kills, seed, name_of(judge.plan.sync_mode), judge.plan.writers, judge.plan.segment_size, judge.dir);
      say_tally(&judge, born);
      return 1;
    }
    if (now_us() - told > MINUTE_US) {
      say_how_it_goes(&judge, born);
      if (minutes && now_us() < end) printf("%" PRIu64 " minutes to go\n", (end - now_us()) / MINUTE_US + 1);
      told = now_us();
    }
  }
  remove_log(judge.dir);
  rmdir(arguments[1]);
  say_how_it_goes(&judge, born);
  say_tally(&judge, born);
  return 0;
}
