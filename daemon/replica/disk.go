package replica

import (
	"fmt"
	"time"

	"x0tta6bl4/host/store"
)

// Bounds of what waits for the disk; beyond, neighbours are not read.
const (
	maxFlights     = 512
	maxFlightBytes = 16 << 20
	retryEvery     = time.Second
	idleFor        = 50 * time.Millisecond // what nobody waits for goes with the next write, or alone after that
	maxIdleBytes   = 1 << 20
)

// disk is what is on its way to the store, in order. If a write fails, so do those behind it, since pairs mean something only after those
// before. All of them are kept, and written again together, until that succeeds; meanwhile this node takes no writes and reads no
// neighbour.
type disk struct {
	flights []*flight // in order; all before the first that is not done are gone
	out     int       // of them in the store's hands
	bytes   int
	failing error
	retry   time.Time // zero: not waiting to try again

	idle      []store.Pair // that go before the next flight
	idleBytes int
	idleDue   time.Time // zero: there are none
}

// flight is pairs that are written together.
type flight struct {
	pairs []store.Pair
	size  int
	keep  int    // how many of them are written also if the rest is given up
	upTo  uint64 // the journal is on disk up to here if this and all before are
	done  bool
}

// put writes pairs after all that were put before. landed, if there is one, is called when they are on disk, or when they are given up:
// only pairs without it are tried again.
func (d *disk) put(r *Replica, pairs []store.Pair, landed func(now time.Time, err error)) {
	if len(pairs)+len(d.idle) == 0 {
		return
	}
	f := &flight{pairs: append(d.idle, pairs...), size: d.idleBytes + sizeOf(pairs), keep: len(d.idle), upTo: r.journal.newest()}
	d.idle, d.idleBytes, d.idleDue = nil, 0, time.Time{}
	d.flights = append(d.flights, f)
	d.bytes += f.size
	if d.failing != nil && landed == nil {
		return
	}
	d.send(r, f, landed)
}

// later writes pairs that nobody waits for, in their order.
func (d *disk) later(r *Replica, now time.Time, pairs []store.Pair) {
	if len(pairs) == 0 {
		return
	}
	d.idle = append(d.idle, pairs...)
	if d.idleBytes += sizeOf(pairs); d.idleBytes > maxIdleBytes {
		d.put(r, nil, nil)
	} else if d.idleDue.IsZero() {
		d.idleDue = now.Add(idleFor)
	}
}

func sizeOf(pairs []store.Pair) (n int) {
	for _, p := range pairs {
		n += len(p.Key) + len(p.Value)
	}
	return n
}

func (d *disk) send(r *Replica, f *flight, landed func(time.Time, error)) {
	d.out++
	if err := d.failing; err != nil {
		r.box.post(func(now time.Time) { d.land(r, now, f, landed, err) })
		return
	}
	err := r.store.Queue(f.pairs, func(err error) {
		r.box.post(func(now time.Time) { d.land(r, now, f, landed, err) })
	})
	if err != nil {
		r.box.post(func(now time.Time) { d.land(r, now, f, landed, err) })
	}
}

// land takes the store's answer.
func (d *disk) land(r *Replica, now time.Time, f *flight, landed func(time.Time, error), err error) {
	d.out--
	f.done = err == nil
	if err != nil {
		d.failing = err
		r.told.count("disk_failures")
		r.told.warn(now, "disk", fmt.Sprintf("%v; no writes are taken until it succeeds", err))
		if landed != nil { // given up
			f.pairs, f.done = f.pairs[:f.keep], f.keep == 0
		}
	}
	if d.failing == nil {
		d.drop(r)
		r.told.clear("disk")
	}
	if landed != nil {
		landed(now, err)
	}
}

// drop forgets what is on disk with all before it.
func (d *disk) drop(r *Replica) {
	n := 0
	for ; n < len(d.flights) && d.flights[n].done; n++ {
		d.bytes -= d.flights[n].size
		r.journal.landed(d.flights[n].upTo)
	}
	clear(d.flights[:n])
	d.flights = d.flights[n:]
}

// shorten takes note that the newest changes of the journal were taken back: their numbers will be given again.
func (d *disk) shorten(newest uint64) {
	for _, f := range d.flights {
		f.upTo = min(f.upTo, newest)
	}
}

// settle writes what has waited long enough, and tries again what failed.
func (d *disk) settle(r *Replica, now time.Time) {
	if !d.idleDue.IsZero() && !now.Before(d.idleDue) {
		d.put(r, nil, nil)
	}
	if d.failing == nil || d.out > 0 {
		return
	}
	if d.retry.IsZero() {
		d.retry = now.Add(retryEvery)
	}
	if now.Before(d.retry) {
		return
	}
	d.retry = time.Time{}
	all := &flight{upTo: r.journal.newest()}
	for _, f := range d.flights {
		all.pairs = append(all.pairs, f.pairs...)
		all.size += f.size
	}
	d.flights, d.bytes = []*flight{all}, all.size
	d.failing = nil
	r.store.Resume()
	d.send(r, all, nil)
}

// due returns when settle may try again; zero: not before the store has answered.
func (d *disk) due() time.Time {
	if d.out > 0 {
		return time.Time{}
	}
	return d.retry
}

// behind reports whether so much waits for the disk that no neighbour should bring more.
func (d *disk) behind() bool {
	return d.failing != nil || d.bytes > maxFlightBytes || len(d.flights) > maxFlights
}
