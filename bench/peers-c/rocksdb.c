/* RocksDB: the record's number as the key, and a memtable so large that nothing but the log is written. Durable: WriteOptions::sync, writers that meet
   are grouped by RocksDB. Not synced: manual_wal_flush, so that the log is buffered in the process. A replay reads the log (GetUpdatesSince). */
#include "side.h"

#include <rocksdb/c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rocksdb_t *database;
static rocksdb_options_t *options;
static rocksdb_writeoptions_t *how;
static atomic_uint_least64_t last;
static uint64_t half;

/* The C interface does not tell; the build asks the package. */
static const char *version(void) { return ROCKSDB_VERSION; }

static side_status check(const char *what, char *error)
{
  if (!error) return SIDE_OK;
  side_status status = side_failed(what, error);
  rocksdb_free(error);
  return status;
}

static void to_key(uint64_t number, unsigned char key[8])
{
  for (int i = 0; i < 8; i++) key[i] = (unsigned char)(number >> (56 - 8 * i));
}

static side_status open_log(const char *dir, bool durable)
{
  char *error = NULL;
  rocksdb_options_t *base = rocksdb_options_create();
  options = rocksdb_options_create();
  rocksdb_get_options_from_string(base, "avoid_flush_during_recovery=true;max_total_wal_size=8589934592", options, &error);
  rocksdb_options_destroy(base);
  side_status status = check("options", error);
  if (status != SIDE_OK) return status;
  rocksdb_options_set_create_if_missing(options, 1);
  rocksdb_options_set_write_buffer_size(options, (size_t)4 << 30);
  rocksdb_options_set_compression(options, rocksdb_no_compression);
  rocksdb_options_set_manual_wal_flush(options, !durable);
  error = NULL;
  database = rocksdb_open(options, dir, &error);
  status = check("rocksdb_open", error);
  if (status != SIDE_OK) return status;
  how = rocksdb_writeoptions_create();
  rocksdb_writeoptions_set_sync(how, durable);
  /* Every write has one number here, as every record has. */
  atomic_store(&last, rocksdb_get_latest_sequence_number(database));
  return SIDE_OK;
}

static side_status append(int thread, const void *value, size_t len)
{
  (void)thread;
  unsigned char key[8];
  char *error = NULL;
  to_key(atomic_fetch_add(&last, 1) + 1, key);
  rocksdb_put(database, how, (const char *)key, sizeof key, value, len, &error);
  return check("rocksdb_put", error);
}

static side_status fill(const void *value, size_t len, uint64_t count)
{
  rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
  rocksdb_writeoptions_t *loosely = rocksdb_writeoptions_create();
  side_status status = SIDE_OK;
  for (uint64_t i = 1; i <= count && status == SIDE_OK; i++) {
    unsigned char key[8];
    to_key(atomic_fetch_add(&last, 1) + 1, key);
    rocksdb_writebatch_put(batch, (const char *)key, sizeof key, value, len);
    if (i % 1000 == 0 || i == count) {
      char *error = NULL;
      rocksdb_write(database, loosely, batch, &error);
      status = check("rocksdb_write", error);
      rocksdb_writebatch_clear(batch);
    }
  }
  rocksdb_writeoptions_destroy(loosely);
  rocksdb_writebatch_destroy(batch);
  return status;
}

static side_status sync_log(void)
{
  char *error = NULL;
  rocksdb_flush_wal(database, 1, &error);
  return check("rocksdb_flush_wal", error);
}

typedef struct { side_visit *visit; void *context; } visitor;

static void on_put(void *state, const char *key, size_t key_len, const char *value, size_t len)
{
  visitor *to = state;
  (void)key, (void)key_len;
  to->visit(to->context, value, len);
}

static void on_delete(void *state, const char *key, size_t key_len) { (void)state, (void)key, (void)key_len; }

static side_status replay(side_visit *visit, void *context)
{
  char *error = NULL;
  rocksdb_wal_iterator_t *log = rocksdb_get_updates_since(database, 1, NULL, &error);
  side_status status = check("rocksdb_get_updates_since", error);
  if (status != SIDE_OK) return status;
  visitor to = {visit, context};
  for (; rocksdb_wal_iter_valid(log); rocksdb_wal_iter_next(log)) {
    uint64_t number;
    rocksdb_writebatch_t *batch = rocksdb_wal_iter_get_batch(log, &number);
    rocksdb_writebatch_iterate(batch, &to, on_put, on_delete);
    rocksdb_writebatch_destroy(batch);
  }
  error = NULL;
  rocksdb_wal_iter_status(log, &error);
  rocksdb_wal_iter_destroy(log);
  return check("rocksdb_wal_iter", error);
}

static side_status prepare_forget(void)
{
  half = atomic_load(&last) / 2;
  return SIDE_OK;
}

/* A range tombstone, durable as any write; disk space comes back when memtable and tables are rewritten. */
static side_status forget_half(void)
{
  unsigned char from[8], to[8];
  char *error = NULL;
  to_key(0, from);
  to_key(half + 1, to);
  rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
  rocksdb_writebatch_delete_range(batch, (const char *)from, sizeof from, (const char *)to, sizeof to);
  rocksdb_write(database, how, batch, &error);
  rocksdb_writebatch_destroy(batch);
  return check("rocksdb_write", error);
}

static side_status close_log(void)
{
  rocksdb_close(database);
  rocksdb_writeoptions_destroy(how);
  rocksdb_options_destroy(options);
  return SIDE_OK;
}

int main(void)
{
  static const side_log log = {version, open_log, append, NULL, fill, sync_log, replay, prepare_forget, forget_half, close_log};
  return side_serve(&log);
}
