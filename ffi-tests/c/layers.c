/* A file layer of the host's own beside what else there is: versions of wal_storage_t, other handles, threads, forks, the system's files. */

#include "disk.h"

enum { SEGMENT = 4096 };

/* ---- The struct ---- */

/* An opening with this storage, and a look, must be refused before any function is called. */
static void expect_refused(const wal_storage_t *storage, const disk_t *disk, const char *why)
{
  wal_options_t options = defaults();
  wal_t *wal = NULL;
  wal_report_t report;
  size_t count = 0;
  options.storage = storage;
  STATUS(WAL_E_INVALID, wal_open("log", &options, &wal, &err));
  MESSAGE_HAS(why);
  STATUS(WAL_E_INVALID, wal_inspect("log", &options, 0, &report, sizeof report, &err));
  MESSAGE_HAS(why);
  STATUS(WAL_E_INVALID, wal_inspect_damage("log", &options, NULL, 0, &count, &err));
  MESSAGE_HAS(why);
  CHECK(wal == NULL && disk_calls(disk) == 0 && disk_open_files(disk) == 0);
}

static void every_function_is_needed_but_two(const char *dir)
{
  (void)dir;
  disk_t *disk = disk_new(1);
#define WITHOUT(function)                                                    \
  do {                                                                       \
    wal_storage_t storage = *disk_storage(disk);                             \
    storage.function = NULL;                                                 \
    expect_refused(&storage, disk, "storage->" #function " is NULL");        \
  } while (0)
  WITHOUT(make_dir);
  WITHOUT(list);
  WITHOUT(open);
  WITHOUT(close);
  WITHOUT(size);
  WITHOUT(read);
  WITHOUT(write);
  WITHOUT(sync);
  WITHOUT(rename);
  WITHOUT(remove);
  WITHOUT(sync_dir);
  WITHOUT(lock);
  WITHOUT(unlock);
#undef WITHOUT
  wal_storage_t storage = *disk_storage(disk);
  wal_options_t options = segments_of(SEGMENT);
  storage.drop_cache = NULL;
  storage.random = NULL;
  options.storage = &storage;
  wal_t *wal = open_log("log", &options);
  /* The struct is copied. */
  memset(&storage, 0xFF, sizeof storage);
  EQUAL(put(wal, "first"), 1);
  close_log(wal);
  disk_free(disk);
}

static void structs_of_other_sizes_are_refused_or_understood(const char *dir)
{
  (void)dir;
  disk_t *disk = disk_new(1);
  struct {
    wal_storage_t storage;
    unsigned char more[64];
  } larger = {*disk_storage(disk), {0}};
  static const uint32_t sizes[] = {0, 3, 4, 16, sizeof(wal_storage_t) - sizeof(void *), sizeof(wal_storage_t) - 1, 4097, UINT32_MAX};
  for (unsigned at = 0; at < sizeof sizes / sizeof *sizes; at++) {
    larger.storage.struct_size = sizes[at];
    expect_refused(&larger.storage, disk, "storage->struct_size");
  }
  larger.storage.struct_size = sizeof larger;
  larger.more[63] = 1;
  expect_refused(&larger.storage, disk, "does not know");
  larger.more[63] = 0;
  larger.storage.reserved = 1;
  expect_refused(&larger.storage, disk, "reserved");
  larger.storage.reserved = 0;
  wal_options_t options = segments_of(SEGMENT);
  options.storage = &larger.storage;
  options.directory_mode = 0700;
  wal_t *wal = NULL;
  STATUS(WAL_E_INVALID, wal_open("log", &options, &wal, &err));
  MESSAGE_HAS("directory_mode");
  EQUAL(disk_calls(disk), 0);
  options.directory_mode = 0;
  close_log(open_log("log", &options));
  /* A program that knows no storage has none, whatever stands behind its options. */
  options.struct_size = offsetof(wal_options_t, storage);
  CHECK(!exists(path_in(dir, "log")));
  close_log(open_log(path_in(dir, "log"), &options));
  CHECK(exists(path_in(dir, "log")));
  disk_free(disk);
}

static int32_t names_paths(void *context, const char *dir, wal_storage_each_t each, void *names)
{
  (void)context;
  (void)dir;
  each(names, "MANIFEST");
  each(names, "log/0000000001.wal");
  each(names, "0000000002.wal");
  return 0;
}

static int32_t names_nothing(void *context, const char *dir, wal_storage_each_t each, void *names)
{
  (void)context;
  (void)dir;
  each(names, NULL);
  each(NULL, "MANIFEST");
  return 0;
}

static int32_t names_without_end(void *context, const char *dir, wal_storage_each_t each, void *names)
{
  (void)context;
  (void)dir;
  char *name = malloc(256);
  CHECK(name != NULL);
  memset(name, 'n', 256);
  each(names, name);
  free(name);
  return 0;
}

static void names_that_are_none_fail_the_listing(const char *dir)
{
  (void)dir;
  const wal_storage_list_t lists[] = {names_paths, names_nothing, names_without_end};
  for (unsigned at = 0; at < sizeof lists / sizeof *lists; at++) {
    disk_t *disk = disk_new(1);
    wal_storage_t storage = *disk_storage(disk);
    wal_options_t options = segments_of(SEGMENT);
    wal_t *wal = NULL;
    storage.list = lists[at];
    options.storage = &storage;
    STATUS(WAL_E_IO, wal_open("log", &options, &wal, &err));
    EQUAL(err.os_error, EPROTO);
    MESSAGE_HAS("log: ");
    CHECK(wal == NULL);
    disk_free(disk);
  }
}

/* ---- Beside each other ---- */

static void a_second_opening_is_locked_out(const char *dir)
{
  (void)dir;
  disk_t *disk = disk_new(1);
  wal_options_t options = segments_of(SEGMENT), read_only;
  wal_t *wal, *second = NULL, *reader;
  wal_report_t report;
  options.storage = disk_storage(disk);
  read_only = options;
  read_only.open_flags = WAL_OPEN_READ_ONLY;
  STATUS(WAL_E_NOT_FOUND, wal_open("log", &read_only, &second, &err));
  STATUS(WAL_E_NOT_FOUND, wal_inspect("log", &options, 0, &report, sizeof report, &err));
  wal = open_log("log", &options);
  STATUS(WAL_E_LOCKED, wal_open("log", &options, &second, &err));
  EQUAL(err.os_error, EAGAIN);
  MESSAGE_HAS("log/LOCK");
  STATUS(WAL_E_LOCKED, wal_open("log", &read_only, &second, &err));
  STATUS(WAL_E_LOCKED, wal_inspect("log", &options, 0, &report, sizeof report, &err));
  EQUAL(put(wal, "first"), 1);
  close_log(wal);
  reader = open_log("log", &read_only);
  second = open_log("log", &read_only);
  expect_texts(reader, 0, "first", NULL);
  STATUS(WAL_E_LOCKED, wal_open("log", &options, &wal, &err));
  OK(wal_inspect("log", &options, WAL_INSPECT_FULL, &report, sizeof report, &err));
  EQUAL(report.last_seq, 1);
  close_log(second);
  close_log(reader);
  close_log(open_log("log", &options));
  disk_free(disk);
}

static void a_live_reader_follows_and_a_cursor_outlives_the_log(const char *dir)
{
  (void)dir;
  disk_t *disk = disk_new(1);
  wal_options_t options = segments_of(SEGMENT), live_options;
  wal_cursor_t *cursor = NULL, *followed = NULL;
  wal_record_t record;
  options.storage = disk_storage(disk);
  live_options = options;
  live_options.open_flags = WAL_OPEN_READ_ONLY | WAL_OPEN_LIVE;
  wal_t *wal = open_log("log", &options);
  fill_to(wal, 3, 100);
  OK(wal_publish(wal, &err));
  wal_t *reader = open_log("log", &live_options);
  OK(wal_replay_open(reader, 0, 0, &followed, &err));
  EQUAL(drain(followed), 3);
  fill_to(wal, 100, 100); /* Over several segments. */
  OK(wal_publish(wal, &err));
  EQUAL(drain(followed), 97);
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  OK(wal_replay_next(cursor, &record, &err));
  close_log(wal);
  EQUAL(disk_locks(disk), 0);
  STATUS(WAL_E_CLOSED, wal_replay_next(cursor, &record, &err));
  CHECK(disk_open_files(disk) > 0);
  wal_replay_close(cursor);
  close_log(reader);
  wal_replay_close(followed);
  EQUAL(disk_open_files(disk), 0);
  disk_free(disk);
}

typedef struct {
  wal_t *wal;
  wal_cursor_t *cursor;
  const disk_t *disk;
} inherited_t;

static void end_what_was_inherited(void *context)
{
  const inherited_t *inherited = context;
  unsigned calls = disk_calls(inherited->disk), files = disk_open_files(inherited->disk);
  wal_record_t record;
  STATUS(WAL_E_FORKED, wal_append(inherited->wal, WAL_OP_PUT, NULL, 0, "x", 1, NULL, &err));
  STATUS(WAL_E_FORKED, wal_replay_next(inherited->cursor, &record, &err));
  wal_replay_close(inherited->cursor);
  STATUS(WAL_E_FORKED, wal_close(inherited->wal, &err));
  EQUAL(disk_calls(inherited->disk), calls);
  EQUAL(disk_open_files(inherited->disk), files);
  EQUAL(disk_locks(inherited->disk), 1);
}

static void a_child_made_by_fork_calls_nothing(const char *dir)
{
  (void)dir;
  disk_t *disk = disk_new(1);
  wal_options_t options = segments_of(SEGMENT);
  wal_record_t record;
  options.storage = disk_storage(disk);
  inherited_t inherited = {open_log("log", &options), NULL, disk};
  fill_to(inherited.wal, 10, 100);
  OK(wal_replay_open(inherited.wal, 0, 0, &inherited.cursor, &err));
  OK(wal_replay_next(inherited.cursor, &record, &err));
  child_succeeds(end_what_was_inherited, &inherited);
  EQUAL(drain(inherited.cursor), 9);
  wal_replay_close(inherited.cursor);
  close_log(inherited.wal);
  disk_free(disk);
}

typedef struct {
  wal_t *wal;
  unsigned records;
} writer_t;

static void *write_numbers(void *context)
{
  const writer_t *writer = context;
  for (unsigned at = 0; at < writer->records; at++) OK(put_number(writer->wal, at + 1, 200, NULL, &err));
  return NULL;
}

/* With the log's own thread, writers and cursors at once: what a layer must stand. */
static void threads_use_it_at_once(const char *dir)
{
  (void)dir;
  disk_t *disk = disk_new(1);
  wal_options_t options = segments_of(8192);
  options.storage = disk_storage(disk);
  wal_t *wal = open_log("log", &options);
  writer_t writer = {wal, scaled(400)};
  pthread_t threads[4];
  for (int at = 0; at < 4; at++) threads[at] = start(write_numbers, &writer);
  uint64_t n = 0, last = (uint64_t)writer.records * 4, read = 0;
  wal_cursor_t *cursor = NULL;
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  while (read < last) {
    read += drain(cursor);
    if (read < last) OK(wal_replay_wait(cursor, WAL_WAIT_FOREVER, &err));
  }
  for (int at = 0; at < 4; at++) join(threads[at]);
  OK(wal_checkpoint(wal, WAL_SEQ_LAST, &n, &err));
  OK(wal_truncate(wal, n, 0, &err));
  wal_replay_close(cursor);
  close_log(wal);
  printf("%u files open at once\n", disk_most_open(disk));
  CHECK(disk_most_open(disk) <= 7);
  disk_free(disk);
}

/* The same bytes as on the system's files, pins included, which are heeded. */
static void logs_move_between_layers(const char *dir)
{
  const char *here = path_in(dir, "log"), *there = path_in(dir, "back");
  wal_t *wal = open_log(here, NULL);
  wal_pin_t pin;
  size_t count = 0;
  close_log(wal);
  remove_directory(here);
  wal_options_t options = segments_of(SEGMENT);
  wal = open_log(here, &options);
  fill_to(wal, 30, 300);
  OK(wal_pin_create(here, "backup", 10, 0, 0, NULL, &err));
  close_log(wal);

  disk_t *disk = disk_new(1);
  uint64_t n = 0;
  disk_load(disk, here);
  options.storage = disk_storage(disk);
  wal = open_log("log", &options);
  expect_numbers(wal, 0, 1, 30);
  fill_to(wal, 60, 300);
  OK(wal_checkpoint(wal, WAL_SEQ_LAST, &n, &err));
  OK(wal_truncate(wal, n, 0, &err));
  expect_pinned(wal, 10, 11, 60);
  EQUAL(stat_of(wal).pins, 1);
  close_log(wal);
  EQUAL(disk_locks(disk), 0);

  disk_save(disk, there);
  wal = open_log(there, NULL);
  expect_pinned(wal, 10, 11, 60);
  OK(wal_pin_list(there, &pin, 1, &count, &err));
  EQUAL(count, 1);
  close_log(wal);
  disk_free(disk);
}

/* What damage has cut is filled up from its end: no write begins behind it, which disk.c would not have. */
static void a_cut_or_lost_manifest_is_written_from_its_end(const char *dir)
{
  static const long lengths[] = {-1, 0, 1, 4096, 5000, 8191, 8192, 12288};
  for (unsigned at = 0; at < sizeof lengths / sizeof *lengths; at++) {
    char name[16];
    snprintf(name, sizeof name, "log%u", at);
    const char *copy = path_in(dir, name);
    disk_t *disk = disk_new(1);
    wal_options_t options = segments_of(SEGMENT);
    options.storage = disk_storage(disk);
    wal_t *wal = open_log("log", &options);
    fill_to(wal, 30, 300);
    close_log(wal);
    disk_save(disk, copy);
    disk_free(disk);
    const char *manifest = path_in(copy, "MANIFEST");
    if (lengths[at] < 0) {
      CHECK(unlink(manifest) == 0);
    } else {
      CHECK(truncate(manifest, lengths[at]) == 0);
    }
    disk = disk_new(2);
    disk_load(disk, copy);
    options.storage = disk_storage(disk);
    wal_report_t report;
    OK(wal_inspect("log", &options, WAL_INSPECT_FULL, &report, sizeof report, &err));
    CHECK(report.damages > 0);
    /* Without a whole copy only a recovery that was asked for goes on. */
    if (lengths[at] < 4096) {
      STATUS(WAL_E_CORRUPT, wal_open("log", &options, &wal, &err));
      options.recovery = WAL_RECOVER_PREFIX;
    }
    wal = open_log("log", &options);
    expect_numbers(wal, 0, 1, 30);
    fill_to(wal, 60, 300);
    close_log(wal);
    options.recovery = WAL_RECOVER_STRICT;
    wal = open_log("log", &options);
    expect_numbers(wal, 0, 1, 60);
    close_log(wal);
    disk_free(disk);
  }
}

/* A layer whose reads fail in files that have been removed. */
static struct {
  wal_storage_open_t open;
  wal_storage_read_t read;
  void *first;
  bool is_gone;
} vanishing;

static int32_t open_vanishing(void *context, const char *dir, const char *name, uint32_t flags, void **file)
{
  int32_t answer = vanishing.open(context, dir, name, flags, file);
  if (answer == 0 && strcmp(name, "0000000001.wal") == 0) vanishing.first = *file;
  return answer;
}

static int64_t read_vanishing(void *context, void *file, uint64_t offset, void *bytes, size_t len)
{
  return vanishing.is_gone && file == vanishing.first ? -ENOENT : vanishing.read(context, file, offset, bytes, len);
}

static void a_live_reader_whose_file_is_gone_hears_of_a_gap(const char *dir)
{
  (void)dir;
  disk_t *disk = disk_new(1);
  wal_options_t options = segments_of(SEGMENT), live_options;
  wal_storage_t storage = *disk_storage(disk);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  uint64_t n = 0;
  vanishing.open = storage.open;
  vanishing.read = storage.read;
  storage.open = open_vanishing;
  storage.read = read_vanishing;
  options.storage = disk_storage(disk);
  options.recycle_segments = WAL_RECYCLE_NONE;
  live_options = options;
  live_options.storage = &storage;
  live_options.open_flags = WAL_OPEN_READ_ONLY | WAL_OPEN_LIVE;
  wal_t *wal = open_log("log", &options);
  fill_to(wal, 3, 300);
  OK(wal_publish(wal, &err));
  wal_t *reader = open_log("log", &live_options);
  OK(wal_replay_open(reader, 0, 0, &cursor, &err));
  EQUAL(drain(cursor), 3);
  fill_to(wal, 100, 300);
  OK(wal_publish(wal, &err));
  OK(wal_replay_wait(cursor, 0, &err));
  OK(wal_checkpoint(wal, WAL_SEQ_LAST, &n, &err));
  OK(wal_truncate(wal, n, 0, &err));
  CHECK(vanishing.first != NULL);
  vanishing.is_gone = true;
  for (int again = 0; again < 2; again++) {
    STATUS(WAL_E_GAP, wal_replay_next(cursor, &record, &err));
    EQUAL(err.seq, 4);
    EQUAL(err.seq_last, n);
  }
  wal_replay_close(cursor);
  close_log(reader);
  close_log(wal);
  EQUAL(disk_open_files(disk), 0);
  disk_free(disk);
}

const test_t layer_tests[] = {
    TEST(every_function_is_needed_but_two),
    TEST(structs_of_other_sizes_are_refused_or_understood),
    TEST(names_that_are_none_fail_the_listing),
    TEST(a_second_opening_is_locked_out),
    TEST(a_live_reader_follows_and_a_cursor_outlives_the_log),
    TEST(a_child_made_by_fork_calls_nothing),
    TEST(threads_use_it_at_once),
    TEST(logs_move_between_layers),
    TEST(a_cut_or_lost_manifest_is_written_from_its_end),
    TEST(a_live_reader_whose_file_is_gone_hears_of_a_gap),
    NO_MORE_TESTS,
};
