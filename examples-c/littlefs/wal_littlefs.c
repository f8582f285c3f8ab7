/*
 * Logs in a littlefs. What the log asks of a file layer (wal.h, YOUR OWN FILE LAYER), and how littlefs keeps it:
 *
 * - Durable. lfs_file_sync makes content and size durable, in one step. Names are durable at once, so sync_dir has nothing to do.
 * - A failed sync. After a write or a sync that fails littlefs takes a file for lost: it answers 0 to later syncs, and does nothing. So the error is
 *   remembered here for the handles that there are; the next opening gets the file as it was synced last.
 * - Handles. littlefs forbids to open a file twice, and loses one that is renamed while it is open. So there is one lfs_file_t for each name here, which
 *   all handles share, and which is closed and opened again around a rename.
 * - Threads. littlefs is for one, so there is a lock.
 *
 * A write that is not at the end of a file makes littlefs copy all blocks behind it at the next sync. A log writes in the middle of segments
 * that are filled with zeros: give it segments of one block or a few.
 */

#include "wal_littlefs.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = LFS_NAME_MAX + 32 };

/* A file that is open: one for each name. */
typedef struct entry {
  struct entry *next;
  char path[PATH_BYTES];
  lfs_file_t file;
  unsigned handles;
  int error;    /* The first of a write or sync, negative; 0: none. */
  bool is_open; /* Otherwise it was removed or lost, or could not be opened again. */
} entry_t;

struct wal_littlefs {
  wal_storage_t storage;
  lfs_t *lfs;
  pthread_mutex_t mutex;
  entry_t *entries;
  bool locked, pins_locked;
  unsigned readers;
};

/* littlefs's error numbers are those of Linux, negated; only one has another name there. */
static int answer(int error)
{
  return error == LFS_ERR_CORRUPT ? -EIO : error;
}

static bool join(char path[PATH_BYTES], const char *dir, const char *name)
{
  int len = snprintf(path, PATH_BYTES, "%s/%s", dir, name);
  return len > 0 && len < PATH_BYTES;
}

static entry_t *find(const wal_littlefs_t *layer, const char *path)
{
  entry_t *entry = layer->entries;
  while (entry != NULL && (!entry->is_open || strcmp(entry->path, path) != 0)) entry = entry->next;
  return entry;
}

/* The function's answer, with the lock given back. */
static int leave(wal_littlefs_t *layer, int error)
{
  pthread_mutex_unlock(&layer->mutex);
  return answer(error);
}

static wal_littlefs_t *enter(void *context)
{
  wal_littlefs_t *layer = context;
  pthread_mutex_lock(&layer->mutex);
  return layer;
}

/* ---- Names ---- */

static int32_t make_dir(void *context, const char *dir)
{
  wal_littlefs_t *layer = enter(context);
  int error = lfs_mkdir(layer->lfs, dir);
  return leave(layer, error == LFS_ERR_EXIST ? 0 : error);
}

static int32_t list(void *context, const char *dir, wal_storage_each_t each, void *names)
{
  wal_littlefs_t *layer = enter(context);
  lfs_dir_t listing;
  struct lfs_info info;
  int more = lfs_dir_open(layer->lfs, &listing, dir);
  if (more < 0) return leave(layer, more);
  while ((more = lfs_dir_read(layer->lfs, &listing, &info)) > 0) each(names, info.name);
  lfs_dir_close(layer->lfs, &listing);
  return leave(layer, more);
}

static int32_t rename_file(void *context, const char *dir, const char *from, const char *to)
{
  char old_path[PATH_BYTES], new_path[PATH_BYTES];
  if (!join(old_path, dir, from) || !join(new_path, dir, to)) return -ENAMETOOLONG;
  wal_littlefs_t *layer = enter(context);
  entry_t *entry = find(layer, old_path);
  int error = 0;
  if (entry != NULL) {
    /* Closing syncs; what cannot be synced shows when the log asks for it. */
    error = entry->error != 0 ? entry->error : lfs_file_sync(layer->lfs, &entry->file);
    lfs_file_close(layer->lfs, &entry->file);
    entry->is_open = false;
  }
  if (error == 0) error = lfs_rename(layer->lfs, old_path, new_path);
  if (entry != NULL) {
    if (error == 0) strcpy(entry->path, new_path);
    int again = lfs_file_open(layer->lfs, &entry->file, entry->path, LFS_O_RDWR);
    entry->is_open = again == 0;
    if (entry->error == 0) entry->error = again;
  }
  return leave(layer, error);
}

static int32_t remove_file(void *context, const char *dir, const char *name)
{
  char path[PATH_BYTES];
  if (!join(path, dir, name)) return -ENAMETOOLONG;
  wal_littlefs_t *layer = enter(context);
  entry_t *entry = find(layer, path);
  if (entry != NULL) {
    lfs_file_close(layer->lfs, &entry->file);
    entry->is_open = false;
    entry->error = LFS_ERR_NOENT;
  }
  return leave(layer, lfs_remove(layer->lfs, path));
}

static int32_t sync_dir(void *context, const char *dir)
{
  (void)context;
  (void)dir;
  return 0;
}

/* ---- Files ---- */

