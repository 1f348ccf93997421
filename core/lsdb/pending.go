package lsdb

import (
	"slices"
	"time"
)

// pending remembers what is out for verification, so that the same LSA from eight neighbours is verified once.
type pending struct {
	queue []*underCheck     // in order of time; the first is not answered, those behind it may be
	index *index            // of the queue, once it has been longer than fewPending; nil: to look through it takes less
	svids map[[32]byte]bool // of the records among them
	spare []*underCheck     // that nothing holds any more
	out   int               // how many are not answered
	most  int               // that there were at once
}

// index is where those in a queue are found that are not answered.
type index struct {
	ids map[[32]byte]*underCheck
	of  map[claim]int // how many there are of one origin that is known from one neighbour
}

// Bounds of what is kept, and looked through, of what was out for verification.
const (
	fewPending   = 8
	sparePending = 16
	smallPending = 64
)

// claim is what a neighbour says of an origin.
type claim struct {
	origin *origin
	by     *sender
}

type underCheck struct {
	id, svid [32]byte
	claim    claim
	size     int
	record   bool
	fresh    bool // a record of a certificate that is new here
	answered bool
	at       time.Time
}

func newPending() pending { return pending{svids: map[[32]byte]bool{}} }

// get returns what is out by its hash, nil if it is not.
func (p *pending) get(id *[32]byte) *underCheck {
	if p.index != nil {
		return p.index.ids[*id]
	}
	for _, u := range p.queue {
		if !u.answered && u.id == *id {
			return u
		}
	}
	return nil
}

// claimed returns how many are out of one origin that is known from one neighbour.
func (p *pending) claimed(c claim) (n int) {
	if p.index != nil {
		return p.index.of[c]
	}
	for _, u := range p.queue {
		if !u.answered && u.claim == c {
			n++
		}
	}
	return n
}

// add puts what goes out at the end of the queue.
func (p *pending) add(u *underCheck) {
	p.queue = append(p.queue, u)
	p.out++
	p.most = max(p.most, p.out)
	if u.record {
		p.svids[u.svid] = true
	}
	switch {
	case p.index != nil:
		p.index.add(u)
	case len(p.queue) > fewPending:
		p.index = &index{map[[32]byte]*underCheck{}, map[claim]int{}}
		for _, u := range p.queue {
			if !u.answered {
				p.index.add(u)
			}
		}
	}
}

func (x *index) add(u *underCheck) {
	x.ids[u.id] = u
	x.of[u.claim]++
}

func (x *index) remove(u *underCheck) {
	delete(x.ids, u.id)
	if x.of[u.claim]--; x.of[u.claim] == 0 {
		delete(x.of, u.claim)
	}
}

// begin notes that a job about an origin, nil if it is not known, goes out; fresh says that it is a record of a certificate
// that is new here.
func (db *DB) begin(now time.Time, o *origin, job *VerifyJob, fresh bool) bool {
	p := &db.pending
	db.purge(now)
	if p.out >= maxPending {
		return false
	}
	if len(p.queue) >= 2*maxPending {
		p.queue = slices.DeleteFunc(p.queue, func(u *underCheck) bool { return u.answered })
	}
	s := db.senders.of(now, job.From.Node)
	u := p.unused()
	*u = underCheck{
		id: job.id, svid: job.svid, claim: claim{o, s}, size: len(job.Raw), record: job.Kind == KindRecord, fresh: fresh, at: now,
	}
	p.add(u)
	s.inFlight++
	s.flightBytes += u.size
	if fresh {
		s.inFlightNew++
	}
	return true
}

func (p *pending) unused() *underCheck {
	n := len(p.spare)
	if n == 0 {
		return &underCheck{}
	}
	u := p.spare[n-1]
	p.spare = p.spare[:n-1]
	return u
}

// done takes a job that came back, or never will, out of all counts.
func (db *DB) done(id [32]byte) {
	p := &db.pending
	u := p.get(&id)
	if u == nil {
		return
	}
	u.answered = true
	p.out--
	if p.index != nil {
		p.index.remove(u)
	}
	if u.record {
		delete(p.svids, u.svid)
	}
	s := u.claim.by
	s.inFlight--
	s.flightBytes -= u.size
	if u.fresh {
		s.inFlightNew--
	}
	p.trim()
}

// purge drops what will never be answered.
func (db *DB) purge(now time.Time) {
	for q := &db.pending.queue; len(*q) > 0 && now.Sub((*q)[0].at) > patience; {
		db.done((*q)[0].id)
	}
}

// trim drops what is answered from the front of the queue, the index once nothing is left in it, and large maps that a database
// leaves behind which came in whole.
func (p *pending) trim() {
	n := 0
	for ; n < len(p.queue) && p.queue[n].answered; n++ {
		if len(p.spare) < sparePending {
			p.spare = append(p.spare, p.queue[n])
		}
	}
	p.queue = slices.Delete(p.queue, 0, n)
	switch {
	case len(p.queue) > 0:
	case p.most > smallPending:
		*p = newPending()
	default:
		p.index = nil
	}
}
