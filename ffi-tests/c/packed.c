/* Many records in one call: flat memory in, flat memory out. */

#include "harness.h"

enum { MOST_RECORDS = 40, MOST_BYTES = 6000 };

/* A batch in memory of exactly its size, at any address, so that whoever reads beyond it is caught. */
typedef struct {
  wal_packed_entry_t entries[MOST_RECORDS];
  unsigned char bytes[MOST_BYTES];
  size_t count, bytes_len;
} packed_t;

static uint64_t random_state;

static uint64_t random_below(uint64_t limit)
{
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state % limit;
}

static unsigned char byte_of(uint64_t seq, size_t at)
{
  return (unsigned char)(seq * 31 + at * 7 + (at >> 8));
}

/* Adds a record whose bytes follow from its seq. */
static void pack(packed_t *packed, uint64_t seq, uint32_t op, uint32_t key_len, uint32_t value_len)
{
  CHECK(packed->count < MOST_RECORDS && packed->bytes_len + key_len + value_len <= MOST_BYTES);
  packed->entries[packed->count++] = (wal_packed_entry_t){key_len, value_len, op};
  for (size_t at = 0; at < key_len + value_len; at++) packed->bytes[packed->bytes_len++] = byte_of(seq, at);
}

static wal_status_t append(wal_t *wal, const packed_t *packed, uint32_t flags, uint64_t *last)
{
  size_t entries_len = packed->count * sizeof *packed->entries, shift = random_below(8);
  unsigned char *entries = malloc(shift + entries_len + 1), *bytes = malloc(shift + packed->bytes_len + 1);
  CHECK(entries != NULL && bytes != NULL);
  memcpy(entries + shift + 1, packed->entries, entries_len);
  memcpy(bytes + shift + 1, packed->bytes, packed->bytes_len);
  wal_status_t status = wal_append_packed(wal, (const wal_packed_entry_t *)(const void *)(entries + shift + 1), packed->count,
                                          bytes + shift + 1, packed->bytes_len, flags, last, &err);
  free(entries);
  free(bytes);
  return status;
}

static void expect_bytes(const unsigned char *bytes, size_t len, uint64_t seq, size_t from)
{
  for (size_t at = 0; at < len; at++) EQUAL(bytes[at], byte_of(seq, from + at));
}

static void expect_record(const wal_record_t *record, uint64_t seq, uint64_t batch_last, const wal_packed_entry_t *entry)
{
  EQUAL(record->seq, seq);
  EQUAL(record->batch_last_seq, batch_last);
  EQUAL(record->op, entry->op);
  EQUAL(record->key_len, entry->key_len);
  EQUAL(record->value_len, entry->value_len);
  expect_bytes(record->key, record->key_len, seq, 0);
  expect_bytes(record->value, record->value_len, seq, record->key_len);
}

