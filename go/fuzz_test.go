package wal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// scratch is a directory in memory where there is one: a sync of a disk would cost a thousand times as much and prove nothing here.
func scratch(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "wal-go-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// FuzzOpen opens directories of strangers: what is in them may be refused, and what is accepted must be a log.
func FuzzOpen(f *testing.F) {
	for _, isClean := range []bool{true, false} {
		dir := filepath.Join(scratch(f), "log")
		log := mustOpen(f, dir, Options{SegmentSize: 4096, NoThread: true})
		var batch Batch
		for at := range 12 {
			batch.Reset()
			batch.Put([]byte("key"), make([]byte, 50*at))
			batch.Delete([]byte("another"))
			must(log.AppendBatch(&batch, 0))
		}
		must(log.Checkpoint(5))
		files := [][]byte{}
		if isClean {
			check(f, log.Close())
		}
		for _, name := range []string{"MANIFEST", "0000000001.wal", "0000000002.wal"} {
			content := must(os.ReadFile(filepath.Join(dir, name)))
			// Zeros at the end are put back below, and leave room for the fuzzer.
			for len(content) > 0 && content[len(content)-1] == 0 {
				content = content[:len(content)-1]
			}
			files = append(files, content)
		}
		f.Add(files[0], files[1], files[2], false)
		f.Add(files[0], files[1][:200], files[2], true)
	}
	f.Fuzz(func(t *testing.T, manifest, first, second []byte, prefix bool) {
		dir := scratch(t)
		for name, content := range map[string][]byte{"MANIFEST": manifest, "0000000001.wal": first, "0000000002.wal": second} {
			size := 4096
			if name == "MANIFEST" {
				size = 16384
			}
			check(t, os.WriteFile(filepath.Join(dir, name), append(content, make([]byte, max(size-len(content), 0))...), 0o600))
		}
		options := Options{NoThread: true}
		if prefix {
			options.Recovery = RecoverPrefix
		}
		_, inspected := Inspect(dir, options, InspectFull)
		log, err := Open(dir, options)
		for _, err := range []error{inspected, err} {
			var details *Error
			if err != nil && (!errors.As(err, &details) || details.Code >= 0 || details.Message == "" || errors.Is(err, ErrPanic)) {
				t.Fatalf("%v", err)
			}
		}
		if err != nil {
			return
		}
		defer log.Close()
		before := uint64(0)
		for record, err := range log.Replay(Oldest, ReplayRaw) {
			if err != nil {
				var details *Error
				if !errors.As(err, &details) || errors.Is(err, ErrPanic) {
					t.Fatal(err)
				}
				break
			}
			if record.Seq <= before || record.Seq > log.LastSeq() || record.BatchLastSeq < record.Seq {
				t.Fatalf("%d behind %d", record.Seq, before)
			}
			before = record.Seq
		}
		seq, err := log.Append(OpPut, []byte("key"), []byte("value"))
		if err != nil {
			return
		}
		check(t, log.Close())
		log, err = Open(dir, Options{NoThread: true})
		if err != nil {
			t.Fatalf("what was accepted, appended to and closed is refused: %v", err)
		}
		defer log.Close()
		if log.LastSeq() != seq {
			t.Fatalf("the last record is %d, appended was %d", log.LastSeq(), seq)
		}
	})
}
