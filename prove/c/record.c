/*
 * A recorder, to be preloaded: it takes down every call by which a program changes files, with its data, in the order in which the calls took place.
 *
 * What reads the file is prove/src/recorded. Besides recording it can leave out chosen syncs (WAL_RECORD_SKIP), let the process die between two
 * calls, and let a write fail half-way. A sync is known by its way through libwal.so: the return addresses of the frames in it, as offsets into that file.
 * Random bytes are the same in every run, so that equal scripts make equal records.
 *
 * Calls that change files are made and recorded under one mutex. Nothing here allocates, but for the first backtrace, which is made at the start.
 */

#define _GNU_SOURCE
#include "record.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { MOST_FRAMES = 64, MOST_SKIPPED = 4096 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int out = -1; /* -1: nothing is recorded. */
static uint64_t calls_left;
static int fail_next_write;
static unsigned written_part;
static bool is_full;
static uint64_t skipped[MOST_SKIPPED];
static size_t skipped_count;
static uintptr_t library_base, library_end;

/* The C library's own functions, behind ours. */
static long (*real_syscall)(long number, ...);

#define REAL(name) static __typeof__(&name) real_##name
REAL(openat);
REAL(close);
REAL(mkdir);
REAL(pwrite);
REAL(fallocate);
REAL(fsync);
REAL(fdatasync);
REAL(renameat);
REAL(unlinkat);

static void give_up(const char *why)
{
  fprintf(stderr, "record: %s\n", why);
  _exit(99);
}

static void *find(const char *name)
{
  void *found = dlsym(RTLD_NEXT, name);
  if (found == NULL) give_up(name);
  return found;
}

static int is_library(struct dl_phdr_info *info, size_t size, void *context)
{
  const char *slash = strrchr(info->dlpi_name, '/');
  (void)size;
  (void)context;
  if (strncmp(slash != NULL ? slash + 1 : info->dlpi_name, "libwal.so", strlen("libwal.so")) != 0) return 0;
  library_base = info->dlpi_addr;
  for (size_t at = 0; at < info->dlpi_phnum; at++) {
    uintptr_t end = info->dlpi_addr + info->dlpi_phdr[at].p_vaddr + info->dlpi_phdr[at].p_memsz;
    if (info->dlpi_phdr[at].p_type == PT_LOAD && end > library_end) library_end = end;
  }
  return 1;
}

__attribute__((constructor)) static void prepare(void)
{
  void *frames[MOST_FRAMES];
  real_syscall = (long (*)(long, ...))find("syscall");
  real_openat = (__typeof__(real_openat))find("openat");
  real_close = (__typeof__(real_close))find("close");
  real_mkdir = (__typeof__(real_mkdir))find("mkdir");
  real_pwrite = (__typeof__(real_pwrite))find("pwrite");
  real_fallocate = (__typeof__(real_fallocate))find("fallocate");
  real_fsync = (__typeof__(real_fsync))find("fsync");
  real_fdatasync = (__typeof__(real_fdatasync))find("fdatasync");
  real_renameat = (__typeof__(real_renameat))find("renameat");
  real_unlinkat = (__typeof__(real_unlinkat))find("unlinkat");
  (void)backtrace(frames, MOST_FRAMES);
  dl_iterate_phdr(is_library, NULL);
  const char *at = getenv("WAL_RECORD_SKIP");
  while (at != NULL && *at != '\0') {
    char *end;
    if (skipped_count == MOST_SKIPPED) give_up("too many syncs to leave out");
    skipped[skipped_count++] = strtoull(at, &end, 16);
    at = *end == ',' ? end + 1 : end;
  }
}

