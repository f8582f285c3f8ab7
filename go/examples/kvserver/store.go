package main

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"wal"
)

// A store is a map in memory, a snapshot of it in a file, and a log of what came since.
type store struct {
	dir string
	log *wal.Log

	// writing is held shared from a record's append until it is in the map, so that whoever holds it exclusively finds every record of the log there.
	writing sync.RWMutex

	mu      sync.Mutex
	entries map[string]entry
	since   int // records since the last snapshot

	// snapshots is held by whoever takes one.
	snapshots sync.Mutex
}

// An entry is what a key has. Records can reach the map in another order than the log: the highest Seq counts.
type entry struct {
	Seq       uint64
	Value     []byte
	isDeleted bool // until the next snapshot
}

// A snapshot is what the file has: the store as of Seq, and whose log it goes with.
type snapshot struct {
	Seq     uint64
	LogID   wal.LogID
	Entries map[string]entry
}

func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &store{dir: dir, entries: map[string]entry{}}
	options := wal.Options{StoreSeq: wal.StoreEmpty}
	saved, err := readSnapshot(s.path())
	switch {
	case err == nil:
		s.entries = saved.Entries
		options.StoreSeq, options.LogID = saved.Seq, saved.LogID
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if s.log, err = wal.Open(filepath.Join(dir, "log"), options); err != nil {
		return nil, err
	}
	for record, err := range s.log.Replay(saved.Seq, 0) {
		if err != nil {
			return nil, errors.Join(err, s.log.Close())
		}
		s.apply(record.Seq, record.Op, string(record.Key), record.Clone().Value)
	}
	return s, nil
}

func (s *store) path() string { return filepath.Join(s.dir, "snapshot") }

// write makes a change durable and then visible.
func (s *store) write(op wal.Op, key string, value []byte) (uint64, error) {
	s.writing.RLock()
	defer s.writing.RUnlock()
	seq, err := s.log.Append(op, []byte(key), value)
	if err == nil {
		s.apply(seq, op, key, value)
	}
	return seq, err
}

func (s *store) apply(seq uint64, op wal.Op, key string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since++
	if s.entries[key].Seq < seq {
		s.entries[key] = entry{Seq: seq, Value: value, isDeleted: op == wal.OpDelete}
	}
}

func (s *store) read(key string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.entries[key]
	return found.Value, ok && !found.isDeleted
}

// isSnapshotDue says whether there are so many records since the last snapshot.
func (s *store) isSnapshotDue(records int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since >= records
}

// snapshot saves the store and lets the log forget what is in it, unless that is under way. Writers stop only while the map is copied.
func (s *store) snapshot() error {
	if !s.snapshots.TryLock() {
		return nil
	}
	defer s.snapshots.Unlock()
	s.writing.Lock()
	s.mu.Lock()
	maps.DeleteFunc(s.entries, func(_ string, e entry) bool { return e.isDeleted })
	saved := snapshot{Seq: s.log.LastSeq(), LogID: s.log.ID(), Entries: maps.Clone(s.entries)}
	s.since = 0
	s.mu.Unlock()
	s.writing.Unlock()
	if saved.Seq == 0 {
		return nil
	}
	if err := writeSnapshot(s.path(), &saved); err != nil {
		return err
	}
	// Not wal.SeqLast: what was appended since the copy is not in the file. The n that comes back may be one higher than what was saved; up to what
	// was saved is enough.
	if _, err := s.log.Checkpoint(saved.Seq); err != nil {
		return err
	}
	return s.log.Truncate(saved.Seq, 0)
}

func (s *store) close() error { return s.log.Close() }

func readSnapshot(path string) (snapshot, error) {
	var saved snapshot
	file, err := os.Open(path)
	if err != nil {
		return saved, err
	}
	defer file.Close()
	if err := gob.NewDecoder(file).Decode(&saved); err != nil {
		return saved, fmt.Errorf("%s: %w", path, err)
	}
	if saved.Entries == nil {
		saved.Entries = map[string]entry{}
	}
	return saved, nil
}

// writeSnapshot replaces the file in one durable step: content, then name.
func writeSnapshot(path string, saved *snapshot) error {
	file, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	defer file.Close()
	if err := gob.NewEncoder(file).Encode(saved); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