static void a_packed_batch_is_a_batch(const char *dir)
{
  wal_t *packed_log = open_log(path_in(dir, "packed"), NULL), *plain_log = open_log(path_in(dir, "plain"), NULL);
  packed_t packed = {.count = 0};
  wal_entry_t entries[MOST_RECORDS];
  wal_stat_t stat, plain_stat;
  uint64_t last = 0;
  random_state = 1;
  for (unsigned at = 0; at < MOST_RECORDS; at++) {
    size_t start = packed.bytes_len;
    pack(&packed, at + 2, at % 3 ? WAL_OP_PUT : 255 - at, at % 5 * 7, at % 7 * 20);
    const wal_packed_entry_t *entry = &packed.entries[at];
    entries[at] = (wal_entry_t){packed.bytes + start, packed.bytes + start + entry->key_len, entry->key_len, entry->value_len, entry->op, 0};
  }
  EQUAL(put(packed_log, "first"), 1);
  EQUAL(put(plain_log, "first"), 1);
  OK(append(packed_log, &packed, 0, &last));
  EQUAL(last, MOST_RECORDS + 1);
  OK(wal_append_batch(plain_log, entries, MOST_RECORDS, 0, &last, &err));
  OK(wal_stat(packed_log, &stat, sizeof stat, &err));
  OK(wal_stat(plain_log, &plain_stat, sizeof plain_stat, &err));
  EQUAL(stat.appended_bytes, plain_stat.appended_bytes);
  EQUAL(stat.records, MOST_RECORDS + 1);
  EQUAL(stat.durable_seq, MOST_RECORDS + 1);
  EQUAL(put(packed_log, "last"), MOST_RECORDS + 2);
  close_log(packed_log);
  close_log(plain_log);
  /* Keys and values stand one behind the other on disk, too. */
  place_t in_packed = find_bytes(path_in(dir, "packed"), packed.bytes, packed.bytes_len);
  place_t in_plain = find_bytes(path_in(dir, "plain"), packed.bytes, packed.bytes_len);
  EQUAL(in_packed.offset, in_plain.offset);
  packed_log = open_log(path_in(dir, "packed"), NULL);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  OK(wal_replay_open(packed_log, 1, 0, &cursor, &err));
  for (unsigned at = 0; at < MOST_RECORDS; at++) {
    OK(wal_replay_next(cursor, &record, &err));
    expect_record(&record, at + 2, MOST_RECORDS + 1, &packed.entries[at]);
  }
  EQUAL(drain(cursor), 1);
  wal_replay_close(cursor);
  close_log(packed_log);
}

static void packed_flags_overrule_the_mode(const char *dir)
{
  wal_options_t options = defaults();
  packed_t packed = {.count = 0};
  random_state = 2;
  pack(&packed, 1, WAL_OP_PUT, 3, 4);
  options.sync_mode = WAL_SYNC_NONE;
  wal_t *wal = open_log(path_in(dir, "none"), &options);
  OK(append(wal, &packed, 0, NULL));
  EQUAL(wal_durable_seq(wal), 0);
  OK(append(wal, &packed, WAL_APPEND_SYNC, NULL));
  EQUAL(wal_durable_seq(wal), 2);
  close_log(wal);
  wal = open_log(path_in(dir, "always"), NULL);
  OK(append(wal, &packed, WAL_APPEND_ASYNC, NULL));
  EQUAL(wal_durable_seq(wal), 0);
  STATUS(WAL_E_INVALID, append(wal, &packed, WAL_APPEND_SYNC | WAL_APPEND_ASYNC, NULL));
  for (uint32_t bit = 4; bit != 0; bit <<= 1) STATUS(WAL_E_INVALID, append(wal, &packed, bit, NULL));
  EQUAL(wal_last_seq(wal), 1);
  close_log(wal);
}

static void the_largest_packed_batch_fits_and_a_byte_more_is_refused(const char *dir)
{
  wal_options_t options = segments_of(4096);
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  const uint32_t most = 4096 - 512 - 4;
  random_state = 3;
  for (uint32_t count = 1; count <= MOST_RECORDS; count++) {
    packed_t packed = {.count = 0};
    uint64_t last = wal_last_seq(wal), got = 77;
    for (uint32_t at = 0; at + 1 < count; at++) pack(&packed, last + at + 1, WAL_OP_PUT, 1, at % 2);
    pack(&packed, last + count, WAL_OP_PUT, 0, most - 12 * count - (uint32_t)packed.bytes_len);
    OK(append(wal, &packed, 0, &got));
    EQUAL(got, last + count);
    packed.entries[count - 1].key_len = 1;
    packed.bytes_len++;
    STATUS(WAL_E_TOO_LARGE, append(wal, &packed, 0, &got));
    EQUAL(got, last + count);
    EQUAL(wal_last_seq(wal), got);
  }
  close_log(wal);
}

