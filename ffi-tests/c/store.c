/*
 * The power fails under a host: examples-c/kvstore.c on its log, at every sync of both.
 *
 *     store DIRECTORY
 *
 * This program has its own fsync and fdatasync, which the store and the library call. They sync nothing: they take down what the caller may believe
 * from then on, the content of a file or the names in a directory. Before and after each of them, and wherever the store says how far it has come, a
 * directory is made of what would be there after a power cut, in three ways: nothing is there that was not synced; or all names are, but no bytes; or all
 * bytes, but no names. A store is opened there and must hold what was acknowledged, and go on.
 */

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The store's own syncs, apart from the log's: see late_sync. */
static int store_sync(int fd);
#define fsync store_sync
#include "../../examples-c/kvstore.c"
#undef fsync

enum { PATH_BYTES = 1024, FILES = 1024, NAMES = 64, DIRECTORIES = 2, KEYS = 7, CHANGES = 60, FLUSH_EVERY = 6, SEGMENT = 8192, WAYS = 3 };

#define CHECK(condition, ...)                                    \
  do {                                                           \
    if (!(condition)) {                                          \
      printf("%s:%d: not so: %s: ", __FILE__, __LINE__, #condition); \
      printf(__VA_ARGS__);                                       \
      putchar('\n');                                             \
      exit(1);                                                   \
    }                                                            \
  } while (0)

/* ---- What is durable ---- */

/* A file that was synced at least once. It is held open, so that no other file gets its number. */
typedef struct {
  ino_t inode;
  int fd;
  unsigned char *bytes;
  size_t len;
} file_t;

typedef struct {
  char name[256];
  ino_t inode;
} name_t;

typedef struct {
  const char *path; /* below the live directory */
  name_t names[NAMES];
  size_t count;
} directory_t;

static file_t files[FILES];
static size_t file_count;
static directory_t directories[DIRECTORIES] = {{.path = ""}, {.path = "/log"}};
static char live[PATH_BYTES], cut[PATH_BYTES + 8];
/* Held while a power cut is tried, so that nothing becomes durable meanwhile: the log has a thread of its own. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long tried;

/* ---- What was acknowledged ---- */

/* Changes are numbered; the last one that was begun, and the last one that the store has called durable. */
static unsigned last_change, acknowledged;

/* Every fifth change removes its key. */
static bool removes(unsigned change)
{
  return change % 5 == 0;
}

static unsigned key_of(unsigned change)
{
  return change * 3 % KEYS;
}

static size_t value_of(unsigned change, char value[1024])
{
  size_t len = change * 37 % 900;
  memset(value, (int)('a' + change % 26), len);
  return len + (size_t)snprintf(value + len, 1024 - len, "%u", change);
}

/* Whether the store holds the first `changes` changes, and nothing else. */
static bool holds(const kv_t *kv, unsigned changes)
{
  for (unsigned key = 0; key < KEYS; key++) {
    char name = (char)('A' + key), expected[1024];
    const void *value;
    size_t len;
    unsigned change = changes;
    while (change > 0 && key_of(change) != key) change--;
    bool there = kv_get(kv, &name, 1, &value, &len) == KV_OK;
    if (there != (change > 0 && !removes(change))) return false;
    if (there && (len != value_of(change, expected) || memcmp(value, expected, len) != 0)) return false;
  }
  return true;
}

/* ---- Power cuts ---- */

static void clear(const char *path)
{
  DIR *dir = opendir(path);
  if (dir == NULL) return;
  for (struct dirent *item = readdir(dir); item != NULL; item = readdir(dir)) {
    char name[PATH_BYTES * 2];
    if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0) continue;
    snprintf(name, sizeof name, "%s/%s", path, item->d_name);
    if (unlink(name) != 0) clear(name);
  }
  closedir(dir);
  rmdir(path);
}

/* The names that are there now. */
static void look(const directory_t *known, directory_t *now)
{
  char path[PATH_BYTES * 2];
  snprintf(path, sizeof path, "%s%s", live, known->path);
  *now = (directory_t){.path = known->path};
  DIR *dir = opendir(path);
  if (dir == NULL) return;
  for (struct dirent *item = readdir(dir); item != NULL; item = readdir(dir)) {
    if (item->d_type != DT_REG) continue;
    CHECK(now->count < NAMES, "more names than this program knows");
    name_t *name = &now->names[now->count++];
    snprintf(name->name, sizeof name->name, "%s", item->d_name);
    name->inode = item->d_ino;
  }
  closedir(dir);
}

