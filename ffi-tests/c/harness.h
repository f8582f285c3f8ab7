/* What every test of the C interface uses: checks, processes that die, threads, files, faults. */

#ifndef HARNESS_H
#define HARNESS_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <wal.h>

/* ---- Tests ---- */

/* A test gets a directory of its own and returns, or does not. */
typedef struct {
  const char *name;
  void (*run)(const char *dir);
} test_t;

#define TEST(name) {#name, name}
#define NO_MORE_TESTS {NULL, NULL}

/* The groups of a program's tests; the last has no name. */
typedef struct {
  const char *name;
  const test_t *tests;
} group_t;

extern const group_t groups[];

/* The test cannot run here, for the reason given; whether that is a failure is the harness's to say. */
_Noreturn void skip(const char *reason);

/* The process ends with a message after so many seconds; a child made by fork must ask for its share. */
void limit_time(unsigned seconds);
void limit_childs_time(void);

/* How much of a test's work is asked for: `full`, or a tenth where WAL_TEST_SCALE says so, as under valgrind. At least 1. */
unsigned scaled(unsigned full);

/* ---- Checks ---- */

_Noreturn void fail_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define FAIL(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)

#define CHECK(condition)                                     \
  do {                                                       \
    if (!(condition)) FAIL("not so: %s", #condition);        \
  } while (0)

#define EQUAL(actual, expected) equal_at((uint64_t)(actual), (uint64_t)(expected), #actual, __FILE__, __LINE__)

void equal_at(uint64_t actual, uint64_t expected, const char *text, const char *file, int line);

/* What calls under test write their errors to: pass &err. */
extern _Thread_local wal_error_t err;

/* The call must return `status`. An error must have been written whole, and nothing without one. */
#define STATUS(status, call) (err_clear(), status_at((call), (status), #call, __FILE__, __LINE__))
#define OK(call) STATUS(WAL_OK, call)

void err_clear(void);
void status_at(wal_status_t actual, wal_status_t expected, const char *text, const char *file, int line);

/* The message of the last error must contain `part`. */
#define MESSAGE_HAS(part)                                                                      \
  do {                                                                                         \
    if (strstr(err.message, part) == NULL) FAIL("no \"%s\" in \"%s\"", part, err.message);     \
  } while (0)

/* The records that the last error is about. */
#define ERR_SEQS(first, last)    \
  do {                           \
    EQUAL(err.seq, first);       \
    EQUAL(err.seq_last, last);   \
  } while (0)

/* ---- Logs ---- */

wal_options_t defaults(void);

/* The options as they are (NULL: defaults), or, where WAL_TEST_DIRECT is set, with WAL_OPTION_DIRECT if they allow it: the same tests then try another way
 * to the disk. */
wal_options_t as_asked(const wal_options_t *options);

wal_options_t segments_of(uint64_t bytes);

wal_t *open_log(const char *dir, const wal_options_t *options);
wal_t *open_with_store(const char *dir, uint64_t store_seq);
void close_log(wal_t *wal);

/* Appends a record whose value is `text`, without a key; returns its seq. */
uint64_t put(wal_t *wal, const char *text);

/* Appends a record whose content follows from `number`; `size` >= 8. Returns the status. */
wal_status_t put_number(wal_t *wal, uint64_t number, size_t size, uint64_t *seq, wal_error_t *error);

/* Fills `value` as put_number does. */
void number_value(uint64_t number, void *value, size_t size);

/* The number of a record that put_number wrote; everything else about its bytes is checked. */
uint64_t number_of(const wal_record_t *record);

/* Appends records numbered like their seqs up to `last`. */
void fill_to(wal_t *wal, uint64_t last, size_t size);

/* A replay must yield these texts and then WAL_END. Ends with NULL. */
void expect_texts(wal_t *wal, uint64_t after, ...) __attribute__((sentinel));

/* A replay must yield exactly the seqs first..last, each with its own seq as number. first > last: nothing. */
void expect_numbers(wal_t *wal, uint64_t after, uint64_t first, uint64_t last);

/* The same with WAL_REPLAY_PINNED. */
void expect_pinned(wal_t *wal, uint64_t after, uint64_t first, uint64_t last);

wal_stat_t stat_of(wal_t *wal);

/* Reads a cursor to its end; returns how many records there were. */
uint64_t drain(wal_cursor_t *cursor);

/* ---- Processes ---- */

/* Runs `body` in a child made by fork and returns how it ended, as waitpid says. A body that returns exits with 0. */
int in_child(void (*body)(void *), void *context);

/* The same, and the child must have ended with 0. */
void child_succeeds(void (*body)(void *), void *context);

/* The same, and it must have been killed by `die`. */
void child_dies(void (*body)(void *), void *context);

bool was_killed(int status);

/* Ends a child that has done what it should, and whether one ended so. Memcheck would count as leaks what belongs to the parent's threads, which
 * do not exist in a child: under it a child is killed, and its leaks do not count. */
_Noreturn void succeed(void);
bool succeeded(int status);

/* Ends the process at once, as kill -9 does. */
_Noreturn void die(void);

/* Memory that a child shares with its parent, zeroed. */
void *shared_memory(size_t size);

/* ---- Threads ---- */

pthread_t start(void *(*body)(void *), void *context);
void join(pthread_t thread);

/* Waits for a condition that another thread brings about, letting it run. The test's time limit ends a vain wait. */
#define AWAIT(condition)                  \
  do {                                    \
    while (!(condition)) sched_yield();   \
  } while (0)

/* ---- Files ---- */

/* "dir/name", kept until the test ends. */
const char *path_in(const char *dir, const char *name);

bool exists(const char *path);
uint64_t file_size(const char *path);
void read_bytes(const char *path, uint64_t offset, void *bytes, size_t len);
void write_bytes(const char *path, uint64_t offset, const void *bytes, size_t len);
void write_file(const char *path, const char *text);
void flip_bit(const char *path, uint64_t offset);
void copy_directory(const char *from, const char *to);
void remove_directory(const char *dir);

/* A number that changes if the name or content of any file in `dir` does. LOCK, which is empty, is left out. */
uint64_t fingerprint(const char *dir);

/* Files in `dir` whose names end with `ending`; the smallest index among their names in *index, if not NULL. */
unsigned files_ending(const char *dir, const char *ending, uint64_t *index);

/* Where in the segments of `dir` these bytes stand. They must stand in exactly one place. */
typedef struct {
  char path[512];
  uint64_t offset;
  uint64_t segment;
} place_t;
place_t find_bytes(const char *dir, const void *bytes, size_t len);
place_t find_text(const char *dir, const char *text);

/* Where the value of a record begins that put_number wrote with at least 16 bytes. */
place_t find_number(const char *dir, uint64_t number);

/* CRC-32 as docs/FORMAT.md has it: continues from `crc`. */
uint32_t crc32_of(uint32_t crc, const void *bytes, size_t len);

/* ---- Faults ----
 *
 * The runner has its own pwrite, fdatasync, fsync, fallocate, unlinkat and clock_gettime, and the library calls them. They do their work, unless told otherwise. */

enum {
  CALL_WRITE = 1,    /* pwrite */
  CALL_SYNC = 2,     /* fdatasync, of a file */
  CALL_SYNC_DIR = 4, /* fsync, of a directory */
  CALL_ALLOCATE = 8, /* fallocate */
  CALL_UNLINK = 16,  /* unlinkat */
  CALL_ANY = 31
};

/* The nth of these calls from now on (1 is the next) fails with `error_number`; with `for_good` every later one, too. A write that fails
 * with EIO the first time has written everything, as a disk may do. */
void fault_fail(unsigned calls, unsigned nth, int error_number, bool for_good);

/* The process dies at the nth of these calls, before it is done; of a write, `torn` bytes are done. */
void fault_die(unsigned calls, unsigned nth, size_t torn);

/* The next of these calls stops until fault_release, which lets it go on, or fail if `error_number` is not 0. */
void fault_hold(unsigned calls);
void fault_await_held(void);
void fault_release(int error_number);

/* As long as the disk is full, files cannot grow, nor be given blocks. */
void fault_full(bool full);

/* The clock, by which the library also measures time, fails for the calling thread, or for every other one. */
enum { CLOCK_RUNS, CLOCK_FAILS_HERE, CLOCK_FAILS_ELSEWHERE };
void fault_clock(int how);

/* No faults from here on; returns how often armed calls were met since the last fault_... call. */
unsigned fault_clear(void);

#endif