static void lengths_that_do_not_add_up_are_named(const char *dir)
{
  wal_t *wal = open_log(path_in(dir, "log"), NULL);
  random_state = 4;
  for (uint32_t at = 0; at < 8; at++) {
    packed_t packed = {.count = 0};
    uint64_t last = 99;
    for (uint32_t i = 0; i < 8; i++) pack(&packed, i, WAL_OP_PUT, i == at ? 9 : 0, 0);
    wal_packed_entry_t *entry = &packed.entries[at];
    const uint32_t wrong[] = {10, UINT32_MAX, UINT32_MAX - 8, 1u << 31};
    for (int kind = 0; kind < 4; kind++) {
      entry->key_len = wrong[kind];
      STATUS(WAL_E_INVALID, append(wal, &packed, 0, &last));
      EQUAL(err.offset, at);
      entry->value_len = wrong[kind];
      STATUS(WAL_E_INVALID, append(wal, &packed, 0, &last));
      EQUAL(err.offset, at);
      entry->value_len = 0;
    }
    /* Lengths whose sum is right modulo 2^32. */
    entry->key_len = 10;
    entry->value_len = UINT32_MAX;
    STATUS(WAL_E_INVALID, append(wal, &packed, 0, &last));
    EQUAL(err.offset, at);
    *entry = (wal_packed_entry_t){8, 0, WAL_OP_PUT};
    STATUS(WAL_E_INVALID, append(wal, &packed, 0, &last));
    EQUAL(err.offset, 8);
    MESSAGE_HAS("fall short");
    EQUAL(last, 99);
  }
  EQUAL(wal_last_seq(wal), 0);
  EQUAL(put(wal, "first"), 1);
  close_log(wal);
}

enum { DAMAGED_SEGMENT = 8192 };

/* What the call must say about any batch. */
static wal_status_t judge(const packed_t *packed, size_t count, size_t bytes_len, uint32_t flags)
{
  uint64_t sum = 0;
  if (flags > 2 || count == 0) return WAL_E_INVALID;
  for (size_t at = 0; at < count; at++) {
    uint32_t op = packed->entries[at].op;
    if (op > 255 || (op < 16 && op != WAL_OP_PUT && op != WAL_OP_DELETE)) return WAL_E_INVALID;
    sum += (uint64_t)packed->entries[at].key_len + packed->entries[at].value_len;
  }
  if (sum != bytes_len) return WAL_E_INVALID;
  return 4 + 12 * count + bytes_len > DAMAGED_SEGMENT - 512 ? WAL_E_TOO_LARGE : WAL_OK;
}

static uint32_t random_len(void)
{
  switch (random_below(8)) {
    case 0: return 0;
    case 1: return (uint32_t)random_below(400);
    default: return (uint32_t)random_below(40);
  }
}

