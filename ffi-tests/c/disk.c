/* See disk.h. A file is what is durable, and the writes that are not, in their order; readers see both. Names likewise: a table that is durable, and the
 * changes that are not. */

#include "disk.h"

#include <dirent.h>

enum { NAME_BYTES = 32, MOST_NAMES = 64, MOST_FILES = 1024, MOST_CHANGES = 256, SECTOR = 512 };

typedef struct {
  uint64_t offset, len;
  unsigned char *bytes;
  bool lost; /* A sync failed that should have made it durable; no later one will. */
} write_t;

typedef struct {
  unsigned char *durable, *seen;
  uint64_t durable_len, seen_len;
  write_t *writes;
  size_t count, room;
} file_t;

typedef struct {
  char name[NAME_BYTES];
  size_t file;
} name_t;

typedef struct {
  name_t list[MOST_NAMES];
  size_t count;
} names_t;

/* A file gets a name and loses those it had, or loses that one. */
typedef struct {
  bool removal;
  name_t name;
} change_t;

/* An open file, as the log holds it. */
typedef struct {
  size_t file;
  bool read_only;
} handle_t;

struct disk {
  wal_storage_t storage;
  pthread_mutex_t lock;
  uint64_t random;
  bool has_dir, noise;
  file_t files[MOST_FILES];
  size_t file_count;
  names_t durable_names, names;
  change_t changes[MOST_CHANGES];
  size_t change_count;
  bool names_stuck; /* A sync of the names failed; until the log is opened again, none does anything. */
  bool locked, pins_locked;
  unsigned readers, lies;
  unsigned calls, open, most_open;
  struct {
    unsigned calls, nth, seen;
    int answer;
    bool for_good, cut, met;
  } fault;
  bool dead;
};

/* ---- Small things ---- */

