/* Every exported function meets what no program should pass: NULL, absurd lengths, unknown constants, structs of other sizes. */

#include "harness.h"

static void no_handle_is_an_error_and_not_a_crash(const char *dir)
{
  uint64_t number = 99;
  uint8_t id[16];
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  wal_stat_t stat;
  wal_report_t report;
  const wal_entry_t entry = {NULL, "v", 0, 1, WAL_OP_PUT, 0};
  (void)dir;
  STATUS(WAL_E_INVALID, wal_append(NULL, WAL_OP_PUT, NULL, 0, "v", 1, &number, &err));
  STATUS(WAL_E_INVALID, wal_append_batch(NULL, &entry, 1, 0, &number, &err));
  STATUS(WAL_E_INVALID, wal_sync(NULL, WAL_SEQ_LAST, &err));
  STATUS(WAL_E_INVALID, wal_flush(NULL, &err));
  STATUS(WAL_E_INVALID, wal_wait_durable(NULL, 1, 0, &err));
  STATUS(WAL_E_INVALID, wal_checkpoint(NULL, 0, &number, &err));
  STATUS(WAL_E_INVALID, wal_truncate(NULL, 0, 0, &err));
  STATUS(WAL_E_INVALID, wal_replay_open(NULL, 0, 0, &cursor, &err));
  STATUS(WAL_E_INVALID, wal_replay_next(NULL, &record, &err));
  STATUS(WAL_E_INVALID, wal_replay_wait(NULL, 0, &err));
  STATUS(WAL_E_INVALID, wal_stat(NULL, &stat, sizeof stat, &err));
  STATUS(WAL_E_INVALID, wal_report(NULL, &report, sizeof report, &err));
  STATUS(WAL_E_INVALID, wal_shutdown(NULL, &err));
  STATUS(WAL_E_INVALID, wal_close(NULL, &err));
  CHECK(wal_close(NULL, NULL) == WAL_E_INVALID);
  EQUAL(number, 99);
  EQUAL(wal_last_seq(NULL), 0);
  EQUAL(wal_durable_seq(NULL), 0);
  EQUAL(wal_checkpoint_seq(NULL), 0);
  EQUAL(wal_oldest_seq(NULL), 0);
  memset(id, 0xFF, sizeof id);
  wal_log_id(NULL, id);
  for (int at = 0; at < 16; at++) EQUAL(id[at], 0);
  wal_log_id(NULL, NULL);
  wal_replay_close(NULL);
  wal_options_init(NULL, sizeof(wal_options_t));
}

static void no_place_for_a_result_is_an_error_where_it_is_needed(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = NULL;
  wal_cursor_t *cursor = NULL;
  wal_report_t report;
  STATUS(WAL_E_INVALID, wal_open(NULL, NULL, &wal, &err));
  STATUS(WAL_E_INVALID, wal_open("", NULL, &wal, &err));
  STATUS(WAL_E_INVALID, wal_open(log, NULL, NULL, &err));
  CHECK(wal_open(NULL, NULL, NULL, NULL) == WAL_E_INVALID);
  CHECK(!exists(log));
  STATUS(WAL_E_INVALID, wal_inspect(NULL, NULL, 0, &report, sizeof report, &err));
  STATUS(WAL_E_INVALID, wal_inspect("", NULL, 0, &report, sizeof report, &err));
  wal = open_log(log, NULL);
  STATUS(WAL_E_INVALID, wal_inspect(log, NULL, 0, NULL, sizeof report, &err));
  STATUS(WAL_E_INVALID, wal_append(wal, WAL_OP_PUT, NULL, 1, "v", 1, NULL, &err));
  STATUS(WAL_E_INVALID, wal_append(wal, WAL_OP_PUT, "k", 1, NULL, 1, NULL, &err));
  STATUS(WAL_E_INVALID, wal_append_batch(wal, NULL, 1, 0, NULL, &err));
  STATUS(WAL_E_INVALID, wal_append_batch(wal, NULL, 0, 0, NULL, &err));
  STATUS(WAL_E_INVALID, wal_checkpoint(wal, 0, NULL, &err));
  STATUS(WAL_E_INVALID, wal_replay_open(wal, 0, 0, NULL, &err));
  STATUS(WAL_E_INVALID, wal_stat(wal, NULL, sizeof(wal_stat_t), &err));
  STATUS(WAL_E_INVALID, wal_report(wal, NULL, sizeof report, &err));
  wal_log_id(wal, NULL);
  EQUAL(wal_last_seq(wal), 0);
  /* Where it is not needed, NULL is fine; so is NULL with length 0. */
  OK(wal_append(wal, WAL_OP_PUT, NULL, 0, NULL, 0, NULL, &err));
  CHECK(wal_append(wal, WAL_OP_PUT, "k", 0, "v", 0, NULL, NULL) == WAL_OK);
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  STATUS(WAL_E_INVALID, wal_replay_next(cursor, NULL, &err));
  EQUAL(drain(cursor), 2);
  wal_replay_close(cursor);
  /* Without a place for the error, the status says it all. */
  CHECK(wal_append(wal, 0, NULL, 0, NULL, 0, NULL, NULL) == WAL_E_INVALID);
  CHECK(wal_sync(wal, 9, NULL) == WAL_E_RANGE);
  CHECK(wal_truncate(wal, 2, 0, NULL) == WAL_E_NOT_CHECKPOINTED);
  CHECK(wal_close(wal, NULL) == WAL_OK);
}

