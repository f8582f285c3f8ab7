/*
 * A host that runs scripts against libwal.so while a recorder (record.c) is preloaded, and tells it what it was promised. It is the one of
 * prove/src/host.rs, with the same steps, the same bytes and the same account, but on real files, through the C ABI.
 *
 * Each line of its input is a script: the directory of the log; the sync mode (a, b, o, n; a capital letter: with direct writes); the bytes of a segment; whether forgotten segments are recycled (r, -); how damage is
 * met (s: strict, p: prefix); who makes the directory (l: the log, h: the host, e: it exists); the number of the call at which the first process dies,
 * 0 for none; and the steps, a letter each. A script ends with a close. Every life of the host is a process of its own.
 */

#define _GNU_SOURCE
#include "record.h"
#include "wal.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Marks. prove/src/recorded/script.rs has the same. */
enum {
  MARK_SCRIPT = 1,     /* A script begins; who makes the directory. */
  MARK_LIFE = 2,       /* A process begins. */
  MARK_OPENED = 3,     /* The log is open: last seq, floor, checkpoint. */
  MARK_APPENDING = 4,  /* Records are about to be appended: first seq, count, op << 32 | length. */
  MARK_REFUSED = 5,    /* They were not appended, from this seq on. */
  MARK_DURABLE = 6,    /* Everything up to this seq was acknowledged. */
  MARK_CHECKPOINT = 7, /* Acknowledged, with this n. */
  MARK_TRUNCATING = 8, /* About to truncate up to this seq. */
  MARK_TRUNCATED = 9,  /* Acknowledged. */
  MARK_SHOWN = 10,     /* Replay shows a record: seq, last seq of its batch, op << 56 | FNV-1a of its value. */
  MARK_STEP = 11,      /* A step is done. */
  MARK_DAMAGE = 12,    /* The host is about to damage the log. */
  MARK_CLOSED = 13,    /* The log was closed. */
  MARK_OPENING = 14,   /* About to open the log. */
  MARK_END = 15        /* The script is done. */
};

enum { BATCH = 3, LONGEST = 4096 };

static record_start_t *start_recording;
static record_mark_t *mark;
static record_die_t *die_at;
static record_fail_t *fail_next_write;
static record_full_t *fill_disk;

static const char *script; /* For messages. */
static wal_options_t options;
static wal_t *wal;
static wal_error_t err;
static uint8_t bytes[BATCH][LONGEST];

static void fail(const char *what)
{
  fprintf(stderr, "host: %s: %s: %d %s (errno %d)\n", script, what, err.code, err.message, errno);
  exit(1);
}

static void ok(wal_status_t status, const char *what)
{
  if (status != WAL_OK) fail(what);
}

static const uint8_t *value_of(size_t at, uint64_t seq, size_t length)
{
  for (size_t byte = 0; byte < length; byte++) bytes[at][byte] = (uint8_t)((seq * 31 + byte) * 7);
  return bytes[at];
}

static void open_log(const char *dir)
{
  wal_stat_t stat;
  mark(MARK_OPENING, 0, 0, 0);
  ok(wal_open(dir, &options, &wal, &err), "wal_open");
  ok(wal_stat(wal, &stat, sizeof stat, &err), "wal_stat");
  mark(MARK_OPENED, stat.last_seq, stat.floor_seq, stat.checkpoint_seq);
}

static void close_log(void)
{
  uint64_t last = wal_last_seq(wal);
  ok(wal_close(wal, &err), "wal_close");
  mark(MARK_DURABLE, last, 0, 0);
  mark(MARK_CLOSED, 0, 0, 0);
}

/* Whether a call was made; a write that failed and was taken back, and a full disk, are the only other outcomes that are expected. */
static bool accepted(wal_status_t status, const char *what)
{
  if (status != WAL_E_IO && status != WAL_E_NO_SPACE) ok(status, what);
  if (status != WAL_OK) mark(MARK_REFUSED, wal_last_seq(wal) + 1, 0, 0);
  return status == WAL_OK;
}

