// Logs of Go's modules, each behind the line protocol that ../src/peers/side.rs describes. The argument says which.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	filler           = 0x5A
	truncationRecord = 128
	clockEvery       = 256
)

// refusal says that a log has no such operation.
type refusal string

func (why refusal) Error() string { return string(why) }

// peer is an open log.
type peer interface {
	// write makes the records durable with one sync, or hands them over without one, as the log was opened. One call at a time.
	write(records [][]byte) error
	sync() error
	replay(visit func([]byte)) error
	// forgetHalf forgets the older half of what was there at prepareForget. Writes go on meanwhile.
	prepareForget() error
	forgetHalf() error
	close() error
}

var peers = map[string]struct {
	module string
	open   func(dir string, durable bool) (peer, error)
}{
	"etcd":     {"go.etcd.io/etcd/server/v3", openEtcd},
	"tidwall":  {"github.com/tidwall/wal", openTidwall},
	"raft-wal": {"github.com/hashicorp/raft-wal", openRaftWAL},
}

// side is a log with group commit in front of it: the first caller that finds nobody at work writes the records of all that wait.
type side struct {
	peer
	durable bool

	lock            sync.Mutex
	changed         sync.Cond
	waiting         [][]byte
	gathering, done uint64
	isWorking       bool
	failure         error
}

