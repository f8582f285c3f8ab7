package wal

import "sync"

// AppendFlags are the bits of AppendBatch.
type AppendFlags uint32

// When AppendBatch returns; 0: as the sync mode says.
const (
	// AppendSync: durable, in any mode.
	AppendSync AppendFlags = 1
	// AppendAsync: accepted, in any mode. Sync or WaitDurable tell when it is durable.
	AppendAsync AppendFlags = 2
)

// Append appends one record and returns its sequence number. When it returns is the sync mode's to say; in SyncAlways the record is durable then.
// Any number of goroutines may append at once, and those that wait for the same sync occupy one thread together.
//
// It fails with ErrInvalid, ErrTooLarge, ErrReadOnly, ErrClosed, ErrNoSpace or ErrNoMemory, and ErrIO, if nothing was appended and the log can go
// on; with ErrFailed if a failed write or sync has poisoned the log: the records Error.Seq to Error.SeqLast are in doubt then, this one perhaps
// among them.
func (l *Log) Append(op Op, key, value []byte) (seq uint64, err error) {
	if err := l.enter(); err != nil {
		return 0, err
	}
	defer l.leave()
	if !l.appends.isShared || !l.appends.takes(op, key, value) {
		return appendOne(l.handle, op, key, value)
	}
	return l.appends.append(l.handle, op, key, value)
}

// AppendAsync appends one record and does not wait for a sync, in any mode. The record is accepted then: if it cannot be made durable, the log
// fails for good. To append many and wait once, follow it with Sync or WaitDurable.
func (l *Log) AppendAsync(op Op, key, value []byte) (seq uint64, err error) {
	if err := l.enter(); err != nil {
		return 0, err
	}
	defer l.leave()
	return appendFlagged(l.handle, op, key, value, AppendAsync)
}

// AppendBatch appends the records of a batch as one, in one call to C, and returns the last one's sequence number; the first one's is
// last - batch.Len() + 1. The batch is not changed. It fails as Append does; if a record is wrong, Error.Offset is its index. An empty batch is
// ErrInvalid.
func (l *Log) AppendBatch(batch *Batch, flags AppendFlags) (last uint64, err error) {
	if batch.isTooLarge {
		return 0, &Error{Code: ErrTooLarge, Message: "a key or value is longer than any segment"}
	}
	if err := l.enter(); err != nil {
		return 0, err
	}
	defer l.leave()
	return appendPacked(l.handle, batch.entries, batch.bytes, flags)
}

// An appendQueue makes one call to C of the appends that come while another is under way. A thread that waits in C for a disk is lost to the
// scheduler, which starts another one: ten thousand goroutines that append durably would be ten thousand threads. Here one of them calls, and the
// others wait for it as goroutines do. What they append together is one batch, which promises more than they need.
type appendQueue struct {
	// isShared: appends wait for syncs, so that it pays.
	isShared bool
	// What one call takes at most: records, and bytes as Batch.Size counts them.
	maxRecords, maxSize int

	mu     sync.Mutex
	isBusy bool
	// rounds are the calls to come, the next one first.
	rounds []*appendRound
	// spare is an empty batch with memory.
	spare Batch
}

// An appendRound is one call to come. Whoever begins it makes it.
type appendRound struct {
	batch Batch
	count int
	// start lets its first goroutine make the call.
	start chan struct{}
	// done is closed when last and err are there.
	done chan struct{}
	last uint64
	err  error
}

const (
	// The most that goroutines share: enough that a sync costs each of them little, and far from what a segment holds.
	roundRecords = 1024
	roundBytes   = 1 << 18
)

func (q *appendQueue) init(log handle, options *Options) error {
	s, err := stat(log)
	if err != nil {
		return err
	}
	q.isShared = options.SyncMode == SyncAlways || options.SyncMode == SyncBatch
	q.maxSize = min(roundBytes, int(s.SegmentSize)-512)
	q.maxRecords = roundRecords
	if options.SyncMode == SyncBatch {
		// A larger batch would wait until nothing else is unsynced.
		records := options.BatchRecords
		if records == 0 {
			records = 1000
		}
		q.maxRecords = min(q.maxRecords, records)
	}
	return nil
}

// takes says whether the record can share a call. What C would refuse must not: the others would be refused with it.
func (q *appendQueue) takes(op Op, key, value []byte) bool {
	return (op == OpPut || op == OpDelete || op >= OpUser) && batchSize(1, len(key)+len(value)) <= q.maxSize
}

func (q *appendQueue) append(log handle, op Op, key, value []byte) (uint64, error) {
	q.mu.Lock()
	if !q.isBusy {
		q.isBusy = true
		q.mu.Unlock()
		defer q.next()
		return appendOne(log, op, key, value)
	}
	round, isFirst := q.join(len(key) + len(value))
	at := round.count
	round.count++
	round.batch.Add(op, key, value)
	q.mu.Unlock()

	if isFirst {
		<-round.start
		q.make(log, round)
	} else {
		<-round.done
	}
	if round.err != nil {
		return 0, round.err
	}
	return round.last - uint64(round.count-1-at), nil
}

// join finds the round for so many more bytes, and whether it has just been begun. Called under the lock.
func (q *appendQueue) join(more int) (*appendRound, bool) {
	if n := len(q.rounds); n > 0 {
		round := q.rounds[n-1]
		if round.count < q.maxRecords && batchSize(round.count+1, len(round.batch.bytes)+more) <= q.maxSize {
			return round, false
		}
	}
	round := &appendRound{batch: q.spare, start: make(chan struct{}, 1), done: make(chan struct{})}
	q.spare = Batch{}
	q.rounds = append(q.rounds, round)
	return round, true
}

// make makes the call for all who joined.
func (q *appendQueue) make(log handle, round *appendRound) {
	q.mu.Lock()
	q.rounds = q.rounds[1:]
	q.mu.Unlock()
	round.last, round.err = appendPacked(log, round.batch.entries, round.batch.bytes, 0)
	close(round.done)
	round.batch.Reset()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.spare, round.batch = round.batch, Batch{}
	q.pass()
}

// next lets the next round begin.
func (q *appendQueue) next() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pass()
}

// pass does so under the lock.
func (q *appendQueue) pass() {
	if len(q.rounds) == 0 {
		q.isBusy = false
		return
	}
	q.rounds[0].start <- struct{}{}
}
