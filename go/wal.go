package wal

import (
	"io/fs"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"time"
)

// Numbers that stand for something in place of a sequence number.
const (
	// SeqLast, for Sync, WaitDurable and Checkpoint: everything appended so far.
	SeqLast uint64 = math.MaxUint64
	// StoreEmpty, for Options.StoreSeq: the store is empty.
	StoreEmpty uint64 = math.MaxUint64 - 1
	// Oldest, for Replay and Follow: the oldest record that the log has; for CreatePin: all that it has not forgotten yet.
	Oldest uint64 = math.MaxUint64 - 2
)

// An Op says what a record does. The log keeps it and does not look at it, except that it writes OpCheckpoint itself.
type Op uint8

// Operations.
const (
	// OpPut: a value was set.
	OpPut Op = 1
	// OpDelete: a key was removed.
	OpDelete Op = 2
	// OpCheckpoint: written by Checkpoint alone, shown by ReplayRaw alone.
	OpCheckpoint Op = 3
	// OpUser, and all above: the program's own.
	OpUser Op = 16
)

// A SyncMode says when an append returns, and thereby what a crash can lose.
type SyncMode uint32

// Sync modes.
const (
	// SyncAlways: durable. Goroutines that append at once share one sync.
	SyncAlways SyncMode = 0
	// SyncBatch: accepted; synced every BatchRecords records or BatchInterval, and at most that much is lost.
	SyncBatch SyncMode = 1
	// SyncOS: handed to the operating system. A crash of the process loses nothing, a power cut what was not synced.
	SyncOS SyncMode = 2
	// SyncNone: copied into the log's buffer, which a crash of the process loses.
	SyncNone SyncMode = 3
)

// A Recovery says what to do about damage.
type Recovery uint32

// Recoveries.
const (
	// RecoverStrict: refuse a damaged log with ErrCorrupt.
	RecoverStrict Recovery = 0
	// RecoverPrefix: keep what precedes the damage, and move damaged files aside.
	RecoverPrefix Recovery = 1
)

// An OpenMode says what there must be.
type OpenMode uint32

// Open modes.
const (
	// OpenOrCreate: open the log if there is one, else create it.
	OpenOrCreate OpenMode = 0
	// OpenExisting: there must be a log, else ErrNotFound.
	OpenExisting OpenMode = 1
	// OpenNew: there must be none, else ErrExists.
	OpenNew OpenMode = 2
	// OpenReadOnly: there must be one that nobody writes, and nothing is written.
	OpenReadOnly OpenMode = 4
	// OpenLive: there must be one, which another process may write meanwhile; no lock is taken and nothing is written. See Publish.
	OpenLive OpenMode = 12
)

// A LogID is a log's identity: random bytes made at its creation.
type LogID [16]byte

// Options say how to open a log. The zero value of each member is its default.
type Options struct {
	// SyncMode says when an append returns.
	SyncMode SyncMode
	// StoreSeq is what the store says it durably holds: the n that it saved after the last checkpoint, or StoreEmpty. The log proves that it has
	// every record above it, or refuses with ErrGap. 0: not given, and nothing is proven.
	StoreSeq uint64
	// LogID is the id that the store remembers (Log.ID): another log is refused with ErrWrongLog. All 0: not given.
	LogID LogID
	// Mode says what there must be. A LogID, or a StoreSeq other than StoreEmpty, implies OpenExisting.
	Mode OpenMode
	// Recovery says what to do about damage.
	Recovery Recovery
	// BatchRecords is, for SyncBatch, the most records that are not yet durable. 0: 1000.
	BatchRecords int
	// BatchInterval is, for SyncBatch, the longest time until a record is durable. 0: no limit.
	BatchInterval time.Duration
	// SegmentSize is, for a log that is created, how many bytes a file has: a multiple of 4096 up to 1 GiB. 0: 16 MiB. No record and no batch is
	// larger than a segment less 512 bytes.
	SegmentSize int64
	// RecycleSegments is how many forgotten segments are kept to be written again. 0: 8. Negative: none.
	RecycleSegments int
	// NoThread forbids the library its one background thread.
	NoThread bool
	// Direct writes segments past the system's cache (O_DIRECT), which makes durable appends faster on most disks: see DIRECT WRITES in wal.h. It needs
	// Linux, a file system that can, and SyncAlways or SyncBatch; Open answers ErrInvalid otherwise.
	Direct bool
	// DirectoryMode and FileMode are the permissions of what is created. 0: 0700 and 0600.
	DirectoryMode, FileMode fs.FileMode
	// Logger hears what happens beside the answers of calls. At slog.LevelError: a failed write or sync, and damage that an opening found. At
	// LevelWarn: what an opening dropped or moved aside, work in the background that failed, syncs longer than SlowSync. At LevelInfo: that the log
	// was created, recovered, opened, closed. Each message names the directory. nil: nobody.
	//
	// A goroutine of the log's own calls it, under no lock, a moment after the fact; Close waits until all has been told. It may use the log, but not
	// close it. If it cannot keep up, messages are dropped, and their number is told.
	Logger *slog.Logger
	// SlowSync is how long a sync takes that Logger hears of. 0: 1 second.
	SlowSync time.Duration
}