/* Any change to any part of a batch: it is refused as it must be, or appended as it is. */
static void damage_to_a_packed_batch_is_refused_or_appended_as_it_stands(const char *dir)
{
  wal_options_t options = segments_of(DAMAGED_SEGMENT);
  options.sync_mode = WAL_SYNC_NONE;
  options.option_flags = WAL_OPTION_NO_THREAD;
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  unsigned appended = 0, refused = 0;
  random_state = 5;
  OK(wal_replay_open(wal, 0, WAL_REPLAY_UNSYNCED, &cursor, &err));
  for (unsigned round = 0; round < scaled(20000); round++) {
    packed_t packed = {.count = 0};
    uint64_t last = wal_last_seq(wal), got = last;
    uint32_t flags = (uint32_t)random_below(2) * WAL_APPEND_ASYNC;
    for (uint64_t at = random_below(12); at > 0 && packed.bytes_len < MOST_BYTES - 1000; at--) {
      const uint32_t ops[] = {WAL_OP_PUT, WAL_OP_DELETE, WAL_OP_USER, 255};
      pack(&packed, last + packed.count + 1, ops[random_below(4)], random_len(), random_len());
    }
    wal_packed_entry_t *entry = &packed.entries[packed.count > 0 ? random_below(packed.count) : 0];
    switch (random_below(10)) {
      case 0: entry->op = (uint32_t)random_below(300); break;
      case 1: entry->op ^= 1u << random_below(32); break;
      case 2: entry->key_len ^= 1u << random_below(32); break;
      case 3: entry->value_len ^= 1u << random_below(32); break;
      case 4: entry->key_len++, entry->value_len--; break;
      case 5: packed.bytes_len ^= (size_t)1 << random_below(12); break;
      case 6: packed.count ^= (size_t)1 << random_below(3); break;
      case 7: flags = (uint32_t)random_below(6); break;
      default: break;
    }
    if (packed.count > MOST_RECORDS || packed.bytes_len > MOST_BYTES) continue;
    wal_status_t expected = judge(&packed, packed.count, packed.bytes_len, flags);
    STATUS(expected, append(wal, &packed, flags, &got));
    if (expected != WAL_OK) {
      EQUAL(got, last);
      EQUAL(wal_last_seq(wal), last);
      refused++;
      continue;
    }
    appended++;
    EQUAL(got, last + packed.count);
    size_t from = 0;
    for (size_t at = 0; at < packed.count; at++) {
      OK(wal_replay_next(cursor, &record, &err));
      EQUAL(record.seq, last + at + 1);
      EQUAL(record.batch_last_seq, got);
      EQUAL(record.op, packed.entries[at].op);
      EQUAL(record.key_len, packed.entries[at].key_len);
      EQUAL(record.value_len, packed.entries[at].value_len);
      CHECK(memcmp(record.key, packed.bytes + from, record.key_len) == 0);
      CHECK(memcmp(record.value, packed.bytes + from + record.key_len, record.value_len) == 0);
      from += record.key_len + record.value_len;
    }
    OK(wal_truncate(wal, random_below(50) == 0 ? got : 0, WAL_TRUNCATE_UNCHECKED, &err));
  }
  CHECK(appended > scaled(20000) / 20 && refused > scaled(20000) / 20);
  wal_replay_close(cursor);
  close_log(wal);
}

/* ---- Reading ---- */

enum { GUARD = 64 };

/* Reads into memory of exactly these sizes, with guards behind it. */
typedef struct {
  wal_packed_record_t *records;
  unsigned char *bytes;
  size_t capacity, size, count;
} room_t;

static room_t room_of(size_t capacity, size_t size)
{
  room_t room = {malloc(capacity * sizeof *room.records + GUARD), malloc(size + GUARD), capacity, size, 99};
  CHECK(room.records != NULL && room.bytes != NULL);
  memset(room.records + capacity, 0xEE, GUARD);
  memset(room.bytes + size, 0xEE, GUARD);
  return room;
}

static wal_status_t read_into(wal_cursor_t *cursor, room_t *room)
{
  room->count = 99;
  wal_status_t status =
      wal_replay_next_packed(cursor, room->records, room->capacity, room->bytes, room->size, &room->count, &err);
  const unsigned char *behind = (const unsigned char *)(room->records + room->capacity);
  for (size_t at = 0; at < GUARD; at++) CHECK(behind[at] == 0xEE && room->bytes[room->size + at] == 0xEE);
  EQUAL(status == WAL_OK, room->count != 99);
  return status;
}

static void free_room(room_t *room)
{
  free(room->records);
  free(room->bytes);
}

/* Records whose sizes follow from their seqs, alone and in batches. */
static uint32_t key_len_of(uint64_t seq) { return (uint32_t)(seq * 5 % 23); }
static uint32_t value_len_of(uint64_t seq) { return seq % 11 == 0 ? 700 : (uint32_t)(seq * 3 % 61); }

static void fill(wal_t *wal, uint64_t last)
{
  while (wal_last_seq(wal) < last) {
    packed_t packed = {.count = 0};
    uint64_t seq = wal_last_seq(wal) + 1, n = 0;
    for (uint64_t left = seq % 4 + 1; left > 0 && seq <= last; left--, seq++) {
      pack(&packed, seq, 16 + (uint32_t)(seq % 200), key_len_of(seq), value_len_of(seq));
    }
    OK(append(wal, &packed, WAL_APPEND_ASYNC, NULL));
    /* A CHECKPOINT record takes a seq, too, and is not shown. */
    if (seq % 97 == 0 && seq <= last) OK(wal_checkpoint(wal, 0, &n, &err));
  }
  OK(wal_sync(wal, WAL_SEQ_LAST, &err));
}

