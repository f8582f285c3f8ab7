/* LMDB: the record's number as an integer key, appended with MDB_APPEND. Threads that meet share a transaction, whose commit syncs; without syncs
   (MDB_NOSYNC) a transaction stays open for 1000 records. There is no log: a replay is a walk through the tree. */
#include "side.h"

#include <lmdb.h>
#include <string.h>

enum { AT_ONCE = 1000 };

static MDB_env *env;
static MDB_dbi records;
static MDB_txn *pending;
static size_t in_pending;
static uint64_t last, half;

static const char *version(void)
{
  int major, minor, patch;
  static char text[32];
  mdb_version(&major, &minor, &patch);
  const int parts[] = {major, minor, patch};
  size_t at = 0;
  for (int i = 0; i < 3; i++) {
    if (i) text[at++] = '.';
    if (parts[i] >= 10) text[at++] = (char)('0' + parts[i] / 10 % 10);
    text[at++] = (char)('0' + parts[i] % 10);
  }
  return text;
}

#define TRY(call)                                                     \
  do {                                                                \
    int tried = (call);                                               \
    if (tried != 0) return side_failed(#call, mdb_strerror(tried));   \
  } while (0)

static side_status open_log(const char *dir, bool durable)
{
  TRY(mdb_env_create(&env));
  TRY(mdb_env_set_mapsize(env, (size_t)16 << 30));
  /* The log's commits come from whichever thread leads, so transactions may not be bound to threads. */
  TRY(mdb_env_open(env, dir, MDB_NOTLS | (durable ? 0 : MDB_NOSYNC), 0600));
  MDB_txn *txn;
  TRY(mdb_txn_begin(env, NULL, 0, &txn));
  TRY(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &records));
  MDB_cursor *cursor;
  TRY(mdb_cursor_open(txn, records, &cursor));
  MDB_val key, value;
  last = 0;
  if (mdb_cursor_get(cursor, &key, &value, MDB_LAST) == 0) memcpy(&last, key.mv_data, sizeof last);
  mdb_cursor_close(cursor);
  TRY(mdb_txn_commit(txn));
  return SIDE_OK;
}

static side_status put(MDB_txn *txn, const void *value, size_t len)
{
  last++;
  MDB_val key = {sizeof last, &last}, data = {len, (void *)(uintptr_t)value};
  TRY(mdb_put(txn, records, &key, &data, MDB_APPEND));
  return SIDE_OK;
}

static side_status flush(void)
{
  MDB_txn *txn = pending;
  pending = NULL;
  in_pending = 0;
  if (txn) TRY(mdb_txn_commit(txn));
  return SIDE_OK;
}

static side_status append(int thread, const void *value, size_t len)
{
  (void)thread;
  if (!pending) TRY(mdb_txn_begin(env, NULL, 0, &pending));
  side_status status = put(pending, value, len);
  return status == SIDE_OK && ++in_pending == AT_ONCE ? flush() : status;
}

static side_status append_group(const void *const *values, const size_t *lens, size_t count)
{
  MDB_txn *txn;
  TRY(mdb_txn_begin(env, NULL, 0, &txn));
  for (size_t i = 0; i < count; i++) {
    side_status status = put(txn, values[i], lens[i]);
    if (status != SIDE_OK) return status;
  }
  TRY(mdb_txn_commit(txn));
  return SIDE_OK;
}

static side_status fill(const void *value, size_t len, uint64_t count)
{
  side_status status = SIDE_OK;
  for (uint64_t i = 0; i < count && status == SIDE_OK; i++) status = append(0, value, len);
  return status == SIDE_OK ? flush() : status;
}

static side_status sync_log(void)
{
  side_status status = flush();
  if (status != SIDE_OK) return status;
  TRY(mdb_env_sync(env, 1));
  return SIDE_OK;
}

static side_status replay(side_visit *visit, void *context)
{
  MDB_txn *txn;
  MDB_cursor *cursor;
  MDB_val key, value;
  TRY(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
  TRY(mdb_cursor_open(txn, records, &cursor));
  int status;
  while ((status = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) visit(context, value.mv_data, value.mv_size);
  mdb_cursor_close(cursor);
  mdb_txn_abort(txn);
  return status == MDB_NOTFOUND ? SIDE_OK : side_failed("mdb_cursor_get", mdb_strerror(status));
}

static side_status prepare_forget(void)
{
  half = last / 2;
  return SIDE_OK;
}

/* In steps, so that appends get their turn: there is one writer at a time. */
static side_status forget_half(void)
{
  for (bool more = true; more;) {
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
    TRY(mdb_txn_begin(env, NULL, 0, &txn));
    TRY(mdb_cursor_open(txn, records, &cursor));
    more = false;
    for (int i = 0; i < AT_ONCE && mdb_cursor_get(cursor, &key, &value, MDB_FIRST) == 0; i++) {
      uint64_t number;
      memcpy(&number, key.mv_data, sizeof number);
      more = number <= half;
      if (!more) break;
      TRY(mdb_cursor_del(cursor, 0));
    }
    mdb_cursor_close(cursor);
    TRY(mdb_txn_commit(txn));
  }
  return SIDE_OK;
}

static side_status close_log(void)
{
  side_status status = flush();
  mdb_env_close(env);
  return status;
}

int main(void)
{
  static const side_log log = {version, open_log, append, append_group, fill, sync_log, replay, prepare_forget, forget_half, close_log};
  return side_serve(&log);
}
