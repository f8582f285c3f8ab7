package wal

// The one file that calls C. What goes in is the handle, numbers, and bytes that C reads during the call; what comes out is copied into Go's
// memory. Go pointers to memory with Go pointers in it are never passed.

/*
#include "bridge.h"

#cgo noescape walgo_append
#cgo nocallback walgo_append
#cgo noescape walgo_append_flagged
#cgo nocallback walgo_append_flagged
#cgo noescape walgo_append_packed
#cgo nocallback walgo_append_packed
#cgo noescape walgo_replay_next_packed
#cgo nocallback walgo_replay_next_packed
#cgo nocallback walgo_sync
#cgo nocallback walgo_wait_durable
#cgo noescape wal_last_seq
#cgo nocallback wal_last_seq
#cgo noescape wal_durable_seq
#cgo nocallback wal_durable_seq
*/
import "C"

import (
	"fmt"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

type (
	handle       = *C.wal_t
	cursorHandle = *C.wal_cursor_t
	packedEntry  = C.wal_packed_entry_t
	packedRecord = C.wal_packed_record_t
)

const (
	statusTimeout = C.WAL_TIMEOUT
	logError      = C.WAL_LOG_ERROR
	logWarning    = C.WAL_LOG_WARNING
)

// outcome turns what C says into a status, which is not negative, or an error.
func outcome(result C.walgo_result_t) (int32, error) {
	if result.status >= 0 {
		return int32(result.status), nil
	}
	return 0, failure(result)
}

func failure(result C.walgo_result_t) error {
	code := Code(result.status)
	if result.error == nil {
		return &Error{Code: code, Message: code.text()}
	}
	defer C.free(unsafe.Pointer(result.error))
	return errorOf(result.error)
}

// errorOf copies C's error.
func errorOf(kept *C.wal_error_t) *Error {
	return &Error{
		Code:    Code(kept.code),
		Seq:     uint64(kept.seq),
		SeqLast: uint64(kept.seq_last),
		Segment: uint64(kept.segment),
		Offset:  uint64(kept.offset),
		Errno:   syscall.Errno(kept.os_error),
		Message: C.GoString(&kept.message[0]),
	}
}

// text is C's sentence about the code.
func (c Code) text() string { return C.GoString(C.wal_strerror(C.wal_status_t(c))) }

// name is C's name of the code: "WAL_E_GAP".
func (c Code) name() string { return C.GoString(C.wal_status_name(C.wal_status_t(c))) }

func (o *Options) c() (C.wal_options_t, error) {
	var options C.wal_options_t
	C.wal_options_init(&options, C.size_t(unsafe.Sizeof(options)))
	if o == nil {
		return options, nil
	}
	interval := o.BatchInterval.Microseconds()
	if o.BatchInterval < 0 || interval > 1<<32-1 {
		return options, &Error{Code: ErrInvalid, Message: "BatchInterval must be between 0 and about 71 minutes"}
	}
	if o.BatchInterval > 0 && interval == 0 {
		interval = 1
	}
	slowSync := o.SlowSync.Microseconds()
	if o.SlowSync < 0 || slowSync > 1<<32-1 {
		return options, &Error{Code: ErrInvalid, Message: "SlowSync must be between 0 and about 71 minutes"}
	}
	if o.SlowSync > 0 && slowSync == 0 {
		slowSync = 1
	}
	if o.BatchRecords < 0 || int64(o.BatchRecords) > 1<<32-1 || o.SegmentSize < 0 || int64(o.RecycleSegments) > 1<<32-2 {
		return options, &Error{Code: ErrInvalid, Message: "an option is negative or too large"}
	}
	options.sync_mode = C.uint32_t(o.SyncMode)
	options.segment_size = C.uint64_t(o.SegmentSize)
	options.store_seq = C.uint64_t(o.StoreSeq)
	options.open_flags = C.uint32_t(o.Mode)
	options.recovery = C.uint32_t(o.Recovery)
	options.batch_records = C.uint32_t(o.BatchRecords)
	options.batch_interval_us = C.uint32_t(interval)
	for at, value := range o.LogID {
		options.expected_log_id[at] = C.uint8_t(value)
	}
	options.recycle_segments = C.uint32_t(o.RecycleSegments)
	if o.RecycleSegments < 0 {
		options.recycle_segments = C.WAL_RECYCLE_NONE
	}
	if o.NoThread {
		options.option_flags |= C.WAL_OPTION_NO_THREAD
	}
	if o.Direct {
		options.option_flags |= C.WAL_OPTION_DIRECT
	}
	options.directory_mode = C.uint32_t(o.DirectoryMode.Perm())
	options.file_mode = C.uint32_t(o.FileMode.Perm())
	options.slow_sync_us = C.uint32_t(slowSync)
	return options, nil
}

// checkABI refuses a shared library that is not of the header's ABI.
func checkABI() error {
	if library := C.wal_abi_version(); library != C.WAL_ABI_VERSION {
		message := fmt.Sprintf("the program was built for ABI %d of libwal and runs with ABI %d", C.WAL_ABI_VERSION, library)
		return &Error{Code: ErrMisuse, Message: message}
	}
	return nil
}

func pathOf(dir string) (*C.char, error) {
	if strings.IndexByte(dir, 0) >= 0 {
		return nil, &Error{Code: ErrInvalid, Message: "the directory's name contains a NUL"}
	}
	return C.CString(dir), nil
}

// at is what calls that open or inspect begin with: the options as C has them, and the path, which is the caller's to free.
func (o *Options) at(dir string) (options C.wal_options_t, path *C.char, err error) {
	if options, err = o.c(); err == nil {
		path, err = pathOf(dir)
	}
	return options, path, err
}

// open opens the log. What it tells beside its answers goes to the ears, which are the caller's to close once the log is.
func open(dir string, o *Options, e *ears) (handle, error) {
	if err := checkABI(); err != nil {
		return nil, err
	}
	options, path, err := o.at(dir)
	if err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(path))
	var log handle
	_, err = outcome(C.walgo_open(path, &options, e.c(), &log))
	return log, err
}

