package wal

import (
	"iter"
	"time"
)

// Stat is where a log stands and what it has done since it was opened.
type Stat struct {
	LastSeq           uint64 // last record appended, 0 if there never was one
	DurableSeq        uint64 // last record known to be durable
	CheckpointSeq     uint64 // highest n of any checkpoint
	CheckpointCovered uint64 // what the program declared with it
	OldestSeq         uint64 // oldest record kept, LastSeq + 1 if there is none
	FloorSeq          uint64 // records up to here have been forgotten
	Epoch             uint64 // unclean openings so far, and those that dropped something
	SegmentSize       uint64 // bytes in a segment file
	DiskBytes         uint64 // bytes on disk: segments, spares, manifest
	Segments          uint64 // segments that hold records
	Spares            uint64 // files prepared or kept for coming segments
	Appends           uint64 // calls that appended
	Records           uint64 // records appended
	AppendedBytes     uint64 // bytes appended, headers and padding included
	Writes            uint64 // writes to segments
	Syncs             uint64 // syncs of segments
	Rotations         uint64 // segments begun
	Recycled          uint64 // segments begun in a forgotten one's blocks
	Poisoned          bool   // a failed write or sync has poisoned the log

	SparesReady       uint64        // spares in which an append can go on at once
	SegmentsForgotten uint64        // segments that are forgotten and not yet removed
	Checkpoints       uint64        // checkpoints
	Truncations       uint64        // truncations that forgot something
	SyncedRecords     uint64        // records that syncs made durable
	GroupMaxRecords   uint64        // the most records that one sync made durable
	SyncTime          time.Duration // time spent in syncs
	SyncMaxTime       time.Duration // the longest sync
	SyncRunningTime   time.Duration // how long the sync under way has taken so far, 0 if there is none
	Failures          uint64        // failures of the log's own work, told by a call or not
	LastFailure       *Error        // the last of them, nil if there was none
	LastFailureTime   time.Time     // when it was
	Pins              uint64        // pins that keep something or could
	PinsLost          uint64        // pins that reached their limit and were lost
	PinsDamaged       uint64        // files of pins that are damaged
	PinnedSeq         uint64        // the lowest seq of any pin, the highest uint64 if there is none, 0 if one is damaged
	PinnedBytes       uint64        // bytes of forgotten segments that pins keep on disk

	// A histogram's first bucket counts zeros, bucket i what is from 2^(i-1) to 2^i - 1, and the last one all that is larger, too.
	GroupHistogram [HistogramBuckets]uint64 // syncs by the records that each made durable
	SyncHistogram  [HistogramBuckets]uint64 // syncs by the microseconds that each took
}

// HistogramBuckets is how many buckets the histograms of Stat have.
const HistogramBuckets = 24

// Stat returns positions and counters at one point in time.
func (l *Log) Stat() (Stat, error) {
	if err := l.enter(); err != nil {
		return Stat{}, err
	}
	defer l.leave()
	return stat(l.handle)
}

// A MetricType says how a metric behaves.
type MetricType string

// Metric types, by the names that monitoring systems have for them.
const (
	// Counter only grows, and begins at 0 with each opening.
	Counter MetricType = "counter"
	// Gauge goes up and down.
	Gauge MetricType = "gauge"
)

// A Metric is one number for a monitoring system.
type Metric struct {
	Name  string // as Prometheus has names: "wal_appended_bytes_total"
	Help  string // one sentence
	Type  MetricType
	Value float64
}

// A Collector gives metrics whenever it is asked. A Log is one; what feeds a monitoring system needs to know no more of it.
type Collector interface {
	// Collect yields each metric with its present value.
	Collect() iter.Seq[Metric]
}

var _ Collector = (*Log)(nil)

// Collect yields the log's metrics, all of one point in time; none once the log is closed.
func (l *Log) Collect() iter.Seq[Metric] {
	return func(yield func(Metric) bool) {
		s, err := l.Stat()
		if err != nil {
			return
		}
		s.Metrics()(yield)
	}
}

