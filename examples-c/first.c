#define _XOPEN_SOURCE 700
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <wal.h>

static struct { uint64_t seq, total; } store;    // applied up to seq; the data
static wal_error_t err;

static int check(int status)
{
  if (status >= 0) return status;
  fprintf(stderr, "first: %s\n", err.code ? err.message : "first.db failed");
  exit(1);
}

static int save(int file)                        // both numbers in one step
{
  ssize_t written = pwrite(file, &store, sizeof store, 0);
  return written == (ssize_t)sizeof store ? fdatasync(file) : -1;
}

int main(void)
{
  wal_options_t options; wal_t *wal; wal_cursor_t *cursor; wal_record_t record;
  int file = check(open("first.db", O_RDWR | O_CREAT, 0600));
  check((int)pread(file, &store, sizeof store, 0));

  wal_options_init(&options, sizeof options);
  options.store_seq = store.seq ? store.seq : WAL_STORE_EMPTY;
  check(wal_open("first.log", &options, &wal, &err));

  check(wal_replay_open(wal, store.seq, 0, &cursor, &err));
  while (check(wal_replay_next(cursor, &record, &err)) == WAL_OK) {
    store.total += record.value_len;             // apply what the store lacks
    store.seq = record.seq;
  }
  wal_replay_close(cursor);

  check(wal_append(wal, WAL_OP_PUT, "key", 3, "value", 5, &store.seq, &err));
  store.total += 5;                              // logged, so it may be applied

  check(save(file));                             // from time to time: flush,
  check(wal_checkpoint(wal, store.seq, &store.seq, &err));    // tell the log,
  check(save(file));                             // save n,
  check(wal_truncate(wal, store.seq, 0, &err));  // forget

  printf("%llu bytes\n", (unsigned long long)store.total);
  return check(wal_close(wal, &err));
}
