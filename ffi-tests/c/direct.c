/* Writing past the system's cache. The other tests about writing run so as well: see tests/direct.rs. */

#include "harness.h"

#include <dirent.h>
#include <stddef.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static wal_options_t direct(void)
{
  wal_options_t options = defaults();
  options.option_flags = WAL_OPTION_DIRECT;
  return options;
}

/* Of the descriptors that this process has open in `log`: how many are for files whose names end so, and how many of those go past the cache. */
static void count_open(const char *log, const char *ending, unsigned *all, unsigned *past_cache)
{
  DIR *list = opendir("/proc/self/fd");
  struct dirent *entry;
  *all = *past_cache = 0;
  CHECK(list != NULL);
  while ((entry = readdir(list)) != NULL) {
    char target[512];
    ssize_t len = readlinkat(dirfd(list), entry->d_name, target, sizeof target - 1);
    if (len < (ssize_t)strlen(ending)) continue;
    target[len] = '\0';
    if (strstr(target, log) == NULL || strcmp(target + len - strlen(ending), ending) != 0) continue;
    ++*all;
    if (fcntl(atoi(entry->d_name), F_GETFL) & O_DIRECT) ++*past_cache;
  }
  closedir(list);
}

static void segments_are_written_past_the_cache_and_nothing_else_is(const char *dir)
{
  const char *log = path_in(dir, "log");
  unsigned all, past_cache;
  wal_options_t options = direct();
  wal_t *wal = open_log(log, &options);
  fill_to(wal, 10, 100);
  count_open(log, ".wal", &all, &past_cache);
  CHECK(past_cache >= 1 && all == 2 * past_cache);
  count_open(log, "MANIFEST", &all, &past_cache);
  CHECK(all >= 1 && past_cache == 0);
  close_log(wal);
  count_open(log, "", &all, &past_cache);
  EQUAL(all, 0);
  options.option_flags = 0;
  wal = open_log(log, &options);
  fill_to(wal, 20, 100);
  count_open(log, ".wal", &all, &past_cache);
  CHECK(all >= 1 && past_cache == 0);
  close_log(wal);
}

/* Around the ends of frames, of blocks, of what is copied and of what is written from the caller's memory. */
static const size_t sizes[] = {8,    9,     100,   448,    3999,   4000,   4030,   4040,   4056,   4064,    4096,   4097,   8150,
                               8192, 60000, 65536, 262000, 262100, 262144, 262200, 300000, 524288, 1048500, 1 << 20, 1200000, 8};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static void expect_sizes(wal_t *wal, uint64_t after, uint64_t last)
{
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  OK(wal_replay_open(wal, after, 0, &cursor, &err));
  for (uint64_t seq = after + 1; seq <= last; seq++) {
    OK(wal_replay_next(cursor, &record, &err));
    EQUAL(record.seq, seq);
    EQUAL(number_of(&record), seq);
    EQUAL(record.key_len + record.value_len, sizes[(seq - 1) % SIZES] + 8);
  }
  STATUS(WAL_END, wal_replay_next(cursor, &record, &err));
  wal_replay_close(cursor);
}

typedef struct {
  const char *log;
  uint64_t from, last;
} run_t;

static void append_and_die(void *context)
{
  const run_t *run = context;
  wal_options_t options = direct();
  options.segment_size = 4 << 20;
  wal_t *wal = open_log(run->log, &options);
  expect_sizes(wal, 0, run->from);
  for (uint64_t seq = run->from + 1; seq <= run->last; seq++) {
    OK(put_number(wal, seq, sizes[(seq - 1) % SIZES], NULL, &err));
    /* What was just written comes back through the cache. */
    if (seq % 7 == 0) expect_sizes(wal, seq - 1, seq);
  }
  expect_sizes(wal, 0, run->last);
  die();
}

static void records_of_every_size_come_back_from_memory_and_from_disk(const char *dir)
{
  run_t run = {path_in(dir, "log"), 0, 0};
  for (unsigned life = 1; life <= 4; life++) {
    run.from = run.last;
    run.last = run.from + SIZES + 5 * life;
    child_dies(append_and_die, &run);
  }
  wal_t *wal = open_log(run.log, NULL);
  expect_sizes(wal, 0, run.last);
  close_log(wal);
}