static uint64_t chance(disk_t *disk)
{
  /* SplitMix64. */
  uint64_t z = disk->random += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

static void *copy_of(const void *bytes, uint64_t len)
{
  void *copy = malloc(len + 1);
  CHECK(copy != NULL);
  if (len > 0) memcpy(copy, bytes, len);
  return copy;
}

static void put_bytes(unsigned char **file, uint64_t *len, uint64_t offset, const unsigned char *bytes, uint64_t count)
{
  if (*len < offset + count) {
    *file = realloc(*file, offset + count);
    CHECK(*file != NULL);
    memset(*file + *len, 0, offset + count - *len);
    *len = offset + count;
  }
  if (count > 0) memcpy(*file + offset, bytes, count);
}

static size_t find(const names_t *names, const char *name)
{
  for (size_t at = 0; at < names->count; at++) {
    if (strcmp(names->list[at].name, name) == 0) return at;
  }
  return MOST_NAMES;
}

static void forget(names_t *names, size_t at)
{
  names->list[at] = names->list[--names->count];
}

static void apply(names_t *names, const change_t *change)
{
  size_t at = find(names, change->name.name);
  if (change->removal) {
    if (at < MOST_NAMES && names->list[at].file == change->name.file) forget(names, at);
    return;
  }
  for (size_t other = names->count; other-- > 0;) {
    if (names->list[other].file == change->name.file || other == at) forget(names, other);
  }
  CHECK(names->count < MOST_NAMES);
  names->list[names->count++] = change->name;
}

static void change(disk_t *disk, bool removal, const char *name, size_t file)
{
  change_t made = {removal, {"", file}};
  CHECK(strlen(name) < NAME_BYTES);
  memcpy(made.name.name, name, strlen(name) + 1);
  CHECK(disk->change_count < MOST_CHANGES);
  disk->changes[disk->change_count++] = made;
  apply(&disk->names, &made);
}

static void add_write(file_t *file, uint64_t offset, const void *bytes, uint64_t len)
{
  if (file->count == file->room) {
    file->room = file->room * 2 + 8;
    file->writes = realloc(file->writes, file->room * sizeof *file->writes);
    CHECK(file->writes != NULL);
  }
  file->writes[file->count++] = (write_t){offset, len, copy_of(bytes, len), false};
  put_bytes(&file->seen, &file->seen_len, offset, bytes, len);
}

/* Makes the writes durable that are not lost. */
static void settle(file_t *file)
{
  size_t kept = 0;
  for (size_t at = 0; at < file->count; at++) {
    write_t *one = &file->writes[at];
    if (one->lost) {
      file->writes[kept++] = *one;
      continue;
    }
    put_bytes(&file->durable, &file->durable_len, one->offset, one->bytes, one->len);
    free(one->bytes);
  }
  file->count = kept;
}

/* ---- Faults ---- */

/* What becomes of a call: its answer, and whether it does its work. */
typedef struct {
  int answer; /* As for disk_fail; 0: none but its own. */
  bool works;
  bool dies;
} fate_t;

/* Takes the disk's lock. */
static fate_t enter(disk_t *disk, unsigned call)
{
  fate_t fate = {0, true, false};
  pthread_mutex_lock(&disk->lock);
  if (disk->dead) return (fate_t){EIO, false, false};
  disk->calls++;
  if ((disk->fault.calls & call) == 0) return fate;
  disk->fault.seen++;
  bool now = disk->fault.nth > 0 && --disk->fault.nth == 0;
  if (!now && !(disk->fault.met && disk->fault.for_good)) return fate;
  disk->fault.met = true;
  if (disk->fault.cut) {
    disk->dead = true;
    return (fate_t){EIO, true, true};
  }
  fate.answer = disk->fault.answer;
  fate.works = fate.answer == DISK_SHORT || chance(disk) % 2 == 0;
  return fate;
}

static int64_t leave(disk_t *disk, int64_t answer)
{
  pthread_mutex_unlock(&disk->lock);
  return answer;
}

/* The answer of a function that counts nothing. `own` is what it would say by itself. */
static int32_t leave_with(disk_t *disk, fate_t fate, int own)
{
  int32_t answer = -own;
  if (fate.answer > 0) answer = -fate.answer;
  if (fate.answer == DISK_TOO_MUCH || fate.answer == DISK_NO_FILE) answer = INT32_MIN;
  if (fate.answer == DISK_POSITIVE) answer = EIO;
  return (int32_t)leave(disk, answer);
}

static file_t *file_of(disk_t *disk, const void *handle)
{
  return &disk->files[((const handle_t *)handle)->file];
}

/* ---- The functions ---- */

static int32_t make_dir(void *context, const char *dir)
{
  disk_t *disk = context;
  fate_t fate = enter(disk, DISK_MAKE_DIR);
  CHECK(strcmp(dir, "log") == 0);
  if (fate.works) disk->has_dir = true;
  return leave_with(disk, fate, 0);
}

static int32_t list(void *context, const char *dir, wal_storage_each_t each, void *names)
{
  disk_t *disk = context;
  fate_t fate = enter(disk, DISK_LIST);
  CHECK(strcmp(dir, "log") == 0);
  names_t now = disk->names;
  uint64_t from = chance(disk);
  size_t named = fate.answer == 0 ? now.count : now.count / 2;
  int32_t answer = leave_with(disk, fate, disk->has_dir ? 0 : ENOENT);
  for (size_t at = 0; at < named; at++) {
    const char *name = now.list[(at + from) % now.count].name;
    for (int times = disk->noise ? 2 : 1; times > 0; times--) {
      char passed[NAME_BYTES];
      snprintf(passed, sizeof passed, "%s", name);
      each(names, passed);
      memset(passed, '/', sizeof passed); /* What was passed was the library's until it returned. */
    }
    if (disk->noise) {
      static const char *const others[] = {".", "..", "lost+found", "0000000001.wal~", "notes about this disk, in a file of a long name"};
      each(names, others[at % 5]);
    }
  }
  return answer;
}

static int32_t open_file(void *context, const char *dir, const char *name, uint32_t flags, void **out)
{
  disk_t *disk = context;
  fate_t fate = enter(disk, DISK_OPEN);
  CHECK(strcmp(dir, "log") == 0 && strlen(name) <= 18 && strchr(name, '/') == NULL);
  CHECK(flags == 0 || flags == WAL_STORAGE_CREATE || flags == WAL_STORAGE_READ_ONLY);
  size_t at = find(&disk->names, name), file = at < MOST_NAMES ? disk->names.list[at].file : 0;
  if (flags == WAL_STORAGE_CREATE) {
    if (at < MOST_NAMES) return leave_with(disk, (fate_t){0}, EEXIST);
    if (!disk->has_dir) return leave_with(disk, (fate_t){0}, ENOENT);
    if (fate.works) {
      CHECK(disk->file_count < MOST_FILES);
      file = disk->file_count++;
      change(disk, false, name, file);
    }
  } else if (at == MOST_NAMES) {
    return leave_with(disk, fate.answer == DISK_NO_FILE ? (fate_t){0} : fate, ENOENT);
  }
  if (fate.answer == DISK_NO_FILE) return leave_with(disk, (fate_t){0}, 0);
  if (fate.answer == 0 || fate.answer == DISK_SHORT) {
    handle_t *handle = malloc(sizeof *handle);
    CHECK(handle != NULL);
    *handle = (handle_t){file, flags == WAL_STORAGE_READ_ONLY};
    *out = handle;
    disk->open++;
    if (disk->open > disk->most_open) disk->most_open = disk->open;
  }
  return leave_with(disk, fate, 0);
}

static void close_file(void *context, void *handle)
{
  disk_t *disk = context;
  pthread_mutex_lock(&disk->lock);
  CHECK(disk->open > 0);
  disk->open--;
  pthread_mutex_unlock(&disk->lock);
  free(handle);
}

static int64_t size_of_file(void *context, void *handle)
{
  disk_t *disk = context;
  fate_t fate = enter(disk, DISK_SIZE);
  if (fate.answer > 0) return leave(disk, -fate.answer);
  if (fate.answer < DISK_SHORT) return leave(disk, INT64_MIN);
  return leave(disk, (int64_t)file_of(disk, handle)->seen_len);
}

static int64_t read_file(void *context, void *handle, uint64_t offset, void *bytes, size_t len)
{
  disk_t *disk = context;
  fate_t fate = enter(disk, DISK_READ);
  const file_t *file = file_of(disk, handle);
  CHECK(len > 0 && len <= 1u << 30);
  if (fate.answer > 0) return leave(disk, -fate.answer);
  if (fate.answer < DISK_SHORT) return leave(disk, (int64_t)len + 1);
  uint64_t there = offset < file->seen_len ? file->seen_len - offset : 0;
  if (there > len) there = len;
  if (fate.answer == DISK_SHORT && there > 1) there = 1 + chance(disk) % (there - 1);
  if (there > 0) memcpy(bytes, file->seen + offset, there);
  return leave(disk, (int64_t)there);
}

static int64_t write_file_at(void *context, void *handle, uint64_t offset, const void *bytes, size_t len)
{
  disk_t *disk = context;
  fate_t fate = enter(disk, DISK_WRITE);
  file_t *file = file_of(disk, handle);
  CHECK(len > 0 && len <= 1u << 30 && !((handle_t *)handle)->read_only && offset <= file->seen_len);
  uint64_t done = len;
  if (fate.answer != 0 && !fate.dies) done = fate.works ? 1 + chance(disk) % len : 0;
  if (fate.works && done > 0) add_write(file, offset, bytes, done);
  if (fate.answer > 0) return leave(disk, -fate.answer);
  if (fate.answer < DISK_SHORT) return leave(disk, (int64_t)len + 1);
  return leave(disk, (int64_t)done);
}

static int32_t sync_file(void *context, void *handle)
{
  disk_t *disk = context;
  fate_t fate = enter(disk, DISK_SYNC);
  file_t *file = file_of(disk, handle);
  if (disk->lies & DISK_SYNC) {
    /* Nothing. */
  } else if (fate.answer == 0 || fate.answer == DISK_SHORT) {
    settle(file);
  } else if (!disk->dead) {
    /* Some of it is on the medium; the rest never will be, though readers still see it. */
    for (size_t at = 0; at < file->count; at++) file->writes[at].lost |= chance(disk) % 2 == 0;
    settle(file);
  }
  return leave_with(disk, fate, 0);
}

static void drop_cache(void *context, void *handle)
{
  disk_t *disk = context;
  pthread_mutex_lock(&disk->lock);
  file_t *file = file_of(disk, handle);
  free(file->seen);
  file->seen = copy_of(file->durable, file->durable_len);
  file->seen_len = file->durable_len;
  size_t kept = 0;
  for (size_t at = 0; at < file->count; at++) {
    write_t one = file->writes[at];
    if (one.lost) {
      free(one.bytes);
      continue;
    }
    file->writes[kept++] = one;
    put_bytes(&file->seen, &file->seen_len, one.offset, one.bytes, one.len);
  }
  file->count = kept;
  pthread_mutex_unlock(&disk->lock);
}

static int32_t rename_file(void *context, const char *dir, const char *from, const char *to)
{
  disk_t *disk = context;
  fate_t fate = enter(disk, DISK_RENAME);
  size_t at = find(&disk->names, from);
  CHECK(strcmp(dir, "log") == 0 && find(&disk->names, to) == MOST_NAMES);
  if (at == MOST_NAMES) return leave_with(disk, fate, ENOENT);
  if (fate.works && (fate.dies || fate.answer == 0 || fate.answer == DISK_SHORT)) change(disk, false, to, disk->names.list[at].file);
  return leave_with(disk, fate, 0);
}

static int32_t remove_file(void *context, const char *dir, const char *name)
{
  disk_t *disk = context;
  fate_t fate = enter(disk, DISK_REMOVE);
  size_t at = find(&disk->names, name);
  CHECK(strcmp(dir, "log") == 0);
  if (at == MOST_NAMES) return leave_with(disk, fate, ENOENT);
  if (fate.works && (fate.dies || fate.answer == 0 || fate.answer == DISK_SHORT)) change(disk, true, name, disk->names.list[at].file);
  return leave_with(disk, fate, 0);
}

static int32_t sync_dir(void *context, const char *dir)
{
  disk_t *disk = context;
  fate_t fate = enter(disk, DISK_SYNC_DIR);
  CHECK(strcmp(dir, "log") == 0);
  if (fate.answer != 0 && fate.answer != DISK_SHORT) {
    disk->names_stuck |= !disk->dead;
  } else if (!disk->names_stuck && !(disk->lies & DISK_SYNC_DIR)) {
    for (size_t at = 0; at < disk->change_count; at++) apply(&disk->durable_names, &disk->changes[at]);
    disk->change_count = 0;
  }
  return leave_with(disk, fate, 0);
}

static int32_t take_lock(void *context, const char *dir, const char *name, uint32_t flags, void **lock)
{
  disk_t *disk = context;
  fate_t fate = enter(disk, DISK_LOCK);
  CHECK(strcmp(dir, "log") == 0 && (flags == 0 || flags == WAL_STORAGE_SHARED));
  bool pins = strcmp(name, "PINS") == 0, shared = flags == WAL_STORAGE_SHARED;
  CHECK(pins || strcmp(name, "LOCK") == 0);
  if (fate.answer != 0 && fate.answer != DISK_SHORT) return leave_with(disk, fate, 0);
  if (pins ? disk->pins_locked : disk->locked || (!shared && disk->readers > 0)) return leave_with(disk, fate, EAGAIN);
  if (pins) {
    disk->pins_locked = true;
    *lock = &disk->pins_locked;
  } else if (shared) {
    disk->readers++;
    *lock = &disk->readers;
  } else {
    disk->locked = true;
    disk->names_stuck = false;
    *lock = &disk->locked;
  }
  return leave_with(disk, fate, 0);
}

static void unlock(void *context, void *lock)
{
  disk_t *disk = context;
  pthread_mutex_lock(&disk->lock);
  if (lock == &disk->readers) {
    CHECK(disk->readers > 0);
    disk->readers--;
  } else {
    CHECK((lock == &disk->locked || lock == &disk->pins_locked) && *(bool *)lock);
    *(bool *)lock = false;
  }
  pthread_mutex_unlock(&disk->lock);
}

static int32_t random_bytes(void *context, void *bytes, size_t len)
{
  disk_t *disk = context;
  fate_t fate = enter(disk, DISK_RANDOM);
  for (size_t at = 0; at < len; at++) ((unsigned char *)bytes)[at] = (unsigned char)chance(disk);
  return leave_with(disk, fate, 0);
}

/* ---- What the tests call ---- */

disk_t *disk_new(uint64_t seed)
{
  disk_t *disk = calloc(1, sizeof *disk);
  CHECK(disk != NULL);
  disk->storage = (wal_storage_t){
      .struct_size = sizeof disk->storage, .context = disk, .make_dir = make_dir, .list = list, .open = open_file, .close = close_file,
      .size = size_of_file, .read = read_file, .write = write_file_at, .sync = sync_file, .drop_cache = drop_cache, .rename = rename_file,
      .remove = remove_file, .sync_dir = sync_dir, .lock = take_lock, .unlock = unlock, .random = random_bytes};
  disk->random = seed;
  pthread_mutex_init(&disk->lock, NULL);
  return disk;
}

void disk_free(disk_t *disk)
{
  EQUAL(disk->open, 0);
  EQUAL(disk_locks(disk), 0);
  for (size_t at = 0; at < disk->file_count; at++) {
    file_t *file = &disk->files[at];
    for (size_t one = 0; one < file->count; one++) free(file->writes[one].bytes);
    free(file->writes);
    free(file->durable);
    free(file->seen);
  }
  pthread_mutex_destroy(&disk->lock);
  free(disk);
}

const wal_storage_t *disk_storage(disk_t *disk)
{
  return &disk->storage;
}

static void arm(disk_t *disk, unsigned calls, unsigned nth, int answer, bool for_good, bool cut)
{
  pthread_mutex_lock(&disk->lock);
  disk->fault.calls = calls;
  disk->fault.nth = nth;
  disk->fault.seen = 0;
  disk->fault.answer = answer;
  disk->fault.for_good = for_good;
  disk->fault.cut = cut;
  disk->fault.met = false;
  pthread_mutex_unlock(&disk->lock);
}

void disk_fail(disk_t *disk, unsigned calls, unsigned nth, int answer, bool for_good)
{
  arm(disk, calls, nth, answer, for_good, false);
}

void disk_cut(disk_t *disk, unsigned calls, unsigned nth)
{
  arm(disk, calls, nth, 0, false, true);
}

unsigned disk_clear(disk_t *disk)
{
  unsigned seen = disk->fault.seen;
  arm(disk, 0, 0, 0, false, false);
  return seen;
}

bool disk_failed(const disk_t *disk)
{
  return disk->fault.met;
}

bool disk_is_dead(const disk_t *disk)
{
  return disk->dead;
}

/* A write reaches the medium: whole, or sector by sector the new bytes, the old ones, zeros or garbage. */
static void reach(disk_t *disk, file_t *file, const write_t *one, bool torn)
{
  if (!torn) {
    put_bytes(&file->durable, &file->durable_len, one->offset, one->bytes, one->len);
    return;
  }
  for (uint64_t from = one->offset; from < one->offset + one->len;) {
    uint64_t to = (from / SECTOR + 1) * SECTOR;
    if (to > one->offset + one->len) to = one->offset + one->len;
    unsigned char sector[SECTOR];
    uint64_t how = chance(disk) % 5;
    memcpy(sector, one->bytes + (from - one->offset), to - from);
    if (how == 3) memset(sector, 0, to - from);
    for (uint64_t at = 0; how == 4 && at < to - from; at++) sector[at] = (unsigned char)chance(disk);
    if (how > 0) put_bytes(&file->durable, &file->durable_len, from, sector, to - from);
    from = to;
  }
}

disk_t *disk_restart(const disk_t *disk, int keep, uint64_t seed)
{
  EQUAL(disk->open, 0);
  EQUAL(disk_locks(disk), 0);
  disk_t *found = disk_new(seed);
  found->has_dir = disk->has_dir;
  found->noise = disk->noise;
  found->file_count = disk->file_count;
  found->durable_names = disk->durable_names;
  for (size_t at = 0; at < disk->change_count; at++) {
    if (keep == KEEP_ALL || (keep != KEEP_NOTHING && chance(found) % 2 == 0)) apply(&found->durable_names, &disk->changes[at]);
  }
  found->names = found->durable_names;
  for (size_t number = 0; number < disk->file_count; number++) {
    const file_t *old = &disk->files[number];
    file_t *file = &found->files[number];
    file->durable = copy_of(old->durable, old->durable_len);
    file->durable_len = old->durable_len;
    size_t order[64], count = old->count < 64 ? old->count : 64, skipped = old->count - count;
    for (size_t at = 0; at < skipped && keep != KEEP_NOTHING; at++) {
      if (!old->writes[at].lost) reach(found, file, &old->writes[at], false);
    }
    for (size_t at = 0; at < count; at++) order[at] = skipped + at;
    for (size_t at = count; keep >= KEEP_SOME && at > 1; at--) {
      size_t other = chance(found) % at, swapped = order[at - 1];
      order[at - 1] = order[other];
      order[other] = swapped;
    }
    for (size_t at = 0; at < count && keep != KEEP_NOTHING; at++) {
      const write_t *one = &old->writes[order[at]];
      if (one->lost || (keep != KEEP_ALL && chance(found) % 2 == 0)) continue;
      reach(found, file, one, keep == KEEP_TORN);
    }
    file->seen = copy_of(file->durable, file->durable_len);
    file->seen_len = file->durable_len;
  }
  return found;
}

void disk_lie(disk_t *disk, unsigned calls)
{
  disk->lies = calls;
}

void disk_list_noise(disk_t *disk, bool noise)
{
  disk->noise = noise;
}

unsigned disk_calls(const disk_t *disk)
{
  return disk->calls;
}

unsigned disk_open_files(const disk_t *disk)
{
  return disk->open;
}

unsigned disk_most_open(const disk_t *disk)
{
  return disk->most_open;
}

unsigned disk_locks(const disk_t *disk)
{
  return disk->readers + disk->locked + disk->pins_locked;
}

void disk_save(disk_t *disk, const char *dir)
{
  CHECK(mkdir(dir, 0700) == 0);
  for (size_t at = 0; at < disk->names.count; at++) {
    const file_t *file = &disk->files[disk->names.list[at].file];
    const char *path = path_in(dir, disk->names.list[at].name);
    write_file(path, "");
    if (file->seen_len > 0) write_bytes(path, 0, file->seen, file->seen_len);
  }
}

void disk_load(disk_t *disk, const char *dir)
{
  disk->has_dir = true;
  DIR *listing = opendir(dir);
  CHECK(listing != NULL);
  for (struct dirent *item = readdir(listing); item != NULL; item = readdir(listing)) {
    if (item->d_type != DT_REG) continue;
    const char *path = path_in(dir, item->d_name);
    uint64_t len = file_size(path);
    unsigned char *bytes = malloc(len + 1);
    CHECK(bytes != NULL);
    if (len > 0) read_bytes(path, 0, bytes, len);
    CHECK(disk->file_count < MOST_FILES);
    file_t *file = &disk->files[disk->file_count];
    if (len > 0) add_write(file, 0, bytes, len);
    settle(file);
    change(disk, false, item->d_name, disk->file_count++);
    free(bytes);
  }
  closedir(listing);
  disk->durable_names = disk->names;
  disk->change_count = 0;
}
