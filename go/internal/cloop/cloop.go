// Package cloop makes the library's calls in loops in C: what the Go package is measured against.
package cloop

/*
#include <stdlib.h>
#include <wal.h>

static wal_t *cloop_open(const char *dir)
{
  wal_options_t options;
  wal_t *wal = NULL;
  wal_options_init(&options, sizeof options);
  options.sync_mode = WAL_SYNC_NONE;
  return wal_open(dir, &options, &wal, NULL) == WAL_OK ? wal : NULL;
}

static int cloop_append(wal_t *wal, size_t n, const void *value, size_t len)
{
  for (; n > 0; n--) {
    if (wal_append(wal, WAL_OP_PUT, value, 8, value, len, NULL, NULL) < 0) return -1;
  }
  return 0;
}

static int cloop_append_batch(wal_t *wal, size_t n, size_t in_batch, const void *value, size_t len)
{
  wal_entry_t *entries = malloc(in_batch * sizeof *entries);
  int failed = entries == NULL;
  for (; n >= in_batch && !failed; n -= in_batch) {
    for (size_t at = 0; at < in_batch; at++) entries[at] = (wal_entry_t){value, value, 8, len, WAL_OP_PUT, 0};
    failed = wal_append_batch(wal, entries, in_batch, 0, NULL, NULL) < 0;
  }
  free(entries);
  return -failed;
}

static int cloop_replay(wal_t *wal, uint64_t *records)
{
  wal_cursor_t *cursor = NULL;
  wal_record_t record;
  int status = wal_replay_open(wal, WAL_REPLAY_OLDEST, 0, &cursor, NULL);
  if (status < 0) return status;
  *records = 0;
  while ((status = wal_replay_next(cursor, &record, NULL)) == WAL_OK) ++*records;
  wal_replay_close(cursor);
  return status;
}

static int cloop_truncate(wal_t *wal) { return wal_truncate(wal, wal_last_seq(wal), WAL_TRUNCATE_UNCHECKED, NULL); }
*/
import "C"

import (
	"errors"
	"unsafe"
)

var errFailed = errors.New("the C loop failed")

func result(status C.int) error {
	if status < 0 {
		return errFailed
	}
	return nil
}

// A Log is a log in WAL_SYNC_NONE.
type Log struct{ wal *C.wal_t }

// Open opens one.
func Open(dir string) (Log, error) {
	path := C.CString(dir)
	defer C.free(unsafe.Pointer(path))
	log := Log{C.cloop_open(path)}
	if log.wal == nil {
		return log, errFailed
	}
	return log, nil
}

// Close closes it.
func (l Log) Close() error { return result(C.int(C.wal_close(l.wal, nil))) }

// Append calls wal_append n times, with a key of 8 bytes.
func (l Log) Append(n int, value []byte) error {
	return result(C.cloop_append(l.wal, C.size_t(n), unsafe.Pointer(&value[0]), C.size_t(len(value))))
}

// AppendBatch appends n records by wal_append_batch, so many at a time.
func (l Log) AppendBatch(n, inBatch int, value []byte) error {
	return result(C.cloop_append_batch(l.wal, C.size_t(n), C.size_t(inBatch), unsafe.Pointer(&value[0]), C.size_t(len(value))))
}

// Replay calls wal_replay_next for each record of the log.
func (l Log) Replay() (records uint64, err error) {
	var count C.uint64_t
	err = result(C.cloop_replay(l.wal, &count))
	return uint64(count), err
}

// Truncate forgets everything.
func (l Log) Truncate() error { return result(C.cloop_truncate(l.wal)) }