static void absurd_lengths_are_refused_before_anything_is_read(const char *dir)
{
  const size_t lengths[] = {
      SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2, (size_t)PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, (size_t)UINT32_MAX, (size_t)1 << 31, (size_t)1 << 30,
#if SIZE_MAX > UINT32_MAX
      (size_t)1 << 40, (size_t)1 << 32,
#endif
  };
  enum { LENGTHS = sizeof lengths / sizeof *lengths };
  wal_t *wal = open_log(path_in(dir, "log"), NULL);
  uint64_t seq = 99;
  for (int at = 0; at < LENGTHS; at++) {
    size_t len = lengths[at];
    STATUS(WAL_E_TOO_LARGE, wal_append(wal, WAL_OP_PUT, "k", len, "v", 1, &seq, &err));
    STATUS(WAL_E_TOO_LARGE, wal_append(wal, WAL_OP_PUT, "k", 1, "v", len, &seq, &err));
    STATUS(WAL_E_TOO_LARGE, wal_append(wal, WAL_OP_PUT, "k", len, "v", len, &seq, &err));
    /* The sum overflows to something small. */
    STATUS(WAL_E_TOO_LARGE, wal_append(wal, WAL_OP_PUT, "k", len, "v", SIZE_MAX - len + 2, &seq, &err));
    STATUS(WAL_E_TOO_LARGE, wal_append(wal, WAL_OP_PUT, NULL, len, NULL, len, &seq, &err));
    wal_entry_t entries[2] = {{"k", "v", 1, len, WAL_OP_PUT, 0}, {"k", "v", 1, SIZE_MAX - len, WAL_OP_PUT, 0}};
    STATUS(WAL_E_TOO_LARGE, wal_append_batch(wal, entries, 2, 0, &seq, &err));
    entries[0].value_len = 1;
    entries[1] = (wal_entry_t){"k", "v", len, SIZE_MAX - len + 2, WAL_OP_PUT, 0};
    STATUS(WAL_E_TOO_LARGE, wal_append_batch(wal, entries, 2, 0, &seq, &err));
    /* So many entries that their table overflows, too. */
    STATUS(WAL_E_TOO_LARGE, wal_append_batch(wal, entries, len, 0, &seq, &err));
    STATUS(WAL_E_TOO_LARGE, wal_append_batch(wal, NULL, len, 0, &seq, &err));
  }
  STATUS(WAL_E_TOO_LARGE, wal_append_batch(wal, NULL, SIZE_MAX / sizeof(wal_entry_t) + 2, 0, &seq, &err));
  EQUAL(seq, 99);
  EQUAL(wal_last_seq(wal), 0);
  EQUAL(put(wal, "first"), 1);
  close_log(wal);
}

static bool is_little_endian(void)
{
  const uint32_t one = 1;
  return *(const unsigned char *)&one == 1;
}