/* Takes down one call. The caller holds the mutex. */
static void put(record_t record, const char *name, const char *second_name, const void *data, size_t data_len)
{
  struct iovec parts[5] = {{&record, sizeof record}, {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}};
  size_t length = 0;
  if (name != NULL) parts[1] = (struct iovec){(void *)(uintptr_t)name, strlen(name)};
  if (second_name != NULL) {
    parts[2] = (struct iovec){"", 1};
    parts[3] = (struct iovec){(void *)(uintptr_t)second_name, strlen(second_name)};
  }
  parts[4] = (struct iovec){(void *)(uintptr_t)data, data_len};
  record.name_len = (uint32_t)(parts[1].iov_len + parts[2].iov_len + parts[3].iov_len);
  record.data_len = (uint32_t)data_len;
  for (size_t at = 0; at < 5; at++) length += parts[at].iov_len;
  if (real_syscall(SYS_writev, out, parts, 5L) != (long)length) give_up("the record cannot be written");
}

/* Before a call that is recorded; false if nothing is. The process may die before one that changes what a crash leaves. */
static bool enter(bool changes)
{
  pthread_mutex_lock(&mutex);
  if (out < 0) return false;
  if (changes && calls_left > 0 && --calls_left == 0) _exit(0);
  return true;
}

static void leave(void)
{
  int error = errno;
  pthread_mutex_unlock(&mutex);
  errno = error;
}

/* The program's side. */

EXPORT void record_start(void)
{
  const char *path = getenv("WAL_RECORD");
  if (path == NULL) give_up("WAL_RECORD names no file");
  out = real_openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (out < 0) give_up("the file that WAL_RECORD names cannot be opened");
}

EXPORT void record_mark(uint32_t kind, uint64_t a, uint64_t b, uint64_t c)
{
  pthread_mutex_lock(&mutex);
  if (out >= 0) put((record_t){CALL_MARK, (int32_t)kind, 0, a, b, c, 0, 0}, NULL, NULL, NULL, 0);
  leave();
}

EXPORT void record_die(uint64_t call)
{
  calls_left = call;
}

EXPORT void record_fail(int error, unsigned part)
{
  fail_next_write = error;
  written_part = part;
}

EXPORT void record_full(void)
{
  is_full = true;
}

/* The library's side. */

static int open_and_record(int fd, const char *path, int flags, mode_t mode)
{
  bool recorded = enter((flags & O_CREAT) != 0);
  /* Not every place for the files of a recording can do without a cache; whether one was asked for is on record. */
  int result = real_openat(fd, path, flags & ~O_DIRECT, mode);
  if (recorded && result >= 0) put((record_t){CALL_OPEN, fd, result, (uint64_t)flags, 0, 0, 0, 0}, path, NULL, NULL, 0);
  leave();
  return result;
}

#define WITH_MODE(mode, flags)                                            \
  mode_t mode = 0;                                                        \
  if (((flags) & O_CREAT) != 0 || ((flags) & O_TMPFILE) == O_TMPFILE) {   \
    va_list rest;                                                         \
    va_start(rest, flags);                                                \
    mode = (mode_t)va_arg(rest, int);                                     \
    va_end(rest);                                                         \
  }

EXPORT int openat(int fd, const char *path, int flags, ...)
{
  WITH_MODE(mode, flags)
  return open_and_record(fd, path, flags, mode);
}

EXPORT int open(const char *path, int flags, ...)
{
  WITH_MODE(mode, flags)
  return open_and_record(AT_FDCWD, path, flags, mode);
}

EXPORT int openat64(int fd, const char *path, int flags, ...) __attribute__((alias("openat")));
EXPORT int open64(const char *path, int flags, ...) __attribute__((alias("open")));

EXPORT int close(int fd)
{
  bool recorded = enter(false);
  int result = real_close(fd);
  if (recorded && result == 0) put((record_t){CALL_CLOSE, fd, 0, 0, 0, 0, 0, 0}, NULL, NULL, NULL, 0);
  leave();
  return result;
}

EXPORT int mkdir(const char *path, mode_t mode)
{
  bool recorded = enter(true);
  int result = real_mkdir(path, mode);
  if (recorded && result == 0) put((record_t){CALL_MKDIR, AT_FDCWD, 0, 0, 0, 0, 0, 0}, path, NULL, NULL, 0);
  leave();
  return result;
}

