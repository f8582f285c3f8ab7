/*
 * wal.h - a write-ahead log
 *
 * Copyright and licence: see the file LICENSE (MIT). Made from the library's sources, not
 * written by hand.
 *
 *   What it is . What it is not . A program . Who passes what . Sync modes . Errors .
 *   Threads . Live readers and pins . Your own file layer . When things go wrong .
 *   Limits and memory . Files
 *
 * Then constants, structs, and the functions in the order of use: versions, statuses, opening
 * and closing, appending, making durable, checkpoint and truncate, replay, pins, where the log
 * stands, looking at a log without opening it.
 *
 *
 * WHAT IT IS
 *
 * A host, say a database, appends records to the log, applies them to its own store, and tells
 * the log from time to time "my store holds everything up to here". The log may forget those
 * records then. After a crash the host reads back what its store lacks. One number carries this
 * agreement, the sequence number (seq): 1 for the first record, one more for each further one,
 * never used again once durable.
 *
 *     store                                    log
 *       |-- wal_sync(S) ---------------------->|   nothing to do in WAL_SYNC_ALWAYS
 *       | flush everything up to S             |
 *       |-- wal_checkpoint(S) ---------------->|
 *       |<---------------------------------- n |   n >= S
 *       | save n durably                       |
 *       |-- wal_truncate(n) ------------------>|   forgets seq <= n, and only that
 *       |                                      |
 *       | (crash, restart: the store says n)   |
 *       |-- wal_open(store_seq = n) ---------->|   proves that nothing above n is missing
 *       |-- wal_replay_open(n) --------------->|   yields every record with seq > n, in order
 *
 * Why a number, and why does the log ask for it at each opening? Because the two halves of this
 * agreement can drift apart: a store restored from a backup, a log directory of yesterday, a
 * file lost. A log that is not told what the store holds replays what it has, and the store is
 * wrong from then on without anybody knowing. This one compares, and refuses with WAL_E_GAP.
 *
 *
 * WHAT IT IS NOT
 *
 * - It is not a store: there is no look-up by key, only reading in order from some seq on.
 * - It does not undo. Records cannot be removed from the end, nor changed.
 * - A record may be replayed that the store has already: if the host crashes after its flush
 *   and before it has saved n. Either applying twice must be harmless, or the store saves, in
 *   the same atomic step as its data, the seq up to which it has applied, as the program below
 *   does.
 * - Log first: the store must not durably hold what the log may still lose, or the two part at
 *   the next crash and the opening answers WAL_E_GAP. In WAL_SYNC_ALWAYS an appended record is
 *   safe to flush; in the other modes call wal_sync before the store flushes.
 * - A failed fsync is final. The handle is dead then (WAL_E_FAILED) and the log must be opened
 *   again: asking the kernel once more would answer "success" for pages that it has dropped.
 * - It finds out about a disk that loses or changes what it had stored; it cannot bring that
 *   back. A disk that answers a flush before it is done breaks every promise below.
 * - One handle for each log: a second wal_open, in this process or another, gets WAL_E_LOCKED,
 *   unless it only follows what the other one writes (WAL_OPEN_LIVE).
 *   Local file systems only: NFS and the like do not keep the promises of flock and fsync.
 * - Keys and values are not encrypted, and checksums (CRC-32) find damage, not malice.
 *
 *
 * A PROGRAM
 *
 * It keeps a sum in a file of its own, "first.db", and survives a crash at any point.
 *
 *     #define _XOPEN_SOURCE 700
 *     #include <fcntl.h>
 *     #include <stdio.h>
 *     #include <stdlib.h>
 *     #include <unistd.h>
 *     #include <wal.h>
 *
 *     static struct { uint64_t seq, total; } store;    // applied up to seq; the data
 *     static wal_error_t err;
 *
 *     static int check(int status)
 *     {
 *       if (status >= 0) return status;
 *       fprintf(stderr, "first: %s\n", err.code ? err.message : "first.db failed");
 *       exit(1);
 *     }
 *
 *     static int save(int file)                        // both numbers in one step
 *     {
 *       ssize_t written = pwrite(file, &store, sizeof store, 0);
 *       return written == (ssize_t)sizeof store ? fdatasync(file) : -1;
 *     }
 *
 *     int main(void)
 *     {
 *       wal_options_t options; wal_t *wal; wal_cursor_t *cursor; wal_record_t record;
 *       int file = check(open("first.db", O_RDWR | O_CREAT, 0600));
 *       check((int)pread(file, &store, sizeof store, 0));
 *
 *       wal_options_init(&options, sizeof options);
 *       options.store_seq = store.seq ? store.seq : WAL_STORE_EMPTY;
 *       check(wal_open("first.log", &options, &wal, &err));
 *
 *       check(wal_replay_open(wal, store.seq, 0, &cursor, &err));
 *       while (check(wal_replay_next(cursor, &record, &err)) == WAL_OK) {
 *         store.total += record.value_len;             // apply what the store lacks
 *         store.seq = record.seq;
 *       }
 *       wal_replay_close(cursor);
 *
 *       check(wal_append(wal, WAL_OP_PUT, "key", 3, "value", 5, &store.seq, &err));
 *       store.total += 5;                              // logged, so it may be applied
 *
 *       check(save(file));                             // from time to time: flush,
 *       check(wal_checkpoint(wal, store.seq, &store.seq, &err));    // tell the log,
 *       check(save(file));                             // save n,
 *       check(wal_truncate(wal, store.seq, 0, &err));  // forget
 *
 *       printf("%llu bytes\n", (unsigned long long)store.total);
 *       return check(wal_close(wal, &err));
 *     }
 *
 *
 * WHO PASSES WHAT AS `COVERED`
 *
 * wal_checkpoint(covered) says: every record with seq <= covered is in my store, durably. A
 * number that is too low keeps records longer than needed. One that is too high loses data.
 *
 * - A store that stops its writers while it flushes, or has one thread: WAL_SEQ_LAST, after the
 *   flush, before the next append. Call it every some megabytes of log (appended_bytes in
 *   wal_stat), because the records since then are what a restart replays.
 * - A key-value store with a memtable: write each change to the log, then into the memtable.
 *   When the memtable is full, remember the seq S of its last record, give new writes a new
 *   memtable, write the full one out as a sorted file and sync the file and the directory. Then
 *   wal_checkpoint(S). Not WAL_SEQ_LAST: the new memtable's records are in the log already. With
 *   several writers, switch memtables when no record up to S is still on its way from the log
 *   into the old one.
 * - Several tables or partitions on one log, flushed at different times: remember for each the
 *   smallest seq that it has not flushed, take the smallest of those and subtract 1 (if all are
 *   flushed, pass the last seq that was appended before the flushes began). A table that is
 *   rarely written would hold the log back for ever: flush it now and then. Replay gives every
 *   table all records above n; each skips what it has flushed.
 * - A replicated log (Raft and its like): put term and index into the record. Its index is not
 *   the seq: when a new leader overwrites entries, append the new ones, and let replay know that
 *   an entry with index i replaces all earlier ones from i on. After a snapshot up to index i is
 *   durable, covered is the seq of the last record appended for index i. Term and vote must be
 *   in the snapshot as well, or be appended again first, as they stand in records below covered.
 *   Answer the leader after wal_append in WAL_SYNC_ALWAYS, or after wal_wait_durable.
 *
 * Save n together with the log's id (wal_log_id), pass both to wal_open, and neither an old copy
 * of the store, nor of the log, nor another store's log will be taken for the right one.
 *
 *
 * SYNC MODES
 *
 *   mode              when an append returns       a crash of the   a power cut
 *                                                  process loses    loses
 *   WAL_SYNC_ALWAYS   durable; threads that        nothing          nothing
 *                     append at once share a sync
 *   WAL_SYNC_BATCH    accepted; synced every       at most          the same
 *                     batch_records records or     batch_records
 *                     batch_interval_us            records
 *   WAL_SYNC_OS       handed to the system         nothing          what is not yet synced
 *   WAL_SYNC_NONE     copied into a buffer         the buffer       what is not yet synced
 *
 * In every mode wal_sync makes everything up to a seq durable, WAL_APPEND_SYNC one batch, and
 * what survives is a prefix of what was appended: never a record without those before it. In
 * WAL_SYNC_BATCH appends wait rather than leave more than batch_records records at risk (a
 * larger batch is appended alone, once nothing else is). WAL_SYNC_OS and WAL_SYNC_NONE sync in
 * the background every quarter of a segment, and every 16 MiB at the latest.
 *
 *
 * ERRORS
 *
 * Every function that can fail returns a wal_status_t: negative is an error, WAL_OK is 0, and
 * WAL_END and WAL_TIMEOUT are positive and no errors. Its last argument is a wal_error_t of the
 * caller's, or NULL; it is written on every negative return, and never otherwise. There is no
 * "last error" kept anywhere. Results are written on success only, except where a function says
 * otherwise. Codes are stable, new ones may come; texts may change. A NULL where something is
 * needed is WAL_E_INVALID; NULL with length 0 is an empty key or value. Reserved members and
 * unknown flags must be 0. Every function can also return WAL_E_PANIC: a bug in this library,
 * caught before it reached the host. The handle is unusable then, the process and the log on
 * disk are not.
 *
 *
 * THREADS
 *
 * A wal_t may be used by many threads at once, in every function that takes one, except that
 * nothing may run beside or after wal_close: call wal_shutdown, which wakes all that wait, join
 * the threads, then wal_close. A wal_cursor_t may be used by one thread at a time; different
 * cursors of one log are independent of each other. Cursors outlive the log: they answer
 * WAL_E_CLOSED and are closed with wal_replay_close, before or after wal_close. Functions
 * without a handle may be called at any time.
 *
 * A log has at most one thread of its own, started when first needed, with all signals blocked:
 * it prepares segments and frees forgotten ones. WAL_OPTION_NO_THREAD forbids it; that work is
 * then done inside the calls that need it. Nothing here is async-signal-safe, and a thread that
 * is in a call must not be cancelled or jumped out of.
 *
 * After fork the child's copies of the handles are dead: calls return WAL_E_FORKED, numbers read
 * 0, wal_close and wal_replay_close free memory and do nothing else (wal_close returns
 * WAL_E_FORKED). The parent does not notice, and the child does not hold its lock. A child may
 * open other logs, and this one after the parent has closed it.
 *
 *
 * LIVE READERS AND PINS
 *
 * A second process may read a log while the first one writes it: wal_open with WAL_OPEN_READ_ONLY
 * and WAL_OPEN_LIVE takes no lock, writes nothing, and the writer does not notice. Replays yield
 * every record in order, as far as something on disk proves that it is durable, and go on after
 * WAL_END with what has come since; wal_replay_wait looks every 10 milliseconds.
 *
 * What is proven is a little behind. A group of records that were synced together is proven by
 * the next thing that is written to the log, so that in WAL_SYNC_ALWAYS the last append is shown
 * when the next one comes, and a log that rests shows all but its last group. wal_publish shows
 * everything at once, at the price of one more sync; so do wal_checkpoint, wal_truncate and
 * wal_close. In the other modes readers are behind by what is not yet synced, and that group.
 * wal_last_seq tells what a live reader has seen, wal_durable_seq what it may show.
 *
 * A live reader that is slower than the host forgets gets WAL_E_GAP, never other bytes than those
 * that were appended. A pin (wal_pin_create) keeps what it needs: pin first, replay from the
 * pin's seq with WAL_REPLAY_PINNED, and move the pin up as the records have been dealt with. When
 * the writer dies and the log is opened again, live readers go on without a break.
 *
 *
 * DIRECT WRITES
 *
 * WAL_OPTION_DIRECT writes segments past the system's cache (O_DIRECT), in whole blocks of 4096
 * bytes. It makes a durable append of up to 256 KiB faster on most disks, the more so the fewer
 * threads append at once, and leaves the cache to others. What it asks for: Linux, a file system
 * that can (WAL_E_INVALID otherwise, at opening), WAL_SYNC_ALWAYS or WAL_SYNC_BATCH, 268 KiB of
 * memory, and a second descriptor for each segment that is open to be written. What it costs: a
 * replay that follows close behind the end, and a live reader, read from the disk what they would
 * have found in the cache. Nothing else changes: the files are the same, and a log may be opened
 * so one time and otherwise the next.
 *
 *
 * YOUR OWN FILE LAYER
 *
 * A host whose files are not the system's gives wal_options_t a wal_storage_t: functions that do
 * to named files what the log asks for. For a database with a file layer of its own (a cache, an
 * encryption, a network), for littlefs or FatFs on a chip, for a simulated disk in tests. All
 * else stays as it is, the promises of this header included, if the layer keeps these rules:
 *
 * - Durable. Bytes are durable when sync of their file has returned 0, names (of files created,
 *   renamed, removed) when sync_dir has. Neither stands for the other: a name may survive
 *   without the bytes, and bytes without a name. Until then a power cut may leave any part of
 *   the names, and of the bytes any part in any order; a sector that it hits may hold anything
 *   in those bytes that unsynced writes changed. All other bytes stay what they were. A layer
 *   that makes more durable, or earlier, does no harm.
 * - A sync that fails is final: the log believes nothing about that file, or those names, until
 *   it is opened again. Then it calls sync and drop_cache before it reads what decides: what
 *   reads show after a sync that returned 0 must be on the medium, whatever failed before.
 * - Space. Files are written with zeros before they are used, and then only overwritten, so that
 *   a full disk is met early and harms nothing. Where overwriting needs space, too (as on
 *   flash), it is a failed write: nothing acknowledged is lost, but the handle may have to be
 *   opened again. Keep some blocks free.
 * - Handles. A file may be open more than once, and is while it is written and read: each handle
 *   sees at once what any other has written. A file may be renamed or removed while it is open,
 *   and its handles go on; after a removal they are closed, and nothing else, but by a live
 *   reader, whose reads may go on or fail, which it takes for a gap. A log has some six files
 *   open, and one for each cursor.
 * - Threads. The functions are called by threads that are in a call on the log or one of its
 *   cursors, and by the log's own thread unless WAL_OPTION_NO_THREAD; at the same time, and on
 *   the same file, too, for instance a write or a read beside a sync. No byte is written by two
 *   at once. A read may take in bytes that are being written; whatever it shows of those will
 *   do. What one thread has opened or locked, another may close or unlock. A layer for one thread
 *   takes a lock of its own in each function.
 * - From inside. They are called with locks of the log held: they must not call a function of
 *   this library on the same log or its cursors, must return, and must not be left by an
 *   exception or longjmp. The log's own thread has a stack of 256 KiB, of which half is theirs.
 *   In a child made by fork they are not called; the parent's locks must stay the parent's.
 * - Answers. 0 or a count, or an error number of errno.h, negated (-EIO, -ENOSPC): it comes out
 *   in os_error, with the file's name in the message. What is neither (a positive error number,
 *   a count above what was asked for, a file that is NULL) is EPROTO. The log does not repeat a
 *   call that answered -EINTR.
 *
 * wal_open, wal_inspect and wal_inspect_damage take it; live readers (WAL_OPEN_LIVE) do as
 * well. The pin functions know the system's files only: a log elsewhere heeds the pins that it
 * finds, as in a copied directory, and none can be made there. Files are the same bytes
 * everywhere, so a log may be copied from one layer to another while it is closed.
 *
 *
 * WHEN THINGS GO WRONG
 *
 * Power cut, crash, kill -9: everything acknowledged is there, in order and without holes; a
 * batch is there whole or not at all. Records that were appended and not yet acknowledged may be
 * there or not; the opening settles which, and opening again gives the same answer. Garbage
 * behind the end is dropped and reported (wal_report).
 *
 * Disk full: WAL_E_NO_SPACE, found before anything is written. The log is as before the call and
 * works again when there is space. Opening, replaying, checkpointing and truncating work on a
 * full disk (not on copy-on-write file systems, where overwriting needs space as well).
 *
 * Failed write: WAL_E_IO if what was written could be taken back: the log is as before the call.
 * Otherwise, and after every failed fsync, the handle is poisoned: that call, all waiting ones
 * and every later write return WAL_E_FAILED: err->os_error says what had failed, and err->seq to
 * err->seq_last are in doubt. Close the handle (WAL_E_FAILED again) and open the log: everything
 * acknowledged is there, perhaps followed by records that were in doubt.
 *
 * Damage (a flipped bit, a lost, cut or swapped file): WAL_E_CORRUPT with the file, the offset
 * and the seqs at risk, from wal_open if the chain of segments is broken, else from the cursor
 * that comes to it; never a wrong record, never a silent end. WAL_RECOVER_PREFIX opens such a
 * log: it keeps what precedes the damage, moves damaged files aside, and goes on above every seq
 * that was ever used. Replay answers WAL_E_GAP at the hole, unless told WAL_REPLAY_SKIP_LOST.
 *
 * Out of memory: WAL_E_NO_MEMORY, nothing has changed. No allocation that fails ends the process.
 *
 *
 * LIMITS AND MEMORY
 *
 *   key + value of a record                 segment_size - 512 bytes
 *   the same with a key above 65535 bytes   16 bytes less
 *   a batch                                 4 + 12 for each record + all keys and values
 *                                           <= segment_size - 512 bytes, packed or not
 *   segment_size                            4096 to 1073741824, multiples of 4096; 16 MiB
 *   seq                                     up to 4611686018427387903 (2^62 - 1)
 *   op                                      1, 2, 16 to 255
 *
 * An open log has two buffers of 1 MiB, a cursor one; opening a log that was not closed takes up
 * to 16 MiB for a moment. After wal_open, appending, syncing, checkpointing, truncating and
 * reading records no longer than the cursor's buffer allocate nothing, but for a few hundred
 * bytes where a call prepares a segment or drops one itself. On disk, a log has at least two
 * segments (the one being written and a prepared one) and 16 KiB more; a record costs at most
 * 31 bytes beside its key and value.
 *
 * Memory is the caller's or the library's, never handed over: what goes in is not kept after the
 * call; strings that come out are static; a record's bytes are valid until the next call on its
 * cursor; handles are freed by their close function, and by nothing else.
 *
 *
 * FILES
 *
 * The directory belongs to the log: LOCK, MANIFEST, 0000000001.wal and so on, spares, PINS and
 * pins, and damaged files set aside. It is created with mode 0700 and its files with 0600,
 * unless the options say otherwise. Copy it as a backup only while the log is closed. Files are
 * the same on every machine, whatever its byte order; FORMAT.md describes every byte.
 */