// A Log is an open log. All its methods may be called from many goroutines at once, Close included.
type Log struct {
	handle handle
	// life is held shared by every call and exclusively by the end of Close.
	life     sync.RWMutex
	isClosed bool // under life
	cleanup  runtime.Cleanup

	appends appendQueue
	syncs   syncQueue
	watch   durableWatch
	ears    *ears

	isReadOnly bool
}

// Open opens the log in the directory, or creates it. Only one process has a log open for writing, once.
//
// It fails with ErrLocked, ErrNotFound, ErrExists, ErrWrongLog, ErrGap, ErrCorrupt, ErrFormat, ErrInvalid, ErrIO, ErrNoSpace or ErrNoMemory.
func Open(dir string, options Options) (*Log, error) {
	ears, err := newEars(options.Logger)
	if err != nil {
		return nil, err
	}
	handle, err := open(dir, &options, ears)
	if err != nil {
		ears.close()
		return nil, err
	}
	log := &Log{handle: handle, isReadOnly: options.Mode&OpenReadOnly != 0, ears: ears}
	if err := log.appends.init(handle, &options); err != nil {
		_ = closing{handle, ears}.close()
		return nil, err
	}
	// A log that is forgotten open would keep its lock until the process ends.
	log.cleanup = runtime.AddCleanup(log, func(forgotten closing) { _ = forgotten.close() }, closing{handle, ears})
	return log, nil
}

// closing is what there is to be closed. It hides the handle's type from the cleanup, which takes no pointer to what it cleans.
type closing struct {
	handle handle
	ears   *ears
}

func (c closing) close() error {
	err := free(c.handle)
	c.ears.close()
	return err
}

// enter keeps the log open until leave, or says that it is closed.
func (l *Log) enter() error {
	l.life.RLock()
	if l.isClosed {
		l.life.RUnlock()
		return closed()
	}
	return nil
}

func (l *Log) leave() { l.life.RUnlock() }

// Close ends the log: calls that wait return ErrClosed, appends under way complete, what is left is synced, and the log is marked clean. Later
// calls return ErrClosed; closing again does nothing and returns nil.
//
// An error is that of the final sync: records that were accepted and not yet durable may be lost.
func (l *Log) Close() error {
	if err := l.enter(); err != nil {
		return nil
	}
	// It wakes whoever waits in C, so that the lock below can be had.
	err := shutdown(l.handle)
	l.leave()
	if err != nil {
		return err
	}
	l.life.Lock()
	if l.isClosed {
		l.life.Unlock()
		return nil
	}
	l.isClosed = true
	l.cleanup.Stop()
	err = free(l.handle)
	l.handle = nil
	l.life.Unlock()
	// Outside the lock, for the logger may use the log up to the last message.
	l.ears.close()
	return err
}

// Checkpoint declares that the store durably holds every record up to covered, and returns n, the highest sequence number that this makes safe to
// forget: covered, or more if only checkpoints stand above it. Save n in the store, durably, before calling Truncate. The checkpoint itself takes a
// sequence number, which replay skips.
//
// SeqLast as covered means that nothing was appended since the store's flush began. With several goroutines that append, pass what the store has
// really flushed: what they appended meanwhile would be lost.
func (l *Log) Checkpoint(covered uint64) (n uint64, err error) {
	if err := l.enter(); err != nil {
		return 0, err
	}
	defer l.leave()
	return checkpoint(l.handle, covered)
}

// TruncateFlags are the bits of Truncate.
type TruncateFlags uint32

// TruncateUnchecked forgets even what no checkpoint covers.
const TruncateUnchecked TruncateFlags = 1

// Truncate forgets every record up to upTo, usually the n of Checkpoint, and only those. Above what the store has declared durable it fails with
// ErrNotCheckpointed, above the last record with ErrRange. Disk space comes back in the background, a whole segment at a time.
func (l *Log) Truncate(upTo uint64, flags TruncateFlags) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	return truncate(l.handle, upTo, flags)
}

// number reads a position; 0 once the log is closed.
func (l *Log) number(read func(handle) uint64) uint64 {
	if l.enter() != nil {
		return 0
	}
	defer l.leave()
	return read(l.handle)
}

// LastSeq is the sequence number of the last record appended, 0 before the first and once the log is closed.
func (l *Log) LastSeq() uint64 { return l.number(lastSeq) }

// DurableSeq is the sequence number up to which every record is durable, 0 once the log is closed. It starts no sync.
func (l *Log) DurableSeq() uint64 { return l.number(durableSeq) }

// CheckpointSeq is the highest n that any Checkpoint of this log has returned, 0 if there was none and once the log is closed.
func (l *Log) CheckpointSeq() uint64 { return l.number(checkpointSeq) }

// OldestSeq is the sequence number of the oldest record that has not been forgotten, LastSeq() + 1 if all have; 0 once the log is closed.
func (l *Log) OldestSeq() uint64 { return l.number(oldestSeq) }

// ID is the log's identity, all 0 once it is closed. A store that saves it and passes it as Options.LogID is never paired with another store's log.
func (l *Log) ID() LogID {
	if l.enter() != nil {
		return LogID{}
	}
	defer l.leave()
	return logID(l.handle)
}
