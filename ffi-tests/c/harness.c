/* See harness.h. */

#include "harness.h"

#include <dirent.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <time.h>

/* ---- Tests ---- */

enum { EXIT_SKIPPED = 77 };

void skip(const char *reason)
{
  printf("skipped: %s\n", reason);
  fflush(stdout);
  _exit(EXIT_SKIPPED);
}

unsigned scaled(unsigned full)
{
  const char *scale = getenv("WAL_TEST_SCALE");
  if (scale == NULL || strcmp(scale, "small") != 0) return full;
  return full >= 10 ? full / 10 : 1;
}

/* ---- Checks ---- */

_Thread_local wal_error_t err;

void fail_at(const char *file, int line, const char *format, ...)
{
  va_list arguments;
  printf("%s:%d: ", file, line);
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  printf("\n");
  fflush(stdout);
  _exit(1);
}

void equal_at(uint64_t actual, uint64_t expected, const char *text, const char *file, int line)
{
  if (actual == expected) return;
  fail_at(file, line, "%s is %lld, not %lld", text, (long long)actual, (long long)expected);
}

enum { UNTOUCHED = 0xA5 };

void err_clear(void)
{
  memset(&err, UNTOUCHED, sizeof err);
}

void status_at(wal_status_t actual, wal_status_t expected, const char *text, const char *file, int line)
{
  if (actual < 0 && err.code == actual && err.extended == 0 && err.reserved == 0 && err.message[0] != 0 &&
      memchr(err.message, 0, sizeof err.message) != NULL) {
    if (actual != expected) {
      fail_at(file, line, "%s: %s instead of %s: %s (seq %lld to %lld)", text, wal_status_name(actual),
              wal_status_name(expected), err.message, (long long)err.seq, (long long)err.seq_last);
    }
    return;
  }
  if (actual < 0) fail_at(file, line, "%s: %s, but the error was not written", text, wal_status_name(actual));
  for (size_t at = 0; at < sizeof err; at++) {
    if (((const unsigned char *)&err)[at] != UNTOUCHED) fail_at(file, line, "%s: succeeded, but wrote an error", text);
  }
  if (actual != expected) {
    fail_at(file, line, "%s: %s instead of %s", text, wal_status_name(actual), wal_status_name(expected));
  }
}

/* ---- Logs ---- */

wal_options_t defaults(void)
{
  wal_options_t options;
  wal_options_init(&options, sizeof options);
  return options;
}

wal_options_t segments_of(uint64_t bytes)
{
  wal_options_t options = defaults();
  options.segment_size = bytes;
  return options;
}

wal_options_t as_asked(const wal_options_t *options)
{
  wal_options_t asked = options != NULL ? *options : defaults();
  bool syncs = asked.sync_mode == WAL_SYNC_ALWAYS || asked.sync_mode == WAL_SYNC_BATCH;
  bool writes = (asked.open_flags & WAL_OPEN_READ_ONLY) == 0;
  if (getenv("WAL_TEST_DIRECT") != NULL && syncs && writes && asked.storage == NULL) asked.option_flags |= WAL_OPTION_DIRECT;
  return asked;
}

wal_t *open_log(const char *dir, const wal_options_t *options)
{
  wal_options_t asked = as_asked(options);
  wal_t *wal = NULL;
  OK(wal_open(dir, &asked, &wal, &err));
  CHECK(wal != NULL);
  return wal;
}

wal_t *open_with_store(const char *dir, uint64_t store_seq)
{
  wal_options_t options = defaults();
  options.store_seq = store_seq;
  return open_log(dir, &options);
}

void close_log(wal_t *wal)
{
  OK(wal_close(wal, &err));
}

uint64_t put(wal_t *wal, const char *text)
{
  uint64_t seq = 0;
  OK(wal_append(wal, WAL_OP_PUT, NULL, 0, text, strlen(text), &seq, &err));
  return seq;
}

/* The bytes behind the number: none is like its neighbour, and none follows from its place alone. */
static unsigned char byte_at(uint64_t number, size_t at)
{
  return (unsigned char)(number * 131 + at * 7 + (at >> 8));
}

