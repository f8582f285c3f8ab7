package wal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
)

// A disk is one that can be made to fail: calls come to testdata/failing.c, which is loaded before the C library.
type disk struct {
	t    *testing.T
	file string
}

// withDisk runs the test's body in a process whose disk can fail: this program again, for this test alone.
func withDisk(t *testing.T, body func(*testing.T, *disk)) {
	if file := os.Getenv("WAL_FAILING"); file != "" {
		body(t, &disk{t, file})
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("it needs LD_PRELOAD")
	}
	dir := t.TempDir()
	library := filepath.Join(dir, "failing.so")
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "cc"
	}
	if out, err := exec.Command(compiler, "-shared", "-fPIC", "-o", library, "testdata/failing.c").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	command := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	command.Env = append(os.Environ(), "LD_PRELOAD="+library, "WAL_FAILING="+filepath.Join(dir, "failing"))
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// fail makes every later one of these calls fail.
func (d *disk) fail(call string, errno syscall.Errno) {
	// In one step: other threads look at the file all the time.
	check(d.t, os.WriteFile(d.file+".new", fmt.Appendf(nil, "%s %d", call, int(errno)), 0o600))
	check(d.t, os.Rename(d.file+".new", d.file))
}

func (d *disk) repair() { check(d.t, os.Remove(d.file)) }

// expect fails the test unless the error has the code and the errno.
func expect(t *testing.T, err error, code Code, errno syscall.Errno) *Error {
	t.Helper()
	var details *Error
	if !errors.Is(err, code) || !errors.As(err, &details) || details.Code != code || details.Errno != errno {
		t.Fatalf("%v: %+v, want %v with %d", err, details, code, int(errno))
	}
	if errno != 0 && !errors.Is(err, errno) {
		t.Fatalf("%v is not %v", err, errno)
	}
	return details
}

// A failed sync ends the log, tells what is in doubt, and takes nothing that was acknowledged.
func TestAFailedSync(t *testing.T) { withDisk(t, aFailedSync) }

func aFailedSync(t *testing.T, disk *disk) {
	dir := filepath.Join(t.TempDir(), "log")
	log := mustOpen(t, dir, Options{SegmentSize: 64 << 10})
	const acknowledged, writers = 20, 8
	for range acknowledged {
		must(log.Append(OpPut, []byte("key"), []byte("acknowledged")))
	}
	followed := make(chan error)
	go func() {
		var met error
		for _, err := range log.Follow(context.Background(), 0, 0) {
			met = err
		}
		followed <- met
	}()

	disk.fail("fdatasync", syscall.EIO)
	var group sync.WaitGroup
	for range writers {
		group.Add(1)
		go func() {
			defer group.Done()
			_, err := log.Append(OpPut, []byte("key"), []byte("in doubt"))
			details := expect(t, err, ErrFailed, syscall.EIO)
			if details.Seq != acknowledged+1 || details.SeqLast < details.Seq || details.Records() == "" {
				t.Errorf("%+v", details)
			}
		}()
	}
	group.Wait()
	expect(t, <-followed, ErrFailed, syscall.EIO)

	// The disk is well again, and the log is not: the kernel has dropped what it could not write.
	disk.repair()
	_, appended := log.Append(OpPut, nil, nil)
	_, async := log.AppendAsync(OpPut, nil, nil)
	var batch Batch
	batch.Put(nil, nil)
	_, batched := log.AppendBatch(&batch, 0)
	_, checkpointed := log.Checkpoint(acknowledged)
	waited := log.WaitDurable(context.Background(), acknowledged+1)
	for _, err := range []error{appended, async, batched, checkpointed, waited, log.Sync(SeqLast), log.Flush(), log.Publish(), log.Truncate(1, TruncateUnchecked)} {
		expect(t, err, ErrFailed, syscall.EIO)
	}
	check(t, log.WaitDurable(context.Background(), acknowledged))
	s := must(log.Stat())
	if !s.Poisoned || s.Failures == 0 || !errors.Is(s.LastFailure, ErrIO) || !errors.Is(s.LastFailure, syscall.EIO) || s.DurableSeq != acknowledged {
		t.Errorf("%+v %v", s, s.LastFailure)
	}
	expect(t, log.Close(), ErrFailed, syscall.EIO)

	log = mustOpen(t, dir, Options{StoreSeq: StoreEmpty})
	records := all(t, log, 0, 0)
	if len(records) < acknowledged || len(records) > acknowledged+writers {
		t.Errorf("%d records", len(records))
	}
	for at, record := range records {
		if want := map[bool]string{true: "acknowledged", false: "in doubt"}[at < acknowledged]; string(record.Value) != want {
			t.Errorf("%d: %q, want %q", record.Seq, record.Value, want)
		}
	}
	if seq := must(log.Append(OpPut, nil, nil)); seq != uint64(len(records)+1) || must(log.Report()).Clean {
		t.Error(seq, must(log.Report()))
	}
}

// Without a disk a crashed log does not open, and opens once there is one.
func TestADiskThatFailsAtTheOpening(t *testing.T) { withDisk(t, aDiskThatFailsAtTheOpening) }

func aDiskThatFailsAtTheOpening(t *testing.T, disk *disk) {
	dir := filepath.Join(t.TempDir(), "log")
	log := mustOpen(t, dir, Options{})
	must(log.Append(OpPut, nil, []byte("acknowledged")))
	disk.fail("fdatasync", syscall.EIO)
	_, err := log.Append(OpPut, nil, nil)
	expect(t, err, ErrFailed, syscall.EIO)
	expect(t, log.Close(), ErrFailed, syscall.EIO)
	for range 3 {
		_, err := Open(dir, Options{})
		expect(t, err, ErrIO, syscall.EIO)
	}
	disk.repair()
	log = mustOpen(t, dir, Options{})
	if records := all(t, log, 0, 0); len(records) < 1 || string(records[0].Value) != "acknowledged" {
		t.Error(records)
	}
}

// A full disk leaves the log as it was.
func TestAFullDisk(t *testing.T) { withDisk(t, aFullDisk) }

func aFullDisk(t *testing.T, disk *disk) {
	log := mustOpen(t, filepath.Join(t.TempDir(), "log"), Options{SegmentSize: 64 << 10, SyncMode: SyncOS, RecycleSegments: -1})
	fill := func() (err error) {
		for range 1000 {
			if _, err = log.Append(OpPut, nil, make([]byte, 1000)); err != nil {
				return err
			}
		}
		return nil
	}
	check(t, fill())
	disk.fail("fallocate", syscall.ENOSPC)
	expect(t, fill(), ErrNoSpace, syscall.ENOSPC)
	last := log.LastSeq()
	for range 3 {
		_, err := log.Append(OpPut, nil, make([]byte, 1000))
		expect(t, err, ErrNoSpace, syscall.ENOSPC)
	}
	// What is there can be read, and forgetting makes room.
	if records := all(t, log, 0, 0); uint64(len(records)) != last || log.LastSeq() != last {
		t.Errorf("%d records of %d, then %d", len(records), last, log.LastSeq())
	}
	n := must(log.Checkpoint(last))
	check(t, log.Truncate(n, 0))
	disk.repair()
	check(t, fill())
	if records := all(t, log, n, 0); len(records) != 1000 {
		t.Errorf("%d records", len(records))
	}
}