#ifndef WAL_H
#define WAL_H

#include <stddef.h>
#include <stdint.h>

/* The functions that are exported. WAL_STATIC: linked with the static archive. */
#ifndef WAL_API
#if defined(_WIN32) && !defined(WAL_STATIC)
#define WAL_API __declspec(dllimport)
#elif defined(__GNUC__) && !defined(WAL_STATIC)
#define WAL_API __attribute__((visibility("default")))
#else
#define WAL_API
#endif
#endif

/* Functions whose status must not be ignored. Define it as nothing to ignore them. */
#ifndef WAL_MUST_USE
#if defined(__GNUC__)
#define WAL_MUST_USE __attribute__((warn_unused_result))
#else
#define WAL_MUST_USE
#endif
#endif

/* An open log, and a replay. What is behind them is the library's. */
typedef struct wal wal_t;
typedef struct wal_cursor wal_cursor_t;

/* Versions */
#define WAL_VERSION_MAJOR  0        /* Incompatible changes of the library. */
#define WAL_VERSION_MINOR  1        /* Additions. */
#define WAL_VERSION_PATCH  0        /* Corrections. */
#define WAL_VERSION_NUMBER 100      /* major * 10000 + minor * 100 + patch. */
#define WAL_VERSION_STRING "0.1.0"  /* The same as text. */
#define WAL_ABI_VERSION    0        /* Changes when compiled programs would break. */
#define WAL_FORMAT_VERSION 1        /* Newest disk format this library reads and writes. */

