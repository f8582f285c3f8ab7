package wal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func mustOpen(t testing.TB, dir string, options Options) *Log {
	t.Helper()
	log, err := Open(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return log
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// all reads what a replay shows.
func all(t testing.TB, log *Log, after uint64, flags ReplayFlags) []Record {
	t.Helper()
	var records []Record
	for record, err := range log.Replay(after, flags) {
		check(t, err)
		records = append(records, record.Clone())
	}
	return records
}

func TestRecordsComeBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	options := Options{SyncMode: SyncNone, SegmentSize: 8 << 20}
	log := mustOpen(t, dir, options)
	random := rand.New(rand.NewPCG(1, 2))
	var want []Record
	sizes := []int{0, 1, 7, 100, 4096, 65535, 65536, 70000, 3 << 20}
	for seq := uint64(1); seq <= 500; {
		count := random.IntN(4)
		var batch Batch
		for at := range max(count, 1) {
			size := sizes[random.IntN(len(sizes)-2)]
			if random.IntN(50) == 0 {
				size = sizes[len(sizes)-1]
			}
			key, value := make([]byte, size/3), make([]byte, size-size/3)
			for i := range value {
				value[i] = byte(uint64(i) + seq)
			}
			op := []Op{OpPut, OpDelete, OpUser, 255}[random.IntN(4)]
			record := Record{Seq: seq, BatchLastSeq: seq, Op: op, Key: key, Value: value}
			if count == 0 {
				if got := must(log.Append(op, key, value)); got != seq {
					t.Fatalf("seq %d, want %d", got, seq)
				}
			} else {
				batch.Add(op, key, value)
				record.BatchLastSeq = seq + uint64(count-1-at)
			}
			want = append(want, record)
			seq++
		}
		if count > 0 {
			if got := must(log.AppendBatch(&batch, 0)); got != seq-1 {
				t.Fatalf("last %d, want %d", got, seq-1)
			}
		}
	}
	for round := range 2 {
		got := all(t, log, 0, 0)
		if !slices.EqualFunc(got, want, func(a, b Record) bool {
			return a.Seq == b.Seq && a.BatchLastSeq == b.BatchLastSeq && a.Op == b.Op && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value)
		}) {
			t.Fatalf("round %d: %d records came back of %d, or others", round, len(got), len(want))
		}
		check(t, log.Close())
		log = mustOpen(t, dir, options)
	}
}

func TestTheProtocol(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	log := mustOpen(t, dir, Options{StoreSeq: StoreEmpty})
	for range 10 {
		must(log.Append(OpPut, []byte("key"), []byte("value")))
	}
	id := log.ID()
	if n := must(log.Checkpoint(6)); n != 6 {
		t.Fatalf("n is %d: four records are not in the store", n)
	}
	if err := log.Truncate(7, 0); !errors.Is(err, ErrNotCheckpointed) {
		t.Fatal(err)
	}
	check(t, log.Truncate(6, 0))
	if got := all(t, log, 6, 0); len(got) != 4 || got[0].Seq != 7 {
		t.Fatal(got)
	}
	n := must(log.Checkpoint(SeqLast))
	if n != 12 || log.CheckpointSeq() != 12 || log.LastSeq() != 12 || log.DurableSeq() != 12 || log.OldestSeq() != 7 {
		t.Fatal(n, log.CheckpointSeq(), log.LastSeq(), log.DurableSeq(), log.OldestSeq())
	}
	if got := all(t, log, Oldest, ReplayRaw); len(got) != 6 || got[4].Op != OpCheckpoint {
		t.Fatal(got)
	}
	check(t, log.Truncate(n, 0))
	check(t, log.Close())

	// A store that is older than what was forgotten, or newer than the log, or another one's.
	for _, seq := range []uint64{StoreEmpty, 3, 13} {
		if _, err := Open(dir, Options{StoreSeq: seq}); !errors.Is(err, ErrGap) {
			t.Errorf("store %d: %v", seq, err)
		}
	}
	if _, err := Open(dir, Options{StoreSeq: n, LogID: LogID{1}}); !errors.Is(err, ErrWrongLog) {
		t.Error(err)
	}
	log = mustOpen(t, dir, Options{StoreSeq: n, LogID: id})
	report := must(log.Report())
	if !report.Clean || report.Created || report.LogID != id || report.LastSeq != 12 || report.Damage != nil {
		t.Errorf("%+v", report)
	}
	var gap *Error
	for _, err := range log.Replay(2, 0) {
		if !errors.As(err, &gap) || gap.Code != ErrGap || gap.Seq != 3 || gap.Records() == "" {
			t.Errorf("%v %+v", err, gap)
		}
	}
}

