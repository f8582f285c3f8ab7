package wal

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// A listener is a slog.Handler that keeps what it hears.
type listener struct {
	mu    sync.Mutex
	heard []slog.Record
	// then is called with each message, if it is not nil.
	then func()
}

func (*listener) Enabled(context.Context, slog.Level) bool { return true }
func (l *listener) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l *listener) WithGroup(string) slog.Handler          { return l }

func (l *listener) Handle(_ context.Context, record slog.Record) error {
	l.mu.Lock()
	l.heard = append(l.heard, record)
	l.mu.Unlock()
	if l.then != nil {
		l.then()
	}
	return nil
}

// has says whether it heard the text at that level.
func (l *listener) has(level slog.Level, text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, record := range l.heard {
		if record.Level == level && strings.Contains(record.Message, text) {
			return true
		}
	}
	return false
}

func TestTheLoggerHearsOfALogsLife(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	ears := &listener{}
	options := Options{Logger: slog.New(ears)}
	log := mustOpen(t, dir, options)
	must(log.Append(OpPut, nil, nil))
	check(t, log.Close())
	if len(ears.heard) != 3 || !ears.has(slog.LevelInfo, "a new log was created") || !ears.has(slog.LevelInfo, "closed at seq 1") {
		t.Error(ears.heard)
	}
	if !strings.Contains(ears.heard[0].Message, dir) {
		t.Error(ears.heard[0].Message)
	}
	// An opening that fails tells its caller, and nobody else.
	if _, err := Open(dir, Options{Mode: OpenNew, Logger: options.Logger}); !errors.Is(err, ErrExists) || len(ears.heard) != 3 {
		t.Error(err, ears.heard)
	}
	if _, err := Open(dir, Options{SlowSync: -1}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	var text bytes.Buffer
	log = mustOpen(t, dir, Options{Logger: slog.New(slog.NewTextHandler(&text, nil))})
	check(t, log.Close())
	if !strings.Contains(text.String(), "level=INFO") {
		t.Error(text.String())
	}
}

// It may use the log: it is called under no lock, not even that of Close, which waits for it.
func TestTheLoggerMayUseTheLog(t *testing.T) {
	ears := &listener{}
	var log *Log
	opened := make(chan struct{})
	uses := 0
	ears.then = func() {
		<-opened
		// Up to the last message, which comes when the log is closed.
		_, err := log.Stat()
		if uses++; uses > 20 {
			return
		}
		if err == nil {
			_, err = log.Append(OpPut, nil, []byte("from the logger"))
		}
		if err == nil {
			err = log.Sync(SeqLast)
		}
		if err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	// Every sync is slow.
	log = mustOpen(t, filepath.Join(t.TempDir(), "log"), Options{Logger: slog.New(ears), SlowSync: 1})
	close(opened)
	var group sync.WaitGroup
	for range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			for range 50 {
				if _, err := log.Append(OpPut, nil, nil); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	group.Wait()
	check(t, log.Close())
	if !ears.has(slog.LevelWarn, "a sync took") {
		t.Error(ears.heard)
	}
}

// A logger that hangs holds up nobody, and hears how many messages it missed.
func TestALoggerThatHangsHoldsUpNobody(t *testing.T) {
	ears := &listener{}
	free := make(chan struct{})
	ears.then = func() { <-free }
	log := mustOpen(t, filepath.Join(t.TempDir(), "log"), Options{Logger: slog.New(ears), SlowSync: 1})
	for range 3000 {
		must(log.Append(OpPut, nil, nil))
	}
	close(free)
	for deadline := time.Now().Add(20 * time.Second); !ears.has(slog.LevelWarn, "dropped because the logger was too slow"); {
		must(log.Append(OpPut, nil, nil))
		if time.Now().After(deadline) {
			t.Fatal("nobody tells that messages were dropped")
		}
	}
	check(t, log.Close())
}

// What a forgotten log held is given back, its goroutine too.
func TestAForgottenLogIsClosed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	ears := &listener{}
	_, err := Open(dir, Options{Logger: slog.New(ears)})
	check(t, err)
	for deadline := time.Now().Add(20 * time.Second); !ears.has(slog.LevelInfo, "closed at seq 0"); time.Sleep(time.Millisecond) {
		if runtime.GC(); time.Now().After(deadline) {
			t.Fatal("it is not closed")
		}
	}
	mustOpen(t, dir, Options{})
}