void number_value(uint64_t number, void *value, size_t size)
{
  unsigned char *bytes = value;
  CHECK(size >= sizeof number);
  memcpy(bytes, &number, sizeof number);
  for (size_t at = sizeof number; at < size; at++) bytes[at] = byte_at(number, at);
}

wal_status_t put_number(wal_t *wal, uint64_t number, size_t size, uint64_t *seq, wal_error_t *error)
{
  unsigned char small[1024];
  unsigned char *value = size <= sizeof small ? small : malloc(size);
  CHECK(value != NULL);
  number_value(number, value, size);
  wal_status_t status = wal_append(wal, WAL_OP_USER, &number, sizeof number, value, size, seq, error);
  if (value != small) free(value);
  return status;
}

uint64_t number_of(const wal_record_t *record)
{
  uint64_t number = 0, key = 0;
  EQUAL(record->op, WAL_OP_USER);
  EQUAL(record->key_len, sizeof key);
  CHECK(record->value_len >= sizeof number);
  memcpy(&number, record->value, sizeof number);
  memcpy(&key, record->key, sizeof key);
  EQUAL(key, number);
  const unsigned char *value = record->value;
  for (size_t at = sizeof number; at < record->value_len; at++) {
    if (value[at] != byte_at(number, at)) FAIL("record %llu: byte %zu is wrong", (unsigned long long)number, at);
  }
  return number;
}

void fill_to(wal_t *wal, uint64_t last, size_t size)
{
  for (uint64_t next = wal_last_seq(wal) + 1; next <= last; next++) {
    uint64_t seq = 0;
    OK(put_number(wal, next, size, &seq, &err));
    EQUAL(seq, next);
  }
}

void expect_texts(wal_t *wal, uint64_t after, ...)
{
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  const char *text;
  va_list texts;
  OK(wal_replay_open(wal, after, 0, &cursor, &err));
  va_start(texts, after);
  while ((text = va_arg(texts, const char *)) != NULL) {
    OK(wal_replay_next(cursor, &record, &err));
    if (record.value_len != strlen(text) || memcmp(record.value, text, record.value_len) != 0) {
      FAIL("seq %llu is \"%.*s\", not \"%s\"", (unsigned long long)record.seq, (int)record.value_len,
           (const char *)record.value, text);
    }
  }
  va_end(texts);
  STATUS(WAL_END, wal_replay_next(cursor, &record, &err));
  wal_replay_close(cursor);
}

static void expect_replay(wal_t *wal, uint64_t after, uint32_t flags, uint64_t first, uint64_t last)
{
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  OK(wal_replay_open(wal, after, flags, &cursor, &err));
  for (uint64_t seq = first; seq <= last; seq++) {
    OK(wal_replay_next(cursor, &record, &err));
    EQUAL(record.seq, seq);
    EQUAL(number_of(&record), seq);
  }
  STATUS(WAL_END, wal_replay_next(cursor, &record, &err));
  wal_replay_close(cursor);
}

void expect_numbers(wal_t *wal, uint64_t after, uint64_t first, uint64_t last)
{
  expect_replay(wal, after, 0, first, last);
}

void expect_pinned(wal_t *wal, uint64_t after, uint64_t first, uint64_t last)
{
  expect_replay(wal, after, WAL_REPLAY_PINNED, first, last);
}

wal_stat_t stat_of(wal_t *wal)
{
  wal_stat_t stat;
  OK(wal_stat(wal, &stat, sizeof stat, &err));
  return stat;
}

uint64_t drain(wal_cursor_t *cursor)
{
  uint64_t count = 0;
  for (;;) {
    wal_record_t record;
    err_clear();
    wal_status_t status = wal_replay_next(cursor, &record, &err);
    if (status == WAL_END) return count;
    status_at(status, WAL_OK, "wal_replay_next", __FILE__, __LINE__);
    count++;
  }
}

/* ---- Processes ---- */

static time_t deadline;

static void out_of_time(int signal_number)
{
  static const char text[] = "out of time\n";
  (void)signal_number;
  if (write(STDOUT_FILENO, text, sizeof text - 1) < 0) _exit(2);
  _exit(124);
}

void limit_time(unsigned seconds)
{
  deadline = time(NULL) + (time_t)seconds;
  signal(SIGALRM, out_of_time);
  alarm(seconds);
}

