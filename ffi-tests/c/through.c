/* See through.h. */

#include "through.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "allocator.h"

enum { PATH_BYTES = 1024, MOST_FILES = 256 };

/* An open file is the place here that its descriptor numbers. */
static char files[MOST_FILES];

static int give(int fd, void **file)
{
  if (fd < 0) return -errno;
  if (fd >= MOST_FILES) {
    close(fd);
    return -EMFILE;
  }
  *file = &files[fd];
  return 0;
}

static int fd_of(const void *file)
{
  return (int)((const char *)file - files);
}

static int answer(int result)
{
  return result < 0 ? -errno : 0;
}

static const char *join(char path[PATH_BYTES], const char *dir, const char *name)
{
  snprintf(path, PATH_BYTES, "%s/%s", dir, name);
  return path;
}

static int sync_path(const char *path)
{
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int result = answer(fsync(fd));
  close(fd);
  return result;
}

static int32_t make_dir(void *context, const char *dir)
{
  char parent[PATH_BYTES];
  (void)context;
  if (mkdir(dir, 0700) != 0 && errno != EEXIST) return -errno;
  return sync_path(join(parent, dir, ".."));
}

static int32_t list(void *context, const char *dir, wal_storage_each_t each, void *names)
{
  (void)context;
  memory_pause();
  DIR *listing = opendir(dir);
  int result = listing != NULL ? 0 : -errno;
  memory_resume();
  if (listing == NULL) return result;
  for (struct dirent *item = readdir(listing); item != NULL; item = readdir(listing)) each(names, item->d_name);
  closedir(listing);
  return 0;
}

static int32_t open_file(void *context, const char *dir, const char *name, uint32_t flags, void **file)
{
  char path[PATH_BYTES];
  (void)context;
  int how = flags & WAL_STORAGE_READ_ONLY ? O_RDONLY : flags & WAL_STORAGE_CREATE ? O_RDWR | O_CREAT | O_EXCL : O_RDWR;
  return give(open(join(path, dir, name), how | O_CLOEXEC, 0600), file);
}

static void close_file(void *context, void *file)
{
  (void)context;
  close(fd_of(file));
}

static int64_t size_of_file(void *context, void *file)
{
  struct stat found;
  (void)context;
  return fstat(fd_of(file), &found) == 0 ? found.st_size : -errno;
}

static int64_t read_file(void *context, void *file, uint64_t offset, void *bytes, size_t len)
{
  (void)context;
  ssize_t count = pread(fd_of(file), bytes, len, (off_t)offset);
  return count < 0 ? -errno : count;
}

static int64_t write_file(void *context, void *file, uint64_t offset, const void *bytes, size_t len)
{
  (void)context;
  ssize_t count = pwrite(fd_of(file), bytes, len, (off_t)offset);
  return count < 0 ? -errno : count;
}

static int32_t sync_file(void *context, void *file)
{
  (void)context;
  return answer(fdatasync(fd_of(file)));
}

static void drop_cache(void *context, void *file)
{
  (void)context;
  posix_fadvise(fd_of(file), 0, 0, POSIX_FADV_DONTNEED);
}

static int32_t rename_file(void *context, const char *dir, const char *from, const char *to)
{
  char before[PATH_BYTES], after[PATH_BYTES];
  (void)context;
  return answer(rename(join(before, dir, from), join(after, dir, to)));
}

static int32_t remove_file(void *context, const char *dir, const char *name)
{
  char path[PATH_BYTES];
  (void)context;
  return answer(unlink(join(path, dir, name)));
}

static int32_t sync_dir(void *context, const char *dir)
{
  (void)context;
  return sync_path(dir);
}

static int32_t take_lock(void *context, const char *dir, const char *name, uint32_t flags, void **lock)
{
  char path[PATH_BYTES];
  int shared = (flags & WAL_STORAGE_SHARED) != 0;
  (void)context;
  int fd = open(join(path, dir, name), (shared ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC, 0600);
  if (fd < 0) return -errno;
  if (flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
    int result = -errno;
    close(fd);
    return result;
  }
  return give(fd, lock);
}

static const wal_storage_t storage = {
    .struct_size = sizeof storage, .make_dir = make_dir, .list = list, .open = open_file, .close = close_file, .size = size_of_file,
    .read = read_file, .write = write_file, .sync = sync_file, .drop_cache = drop_cache, .rename = rename_file, .remove = remove_file,
    .sync_dir = sync_dir, .lock = take_lock, .unlock = close_file};

const wal_storage_t *through_storage(void)
{
  return &storage;
}
