/*
 * disk: a disk that fails on command, for a loop device to stand on.
 *
 *     disk MOUNT_POINT MEGABYTES
 *
 * A FUSE file system with two files, served in the foreground until it is unmounted. `disk` is the disk: its bytes live in this process's
 * memory, in two images. A write goes into the first, the disk's volatile cache; a flush carries it into the second, the medium. `control`
 * takes one command in one write:
 *
 *     writes FIRST LENGTH   every write that touches these bytes answers EIO from now on, and changes nothing; may be said again
 *     flushes               every flush answers EIO from now on, and what the cache held is gone
 *     cut SEED              the power fails: of what the cache held each sector reaches the medium or not, as the seed decides, and every
 *                           request answers EIO until the power is back
 *     heal                  no more of this
 *
 * and reads as the number of requests that have failed since then.
 */
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE

#include <errno.h>
#include <fuse.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { SECTOR = 512, MOST_BAD = 256 };

static struct {
  uint64_t size;
  unsigned char *cache;
  unsigned char *medium;
  unsigned char *dirty; /* For each sector, whether the cache's differs in age from the medium's. */
  uint64_t lowest, highest; /* The sectors among which the dirty ones are. */
  struct {
    uint64_t first, end;
  } bad[MOST_BAD];
  unsigned bad_count;
  bool flushes_fail;
  bool dark;
  uint64_t failed;
} disk;

static int fail(void)
{
  disk.failed++;
  return -EIO;
}

static void nothing_is_dirty(void)
{
  disk.lowest = UINT64_MAX;
  disk.highest = 0;
}

/* What becomes of the dirty sectors. */
typedef enum { KEPT, LOST, EITHER } fate_t;

static void settle(fate_t fate, uint64_t seed)
{
  for (uint64_t sector = disk.lowest; sector <= disk.highest && disk.lowest != UINT64_MAX; sector++) {
    if (!disk.dirty[sector]) continue;
    disk.dirty[sector] = 0;
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    unsigned char *volatile_bytes = disk.cache + sector * SECTOR, *durable = disk.medium + sector * SECTOR;
    if (fate == KEPT || (fate == EITHER && seed >> 63 != 0)) {
      memcpy(durable, volatile_bytes, SECTOR);
    } else {
      memcpy(volatile_bytes, durable, SECTOR);
    }
  }
  nothing_is_dirty();
}

static int command(const char *text)
{
  uint64_t first = 0, length = 0;
  if (strcmp(text, "heal") == 0) {
    disk.bad_count = 0;
    disk.flushes_fail = disk.dark = false;
    disk.failed = 0;
    return 0;
  }
  if (sscanf(text, "writes %" SCNu64 " %" SCNu64, &first, &length) == 2 && disk.bad_count < MOST_BAD) {
    disk.bad[disk.bad_count].first = first;
    disk.bad[disk.bad_count++].end = first + length;
  } else if (strcmp(text, "flushes") == 0) {
    disk.flushes_fail = true;
  } else if (sscanf(text, "cut %" SCNu64, &first) == 1) {
    settle(EITHER, first);
    disk.dark = true;
  } else {
    return -EINVAL;
  }
  return 0;
}

static bool is_disk(const char *path)
{
  return strcmp(path, "/disk") == 0;
}

static bool is_control(const char *path)
{
  return strcmp(path, "/control") == 0;
}

static int on_getattr(const char *path, struct stat *facts, struct fuse_file_info *file)
{
  (void)file;
  memset(facts, 0, sizeof *facts);
  facts->st_nlink = 1;
  if (strcmp(path, "/") == 0) {
    facts->st_mode = S_IFDIR | 0700;
  } else if (is_disk(path) || is_control(path)) {
    facts->st_mode = S_IFREG | 0600;
    facts->st_size = is_disk(path) ? (off_t)disk.size : 0;
  } else {
    return -ENOENT;
  }
  return 0;
}