/* What functions return */
#define WAL_OK      0  /* Done. */
#define WAL_END     1  /* No more records for now. */
#define WAL_TIMEOUT 2  /* The time is up. */

/* Errors */
#define WAL_E_INVALID          (-1)   /* An argument or option is wrong by itself. */
#define WAL_E_TOO_LARGE        (-2)   /* Record or batch exceeds one segment. */
#define WAL_E_RANGE            (-3)   /* A seq above the last one. */
#define WAL_E_NOT_CHECKPOINTED (-4)   /* No checkpoint allows this truncation. */
#define WAL_E_GAP              (-5)   /* Records the store lacks are gone. */
#define WAL_E_WRONG_LOG        (-6)   /* The log id is another one. */
#define WAL_E_LOCKED           (-7)   /* Somebody has the log open. */
#define WAL_E_NOT_FOUND        (-8)   /* There is no log here. */
#define WAL_E_EXISTS           (-9)   /* There is a log here already. */
#define WAL_E_CORRUPT          (-10)  /* Stored bytes are not what was written. */
#define WAL_E_FORMAT           (-11)  /* The log needs a newer library. */
#define WAL_E_IO               (-12)  /* The operating system reported an error. */
#define WAL_E_NO_SPACE         (-13)  /* No space; nothing has been written. */
#define WAL_E_NO_MEMORY        (-14)  /* Out of memory; nothing has changed. */
#define WAL_E_READ_ONLY        (-15)  /* The log was opened read-only. */
#define WAL_E_FAILED           (-16)  /* An earlier failure poisoned the handle. */
#define WAL_E_CLOSED           (-17)  /* The log was shut down or closed. */
#define WAL_E_FORKED           (-18)  /* The handle came through fork. */
#define WAL_E_PANIC            (-19)  /* A bug in this library, caught. */
#define WAL_E_MISUSE           (-20)  /* Not allowed in this state. */
#define WAL_E_NO_ROOM          (-21)  /* The next record does not fit there. */

/* log_callback: level */
#define WAL_LOG_ERROR   1  /* Somebody has to do something. */
#define WAL_LOG_WARNING 2  /* Somebody should know. */
#define WAL_LOG_INFO    3  /* Part of a log's life. */

/* wal_storage_open_t: flags */
#define WAL_STORAGE_CREATE    1  /* Make a new file; -EEXIST if there is one. */
#define WAL_STORAGE_READ_ONLY 2  /* Only size, read, sync, drop_cache follow. */

/* wal_storage_lock_t: flags */
#define WAL_STORAGE_SHARED 1  /* Others may share it at the same time. */

/* Options: sync_mode */
#define WAL_SYNC_ALWAYS 0  /* Durable when append returns (default). */
#define WAL_SYNC_BATCH  1  /* A bounded number of records at risk. */
#define WAL_SYNC_OS     2  /* Handed to the operating system. */
#define WAL_SYNC_NONE   3  /* Copied into the log's buffer. */

/* Options: recovery */
#define WAL_RECOVER_STRICT 0  /* Refuse a damaged log (default). */
#define WAL_RECOVER_PREFIX 1  /* Keep what precedes the damage. */

/* Options: open_flags */
#define WAL_OPEN_EXISTING  1  /* There must be a log. */
#define WAL_OPEN_NEW       2  /* There must be none yet. */
#define WAL_OPEN_READ_ONLY 4  /* There must be one; write nothing. */
#define WAL_OPEN_LIVE      8  /* With READ_ONLY: another may write it. */

/* Options: option_flags */
#define WAL_OPTION_NO_THREAD 1  /* Start no background thread. */
#define WAL_OPTION_DIRECT    2  /* Write past the system's cache: see DIRECT WRITES at the top. */

/* Options: other special values */
#define WAL_RECYCLE_NONE UINT32_MAX        /* As recycle_segments: keep none. */
#define WAL_STORE_EMPTY  (UINT64_MAX - 1)  /* As store_seq: the store is empty. */

/* Operations: op */
#define WAL_OP_PUT        1   /* A value was set. */
#define WAL_OP_DELETE     2   /* A key was removed. */
#define WAL_OP_CHECKPOINT 3   /* Written by wal_checkpoint alone. */
#define WAL_OP_USER       16  /* This and up to 255: the host's own. */

/* wal_append_batch: flags */
#define WAL_APPEND_SYNC  1  /* Durable on return, in every mode. */
#define WAL_APPEND_ASYNC 2  /* Do not wait for a sync, in any mode. */

/* Special seqs and times */
#define WAL_SEQ_LAST     UINT64_MAX  /* As a seq: everything appended so far. */
#define WAL_WAIT_FOREVER UINT64_MAX  /* As timeout_us: no limit. */

/* wal_truncate: flags */
#define WAL_TRUNCATE_UNCHECKED 1  /* Forget even what no checkpoint covers. */

/* wal_replay_open: after_seq */
#define WAL_REPLAY_OLDEST (UINT64_MAX - 2)  /* As after_seq: the oldest record kept. */

/* wal_replay_open: flags */
#define WAL_REPLAY_RAW       1  /* CHECKPOINT records, too. */
#define WAL_REPLAY_UNSYNCED  2  /* Also what is not yet durable. */
#define WAL_REPLAY_SKIP_LOST 4  /* Step over records lost to damage. */
#define WAL_REPLAY_PINNED    8  /* Also what is forgotten but pinned. */

/* wal_pin_create: seq and flags */
#define WAL_PIN_OLDEST (UINT64_MAX - 2)  /* As seq: all that is not yet forgotten. */
#define WAL_PIN_REFUSE 1                 /* Refuse appends rather than lose it. */

/* wal_stat */
#define WAL_STAT_BUCKETS 24  /* Members of a histogram. */

/* wal_inspect: flags */
#define WAL_INSPECT_FULL 1  /* Read every byte, not just the chain. */

/**
 * What a function that can fail returns: 0 done, positive "not an error, but look", negative
 * one of WAL_E_... New codes of either sign may appear: test with `< 0`, and treat an error
 * that the program does not know like WAL_E_IO.
 */
typedef int32_t wal_status_t;

/**
 * What wal_options_t takes as log_callback: a function that gets `log_context`, a level and one
 * sentence in UTF-8, NUL-terminated, which names the log's directory and is the callee's until
 * it returns.
 *
 * The log calls it at the end of calls on its handle, wal_open and wal_close among them, and from
 * its background thread; never under a lock of its own, never twice at once, in the order in
 * which things happened, and never after wal_close has returned or wal_open has failed. It may
 * call every function of this library but wal_close of the same log (what that causes it hears
 * when it has returned), must return, and must not be left by an exception or longjmp. While it
 * runs, messages of other threads wait for it, up to 64; more are counted, and the count is told.
 *
 * It hears WAL_LOG_ERROR when the handle is poisoned, when a failed write was taken back, and
 * when an opening found damage, with the records it took; WAL_LOG_WARNING when an opening
 * dropped an unfinished write, rebuilt the manifest or moved damaged files aside, when the
 * background thread could not prepare or remove a segment, and when a sync took longer than
 * `slow_sync_us`; WAL_LOG_INFO when the log was created, recovered after a crash, opened, and
 * closed.
 */
typedef void (*wal_log_callback_t)(void *context, uint32_t level, const char *message);

/**
 * Sees to it that the directory `dir` is there, its parent not, and that its own name is durable
 * when this returns. Called by each wal_open that may create a log, first of all functions; that
 * the directory is there already is no error.
 *
 * Returns:  0; -ENOENT (no parent) or another -errno.
 */
typedef int32_t (*wal_storage_make_dir_t)(void *context, const char *dir);

/**
 * What wal_storage_list_t hands each name to: a function of the library. `names` is what list was
 * given; `name` is read before this returns.
 */
typedef void (*wal_storage_each_t)(void *names, const char *name);

/**
 * Calls `each` with `names` and the name of every entry of the directory, one at a time, in any
 * order, on the thread that called it and before it returns. Names without the directory in front
 * of them; what is not the log's is passed over. A file that another thread makes, renames or
 * removes meanwhile may be named or not; every other one must be. A name may come twice.
 *
 * A name that is NULL, empty, longer than 255 bytes or contains a '/' makes the listing fail.
 *
 * Returns:  0; -ENOENT (no such directory) or another -errno, whatever has been named so far.
 */
typedef int32_t (*wal_storage_list_t)(void *context, const char *dir, wal_storage_each_t each,
                                      void *names);

/**
 * Opens a file for reading and writing.
 *
 * flags     0: it is there. WAL_STORAGE_CREATE: it is not, and is made, empty; the name is
 *           durable after sync_dir. WAL_STORAGE_READ_ONLY: it is there and is not written to.
 *           Never both.
 * file      receives what the other functions get as `file`: anything but NULL.
 *
 * Returns:  0; -ENOENT (it is not there), -EEXIST (it is, and was to be made), -EISDIR (it is
 *           not a plain file), -ENOSPC, -ENOMEM, -EMFILE, another -errno.
 */
typedef int32_t (*wal_storage_open_t)(void *context, const char *dir, const char *name,
                                      uint32_t flags, void **file);

/**
 * Ends the use of an open file. It need not make anything durable: what had to be has been
 * synced.
 */
typedef void (*wal_storage_close_t)(void *context, void *file);

/**
 * The size of a file.
 *
 * Returns:  bytes, or a -errno.
 */
typedef int64_t (*wal_storage_size_t)(void *context, void *file);

/**
 * Reads up to `len` bytes, 1 to 1073741824, from `offset` on into `bytes`. It may read fewer: the
 * log then asks for the rest. `offset` may lie behind the end of a file that damage has cut.
 *
 * Returns:  how many were read; 0 at the file's end and behind it, and only there; or a -errno.
 */
typedef int64_t (*wal_storage_read_t)(void *context, void *file, uint64_t offset, void *bytes,
                                      size_t len);

/**
 * Writes up to `len` bytes, 1 to 1073741824, at `offset`, which is never behind the file's end;
 * the file grows as it must. It may write fewer: the log then comes with the rest. Durable after
 * sync.
 *
 * Returns:  how many were written, at least 1; or -ENOSPC or another -errno, after which any of
 *           them may have been.
 */
