package wal

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"wal/internal/cloop"
)

// Each benchmark runs a portion in Go and the same portion as a loop in C, in turns: ns/record and C-ns/record are medians of the portions, and
// ratio is the median of their ratios. Compare ratios; absolute figures drift.
func against(b *testing.B, records int, inGo, inC, between func() error) {
	var goes, cs, ratios []float64
	measure := func(run func() error) float64 {
		start := time.Now()
		if err := run(); err != nil {
			b.Fatal(err)
		}
		return float64(time.Since(start)) / float64(records)
	}
	for b.Loop() {
		g, c := measure(inGo), measure(inC)
		goes, cs, ratios = append(goes, g), append(cs, c), append(ratios, g/c)
		if err := between(); err != nil {
			b.Fatal(err)
		}
	}
	median := func(values []float64) float64 { slices.Sort(values); return values[len(values)/2] }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(goes), "ns/record")
	b.ReportMetric(median(cs), "C-ns/record")
	b.ReportMetric(median(ratios), "ratio")
}

func bothLogs(b *testing.B) (*Log, cloop.Log) {
	dir := b.TempDir()
	log := mustOpen(b, filepath.Join(dir, "go"), Options{SyncMode: SyncNone})
	inC, err := cloop.Open(filepath.Join(dir, "c"))
	check(b, err)
	b.Cleanup(func() { check(b, inC.Close()) })
	return log, inC
}

// Keys of 8 bytes and these values.
var valueSizes = []int{120, 1016}

func BenchmarkAppend(b *testing.B) {
	const records = 20000
	for _, size := range valueSizes {
		value := make([]byte, size)
		key := value[:8]
		run := func(name string, inGo func(*Log) error, loop func(cloop.Log) error) {
			b.Run(fmt.Sprintf("%dB/%s", size+8, name), func(b *testing.B) {
				log, inC := bothLogs(b)
				against(b, records, func() error { return inGo(log) }, func() error { return loop(inC) }, func() error {
					if err := inC.Truncate(); err != nil {
						return err
					}
					return log.Truncate(log.LastSeq(), TruncateUnchecked)
				})
			})
		}
		single := func(inC cloop.Log) error { return inC.Append(records, value) }
		run("single", func(log *Log) error {
			for range records {
				if _, err := log.Append(OpPut, key, value); err != nil {
					return err
				}
			}
			return nil
		}, single)
		for _, inBatch := range []int{10, 100, 1000} {
			var batch Batch
			packed := func(log *Log) error {
				for range records / inBatch {
					batch.Reset()
					for range inBatch {
						batch.Put(key, value)
					}
					if _, err := log.AppendBatch(&batch, 0); err != nil {
						return err
					}
				}
				return nil
			}
			run(fmt.Sprintf("packed%d", inBatch), packed, single)
			run(fmt.Sprintf("packed%d-of-C-batches", inBatch), packed, func(inC cloop.Log) error { return inC.AppendBatch(records, inBatch, value) })
		}
	}
}

func BenchmarkReplay(b *testing.B) {
	const records = 100000
	for _, size := range valueSizes {
		b.Run(fmt.Sprintf("%dB", size+8), func(b *testing.B) {
			log, inC := bothLogs(b)
			value := make([]byte, size)
			check(b, inC.Append(records, value))
			for range records {
				must(log.Append(OpPut, value[:8], value))
			}
			sum := 0
			against(b, records, func() error {
				count := 0
				for record, err := range log.Replay(0, 0) {
					if err != nil {
						return err
					}
					count++
					sum += len(record.Value)
				}
				if count != records {
					return fmt.Errorf("%d records", count)
				}
				return nil
			}, func() error {
				count, err := inC.Replay()
				if err == nil && count != records {
					err = fmt.Errorf("%d records", count)
				}
				return err
			}, func() error { return nil })
		})
	}
}

// Durable appends by so many goroutines: how many in a second, and how many share a sync.
func BenchmarkDurable(b *testing.B) {
	for _, goroutines := range []int{1, 16, 64, 1000} {
		b.Run(fmt.Sprintf("goroutines%d", goroutines), func(b *testing.B) {
			log := mustOpen(b, filepath.Join(b.TempDir(), "log"), Options{})
			value := make([]byte, 120)
			var group sync.WaitGroup
			each := (b.N + goroutines - 1) / goroutines
			before := must(log.Stat())
			b.ResetTimer()
			for range goroutines {
				group.Add(1)
				go func() {
					defer group.Done()
					for range each {
						if _, err := log.Append(OpPut, value[:8], value); err != nil {
							b.Error(err)
							return
						}
					}
				}()
			}
			group.Wait()
			b.StopTimer()
			after := must(log.Stat())
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(each*goroutines)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(after.Records-before.Records)/float64(after.Syncs-before.Syncs), "records/sync")
		})
	}
}