/* The content of an open file. */
static unsigned char *read_all(int fd, size_t *len)
{
  struct stat facts;
  CHECK(fstat(fd, &facts) == 0, "fstat");
  unsigned char *bytes = malloc((size_t)facts.st_size + 1);
  CHECK(bytes != NULL, "memory");
  ssize_t got = pread(fd, bytes, (size_t)facts.st_size, 0);
  CHECK(got >= 0, "pread");
  *len = (size_t)got;
  return bytes;
}

static file_t *file_of(ino_t inode)
{
  for (size_t at = 0; at < file_count; at++) {
    if (files[at].inode == inode) return &files[at];
  }
  return NULL;
}

/* Makes in `cut` what a power cut would leave. */
static void fall(bool all_names, bool all_bytes)
{
  clear(cut);
  mkdir(cut, 0700);
  for (size_t at = 0; at < DIRECTORIES; at++) {
    directory_t now;
    const directory_t *names = &directories[at];
    char path[PATH_BYTES * 2];
    if (all_names) {
      look(names, &now);
      names = &now;
    }
    snprintf(path, sizeof path, "%s%s", cut, names->path);
    mkdir(path, 0700);
    for (size_t name = 0; name < names->count; name++) {
      const file_t *file = file_of(names->names[name].inode);
      char to[PATH_BYTES * 3];
      snprintf(to, sizeof to, "%s/%s", path, names->names[name].name);
      int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
      CHECK(fd >= 0, "%s", to);
      if (file != NULL) {
        size_t len = file->len;
        unsigned char *bytes = all_bytes ? read_all(file->fd, &len) : file->bytes;
        CHECK(write(fd, bytes, len) == (ssize_t)len, "%s", to);
        if (all_bytes) free(bytes);
      }
      close(fd);
    }
  }
}

/* The lock is held. */
static void power_cut(const char *when)
{
  static const struct {
    bool all_names, all_bytes;
    const char *what;
  } ways[WAYS] = {{false, false, "nothing unsynced"}, {true, false, "all names"}, {false, true, "all bytes"}};
  for (unsigned way = 0; way < WAYS; way++) {
    /* Before the look at the disk: what is acknowledged while this goes on may be there or not. */
    unsigned sure = __atomic_load_n(&acknowledged, __ATOMIC_SEQ_CST);
    kv_options_t options = {.segment_size = SEGMENT};
    kv_error_t error;
    kv_t *kv;
    fall(ways[way].all_names, ways[way].all_bytes);
    tried++;
    const char *kept = ways[way].what;
    CHECK(kv_open(cut, &options, &kv, &error) == KV_OK, "power cut %s, %s kept, %u changes acknowledged: %s", when, kept, sure, error.message);
    unsigned most = __atomic_load_n(&last_change, __ATOMIC_SEQ_CST);
    bool held = false;
    for (unsigned changes = sure; changes <= most && !held; changes++) held = holds(kv, changes);
    CHECK(held, "power cut %s, %s kept: not what was there after %u changes", when, kept, sure);
    CHECK(kv_put(kv, "after", 5, "more", 4, &error) == KV_OK && kv_flush(kv, &error) == KV_OK, "%s: %s", when, error.message);
    CHECK(kv_close(kv, &error) == KV_OK, "%s: %s", when, error.message);
  }
}

/* ---- Syncs ---- */

/* Whether what the descriptor stands for lies below the live directory; its directory there, if it is one. */
static bool is_live(int fd, directory_t **directory)
{
  char link[64], path[PATH_BYTES];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t len = readlink(link, path, sizeof path - 1);
  CHECK(len > 0, "%s", link);
  path[len] = '\0';
  size_t root = strlen(live);
  *directory = NULL;
  if (strncmp(path, live, root) != 0 || (path[root] != '\0' && path[root] != '/')) return false;
  for (size_t at = 0; at < DIRECTORIES; at++) {
    if (strcmp(path + root, directories[at].path) == 0) *directory = &directories[at];
  }
  return true;
}

