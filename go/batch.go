package wal

import "math"

// A Batch gathers records that are appended as one: after any crash either all of them are there or none. Its zero value is an empty batch. It
// copies what it is given. One goroutine at a time may use it, and after Reset it is empty again and keeps its memory.
type Batch struct {
	entries []packedEntry
	bytes   []byte
	// isTooLarge: a key or value was longer than any segment, so that its length would not fit.
	isTooLarge bool
}

// Add adds a record.
func (b *Batch) Add(op Op, key, value []byte) {
	if int64(len(key)) > math.MaxUint32 || int64(len(value)) > math.MaxUint32 {
		b.isTooLarge = true
		return
	}
	b.entries = append(b.entries, packed(op, key, value))
	b.bytes = append(append(b.bytes, key...), value...)
}

// Put adds a record with OpPut.
func (b *Batch) Put(key, value []byte) { b.Add(OpPut, key, value) }

// Delete adds a record with OpDelete.
func (b *Batch) Delete(key []byte) { b.Add(OpDelete, key, nil) }

// Len is the number of records.
func (b *Batch) Len() int { return len(b.entries) }

// Size is the number of bytes that keys, values and the table of their lengths take, of which a segment of n bytes holds n - 512.
func (b *Batch) Size() int { return batchSize(len(b.entries), len(b.bytes)) }

func batchSize(records, bytes int) int { return 4 + 12*records + bytes }

// Reset empties the batch.
func (b *Batch) Reset() {
	b.entries, b.bytes, b.isTooLarge = b.entries[:0], b.bytes[:0], false
}