static int32_t open_file(void *context, const char *dir, const char *name, uint32_t flags, void **file)
{
  char path[PATH_BYTES];
  if (!join(path, dir, name)) return -ENAMETOOLONG;
  wal_littlefs_t *layer = enter(context);
  bool create = (flags & WAL_STORAGE_CREATE) != 0;
  entry_t *entry = find(layer, path);
  if (entry != NULL && entry->error != 0) {
    /* Its handles go on hearing of the error. */
    lfs_file_close(layer->lfs, &entry->file);
    entry->is_open = false;
    entry = NULL;
  }
  if (entry != NULL && create) return leave(layer, LFS_ERR_EXIST);
  if (entry == NULL) {
    entry = calloc(1, sizeof *entry);
    if (entry == NULL) return leave(layer, LFS_ERR_NOMEM);
    int error = lfs_file_open(layer->lfs, &entry->file, path, LFS_O_RDWR | (create ? LFS_O_CREAT | LFS_O_EXCL : 0));
    if (error != 0) {
      free(entry);
      return leave(layer, error);
    }
    strcpy(entry->path, path);
    entry->is_open = true;
    entry->next = layer->entries;
    layer->entries = entry;
  }
  entry->handles++;
  *file = entry;
  return leave(layer, 0);
}

static void close_file(void *context, void *file)
{
  wal_littlefs_t *layer = enter(context);
  entry_t *entry = file;
  if (--entry->handles == 0) {
    if (entry->is_open) lfs_file_close(layer->lfs, &entry->file);
    entry_t **link = &layer->entries;
    while (*link != entry) link = &(*link)->next;
    *link = entry->next;
    free(entry);
  }
  leave(layer, 0);
}

static int64_t leave_with(wal_littlefs_t *layer, lfs_soff_t result)
{
  pthread_mutex_unlock(&layer->mutex);
  return result < 0 ? answer((int)result) : result;
}

/* Remembers what went wrong with what was to be written. */
static lfs_soff_t noted(entry_t *entry, lfs_soff_t result)
{
  if (result < 0 && entry->error == 0) entry->error = (int)result;
  return result;
}

static int64_t size_of_file(void *context, void *file)
{
  wal_littlefs_t *layer = enter(context);
  entry_t *entry = file;
  return leave_with(layer, entry->error != 0 ? entry->error : lfs_file_size(layer->lfs, &entry->file));
}

/* Where the next read or write of the file is. What was written elsewhere goes to the chip first. */
static lfs_soff_t seek(wal_littlefs_t *layer, entry_t *entry, uint64_t offset)
{
  if (entry->error != 0) return entry->error;
  if (offset > LFS_FILE_MAX) return LFS_ERR_FBIG;
  return noted(entry, lfs_file_seek(layer->lfs, &entry->file, (lfs_soff_t)offset, LFS_SEEK_SET));
}

static int64_t read_file(void *context, void *file, uint64_t offset, void *bytes, size_t len)
{
  wal_littlefs_t *layer = enter(context);
  entry_t *entry = file;
  lfs_soff_t result = seek(layer, entry, offset);
  if (result >= 0) result = lfs_file_read(layer->lfs, &entry->file, bytes, (lfs_size_t)len);
  return leave_with(layer, result);
}

static int64_t write_file(void *context, void *file, uint64_t offset, const void *bytes, size_t len)
{
  wal_littlefs_t *layer = enter(context);
  entry_t *entry = file;
  lfs_soff_t result = seek(layer, entry, offset);
  if (result >= 0) result = noted(entry, lfs_file_write(layer->lfs, &entry->file, bytes, (lfs_size_t)len));
  return leave_with(layer, result);
}

static int32_t sync_file(void *context, void *file)
{
  wal_littlefs_t *layer = enter(context);
  entry_t *entry = file;
  return (int32_t)leave_with(layer, entry->error != 0 ? entry->error : noted(entry, lfs_file_sync(layer->lfs, &entry->file)));
}

/* ---- Locks: nobody but this process can reach the files ---- */

static int32_t take_lock(void *context, const char *dir, const char *name, uint32_t flags, void **lock)
{
  wal_littlefs_t *layer = enter(context);
  (void)dir; /* One log in each file system; a layer for several keeps locks for each directory. */
  bool *held = strcmp(name, "PINS") == 0 ? &layer->pins_locked : &layer->locked, shared = (flags & WAL_STORAGE_SHARED) != 0;
  if (*held || (held == &layer->locked && !shared && layer->readers > 0)) {
    pthread_mutex_unlock(&layer->mutex);
    return -EAGAIN;
  }
  if (shared) {
    layer->readers++;
    *lock = &layer->readers;
  } else {
    *held = true;
    *lock = held;
  }
  return leave(layer, 0);
}

static void unlock(void *context, void *lock)
{
  wal_littlefs_t *layer = enter(context);
  if (lock == &layer->readers) {
    layer->readers--;
  } else {
    *(bool *)lock = false;
  }
  leave(layer, 0);
}

/* ---- The layer ---- */

wal_littlefs_t *wal_littlefs_new(lfs_t *lfs)
{
  wal_littlefs_t *layer = calloc(1, sizeof *layer);
  if (layer == NULL) return NULL;
  layer->lfs = lfs;
  pthread_mutex_init(&layer->mutex, NULL);
  layer->storage = (wal_storage_t){
      .struct_size = sizeof layer->storage,
      .context = layer,
      .make_dir = make_dir,
      .list = list,
      .open = open_file,
      .close = close_file,
      .size = size_of_file,
      .read = read_file,
      .write = write_file,
      .sync = sync_file,
      .rename = rename_file,
      .remove = remove_file,
      .sync_dir = sync_dir,
      .lock = take_lock,
      .unlock = unlock,
  };
  return layer;
}

const wal_storage_t *wal_littlefs_storage(wal_littlefs_t *layer)
{
  return &layer->storage;
}

void wal_littlefs_free(wal_littlefs_t *layer)
{
  pthread_mutex_destroy(&layer->mutex);
  free(layer);
}
