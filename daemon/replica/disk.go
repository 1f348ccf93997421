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
	maxOut         = 512 // flights in the store's hands: fewer than it has room for, so that it never holds the loop up
	retryEvery     = time.Second
	idleFor        = 50 * time.Millisecond // what nobody waits for goes with the next write, or alone after that
	maxIdleBytes   = 1 << 20
)

// disk is what is on its way to the store, in order. If a write fails, so do those behind it, since pairs mean something only after those
// before. All of them are kept, and written again together, until that succeeds; meanwhile this node takes no writes and reads no
// neighbour.
type disk struct {
	flights []*flight // in order; all before the first that is not done are gone
	sent    int       // so many of them, the first, were given to the store
	out     int       // answers that are yet to come
	bytes   int
	failing error
	retry   time.Time // zero: not waiting to try again
	calm    []func()  // to be called when it is not behind

	idle      []store.Pair // that go before the next flight
	idleBytes int
	idleDue   time.Time // zero: there are none
}

// flight is pairs that are written together.
type flight struct {
	pairs  []store.Pair
	size   int
	keep   int    // how many of them are written also if the rest is given up
	upTo   uint64 // the journal is on disk up to here if this and all before are
	done   bool
	landed func(now time.Time, err error)
}

// put writes pairs after all that were put before. landed, if there is one, is called when they are on disk, or when they are given up:
// only pairs without it are tried again.
func (d *disk) put(r *Replica, pairs []store.Pair, landed func(now time.Time, err error)) {
	if len(pairs)+len(d.idle) == 0 {
		return
	}
	f := &flight{
		pairs: append(d.idle, pairs...), size: d.idleBytes + sizeOf(pairs), keep: len(d.idle), upTo: r.journal.newest(), landed: landed,
	}
	d.idle, d.idleBytes, d.idleDue = nil, 0, time.Time{}
	d.flights = append(d.flights, f)
	d.bytes += f.size
	d.send(r)
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

// send gives the store what it may have. While it fails it gets nothing: what somebody waits for is given up.
func (d *disk) send(r *Replica) {
	for d.sent < len(d.flights) && d.out < maxOut {
		f := d.flights[d.sent]
		d.sent++
		if d.failing != nil && f.landed == nil {
			continue
		}
		d.out++
		answer := func(err error) {
			r.box.post(func(now time.Time) { d.land(r, now, f, err) })
		}
		err := d.failing
		if err == nil {
			err = r.store.Queue(f.pairs, answer)
		}
		if err != nil {
			answer(err)
		}
	}
}

// land takes the store's answer.
func (d *disk) land(r *Replica, now time.Time, f *flight, err error) {
	d.out--
	landed := f.landed
	f.landed, f.done = nil, err == nil
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
	d.send(r)
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
	d.flights, d.sent = d.flights[n:], d.sent-n
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
	if d.failing != nil && d.out == 0 {
		if d.retry.IsZero() {
			d.retry = now.Add(retryEvery)
		}
		if !now.Before(d.retry) {
			d.again(r)
		}
	}
	if !d.behind() {
		for _, f := range d.calm {
			f()
		}
		d.calm = nil
	}
}

// again tries all that failed, as one. The store has answered for all that it had.
func (d *disk) again(r *Replica) {
	all := &flight{upTo: r.journal.newest()}
	for _, f := range d.flights {
		all.pairs = append(all.pairs, f.pairs...)
		all.size += f.size
	}
	d.flights, d.sent, d.bytes = []*flight{all}, 0, all.size
	d.failing, d.retry = nil, time.Time{}
	r.store.Resume()
	d.send(r)
}

// due returns when settle has something to do; zero: not before the store has answered.
func (d *disk) due() time.Time {
	if len(d.calm) > 0 && !d.behind() {
		return time.Unix(0, 0) // at once
	}
	if d.out > 0 {
		return time.Time{}
	}
	return d.retry
}

// behind reports whether so much waits for the disk that no neighbour should bring more.
func (d *disk) behind() bool {
	return d.failing != nil || d.bytes > maxFlightBytes || len(d.flights) > maxFlights
}

// waiting says what is not on disk.
func (d *disk) waiting() string {
	return fmt.Sprintf("%d changes of %d bytes together are not on disk; neighbours that have them give them again", len(d.flights), d.bytes)
}
