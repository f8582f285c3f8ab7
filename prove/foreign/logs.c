/* Logs that are made, read and gone on with the same way on every machine: `logs write DIR`, `logs read DIR`, `logs go-on DIR`.
 *
 * Random numbers and the clock are this program's own, so that the same call leaves the same bytes everywhere. `read` prints all that the library says
 * of each log; two machines that print the same have read the same. */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <wal.h>

enum { LARGE = 3000, PATH_MAX_LEN = 1024 };

static wal_error_t err;

/* ---- The same on every machine ---- */

ssize_t getrandom(void *buffer, size_t len, unsigned flags)
{
  static uint32_t state = 0x12345678;
  unsigned char *bytes = buffer;
  (void)flags;
  for (size_t at = 0; at < len; at++) {
    state = state * 1664525 + 1013904223;
    bytes[at] = (unsigned char)(state >> 24);
  }
  return (ssize_t)len;
}

/* A second passes from call to call. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
  static time_t seconds = 1700000000;
  (void)clock;
  now->tv_sec = seconds++;
  now->tv_nsec = 0;
  return 0;
}

/* ---- Checks ---- */

static void check_at(int line, wal_status_t status)
{
  if (status >= 0) return;
  fprintf(stderr, "logs.c:%d: %s: %s\n", line, wal_status_name(status), err.message);
  exit(1);
}

#define CHECK(status) check_at(__LINE__, (status))

/* ---- A process for each log, which ends without a word to the library ---- */

static bool apart(void (*run)(const char *dir), const char *dir)
{
  int status;
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    run(dir);
    fflush(stdout);
    _exit(0);
  }
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- Making logs ---- */

static wal_t *open_log(const char *dir)
{
  wal_options_t options;
  wal_t *wal;
  wal_options_init(&options, sizeof options);
  options.segment_size = 8192;
  options.option_flags = WAL_OPTION_NO_THREAD;
  CHECK(wal_open(dir, &options, &wal, &err));
  return wal;
}

static void append(wal_t *wal, uint8_t op, size_t key_len, size_t value_len)
{
  unsigned char bytes[LARGE];
  uint64_t seq = wal_last_seq(wal);
  for (size_t at = 0; at < sizeof bytes; at++) bytes[at] = (unsigned char)(seq * 131 + at * 7 + (at >> 8));
  CHECK(wal_append(wal, op, bytes, key_len, bytes + key_len, value_len, NULL, &err));
}

static void append_batch(wal_t *wal)
{
  const wal_entry_t entries[] = {
      {.key = "first", .key_len = 5, .value = "of a batch", .value_len = 10, .op = WAL_OP_PUT},
      {.key = "second", .key_len = 6, .op = WAL_OP_DELETE},
      {.value = "third", .value_len = 5, .op = 255},
  };
  CHECK(wal_append_batch(wal, entries, sizeof entries / sizeof *entries, 0, NULL, &err));
}

/* Records of all shapes, over several segments; the last one is `last`. */
static void fill(wal_t *wal, uint64_t last)
{
  while (wal_last_seq(wal) < last) {
    switch (wal_last_seq(wal) % 7) {
      case 0: append(wal, WAL_OP_PUT, 8, 100); break;
      case 1: append(wal, WAL_OP_DELETE, 17, 0); break;
      case 2: append(wal, WAL_OP_USER, 0, LARGE); break;
      case 3: append_batch(wal); break;
      case 6: append(wal, 200, 0, 0); break;
      default: append(wal, WAL_OP_PUT, 1, 1); break;
    }
  }
}

static void clean(const char *dir)
{
  wal_t *wal = open_log(dir);
  uint64_t n;
  fill(wal, 40);
  CHECK(wal_checkpoint(wal, WAL_SEQ_LAST, &n, &err));
  fill(wal, 45);
  CHECK(wal_close(wal, &err));
}

/* Segments come back as spares, and what is kept begins inside a batch. */
static void truncated(const char *dir)
{
  wal_t *wal = open_log(dir);
  uint64_t n;
  fill(wal, 60);
  CHECK(wal_checkpoint(wal, 51, &n, &err));
  CHECK(wal_truncate(wal, n, 0, &err));
  fill(wal, 90);
  CHECK(wal_close(wal, &err));
}

/* The process ends without closing. */
static void unclean(const char *dir)
{
  wal_t *wal = open_log(dir);
  uint64_t n;
  fill(wal, 30);
  CHECK(wal_checkpoint(wal, 20, &n, &err));
  fill(wal, 35);
}

static void pinned(const char *dir)
{
  wal_t *wal = open_log(dir);
  uint64_t n, seq;
  fill(wal, 20);
  CHECK(wal_pin_create(dir, "backup", 10, 0, 0, &seq, &err));
  CHECK(wal_pin_create(dir, "replica", WAL_PIN_OLDEST, UINT64_C(1) << 40, WAL_PIN_REFUSE, &seq, &err));
  fill(wal, 50);
  CHECK(wal_pin_advance(dir, "replica", 15, &err));
  CHECK(wal_checkpoint(wal, WAL_SEQ_LAST, &n, &err));
  CHECK(wal_truncate(wal, n, 0, &err));
  fill(wal, 60);
  CHECK(wal_close(wal, &err));
}

