package crdt

import (
	"time"

	"x0tta6bl4/wire"
)

func (y *Sync) onRoot(now time.Time, p *peer, r wire.StateRoot) {
	y.clocked(now, p, r)
	settled := r.Settled
	r.Settled, r.Time = false, 0
	if r != p.theirs || settled != p.settled { // they move
		p.idle, p.passDue = 0, time.Time{}
	}
	p.settled = settled
	p.theirs, p.heard, p.differs = r, true, r != y.s.Digest()
	switch {
	case p.differs && !p.leads && p.active.IsZero():
		p.rootDue = now // so that they learn it
	case !p.differs:
		y.agree(now, p)
		p.agreed, p.active, p.passDue, p.rest, p.idle, p.vain = now, time.Time{}, time.Time{}, time.Time{}, 0, 0
	}
}

// turn begins and ends passes.
func (y *Sync) turn(now time.Time, p *peer) {
	if !p.active.IsZero() && !now.Before(p.active) && !p.busy() {
		y.endPass(now, p)
	}
	if !p.mayLead() || now.Before(p.nextPass()) {
		return
	}
	if p.theirs == y.s.Digest() { // by now
		p.differs = false
		return
	}
	p.stir(now)
	p.fruitful, p.answered, p.lost, p.listed = false, false, false, 0
	if p.headed = !p.headed && (p.agreed.IsZero() || now.Sub(p.agreed) > stranger); p.headed {
		p.tellHeads()
	} else {
		p.descend = append(p.descend[:0], wire.Path{})
	}
}

// mayLead reports whether there is cause for a pass that we lead.
func (p *peer) mayLead() bool { return p.leads && p.heard && p.differs && p.active.IsZero() }

// nextPass returns when the next pass may begin.
func (p *peer) nextPass() time.Time {
	if p.rest.After(p.passDue) {
		return p.rest
	}
	return p.passDue
}

// busy reports whether something waits to be sent.
func (p *peer) busy() bool {
	return p.telling || len(p.grown)+len(p.want)+len(p.send)+len(p.descend)+len(p.batches)+len(p.fetch)+p.acks > 0 ||
		len(p.offers) > 0 && p.offered < offerAhead
}

func (y *Sync) endPass(now time.Time, p *peer) {
	p.active, p.offered = time.Time{}, 0
	p.offers, p.except = nil, 0
	p.rootDue = now
	p.heard = false
	if p.fruitful || p.headed {
		p.idle = 0
		p.passDue = now
	} else {
		p.passDue = now.Add(min(quiet<<min(p.idle, 6), maxBackoff))
		p.idle++
		p.rest = now.Add(min(time.Duration(p.listed)*time.Second/listRate, grudge))
	}
	if p.answered && !p.lost && p.wanted == 0 {
		y.agree(now, p)
	}
	p.answered = false
	p.vain++
}

// agree notes that all that a neighbour has is here. All neighbours hear at once that this replica has settled, since they may wait
// for it.
func (y *Sync) agree(now time.Time, p *peer) {
	y.agreed = now
	if y.s.born.After(now.Add(maxSkew)) && p.clocked && p.ahead.Abs() <= maxSkew { // the clock was wrong then
		y.s.born = now
		y.s.saveMeta()
	}
	y.settle(now, p.settled)
}

// Settle has this replica write though no settled one has been met: an operator says that there is none.
func (y *Sync) Settle(now time.Time) { y.settle(now, true) }

// settle notes that this replica has what a neighbour has that is settled or not, and tells all neighbours if that is news.
func (y *Sync) settle(now time.Time, settled bool) {
	before := y.s.settled
	if y.s.agreed(now, settled); before == y.s.settled {
		return
	}
	for _, id := range y.order {
		y.peers[id].rootDue = now
	}
}
