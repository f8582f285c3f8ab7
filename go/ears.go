package wal

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"os"
	"syscall"
)

// Ears carry the messages of C to a slog.Logger. C writes them into a pipe and never waits; a goroutine reads them. So Go's code does not run inside
// calls to C, which may hold up others, nor on threads that are not Go's.
type ears struct {
	mouth mouth
	// done is closed when everything has been told.
	done chan struct{}
}

// newEars are nil if nobody listens.
func newEars(logger *slog.Logger) (*ears, error) {
	if logger == nil {
		return nil, nil
	}
	ends, err := newPipe()
	if err != nil {
		return nil, err
	}
	pipe := os.NewFile(uintptr(ends[0]), "messages of the log")
	e := &ears{mouth: newMouth(ends[1]), done: make(chan struct{})}
	if e.mouth == nil {
		_ = pipe.Close()
		_ = syscall.Close(ends[1])
		return nil, &Error{Code: ErrNoMemory}
	}
	go func() {
		defer close(e.done)
		defer func() { _ = pipe.Close() }()
		tell(bufio.NewReader(pipe), logger)
	}()
	return e, nil
}

// newPipe is os.Pipe whose second end is C's.
func newPipe() (ends [2]int, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := syscall.Pipe(ends[:]); err != nil {
		failed := &Error{Code: ErrIO, Message: "no pipe for the logger: " + err.Error()}
		_ = errors.As(err, &failed.Errno)
		return ends, failed
	}
	for _, end := range ends {
		syscall.CloseOnExec(end)
		// It fails for what is no file.
		_ = syscall.SetNonblock(end, true)
	}
	return ends, nil
}

// tell tells what it reads, to the end.
func tell(messages *bufio.Reader, logger *slog.Logger) {
	for {
		message, err := messages.ReadString(0)
		if err != nil {
			return
		}
		level := slog.LevelInfo
		switch message[0] {
		case logError:
			level = slog.LevelError
		case logWarning:
			level = slog.LevelWarn
		}
		logger.Log(context.Background(), level, message[1:len(message)-1])
	}
}

func (e *ears) c() mouth {
	if e == nil {
		return nil
	}
	return e.mouth
}

// close returns when everything has been told. The log must have been closed before.
func (e *ears) close() {
	if e == nil {
		return
	}
	closeMouth(e.mouth)
	<-e.done
}
