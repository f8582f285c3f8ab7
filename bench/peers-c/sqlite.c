/* SQLite: a table with an integer primary key, in WAL mode. Durable: synchronous=FULL, threads that meet share a transaction on one connection, and
   checkpoints come by themselves every 1000 pages, which is twice as fast as none, for the log's blocks are then overwritten. Not synced:
   synchronous=NORMAL, which does not sync at a commit, a transaction for every 1000 records, and no checkpoints, so that the log holds everything. */
#include "side.h"

#include <sqlite3.h>
#include <stdio.h>

enum { AT_ONCE = 1000 };

static sqlite3 *database, *second;
static sqlite3_stmt *insert;
static size_t in_pending;
static sqlite3_int64 half;

static const char *version(void) { return sqlite3_libversion(); }

#define TRY(on, call)                                                   \
  do {                                                                  \
    int tried = (call);                                                 \
    if (tried != SQLITE_OK && tried != SQLITE_DONE && tried != SQLITE_ROW) return side_failed(#call, sqlite3_errmsg(on)); \
  } while (0)

static side_status run(sqlite3 *on, const char *sql)
{
  TRY(on, sqlite3_exec(on, sql, NULL, NULL, NULL));
  return SIDE_OK;
}

static side_status connect_to(const char *path, bool durable, sqlite3 **out)
{
  TRY(*out, sqlite3_open(path, out));
  TRY(*out, sqlite3_busy_timeout(*out, 60000));
  return run(*out, durable ? "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"
                           : "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0");
}

static side_status open_log(const char *dir, bool durable)
{
  char path[512];
  snprintf(path, sizeof path, "%s/log.sqlite", dir);
  side_status status = connect_to(path, durable, &database);
  /* Reading the table has the log's index built. */
  if (status == SIDE_OK) status = run(database, "CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY, value BLOB); SELECT max(seq) FROM log");
  if (status == SIDE_OK) status = connect_to(path, durable, &second);
  if (status != SIDE_OK) return status;
  TRY(database, sqlite3_prepare_v3(database, "INSERT INTO log (value) VALUES (?)", -1, SQLITE_PREPARE_PERSISTENT, &insert, NULL));
  return SIDE_OK;
}

static side_status put(const void *value, size_t len)
{
  TRY(database, sqlite3_bind_blob64(insert, 1, value, len, SQLITE_STATIC));
  TRY(database, sqlite3_step(insert));
  TRY(database, sqlite3_reset(insert));
  return SIDE_OK;
}

static side_status flush(void)
{
  if (in_pending == 0) return SIDE_OK;
  in_pending = 0;
  return run(database, "COMMIT");
}

static side_status append(int thread, const void *value, size_t len)
{
  (void)thread;
  side_status status = in_pending == 0 ? run(database, "BEGIN IMMEDIATE") : SIDE_OK;
  if (status == SIDE_OK) status = put(value, len);
  return status == SIDE_OK && ++in_pending == AT_ONCE ? flush() : status;
}

static side_status append_group(const void *const *values, const size_t *lens, size_t count)
{
  side_status status = count > 1 ? run(database, "BEGIN IMMEDIATE") : SIDE_OK;
  for (size_t i = 0; i < count && status == SIDE_OK; i++) status = put(values[i], lens[i]);
  return status == SIDE_OK && count > 1 ? run(database, "COMMIT") : status;
}

static side_status fill(const void *value, size_t len, uint64_t count)
{
  side_status status = SIDE_OK;
  for (uint64_t i = 0; i < count && status == SIDE_OK; i++) status = append(0, value, len);
  return status == SIDE_OK ? flush() : status;
}

/* A commit that syncs, as FULL does it, syncs what stands before it in the log too. */
static side_status sync_log(void)
{
  side_status status = flush();
  if (status == SIDE_OK) {
    status = run(database, "PRAGMA synchronous=FULL; BEGIN IMMEDIATE; PRAGMA user_version=1; COMMIT; PRAGMA synchronous=NORMAL");
  }
  return status;
}

static side_status replay(side_visit *visit, void *context)
{
  sqlite3_stmt *select;
  TRY(database, sqlite3_prepare_v2(database, "SELECT value FROM log ORDER BY seq", -1, &select, NULL));
  int status;
  while ((status = sqlite3_step(select)) == SQLITE_ROW) {
    visit(context, sqlite3_column_blob(select, 0), (size_t)sqlite3_column_bytes(select, 0));
  }
  sqlite3_finalize(select);
  TRY(database, status);
  return SIDE_OK;
}

static side_status prepare_forget(void)
{
  sqlite3_stmt *select;
  TRY(database, sqlite3_prepare_v2(database, "SELECT max(seq) / 2 FROM log", -1, &select, NULL));
  TRY(database, sqlite3_step(select));
  half = sqlite3_column_int64(select, 0);
  sqlite3_finalize(select);
  return SIDE_OK;
}

/* In steps, so that appends get their turn: there is one writer at a time. */
static side_status forget_half(void)
{
  sqlite3_stmt *erase;
  TRY(second, sqlite3_prepare_v2(second, "DELETE FROM log WHERE seq <= min(?1, (SELECT min(seq) FROM log) + 9999)", -1, &erase, NULL));
  do {
    TRY(second, sqlite3_bind_int64(erase, 1, half));
    TRY(second, sqlite3_step(erase));
    TRY(second, sqlite3_reset(erase));
  } while (sqlite3_changes(second) > 0);
  sqlite3_finalize(erase);
  return SIDE_OK;
}

static side_status close_log(void)
{
  side_status status = flush();
  sqlite3_finalize(insert);
  sqlite3_close(second);
  sqlite3_close(database);
  return status;
}

int main(void)
{
  static const side_log log = {version, open_log, append, append_group, fill, sync_log, replay, prepare_forget, forget_half, close_log};
  return side_serve(&log);
}