EXPORT ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset)
{
  bool recorded = enter(true);
  int error = recorded ? fail_next_write : 0;
  if (error != 0) {
    fail_next_write = 0;
    count /= written_part;
  }
  ssize_t result = real_pwrite(fd, bytes, count, offset);
  if (recorded && result > 0)
    put((record_t){CALL_WRITE, fd, result, (uint64_t)offset, 0, 0, 0, 0}, NULL, NULL, bytes, (size_t)result);
  if (error != 0) {
    errno = error;
    result = -1;
  }
  leave();
  return result;
}

EXPORT ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t offset) __attribute__((alias("pwrite")));

EXPORT int fallocate(int fd, int mode, off_t offset, off_t length)
{
  bool recorded = enter(true);
  int result = -1;
  if (is_full)
    errno = ENOSPC;
  else
    result = real_fallocate(fd, mode, offset, length);
  if (recorded && result == 0)
    put((record_t){CALL_ALLOCATE, fd, 0, (uint64_t)mode, (uint64_t)offset, (uint64_t)length, 0, 0}, NULL, NULL, NULL, 0);
  leave();
  return result;
}

EXPORT int fallocate64(int fd, int mode, off_t offset, off_t length) __attribute__((alias("fallocate")));

/* The number under which the reader tells the recorder of a way through the library: FNV-1a. */
static uint64_t number_of(const uint64_t *way, size_t count)
{
  uint64_t sum = 0xcbf29ce484222325;
  for (size_t at = 0; at < count; at++) {
    for (unsigned shift = 0; shift < 64; shift += 8) sum = (sum ^ (way[at] >> shift & 0xff)) * 0x100000001b3;
  }
  return sum;
}

static int sync_and_record(int fd, int (*sync)(int fd))
{
  void *frames[MOST_FRAMES];
  uint64_t way[MOST_FRAMES];
  size_t length = 0;
  bool recorded = enter(true), skips = false;
  if (recorded) {
    int count = backtrace(frames, MOST_FRAMES);
    for (int at = 0; at < count; at++) {
      uintptr_t frame = (uintptr_t)frames[at];
      if (frame >= library_base && frame < library_end) way[length++] = frame - library_base;
    }
    uint64_t number = number_of(way, length);
    for (size_t at = 0; at < skipped_count; at++) skips = skips || skipped[at] == number;
  }
  int result = skips ? 0 : sync(fd);
  if (recorded && result == 0)
    put((record_t){skips ? CALL_SKIPPED : CALL_SYNC, fd, 0, 0, 0, 0, 0, 0}, NULL, NULL, way, length * sizeof way[0]);
  leave();
  return result;
}

EXPORT int fsync(int fd)
{
  return sync_and_record(fd, real_fsync);
}

EXPORT int fdatasync(int fd)
{
  return sync_and_record(fd, real_fdatasync);
}

static void put_rename(int from_fd, const char *from, int to_fd, const char *to)
{
  put((record_t){from_fd == to_fd ? CALL_RENAME : CALL_OTHER, from_fd, 0, 0, 0, 0, 0, 0}, from, to, NULL, 0);
}

EXPORT int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
  bool recorded = enter(true);
  int result = real_renameat(from_fd, from, to_fd, to);
  if (recorded && result == 0) put_rename(from_fd, from, to_fd, to);
  leave();
  return result;
}

EXPORT int unlinkat(int fd, const char *path, int flags)
{
  bool recorded = enter(true);
  int result = real_unlinkat(fd, path, flags);
  if (recorded && result == 0) put((record_t){flags == 0 ? CALL_UNLINK : CALL_OTHER, fd, 0, 0, 0, 0, 0, 0}, path, NULL, NULL, 0);
  leave();
  return result;
}