static size_t expect_packed(const room_t *room, size_t at, size_t from)
{
  const wal_packed_record_t *record = &room->records[at];
  EQUAL(record->op, 16 + record->seq % 200);
  EQUAL(record->key_len, key_len_of(record->seq));
  EQUAL(record->value_len, value_len_of(record->seq));
  EQUAL(record->reserved, 0);
  CHECK(record->batch_last_seq >= record->seq && record->batch_last_seq < record->seq + 4);
  size_t len = (size_t)record->key_len + record->value_len;
  CHECK(from + len <= room->size);
  expect_bytes(room->bytes + from, len, record->seq, 0);
  return from + len;
}

static void any_room_reads_the_same_records(const char *dir)
{
  enum { LAST = 3000 };
  wal_options_t options = segments_of(4096);
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  random_state = 6;
  fill(wal, LAST);
  for (unsigned round = 0; round < scaled(60); round++) {
    wal_cursor_t *cursor = NULL;
    wal_record_t record;
    uint64_t after = random_below(LAST), expected = after + 1;
    bool mixed = round % 3 == 0;
    OK(wal_replay_open(wal, after, 0, &cursor, &err));
    for (;;) {
      if (mixed && random_below(4) == 0) {
        wal_status_t status = wal_replay_next(cursor, &record, &err);
        if (status == WAL_END) break;
        EQUAL(status, WAL_OK);
        if (record.seq == expected + 1) expected++;
        EQUAL(record.seq, expected++);
        expect_bytes(record.value, record.value_len, record.seq, record.key_len);
        continue;
      }
      room_t room = room_of(1 + random_below(30), random_below(3) == 0 ? random_below(800) : random_below(4000));
      wal_status_t status = read_into(cursor, &room);
      if (status == WAL_OK) {
        CHECK(room.count >= 1 && room.count <= room.capacity);
        size_t from = 0;
        for (size_t at = 0; at < room.count; at++) {
          /* A seq that is left out is a CHECKPOINT record's. */
          if (room.records[at].seq == expected + 1) expected++;
          EQUAL(room.records[at].seq, expected++);
          from = expect_packed(&room, at, from);
        }
      } else if (status == WAL_E_NO_ROOM) {
        EQUAL(err.code, WAL_E_NO_ROOM);
        EQUAL(err.seq, room.records[0].seq);
        CHECK((size_t)room.records[0].key_len + room.records[0].value_len > room.size);
        STATUS(WAL_OK, wal_replay_wait(cursor, 0, &err));
      } else {
        EQUAL(status, WAL_END);
        free_room(&room);
        break;
      }
      free_room(&room);
    }
    EQUAL(expected, LAST + 1);
    wal_replay_close(cursor);
  }
  close_log(wal);
}