/* A batch too large for the log's buffers: its large values go out one by one, and here they end where blocks do; smaller ones are gathered. */
static void values_of_a_large_batch_may_end_where_blocks_do(const char *dir)
{
  enum { LARGE = 20 * 4096, SMALL = 5001, LARGE_VALUES = 16, VALUES = 316 };
  /* Header, OPEN and the batch's own header and table. */
  enum { IN_FRONT = 64 + 24 + 80 + 24 + 4 + 12 * VALUES };
  static wal_entry_t entries[VALUES];
  static char large[LARGE_VALUES][LARGE], small[VALUES][SMALL];
  const char *log = path_in(dir, "log");
  wal_options_t options = direct();
  options.segment_size = 4 << 20;
  wal_t *wal = open_log(log, &options);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  uint64_t last = 0;
  char beside[2];
  for (unsigned i = 0; i < VALUES; i++) {
    char *value = i < LARGE_VALUES ? large[i] : small[i];
    entries[i] = (wal_entry_t){.value = value, .value_len = i < LARGE_VALUES ? LARGE : SMALL, .op = WAL_OP_PUT};
    memset(value, (int)(1 + i % 255), entries[i].value_len);
  }
  entries[0].value_len = 18 * 4096 - IN_FRONT;
  OK(wal_append_batch(wal, entries, VALUES, 0, &last, &err));
  EQUAL(last, VALUES);
  int fd = open(path_in(log, "0000000001.wal"), O_RDONLY);
  CHECK(fd >= 0 && pread(fd, beside, 2, 18 * 4096 - 1) == 2 && beside[0] == large[0][0] && beside[1] == large[1][0]);
  close(fd);
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  for (unsigned i = 0; i < VALUES; i++) {
    OK(wal_replay_next(cursor, &record, &err));
    CHECK(record.value_len == entries[i].value_len && memcmp(record.value, entries[i].value, record.value_len) == 0);
  }
  wal_replay_close(cursor);
  close_log(wal);
}

static void a_log_may_be_opened_one_way_and_the_other(const char *dir)
{
  const char *log = path_in(dir, "log");
  uint64_t last = 0, n;
  for (unsigned round = 0; round < 12; round++) {
    wal_options_t options = segments_of(8192);
    options.option_flags = round % 3 == 1 ? 0 : WAL_OPTION_DIRECT;
    if (round % 4 == 3) options.sync_mode = WAL_SYNC_BATCH;
    wal_t *wal = open_log(log, &options);
    EQUAL(wal_last_seq(wal), last);
    last += 3 + 40 * (round % 2);
    fill_to(wal, last, 150 + 10 * round);
    expect_numbers(wal, stat_of(wal).floor_seq, stat_of(wal).floor_seq + 1, last);
    if (round % 5 == 4) {
      /* What is forgotten is written again, and holds what it held. */
      OK(wal_checkpoint(wal, WAL_SEQ_LAST, &n, &err));
      OK(wal_truncate(wal, n, 0, &err));
      last = wal_last_seq(wal);
    }
    close_log(wal);
  }
}

/* From here on the system calls that `steps` pick out are invalid arguments. */
static void refuse(struct sock_filter *steps, size_t count)
{
  struct sock_fprog program = {(unsigned short)count, steps};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) skip("system calls cannot be filtered here");
}

/* The lower half of an argument of a system call. */
#define ARGUMENT(number)                                                                                                                                      \
  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[number]) + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0))

/* From here on a file that is opened to go past the cache is an invalid argument, as on a file system that knows no such thing. */
static void refuse_direct(void)
{
  struct sock_filter steps[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
      ARGUMENT(2),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_DIRECT, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  refuse(steps, sizeof steps / sizeof steps[0]);
}

/* From here on the first block of a file is one, as on a disk with larger ones. */
static void refuse_blocks(void)
{
  struct sock_filter steps[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pread64, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwrite64, 0, 5),
      ARGUMENT(2),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 4096, 0, 3),
      ARGUMENT(3),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  refuse(steps, sizeof steps / sizeof steps[0]);
}

