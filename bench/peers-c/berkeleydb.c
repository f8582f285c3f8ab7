/* Berkeley DB: its log alone, without databases or transactions. Durable: log_put with DB_FLUSH, threads that meet share a sync. Not synced: log_put into a
   buffer of 1 MiB. Files of 16 MiB; the older half is forgotten by removing files, as the manual describes for files that are no longer needed. */
#include "side.h"

#include <db.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static DB_ENV *env;
static u_int32_t flags;

static const char *version(void)
{
  static char text[32];
  int major, minor, patch;
  db_version(&major, &minor, &patch);
  snprintf(text, sizeof text, "%d.%d.%d", major, minor, patch);
  return text;
}

#define TRY(call)                                                  \
  do {                                                             \
    int tried = (call);                                            \
    if (tried != 0) return side_failed(#call, db_strerror(tried)); \
  } while (0)

static side_status open_log(const char *dir, bool durable)
{
  flags = durable ? DB_FLUSH : 0;
  TRY(db_env_create(&env, 0));
  TRY(env->set_lg_bsize(env, 1 << 20));
  TRY(env->set_lg_max(env, 16 << 20));
  TRY(env->open(env, dir, DB_CREATE | DB_INIT_LOG | DB_PRIVATE | DB_THREAD, 0600));
  return SIDE_OK;
}

static side_status put(const void *value, size_t len, u_int32_t how)
{
  DB_LSN lsn;
  DBT record = {.data = (void *)(uintptr_t)value, .size = (u_int32_t)len};
  TRY(env->log_put(env, &lsn, &record, how));
  return SIDE_OK;
}

static side_status append(int thread, const void *value, size_t len)
{
  (void)thread;
  return put(value, len, flags);
}

static side_status fill(const void *value, size_t len, uint64_t count)
{
  side_status status = SIDE_OK;
  for (uint64_t i = 0; i < count && status == SIDE_OK; i++) status = put(value, len, 0);
  return status;
}

static side_status sync_log(void)
{
  TRY(env->log_flush(env, NULL));
  return SIDE_OK;
}

static side_status replay(side_visit *visit, void *context)
{
  DB_LOGC *cursor;
  DB_LSN lsn;
  DBT record = {.flags = DB_DBT_REALLOC};
  TRY(env->log_cursor(env, &cursor, 0));
  int status = cursor->get(cursor, &lsn, &record, DB_FIRST);
  for (; status == 0; status = cursor->get(cursor, &lsn, &record, DB_NEXT)) visit(context, record.data, record.size);
  free(record.data);
  TRY(cursor->close(cursor, 0));
  return status == DB_NOTFOUND ? SIDE_OK : side_failed("get", db_strerror(status));
}

static side_status forget_half(void)
{
  char **names, **name;
  size_t count = 0;
  TRY(env->log_archive(env, &names, DB_ARCH_ABS | DB_ARCH_LOG));
  for (name = names; name && *name; name++) count++;
  for (size_t i = 0; i < count / 2; i++) {
    if (unlink(names[i]) != 0) return side_failed("unlink", names[i]);
  }
  free(names);
  return SIDE_OK;
}

static side_status close_log(void)
{
  TRY(env->close(env, 0));
  return SIDE_OK;
}

int main(void)
{
  static const side_log log = {version, open_log, append, NULL, fill, sync_log, replay, NULL, forget_half, close_log};
  return side_serve(&log);
}