static void unknown_constants_are_refused(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = NULL;
  wal_cursor_t *cursor = NULL;
  wal_report_t report;
  struct {
    size_t offset;
    uint32_t value;
  } wrong[] = {
      {offsetof(wal_options_t, sync_mode), 4},         {offsetof(wal_options_t, sync_mode), UINT32_MAX},
      {offsetof(wal_options_t, recovery), 2},          {offsetof(wal_options_t, recovery), UINT32_MAX},
      {offsetof(wal_options_t, open_flags), 8},        {offsetof(wal_options_t, open_flags), UINT32_MAX},
      {offsetof(wal_options_t, option_flags), 4},      {offsetof(wal_options_t, option_flags), UINT32_MAX},
      {offsetof(wal_options_t, directory_mode), 1},    {offsetof(wal_options_t, directory_mode), UINT32_MAX},
      {offsetof(wal_options_t, file_mode), 1},         {offsetof(wal_options_t, file_mode), UINT32_MAX},
      {offsetof(wal_options_t, reserved), 1},          {offsetof(wal_options_t, reserved) + 52, 1},
      {offsetof(wal_options_t, store_seq) + (is_little_endian() ? 4 : 0), 1u << 30},
  };
  for (size_t at = 0; at < sizeof wrong / sizeof *wrong; at++) {
    wal_options_t options = defaults();
    memcpy((char *)&options + wrong[at].offset, &wrong[at].value, sizeof wrong[at].value);
    STATUS(WAL_E_INVALID, wal_open(log, &options, &wal, &err));
    STATUS(WAL_E_INVALID, wal_inspect(log, &options, 0, &report, sizeof report, &err));
    CHECK(wal == NULL && !exists(log));
  }
  wal = open_log(log, NULL);
  put(wal, "x");
  for (uint32_t bit = 1; bit != 0; bit <<= 1) {
    const wal_entry_t entry = {NULL, "v", 0, 1, WAL_OP_PUT, 0};
    if (bit > 2) STATUS(WAL_E_INVALID, wal_append_batch(wal, &entry, 1, bit, NULL, &err));
    if (bit > 1) STATUS(WAL_E_INVALID, wal_truncate(wal, 1, bit, &err));
    if (bit > 1) STATUS(WAL_E_INVALID, wal_truncate(wal, 1, bit | WAL_TRUNCATE_UNCHECKED, &err));
    if (bit > 8) STATUS(WAL_E_INVALID, wal_replay_open(wal, 0, bit, &cursor, &err));
    if (bit > 1) STATUS(WAL_E_INVALID, wal_inspect(log, NULL, bit, &report, sizeof report, &err));
  }
  EQUAL(wal_oldest_seq(wal), 1);
  EQUAL(wal_last_seq(wal), 1);
  CHECK(cursor == NULL);
  close_log(wal);
}

static void reserved_members_must_be_0(const char *dir)
{
  wal_t *wal = open_log(path_in(dir, "log"), NULL);
  for (uint32_t bit = 1; bit != 0; bit <<= 1) {
    wal_entry_t entries[2] = {{NULL, "v", 0, 1, WAL_OP_PUT, 0}, {NULL, "v", 0, 1, WAL_OP_PUT, bit}};
    STATUS(WAL_E_INVALID, wal_append_batch(wal, entries, 2, 0, NULL, &err));
    EQUAL(err.offset, 1);
  }
  EQUAL(wal_last_seq(wal), 0);
  close_log(wal);
  for (int at = 0; at < 7; at++) {
    wal_options_t options = defaults();
    options.reserved[at] = (uint64_t)1 << (9 * at);
    STATUS(WAL_E_INVALID, wal_open(path_in(dir, "log"), &options, &wal, &err));
  }
}

static void options_of_other_sizes_are_understood(const char *dir)
{
  wal_t *wal = NULL;
  wal_stat_t stat;
  /* From a program that knows only the first members. Memory of exactly that size: what lies behind is not read. */
  for (uint32_t size = 4; size <= sizeof(wal_options_t); size += 4) {
    char name[16];
    snprintf(name, sizeof name, "short%u", size);
    wal_options_t filled = segments_of(4096);
    filled.struct_size = size;
    filled.option_flags = WAL_OPTION_NO_THREAD;
    void *options = malloc(size);
    CHECK(options != NULL);
    memcpy(options, &filled, size);
    OK(wal_open(path_in(dir, name), options, &wal, &err));
    free(options);
    OK(wal_stat(wal, &stat, sizeof stat, &err));
    /* Half of a number is the half that stands in front. */
    EQUAL(stat.segment_size, size >= (is_little_endian() ? 12 : 16) ? 4096 : 16 << 20);
    close_log(wal);
  }
  /* From a program that knows more than the library, and asks for none of it, or for some of it. */
  unsigned char longer[sizeof(wal_options_t) + 64] = {0};
  wal_options_init((wal_options_t *)(void *)longer, sizeof longer);
  OK(wal_open(path_in(dir, "long"), (wal_options_t *)(void *)longer, &wal, &err));
  close_log(wal);
  for (size_t at = sizeof(wal_options_t); at < sizeof longer; at += 9) {
    longer[at] = 1;
    STATUS(WAL_E_INVALID, wal_open(path_in(dir, "long"), (wal_options_t *)(void *)longer, &wal, &err));
    longer[at] = 0;
  }
  /* From a program that forgot wal_options_init. */
  const uint32_t sizes[] = {0, 1, 3, 1u << 20, UINT32_MAX};
  for (int at = 0; at < 5; at++) {
    wal_options_t options = defaults();
    options.struct_size = sizes[at];
    STATUS(WAL_E_INVALID, wal_open(path_in(dir, "none"), &options, &wal, &err));
    MESSAGE_HAS("struct_size");
  }
  CHECK(!exists(path_in(dir, "none")));
}

