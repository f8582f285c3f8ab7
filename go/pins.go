package wal

// A Pin is a named, durable promise that every record above a sequence number stays on disk and can be read, whatever the program that writes the
// log has forgotten with Truncate: for whoever reads the log beside it, a backup, a replica, a change feed. It belongs to the log's directory, not to
// a Log: any process may make, move and drop pins, whether the log is open, there or elsewhere, or not at all. Read with Replay or Follow and
// ReplayPinned.
type Pin struct {
	Name        string // its name; of a damaged one, the name of its file
	Seq         uint64 // every record above stays on disk
	HeldBytes   uint64 // bytes of forgotten segments that it keeps on disk; what several pins need is counted for each
	MaxBytes    uint64 // the most that may be, as given at its creation; 0: no limit
	Refuse      bool   // as given at its creation
	Lost        bool   // it reached MaxBytes and was given up: it keeps nothing any more
	LostSeqLast uint64 // if it is lost: records from Seq + 1 to here may be gone
	Damaged     bool   // its file is damaged: only Name is set, and nothing at all is dropped until DropPin is called with it
}

// PinOptions bound what a pin may hold. A forgotten pin without a limit fills the disk.
type PinOptions struct {
	// MaxBytes is the most that forgotten segments may hold for the sake of this pin; looked at whenever the log is truncated. 0: no limit.
	MaxBytes uint64
	// Refuse says what happens above MaxBytes. false: the pin is lost, and says so. true: appends that need another segment fail with ErrNoSpace
	// until the pin is moved up or dropped.
	Refuse bool
}

// CreatePin makes a pin: every record above seq stays on disk until the pin is moved up or dropped. Oldest as seq keeps all that is not forgotten
// yet. A name has 1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-'. It returns from where on the pin holds: seq, or more if only checkpoints lie between.
//
// It fails with ErrGap if records above seq have been forgotten already, with ErrExists, ErrNotFound (no log there), ErrLocked (another process has
// been changing pins for five seconds), ErrInvalid, ErrRange, ErrCorrupt, ErrFormat; with ErrIO, ErrNoSpace or ErrNoMemory it may be there or not,
// which Pins tells.
func CreatePin(dir, name string, seq uint64, options PinOptions) (pinned uint64, err error) {
	return createPin(dir, name, seq, &options)
}

// AdvancePin moves a pin up: records up to seq are no longer needed. It is durable before it counts. The disk space comes back when the log is
// truncated next, or opened. It fails with ErrNotFound, with ErrRange if seq is below the pin's present one, with ErrGap if the pin is lost, and as
// CreatePin does.
func AdvancePin(dir, name string, seq uint64) error { return advancePin(dir, name, seq) }

// DropPin takes a pin away; a damaged one by the name of its file. The disk space comes back when the log is truncated next, or opened. It fails
// with ErrNotFound and as CreatePin does.
func DropPin(dir, name string) error { return dropPin(dir, name) }

// Pins tells every pin of the log in the directory, in the order of their making.
func Pins(dir string) ([]Pin, error) { return listPins(dir) }
