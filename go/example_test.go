package wal_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"wal"
)

// temporary is where the examples keep their logs.
func temporary() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "wal-example-")
	if err != nil {
		log.Fatal(err)
	}
	return filepath.Join(dir, "log"), func() { _ = os.RemoveAll(dir) }
}

func Example() {
	dir, remove := temporary()
	defer remove()

	// A store says at each opening up to where it holds everything: this one is new.
	w, err := wal.Open(dir, wal.Options{StoreSeq: wal.StoreEmpty})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()

	seq, err := w.Append(wal.OpPut, []byte("colour"), []byte("green"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("durable:", seq)

	for record, err := range w.Replay(0, 0) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d: %s = %s\n", record.Seq, record.Key, record.Value)
	}
	// Output:
	// durable: 1
	// 1: colour = green
}

// The store flushes, tells the log, saves n, and lets the log forget.
func ExampleLog_Checkpoint() {
	dir, remove := temporary()
	defer remove()
	w, err := wal.Open(dir, wal.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()

	var applied uint64
	for range 3 {
		if applied, err = w.Append(wal.OpPut, nil, []byte("value")); err != nil {
			log.Fatal(err)
		}
	}
	// Here the store makes everything up to applied durable.
	n, err := w.Checkpoint(applied)
	if err != nil {
		log.Fatal(err)
	}
	// Here it saves n, for Options.StoreSeq at the next opening.
	if err := w.Truncate(n, 0); err != nil {
		log.Fatal(err)
	}
	fmt.Println("the log may forget up to", n, "and next keeps", w.OldestSeq())
	// Output: the log may forget up to 4 and next keeps 5
}

// Many records in one call, which are there all or not at all after a crash.
func ExampleLog_AppendBatch() {
	dir, remove := temporary()
	defer remove()
	w, err := wal.Open(dir, wal.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()

	var batch wal.Batch
	batch.Put([]byte("from"), []byte("-10"))
	batch.Put([]byte("to"), []byte("+10"))
	last, err := w.AppendBatch(&batch, 0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(last-uint64(batch.Len())+1, "to", last)
	// Output: 1 to 2
}

// Append many, wait once.
func ExampleLog_AppendAsync() {
	dir, remove := temporary()
	defer remove()
	w, err := wal.Open(dir, wal.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()

	var last uint64
	for range 1000 {
		if last, err = w.AppendAsync(wal.OpPut, nil, []byte("value")); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Sync(last); err != nil {
		log.Fatal(err)
	}
	fmt.Println("durable:", w.DurableSeq())
	// Output: durable: 1000
}

// A change feed: it shows what is there, and then what becomes durable.
func ExampleLog_Follow() {
	dir, remove := temporary()
	defer remove()
	w, err := wal.Open(dir, wal.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	go func() {
		for _, value := range []string{"one", "two", "three"} {
			if _, err := w.Append(wal.OpPut, nil, []byte(value)); err != nil {
				log.Print(err)
			}
		}
	}()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for record, err := range w.Follow(ctx, 0, 0) {
		if errors.Is(err, context.Canceled) {
			fmt.Println("enough")
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(record.Seq, string(record.Value))
		if record.Seq == 3 {
			cancel()
		}
	}
	// Output:
	// 1 one
	// 2 two
	// 3 three
	// enough
}

// A backup takes its time; the pin keeps what it has not copied yet.
func ExampleCreatePin() {
	dir, remove := temporary()
	defer remove()
	w, err := wal.Open(dir, wal.Options{SegmentSize: 4096})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	for range 100 {
		if _, err := w.Append(wal.OpPut, nil, make([]byte, 100)); err != nil {
			log.Fatal(err)
		}
	}

	after, err := wal.CreatePin(dir, "backup", wal.Oldest, wal.PinOptions{MaxBytes: 1 << 30})
	if err != nil {
		log.Fatal(err)
	}
	// The program that writes does not notice the pin.
	if err := w.Truncate(100, wal.TruncateUnchecked); err != nil {
		log.Fatal(err)
	}
	copied := 0
	for record, err := range w.Replay(after, wal.ReplayPinned) {
		if err != nil {
			log.Fatal(err)
		}
		copied++
		after = record.Seq
	}
	if err := wal.AdvancePin(dir, "backup", after); err != nil {
		log.Fatal(err)
	}
	fmt.Println(copied, "records copied; the pin is at", after)
	// Output: 100 records copied; the pin is at 100
}

// A store that was restored from an old backup is told apart from one that is up to date.
func ExampleError() {
	dir, remove := temporary()
	defer remove()
	w, err := wal.Open(dir, wal.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for range 5 {
		if _, err := w.Append(wal.OpPut, nil, nil); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Truncate(5, wal.TruncateUnchecked); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}

	_, err = wal.Open(dir, wal.Options{StoreSeq: 2})
	var details *wal.Error
	if errors.Is(err, wal.ErrGap) && errors.As(err, &details) {
		fmt.Println("the store lacks records", details.Records())
	}
	// Output: the store lacks records 3 to 5
}

// What Prometheus reads, without a dependency.
func ExampleLog_Collect() {
	dir, remove := temporary()
	defer remove()
	w, err := wal.Open(dir, wal.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()

	var page strings.Builder
	for m := range w.Collect() {
		fmt.Fprintf(&page, "# HELP %s %s\n# TYPE %s %s\n%s %v\n", m.Name, m.Help, m.Name, m.Type, m.Name, m.Value)
	}
	fmt.Println(strings.Join(strings.Split(page.String(), "\n")[:3], "\n"))
	// Output:
	// # HELP wal_last_seq Last record appended.
	// # TYPE wal_last_seq gauge
	// wal_last_seq 0
}