func TestErrorsTell(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	_, err := Open(path, Options{Mode: OpenExisting})
	if !errors.Is(err, ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	log := mustOpen(t, path, Options{SegmentSize: 4096})
	if _, err := Open(path, Options{Mode: OpenNew}); !errors.Is(err, ErrLocked) {
		t.Error(err)
	}
	if _, err := log.Append(OpCheckpoint, nil, nil); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, err := log.Append(OpPut, nil, make([]byte, 4000)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	var batch Batch
	if _, err := log.AppendBatch(&batch, 0); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	batch.Put([]byte("a"), nil)
	batch.Add(3, []byte("b"), nil)
	var details *Error
	if _, err := log.AppendBatch(&batch, 0); !errors.As(err, &details) || details.Code != ErrInvalid || details.Offset != 1 {
		t.Error(err)
	}
	if err := log.Sync(9); !errors.Is(err, ErrRange) {
		t.Error(err)
	}
	if err := log.WaitDurable(context.Background(), 1<<63); !errors.Is(err, ErrRange) {
		t.Error(err)
	}
	must(log.Append(OpPut, nil, []byte("value")))
	check(t, log.Close())
	if _, err := Open(path, Options{Mode: OpenNew}); !errors.Is(err, ErrExists) || !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	check(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	_, err = Open(filepath.Join(dir, "file", "log"), Options{})
	if !errors.Is(err, syscall.ENOTDIR) || !errors.As(err, &details) || details.Errno != syscall.ENOTDIR {
		t.Error(err)
	}
	if _, err := Open("a\x00b", Options{}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	for _, wrong := range []Options{{BatchInterval: -1}, {BatchRecords: -1}, {SegmentSize: -4096}, {SyncMode: 9}, {Recovery: 9}, {Mode: 64}} {
		if _, err := Open(path, wrong); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	if ErrGap.String() != "WAL_E_GAP" || ErrGap.Error() == "" || errors.Is(ErrGap, ErrCorrupt) || errNoRoom.String() != "WAL_E_NO_ROOM" {
		t.Error(ErrGap.String())
	}
}

func TestDamageIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log := mustOpen(t, path, Options{SegmentSize: 4096})
	for range 60 {
		must(log.Append(OpPut, []byte("key"), []byte("a value that is damaged later")))
	}
	check(t, log.Close())
	file := filepath.Join(path, "0000000001.wal")
	content := must(os.ReadFile(file))
	content[bytes.Index(content, []byte("damaged"))] ^= 1
	check(t, os.WriteFile(file, content, 0o600))
	report := must(Inspect(path, Options{}, InspectFull))
	if report.Damages != 1 || report.Damage == nil || report.Damage.Code != ErrCorrupt || report.Damage.Segment != 1 || report.Damage.Seq != 1 {
		t.Errorf("%+v", report)
	}
	log = mustOpen(t, path, Options{})
	var met error
	for record, err := range log.Replay(0, 0) {
		if err == nil {
			t.Error(record)
		}
		met = err
	}
	var details *Error
	if !errors.As(met, &details) || details.Code != ErrCorrupt || details.Segment != 1 || details.Offset == 0 || details.Seq != 1 {
		t.Errorf("%v %+v", met, details)
	}
}

func TestReplayOfLargeRecordsAndEarlyEnds(t *testing.T) {
	log := mustOpen(t, filepath.Join(t.TempDir(), "log"), Options{SyncMode: SyncNone})
	var batch Batch
	for at := range 5000 {
		batch.Put(fmt.Appendf(nil, "key %d", at), make([]byte, at%300))
	}
	must(log.AppendBatch(&batch, 0))
	must(log.Append(OpPut, []byte("large"), make([]byte, 2<<20)))
	must(log.Append(OpPut, []byte("last"), nil))
	for _, stop := range []int{1, 2, 999, 1024, 1025, 5001, 5002} {
		count := 0
		for record, err := range log.Replay(0, 0) {
			check(t, err)
			count++
			if record.Seq != uint64(count) {
				t.Fatal(record.Seq, count)
			}
			// What a loop does with its slices stays there.
			_ = append(record.Key, "more"...)
			clear(record.Value)
			if count == stop {
				break
			}
		}
		if count != stop {
			t.Fatalf("%d records, want %d", count, stop)
		}
	}
	// A sequence can be looped over again.
	sequence, total := log.Replay(5000, 0), 0
	for range 3 {
		for range sequence {
			total++
		}
	}
	if total != 6 {
		t.Error(total)
	}
}

func TestFollowShowsWhatBecomesDurable(t *testing.T) {
	log := mustOpen(t, filepath.Join(t.TempDir(), "log"), Options{SyncMode: SyncNone, SegmentSize: 64 << 10})
	const last = 3000
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var readers sync.WaitGroup
	for reader := range 4 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			flags := ReplayFlags(0)
			if reader == 3 {
				flags = ReplayUnsynced
			}
			want := uint64(1)
			for record, err := range log.Follow(ctx, 0, flags) {
				if err != nil || record.Seq != want {
					t.Errorf("reader %d: %d, want %d: %v", reader, record.Seq, want, err)
					return
				}
				if want++; want > last {
					return
				}
			}
		}()
	}
	for seq := uint64(1); seq <= last; seq++ {
		must(log.Append(OpPut, nil, make([]byte, 50)))
		if seq%100 == 0 {
			check(t, log.Sync(seq))
		}
	}
	readers.Wait()

	// Cancelling ends it, and so does closing the log.
	for _, flags := range []ReplayFlags{0, ReplayUnsynced} {
		short, stop := context.WithTimeout(context.Background(), 30*time.Millisecond)
		defer stop()
		for _, err := range log.Follow(short, last, flags) {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
	}
	for _, flags := range []ReplayFlags{0, ReplayUnsynced} {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for _, err := range log.Follow(context.Background(), last, flags) {
				if !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
			}
		}()
	}
	time.Sleep(20 * time.Millisecond)
	check(t, log.Close())
	readers.Wait()
}

func TestWaitDurable(t *testing.T) {
	log := mustOpen(t, filepath.Join(t.TempDir(), "log"), Options{SyncMode: SyncNone})
	check(t, log.WaitDurable(context.Background(), SeqLast))
	ctx, cancel := context.WithCancelCause(context.Background())
	reason := errors.New("no longer wanted")
	var waiters sync.WaitGroup
	for seq := range uint64(50) {
		waiters.Add(2)
		go func() {
			defer waiters.Done()
			if err := log.WaitDurable(context.Background(), seq); err != nil {
				t.Error(seq, err)
			}
			if durable := log.DurableSeq(); durable < seq {
				t.Errorf("woken for %d at %d", seq, durable)
			}
		}()
		go func() {
			defer waiters.Done()
			if err := log.WaitDurable(ctx, 1000+seq); !errors.Is(err, reason) {
				t.Error(seq, err)
			}
		}()
	}
	for seq := uint64(1); seq < 50; seq++ {
		must(log.AppendAsync(OpPut, nil, nil))
		if seq%7 == 0 {
			check(t, log.Sync(SeqLast))
		}
	}
	check(t, log.Sync(49))
	cancel(reason)
	waiters.Wait()
	// Nobody waits any more: nor does the goroutine that waited for them.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		log.watch.mu.Lock()
		running := log.watch.isRunning
		log.watch.mu.Unlock()
		if !running {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the watch does not end")
		}
	}
	ended, stop := context.WithCancel(context.Background())
	stop()
	if err := log.WaitDurable(ended, 50); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	check(t, log.WaitDurable(ended, 49))
}

func TestAppendFlagsOverruleTheMode(t *testing.T) {
	for _, mode := range []SyncMode{SyncAlways, SyncNone} {
		log := mustOpen(t, filepath.Join(t.TempDir(), "log"), Options{SyncMode: mode})
		var batch Batch
		batch.Put([]byte("k"), []byte("v"))
		must(log.AppendBatch(&batch, AppendAsync))
		must(log.AppendAsync(OpPut, nil, nil))
		if log.DurableSeq() != 0 {
			t.Error("an asynchronous append waited")
		}
		if last := must(log.AppendBatch(&batch, AppendSync)); last != 3 || log.DurableSeq() != 3 {
			t.Error(last, log.DurableSeq())
		}
		if _, err := log.AppendBatch(&batch, AppendSync|AppendAsync); !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
		check(t, log.Flush())
		batch.Reset()
		if batch.Len() != 0 || batch.Size() != 4 {
			t.Error(batch.Len(), batch.Size())
		}
	}
}

// Every record is where its goroutine was told, once.
func TestManyGoroutinesAppend(t *testing.T) {
	for _, options := range []Options{
		{}, {SyncMode: SyncBatch, BatchRecords: 10}, {SyncMode: SyncBatch, BatchInterval: time.Millisecond}, {SyncMode: SyncOS}, {SyncMode: SyncNone},
		{SegmentSize: 4096},
	} {
		t.Run(fmt.Sprintf("mode %d", options.SyncMode), func(t *testing.T) {
			log := mustOpen(t, filepath.Join(t.TempDir(), "log"), options)
			const goroutines, each = 200, 20
			var told sync.Map
			var group sync.WaitGroup
			for g := range goroutines {
				group.Add(1)
				go func() {
					defer group.Done()
					for at := range each {
						value := fmt.Appendf(nil, "%d.%d", g, at)
						var seq uint64
						var err error
						switch {
						case at%10 == 3:
							var batch Batch
							batch.Put(nil, value)
							seq, err = log.AppendBatch(&batch, 0)
						case at%10 == 5:
							if seq, err = log.AppendAsync(OpPut, nil, value); err == nil {
								err = log.Sync(seq)
							}
						case at == 7 && g%20 == 0:
							// One that is refused harms nobody.
							if _, err := log.Append(OpPut, nil, make([]byte, 17<<20)); !errors.Is(err, ErrTooLarge) {
								t.Error(err)
							}
							fallthrough
						default:
							seq, err = log.Append(OpPut, nil, value)
						}
						if err != nil {
							t.Error(err)
							return
						}
						if options.SyncMode == SyncAlways && log.DurableSeq() < seq {
							t.Errorf("%d is not durable", seq)
						}
						if _, again := told.LoadOrStore(seq, string(value)); again {
							t.Errorf("%d was given out twice", seq)
						}
					}
				}()
			}
			group.Wait()
			count := 0
			for record, err := range log.Replay(0, 0) {
				check(t, err)
				value, known := told.Load(record.Seq)
				if !known || value != string(record.Value) {
					t.Fatalf("%d is %q, told %q", record.Seq, record.Value, value)
				}
				count++
			}
			if count != goroutines*each {
				t.Errorf("%d records", count)
			}
			if s := must(log.Stat()); options.SyncMode == SyncAlways && options.SegmentSize == 0 && s.Syncs > goroutines*each/2 {
				t.Errorf("%d syncs: they are not shared", s.Syncs)
			}
		})
	}
}

func TestCloseAmidEverything(t *testing.T) {
	for round := range 10 {
		dir := filepath.Join(t.TempDir(), "log")
		log := mustOpen(t, dir, Options{SegmentSize: 64 << 10})
		var acknowledged atomic.Uint64
		var group sync.WaitGroup
		run := func(body func() error) {
			group.Add(1)
			go func() {
				defer group.Done()
				for {
					if err := body(); err != nil {
						if !errors.Is(err, ErrClosed) || !errors.Is(err, fs.ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			}()
		}
		for range 20 {
			run(func() error {
				seq, err := log.Append(OpPut, []byte("key"), []byte("value"))
				for err == nil {
					known := acknowledged.Load()
					if known >= seq || acknowledged.CompareAndSwap(known, seq) {
						break
					}
				}
				return err
			})
		}
		run(func() error { return log.WaitDurable(context.Background(), log.LastSeq()+1) })
		run(func() error { return log.Sync(SeqLast) })
		run(func() error { _, err := log.Stat(); return err })
		run(func() error { _, err := log.Checkpoint(0); return err })
		run(func() error {
			for _, err := range log.Replay(Oldest, 0) {
				if err != nil {
					return err
				}
			}
			return nil
		})
		time.Sleep(time.Duration(round) * 2 * time.Millisecond)
		for range 3 {
			group.Add(1)
			go func() {
				defer group.Done()
				if err := log.Close(); err != nil {
					t.Error(err)
				}
			}()
		}
		group.Wait()
		check(t, log.Close())
		if log.LastSeq() != 0 || log.ID() != (LogID{}) {
			t.Error("a closed log knows numbers")
		}
		again := mustOpen(t, dir, Options{})
		if !must(again.Report()).Clean || again.LastSeq() < acknowledged.Load() {
			t.Errorf("acknowledged %d, there %d", acknowledged.Load(), again.LastSeq())
		}
		check(t, again.Close())
	}
}

func TestAClosedLogInALoop(t *testing.T) {
	log := mustOpen(t, filepath.Join(t.TempDir(), "log"), Options{})
	for range 3 {
		must(log.Append(OpPut, nil, nil))
	}
	count := 0
	for _, err := range log.Follow(context.Background(), 0, 0) {
		if count++; count == 1 {
			// The loop's own goroutine may close.
			check(t, log.Close())
		}
		if err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	if count != 4 {
		t.Error(count)
	}
}

func TestReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	log := mustOpen(t, dir, Options{})
	must(log.Append(OpPut, nil, []byte("value")))
	check(t, log.Close())
	log = mustOpen(t, dir, Options{Mode: OpenReadOnly})
	if len(all(t, log, 0, 0)) != 1 {
		t.Error("the record is not there")
	}
	_, appended := log.Append(OpPut, nil, nil)
	_, async := log.AppendAsync(OpPut, nil, nil)
	_, checkpointed := log.Checkpoint(SeqLast)
	for _, err := range []error{appended, async, checkpointed, log.Sync(SeqLast), log.Truncate(1, 0), log.WaitDurable(context.Background(), 1)} {
		if !errors.Is(err, ErrReadOnly) {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	var met error
	for _, err := range log.Follow(ctx, 1, 0) {
		met = err
	}
	if !errors.Is(met, context.DeadlineExceeded) {
		t.Error(met)
	}
}

func TestMetrics(t *testing.T) {
	log := mustOpen(t, filepath.Join(t.TempDir(), "log"), Options{})
	must(log.Append(OpPut, nil, []byte("value")))
	s := must(log.Stat())
	syncs := uint64(0)
	for at := range HistogramBuckets {
		syncs += s.SyncHistogram[at]
	}
	if s.SyncedRecords != 1 || s.GroupMaxRecords != 1 || s.SyncTime < s.SyncMaxTime || s.LastFailure != nil || syncs != s.Syncs {
		t.Errorf("%+v", s)
	}
	seen := map[string]float64{}
	for m := range Collector(log).Collect() {
		if _, twice := seen[m.Name]; twice || m.Help == "" || (m.Type != Counter && m.Type != Gauge) {
			t.Errorf("%+v", m)
		}
		seen[m.Name] = m.Value
	}
	if seen["wal_last_seq"] != 1 || seen["wal_records_total"] != 1 || seen["wal_disk_bytes"] == 0 {
		t.Error(seen)
	}
	for range log.Collect() {
		break
	}
	check(t, log.Close())
	for m := range log.Collect() {
		t.Error(m)
	}
}

func TestAppendingAllocatesNothing(t *testing.T) {
	log := mustOpen(t, filepath.Join(t.TempDir(), "log"), Options{SyncMode: SyncNone})
	key, value := []byte("key"), make([]byte, 100)
	var batch Batch
	for range 100 {
		batch.Put(key, value)
	}
	for name, call := range map[string]func(){
		"Append":      func() { must(log.Append(OpPut, key, value)) },
		"AppendAsync": func() { must(log.AppendAsync(OpPut, key, value)) },
		"AppendBatch": func() { must(log.AppendBatch(&batch, 0)) },
	} {
		if allocations := testing.AllocsPerRun(100, call); allocations != 0 {
			t.Errorf("%s allocates %v times", name, allocations)
		}
	}
}

// Goroutines that wait for the disk must not become threads: Go ends a program that has ten thousand of them.
func TestWaitingGoroutinesAreNotThreads(t *testing.T) {
	log := mustOpen(t, filepath.Join(t.TempDir(), "log"), Options{})
	before := pprof.Lookup("threadcreate").Count()
	var group sync.WaitGroup
	for range 2000 {
		group.Add(1)
		go func() {
			defer group.Done()
			seq, err := log.Append(OpPut, nil, []byte("value"))
			if err == nil {
				_, err = log.AppendAsync(OpPut, nil, []byte("value"))
			}
			if err == nil {
				err = log.Sync(SeqLast)
			}
			if err == nil {
				err = log.WaitDurable(context.Background(), seq+1)
			}
			if err != nil {
				t.Error(err)
			}
		}()
	}
	group.Wait()
	if threads := pprof.Lookup("threadcreate").Count() - before; threads > 100 {
		t.Errorf("%d more threads", threads)
	}
}
