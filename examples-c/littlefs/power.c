/*
 * A log in a littlefs on a flash chip in memory, whose power fails at every program and every erase.
 *
 *     power [STEP]
 *
 * Each time a host lives until the power fails: it appends, appends batches, and has the log forget what it has flushed. The operation that is under way
 * is done in part. Then the file system is mounted again, and everything that was acknowledged must be in the log, in order, each batch whole. With
 * STEP, only every so manyth operation is cut.
 */

#include "wal_littlefs.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096, BLOCKS = 96, UNIT = 16, SEGMENT = 4096, RECORDS = 400, ROUNDS = 4, BATCH = 4 };

#define CHECK(condition, ...)                                          \
  do {                                                                 \
    if (!(condition)) {                                                \
      printf("%s:%d: not so: %s: ", __FILE__, __LINE__, #condition);   \
      printf(__VA_ARGS__);                                             \
      putchar('\n');                                                   \
      exit(1);                                                         \
    }                                                                  \
  } while (0)

static wal_error_t err;

/* ---- The chip ---- */

static struct {
  unsigned char bytes[BLOCKS][BLOCK];
  unsigned long done, cut; /* Programs and erases so far, and the one at which the power fails; 0: none. */
  bool dead;
  unsigned chance;
} chip;

/* Whether an operation is done: up to `part` of its bytes. */
static bool power(size_t len, size_t *part)
{
  *part = len;
  if (chip.dead) return false;
  if (++chip.done != chip.cut) return true;
  chip.dead = true;
  chip.chance = chip.chance * 1103515245 + 12345;
  *part = chip.chance / 65536 % (len + 1);
  return false;
}

static int chip_read(const struct lfs_config *config, lfs_block_t block, lfs_off_t offset, void *bytes, lfs_size_t len)
{
  (void)config;
  if (chip.dead) return LFS_ERR_IO;
  memcpy(bytes, chip.bytes[block] + offset, len);
  return 0;
}

static int chip_program(const struct lfs_config *config, lfs_block_t block, lfs_off_t offset, const void *bytes, lfs_size_t len)
{
  (void)config;
  size_t part;
  bool dead = chip.dead, done = power(len, &part);
  if (!dead) memcpy(chip.bytes[block] + offset, bytes, part);
  return done ? 0 : LFS_ERR_IO;
}

static int chip_erase(const struct lfs_config *config, lfs_block_t block)
{
  (void)config;
  size_t part;
  bool dead = chip.dead, done = power(BLOCK, &part);
  if (!dead) memset(chip.bytes[block], 0xFF, part);
  return done ? 0 : LFS_ERR_IO;
}

static int chip_sync(const struct lfs_config *config)
{
  (void)config;
  return chip.dead ? LFS_ERR_IO : 0;
}

static const struct lfs_config config = {
    .read = chip_read,
    .prog = chip_program,
    .erase = chip_erase,
    .sync = chip_sync,
    .read_size = UNIT,
    .prog_size = UNIT,
    .block_size = BLOCK,
    .block_count = BLOCKS,
    .block_cycles = 100,
    .cache_size = 512,
    .lookahead_size = 16,
};

/* ---- The host ---- */

enum { NOT_THERE, IN_DOUBT, DURABLE };

static struct {
  struct {
    int standing;
    uint64_t seq;
    unsigned batch; /* Records of one batch have the same number here. */
    bool seen;
  } records[RECORDS];
  unsigned count, batches;
  uint64_t store_n; /* What its store holds. */
} host;

static size_t value_of(unsigned number, unsigned char value[512])
{
  size_t len = number * 37 % 512;
  memset(value, (int)number, len);
  return len;
}

static unsigned begin(unsigned count)
{
  unsigned first = host.count;
  CHECK(first + count <= RECORDS, "too many records");
  host.batches++;
  for (; host.count < first + count; host.count++) {
    host.records[host.count].standing = IN_DOUBT;
    host.records[host.count].batch = host.batches;
  }
  return first;
}

static bool append(wal_t *wal, unsigned count)
{
  unsigned char values[BATCH][512];
  wal_entry_t entries[BATCH];
  unsigned numbers[BATCH], first = begin(count);
  uint64_t last = 0;
  for (unsigned at = 0; at < count; at++) {
    numbers[at] = first + at;
    size_t len = value_of(first + at, values[at]);
    entries[at] = (wal_entry_t){&numbers[at], values[at], sizeof numbers[at], len, WAL_OP_PUT, 0};
  }
  if (wal_append_batch(wal, entries, count, 0, &last, &err) != WAL_OK) return false;
  for (unsigned at = 0; at < count; at++) {
    host.records[first + at].standing = DURABLE;
    host.records[first + at].seq = last - (count - 1 - at);
  }
  return true;
}

static bool replay(wal_t *wal)
{
  wal_cursor_t *cursor;
  wal_record_t record;
  wal_status_t status;
  unsigned char value[512];
  uint64_t before = host.store_n;
  for (unsigned at = 0; at < host.count; at++) host.records[at].seen = false;
  if (wal_replay_open(wal, host.store_n, 0, &cursor, &err) != WAL_OK) return false;
  while ((status = wal_replay_next(cursor, &record, &err)) == WAL_OK) {
    unsigned number;
    memcpy(&number, record.key, sizeof number);
    CHECK(record.seq > before && number < host.count && !host.records[number].seen, "seq %llu", (unsigned long long)record.seq);
    CHECK(record.value_len == value_of(number, value) && memcmp(record.value, value, record.value_len) == 0, "record %u", number);
    CHECK(host.records[number].standing != NOT_THERE, "record %u was lost before", number);
    host.records[number].seen = true;
    host.records[number].seq = before = record.seq;
  }
  wal_replay_close(cursor);
  if (status != WAL_END) return false;
  for (unsigned at = 0; at < host.count; at++) {
    bool wanted = host.records[at].standing == DURABLE && host.records[at].seq > host.store_n;
    CHECK(host.records[at].seen || !wanted, "record %u was acknowledged and is lost", at);
    CHECK(at == 0 || host.records[at].batch != host.records[at - 1].batch || host.records[at].seen == host.records[at - 1].seen,
          "the batch of record %u is torn", at);
  }
  return true;
}

static wal_status_t open_log(wal_littlefs_t *layer, wal_t **wal)
{
  wal_options_t options;
  wal_options_init(&options, sizeof options);
  options.storage = wal_littlefs_storage(layer);
  options.segment_size = SEGMENT;
  options.recycle_segments = 2;
  options.option_flags = WAL_OPTION_NO_THREAD;
  options.store_seq = host.store_n > 0 ? host.store_n : WAL_STORE_EMPTY;
  return wal_open("log", &options, wal, &err);
}

/* Until the power fails, or to the end. */
static void live(void)
{
  lfs_t lfs;
  wal_t *wal = NULL;
  if (lfs_mount(&lfs, &config) != 0) return;
  wal_littlefs_t *layer = wal_littlefs_new(&lfs);
  bool on = open_log(layer, &wal) == WAL_OK && replay(wal);
  for (int round = 0; on && round < ROUNDS; round++) {
    uint64_t n = 0;
    for (int at = 0; on && at < 4; at++) on = append(wal, 1) && append(wal, BATCH);
    on = on && wal_checkpoint(wal, WAL_SEQ_LAST, &n, &err) == WAL_OK;
    if (on) host.store_n = n;
    on = on && wal_truncate(wal, n, 0, &err) == WAL_OK && append(wal, 1);
  }
  if (wal != NULL) on = wal_close(wal, &err) == WAL_OK && on;
  CHECK(on || chip.dead, "the log failed without a power cut: %s", err.message);
  wal_littlefs_free(layer);
  lfs_unmount(&lfs);
}

/* What is in the log after a power cut, settles what was in doubt. Appends go on, and a second opening finds the same. */
static void judge(void)
{
  lfs_t lfs;
  CHECK(lfs_mount(&lfs, &config) == 0, "littlefs does not mount");
  wal_littlefs_t *layer = wal_littlefs_new(&lfs);
  for (int time = 0; time < 2; time++) {
    wal_t *wal = NULL;
    CHECK(open_log(layer, &wal) == WAL_OK, "%s", err.message);
    CHECK(replay(wal), "%s", err.message);
    for (unsigned at = 0; at < host.count; at++) {
      if (host.records[at].standing == IN_DOUBT) host.records[at].standing = host.records[at].seen ? DURABLE : NOT_THERE;
    }
    CHECK(append(wal, BATCH), "%s", err.message);
    CHECK(wal_close(wal, &err) == WAL_OK, "%s", err.message);
  }
  wal_littlefs_free(layer);
  CHECK(lfs_unmount(&lfs) == 0, "littlefs does not unmount");
}

int main(int count, char **arguments)
{
  unsigned long step = count > 1 ? strtoul(arguments[1], NULL, 10) : 1, cuts = 0, acknowledged = 0;
  bool dead = true;
  CHECK(step > 0, "a step of 0 leads nowhere");
  for (unsigned long at = 1; dead; at += step) {
    lfs_t lfs;
    memset(&host, 0, sizeof host);
    memset(chip.bytes, 0xFF, sizeof chip.bytes);
    chip.done = chip.cut = 0;
    chip.dead = false;
    CHECK(lfs_format(&lfs, &config) == 0, "littlefs does not format");
    chip.done = 0;
    chip.cut = at;
    live();
    dead = chip.dead;
    cuts += dead;
    /* The power comes back, and fails again in one recovery of three. */
    chip.dead = false;
    if (dead && at / step % 3 == 0) {
      chip.done = 0;
      chip.cut = 1 + at * 7 % 60;
      live();
      cuts += chip.dead;
      chip.dead = false;
    }
    chip.cut = 0;
    judge();
    for (unsigned record = 0; record < host.count; record++) acknowledged += host.records[record].standing == DURABLE;
  }
  CHECK(cuts > 100 / step, "only %lu power cuts", cuts);
  printf("littlefs: %lu power cuts, %lu acknowledged records, none lost\n", cuts, acknowledged);
  return 0;
}