static int sync_it(int fd)
{
  directory_t *directory;
  if (!is_live(fd, &directory)) return 0;
  pthread_mutex_lock(&lock);
  power_cut("before a sync");
  if (directory != NULL) {
    directory_t now;
    look(directory, &now);
    *directory = now;
  } else {
    struct stat facts;
    CHECK(fstat(fd, &facts) == 0, "fstat");
    file_t *file = file_of(facts.st_ino);
    if (file == NULL) {
      CHECK(file_count < FILES, "more files than this program knows");
      file = &files[file_count++];
      *file = (file_t){.inode = facts.st_ino, .fd = open("/dev/null", O_RDONLY | O_CLOEXEC)};
      char link[64];
      snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
      close(file->fd);
      file->fd = open(link, O_RDONLY | O_CLOEXEC);
      CHECK(file->fd >= 0, "cannot open it once more");
    }
    free(file->bytes);
    file->bytes = read_all(file->fd, &file->len);
  }
  power_cut("after a sync");
  pthread_mutex_unlock(&lock);
  return 0;
}

int fsync(int fd)
{
  return sync_it(fd);
}

int fdatasync(int fd)
{
  return sync_it(fd);
}

/* A table of the store that is synced only when the log has forgotten what is in it: the mistake number 19 of docs/RELIABILITY.md, if it is planted. */
static int late_table = -1;

static int store_sync(int fd)
{
  static int planted = -1;
  char link[64], path[PATH_BYTES];
  if (planted < 0) {
    const char *plant = getenv("WAL_PLANT");
    planted = plant != NULL && strcmp(plant, "19") == 0;
  }
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t len = readlink(link, path, sizeof path - 1);
  path[len > 0 ? len : 0] = '\0';
  if (planted && strstr(path, "/table-") != NULL) {
    late_table = dup(fd);
    return 0;
  }
  return fsync(fd);
}

static void on_phase(void *context, kv_phase_t phase)
{
  (void)context;
  if (phase == KV_PHASE_READY && late_table >= 0) {
    fsync(late_table);
    close(late_table);
    late_table = -1;
  }
  pthread_mutex_lock(&lock);
  power_cut("between two steps of the protocol");
  pthread_mutex_unlock(&lock);
}

/* ---- The host's life ---- */

static void change(kv_t *kv, unsigned number)
{
  kv_error_t error;
  char key = (char)('A' + key_of(number)), value[1024];
  size_t len = value_of(number, value);
  __atomic_store_n(&last_change, number, __ATOMIC_SEQ_CST);
  kv_status_t status = removes(number) ? kv_delete(kv, &key, 1, &error) : kv_put(kv, &key, 1, value, len, &error);
  CHECK(status == KV_OK, "change %u: %s", number, error.message);
  __atomic_store_n(&acknowledged, number, __ATOMIC_SEQ_CST);
}

int main(int count, char **arguments)
{
  kv_options_t options = {.segment_size = SEGMENT, .on_phase = on_phase};
  kv_error_t error;
  kv_t *kv;
  char *place = count == 2 ? realpath(arguments[1], NULL) : NULL;
  if (place == NULL || strlen(place) > PATH_BYTES / 2) return 2;
  snprintf(live, sizeof live, "%s/live", place);
  snprintf(cut, sizeof cut, "%s/cut", place);
  free(place);
  for (unsigned number = 1; number <= CHANGES; number++) {
    if (number % (CHANGES / 4) == 1) {
      if (number > 1) CHECK(kv_close(kv, &error) == KV_OK, "%s", error.message);
      CHECK(kv_open(live, &options, &kv, &error) == KV_OK, "%s", error.message);
    }
    change(kv, number);
    if (number % FLUSH_EVERY == 0) CHECK(kv_flush(kv, &error) == KV_OK, "%s", error.message);
  }
  CHECK(kv_close(kv, &error) == KV_OK, "%s", error.message);
  CHECK(tried > 1000, "%lu power cuts: this tried next to nothing", tried);
  printf("tally: store-power-cuts %lu states\n", tried);
  return 0;
}