static void options_init_writes_what_it_is_given_and_no_more(const char *dir)
{
  (void)dir;
  for (size_t size = 0; size <= 200; size++) {
    unsigned char bytes[256];
    uint32_t written = 0;
    memset(bytes, 0xEE, sizeof bytes);
    wal_options_init((wal_options_t *)(void *)bytes, size);
    memcpy(&written, bytes, sizeof written);
    if (size >= 4) EQUAL(written, size);
    for (size_t at = size >= 4 ? 4 : 0; at < sizeof bytes; at++) EQUAL(bytes[at], size >= 4 && at < size ? 0 : 0xEE);
  }
}

static void structs_that_grow_are_written_up_to_the_callers_size(const char *dir)
{
  const char *log = path_in(dir, "log");
  /* Without the thread that prepares spares, which a stat would count between two looks. */
  wal_options_t options = defaults();
  options.option_flags = WAL_OPTION_NO_THREAD;
  wal_t *wal = open_log(log, &options);
  wal_stat_t stat;
  wal_report_t report;
  unsigned char bytes[512];
  put(wal, "x");
  OK(wal_stat(wal, &stat, sizeof stat, &err));
  OK(wal_report(wal, &report, sizeof report, &err));
  for (size_t size = 1; size <= 300; size++) {
    memset(bytes, 0xEE, sizeof bytes);
    OK(wal_stat(wal, (wal_stat_t *)(void *)bytes, size, &err));
    size_t known = size < sizeof stat ? size : sizeof stat;
    CHECK(memcmp(bytes, &stat, known) == 0);
    for (size_t at = known; at < sizeof bytes; at++) EQUAL(bytes[at], at < size ? 0 : 0xEE);
    memset(bytes, 0xEE, sizeof bytes);
    OK(wal_report(wal, (wal_report_t *)(void *)bytes, size, &err));
    known = size < sizeof report ? size : sizeof report;
    CHECK(memcmp(bytes, &report, known) == 0);
    for (size_t at = known; at < sizeof bytes; at++) EQUAL(bytes[at], at < size ? 0 : 0xEE);
  }
  STATUS(WAL_E_INVALID, wal_stat(wal, &stat, 0, &err));
  STATUS(WAL_E_INVALID, wal_stat(wal, &stat, SIZE_MAX, &err));
  STATUS(WAL_E_INVALID, wal_report(wal, &report, 0, &err));
  STATUS(WAL_E_INVALID, wal_report(wal, &report, SIZE_MAX, &err));
  close_log(wal);
  STATUS(WAL_E_INVALID, wal_inspect(log, NULL, 0, &report, 0, &err));
  STATUS(WAL_E_INVALID, wal_inspect(log, NULL, 0, &report, SIZE_MAX, &err));
  memset(bytes, 0xEE, sizeof bytes);
  OK(wal_inspect(log, NULL, 0, (wal_report_t *)(void *)bytes, 16, &err));
  uint64_t last_seq = 0;
  memcpy(&last_seq, bytes + 8, sizeof last_seq);
  EQUAL(last_seq, 1);
  EQUAL(bytes[16], 0xEE);
}

static void a_path_that_is_too_long_is_an_error(const char *dir)
{
  static char path[10000];
  wal_t *wal = NULL;
  int len = snprintf(path, sizeof path, "%s/", dir);
  memset(path + len, 'x', sizeof path - 1 - (size_t)len);
  err_clear();
  CHECK(wal_open(path, NULL, &wal, &err) < 0);
  CHECK(wal == NULL && err.message[0] != 0 && memchr(err.message, 0, sizeof err.message) != NULL);
  path[len + 250] = 0;
  close_log(open_log(path, NULL));
  memmove(path + len + 300, path + len, 1);
  path[len + 250] = 'x';
  path[len + 300] = 0;
  err_clear();
  CHECK(wal_open(path, NULL, &wal, &err) < 0);
  EQUAL(err.os_error, ENAMETOOLONG);
}