static void expect_refusal(const char *dir, void (*begin)(void))
{
  const char *fresh = path_in(dir, "fresh"), *log = path_in(dir, "log");
  wal_options_t options = direct();
  wal_t *wal = open_log(log, NULL);
  fill_to(wal, 10, 100);
  close_log(wal);
  CHECK(mkdir(fresh, 0700) == 0);
  uint64_t before = fingerprint(log), nothing = fingerprint(fresh);
  begin();
  wal = NULL;
  STATUS(WAL_E_INVALID, wal_open(log, &options, &wal, &err));
  MESSAGE_HAS("WAL_OPTION_DIRECT");
  EQUAL(err.os_error, EINVAL);
  STATUS(WAL_E_INVALID, wal_open(fresh, &options, &wal, &err));
  MESSAGE_HAS("WAL_OPTION_DIRECT");
  CHECK(wal == NULL);
  EQUAL(fingerprint(log), before);
  EQUAL(fingerprint(fresh), nothing);
}

static void where_it_cannot_be_done_opening_says_so_and_leaves_nothing(const char *dir)
{
  expect_refusal(dir, refuse_direct);
  wal_t *wal = open_log(path_in(dir, "log"), NULL);
  expect_numbers(wal, 0, 1, 10);
  close_log(wal);
}

static void where_blocks_are_larger_opening_says_so_and_leaves_nothing(const char *dir)
{
  expect_refusal(dir, refuse_blocks);
}

static void a_cut_manifest_is_damage_also_past_the_cache(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = direct();
  wal_t *wal = open_log(log, &options);
  fill_to(wal, 10, 100);
  close_log(wal);
  CHECK(truncate(path_in(log, "MANIFEST"), 100) == 0);
  wal = NULL;
  STATUS(WAL_E_CORRUPT, wal_open(log, &options, &wal, &err));
  options.recovery = WAL_RECOVER_PREFIX;
  wal = open_log(log, &options);
  expect_numbers(wal, 0, 1, 10);
  close_log(wal);
}

static void it_is_for_writers_that_sync_to_the_systems_files(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_storage_t storage = {.struct_size = sizeof storage};
  wal_t *wal = NULL;
  wal_options_t options = direct();
  for (uint32_t mode = WAL_SYNC_OS; mode <= WAL_SYNC_NONE; mode++) {
    options.sync_mode = mode;
    STATUS(WAL_E_INVALID, wal_open(log, &options, &wal, &err));
    MESSAGE_HAS("WAL_OPTION_DIRECT");
  }
  options = direct();
  options.open_flags = WAL_OPEN_READ_ONLY;
  STATUS(WAL_E_INVALID, wal_open(log, &options, &wal, &err));
  MESSAGE_HAS("WAL_OPTION_DIRECT");
  options = direct();
  options.storage = &storage;
  STATUS(WAL_E_INVALID, wal_open(log, &options, &wal, &err));
  MESSAGE_HAS("WAL_OPTION_DIRECT");
  CHECK(wal == NULL && !exists(log));
}

static void live_readers_see_what_went_past_the_cache(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_options_t options = direct(), live = defaults();
  options.segment_size = 8192;
  wal_t *wal = open_log(log, &options);
  live.open_flags = WAL_OPEN_READ_ONLY | WAL_OPEN_LIVE;
  fill_to(wal, 1, 100);
  wal_t *reader = open_log(log, &live);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  uint64_t seen = 0;
  OK(wal_replay_open(reader, 0, 0, &cursor, &err));
  for (uint64_t last = 2; last <= 400; last += 7) {
    fill_to(wal, last, 60 + last % 300);
    wal_status_t status;
    while ((status = wal_replay_next(cursor, &record, &err)) == WAL_OK) {
      EQUAL(record.seq, ++seen);
      EQUAL(number_of(&record), seen);
    }
    EQUAL(status, WAL_END);
    /* The last one is proven by what comes next. */
    CHECK(seen + 1 >= last);
  }
  wal_replay_close(cursor);
  close_log(reader);
  close_log(wal);
}

const test_t direct_tests[] = {
    TEST(segments_are_written_past_the_cache_and_nothing_else_is),
    TEST(records_of_every_size_come_back_from_memory_and_from_disk),
    TEST(values_of_a_large_batch_may_end_where_blocks_do),
    TEST(a_log_may_be_opened_one_way_and_the_other),
    TEST(where_it_cannot_be_done_opening_says_so_and_leaves_nothing),
    TEST(where_blocks_are_larger_opening_says_so_and_leaves_nothing),
    TEST(a_cut_manifest_is_damage_also_past_the_cache),
    TEST(it_is_for_writers_that_sync_to_the_systems_files),
    TEST(live_readers_see_what_went_past_the_cache),
    NO_MORE_TESTS,
};