/* A process that ended, another that recovered what it left and ended, too. */
static void recovered(const char *dir)
{
  if (!apart(unclean, dir)) exit(1);
  wal_t *wal = open_log(dir);
  fill(wal, 50);
}

static const struct {
  const char *name;
  void (*make)(const char *dir);
} logs[] = {{"clean", clean}, {"truncated", truncated}, {"unclean", unclean}, {"pinned", pinned}, {"recovered", recovered}};

enum { LOGS = sizeof logs / sizeof *logs };

/* ---- Reading them ---- */

static void print_bytes(const char *name, const void *bytes, size_t len)
{
  printf(" %s=", name);
  for (size_t at = 0; at < len; at++) printf("%02x", ((const unsigned char *)bytes)[at]);
}

static void print_records(const char *what, wal_t *wal, uint64_t after, uint32_t flags)
{
  wal_cursor_t *cursor;
  wal_record_t record;
  wal_status_t status;
  CHECK(wal_replay_open(wal, after, flags, &cursor, &err));
  while ((status = wal_replay_next(cursor, &record, &err)) == WAL_OK) {
    printf("%s seq=%llu to=%llu op=%u", what, (unsigned long long)record.seq, (unsigned long long)record.batch_last_seq, record.op);
    print_bytes("key", record.key, record.key_len);
    print_bytes("value", record.value, record.value_len);
    printf("\n");
  }
  CHECK(status);
  wal_replay_close(cursor);
}

/* The lowest seq that a pin holds; UINT64_MAX without one. */
static uint64_t print_pins(const char *dir)
{
  uint64_t lowest = UINT64_MAX;
  wal_pin_t pins[4];
  size_t count;
  CHECK(wal_pin_list(dir, pins, sizeof pins / sizeof *pins, &count, &err));
  for (size_t at = 0; at < count; at++) {
    printf("pin %s seq=%llu held=%llu max=%llu flags=%u lost=%u damaged=%u\n", pins[at].name, (unsigned long long)pins[at].seq,
           (unsigned long long)pins[at].held_bytes, (unsigned long long)pins[at].max_bytes, pins[at].flags, pins[at].lost,
           pins[at].damaged);
    if (pins[at].seq < lowest) lowest = pins[at].seq;
  }
  return lowest;
}

static void read_log(const char *dir)
{
  wal_options_t options;
  wal_report_t report;
  wal_t *wal;
  wal_options_init(&options, sizeof options);
  CHECK(wal_inspect(dir, &options, WAL_INSPECT_FULL, &report, sizeof report, &err));
  report.duration_us = 0;
  CHECK(report.damage_code);
  /* Numbers of 64 and of 32 bits; the struct has no gaps. */
  printf("report");
  const uint64_t *numbers = (const uint64_t *)&report;
  for (size_t at = 0; at < offsetof(wal_report_t, log_id) / sizeof *numbers; at++) printf(" %llu", (unsigned long long)numbers[at]);
  print_bytes("log_id", report.log_id, sizeof report.log_id);
  printf(" clean=%u created=%u rebuilt=%u damage=%d\n", report.clean, report.created, report.rebuilt_manifest, report.damage_code);
  uint64_t lowest = print_pins(dir);
  options.open_flags = WAL_OPEN_READ_ONLY;
  CHECK(wal_open(dir, &options, &wal, &err));
  print_records("record", wal, WAL_REPLAY_OLDEST, WAL_REPLAY_RAW | WAL_REPLAY_UNSYNCED);
  if (lowest != UINT64_MAX) print_records("pinned", wal, lowest, WAL_REPLAY_RAW | WAL_REPLAY_PINNED | WAL_REPLAY_UNSYNCED);
  CHECK(wal_close(wal, &err));
}

static void go_on(const char *dir)
{
  wal_t *wal = open_log(dir);
  uint64_t n;
  fill(wal, wal_last_seq(wal) + 20);
  CHECK(wal_checkpoint(wal, WAL_SEQ_LAST, &n, &err));
  CHECK(wal_truncate(wal, n - 5, 0, &err));
  fill(wal, wal_last_seq(wal) + 3);
  CHECK(wal_close(wal, &err));
}

int main(int count, char **arguments)
{
  if (count != 3) return 2;
  for (int at = 0; at < LOGS; at++) {
    char dir[PATH_MAX_LEN];
    bool done;
    snprintf(dir, sizeof dir, "%s/%s", arguments[2], logs[at].name);
    if (strcmp(arguments[1], "write") == 0) {
      done = apart(logs[at].make, dir);
    } else if (strcmp(arguments[1], "read") == 0) {
      printf("log %s\n", logs[at].name);
      done = apart(read_log, dir);
    } else if (strcmp(arguments[1], "go-on") == 0) {
      done = apart(go_on, dir);
    } else {
      return 2;
    }
    if (!done) {
      fprintf(stderr, "%s %s failed\n", arguments[1], dir);
      return 1;
    }
  }
  return 0;
}
