/* The calls into the operating system that faults are planted in: see harness.h. A program's own definition comes before the C library's, for the
 * static archive as for the shared library. */

#include "harness.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

enum { SECTOR = 512 };

static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  unsigned calls;  /* Which are armed. */
  unsigned nth;    /* How many until it happens; 0 once it has. */
  unsigned seen;
  enum { NOTHING, FAIL_ONCE, FAIL_FOR_GOOD, DIE, HOLD } what;
  int error_number;
  size_t torn;
  bool held, released;
  bool full;
} fault = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void arm(unsigned calls, unsigned nth, int what, int error_number, size_t torn)
{
  pthread_mutex_lock(&fault.lock);
  fault.calls = calls;
  fault.nth = nth;
  fault.seen = 0;
  fault.what = what;
  fault.error_number = error_number;
  fault.torn = torn;
  fault.held = fault.released = false;
  pthread_mutex_unlock(&fault.lock);
}

void fault_fail(unsigned calls, unsigned nth, int error_number, bool for_good)
{
  arm(calls, nth, for_good ? FAIL_FOR_GOOD : FAIL_ONCE, error_number, 0);
}

void fault_die(unsigned calls, unsigned nth, size_t torn)
{
  arm(calls, nth, DIE, 0, torn);
}

void fault_hold(unsigned calls)
{
  arm(calls, 1, HOLD, 0, 0);
}

void fault_await_held(void)
{
  pthread_mutex_lock(&fault.lock);
  while (!fault.held) pthread_cond_wait(&fault.changed, &fault.lock);
  pthread_mutex_unlock(&fault.lock);
}

void fault_release(int error_number)
{
  pthread_mutex_lock(&fault.lock);
  fault.error_number = error_number;
  fault.released = true;
  pthread_cond_broadcast(&fault.changed);
  pthread_mutex_unlock(&fault.lock);
}

void fault_full(bool full)
{
  pthread_mutex_lock(&fault.lock);
  fault.full = full;
  pthread_mutex_unlock(&fault.lock);
}

unsigned fault_clear(void)
{
  pthread_mutex_lock(&fault.lock);
  unsigned seen = fault.seen;
  fault.what = NOTHING;
  fault.calls = fault.seen = 0;
  fault.full = false;
  pthread_mutex_unlock(&fault.lock);
  return seen;
}

/* The kernel's own, behind the definitions below. Where a long has 32 bits, offsets take two of them: the lower bits first, and on ARM from an even
 * argument on. */
#if __SIZEOF_LONG__ == 4
#define HALVES(number) (long)(number), (long)((uint64_t)(number) >> 32)
#define AT_EVEN 0,
#else
#define HALVES(number) (number)
#define AT_EVEN
#endif

static long write_at(int file, const void *bytes, size_t len, off_t offset)
{
  return syscall(SYS_pwrite64, file, bytes, len, AT_EVEN HALVES(offset));
}

/* What an armed call is to do: 0, go on; otherwise fail with this error number. */
static int met(unsigned call, int file, const void *bytes, size_t len, off_t offset)
{
  int error_number = 0;
  bool now = false;
  pthread_mutex_lock(&fault.lock);
  if (fault.calls & call) {
    fault.seen++;
    now = fault.nth > 0 && --fault.nth == 0;
    switch (fault.what) {
      case NOTHING:
        break;
      case FAIL_ONCE:
        if (now) error_number = fault.error_number;
        break;
      case FAIL_FOR_GOOD:
        if (fault.nth == 0) error_number = fault.error_number;
        break;
      case DIE:
        if (!now) break;
        if (call == CALL_WRITE) {
          size_t part = fault.torn < len ? fault.torn : len;
          /* What goes past the cache is torn between sectors. */
          if (fcntl(file, F_GETFL) & O_DIRECT) part -= part % SECTOR;
          if (write_at(file, bytes, part, offset) < 0) _exit(1);
        }
        die();
      case HOLD:
        if (!now) break;
        fault.held = true;
        pthread_cond_broadcast(&fault.changed);
        while (!fault.released) pthread_cond_wait(&fault.changed, &fault.lock);
        error_number = fault.error_number;
        break;
    }
  }
  /* The worst that a failed write can do: to have written everything. Only the first: later ones would undo it. */
  if (call == CALL_WRITE && error_number == EIO && now && write_at(file, bytes, len, offset) < 0) _exit(1);
  if (error_number == 0 && fault.full && call == CALL_ALLOCATE) error_number = ENOSPC;
  if (error_number == 0 && fault.full && call == CALL_WRITE) {
    struct stat found;
    if (fstat(file, &found) == 0 && offset + (off_t)len > found.st_size) error_number = ENOSPC;
  }
  pthread_mutex_unlock(&fault.lock);
  return error_number;
}

/* -1 with errno if the call is to fail. */
#define MEET(call, file, bytes, len, offset)                              \
  do {                                                                    \
    int error_number_ = met((call), (file), (bytes), (len), (offset));    \
    if (error_number_ != 0) {                                             \
      errno = error_number_;                                              \
      return -1;                                                          \
    }                                                                     \
  } while (0)

static struct {
  atomic_int how;
  pthread_t thread;
} the_clock;

void fault_clock(int how)
{
  if (how != CLOCK_RUNS) the_clock.thread = pthread_self();
  atomic_store(&the_clock.how, how);
}

static bool clock_fails(void)
{
  int how = atomic_load(&the_clock.how);
  if (how == CLOCK_RUNS || (pthread_equal(the_clock.thread, pthread_self()) != 0) != (how == CLOCK_FAILS_HERE)) return false;
  errno = EINVAL;
  return true;
}

int clock_gettime(clockid_t which, struct timespec *now)
{
  return clock_fails() ? -1 : (int)syscall(SYS_clock_gettime, which, now);
}

#ifdef SYS_clock_gettime64
/* What Rust's standard library calls where time_t has 32 bits. */
struct wide_time {
  int64_t seconds, nanoseconds;
};

int __clock_gettime64(clockid_t which, struct wide_time *now);

int __clock_gettime64(clockid_t which, struct wide_time *now)
{
  return clock_fails() ? -1 : (int)syscall(SYS_clock_gettime64, which, now);
}
#endif

ssize_t pwrite(int file, const void *bytes, size_t len, off_t offset)
{
  MEET(CALL_WRITE, file, bytes, len, offset);
  return (ssize_t)write_at(file, bytes, len, offset);
}

int fdatasync(int file)
{
  MEET(CALL_SYNC, file, NULL, 0, 0);
  return (int)syscall(SYS_fdatasync, file);
}

int fsync(int file)
{
  MEET(CALL_SYNC_DIR, file, NULL, 0, 0);
  return (int)syscall(SYS_fsync, file);
}

int fallocate(int file, int mode, off_t offset, off_t len)
{
  MEET(CALL_ALLOCATE, file, NULL, (size_t)len, offset);
  return (int)syscall(SYS_fallocate, file, mode, HALVES(offset), HALVES(len));
}

int unlinkat(int dir, const char *name, int flags)
{
  MEET(CALL_UNLINK, dir, NULL, 0, 0);
  return (int)syscall(SYS_unlinkat, dir, name, flags);
}