static int on_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *file,
                      enum fuse_readdir_flags flags)
{
  (void)path, (void)offset, (void)file, (void)flags;
  fill(buffer, "disk", NULL, 0, 0);
  fill(buffer, "control", NULL, 0, 0);
  return 0;
}

/* No page cache between the loop device and the two images. */
static int on_open(const char *path, struct fuse_file_info *file)
{
  (void)path;
  file->direct_io = 1;
  return 0;
}

static int on_truncate(const char *path, off_t size, struct fuse_file_info *file)
{
  (void)size, (void)file;
  return is_control(path) ? 0 : -EPERM;
}

static int on_read(const char *path, char *bytes, size_t len, off_t offset, struct fuse_file_info *file)
{
  (void)file;
  if (is_control(path)) {
    int count = offset > 0 ? 0 : snprintf(bytes, len, "%" PRIu64 "\n", disk.failed);
    return count < (int)len ? count : (int)len;
  }
  if (disk.dark) return fail();
  if ((uint64_t)offset >= disk.size) return 0;
  if (len > disk.size - (uint64_t)offset) len = disk.size - (uint64_t)offset;
  memcpy(bytes, disk.cache + offset, len);
  return (int)len;
}

static bool is_bad(uint64_t first, uint64_t end)
{
  for (unsigned at = 0; at < disk.bad_count; at++) {
    if (first < disk.bad[at].end && end > disk.bad[at].first) return true;
  }
  return false;
}

static int on_write(const char *path, const char *bytes, size_t len, off_t offset, struct fuse_file_info *file)
{
  (void)file;
  if (is_control(path)) {
    char text[64] = "";
    if (len >= sizeof text) return -EINVAL;
    memcpy(text, bytes, len);
    text[strcspn(text, "\n")] = 0;
    int outcome = command(text);
    return outcome < 0 ? outcome : (int)len;
  }
  uint64_t first = (uint64_t)offset, end = first + len;
  if (end > disk.size || first % SECTOR != 0 || end % SECTOR != 0) return -EINVAL;
  if (disk.dark || is_bad(first, end)) return fail();
  memcpy(disk.cache + first, bytes, len);
  if (len > 0) {
    memset(disk.dirty + first / SECTOR, 1, len / SECTOR);
    if (first / SECTOR < disk.lowest) disk.lowest = first / SECTOR;
    if (end / SECTOR - 1 > disk.highest) disk.highest = end / SECTOR - 1;
  }
  return (int)len;
}

static int on_fsync(const char *path, int only_data, struct fuse_file_info *file)
{
  (void)only_data, (void)file;
  if (!is_disk(path)) return 0;
  if (disk.dark) return fail();
  if (disk.flushes_fail) {
    settle(LOST, 0);
    return fail();
  }
  settle(KEPT, 0);
  return 0;
}

static const struct fuse_operations OPERATIONS = {
    .getattr = on_getattr,
    .readdir = on_readdir,
    .open = on_open,
    .truncate = on_truncate,
    .read = on_read,
    .write = on_write,
    .fsync = on_fsync,
};

static void *zeros(uint64_t size)
{
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    fprintf(stderr, "disk: no memory: %s\n", strerror(errno));
    exit(1);
  }
  return memory;
}

int main(int count, char **arguments)
{
  if (count != 3) {
    fprintf(stderr, "disk MOUNT_POINT MEGABYTES\n");
    return 1;
  }
  disk.size = strtoull(arguments[2], NULL, 10) << 20;
  disk.cache = zeros(disk.size);
  disk.medium = zeros(disk.size);
  disk.dirty = zeros(disk.size / SECTOR);
  nothing_is_dirty();
  /* In the foreground, one request after the other. */
  char *fuse_arguments[] = {arguments[0], "-f", "-s", "-ofsname=faulty-disk", arguments[1], NULL};
  return fuse_main(5, fuse_arguments, &OPERATIONS, NULL);
}
