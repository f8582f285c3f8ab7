package wal

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"
)

// A Record is one record read back.
type Record struct {
	// Seq is its sequence number.
	Seq uint64
	// BatchLastSeq is the last one of its batch; its own if it was appended alone.
	BatchLastSeq uint64
	// Op is as appended.
	Op Op
	// Key and Value are valid until the next record is asked for. They may be changed, and appended to, until then.
	Key, Value []byte
}

// Clone returns a copy of the record that stays valid.
func (r Record) Clone() Record {
	r.Key, r.Value = slices.Clone(r.Key), slices.Clone(r.Value)
	return r
}

// ReplayFlags are the bits of Replay and Follow.
type ReplayFlags uint32

// What is shown beside durable records.
const (
	// ReplayRaw: CHECKPOINT records, too.
	ReplayRaw ReplayFlags = 1
	// ReplayUnsynced: also what is not durable yet, and on a log opened read-only what a crash has left undecided.
	ReplayUnsynced ReplayFlags = 2
	// ReplaySkipLost: go on behind records that damage took, instead of ErrGap; the jump shows in the sequence numbers.
	ReplaySkipLost ReplayFlags = 4
	// ReplayPinned: begin among what was forgotten, as far as a pin keeps it: at or above the pin's Seq, or with Oldest at all that any pin keeps.
	ReplayPinned ReplayFlags = 8
)

// Replay iterates over the records above after, in order, up to the last one that is durable; Oldest starts at the oldest one. It first syncs, so
// that nothing it shows can be taken back.
//
// An error ends the iteration as its last pair: ErrGap if records above after are not there any more, or if the log ends below after;
// ErrCorrupt where the log is damaged; ErrClosed; ErrIO. A loop that breaks off early leaves nothing behind. Each loop over the sequence begins anew.
//
//	for record, err := range log.Replay(store.Seq(), 0) {
//		if err != nil {
//			return err
//		}
//		store.Apply(record)
//	}
func (l *Log) Replay(after uint64, flags ReplayFlags) iter.Seq2[Record, error] {
	return l.records(nil, after, flags)
}

// Follow iterates like Replay, and at the end of the log waits for more. It ends with an error: that of the context when the context ends, or one of
// Replay's.
func (l *Log) Follow(ctx context.Context, after uint64, flags ReplayFlags) iter.Seq2[Record, error] {
	return l.records(ctx, after, flags)
}

// records iterates to the end, or with a context to the context's.
func (l *Log) records(ctx context.Context, after uint64, flags ReplayFlags) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		cursor, err := l.newCursor(after, flags)
		if err != nil {
			yield(Record{}, err)
			return
		}
		defer cursor.close()
		for {
			if ctx != nil && ctx.Err() != nil {
				yield(Record{}, context.Cause(ctx))
				return
			}
			count, durable, err := cursor.fill()
			if count == 0 && err == nil && ctx != nil {
				if err = cursor.wait(ctx, durable); err == nil {
					continue
				}
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
			if count == 0 || !cursor.yield(count, yield) {
				return
			}
		}
	}
}

// A cursor reads records in portions.
type cursor struct {
	log    *Log
	handle cursorHandle
	flags  ReplayFlags
	room   *room
}

// A room is memory for a portion.
type room struct {
	records []packedRecord
	bytes   []byte
}

var rooms = sync.Pool{New: func() any {
	return &room{records: make([]packedRecord, 1024), bytes: make([]byte, 64<<10)}
}}

// maxRoom is what is kept for the next replay.
const maxRoom = 1 << 20

func (l *Log) newCursor(after uint64, flags ReplayFlags) (*cursor, error) {
	if err := l.enter(); err != nil {
		return nil, err
	}
	defer l.leave()
	handle, err := openCursor(l.handle, after, flags)
	if err != nil {
		return nil, err
	}
	return &cursor{log: l, handle: handle, flags: flags, room: rooms.Get().(*room)}, nil
}

func (c *cursor) close() {
	closeCursor(c.handle)
	if len(c.room.bytes) <= maxRoom {
		rooms.Put(c.room)
	}
}

// fill reads a portion: how many records, and what was durable before.
func (c *cursor) fill() (count int, durable uint64, err error) {
	if err := c.log.enter(); err != nil {
		return 0, 0, err
	}
	defer c.log.leave()
	durable = durableSeq(c.log.handle)
	for {
		count, err = readPacked(c.handle, c.room.records, c.room.bytes)
		if !errors.Is(err, errNoRoom) {
			return count, durable, err
		}
		next := &c.room.records[0]
		need := int(next.key_len) + int(next.value_len)
		c.room.bytes = make([]byte, need+need/4)
	}
}

// yield hands out what fill has read; whether the loop goes on.
func (c *cursor) yield(count int, yield func(Record, error) bool) bool {
	bytes := c.room.bytes
	for at := range c.room.records[:count] {
		record := &c.room.records[at]
		value := int(record.key_len)
		end := value + int(record.value_len)
		// Limited in capacity, so that appending to a key does not write over the value.
		shown := Record{
			Seq:          uint64(record.seq),
			BatchLastSeq: uint64(record.batch_last_seq),
			Op:           Op(record.op),
			Key:          bytes[:value:value],
			Value:        bytes[value:end:end],
		}
		if !yield(shown, nil) {
			return false
		}
		bytes = bytes[end:]
	}
	return true
}

// wait waits for more than there was when durable was read.
func (c *cursor) wait(ctx context.Context, durable uint64) error {
	if c.flags&ReplayUnsynced == 0 && !c.log.isReadOnly {
		return c.log.WaitDurable(ctx, durable+1)
	}
	// Nobody tells of records that are not durable, nor of what another process writes; C looks for them every few milliseconds. In short waits, so
	// that the context is looked at, too.
	if err := c.log.enter(); err != nil {
		return err
	}
	defer c.log.leave()
	return waitForMore(c.handle, 20*time.Millisecond)
}