// metrics is what Stat has to say to a monitoring system.
var metrics = []struct {
	name, help string
	kind       MetricType
	value      func(*Stat) float64
}{
	{"wal_last_seq", "Last record appended.", Gauge, func(s *Stat) float64 { return float64(s.LastSeq) }},
	{"wal_durable_seq", "Last record known to be durable.", Gauge, func(s *Stat) float64 { return float64(s.DurableSeq) }},
	{"wal_checkpoint_seq", "Highest n of any checkpoint.", Gauge, func(s *Stat) float64 { return float64(s.CheckpointSeq) }},
	{"wal_oldest_seq", "Oldest record kept.", Gauge, func(s *Stat) float64 { return float64(s.OldestSeq) }},
	{"wal_floor_seq", "Records up to here have been forgotten.", Gauge, func(s *Stat) float64 { return float64(s.FloorSeq) }},
	{"wal_epoch", "Unclean openings so far.", Gauge, func(s *Stat) float64 { return float64(s.Epoch) }},
	{"wal_disk_bytes", "Bytes on disk.", Gauge, func(s *Stat) float64 { return float64(s.DiskBytes) }},
	{"wal_segments", "Segments that hold records.", Gauge, func(s *Stat) float64 { return float64(s.Segments) }},
	{"wal_spares", "Files prepared or kept for coming segments.", Gauge, func(s *Stat) float64 { return float64(s.Spares) }},
	{"wal_poisoned", "1 if a failed write or sync has poisoned the log.", Gauge, func(s *Stat) float64 {
		if s.Poisoned {
			return 1
		}
		return 0
	}},
	{"wal_appends_total", "Calls that appended.", Counter, func(s *Stat) float64 { return float64(s.Appends) }},
	{"wal_records_total", "Records appended.", Counter, func(s *Stat) float64 { return float64(s.Records) }},
	{"wal_appended_bytes_total", "Bytes appended.", Counter, func(s *Stat) float64 { return float64(s.AppendedBytes) }},
	{"wal_writes_total", "Writes to segments.", Counter, func(s *Stat) float64 { return float64(s.Writes) }},
	{"wal_syncs_total", "Syncs of segments.", Counter, func(s *Stat) float64 { return float64(s.Syncs) }},
	{"wal_rotations_total", "Segments begun.", Counter, func(s *Stat) float64 { return float64(s.Rotations) }},
	{"wal_recycled_total", "Segments begun in a forgotten one's blocks.", Counter, func(s *Stat) float64 { return float64(s.Recycled) }},
	{"wal_spares_ready", "Spares in which an append can go on at once.", Gauge, func(s *Stat) float64 { return float64(s.SparesReady) }},
	{"wal_segments_forgotten", "Segments forgotten and not yet removed.", Gauge, func(s *Stat) float64 { return float64(s.SegmentsForgotten) }},
	{"wal_checkpoints_total", "Checkpoints.", Counter, func(s *Stat) float64 { return float64(s.Checkpoints) }},
	{"wal_truncations_total", "Truncations that forgot something.", Counter, func(s *Stat) float64 { return float64(s.Truncations) }},
	{"wal_synced_records_total", "Records that syncs made durable.", Counter, func(s *Stat) float64 { return float64(s.SyncedRecords) }},
	{"wal_group_max_records", "The most records that one sync made durable.", Gauge, func(s *Stat) float64 { return float64(s.GroupMaxRecords) }},
	{"wal_sync_seconds_total", "Time spent in syncs.", Counter, func(s *Stat) float64 { return s.SyncTime.Seconds() }},
	{"wal_sync_max_seconds", "The longest sync.", Gauge, func(s *Stat) float64 { return s.SyncMaxTime.Seconds() }},
	{"wal_sync_running_seconds", "How long the sync under way has taken so far.", Gauge, func(s *Stat) float64 { return s.SyncRunningTime.Seconds() }},
	{"wal_failures_total", "Failures of the log's own work.", Counter, func(s *Stat) float64 { return float64(s.Failures) }},
	{"wal_pins", "Pins that keep something or could.", Gauge, func(s *Stat) float64 { return float64(s.Pins) }},
	{"wal_pins_lost", "Pins that reached their limit and were lost.", Gauge, func(s *Stat) float64 { return float64(s.PinsLost) }},
	{"wal_pins_damaged", "Files of pins that are damaged.", Gauge, func(s *Stat) float64 { return float64(s.PinsDamaged) }},
	{"wal_pinned_bytes", "Bytes of forgotten segments that pins keep on disk.", Gauge, func(s *Stat) float64 { return float64(s.PinnedBytes) }},
}