/* A child inherits no alarm, but has no more time than its parent. */
void limit_childs_time(void)
{
  time_t now = time(NULL);
  alarm(now < deadline ? (unsigned)(deadline - now) : 1);
}

int in_child(void (*body)(void *), void *context)
{
  fflush(stdout);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    limit_childs_time();
    body(context);
    succeed();
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  return status;
}

bool was_killed(int status)
{
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static bool under_memcheck(void)
{
  return getenv("WAL_TEST_MEMCHECK") != NULL;
}

void succeed(void)
{
  fflush(stdout);
  if (under_memcheck()) die();
  _exit(0);
}

bool succeeded(int status)
{
  return (WIFEXITED(status) && WEXITSTATUS(status) == 0) || (under_memcheck() && was_killed(status));
}

void child_succeeds(void (*body)(void *), void *context)
{
  int status = in_child(body, context);
  if (!succeeded(status)) FAIL("the child ended with status %#x", (unsigned)status);
}

void child_dies(void (*body)(void *), void *context)
{
  int status = in_child(body, context);
  if (!was_killed(status)) FAIL("the child was to be killed, but ended with status %#x", (unsigned)status);
}

void die(void)
{
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

void *shared_memory(size_t size)
{
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

/* ---- Threads ---- */

pthread_t start(void *(*body)(void *), void *context)
{
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, body, context) == 0);
  return thread;
}

void join(pthread_t thread)
{
  CHECK(pthread_join(thread, NULL) == 0);
}

/* ---- Files ---- */

enum { PATH_SIZE = 512 };

static const char *join_path(char *path, const char *dir, const char *name)
{
  CHECK(snprintf(path, PATH_SIZE, "%s/%s", dir, name) < PATH_SIZE);
  return path;
}

const char *path_in(const char *dir, const char *name)
{
  static char paths[256 * PATH_SIZE];
  static size_t used;
  char path[PATH_SIZE];
  size_t len = strlen(join_path(path, dir, name)) + 1;
  CHECK(used + len <= sizeof paths);
  char *kept = memcpy(paths + used, path, len);
  used += len;
  return kept;
}

bool exists(const char *path)
{
  struct stat found;
  return lstat(path, &found) == 0;
}

uint64_t file_size(const char *path)
{
  struct stat found;
  CHECK(stat(path, &found) == 0);
  return (uint64_t)found.st_size;
}

static int open_file(const char *path, int flags)
{
  int file = open(path, flags | O_CLOEXEC, 0600);
  if (file < 0) FAIL("%s: %s", path, strerror(errno));
  return file;
}

void read_bytes(const char *path, uint64_t offset, void *bytes, size_t len)
{
  int file = open_file(path, O_RDONLY);
  CHECK(pread(file, bytes, len, (off_t)offset) == (ssize_t)len);
  close(file);
}

void write_bytes(const char *path, uint64_t offset, const void *bytes, size_t len)
{
  int file = open_file(path, O_RDWR | O_CREAT);
  CHECK(lseek(file, (off_t)offset, SEEK_SET) == (off_t)offset);
  CHECK(write(file, bytes, len) == (ssize_t)len);
  close(file);
}

void write_file(const char *path, const char *text)
{
  write_bytes(path, 0, text, strlen(text));
}

void flip_bit(const char *path, uint64_t offset)
{
  unsigned char byte;
  read_bytes(path, offset, &byte, 1);
  byte ^= 0x10;
  write_bytes(path, offset, &byte, 1);
}

/* The whole of a file, to be freed. */
static unsigned char *content(const char *path, size_t *len)
{
  *len = file_size(path);
  unsigned char *bytes = malloc(*len + 1);
  CHECK(bytes != NULL);
  read_bytes(path, 0, bytes, *len);
  return bytes;
}

/* The next plain file of a directory, NULL at its end. */
static const char *next_file(DIR *listing, const char *dir)
{
  struct dirent *entry;
  while ((entry = readdir(listing)) != NULL) {
    char path[PATH_SIZE];
    struct stat found;
    if (lstat(join_path(path, dir, entry->d_name), &found) == 0 && S_ISREG(found.st_mode)) return entry->d_name;
  }
  return NULL;
}

static DIR *list(const char *dir)
{
  DIR *listing = opendir(dir);
  if (listing == NULL) FAIL("%s: %s", dir, strerror(errno));
  return listing;
}

void copy_directory(const char *from, const char *to)
{
  CHECK(mkdir(to, 0700) == 0);
  DIR *listing = list(from);
  const char *name;
  while ((name = next_file(listing, from)) != NULL) {
    char path[PATH_SIZE];
    size_t len;
    unsigned char *bytes = content(join_path(path, from, name), &len);
    write_bytes(join_path(path, to, name), 0, bytes, len);
    free(bytes);
  }
  closedir(listing);
}

void remove_directory(const char *dir)
{
  DIR *listing = list(dir);
  const char *name;
  while ((name = next_file(listing, dir)) != NULL) {
    char path[PATH_SIZE];
    CHECK(unlink(join_path(path, dir, name)) == 0);
  }
  closedir(listing);
  CHECK(rmdir(dir) == 0);
}

/* Eight bytes at a time: under valgrind megabytes take their time. */
static uint64_t hash(uint64_t value, const void *bytes, size_t len)
{
  const unsigned char *at = bytes;
  for (; len > 0;) {
    uint64_t word = 0;
    size_t part = len < sizeof word ? len : sizeof word;
    memcpy(&word, at, part);
    value = (value ^ word) * 0x9E3779B97F4A7C15u;
    value ^= value >> 32;
    at += part;
    len -= part;
  }
  return value;
}

uint64_t fingerprint(const char *dir)
{
  DIR *listing = list(dir);
  const char *name;
  /* A sum, because the order of a listing means nothing. */
  uint64_t sum = 0;
  while ((name = next_file(listing, dir)) != NULL) {
    if (strcmp(name, "LOCK") == 0) continue;
    char path[PATH_SIZE];
    size_t len;
    unsigned char *bytes = content(join_path(path, dir, name), &len);
    sum += hash(hash(len + 1, name, strlen(name)), bytes, len);
    free(bytes);
  }
  closedir(listing);
  return sum;
}

unsigned files_ending(const char *dir, const char *ending, uint64_t *index)
{
  DIR *listing = list(dir);
  const char *name;
  unsigned count = 0;
  uint64_t smallest = UINT64_MAX;
  while ((name = next_file(listing, dir)) != NULL) {
    size_t len = strlen(name);
    if (len < strlen(ending) || strcmp(name + len - strlen(ending), ending) != 0) continue;
    uint64_t number = strtoull(name, NULL, 10);
    if (number < smallest) smallest = number;
    count++;
  }
  closedir(listing);
  if (index != NULL) *index = smallest;
  return count;
}

place_t find_bytes(const char *dir, const void *bytes, size_t len)
{
  place_t place = {.offset = 0};
  unsigned found = 0;
  DIR *listing = list(dir);
  const char *name;
  while ((name = next_file(listing, dir)) != NULL) {
    if (strstr(name, ".wal") == NULL) continue;
    char path[PATH_SIZE];
    size_t size;
    unsigned char *all = content(join_path(path, dir, name), &size);
    const unsigned char *from = all;
    for (;;) {
      const unsigned char *at = memmem(from, size - (size_t)(from - all), bytes, len);
      if (at == NULL) break;
      found++;
      join_path(place.path, dir, name);
      place.offset = (uint64_t)(at - all);
      place.segment = strtoull(name, NULL, 10);
      from = at + 1;
    }
    free(all);
  }
  closedir(listing);
  if (found != 1) FAIL("these bytes stand in %u places", found);
  return place;
}

place_t find_text(const char *dir, const char *text)
{
  return find_bytes(dir, text, strlen(text));
}

place_t find_number(const char *dir, uint64_t number)
{
  unsigned char value[16];
  number_value(number, value, sizeof value);
  return find_bytes(dir, value, sizeof value);
}

uint32_t crc32_of(uint32_t crc, const void *bytes, size_t len)
{
  const unsigned char *byte = bytes;
  crc = ~crc;
  for (size_t at = 0; at < len; at++) {
    crc ^= byte[at];
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return ~crc;
}