type mouth = *C.walgo_mouth_t

// newMouth is where C writes messages: the file is its own to close.
func newMouth(file int) mouth { return C.walgo_mouth(C.int(file)) }

func closeMouth(m mouth) { C.walgo_close_mouth(m) }

func shutdown(log handle) error {
	_, err := outcome(C.walgo_shutdown(log))
	return err
}

func free(log handle) error {
	_, err := outcome(C.walgo_close(log))
	return err
}

func bytesOf(b []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.SliceData(b)) }

func appendOne(log handle, op Op, key, value []byte) (uint64, error) {
	result := C.walgo_append(log, C.uint8_t(op), bytesOf(key), C.size_t(len(key)), bytesOf(value), C.size_t(len(value)))
	if result.status < 0 {
		return 0, failure(result)
	}
	return uint64(result.value), nil
}

func appendFlagged(log handle, op Op, key, value []byte, flags AppendFlags) (uint64, error) {
	result := C.walgo_append_flagged(log, C.uint8_t(op), bytesOf(key), C.size_t(len(key)), bytesOf(value), C.size_t(len(value)), C.uint32_t(flags))
	if result.status < 0 {
		return 0, failure(result)
	}
	return uint64(result.value), nil
}

func appendPacked(log handle, entries []packedEntry, bytes []byte, flags AppendFlags) (uint64, error) {
	result := C.walgo_append_packed(log, unsafe.SliceData(entries), C.size_t(len(entries)), bytesOf(bytes), C.size_t(len(bytes)), C.uint32_t(flags))
	if result.status < 0 {
		return 0, failure(result)
	}
	return uint64(result.value), nil
}