typedef int64_t (*wal_storage_write_t)(void *context, void *file, uint64_t offset,
                                       const void *bytes, size_t len);

/**
 * Makes content and size of a file durable: all that any handle of it had written when this was
 * called. Also called for files that were opened with WAL_STORAGE_READ_ONLY: what they show is to
 * be durable before it is believed.
 *
 * Returns:  0, when it is so; or a -errno: what was to become durable is in doubt.
 */
typedef int32_t (*wal_storage_sync_t)(void *context, void *file);

/**
 * Called after sync, before a file is read that an earlier opening may have failed to sync: the
 * reads that follow must show what the medium holds, not what a cache still does. On Linux that
 * is posix_fadvise with POSIX_FADV_DONTNEED. NULL for layers whose reads, once sync has returned
 * 0, never show anything else.
 */
typedef void (*wal_storage_drop_cache_t)(void *context, void *file);

/**
 * Gives the file `from` the name `to`, which no file has: the log has looked. After a power cut
 * it has one of the two. Durable after sync_dir.
 *
 * Returns:  0; -ENOENT (no such file) or another -errno: it has its old name.
 */
typedef int32_t (*wal_storage_rename_t)(void *context, const char *dir, const char *from,
                                        const char *to);

/**
 * Removes a file. Durable after sync_dir.
 *
 * Returns:  0; -ENOENT (no such file) or another -errno: it is still there.
 */
typedef int32_t (*wal_storage_remove_t)(void *context, const char *dir, const char *name);

/**
 * Makes the names in a directory durable: every file that has been created, renamed or removed.
 *
 * Returns:  0, when it is so; or a -errno: the names are in doubt.
 */
typedef int32_t (*wal_storage_sync_dir_t)(void *context, const char *dir);

/**
 * Takes a lock, without waiting, against everybody who may use the same directory: other handles
 * of this process and, where they can reach the files, other processes. It must end with its
 * holder, also if that is killed or loses power.
 *
 * name      which: "LOCK", from wal_open to wal_close, or "PINS", for a moment now and then; they
 *           have nothing to do with each other. Files of these names may serve for it. When the
 *           log gives "LOCK" back it has closed its files, but for those of cursors.
 * flags     0: for one holder. WAL_STORAGE_SHARED: for readers (WAL_OPEN_READ_ONLY without
 *           WAL_OPEN_LIVE, wal_inspect); nothing is to be created for it. A layer that has
 *           no shared locks may take one for one holder.
 * lock      receives what unlock gets.
 *
 * Returns:  0; -EAGAIN (somebody holds it: WAL_E_LOCKED); -ENOENT with WAL_STORAGE_SHARED (there
 *           is nothing that could be locked, which is no error); or another -errno.
 */
typedef int32_t (*wal_storage_lock_t)(void *context, const char *dir, const char *name,
                                      uint32_t flags, void **lock);

/**
 * Gives a lock back.
 */
typedef void (*wal_storage_unlock_t)(void *context, void *lock);

/**
 * Fills `bytes` with `len` bytes that nobody can guess. Asked for once, when a log is created:
 * its id, and the seed of its checksums. NULL: the system's.
 *
 * Returns:  0, or a -errno.
 */
typedef int32_t (*wal_storage_random_t)(void *context, void *bytes, size_t len);

/**
 * A file layer of the host's own, for wal_options_t: see YOUR OWN FILE LAYER at the top, and each
 * function's type above. The log copies the struct when it is opened; functions and context must
 * be good until wal_close of the log and wal_replay_close of all its cursors have returned.
 *
 * `dir` is always the string that was passed to wal_open, `name`, `from` and `to` are at most 18
 * letters, digits and dots; strings and memory are the callee's until it returns.
 */
typedef struct wal_storage_t {
  uint32_t struct_size;                 /* sizeof(wal_storage_t). */
  uint32_t reserved;                    /* Reserved, 0. */
  void *context;                        /* What every function gets as its first argument. */
  wal_storage_make_dir_t make_dir;      /* Needed, like all that follow but drop_cache and
                                         * random. */
  wal_storage_list_t list;              /* The names in a directory. */
  wal_storage_open_t open;              /* Opens a file, or makes one. */
  wal_storage_close_t close;            /* Ends the use of an open file. */
  wal_storage_size_t size;              /* Bytes in a file. */
  wal_storage_read_t read;              /* Reads at an offset. */
  wal_storage_write_t write;            /* Writes at an offset. */
  wal_storage_sync_t sync;              /* Content and size are durable afterwards. */
  wal_storage_drop_cache_t drop_cache;  /* NULL if reads never show what is not on the medium. */
  wal_storage_rename_t rename;          /* Renames a file. */
  wal_storage_remove_t remove;          /* Removes a file. */
  wal_storage_sync_dir_t sync_dir;      /* Names are durable afterwards. */
  wal_storage_lock_t lock;              /* Locks the log, or its pins. */
  wal_storage_unlock_t unlock;          /* Gives a lock back. */
  wal_storage_random_t random;          /* NULL: the system's random numbers. */
} wal_storage_t;

/**
 * How to open a log. Fill it with wal_options_init, then set what should differ: 0 is every
 * member's default. The struct grows in later versions; struct_size says which version the
 * program was compiled with, and a member that the running library does not know is refused
 * if it is set.
 */
typedef struct wal_options_t {
  uint32_t struct_size;             /* sizeof(wal_options_t), written by wal_options_init. */
  uint32_t sync_mode;               /* When an append returns: WAL_SYNC_...; see the table at
                                     * the top. */
  uint64_t segment_size;            /* For a log that is created: bytes in a segment, a
                                     * multiple of 4096 from 4096 to 1073741824. 0: 16 MiB. An
                                     * existing log keeps its own. */
  uint64_t store_seq;               /* What the store says it durably holds: the n saved after
                                     * the last checkpoint, or WAL_STORE_EMPTY. The log proves
                                     * that it has everything above, or refuses with WAL_E_GAP.
                                     * 0: not given, nothing is proven. */
  uint32_t open_flags;              /* WAL_OPEN_...; 0: open the log, or create it. store_seq
                                     * (except WAL_STORE_EMPTY) and expected_log_id imply
                                     * WAL_OPEN_EXISTING. WAL_OPEN_LIVE: see LIVE READERS at
                                     * the top. */
  uint32_t recovery;                /* What to do about damage: WAL_RECOVER_... */
  uint32_t batch_records;           /* For WAL_SYNC_BATCH: most records that are not yet
                                     * durable. 0: 1000. */
  uint32_t batch_interval_us;       /* For WAL_SYNC_BATCH: longest time until a record is
                                     * durable, in microseconds; needs the background thread.
                                     * 0: no such limit. */
  uint8_t expected_log_id[16];      /* The log id that the store remembers (wal_log_id);
                                     * another log is refused with WAL_E_WRONG_LOG. All 0: not
                                     * given. */
  uint32_t recycle_segments;        /* Forgotten segments kept to be written again, which is
                                     * faster than new files. 0: 8. WAL_RECYCLE_NONE: none. */
  uint32_t option_flags;            /* WAL_OPTION_... */
  uint32_t directory_mode;          /* Permissions of a directory that is created, as for
                                     * chmod(2). 0: 0700. */
  uint32_t file_mode;               /* Permissions of the files that are created. 0: 0600. */
  uint64_t reserved[7];             /* Reserved, 0. */
  wal_log_callback_t log_callback;  /* Hears what happens beside the answers of calls: see
                                     * wal_log_callback_t. NULL: nobody. */
  void *log_context;                /* What it gets as its first argument. */
  uint32_t slow_sync_us;            /* The callback hears of a sync that took as many
                                     * microseconds. 0: 1 second. */
  uint32_t reserved_2;              /* Reserved, 0. */
  const wal_storage_t *storage;     /* The host's own file layer: see YOUR OWN FILE LAYER at
                                     * the top. directory_mode and file_mode must be 0 with it.
                                     * NULL: the system's files. */
  void *reserved_3;                 /* Reserved, NULL. */
} wal_options_t;

/**
 * What went wrong. Every function that can fail takes a pointer to one as its last argument,
 * or NULL. It is the caller's, needs no initialising, holds no memory to free, and is written
 * whole on every negative return and never otherwise. Programs look at `code` and the numbers;
 * `message` is for people and may change its wording.
 */
typedef struct wal_error_t {
  uint64_t seq;       /* First record concerned, 0 if none: the missing, endangered or doubtful
                       * ones. */
  uint64_t seq_last;  /* Last record concerned; UINT64_MAX: `seq` and all later ones; 0 if only
                       * `seq`. */
  uint64_t segment;   /* Number in the name of the file concerned (3 in "0000000003.wal"), 0 if
                       * none. */
  uint64_t offset;    /* Byte offset in that file, 0 if none. For an entry of a batch: its
                       * index. */
  int32_t code;       /* The status that the function returned. */
  int32_t extended;   /* Reserved for finer codes; 0 in this version. */
  int32_t os_error;   /* The operating system's error number (`errno`), 0 if none. */
  int32_t reserved;   /* Reserved, 0. */
  char message[272];  /* One sentence in UTF-8, NUL-terminated; begins with the file's path if
                       * there is one. */
} wal_error_t;

/**
 * One record of a batch. All of it is the caller's and is read during the call only.
 */
typedef struct wal_entry_t {
  const void *key;    /* key_len bytes; may be NULL if key_len is 0. */
  const void *value;  /* value_len bytes; may be NULL if value_len is 0. */
  size_t key_len;     /* Bytes in the key. */
  size_t value_len;   /* Bytes in the value. */
  uint32_t op;        /* WAL_OP_PUT, WAL_OP_DELETE or 16 to 255. */
  uint32_t reserved;  /* Must be 0. */
} wal_entry_t;

/**
 * One record of a packed batch: what its bytes are. No padding: 12 bytes.
 */
typedef struct wal_packed_entry_t {
  uint32_t key_len;    /* Bytes in the key. */
  uint32_t value_len;  /* Bytes in the value. */
  uint32_t op;         /* WAL_OP_PUT, WAL_OP_DELETE or 16 to 255. */
} wal_packed_entry_t;

