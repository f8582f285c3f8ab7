/* WiredTiger: a table by record number, logged, without checkpoints, so that the log holds everything. Durable: transaction_sync, and threads that meet
   share a transaction: its own log slots put fewer of them into one sync. Not synced: without it, and a transaction for every 1000 records. A replay walks
   through the table. */
#include "side.h"

#include <stdio.h>
#include <wiredtiger.h>

enum { AT_ONCE = 1000 };

static WT_CONNECTION *connection;
/* Appends come one at a time; what is not an append may meet them, and has a session of its own. */
static struct { WT_SESSION *session; WT_CURSOR *cursor; } appending, other;
static bool is_synced;
static size_t in_pending;
static uint64_t half;

static const char *version(void)
{
  static char text[32];
  int major, minor, patch;
  wiredtiger_version(&major, &minor, &patch);
  snprintf(text, sizeof text, "%d.%d.%d", major, minor, patch);
  return text;
}

#define TRY(call)                                                         \
  do {                                                                    \
    int tried = (call);                                                   \
    if (tried != 0) return side_failed(#call, wiredtiger_strerror(tried)); \
  } while (0)

static side_status open_log(const char *dir, bool durable)
{
  const char *config = durable ? "create,cache_size=8GB,log=(enabled,archive=false,file_max=64MB),transaction_sync=(enabled,method=fsync)"
                               : "create,cache_size=8GB,log=(enabled,archive=false,file_max=64MB),transaction_sync=(enabled=false)";
  is_synced = durable;
  TRY(wiredtiger_open(dir, NULL, config, &connection));
  TRY(connection->open_session(connection, NULL, NULL, &appending.session));
  TRY(connection->open_session(connection, NULL, NULL, &other.session));
  TRY(appending.session->create(appending.session, "table:log", "key_format=r,value_format=u"));
  TRY(appending.session->open_cursor(appending.session, "table:log", NULL, "append", &appending.cursor));
  TRY(other.session->open_cursor(other.session, "table:log", NULL, NULL, &other.cursor));
  return SIDE_OK;
}

static side_status put(const void *value, size_t len)
{
  WT_CURSOR *cursor = appending.cursor;
  WT_ITEM item = {.data = value, .size = len};
  cursor->set_value(cursor, &item);
  TRY(cursor->insert(cursor));
  return SIDE_OK;
}

static side_status flush(const char *config)
{
  WT_SESSION *session = appending.session;
  if (in_pending == 0) return SIDE_OK;
  in_pending = 0;
  TRY(session->commit_transaction(session, config));
  return SIDE_OK;
}

static side_status put_loosely(const void *value, size_t len, const char *config)
{
  WT_SESSION *session = appending.session;
  if (in_pending == 0) TRY(session->begin_transaction(session, NULL));
  side_status status = put(value, len);
  return status == SIDE_OK && ++in_pending == AT_ONCE ? flush(config) : status;
}

static side_status append(int thread, const void *value, size_t len)
{
  (void)thread;
  return put_loosely(value, len, NULL);
}

static side_status append_group(const void *const *values, const size_t *lens, size_t count)
{
  WT_SESSION *session = appending.session;
  TRY(session->begin_transaction(session, NULL));
  for (size_t i = 0; i < count; i++) {
    side_status status = put(values[i], lens[i]);
    if (status != SIDE_OK) return status;
  }
  TRY(session->commit_transaction(session, NULL));
  return SIDE_OK;
}

static side_status fill(const void *value, size_t len, uint64_t count)
{
  const char *config = is_synced ? "sync=off" : NULL;
  side_status status = SIDE_OK;
  for (uint64_t i = 0; i < count && status == SIDE_OK; i++) status = put_loosely(value, len, config);
  return status == SIDE_OK ? flush(config) : status;
}

static side_status sync_log(void)
{
  WT_SESSION *session = other.session;
  side_status status = flush(NULL);
  if (status != SIDE_OK) return status;
  TRY(session->log_flush(session, "sync=on"));
  return SIDE_OK;
}

static side_status replay(side_visit *visit, void *context)
{
  WT_CURSOR *cursor = other.cursor;
  WT_ITEM item;
  int status;
  while ((status = cursor->next(cursor)) == 0) {
    TRY(cursor->get_value(cursor, &item));
    visit(context, item.data, item.size);
  }
  TRY(cursor->reset(cursor));
  return status == WT_NOTFOUND ? SIDE_OK : side_failed("next", wiredtiger_strerror(status));
}

static side_status prepare_forget(void)
{
  WT_CURSOR *cursor = other.cursor;
  uint64_t last;
  TRY(cursor->prev(cursor));
  TRY(cursor->get_key(cursor, &last));
  TRY(cursor->reset(cursor));
  half = last / 2;
  return SIDE_OK;
}

static side_status forget_half(void)
{
  WT_SESSION *session = other.session;
  WT_CURSOR *cursor = other.cursor;
  cursor->set_key(cursor, half);
  TRY(session->truncate(session, NULL, NULL, cursor, NULL));
  return SIDE_OK;
}

static side_status close_log(void)
{
  side_status status = flush(NULL);
  TRY(connection->close(connection, "leak_memory=true"));
  return status;
}

int main(void)
{
  static const side_log log = {version, open_log, append, append_group, fill, sync_log, replay, prepare_forget, forget_half, close_log};
  return side_serve(&log);
}
