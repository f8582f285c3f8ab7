package wal

import (
	"fmt"
	"io/fs"
	"math"
	"syscall"
)

// A Code says why a call failed, for errors.Is. The values are those of wal.h and never change; new ones may come, and a program should treat one
// that it does not know like ErrIO.
type Code int32

// Why calls fail.
const (
	// ErrInvalid: an argument or option is wrong by itself; nothing has changed.
	ErrInvalid Code = -1
	// ErrTooLarge: the record or batch does not fit into one segment; nothing was appended.
	ErrTooLarge Code = -2
	// ErrRange: a sequence number is above the last one.
	ErrRange Code = -3
	// ErrNotCheckpointed: no checkpoint allows this truncation; nothing was forgotten.
	ErrNotCheckpointed Code = -4
	// ErrGap: records that the store lacks are not in the log, or the log ends below the store.
	ErrGap Code = -5
	// ErrWrongLog: the log's id is not the one in Options.LogID.
	ErrWrongLog Code = -6
	// ErrLocked: somebody has the log open, in this process or another.
	ErrLocked Code = -7
	// ErrNotFound: there is no log; also fs.ErrNotExist.
	ErrNotFound Code = -8
	// ErrExists: there is a log already; also fs.ErrExist.
	ErrExists Code = -9
	// ErrCorrupt: stored bytes are not what was written.
	ErrCorrupt Code = -10
	// ErrFormat: the log needs a newer library.
	ErrFormat Code = -11
	// ErrIO: the operating system reported an error, which is in Error.Errno.
	ErrIO Code = -12
	// ErrNoSpace: no space; nothing was written, and the log works again when there is some.
	ErrNoSpace Code = -13
	// ErrNoMemory: C could not allocate; nothing has changed.
	ErrNoMemory Code = -14
	// ErrReadOnly: the log was opened read-only.
	ErrReadOnly Code = -15
	// ErrFailed: an earlier failure poisoned the log. Close it and open it again.
	ErrFailed Code = -16
	// ErrClosed: the log was closed; also fs.ErrClosed.
	ErrClosed Code = -17
	// ErrPanic: a bug in the library, caught.
	ErrPanic Code = -19
	// ErrMisuse: not allowed in this state.
	ErrMisuse Code = -20

	errNoRoom Code = -21
)

// Error is the library's sentence about the code.
func (c Code) Error() string { return "wal: " + c.text() }

// String is the name that wal.h gives the code, such as "WAL_E_GAP".
func (c Code) String() string { return c.name() }

// Is makes the codes that have one match their namesake in package io/fs.
func (c Code) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return c == ErrNotFound
	case fs.ErrExist:
		return c == ErrExists
	case fs.ErrClosed:
		return c == ErrClosed
	}
	return false
}

// An Error is what every function of this package returns when it fails, except for the errors of a context. With errors.Is it matches its Code
// and its Errno, with errors.As it gives the details.
type Error struct {
	// Code says why.
	Code Code
	// Seq and SeqLast are the first and the last record concerned: the missing, endangered or doubtful ones. Seq is 0 if there are none, SeqLast is
	// 0 if there is only Seq, and the highest uint64 if all later ones are meant.
	Seq, SeqLast uint64
	// Segment is the number in the name of the file concerned, 0 if there is none.
	Segment uint64
	// Offset is a place in that file; for an entry of a batch, its index.
	Offset uint64
	// Errno is the operating system's error number, 0 if there is none.
	Errno syscall.Errno
	// Message is a sentence for people; it begins with the file's path if there is one.
	Message string
}

// Error returns the message.
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code.Error()
	}
	return "wal: " + e.Message
}

// Unwrap returns the code and, if there is one, the operating system's error.
func (e *Error) Unwrap() []error {
	if e.Errno != 0 {
		return []error{e.Code, e.Errno}
	}
	return []error{e.Code}
}

// Records describes the records concerned: "7 to 9", or "" if there are none.
func (e *Error) Records() string {
	switch {
	case e.Seq == 0:
		return ""
	case e.SeqLast == 0 || e.SeqLast == e.Seq:
		return fmt.Sprint(e.Seq)
	case e.SeqLast == math.MaxUint64:
		return fmt.Sprintf("%d and later", e.Seq)
	}
	return fmt.Sprintf("%d to %d", e.Seq, e.SeqLast)
}

func closed() error { return &Error{Code: ErrClosed, Message: "the log has been closed"} }
