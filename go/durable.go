package wal

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Sync returns once every record up to seq is durable; SeqLast stands for everything appended so far. Goroutines that call it at once share syncs.
// It fails with ErrRange if seq is above the last record, with ErrFailed if the sync fails, and as Append does.
func (l *Log) Sync(seq uint64) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	last := lastSeq(l.handle)
	if seq == SeqLast {
		seq = last
	}
	if seq > last || l.isReadOnly {
		return syncTo(l.handle, seq)
	}
	return l.syncs.sync(l.handle, seq)
}

// Flush hands everything appended so far to the operating system, so that it survives the end of this process, but not a power cut.
func (l *Log) Flush() error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	return flush(l.handle)
}

// Publish shows everything that is durable by now to those who follow the log from other processes with OpenLive. Without it they are a little
// behind: they see what something on disk proves to be durable, and the last group of records is proven by the next thing that is written to the log.
// Checkpoint, Truncate and Close publish, too. It costs a sync.
func (l *Log) Publish() error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	return publish(l.handle)
}

// A syncQueue lets goroutines that want a sync while one is under way share the next one, in one call to C; see appendQueue.
type syncQueue struct {
	mu     sync.Mutex
	isBusy bool
	next   *syncRound
}

// A syncRound is a sync to come. Whoever begins it makes it.
type syncRound struct {
	seq   uint64
	start chan struct{}
	done  chan struct{}
	err   error
}

func (q *syncQueue) sync(log handle, seq uint64) error {
	q.mu.Lock()
	if !q.isBusy {
		q.isBusy = true
		q.mu.Unlock()
		defer q.pass()
		return syncTo(log, seq)
	}
	round, isFirst := q.next, false
	if round == nil {
		round, isFirst = &syncRound{start: make(chan struct{}, 1), done: make(chan struct{})}, true
		q.next = round
	}
	round.seq = max(round.seq, seq)
	q.mu.Unlock()

	if !isFirst {
		<-round.done
		return round.err
	}
	<-round.start
	defer q.pass()
	q.mu.Lock()
	q.next = nil
	q.mu.Unlock()
	defer close(round.done)
	round.err = syncTo(log, round.seq)
	return round.err
}

func (q *syncQueue) pass() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next == nil {
		q.isBusy = false
		return
	}
	q.next.start <- struct{}{}
}

// WaitDurable waits until the record seq is durable, by whatever sync makes it so: it starts none itself, and it may wait for a record that has not
// been appended yet. SeqLast stands for everything appended before the call. It is for goroutines that answer clients or feed replicas while others
// append. If the context ends before, it returns the context's error.
func (l *Log) WaitDurable(ctx context.Context, seq uint64) error {
	if err := l.enter(); err != nil {
		return err
	}
	// What need not wait, or must not, is known at once.
	isDurable, err := waitDurable(l.handle, seq, 0)
	if seq == SeqLast {
		seq = lastSeq(l.handle)
	}
	l.leave()
	if isDurable || err != nil {
		return err
	}
	waiter := &durableWaiter{seq: seq, done: make(chan error, 1)}
	l.watch.add(l, waiter)
	select {
	case err := <-waiter.done:
		return err
	case <-ctx.Done():
		l.watch.remove(waiter)
		return context.Cause(ctx)
	}
}

// A durableWatch is the one goroutine that waits in C while any number of them wait for records to become durable. It ends when nobody waits.
type durableWatch struct {
	mu        sync.Mutex
	waiters   waiterHeap
	isRunning bool
}

type durableWaiter struct {
	seq  uint64
	done chan error
	// at is its place in the heap, -1 once it has left.
	at int
}

// idle is how long a watch that nobody needs any more may stay in C.
const idle = 100 * time.Millisecond

func (w *durableWatch) add(log *Log, waiter *durableWaiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	heap.Push(&w.waiters, waiter)
	if !w.isRunning {
		w.isRunning = true
		go w.run(log)
	}
}

func (w *durableWatch) remove(waiter *durableWaiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if waiter.at >= 0 {
		heap.Remove(&w.waiters, waiter.at)
	}
}

func (w *durableWatch) run(log *Log) {
	for {
		durable, err := uint64(0), log.enter()
		if err == nil {
			durable = durableSeq(log.handle)
		}
		if !w.tell(durable, err) {
			if err == nil {
				log.leave()
			}
			return
		}
		// Whatever becomes durable next: a waiter that comes meanwhile may wait for less than the others.
		_, err = waitDurable(log.handle, durable+1, idle)
		durable = durableSeq(log.handle)
		log.leave()
		if err != nil {
			w.tell(durable, nil)
			w.tell(0, err)
			return
		}
	}
}

// tell wakes those whose record is durable, or all if there is an error; whether anybody still waits. If not, the watch has ended.
func (w *durableWatch) tell(durable uint64, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.waiters) > 0 && (err != nil || w.waiters[0].seq <= durable) {
		heap.Pop(&w.waiters).(*durableWaiter).done <- err
	}
	w.isRunning = len(w.waiters) > 0
	return w.isRunning
}

// waiterHeap has the lowest seq first.
type waiterHeap []*durableWaiter

func (h waiterHeap) Len() int           { return len(h) }
func (h waiterHeap) Less(i, j int) bool { return h[i].seq < h[j].seq }
func (h waiterHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *waiterHeap) Push(waiter any) {
	w := waiter.(*durableWaiter)
	w.at = len(*h)
	*h = append(*h, w)
}

func (h *waiterHeap) Pop() any {
	last := len(*h) - 1
	waiter := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	waiter.at = -1
	return waiter
}