/**
 * One record read back.
 */
typedef struct wal_record_t {
  uint64_t seq;             /* Its sequence number. */
  uint64_t batch_last_seq;  /* Last seq of its batch; its own seq if it was appended alone. */
  const void *key;          /* key_len bytes, never NULL. */
  const void *value;        /* value_len bytes, never NULL. */
  size_t key_len;           /* Bytes in the key. */
  size_t value_len;         /* Bytes in the value. */
  uint32_t op;              /* As appended: WAL_OP_PUT, WAL_OP_DELETE or 16 to 255; with
                             * WAL_REPLAY_RAW also WAL_OP_CHECKPOINT, whose value is n, then
                             * covered, 8 bytes each, little-endian. */
  uint32_t reserved[3];     /* Reserved, 0. */
} wal_record_t;

/**
 * One record read back by wal_replay_next_packed, without its bytes. No padding: 32 bytes.
 */
typedef struct wal_packed_record_t {
  uint64_t seq;             /* Its sequence number. */
  uint64_t batch_last_seq;  /* Last seq of its batch; its own seq if it was appended alone. */
  uint32_t key_len;         /* Bytes in the key. */
  uint32_t value_len;       /* Bytes in the value. */
  uint32_t op;              /* As in wal_record_t. */
  uint32_t reserved;        /* Reserved, 0. */
} wal_packed_record_t;

/**
 * A pin, and what it holds.
 */
typedef struct wal_pin_t {
  uint64_t seq;                  /* Every record above stays on disk. */
  uint64_t held_bytes;           /* Bytes of forgotten segments that are on disk and that this
                                  * pin needs. What several need is counted for each of them. */
  uint64_t max_bytes;            /* The most that may be, as given at its creation; 0: no
                                  * limit. */
  uint64_t lost_seq_last;        /* If it is lost: records from seq + 1 to here may be gone.
                                  * Otherwise 0. */
  uint32_t flags;                /* As given at its creation: 0 or WAL_PIN_REFUSE. */
  uint32_t lost;                 /* 1 if it reached max_bytes and was given up: it keeps
                                  * nothing any more. Otherwise 0. */
  uint32_t damaged;              /* 1 if its file is damaged, else 0. Then only `name` is set,
                                  * to that of the file ("0000000003.pin"), and nothing at all
                                  * is dropped until wal_pin_drop is called with it. */
  uint32_t reserved;             /* Reserved, 0. */
  char name[64];                 /* Its name, NUL-terminated. */
  uint64_t reserved_numbers[4];  /* Reserved, 0. */
} wal_pin_t;

/**
 * Where a log stands and what it has done. Grows in later versions. A histogram's member 0 counts
 * zeros, member i the numbers from 2^(i-1) up to but not including 2^i, the last one all larger
 * ones, too.
 */
typedef struct wal_stat_t {
  uint64_t last_seq;               /* Last record appended, 0 if there never was one. */
  uint64_t durable_seq;            /* Last record known to be durable. */
  uint64_t checkpoint_seq;         /* Highest n of any checkpoint. */
  uint64_t checkpoint_covered;     /* What the host declared with it. */
  uint64_t oldest_seq;             /* Oldest record kept; last_seq + 1 if there is none. */
  uint64_t floor_seq;              /* Records up to here have been forgotten. */
  uint64_t epoch;                  /* Unclean openings so far, and those that dropped
                                    * something. */
  uint64_t segment_size;           /* Bytes in a segment file of this log. */
  uint64_t disk_bytes;             /* Bytes on disk: segments, spares, manifest. */
  uint64_t segments;               /* Segments that hold records. */
  uint64_t spares;                 /* Files prepared or kept for coming segments. */
  uint64_t appends;                /* Since this opening: calls that appended. */
  uint64_t records;                /* Since this opening: records appended. */
  uint64_t appended_bytes;         /* Since this opening: bytes appended, headers and padding
                                    * included. */
  uint64_t writes;                 /* Since this opening: writes to segments. */
  uint64_t syncs;                  /* Since this opening: syncs of segments. */
  uint64_t rotations;              /* Since this opening: segments begun. */
  uint64_t recycled;               /* Since this opening: segments begun in a forgotten one's
                                    * blocks. */
  uint32_t poisoned;               /* 1 if a failed write or sync has poisoned the handle, else
                                    * 0. */
  uint32_t reserved;               /* Reserved, 0. */
  uint64_t spares_ready;           /* Of the spares, those that are prepared: an append can go
                                    * on in them at once. */
  uint64_t segments_forgotten;     /* Of the segments, those that are forgotten and not yet
                                    * removed, perhaps for an open cursor. */
  uint64_t checkpoints;            /* Since this opening: checkpoints. */
  uint64_t truncations;            /* Since this opening: truncations that forgot something. */
  uint64_t synced_records;         /* Since this opening: records that syncs made durable. */
  uint64_t group_max_records;      /* The most records that one sync made durable. */
  uint64_t sync_us;                /* Since this opening: time spent in syncs, in microseconds. */
  uint64_t sync_max_us;            /* The longest sync, in microseconds. */
  uint64_t sync_running_us;        /* How long the sync under way has taken so far, in
                                    * microseconds; 0 if there is none. */
  uint64_t failures;               /* Since this opening: failures of the log's own work (a
                                    * write, a sync, a segment that could not be prepared or
                                    * removed, the manifest), told by a call or not. */
  uint64_t last_error_us;          /* When the last of them was, in microseconds since 1970; 0
                                    * if there was none. */
  uint64_t last_error_seq;         /* First record that it concerns, 0 if none. */
  uint64_t last_error_seq_last;    /* Last record that it concerns, 0 if none or only
                                    * last_error_seq. */
  uint64_t last_error_segment;     /* The segment that it concerns, 0 if none. */
  int32_t last_error_code;         /* Its status, WAL_OK if there was none. */
  int32_t last_error_os_error;     /* The operating system's error number with it, 0 if none. */
  uint64_t pins;                   /* Pins that keep something or could, as this handle saw
                                    * them last: when it opened the log, and when it last had
                                    * forgotten segments to drop. wal_pin_list tells how they
                                    * are now. A live reader does not look: 0. */
  uint64_t pins_lost;              /* Pins that reached their limit and were lost. */
  uint64_t pins_damaged;           /* Files of pins that are damaged. While there is one,
                                    * nothing is dropped. */
  uint64_t pinned_seq;             /* The lowest seq of any pin; UINT64_MAX if there is none, 0
                                    * if one is damaged. */
  uint64_t pinned_bytes;           /* Bytes of forgotten segments that are on disk because pins
                                    * need them. */
  uint64_t group_histogram[24];    /* Since this opening: syncs by the records that each made
                                    * durable. */
  uint64_t sync_us_histogram[24];  /* Since this opening: syncs by the microseconds that each
                                    * took. */
} wal_stat_t;

/**
 * What an opening found and did, or would. Grows in later versions.
 */
typedef struct wal_report_t {
  uint64_t epoch;               /* Unclean openings so far, and those that dropped something. */
  uint64_t last_seq;            /* Last record, 0 if there never was one. */
  uint64_t oldest_seq;          /* Oldest record kept; last_seq + 1 if there is none. */
  uint64_t floor_seq;           /* Records up to here have been forgotten. */
  uint64_t forgotten_data_seq;  /* The last forgotten one that was no CHECKPOINT record: a
                                 * store below it has a gap. */
  uint64_t checkpoint_seq;      /* Highest n of any checkpoint. */
  uint64_t checkpoint_covered;  /* What the host declared with it. */
  uint64_t segments;            /* Segments that hold records. */
  uint64_t spares;              /* Files prepared or kept for coming segments. */
  uint64_t segment_size;        /* Bytes in a segment file of this log. */
  uint64_t bytes_read;          /* Bytes read to find all this out. */
  uint64_t copied_records;      /* Records at the end that a crash had left undecided and that
                                 * were made durable. */
  uint64_t copied_bytes;        /* Their bytes. */
  uint64_t dropped_segment;     /* Garbage behind the last usable byte, as a torn write leaves
                                 * it: the segment, 0 if none, */
  uint64_t dropped_offset;      /* where in it, */
  uint64_t dropped_bytes;       /* how much, */
  uint64_t dropped_frames;      /* and how many whole frames were in it that cannot be reached. */
  uint64_t damage_segment;      /* Damage (see damage_code): the segment, 0 if it is the
                                 * manifest or there is none, */
  uint64_t damage_offset;       /* where in it, */
  uint64_t damage_seq;          /* the first record at risk, 0 if unknown, */
  uint64_t damage_seq_last;     /* and the last; UINT64_MAX: all later ones. */
  uint64_t lost_first_seq;      /* First record that WAL_RECOVER_PREFIX gave up, 0 if none. */
  uint64_t lost_last_seq;       /* The last one. */
  uint64_t files_aside;         /* Damaged files moved aside ("NNNNNNNNNN.damaged"). */
  uint64_t damages;             /* Damages; with WAL_INSPECT_FULL all there are. */
  uint64_t damaged_files;       /* Files that an earlier WAL_RECOVER_PREFIX moved aside. */
  uint64_t foreign_files;       /* Files with a segment's name that the log does without and
                                 * that have not its header. */
  uint64_t duration_us;         /* Time it took, in microseconds. */
  uint8_t log_id[16];           /* The log's identity. */
  uint32_t clean;               /* 1 if the last close was clean, else 0. */
  uint32_t created;             /* 1 if this opening created the log, else 0. */
  uint32_t rebuilt_manifest;    /* 1 if WAL_RECOVER_PREFIX had to rebuild the manifest, else 0. */
  int32_t damage_code;          /* The status that a strict opening returns because of the
                                 * damage, WAL_OK if there is none. */
  int32_t damage_os_error;      /* The operating system's error number with it, 0 if none. */
  uint32_t reserved;            /* Reserved, 0. */
} wal_report_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/* --------------------------------------------------------------------------------------------
 * Versions
 * -------------------------------------------------------------------------------------------- */