/* The bare system call: of those that change files the library makes `renameat2` so. Others wait, and must not do so under the mutex. */
EXPORT long syscall(long number, ...)
{
  long arguments[6];
  va_list rest;
  va_start(rest, number);
  for (size_t at = 0; at < 6; at++) arguments[at] = va_arg(rest, long);
  va_end(rest);
  bool renames = number == SYS_renameat2;
  bool recorded = renames && enter(true);
  long result = real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
  if (recorded && result == 0) put_rename((int)arguments[0], (const char *)arguments[1], (int)arguments[2], (const char *)arguments[3]);
  if (renames) leave();
  return result;
}

EXPORT ssize_t getrandom(void *bytes, size_t count, unsigned flags)
{
  uint8_t *out_bytes = bytes;
  (void)flags;
  for (size_t at = 0; at < count; at++) out_bytes[at] = (uint8_t)(at * 37 + 11);
  return (ssize_t)count;
}

/* Calls that change files and that the library does not make. Should it begin to, the reader must learn what they mean. */

static void put_other(const char *name)
{
  if (enter(true)) put((record_t){CALL_OTHER, -1, 0, 0, 0, 0, 0, 0}, name, NULL, NULL, 0);
  leave();
}

#define OTHER(type, name, parameters, arguments)                             \
  EXPORT type name parameters                                                \
  {                                                                          \
    type(*real) parameters = (type(*) parameters)find(#name);                \
    put_other(#name);                                                        \
    return real arguments;                                                   \
  }

OTHER(ssize_t, write, (int fd, const void *bytes, size_t count), (fd, bytes, count))
OTHER(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
OTHER(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t offset), (fd, parts, count, offset))
OTHER(ssize_t, pwritev64, (int fd, const struct iovec *parts, int count, off_t offset), (fd, parts, count, offset))
OTHER(ssize_t, pwritev2, (int fd, const struct iovec *parts, int count, off_t offset, int flags), (fd, parts, count, offset, flags))
OTHER(ssize_t, pwritev64v2, (int fd, const struct iovec *parts, int count, off_t offset, int flags), (fd, parts, count, offset, flags))
OTHER(ssize_t, copy_file_range, (int from, off_t *at, int to, off_t *there, size_t count, unsigned flags), (from, at, to, there, count, flags))
OTHER(ssize_t, sendfile64, (int to, int from, off_t *at, size_t count), (to, from, at, count))
OTHER(int, ftruncate, (int fd, off_t length), (fd, length))
OTHER(int, ftruncate64, (int fd, off_t length), (fd, length))
OTHER(int, truncate, (const char *path, off_t length), (path, length))
OTHER(int, truncate64, (const char *path, off_t length), (path, length))
OTHER(int, posix_fallocate, (int fd, off_t offset, off_t length), (fd, offset, length))
OTHER(int, posix_fallocate64, (int fd, off_t offset, off_t length), (fd, offset, length))
OTHER(int, sync_file_range, (int fd, off_t offset, off_t length, unsigned flags), (fd, offset, length, flags))
OTHER(int, syncfs, (int fd), (fd))
OTHER(int, rename, (const char *from, const char *to), (from, to))
OTHER(int, renameat2, (int from_fd, const char *from, int to_fd, const char *to, unsigned flags), (from_fd, from, to_fd, to, flags))
OTHER(int, unlink, (const char *path), (path))
OTHER(int, rmdir, (const char *path), (path))
OTHER(int, remove, (const char *path), (path))
OTHER(int, mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode))
OTHER(int, link, (const char *from, const char *to), (from, to))
OTHER(int, linkat, (int from_fd, const char *from, int to_fd, const char *to, int flags), (from_fd, from, to_fd, to, flags))
OTHER(int, symlink, (const char *target, const char *path), (target, path))
OTHER(int, symlinkat, (const char *target, int fd, const char *path), (target, fd, path))
OTHER(int, dup, (int fd), (fd))
OTHER(int, dup2, (int fd, int to), (fd, to))
OTHER(int, dup3, (int fd, int to, int flags), (fd, to, flags))