func packed(op Op, key, value []byte) packedEntry {
	return packedEntry{key_len: C.uint32_t(len(key)), value_len: C.uint32_t(len(value)), op: C.uint32_t(op)}
}

func syncTo(log handle, seq uint64) error {
	result := C.walgo_sync(log, C.uint64_t(seq))
	if result.status < 0 {
		return failure(result)
	}
	return nil
}

func flush(log handle) error {
	_, err := outcome(C.walgo_flush(log))
	return err
}

func publish(log handle) error {
	_, err := outcome(C.walgo_publish(log))
	return err
}

// waitDurable waits in C, a thread long; whether the record is durable.
func waitDurable(log handle, seq uint64, limit time.Duration) (bool, error) {
	status, err := outcome(C.walgo_wait_durable(log, C.uint64_t(seq), C.uint64_t(limit.Microseconds())))
	return status != statusTimeout, err
}

func checkpoint(log handle, covered uint64) (uint64, error) {
	result := C.walgo_checkpoint(log, C.uint64_t(covered))
	_, err := outcome(result)
	return uint64(result.value), err
}

func truncate(log handle, upTo uint64, flags TruncateFlags) error {
	_, err := outcome(C.walgo_truncate(log, C.uint64_t(upTo), C.uint32_t(flags)))
	return err
}

func openCursor(log handle, after uint64, flags ReplayFlags) (cursorHandle, error) {
	var cursor cursorHandle
	_, err := outcome(C.walgo_replay_open(log, C.uint64_t(after), C.uint32_t(flags), &cursor))
	return cursor, err
}

// readPacked fills records and bytes; how many records it read: 0 at the end.
func readPacked(cursor cursorHandle, records []packedRecord, bytes []byte) (int, error) {
	result := C.walgo_replay_next_packed(cursor, unsafe.SliceData(records), C.size_t(len(records)), bytesOf(bytes), C.size_t(len(bytes)))
	if result.status < 0 {
		return 0, failure(result)
	}
	return int(result.value), nil
}

// waitForMore waits in C, a thread long.
func waitForMore(cursor cursorHandle, limit time.Duration) error {
	_, err := outcome(C.walgo_replay_wait(cursor, C.uint64_t(limit.Microseconds())))
	return err
}

func closeCursor(cursor cursorHandle) { C.wal_replay_close(cursor) }

func lastSeq(log handle) uint64       { return uint64(C.wal_last_seq(log)) }
func durableSeq(log handle) uint64    { return uint64(C.wal_durable_seq(log)) }
func checkpointSeq(log handle) uint64 { return uint64(C.wal_checkpoint_seq(log)) }
func oldestSeq(log handle) uint64     { return uint64(C.wal_oldest_seq(log)) }

func logID(log handle) LogID {
	var id [16]C.uint8_t
	C.wal_log_id(log, &id[0])
	var out LogID
	for at, value := range id {
		out[at] = byte(value)
	}
	return out
}