/**
 * The version of the library that the program runs with, as a number: compare it with
 * WAL_VERSION_NUMBER, the one it was compiled with.
 *
 * Returns:  major * 10000 + minor * 100 + patch.
 * Threads:  any, any time.
 */
WAL_API uint32_t wal_version_number(void);

/**
 * The same as text, for people.
 *
 * Returns:  for example "0.1.0".
 * Threads:  any, any time.
 * Lifetime: static.
 */
WAL_API const char *wal_version_string(void);

/**
 * The version of the binary interface. A program compiled with WAL_ABI_VERSION runs with every
 * library that answers the same number; the shared library's name carries it (libwal.so.0).
 *
 * Returns:  WAL_ABI_VERSION of the running library.
 * Threads:  any, any time.
 */
WAL_API uint32_t wal_abi_version(void);

/**
 * The version of the files on disk that the library writes; it reads this one and all older
 * ones. A log that needs a newer reader is refused with WAL_E_FORMAT.
 *
 * Returns:  WAL_FORMAT_VERSION of the running library.
 * Threads:  any, any time.
 */
WAL_API uint32_t wal_format_version(void);

/* --------------------------------------------------------------------------------------------
 * Statuses
 * -------------------------------------------------------------------------------------------- */

/**
 * One sentence about a status, for logs and users. `err->message` says more about one failure.
 *
 * code      any number; an unknown one gets a sentence, too.
 *
 * Returns:  UTF-8, never NULL.
 * Threads:  any, any time.
 * Lifetime: static.
 */
WAL_API const char *wal_strerror(wal_status_t code);

/**
 * The name of a status as this header spells it: "WAL_E_GAP".
 *
 * code      any number; an unknown one gives "WAL_E_?".
 *
 * Returns:  ASCII, never NULL.
 * Threads:  any, any time.
 * Lifetime: static.
 */
WAL_API const char *wal_status_name(wal_status_t code);

/* --------------------------------------------------------------------------------------------
 * Opening and closing
 * -------------------------------------------------------------------------------------------- */

/**
 * Makes options that ask for nothing but defaults: zeros, and `size` in struct_size.
 *
 * options   memory of `size` bytes, overwritten. NULL: nothing happens.
 * size      sizeof(wal_options_t). Below 4: nothing happens.
 *
 * Threads:  any, any time.
 */
WAL_API void wal_options_init(wal_options_t *options, size_t size);

/**
 * Opens a log, or creates it where there is none (unless the options say otherwise). After a
 * crash it first makes sure that everything it will ever show is durable; that takes as long
 * as reading and copying one segment, not the log.
 *
 * dir       the log's directory, created if need be, its parent not; the log's alone.
 * options   NULL: defaults.
 * out       receives the handle.
 *
 * Returns:  WAL_OK;
 *           WAL_E_INVALID, with the option's name in the message;
 *           WAL_E_NOT_FOUND (no log, and it was not to be created), WAL_E_EXISTS (WAL_OPEN_NEW);
 *           WAL_E_LOCKED (open elsewhere, in this process or another);
 *           WAL_E_GAP (the store is older than what the log has forgotten, or newer than its
 *           end; seq to seq_last are missing), WAL_E_WRONG_LOG;
 *           WAL_E_CORRUPT (file, offset and records at risk in err), WAL_E_FORMAT;
 *           WAL_E_IO, WAL_E_NO_SPACE, WAL_E_NO_MEMORY, WAL_E_PANIC.
 *           On every error nothing can have been appended, and no handle exists; a log that was
 *           to be created may be there, empty.
 * Threads:  any, any time.
 * Lifetime: the handle lives until wal_close. dir and options are not kept, but for log_callback
 *           and log_context, which must be good until wal_close has returned, and what `storage`
 *           names, which its cursors use until wal_replay_close.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_open(const char *dir, const wal_options_t *options, wal_t **out, wal_error_t *err);

/**
 * Ends the log's work without freeing it: every thread that waits in a call on it is woken, and
 * every later call on it and its cursors returns WAL_E_CLOSED. For programs with several
 * threads: wal_shutdown, join the threads, wal_close. An append under way may still complete.
 * Shutting down twice is allowed.
 *
 * Returns:  WAL_OK, WAL_E_INVALID (wal is NULL), WAL_E_FORKED, WAL_E_PANIC.
 * Threads:  any.
 */
WAL_API wal_status_t wal_shutdown(wal_t *wal, wal_error_t *err);

/**
 * Makes everything durable, marks the log clean, and frees the handle, whatever it returns.
 * Only after WAL_OK was everything appended durable in every sync mode.
 *
 * wal       an open log that no other thread is using.
 *
 * Returns:  WAL_OK;
 *           WAL_E_INVALID (wal is NULL);
 *           WAL_E_IO, WAL_E_NO_SPACE (the final write or sync failed; the next opening treats
 *           the log like after a crash);
 *           WAL_E_FAILED (the handle was poisoned; likewise);
 *           WAL_E_FORKED (in a child that inherited the handle: it is freed, nothing else
 *           happens, the parent's log is not touched);
 *           WAL_E_PANIC.
 * Threads:  no other call on this handle may be under way or follow.
 * Lifetime: ends the handle. Its cursors stay valid, answer WAL_E_CLOSED, and are closed on
 *           their own.
 */
WAL_API wal_status_t wal_close(wal_t *wal, wal_error_t *err);

/* --------------------------------------------------------------------------------------------
 * Appending
 * -------------------------------------------------------------------------------------------- */

/**
 * Appends one record. When it returns is the sync mode's to say; in WAL_SYNC_ALWAYS the record
 * is durable then, and many threads that append at once share one sync.
 *
 * op        WAL_OP_PUT, WAL_OP_DELETE or 16 to 255.
 * key       key_len bytes; NULL with length 0 is fine. Opaque payloads need no key.
 * value     value_len bytes; NULL with length 0 is fine.
 * seq       receives the record's sequence number; may be NULL.
 *
 * Returns:  WAL_OK;
 *           WAL_E_INVALID, WAL_E_TOO_LARGE (see "Limits"), WAL_E_READ_ONLY, WAL_E_CLOSED,
 *           WAL_E_NO_SPACE, WAL_E_NO_MEMORY: the log is as before the call, and usable;
 *           WAL_E_IO: the write failed and was taken back, the log is as before the call;
 *           WAL_E_FAILED: the handle is poisoned; err->seq to seq_last are in doubt, this
 *           record perhaps among them;
 *           WAL_E_FORKED, WAL_E_PANIC.
 * Threads:  any. Allocates nothing.
 * Lifetime: key and value are not kept.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_append(wal_t *wal, uint8_t op, const void *key, size_t key_len, const void *value,
           size_t value_len, uint64_t *seq, wal_error_t *err);

/**
 * Appends several records with consecutive sequence numbers as one unit: after any crash either
 * all of them are there or none.
 *
 * entries   `count` entries; they and their bytes must not change during the call.
 * count     at least 1.
 * flags     0: as the sync mode says; or WAL_APPEND_SYNC, or WAL_APPEND_ASYNC.
 * last_seq  receives the last record's sequence number; the first is last_seq - count + 1.
 *           May be NULL.
 *
 * Returns:  as wal_append. If one entry is wrong, err->offset is its index and nothing has been
 *           appended.
 * Threads:  any. Allocates nothing.
 * Lifetime: entries, keys and values are not kept.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_append_batch(wal_t *wal, const wal_entry_t *entries, size_t count, uint32_t flags,
                 uint64_t *last_seq, wal_error_t *err);

/**
 * Appends a batch that is packed: after any crash either all of its records are there or none.
 * It is wal_append_batch for many small records, and for languages whose calls into C are dear
 * or may not pass pointers to pointers: the batch is two flat pieces of memory, in the shape in
 * which the log writes it, so that nothing is done for each record but to check it.
 *
 * entries    `count` of them, in the machine's byte order.
 * count      at least 1.
 * bytes      the first entry's key, its value, the second's key, its value, and so on, with
 *            nothing between. May be NULL if bytes_len is 0. Both may stand at any address and
 *            must not change during the call.
 * bytes_len  exactly the sum of all key_len and value_len.
 * flags      0: as the sync mode says; or WAL_APPEND_SYNC, or WAL_APPEND_ASYNC.
 * last_seq   receives the last record's sequence number; the first is last_seq - count + 1.
 *            May be NULL.
 *
 * Returns:  as wal_append_batch. WAL_E_INVALID, too, if the lengths do not add up to bytes_len;
 *           err->offset is then the index of the first entry that exceeds it, or count if all
 *           together fall short.
 * Threads:  any. Allocates nothing.
 * Lifetime: entries and bytes are not kept.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_append_packed(wal_t *wal, const wal_packed_entry_t *entries, size_t count, const void *bytes,
                  size_t bytes_len, uint32_t flags, uint64_t *last_seq, wal_error_t *err);

/* --------------------------------------------------------------------------------------------
 * Making durable
 * -------------------------------------------------------------------------------------------- */

/**
 * Returns once every record up to `seq` is durable. Threads that call it at once share syncs;
 * what is durable already costs nothing.
 *
 * seq       a sequence number, or WAL_SEQ_LAST.
 *
 * Returns:  WAL_OK;
 *           WAL_E_INVALID, WAL_E_RANGE (seq is above the last), WAL_E_READ_ONLY, WAL_E_CLOSED,
 *           WAL_E_FORKED;
 *           WAL_E_IO, WAL_E_NO_SPACE (buffered records could not be written; they were taken
 *           back);
 *           WAL_E_FAILED (the sync failed, or an earlier one: the handle is poisoned, records
 *           err->seq to seq_last are in doubt); WAL_E_PANIC.
 * Threads:  any. Allocates nothing.
 */
WAL_API WAL_MUST_USE wal_status_t wal_sync(wal_t *wal, uint64_t seq, wal_error_t *err);

/**
 * Hands everything appended so far to the operating system, so that it survives the end of this
 * process, but not a power cut. Of use in WAL_SYNC_NONE and WAL_SYNC_BATCH.
 *
 * Returns:  as wal_sync, but never WAL_E_RANGE.
 * Threads:  any. Allocates nothing.
 */