static void a_record_without_room_stays_the_next(const char *dir)
{
  wal_options_t options = segments_of(8 << 20);
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  room_t small = room_of(4, 100);
  OK(wal_append(wal, WAL_OP_PUT, NULL, 0, NULL, 0, NULL, &err));
  /* Beside its value such a record has a key of 8 bytes. */
  OK(put_number(wal, 2, 92, NULL, &err));
  OK(put_number(wal, 3, 93, NULL, &err));
  OK(put_number(wal, 4, 5 << 20, NULL, &err));
  OK(wal_append(wal, WAL_OP_PUT, NULL, 0, NULL, 0, NULL, &err));
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  OK(read_into(cursor, &small));
  EQUAL(small.count, 2);
  for (int round = 0; round < 3; round++) {
    STATUS(WAL_E_NO_ROOM, read_into(cursor, &small));
    EQUAL(small.records[0].seq, 3);
    EQUAL(small.records[0].key_len + small.records[0].value_len, 101);
    ERR_SEQS(3, 3);
  }
  /* Without a place for the error, too. */
  CHECK(wal_replay_next_packed(cursor, small.records, 4, NULL, 0, &small.count, NULL) == WAL_E_NO_ROOM);
  room_t enough = room_of(1, 101);
  OK(read_into(cursor, &enough));
  EQUAL(enough.count, 1);
  STATUS(WAL_E_NO_ROOM, read_into(cursor, &small));
  EQUAL(small.records[0].value_len, 5 << 20);
  /* It is the next one for the other call as well. */
  OK(wal_replay_next(cursor, &record, &err));
  EQUAL(number_of(&record), 4);
  /* Nothing fits into nothing. */
  OK(wal_replay_next_packed(cursor, small.records, 4, NULL, 0, &small.count, &err));
  EQUAL(small.count, 1);
  EQUAL(small.records[0].seq, 5);
  STATUS(WAL_END, read_into(cursor, &small));
  STATUS(WAL_TIMEOUT, wal_replay_wait(cursor, 0, &err));
  EQUAL(put(wal, "more"), 6);
  OK(read_into(cursor, &small));
  EQUAL(small.count, 1);
  CHECK(memcmp(small.bytes, "more", 4) == 0);
  wal_replay_close(cursor);
  free_room(&small);
  free_room(&enough);
  close_log(wal);
}

static void records_in_front_of_damage_are_handed_out_first(const char *dir)
{
  const char *log = path_in(dir, "log");
  wal_t *wal = open_log(log, NULL);
  fill_to(wal, 20, 100);
  fill_to(wal, 30, 300);
  close_log(wal);
  place_t place = find_number(log, 15);
  flip_bit(place.path, place.offset + 40);
  wal = open_log(log, NULL);
  wal_cursor_t *cursor = NULL;
  room_t room = room_of(100, 1 << 16);
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  OK(read_into(cursor, &room));
  EQUAL(room.count, 14);
  for (int round = 0; round < 2; round++) {
    STATUS(WAL_E_CORRUPT, read_into(cursor, &room));
    EQUAL(err.seq, 15);
  }
  wal_replay_close(cursor);
  free_room(&room);
  close_log(wal);
}

static void a_record_without_room_is_not_shown_once_it_is_in_doubt(const char *dir)
{
  wal_options_t options = defaults();
  options.sync_mode = WAL_SYNC_OS;
  options.option_flags = WAL_OPTION_NO_THREAD;
  wal_t *wal = open_log(path_in(dir, "log"), &options);
  wal_cursor_t *cursor = NULL;
  room_t room = room_of(1, 10);
  OK(wal_replay_open(wal, 0, WAL_REPLAY_UNSYNCED, &cursor, &err));
  fill_to(wal, 1, 100);
  STATUS(WAL_E_NO_ROOM, read_into(cursor, &room));
  OK(wal_replay_wait(cursor, 0, &err));
  fault_fail(CALL_SYNC, 1, EIO, false);
  STATUS(WAL_E_FAILED, wal_sync(wal, WAL_SEQ_LAST, &err));
  fault_clear();
  STATUS(WAL_END, read_into(cursor, &room));
  STATUS(WAL_E_FAILED, wal_replay_wait(cursor, 0, &err));
  wal_replay_close(cursor);
  free_room(&room);
  STATUS(WAL_E_FAILED, wal_close(wal, &err));
}