func stat(log handle) (Stat, error) {
	var s C.wal_stat_t
	if _, err := outcome(C.walgo_stat(log, &s)); err != nil {
		return Stat{}, err
	}
	stat := Stat{
		LastSeq:           uint64(s.last_seq),
		DurableSeq:        uint64(s.durable_seq),
		CheckpointSeq:     uint64(s.checkpoint_seq),
		CheckpointCovered: uint64(s.checkpoint_covered),
		OldestSeq:         uint64(s.oldest_seq),
		FloorSeq:          uint64(s.floor_seq),
		Epoch:             uint64(s.epoch),
		SegmentSize:       uint64(s.segment_size),
		DiskBytes:         uint64(s.disk_bytes),
		Segments:          uint64(s.segments),
		Spares:            uint64(s.spares),
		Appends:           uint64(s.appends),
		Records:           uint64(s.records),
		AppendedBytes:     uint64(s.appended_bytes),
		Writes:            uint64(s.writes),
		Syncs:             uint64(s.syncs),
		Rotations:         uint64(s.rotations),
		Recycled:          uint64(s.recycled),
		Poisoned:          s.poisoned != 0,
		SparesReady:       uint64(s.spares_ready),
		SegmentsForgotten: uint64(s.segments_forgotten),
		Checkpoints:       uint64(s.checkpoints),
		Truncations:       uint64(s.truncations),
		SyncedRecords:     uint64(s.synced_records),
		GroupMaxRecords:   uint64(s.group_max_records),
		SyncTime:          microseconds(s.sync_us),
		SyncMaxTime:       microseconds(s.sync_max_us),
		SyncRunningTime:   microseconds(s.sync_running_us),
		Failures:          uint64(s.failures),
		Pins:              uint64(s.pins),
		PinsLost:          uint64(s.pins_lost),
		PinsDamaged:       uint64(s.pins_damaged),
		PinnedSeq:         uint64(s.pinned_seq),
		PinnedBytes:       uint64(s.pinned_bytes),
	}
	for at := range HistogramBuckets {
		stat.GroupHistogram[at] = uint64(s.group_histogram[at])
		stat.SyncHistogram[at] = uint64(s.sync_us_histogram[at])
	}
	if s.last_error_code != 0 {
		code := Code(s.last_error_code)
		stat.LastFailureTime = time.UnixMicro(int64(s.last_error_us))
		stat.LastFailure = &Error{
			Code:    code,
			Seq:     uint64(s.last_error_seq),
			SeqLast: uint64(s.last_error_seq_last),
			Segment: uint64(s.last_error_segment),
			Errno:   syscall.Errno(s.last_error_os_error),
			Message: code.text(),
		}
	}
	return stat, nil
}

// Both have as many buckets.
var _ [HistogramBuckets]uint64 = [C.WAL_STAT_BUCKETS]uint64{}

func microseconds(us C.uint64_t) time.Duration { return time.Duration(us) * time.Microsecond }

func report(log handle) (Report, error) {
	var r C.wal_report_t
	if _, err := outcome(C.walgo_report(log, &r)); err != nil {
		return Report{}, err
	}
	return reportOf(&r), nil
}

func inspect(dir string, o *Options, flags uint32) (Report, error) {
	options, path, err := o.at(dir)
	if err != nil {
		return Report{}, err
	}
	defer C.free(unsafe.Pointer(path))
	var r C.wal_report_t
	if _, err := outcome(C.walgo_inspect(path, &options, C.uint32_t(flags), &r)); err != nil {
		return Report{}, err
	}
	return reportOf(&r), nil
}

func inspectDamage(dir string, o *Options) ([]*Error, error) {
	options, path, err := o.at(dir)
	if err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(path))
	found, err := list(func(found *C.wal_error_t, capacity int) C.walgo_result_t {
		return C.walgo_inspect_damage(path, &options, found, C.size_t(capacity))
	})
	damages := make([]*Error, len(found))
	for at := range found {
		damages[at] = errorOf(&found[at])
	}
	return damages, err
}

// list is what a call has to tell that fills the first `capacity` and says how many there are.
func list[T any](call func(found *T, capacity int) C.walgo_result_t) ([]T, error) {
	for found := []T(nil); ; {
		result := call(unsafe.SliceData(found), len(found))
		if result.status < 0 {
			return nil, failure(result)
		}
		count := int(result.value)
		if count <= len(found) {
			return found[:count], nil
		}
		found = make([]T, count)
	}
}

// withPin calls C with a directory and a pin's name.
func withPin(dir, name string, call func(dir, name *C.char) C.walgo_result_t) (C.walgo_result_t, error) {
	path, err := pathOf(dir)
	if err != nil {
		return C.walgo_result_t{}, err
	}
	defer C.free(unsafe.Pointer(path))
	if strings.IndexByte(name, 0) >= 0 {
		return C.walgo_result_t{}, &Error{Code: ErrInvalid, Message: "the pin's name contains a NUL"}
	}
	pin := C.CString(name)
	defer C.free(unsafe.Pointer(pin))
	result := call(path, pin)
	_, err = outcome(result)
	return result, err
}