static void append(size_t length)
{
  uint64_t seq = wal_last_seq(wal) + 1;
  mark(MARK_APPENDING, seq, 1, (uint64_t)WAL_OP_PUT << 32 | length);
  wal_status_t status = wal_append(wal, WAL_OP_PUT, NULL, 0, value_of(0, seq, length), length, NULL, &err);
  if (accepted(status, "wal_append") && options.sync_mode == WAL_SYNC_ALWAYS) mark(MARK_DURABLE, seq, 0, 0);
}

static void batch(void)
{
  wal_entry_t entries[BATCH];
  uint64_t first = wal_last_seq(wal) + 1;
  mark(MARK_APPENDING, first, BATCH, (uint64_t)WAL_OP_PUT << 32 | 100);
  for (size_t at = 0; at < BATCH; at++) entries[at] = (wal_entry_t){NULL, value_of(at, first + at, 100), 0, 100, WAL_OP_PUT, 0};
  wal_status_t status = wal_append_batch(wal, entries, BATCH, 0, NULL, &err);
  if (accepted(status, "wal_append_batch") && options.sync_mode == WAL_SYNC_ALWAYS) mark(MARK_DURABLE, first + BATCH - 1, 0, 0);
}

static void checkpoint(uint64_t covered)
{
  uint64_t n = 0;
  mark(MARK_APPENDING, wal_last_seq(wal) + 1, 1, (uint64_t)WAL_OP_CHECKPOINT << 32);
  if (!accepted(wal_checkpoint(wal, covered, &n, &err), "wal_checkpoint")) return;
  /* On a full disk it has no record. */
  mark(MARK_REFUSED, wal_last_seq(wal) + 1, 0, 0);
  mark(MARK_DURABLE, wal_last_seq(wal), 0, 0);
  mark(MARK_CHECKPOINT, n, 0, 0);
}

static void truncate_log(uint64_t up_to)
{
  mark(MARK_TRUNCATING, up_to, 0, 0);
  ok(wal_truncate(wal, up_to, WAL_TRUNCATE_UNCHECKED, &err), "wal_truncate");
  mark(MARK_TRUNCATED, up_to, 0, 0);
}

static void show(void)
{
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  wal_status_t status;
  ok(wal_replay_open(wal, WAL_REPLAY_OLDEST, WAL_REPLAY_RAW | WAL_REPLAY_SKIP_LOST, &cursor, &err), "wal_replay_open");
  while ((status = wal_replay_next(cursor, &record, &err)) == WAL_OK) {
    uint64_t sum = 0xcbf29ce484222325;
    const uint8_t *value = record.value;
    for (size_t at = 0; at < record.value_len; at++) sum = (sum ^ value[at]) * 0x100000001b3;
    mark(MARK_SHOWN, record.seq, record.batch_last_seq, (uint64_t)record.op << 56 | sum >> 8);
  }
  if (status != WAL_END) fail("wal_replay_next");
  wal_replay_close(cursor);
}

/* Overwrites the manifest, which the log can do without if it is told to (prefix). The host's own calls are recorded like the log's. */
static bool destroy_manifest(int dir)
{
  static const char junk[16384];
  int fd = openat(dir, "MANIFEST", O_RDWR | O_CLOEXEC);
  bool done = fd >= 0 && pwrite(fd, junk, sizeof junk, 0) == sizeof junk && fdatasync(fd) == 0;
  if (fd >= 0) close(fd);
  return done || errno == ENOENT;
}

static bool remove_second_segment(int dir)
{
  return (unlinkat(dir, "0000000002.wal", 0) == 0 && fsync(dir) == 0) || errno == ENOENT;
}

static void damage(const char *path, bool (*do_damage)(int dir))
{
  int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  mark(MARK_DAMAGE, 0, 0, 0);
  if (dir >= 0 && !do_damage(dir)) fail("damaging the log");
  if (dir >= 0) close(dir);
}

