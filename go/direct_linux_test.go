package wal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestDirectWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log, err := Open(path, Options{Direct: true, SegmentSize: 64 << 10, NoThread: true})
	if errors.Is(err, syscall.EINVAL) {
		t.Skip("no files that are written past the cache in ", path)
	}
	check(t, err)
	const count = 300
	for at := range count {
		must(log.Append(OpPut, nil, bytes.Repeat([]byte{byte(at)}, at*3)))
	}
	descriptors := must(os.ReadDir("/proc/self/fd"))
	direct := 0
	for _, descriptor := range descriptors {
		target, _ := os.Readlink("/proc/self/fd/" + descriptor.Name())
		info, _ := os.ReadFile("/proc/self/fdinfo/" + descriptor.Name())
		_, rest, _ := strings.Cut(string(info), "flags:")
		flags, _ := strconv.ParseInt(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]), 8, 64)
		if strings.HasPrefix(target, path) && flags&syscall.O_DIRECT != 0 {
			direct++
		}
	}
	if direct == 0 {
		t.Error("no segment is written past the cache")
	}
	for range 2 {
		got := all(t, log, 0, 0)
		if len(got) != count || !bytes.Equal(got[count-1].Value, bytes.Repeat([]byte{byte((count - 1) % 256)}, 3*(count-1))) {
			t.Errorf("%d records came back of %d, or others", len(got), count)
		}
		check(t, log.Close())
		log = mustOpen(t, path, Options{})
	}
	for _, wrong := range []Options{{Direct: true, SyncMode: SyncOS}, {Direct: true, SyncMode: SyncNone}, {Direct: true, Mode: OpenReadOnly}} {
		if _, err := Open(path, wrong); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}