WAL_API WAL_MUST_USE wal_status_t wal_flush(wal_t *wal, wal_error_t *err);

/**
 * Waits until the record `seq` is durable, by whatever sync makes it so: it starts none itself,
 * and it may wait for a record that has not been appended yet. For threads that answer clients
 * or feed replicas while others append.
 *
 * seq         a sequence number, or WAL_SEQ_LAST: everything appended before this call.
 * timeout_us  microseconds; 0 only asks; WAL_WAIT_FOREVER waits without a limit.
 *
 * Returns:  WAL_OK, WAL_TIMEOUT;
 *           WAL_E_INVALID, WAL_E_RANGE (no record can ever get that seq), WAL_E_READ_ONLY,
 *           WAL_E_CLOSED (shut down meanwhile), WAL_E_FAILED, WAL_E_FORKED, WAL_E_PANIC.
 * Threads:  any. Allocates nothing.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_wait_durable(wal_t *wal, uint64_t seq, uint64_t timeout_us, wal_error_t *err);

/**
 * Shows everything that is durable by now to those who follow the log from other processes
 * (WAL_OPEN_LIVE): writes and syncs the manifest, unless that says so already. Appending goes on
 * meanwhile. A checkpoint and a truncation do the same.
 *
 * Returns:  WAL_OK;
 *           WAL_E_INVALID, WAL_E_READ_ONLY, WAL_E_CLOSED, WAL_E_FORKED, WAL_E_IO, WAL_E_NO_SPACE
 *           (nothing has changed), WAL_E_FAILED, WAL_E_PANIC.
 * Threads:  any.
 */
WAL_API WAL_MUST_USE wal_status_t wal_publish(wal_t *wal, wal_error_t *err);

/* --------------------------------------------------------------------------------------------
 * Checkpoint and truncate
 * -------------------------------------------------------------------------------------------- */

/**
 * Declares that the host's store durably holds every record up to `covered`, and learns up to
 * where the log may be truncated. It makes everything appended so far durable, appends a
 * CHECKPOINT record (which takes a sequence number; replay skips it), forces it to disk, and
 * remembers the declaration.
 *
 * covered   the highest seq that the store durably holds, together with all before it; or
 *           WAL_SEQ_LAST if nothing has been appended since the store's flush began.
 * n         receives the highest seq that this declaration makes safe to forget: at least
 *           `covered`, and the CHECKPOINT record's own seq if no other record stands between
 *           the two. Save it in the store, durably, before calling wal_truncate.
 *
 * Calling it with WAL_SEQ_LAST while other threads append loses what they appended since the
 * flush: pass what the store has really flushed. A `covered` below an earlier one is allowed;
 * it takes nothing back.
 *
 * Returns:  WAL_OK;
 *           WAL_E_INVALID (n is NULL, too), WAL_E_RANGE (covered is above the last seq: this is
 *           not the store's log), WAL_E_READ_ONLY, WAL_E_CLOSED, WAL_E_FORKED;
 *           WAL_E_IO, WAL_E_NO_SPACE, WAL_E_NO_MEMORY, WAL_E_FAILED: nothing may be truncated
 *           on the strength of this call; WAL_E_PANIC.
 * Threads:  any.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_checkpoint(wal_t *wal, uint64_t covered, uint64_t *n, wal_error_t *err);

/**
 * Forgets every record up to `up_to`, and only those. No replay opened later yields them; a crash
 * does not bring them back; a cursor that is open keeps what it still has to read. The disk
 * space comes back in whole segments, in the background, and appends do not wait for it.
 *
 * up_to     usually the n of wal_checkpoint, once the store has saved it. 0, or what has been
 *           forgotten already, does nothing.
 * flags     0, or WAL_TRUNCATE_UNCHECKED: forget even what no checkpoint covers.
 *
 * Returns:  WAL_OK;
 *           WAL_E_INVALID, WAL_E_RANGE (above the last seq, whatever the flags);
 *           WAL_E_NOT_CHECKPOINTED (above the highest n of this opening, and above the
 *           store_seq it was opened with; seq to seq_last are not covered);
 *           WAL_E_READ_ONLY, WAL_E_CLOSED, WAL_E_FORKED;
 *           WAL_E_IO, WAL_E_NO_SPACE, WAL_E_NO_MEMORY (nothing has been forgotten, or it is not
 *           durable that it has: call it again), WAL_E_FAILED, WAL_E_PANIC.
 * Threads:  any.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_truncate(wal_t *wal, uint64_t up_to, uint32_t flags, wal_error_t *err);

/* --------------------------------------------------------------------------------------------
 * Replay
 * -------------------------------------------------------------------------------------------- */

/**
 * Starts reading the records with seq > after_seq, in order. It first syncs, and the cursor
 * shows only what is durable, so that nothing it shows can be taken back by a crash.
 *
 * after_seq  what the store holds: 0 for an empty one; or WAL_REPLAY_OLDEST for all that the
 *            log still has.
 * flags      0, or any of:
 *            WAL_REPLAY_RAW        yield CHECKPOINT records, too;
 *            WAL_REPLAY_UNSYNCED   yield everything appended, durable or not; on a log opened
 *                                  read-only, also what a crash has left undecided;
 *            WAL_REPLAY_SKIP_LOST  go on behind records that damage took, instead of
 *                                  WAL_E_GAP; the jump shows in the seqs;
 *            WAL_REPLAY_PINNED     begin among what the host has forgotten, as far as a pin that
 *                                  is not lost keeps it: after_seq at or above that pin's seq,
 *                                  or WAL_REPLAY_OLDEST for all that any pin keeps.
 * out        receives the cursor.
 *
 * Returns:  WAL_OK, even if there is nothing to read;
 *           WAL_E_GAP: records above after_seq have been forgotten (the store is older than the
 *           log), or after_seq is above the last seq (the log is older than the store, or
 *           another store's); seq to seq_last are missing. With WAL_REPLAY_PINNED also: what a
 *           pin was to keep is damaged or gone;
 *           WAL_E_INVALID, WAL_E_CLOSED, WAL_E_FORKED, WAL_E_CORRUPT, WAL_E_IO, WAL_E_NO_SPACE,
 *           WAL_E_NO_MEMORY (a cursor has a buffer of 1 MiB), WAL_E_FAILED, WAL_E_PANIC.
 * Threads:  any.
 * Lifetime: the cursor lives until wal_replay_close, even beyond wal_close.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_replay_open(wal_t *wal, uint64_t after_seq, uint32_t flags, wal_cursor_t **out,
                wal_error_t *err);

/**
 * Reads the next record. After WAL_END it may be called again and goes on with what has become
 * durable since.
 *
 * record    receives the record.
 *
 * Returns:  WAL_OK, WAL_END (no more records for now);
 *           WAL_E_CORRUPT (from now on always: the records behind cannot be trusted to follow),
 *           WAL_E_GAP (records seq to seq_last were lost to damage; likewise);
 *           WAL_E_INVALID, WAL_E_IO, WAL_E_NO_MEMORY (a record longer than the buffer),
 *           WAL_E_CLOSED, WAL_E_FORKED, WAL_E_PANIC (then WAL_E_FAILED),
 *           WAL_E_MISUSE (two threads at once, as far as it is noticed).
 * Threads:  one at a time for each cursor.
 * Lifetime: key and value are valid until the next call on this cursor.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_replay_next(wal_cursor_t *cursor, wal_record_t *record, wal_error_t *err);

/**
 * Reads as many of the next records as there is room for, in one call: wal_replay_next for many
 * small records, and for languages whose calls into C are dear. The two may be mixed on one
 * cursor.
 *
 * records   receives up to `capacity` records without their bytes, in the machine's byte order.
 * capacity  at least 1.
 * bytes     receives the first record's key, its value, the second's key, its value, and so on,
 *           with nothing between: `size` bytes at most, and whole records only. NULL if size is
 *           0. Both may stand at any address.
 * count     receives how many records were read: at least 1.
 *
 * Returns:  WAL_OK: there may be more, whatever count says; WAL_END (no more records for now);
 *           WAL_E_NO_ROOM: the next record does not fit into `size` bytes; it stays the next,
 *           and records[0] describes it: it needs key_len + value_len bytes;
 *           the errors of wal_replay_next, once the records before have been handed out. Except
 *           for WAL_E_NO_ROOM, results are written with WAL_OK only; the rest of both memories
 *           has no defined content afterwards.
 * Threads:  one at a time for each cursor.
 * Lifetime: all is the caller's. Ends that of the bytes that wal_replay_next has given.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_replay_next_packed(wal_cursor_t *cursor, wal_packed_record_t *records, size_t capacity,
                       void *bytes, size_t size, size_t *count, wal_error_t *err);

/**
 * Waits until wal_replay_next has something new to say after a WAL_END. Starts no sync.
 *
 * timeout_us  microseconds; 0 only asks; WAL_WAIT_FOREVER waits without a limit.
 *
 * Returns:  WAL_OK (call wal_replay_next), WAL_TIMEOUT;
 *           WAL_E_INVALID, WAL_E_CLOSED (shut down meanwhile), WAL_E_FAILED (poisoned: nothing
 *           more becomes durable), WAL_E_CORRUPT, WAL_E_GAP, WAL_E_FORKED, WAL_E_MISUSE,
 *           WAL_E_PANIC.
 * Threads:  one at a time for each cursor.
 * Lifetime: ends that of the last record's bytes.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_replay_wait(wal_cursor_t *cursor, uint64_t timeout_us, wal_error_t *err);

/**
 * Frees a cursor. NULL: nothing happens.
 *
 * Threads:  no other call on this cursor may be under way or follow.
 * Lifetime: ends the cursor and the bytes of its last record.
 */
WAL_API void wal_replay_close(wal_cursor_t *cursor);

/* --------------------------------------------------------------------------------------------
 * Pins
 * -------------------------------------------------------------------------------------------- */