static void every_status_has_a_name_and_a_sentence(const char *dir)
{
  (void)dir;
  static const struct {
    wal_status_t code;
    const char *name;
  } statuses[] = {
      {WAL_OK, "WAL_OK"},
      {WAL_END, "WAL_END"},
      {WAL_TIMEOUT, "WAL_TIMEOUT"},
      {WAL_E_INVALID, "WAL_E_INVALID"},
      {WAL_E_TOO_LARGE, "WAL_E_TOO_LARGE"},
      {WAL_E_RANGE, "WAL_E_RANGE"},
      {WAL_E_NOT_CHECKPOINTED, "WAL_E_NOT_CHECKPOINTED"},
      {WAL_E_GAP, "WAL_E_GAP"},
      {WAL_E_WRONG_LOG, "WAL_E_WRONG_LOG"},
      {WAL_E_LOCKED, "WAL_E_LOCKED"},
      {WAL_E_NOT_FOUND, "WAL_E_NOT_FOUND"},
      {WAL_E_EXISTS, "WAL_E_EXISTS"},
      {WAL_E_CORRUPT, "WAL_E_CORRUPT"},
      {WAL_E_FORMAT, "WAL_E_FORMAT"},
      {WAL_E_IO, "WAL_E_IO"},
      {WAL_E_NO_SPACE, "WAL_E_NO_SPACE"},
      {WAL_E_NO_MEMORY, "WAL_E_NO_MEMORY"},
      {WAL_E_READ_ONLY, "WAL_E_READ_ONLY"},
      {WAL_E_FAILED, "WAL_E_FAILED"},
      {WAL_E_CLOSED, "WAL_E_CLOSED"},
      {WAL_E_FORKED, "WAL_E_FORKED"},
      {WAL_E_PANIC, "WAL_E_PANIC"},
      {WAL_E_MISUSE, "WAL_E_MISUSE"},
      {WAL_E_NO_ROOM, "WAL_E_NO_ROOM"},
  };
  for (size_t at = 0; at < sizeof statuses / sizeof *statuses; at++) {
    CHECK(strcmp(wal_status_name(statuses[at].code), statuses[at].name) == 0);
    CHECK(strlen(wal_strerror(statuses[at].code)) > 2);
  }
  const wal_status_t unknown[] = {3, -22, 1000, -1000, INT32_MAX, INT32_MIN};
  for (int at = 0; at < 6; at++) {
    CHECK(strcmp(wal_status_name(unknown[at]), "WAL_E_?") == 0);
    CHECK(strlen(wal_strerror(unknown[at])) > 5);
  }
  EQUAL(wal_version_number(), WAL_VERSION_NUMBER);
  CHECK(strcmp(wal_version_string(), WAL_VERSION_STRING) == 0);
  EQUAL(wal_abi_version(), WAL_ABI_VERSION);
  EQUAL(wal_format_version(), WAL_FORMAT_VERSION);
}

static void structs_have_the_sizes_that_never_change(const char *dir)
{
  (void)dir;
  EQUAL(sizeof(wal_error_t), 320);
  EQUAL(offsetof(wal_error_t, message), 48);
  EQUAL(sizeof(wal_entry_t), 4 * sizeof(size_t) + 8);
  EQUAL(sizeof(wal_record_t), 16 + 4 * sizeof(size_t) + 16);
  EQUAL(offsetof(wal_options_t, log_callback), 128);
  EQUAL(offsetof(wal_options_t, struct_size), 0);
}

const test_t argument_tests[] = {
    TEST(no_handle_is_an_error_and_not_a_crash),
    TEST(no_place_for_a_result_is_an_error_where_it_is_needed),
    TEST(absurd_lengths_are_refused_before_anything_is_read),
    TEST(unknown_constants_are_refused),
    TEST(reserved_members_must_be_0),
    TEST(options_of_other_sizes_are_understood),
    TEST(options_init_writes_what_it_is_given_and_no_more),
    TEST(structs_that_grow_are_written_up_to_the_callers_size),
    TEST(a_path_that_is_too_long_is_an_error),
    TEST(every_status_has_a_name_and_a_sentence),
    TEST(structs_have_the_sizes_that_never_change),
    NO_MORE_TESTS,
};