func (s *side) append(value []byte) error {
	if !s.durable {
		return s.write([][]byte{value})
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	s.waiting = append(s.waiting, value)
	mine := s.gathering + 1
	for s.failure == nil && s.done < mine {
		if s.isWorking {
			s.changed.Wait()
			continue
		}
		s.isWorking = true
		s.gathering++
		group := s.waiting
		s.waiting = nil
		s.lock.Unlock()
		err := s.write(group)
		s.lock.Lock()
		s.isWorking = false
		s.done = s.gathering
		s.failure = err
		s.changed.Broadcast()
	}
	return s.failure
}

func (s *side) repeat(value []byte, limit time.Duration, most uint64) (done uint64, times []time.Duration, err error) {
	if s.durable {
		times = make([]time.Duration, 0, 1<<16)
	}
	began := time.Now()
	for last := began; last.Sub(began) < limit && done < most; {
		// Where an append takes less than reading the clock, the clock is read for many at once.
		atOnce := uint64(1)
		if !s.durable {
			atOnce = min(clockEvery, most-done)
		}
		for range atOnce {
			if err := s.append(value); err != nil {
				return done, times, err
			}
		}
		now := time.Now()
		if s.durable {
			times = append(times, now.Sub(last))
		}
		done += atOnce
		last = now
	}
	return done, times, nil
}

func (s *side) appendAll(threads, length int, limit time.Duration, count uint64) (string, error) {
	most := count / uint64(threads)
	if count == 0 {
		most = ^uint64(0)
	}
	type result struct {
		done  uint64
		times []time.Duration
		err   error
	}
	results := make(chan result, threads)
	began := time.Now()
	for range threads {
		go func() {
			done, times, err := s.repeat(bytes.Repeat([]byte{filler}, length), limit, most)
			results <- result{done, times, err}
		}()
	}
	var all result
	for range threads {
		one := <-results
		all.done += one.done
		all.times = append(all.times, one.times...)
		all.err = errors.Join(all.err, one.err)
	}
	took := time.Since(began)
	slices.Sort(all.times)
	at := func(share float64) int64 {
		if len(all.times) == 0 {
			return 0
		}
		return int64(all.times[min(int(share*float64(len(all.times))), len(all.times)-1)])
	}
	return fmt.Sprint(all.done, took.Nanoseconds(), at(0.5), at(0.99), at(0.999), at(1)), all.err
}

func (s *side) fill(count, length int) error {
	value := bytes.Repeat([]byte{filler}, length)
	for count > 0 {
		now := min(count, 1000)
		group := make([][]byte, now)
		for i := range group {
			group[i] = value
		}
		if err := s.write(group); err != nil {
			return err
		}
		count -= now
	}
	return s.sync()
}

func (s *side) truncate(limit time.Duration) (string, error) {
	if err := s.prepareForget(); err != nil {
		return "", err
	}
	type span struct{ from, to time.Time }
	var spans []span
	finished := make(chan error)
	began := time.Now()
	go func() {
		value := bytes.Repeat([]byte{filler}, truncationRecord)
		for last := began; last.Sub(began) < limit; {
			if err := s.append(value); err != nil {
				finished <- err
				return
			}
			now := time.Now()
			spans = append(spans, span{last, now})
			last = now
		}
		finished <- nil
	}()
	time.Sleep(limit / 2)
	called := time.Now()
	err := s.forgetHalf()
	took := time.Since(called)
	err = errors.Join(err, <-finished)
	var before, meanwhile time.Duration
	for _, span := range spans {
		if !span.to.After(called) {
			before = max(before, span.to.Sub(span.from))
		} else {
			meanwhile = max(meanwhile, span.to.Sub(span.from))
		}
	}
	return fmt.Sprint(took.Nanoseconds(), before.Nanoseconds(), meanwhile.Nanoseconds(), len(spans)), err
}

func (s *side) replayAll() (string, error) {
	count, wrong := 0, 0
	began := time.Now()
	err := s.replay(func(record []byte) {
		count++
		if len(record) == 0 || record[0] != filler || record[len(record)-1] != filler {
			wrong++
		}
	})
	took := time.Since(began)
	if err == nil && wrong > 0 {
		err = fmt.Errorf("%d wrong records", wrong)
	}
	return fmt.Sprint(count, took.Nanoseconds()), err
}

func answer(line string, current **side, open func(string, bool) (peer, error)) (string, error) {
	var dir, mode string
	var threads, length, count, ms int
	if n, _ := fmt.Sscanf(line, "open %s %s", &dir, &mode); n == 2 {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", err
		}
		began := time.Now()
		opened, err := open(dir, mode == "durable")
		took := time.Since(began)
		if err == nil {
			*current = &side{peer: opened, durable: mode == "durable"}
			(*current).changed.L = &(*current).lock
		}
		return fmt.Sprint(took.Nanoseconds()), err
	}
	s := *current
	if s == nil {
		return "", errors.New("no log is open")
	}
	if n, _ := fmt.Sscanf(line, "append %d %d %d %d", &threads, &length, &ms, &count); n == 4 {
		return s.appendAll(threads, length, time.Duration(ms)*time.Millisecond, uint64(count))
	}
	if n, _ := fmt.Sscanf(line, "fill %d %d", &count, &length); n == 2 {
		return fmt.Sprint(count), s.fill(count, length)
	}
	if n, _ := fmt.Sscanf(line, "truncate %d", &ms); n == 1 {
		return s.truncate(time.Duration(ms) * time.Millisecond)
	}
	switch line {
	case "sync":
		return "", s.sync()
	case "replay":
		return s.replayAll()
	case "close":
		*current = nil
		return "", s.close()
	}
	return "", fmt.Errorf("not understood: %s", line)
}

func version(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if dependency.Path == module {
				return dependency.Version
			}
		}
	}
	return "?"
}

func main() {
	var name string
	if len(os.Args) == 2 {
		name = os.Args[1]
	}
	chosen, known := peers[name]
	if !known {
		fmt.Fprintln(os.Stderr, "which of etcd, tidwall, raft-wal?")
		os.Exit(1)
	}
	fmt.Printf("ready %s\n", version(chosen.module))
	var current *side
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		text, err := answer(lines.Text(), &current, chosen.open)
		var refused refusal
		switch {
		case err == nil:
			fmt.Printf("ok %s\n", text)
		case errors.As(err, &refused):
			fmt.Printf("no %s\n", refused)
		default:
			fmt.Printf("failed %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
}