func createPin(dir, name string, seq uint64, o *PinOptions) (uint64, error) {
	var flags C.uint32_t
	if o.Refuse {
		flags = C.WAL_PIN_REFUSE
	}
	result, err := withPin(dir, name, func(dir, name *C.char) C.walgo_result_t {
		return C.walgo_pin_create(dir, name, C.uint64_t(seq), C.uint64_t(o.MaxBytes), flags)
	})
	return uint64(result.value), err
}

func advancePin(dir, name string, seq uint64) error {
	_, err := withPin(dir, name, func(dir, name *C.char) C.walgo_result_t { return C.walgo_pin_advance(dir, name, C.uint64_t(seq)) })
	return err
}

func dropPin(dir, name string) error {
	_, err := withPin(dir, name, func(dir, name *C.char) C.walgo_result_t { return C.walgo_pin_drop(dir, name) })
	return err
}

func listPins(dir string) ([]Pin, error) {
	path, err := pathOf(dir)
	if err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(path))
	found, err := list(func(found *C.wal_pin_t, capacity int) C.walgo_result_t {
		return C.walgo_pin_list(path, found, C.size_t(capacity))
	})
	pins := make([]Pin, len(found))
	for at := range found {
		p := &found[at]
		pins[at] = Pin{
			Name:        C.GoString(&p.name[0]),
			Seq:         uint64(p.seq),
			HeldBytes:   uint64(p.held_bytes),
			MaxBytes:    uint64(p.max_bytes),
			Refuse:      p.flags&C.WAL_PIN_REFUSE != 0,
			Lost:        p.lost != 0,
			LostSeqLast: uint64(p.lost_seq_last),
			Damaged:     p.damaged != 0,
		}
	}
	return pins, err
}

func reportOf(r *C.wal_report_t) Report {
	report := Report{
		Epoch:             uint64(r.epoch),
		LastSeq:           uint64(r.last_seq),
		OldestSeq:         uint64(r.oldest_seq),
		FloorSeq:          uint64(r.floor_seq),
		ForgottenDataSeq:  uint64(r.forgotten_data_seq),
		CheckpointSeq:     uint64(r.checkpoint_seq),
		CheckpointCovered: uint64(r.checkpoint_covered),
		Segments:          uint64(r.segments),
		Spares:            uint64(r.spares),
		SegmentSize:       uint64(r.segment_size),
		BytesRead:         uint64(r.bytes_read),
		CopiedRecords:     uint64(r.copied_records),
		CopiedBytes:       uint64(r.copied_bytes),
		DroppedSegment:    uint64(r.dropped_segment),
		DroppedOffset:     uint64(r.dropped_offset),
		DroppedBytes:      uint64(r.dropped_bytes),
		DroppedFrames:     uint64(r.dropped_frames),
		LostFirstSeq:      uint64(r.lost_first_seq),
		LostLastSeq:       uint64(r.lost_last_seq),
		FilesAside:        uint64(r.files_aside),
		Damages:           uint64(r.damages),
		DamagedFiles:      uint64(r.damaged_files),
		ForeignFiles:      uint64(r.foreign_files),
		Duration:          microseconds(r.duration_us),
		Clean:             r.clean != 0,
		Created:           r.created != 0,
		RebuiltManifest:   r.rebuilt_manifest != 0,
	}
	for at, value := range r.log_id {
		report.LogID[at] = byte(value)
	}
	if r.damage_code != 0 {
		code := Code(r.damage_code)
		report.Damage = &Error{
			Code:    code,
			Seq:     uint64(r.damage_seq),
			SeqLast: uint64(r.damage_seq_last),
			Segment: uint64(r.damage_segment),
			Offset:  uint64(r.damage_offset),
			Errno:   syscall.Errno(r.damage_os_error),
			Message: code.text(),
		}
	}
	return report
}
