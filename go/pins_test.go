package wal

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func fillTo(t testing.TB, log *Log, last uint64) {
	t.Helper()
	for log.LastSeq() < last {
		_, err := log.AppendAsync(OpPut, nil, make([]byte, 1000))
		check(t, err)
	}
	check(t, log.Sync(SeqLast))
}

func TestAPinKeepsWhatIsForgotten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	log := mustOpen(t, dir, Options{SegmentSize: 4096, NoThread: true})
	fillTo(t, log, 60)
	if pins := must(Pins(dir)); len(pins) != 0 {
		t.Error(pins)
	}
	if pinned := must(CreatePin(dir, "backup", 7, PinOptions{})); pinned != 7 {
		t.Error(pinned)
	}
	must(CreatePin(dir, "replica", Oldest, PinOptions{MaxBytes: 1 << 30, Refuse: true}))
	check(t, log.Truncate(60, TruncateUnchecked))
	if records := all(t, log, 7, ReplayPinned); len(records) != 53 || records[0].Seq != 8 {
		t.Error(len(records))
	}
	if records := all(t, log, Oldest, ReplayPinned); len(records) != 60 {
		t.Error(len(records))
	}
	for _, err := range log.Replay(7, 0) {
		if !errors.Is(err, ErrGap) {
			t.Error(err)
		}
	}
	pins := must(Pins(dir))
	if len(pins) != 2 || pins[0].HeldBytes == 0 || pins[1] != (Pin{Name: "replica", HeldBytes: pins[1].HeldBytes, MaxBytes: 1 << 30, Refuse: true}) {
		t.Errorf("%+v", pins)
	}
	if s := must(log.Stat()); s.Pins != 2 || s.PinnedBytes != pins[1].HeldBytes {
		t.Errorf("%+v", s)
	}
	check(t, AdvancePin(dir, "backup", 50))
	check(t, DropPin(dir, "replica"))
	check(t, log.Truncate(60, TruncateUnchecked))
	check(t, log.Close())

	// Nobody needs to have the log open.
	var details *Error
	for want, err := range map[Code]error{
		ErrRange:    AdvancePin(dir, "backup", 49),
		ErrNotFound: DropPin(dir, "replica"),
		ErrExists:   second(CreatePin(dir, "backup", 60, PinOptions{})),
		ErrGap:      second(CreatePin(dir, "late", 20, PinOptions{})),
		ErrInvalid:  second(CreatePin(dir, "not/a name", 60, PinOptions{})),
	} {
		if !errors.Is(err, want) || !errors.As(err, &details) {
			t.Errorf("%v: %v", want, err)
		}
	}
	if err := DropPin(dir, "a\x00b"); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, err := Pins(filepath.Join(dir, "nothing")); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if pins := must(Pins(dir)); len(pins) != 1 || pins[0].Seq != 50 {
		t.Errorf("%+v", pins)
	}
}

func second[T any](_ T, err error) error { return err }

func TestAPinAboveItsLimit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	log := mustOpen(t, dir, Options{SegmentSize: 4096, NoThread: true, RecycleSegments: -1})
	must(CreatePin(dir, "slow", 0, PinOptions{MaxBytes: 3 * 4096}))
	fillTo(t, log, 60)
	check(t, log.Truncate(60, TruncateUnchecked))
	if pins := must(Pins(dir)); !pins[0].Lost || pins[0].LostSeqLast == 0 {
		t.Errorf("%+v", pins)
	}
	if err := AdvancePin(dir, "slow", 60); !errors.Is(err, ErrGap) {
		t.Error(err)
	}
	check(t, DropPin(dir, "slow"))
	must(CreatePin(dir, "strict", 60, PinOptions{MaxBytes: 3 * 4096, Refuse: true}))
	var met error
	for range 100 {
		last := log.LastSeq()
		if _, met = log.Append(OpPut, nil, make([]byte, 1000)); met != nil {
			break
		}
		check(t, log.Truncate(last, TruncateUnchecked))
	}
	if !errors.Is(met, ErrNoSpace) {
		t.Error(met)
	}
	check(t, DropPin(dir, "strict"))
	check(t, log.Truncate(log.LastSeq(), TruncateUnchecked))
	must(log.Append(OpPut, nil, make([]byte, 1000)))
}

// The reader is another process: this test's own program, told so.
func TestALiveReaderInAnotherProcess(t *testing.T) {
	const last = 500
	if dir := os.Getenv("WAL_LIVE_READER"); dir != "" {
		after := must(strconv.ParseUint(os.Getenv("WAL_LIVE_AFTER"), 10, 64))
		log := mustOpen(t, dir, Options{Mode: OpenLive})
		want := after + 1
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		for record, err := range log.Follow(ctx, after, ReplayPinned) {
			check(t, err)
			if record.Seq != want {
				t.Fatalf("%d, want %d", record.Seq, want)
			}
			if want%50 == 0 {
				check(t, AdvancePin(dir, "replica", record.Seq))
			}
			if want++; want > last {
				break
			}
		}
		if _, err := log.Append(OpPut, nil, nil); !errors.Is(err, ErrReadOnly) {
			t.Error(err)
		}
		if err := log.Publish(); !errors.Is(err, ErrReadOnly) {
			t.Error(err)
		}
		return
	}
	dir := filepath.Join(t.TempDir(), "log")
	log := mustOpen(t, dir, Options{SegmentSize: 4096})
	fillTo(t, log, 20)
	must(CreatePin(dir, "replica", 10, PinOptions{}))
	command := exec.Command(os.Args[0], "-test.run", "^TestALiveReaderInAnotherProcess$")
	command.Env = append(os.Environ(), "WAL_LIVE_READER="+dir, "WAL_LIVE_AFTER=10")
	ended := make(chan error, 1)
	go func() {
		out, err := command.CombinedOutput()
		if err != nil {
			t.Logf("%s", out)
		}
		ended <- err
	}()
	for seq := uint64(40); seq <= last; seq += 20 {
		fillTo(t, log, seq)
		check(t, log.Truncate(seq, TruncateUnchecked))
	}
	// The last group is shown by nothing else.
	fillTo(t, log, last)
	check(t, log.Publish())
	check(t, <-ended)
	if pins := must(Pins(dir)); len(pins) != 1 || pins[0].Seq != last {
		t.Errorf("%+v", pins)
	}
	if _, err := Open(dir, Options{Mode: OpenReadOnly}); !errors.Is(err, ErrLocked) {
		t.Error(err)
	}
}
