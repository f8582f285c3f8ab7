/* This library beside SQLite and RocksDB in one process, all three at work at the same time: a symbol that two of them define would show. */

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rocksdb/c.h>
#include <sqlite3.h>
#include <wal.h>

enum { ROUNDS = 200, VALUE = 100 };

#define CHECK(condition)                                                 \
  do {                                                                   \
    if (!(condition)) {                                                  \
      printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);     \
      exit(1);                                                           \
    }                                                                    \
  } while (0)

static char paths[3][512];

static void *use_wal(void *unused)
{
  wal_options_t options;
  wal_t *wal;
  wal_cursor_t *cursor;
  wal_record_t record;
  uint64_t n;
  (void)unused;
  wal_options_init(&options, sizeof options);
  options.segment_size = 4096;
  CHECK(wal_open(paths[0], &options, &wal, NULL) == WAL_OK);
  for (uint64_t round = 1; round <= ROUNDS; round++) {
    char value[VALUE] = {0};
    uint64_t seq;
    memcpy(value, &round, sizeof round);
    CHECK(wal_append(wal, WAL_OP_PUT, &round, sizeof round, value, sizeof value, &seq, NULL) == WAL_OK && seq == round);
  }
  CHECK(wal_checkpoint(wal, ROUNDS / 2, &n, NULL) == WAL_OK && n == ROUNDS / 2);
  CHECK(wal_truncate(wal, n, 0, NULL) == WAL_OK);
  CHECK(wal_close(wal, NULL) == WAL_OK);
  options.store_seq = n;
  CHECK(wal_open(paths[0], &options, &wal, NULL) == WAL_OK);
  CHECK(wal_replay_open(wal, n, 0, &cursor, NULL) == WAL_OK);
  for (uint64_t round = n + 1; round <= ROUNDS; round++) {
    CHECK(wal_replay_next(cursor, &record, NULL) == WAL_OK && record.seq == round && record.value_len == VALUE);
    CHECK(memcmp(record.value, &round, sizeof round) == 0);
  }
  CHECK(wal_replay_next(cursor, &record, NULL) == WAL_END);
  wal_replay_close(cursor);
  CHECK(wal_close(wal, NULL) == WAL_OK);
  return NULL;
}

static void *use_sqlite(void *unused)
{
  sqlite3 *db;
  sqlite3_stmt *statement;
  (void)unused;
  CHECK(sqlite3_open(paths[1], &db) == SQLITE_OK);
  CHECK(sqlite3_exec(db, "PRAGMA journal_mode=WAL; CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)", NULL, NULL, NULL) == SQLITE_OK);
  CHECK(sqlite3_prepare_v2(db, "INSERT INTO t VALUES (?, zeroblob(100))", -1, &statement, NULL) == SQLITE_OK);
  for (int round = 1; round <= ROUNDS; round++) {
    CHECK(sqlite3_bind_int(statement, 1, round) == SQLITE_OK && sqlite3_step(statement) == SQLITE_DONE);
    CHECK(sqlite3_reset(statement) == SQLITE_OK);
  }
  CHECK(sqlite3_finalize(statement) == SQLITE_OK);
  CHECK(sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) == SQLITE_OK);
  CHECK(sqlite3_prepare_v2(db, "SELECT count(*), sum(k) FROM t", -1, &statement, NULL) == SQLITE_OK);
  CHECK(sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_int(statement, 0) == ROUNDS);
  CHECK(sqlite3_column_int(statement, 1) == ROUNDS * (ROUNDS + 1) / 2);
  CHECK(sqlite3_finalize(statement) == SQLITE_OK && sqlite3_close(db) == SQLITE_OK);
  return NULL;
}

static void *use_rocksdb(void *unused)
{
  char *failure = NULL;
  (void)unused;
  rocksdb_options_t *options = rocksdb_options_create();
  rocksdb_options_set_create_if_missing(options, 1);
  rocksdb_t *db = rocksdb_open(options, paths[2], &failure);
  CHECK(failure == NULL);
  rocksdb_writeoptions_t *writing = rocksdb_writeoptions_create();
  rocksdb_writeoptions_set_sync(writing, 1);
  for (uint64_t round = 1; round <= ROUNDS; round++) {
    char value[VALUE] = {0};
    memcpy(value, &round, sizeof round);
    rocksdb_put(db, writing, (const char *)&round, sizeof round, value, sizeof value, &failure);
    CHECK(failure == NULL);
  }
  rocksdb_readoptions_t *reading = rocksdb_readoptions_create();
  for (uint64_t round = 1; round <= ROUNDS; round++) {
    size_t len;
    char *value = rocksdb_get(db, reading, (const char *)&round, sizeof round, &len, &failure);
    CHECK(failure == NULL && len == VALUE && memcmp(value, &round, sizeof round) == 0);
    rocksdb_free(value);
  }
  rocksdb_readoptions_destroy(reading);
  rocksdb_writeoptions_destroy(writing);
  rocksdb_close(db);
  rocksdb_options_destroy(options);
  return NULL;
}

int main(int count, char **arguments)
{
  static void *(*const users[3])(void *) = {use_wal, use_sqlite, use_rocksdb};
  static const char *const names[3] = {"log", "sqlite.db", "rocksdb"};
  pthread_t threads[3];
  CHECK(count == 2);
  for (int at = 0; at < 3; at++) CHECK(snprintf(paths[at], sizeof paths[at], "%s/%s", arguments[1], names[at]) < (int)sizeof paths[at]);
  for (int at = 0; at < 3; at++) CHECK(pthread_create(&threads[at], NULL, users[at], NULL) == 0);
  for (int at = 0; at < 3; at++) CHECK(pthread_join(threads[at], NULL) == 0);
  printf("all three have done their work\n");
  return 0;
}