/**
 * Makes a pin: a named, durable promise that every record with seq > `seq` stays on disk and can
 * be read, whatever the host has forgotten by wal_truncate, until the pin is moved up or dropped.
 * For whoever reads the log beside the host: a backup, a replica, a change feed. The host does
 * not notice: its own replays, and the WAL_E_GAP rule, know only what it has forgotten. Read
 * with wal_replay_open and WAL_REPLAY_PINNED.
 *
 * A pin belongs to the log's directory, not to a handle: any process may call these functions,
 * whether the log is open, there or elsewhere, or not at all. Each is durable when it returns.
 * A forgotten pin fills the disk: give it a limit, and watch pinned_bytes in wal_stat. The pin
 * functions are for logs on the system's files, not for those on a wal_storage_t.
 *
 * dir        the log's directory, as for wal_open. If it is a relative path, the current
 *            directory must be the same as then.
 * name       1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-', not that of a pin's file.
 * seq        the last record that is not needed, 0 for a new log; or WAL_PIN_OLDEST: keep all
 *            that the host has not forgotten yet. A seq that the log has not reached yet is not
 *            noticed.
 * max_bytes  the most that forgotten segments may hold for the sake of this pin; looked at
 *            whenever the host truncates. 0: no limit.
 * flags      what happens above max_bytes. 0: the pin is lost: it keeps nothing any more, says
 *            so durably (lost in wal_pin_t), and answers WAL_E_GAP to wal_pin_advance.
 *            WAL_PIN_REFUSE: the host's appends that need another segment are refused with
 *            WAL_E_NO_SPACE until the pin is moved up or dropped.
 * pinned     receives from where on the pin holds: `seq`, or the last forgotten seq if that is
 *            higher and only CHECKPOINT records lie between. NULL: not wanted.
 *
 * Returns:  WAL_OK;
 *           WAL_E_GAP: records above seq have been forgotten already, seq to seq_last of them;
 *           WAL_E_EXISTS (a pin of this name), WAL_E_NOT_FOUND (no log there), WAL_E_RANGE;
 *           WAL_E_LOCKED (another process has been changing pins for five seconds);
 *           WAL_E_INVALID, WAL_E_CORRUPT, WAL_E_FORMAT, WAL_E_IO, WAL_E_NO_SPACE,
 *           WAL_E_NO_MEMORY: the pin may be there or not; wal_pin_list tells; WAL_E_PANIC.
 * Threads:  any, any time.
 * Lifetime: nothing is kept.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_pin_create(const char *dir, const char *name, uint64_t seq, uint64_t max_bytes,
               uint32_t flags, uint64_t *pinned, wal_error_t *err);

/**
 * Moves a pin up: records up to `seq` are no longer needed. It is durable before it counts, so
 * that a crash never leaves a pin that asks for more than is there. The disk space comes back
 * when the host truncates next, or opens the log.
 *
 * dir       the log's directory.
 * name      the pin's.
 * seq       at least its present one. Above the log's last record it promises less than the
 *           caller may think, and is not noticed.
 *
 * Returns:  WAL_OK;
 *           WAL_E_NOT_FOUND (no such pin, or no log), WAL_E_RANGE (seq is below its present one);
 *           WAL_E_GAP (the pin is lost: records seq to seq_last may be gone; drop it and begin
 *           anew);
 *           WAL_E_LOCKED, WAL_E_INVALID, WAL_E_CORRUPT, WAL_E_FORMAT, WAL_E_IO, WAL_E_NO_MEMORY:
 *           it is where it was or where it was to go; WAL_E_PANIC.
 * Threads:  any, any time.
 * Lifetime: nothing is kept.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_pin_advance(const char *dir, const char *name, uint64_t seq, wal_error_t *err);

/**
 * Takes a pin away. The disk space comes back when the host truncates next, or opens the log. A
 * replay that is open in the process of the host keeps what it still has to read.
 *
 * dir       the log's directory.
 * name      the pin's; for a damaged one, the name of its file.
 *
 * Returns:  WAL_OK, WAL_E_NOT_FOUND (no such pin, or no log);
 *           WAL_E_LOCKED, WAL_E_INVALID, WAL_E_CORRUPT, WAL_E_FORMAT, WAL_E_IO, WAL_E_NO_MEMORY:
 *           it may be there or not; WAL_E_PANIC.
 * Threads:  any, any time.
 * Lifetime: nothing is kept.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_pin_drop(const char *dir, const char *name, wal_error_t *err);

/**
 * Tells every pin of a log: where it is, what it holds, and whether it is lost or damaged.
 *
 * dir       the log's directory.
 * pins      receives the first `capacity` of them, in the order of their making; NULL if capacity
 *           is 0. Their content is undefined if the call fails.
 * count     receives how many there are, which may be more.
 *
 * Returns:  WAL_OK, even if there is none;
 *           WAL_E_NOT_FOUND (no log), WAL_E_LOCKED, WAL_E_INVALID, WAL_E_CORRUPT, WAL_E_FORMAT,
 *           WAL_E_IO, WAL_E_NO_MEMORY, WAL_E_PANIC.
 * Threads:  any, any time.
 * Lifetime: nothing is kept.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_pin_list(const char *dir, wal_pin_t *pins, size_t capacity, size_t *count, wal_error_t *err);

/* --------------------------------------------------------------------------------------------
 * Where the log stands
 * -------------------------------------------------------------------------------------------- */

/**
 * The seq of the last record appended; 0 before the first. A number that is never given out
 * again once it is durable, even if all records are forgotten.
 *
 * Returns:  the seq. 0 if wal is NULL or came through fork.
 * Threads:  any.
 */
WAL_API uint64_t wal_last_seq(const wal_t *wal);

/**
 * The seq up to which every record is durable. Starts no sync.
 *
 * Returns:  the seq. 0 if wal is NULL or came through fork.
 * Threads:  any.
 */
WAL_API uint64_t wal_durable_seq(const wal_t *wal);

/**
 * The highest n that any wal_checkpoint of this log has given, in this opening or before.
 *
 * Returns:  the seq, 0 if there was no checkpoint, wal is NULL or came through fork.
 * Threads:  any.
 */
WAL_API uint64_t wal_checkpoint_seq(const wal_t *wal);

/**
 * The seq of the oldest record that has not been forgotten.
 *
 * Returns:  the seq, wal_last_seq + 1 if all are forgotten. 0 if wal is NULL or came through
 *           fork.
 * Threads:  any.
 */
WAL_API uint64_t wal_oldest_seq(const wal_t *wal);

/**
 * The log's identity: random bytes made at its creation. A store that saves them and passes them
 * as expected_log_id can never be paired with another store's log.
 *
 * id        receives 16 bytes: all 0 (which means "not given") if wal is NULL or came through
 *           fork. NULL: nothing happens.
 *
 * Threads:  any.
 */
WAL_API void wal_log_id(const wal_t *wal, uint8_t *id);

/**
 * Positions and counters at one point in time.
 *
 * stat      receives the first `size` bytes.
 * size      sizeof(wal_stat_t).
 *
 * Returns:  WAL_OK, WAL_E_INVALID, WAL_E_FORKED, WAL_E_PANIC.
 * Threads:  any. Waits for the log's lock; not for every append.
 */
WAL_API wal_status_t wal_stat(const wal_t *wal, wal_stat_t *stat, size_t size, wal_error_t *err);

/**
 * What the opening of this log found and did: whether the last close was clean, what had to be
 * dropped or copied, which damage was met.
 *
 * report    receives the first `size` bytes.
 * size      sizeof(wal_report_t).
 *
 * Returns:  WAL_OK, WAL_E_INVALID, WAL_E_FORKED, WAL_E_PANIC.
 * Threads:  any.
 */
WAL_API wal_status_t
wal_report(const wal_t *wal, wal_report_t *report, size_t size, wal_error_t *err);

/* --------------------------------------------------------------------------------------------
 * Looking at a log without opening it
 * -------------------------------------------------------------------------------------------- */

/**
 * Finds out what wal_open would find, and changes nothing. Damage is not an error here: it is in
 * the report, the first one with its place, all of them as a number. expected_log_id is
 * compared; store_seq is not, but an opening accepts it if forgotten_data_seq <= store_seq <=
 * last_seq (and it is not inside or below lost records).
 *
 * dir       the log's directory.
 * options   as for wal_open; NULL: defaults. Nothing is created whatever they say.
 * flags     0: what an opening reads; or WAL_INSPECT_FULL: verify every record of every segment
 *           and count the damages, each of which wal_inspect_damage names.
 * report    receives the first `size` bytes.
 * size      sizeof(wal_report_t).
 *
 * Returns:  WAL_OK, with damage_code in the report;
 *           WAL_E_INVALID, WAL_E_NOT_FOUND, WAL_E_LOCKED (a writer has the log open),
 *           WAL_E_WRONG_LOG, WAL_E_FORMAT, WAL_E_IO, WAL_E_NO_MEMORY, WAL_E_PANIC.
 * Threads:  any, any time.
 * Lifetime: nothing is kept.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_inspect(const char *dir, const wal_options_t *options, uint32_t flags, wal_report_t *report,
            size_t size, wal_error_t *err);

/**
 * Reads every byte of the log, changes nothing, and tells each damage: code, file (segment 0 is
 * the manifest), offset and the records at risk, as the error that would name it. Behind a
 * damaged frame it goes on at the next whole one, so that all are found at once; seq is 0 where
 * no record is lost, or none can be named. What an opening does not mind is told, too: a damaged
 * copy of the manifest if others are whole, and damage among forgotten records that pins keep.
 *
 * dir       the log's directory.
 * options   as for wal_open; NULL: defaults.
 * damages   receives the first `capacity` of them, in the order of the files; NULL if capacity
 *           is 0. Their content is undefined if the call fails.
 * count     receives how many there are, which may be more.
 *
 * Returns:  WAL_OK, whatever is damaged; the errors of wal_inspect.
 * Threads:  any, any time.
 * Lifetime: nothing is kept.
 */
WAL_API WAL_MUST_USE wal_status_t
wal_inspect_damage(const char *dir, const wal_options_t *options, wal_error_t *damages,
                   size_t capacity, size_t *count, wal_error_t *err);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WAL_H */