static void step(const char *dir, char letter)
{
  uint64_t last = wal_last_seq(wal);
  switch (letter) {
    case 'a': append(200); break;
    case 'r': append(2000); break;
    case 'b': batch(); break;
    case 's':
      ok(wal_sync(wal, WAL_SEQ_LAST, &err), "wal_sync");
      mark(MARK_DURABLE, last, 0, 0);
      break;
    case 'c': checkpoint(WAL_SEQ_LAST); break;
    case 'k': checkpoint(last > 0 ? last - 1 : 0); break;
    case 'h': truncate_log(last / 2); break;
    case 't': truncate_log(last); break;
    case 'o':
      close_log();
      open_log(dir);
      break;
    case 'v': show(); break;
    /* The next write fails half-way, or when all is written. */
    case 'f': fail_next_write(EIO, 2); return;
    case 'F': fail_next_write(EIO, 1); return;
    /* The disk is full from here on. */
    case 'n': fill_disk(); return;
    default: fail("no such step");
  }
  mark(MARK_STEP, 0, 0, 0);
}

/* One process: up to the end of the steps or the next death among them. */
static void live(const char *dir, const char *steps)
{
  mark(MARK_LIFE, 0, 0, 0);
  for (; *steps == 'd' || *steps == 'g'; steps++) damage(dir, *steps == 'd' ? destroy_manifest : remove_second_segment);
  open_log(dir);
  for (; *steps != '\0'; steps++) {
    if (*steps == 'x') _exit(0);
    step(dir, *steps);
  }
  close_log();
}

static void run(char *line)
{
  char dir[512], mode, recycling, recovery, maker, steps[64] = "";
  unsigned long long segment, death;
  script = line;
  if (sscanf(line, "%511s %c %llu %c %c %c %llu %63s", dir, &mode, &segment, &recycling, &recovery, &maker, &death, steps) < 7) fail("no such script");
  wal_options_init(&options, sizeof options);
  options.segment_size = segment;
  char small = (char)tolower(mode);
  options.sync_mode = small == 'a' ? WAL_SYNC_ALWAYS : small == 'b' ? WAL_SYNC_BATCH : small == 'o' ? WAL_SYNC_OS : WAL_SYNC_NONE;
  options.recycle_segments = recycling == 'r' ? 0 : WAL_RECYCLE_NONE;
  options.recovery = recovery == 'p' ? WAL_RECOVER_PREFIX : WAL_RECOVER_STRICT;
  options.option_flags = WAL_OPTION_NO_THREAD | (small != mode ? WAL_OPTION_DIRECT : 0);
  mark(MARK_SCRIPT, (uint64_t)maker, 0, 0);
  if (maker == 'h' && mkdir(dir, 0700) != 0) fail("mkdir");
  /* "-" stands for no steps. */
  for (const char *at = *steps == '-' ? "" : steps; at != NULL;) {
    const char *next = strchr(at, 'x');
    int status = 0;
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
      if (at == steps) die_at(death);
      live(dir, at);
      _exit(0);
    }
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) fail("a life ended badly");
    at = next != NULL ? next + 1 : NULL;
  }
  mark(MARK_END, 0, 0, 0);
}

#define FIND(name, variable) *(void **)&(variable) = dlsym(RTLD_DEFAULT, name)

int main(void)
{
  char line[1024];
  FIND("record_start", start_recording);
  FIND("record_mark", mark);
  FIND("record_die", die_at);
  FIND("record_fail", fail_next_write);
  FIND("record_full", fill_disk);
  if (start_recording == NULL || mark == NULL || die_at == NULL || fail_next_write == NULL || fill_disk == NULL) {
    fputs("host: the recorder is not preloaded\n", stderr);
    return 1;
  }
  start_recording();
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    run(line);
  }
  return 0;
}
