// Package wal is a write-ahead log: the Go side of libwal, a C library.
//
// A program that keeps data in a store of its own appends each change to the log before it applies it. From time to time the store says how far it
// has come, and the log forgets those records. After a crash the log hands back what the store lacks. One number carries that agreement, the
// sequence number, and the log checks both halves of it:
//
//	store                                    log
//	  | flush everything up to S             |
//	  |-- Checkpoint(S) -------------------->|
//	  |<---------------------------------- n |   n >= S
//	  | save n durably                       |
//	  |-- Truncate(n) ---------------------->|   forgets seq <= n, and only that
//	  |                                      |
//	  | (crash, restart: the store says n)   |
//	  |-- Open(StoreSeq: n) ---------------->|   proves that nothing above n is missing
//	  |-- Replay(n) ------------------------>|   yields every record above n, in order
//
// A store that is older than its log, or newer, or another log's, is refused with [ErrGap] or [ErrWrongLog] before anything is appended. Log first:
// the store must not durably hold what the log may still lose, or the two part at the next crash. In [SyncAlways] an appended record is safe to
// flush; in the other modes call [Log.Sync] before the store flushes.
//
// # When is a record safe?
//
// The [SyncMode] says when an append returns. In the default, [SyncAlways], the record is durable then; goroutines that append at once share a sync.
// In the others an append returns earlier, and [Log.Sync], [Log.WaitDurable] or [AppendSync] make the difference where it counts. In every mode
// what survives a crash is a prefix of what was appended.
//
// # Goroutines
//
// All methods of a [Log] may be called from many goroutines at once, [Log.Close] too. A [Batch] and a loop over a replay belong to one goroutine at a
// time. Goroutines that wait for a disk wait in Go: appends, syncs and waits that come together occupy one thread in C, however many they are.
//
// # Memory
//
// What is passed in is not kept after the call. The bytes of a [Record] are in Go's memory, and are used again for the next record: clone what must
// stay. Appending allocates nothing while goroutines do not meet; a replay allocates once.
//
// # Errors
//
// Every error is an [*Error], but for those of a context. Use [errors.Is] with the codes ([ErrGap], [ErrNoSpace] and so on) or with an errno, and
// [errors.As] for the details: which records, which file, where. After [ErrFailed] the log is dead: close it and open it again, and everything
// that was acknowledged is there; the error's Errno says what had failed. A failed fsync is never tried again, because the second one would succeed although the data is lost.
//
// # Other readers
//
// One process has a log open for writing. Others may read it meanwhile, with [OpenLive] and [Log.Follow]: they see what something on disk proves to be
// durable, which is a little behind ([Log.Publish]), and one that is slower than the writer forgets gets [ErrGap], never wrong bytes. A [Pin] keeps
// what it needs: make it first, replay from its Seq with [ReplayPinned], and move it up with [AdvancePin] as the records have been dealt with.
//
// # Watching
//
// [Options.Logger] hears what happens beside the answers of calls: recoveries, failed writes, slow syncs. [Log.Stat] and [Log.Collect] give what an
// operator graphs.
//
// # Linking
//
// The package links libwal.so by pkg-config; with the build tag wal_static it links the archive, and the program needs no library at run time. Either
// way it needs cgo, a C compiler, and the library installed (make install); PKG_CONFIG_PATH names the directory of wal.pc if it is not a usual one.
// Go's build cache does not notice that a library was replaced: after installing another build of the archive, build with -a.
//
// The header wal.h is the manual of the library and says more about each call, FORMAT.md in its sources describes every byte on disk.
package wal