static void packed_calls_check_their_arguments(const char *dir)
{
  wal_t *wal = open_log(path_in(dir, "log"), NULL), *reader = NULL;
  wal_cursor_t *cursor = NULL;
  wal_packed_record_t record;
  unsigned char bytes[8];
  size_t count = 99;
  uint64_t last = 99;
  const wal_packed_entry_t entry = {1, 0, WAL_OP_PUT}, empty = {0, 0, WAL_OP_DELETE};
  STATUS(WAL_E_INVALID, wal_append_packed(NULL, &entry, 1, "k", 1, 0, &last, &err));
  STATUS(WAL_E_INVALID, wal_append_packed(wal, NULL, 1, "k", 1, 0, &last, &err));
  STATUS(WAL_E_INVALID, wal_append_packed(wal, NULL, 0, NULL, 0, 0, &last, &err));
  STATUS(WAL_E_INVALID, wal_append_packed(wal, &entry, 0, "k", 1, 0, &last, &err));
  STATUS(WAL_E_INVALID, wal_append_packed(wal, &entry, 1, NULL, 1, 0, &last, &err));
  for (unsigned bit = 30; bit < 8 * sizeof(size_t); bit++) {
    size_t len = ((size_t)1 << bit) + 1;
    STATUS(WAL_E_TOO_LARGE, wal_append_packed(wal, &entry, 1, "k", len, 0, &last, &err));
    STATUS(WAL_E_TOO_LARGE, wal_append_packed(wal, &entry, len, "k", 1, 0, &last, &err));
    STATUS(WAL_E_TOO_LARGE, wal_append_packed(wal, NULL, SIZE_MAX - len, NULL, SIZE_MAX - len, 0, &last, &err));
  }
  EQUAL(last, 99);
  EQUAL(wal_last_seq(wal), 0);
  OK(wal_append_packed(wal, &empty, 1, NULL, 0, 0, NULL, &err));
  CHECK(wal_append_packed(wal, &entry, 1, "k", 1, 0, &last, NULL) == WAL_OK);
  EQUAL(last, 2);
  OK(wal_replay_open(wal, 0, 0, &cursor, &err));
  STATUS(WAL_E_INVALID, wal_replay_next_packed(NULL, &record, 1, bytes, 8, &count, &err));
  STATUS(WAL_E_INVALID, wal_replay_next_packed(cursor, NULL, 1, bytes, 8, &count, &err));
  STATUS(WAL_E_INVALID, wal_replay_next_packed(cursor, &record, 0, bytes, 8, &count, &err));
  STATUS(WAL_E_INVALID, wal_replay_next_packed(cursor, &record, 1, NULL, 8, &count, &err));
  STATUS(WAL_E_INVALID, wal_replay_next_packed(cursor, &record, 1, bytes, 8, NULL, &err));
  EQUAL(count, 99);
  EQUAL(drain(cursor), 2);
  OK(wal_shutdown(wal, &err));
  STATUS(WAL_E_CLOSED, wal_append_packed(wal, &entry, 1, "k", 1, 0, &last, &err));
  STATUS(WAL_E_CLOSED, wal_replay_next_packed(cursor, &record, 1, bytes, 8, &count, &err));
  wal_replay_close(cursor);
  close_log(wal);
  wal_options_t options = defaults();
  options.open_flags = WAL_OPEN_READ_ONLY;
  reader = open_log(path_in(dir, "log"), &options);
  STATUS(WAL_E_READ_ONLY, wal_append_packed(reader, &entry, 1, "k", 1, 0, &last, &err));
  close_log(reader);
  EQUAL(sizeof(wal_packed_entry_t), 12);
  EQUAL(sizeof(wal_packed_record_t), 32);
}

const test_t packed_tests[] = {
    TEST(a_packed_batch_is_a_batch),
    TEST(packed_flags_overrule_the_mode),
    TEST(the_largest_packed_batch_fits_and_a_byte_more_is_refused),
    TEST(lengths_that_do_not_add_up_are_named),
    TEST(damage_to_a_packed_batch_is_refused_or_appended_as_it_stands),
    TEST(any_room_reads_the_same_records),
    TEST(a_record_without_room_stays_the_next),
    TEST(records_in_front_of_damage_are_handed_out_first),
    TEST(a_record_without_room_is_not_shown_once_it_is_in_doubt),
    TEST(packed_calls_check_their_arguments),
    NO_MORE_TESTS,
};
