package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	tidwall "github.com/tidwall/wal"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// etcd's wal: entries in one Save, which syncs; without syncs, SetUnsafeNoFsync. A log can be appended to only after all of it has been read.
type etcd struct {
	log        *etcdwal.WAL
	dir        string
	last, half uint64
}

const etcdTerm = 1

func openEtcd(dir string, durable bool) (peer, error) {
	// The log insists on creating its directory.
	dir = filepath.Join(dir, "wal")
	e := &etcd{dir: dir}
	var err error
	if etcdwal.Exist(dir) {
		if e.log, err = etcdwal.Open(zap.NewNop(), dir, nil); err != nil {
			return nil, err
		}
		_, _, entries, err := e.log.ReadAll()
		if err != nil {
			return nil, err
		}
		if len(entries) > 0 {
			e.last = entries[len(entries)-1].GetIndex()
		}
	} else if e.log, err = etcdwal.Create(zap.NewNop(), dir, nil); err != nil {
		return nil, err
	}
	if !durable {
		e.log.SetUnsafeNoFsync()
	}
	return e, nil
}

func (e *etcd) write(records [][]byte) error {
	entries := make([]*raftpb.Entry, len(records))
	term := uint64(etcdTerm)
	for i, record := range records {
		e.last++
		index := e.last
		entries[i] = &raftpb.Entry{Term: &term, Index: &index, Data: record}
	}
	return e.log.Save(nil, entries)
}

func (e *etcd) sync() error { return e.log.Sync() }

func (e *etcd) replay(visit func([]byte)) error {
	log, err := etcdwal.OpenForRead(zap.NewNop(), e.dir, nil)
	if err != nil {
		return err
	}
	defer log.Close()
	_, _, entries, err := log.ReadAll()
	for _, entry := range entries {
		visit(entry.Data)
	}
	return err
}

func (e *etcd) prepareForget() error {
	e.half = e.last / 2
	return nil
}

// What etcd's server does: a snapshot is recorded, locks of older files are released, and files without a lock are purged.
func (e *etcd) forgetHalf() error {
	term := uint64(etcdTerm)
	if err := e.log.SaveSnapshot(&walpb.Snapshot{Index: &e.half, Term: &term, ConfState: &raftpb.ConfState{}}); err != nil {
		return err
	}
	if err := e.log.ReleaseLockTo(e.half); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(e.dir, "*.wal"))
	for _, name := range names {
		lock, locked := fileutil.TryLockFile(name, os.O_WRONLY, fileutil.PrivateFileMode)
		if locked != nil {
			break
		}
		err = errors.Join(err, os.Remove(name), lock.Close())
	}
	return err
}

func (e *etcd) close() error { return e.log.Close() }

// tidwall/wal: WriteBatch, which syncs unless told otherwise. NoCopy spares reads a copy.
type tidwallLog struct {
	log        *tidwall.Log
	batch      tidwall.Batch
	last, half uint64
}

func openTidwall(dir string, durable bool) (peer, error) {
	log, err := tidwall.Open(dir, &tidwall.Options{NoSync: !durable, NoCopy: true})
	if err != nil {
		return nil, err
	}
	last, err := log.LastIndex()
	return &tidwallLog{log: log, last: last}, err
}

func (t *tidwallLog) write(records [][]byte) error {
	if len(records) == 1 {
		t.last++
		return t.log.Write(t.last, records[0])
	}
	for _, record := range records {
		t.last++
		t.batch.Write(t.last, record)
	}
	return t.log.WriteBatch(&t.batch)
}

func (t *tidwallLog) sync() error { return t.log.Sync() }

func (t *tidwallLog) replay(visit func([]byte)) error {
	first, err := t.log.FirstIndex()
	if err != nil || first == 0 {
		return err
	}
	for index := first; index <= t.last; index++ {
		record, err := t.log.Read(index)
		if err != nil {
			return err
		}
		visit(record)
	}
	return nil
}

func (t *tidwallLog) prepareForget() error {
	t.half = t.last / 2
	return nil
}

func (t *tidwallLog) forgetHalf() error { return t.log.TruncateFront(t.half + 1) }
func (t *tidwallLog) close() error      { return t.log.Close() }

// hashicorp/raft-wal: StoreLogs, which always syncs.
type raftWAL struct {
	log        *raftwal.WAL
	last, half uint64
}

func openRaftWAL(dir string, durable bool) (peer, error) {
	if !durable {
		return nil, refusal("every StoreLogs syncs")
	}
	log, err := raftwal.Open(dir, raftwal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		return nil, err
	}
	last, err := log.LastIndex()
	return &raftWAL{log: log, last: last}, err
}

func (r *raftWAL) write(records [][]byte) error {
	logs := make([]*raft.Log, len(records))
	for i, record := range records {
		r.last++
		logs[i] = &raft.Log{Index: r.last, Term: 1, Data: record}
	}
	return r.log.StoreLogs(logs)
}

func (r *raftWAL) sync() error { return nil }

func (r *raftWAL) replay(visit func([]byte)) error {
	first, err := r.log.FirstIndex()
	if err != nil || first == 0 {
		return err
	}
	var record raft.Log
	for index := first; index <= r.last; index++ {
		if err := r.log.GetLog(index, &record); err != nil {
			return err
		}
		visit(record.Data)
	}
	return nil
}

func (r *raftWAL) prepareForget() error {
	r.half = r.last / 2
	return nil
}

func (r *raftWAL) forgetHalf() error { return r.log.DeleteRange(1, r.half) }
func (r *raftWAL) close() error      { return r.log.Close() }