// Metrics yields the numbers of s for a monitoring system.
func (s *Stat) Metrics() iter.Seq[Metric] {
	return func(yield func(Metric) bool) {
		for _, m := range metrics {
			if !yield(Metric{Name: m.name, Help: m.help, Type: m.kind, Value: m.value(s)}) {
				return
			}
		}
	}
}

// A Report is what an opening found and did, or what Inspect finds.
type Report struct {
	Epoch             uint64        // unclean openings so far, and those that dropped something
	LastSeq           uint64        // last record, 0 if there never was one
	OldestSeq         uint64        // oldest record kept, LastSeq + 1 if there is none
	FloorSeq          uint64        // records up to here have been forgotten
	ForgottenDataSeq  uint64        // the last forgotten one that was no checkpoint: a store below it has a gap
	CheckpointSeq     uint64        // highest n of any checkpoint
	CheckpointCovered uint64        // what the program declared with it
	Segments          uint64        // segments that hold records
	Spares            uint64        // files prepared or kept for coming segments
	SegmentSize       uint64        // bytes in a segment file
	BytesRead         uint64        // bytes read to find all this out
	CopiedRecords     uint64        // records that a crash had left undecided and that were made durable
	CopiedBytes       uint64        // their bytes
	DroppedSegment    uint64        // garbage behind the last usable byte: the segment, 0 if there is none
	DroppedOffset     uint64        // where in it
	DroppedBytes      uint64        // how much
	DroppedFrames     uint64        // how many whole frames were in it that cannot be reached
	LostFirstSeq      uint64        // first record that RecoverPrefix gave up, 0 if none
	LostLastSeq       uint64        // the last one
	FilesAside        uint64        // damaged files moved aside
	Damages           uint64        // damages found
	DamagedFiles      uint64        // files that an earlier RecoverPrefix moved aside
	ForeignFiles      uint64        // files with a segment's name that are none of this log's
	Duration          time.Duration // how long it took
	LogID             LogID         // the log's identity
	Clean             bool          // the last close was clean
	Created           bool          // this opening created the log
	RebuiltManifest   bool          // RecoverPrefix had to rebuild the manifest
	Damage            *Error        // what a strict opening fails with, nil if there is no damage
}

// Report returns what the opening of this log found and did.
func (l *Log) Report() (Report, error) {
	if err := l.enter(); err != nil {
		return Report{}, err
	}
	defer l.leave()
	return report(l.handle)
}

// InspectFlags are the bits of Inspect.
type InspectFlags uint32

// InspectFull verifies every record of every segment.
const InspectFull InspectFlags = 1

// Inspect finds out what Open would find, and changes nothing. Damage is not an error here: it is in the report.
func Inspect(dir string, options Options, flags InspectFlags) (Report, error) {
	return inspect(dir, &options, uint32(flags))
}

// InspectDamage reads every byte of the log, changes nothing, and tells each damage in the order of the files: where it is, and which records are at
// risk. Segment 0 is the manifest.
func InspectDamage(dir string, options Options) ([]*Error, error) {
	return inspectDamage(dir, &options)
}
