package crdt

import (
	"maps"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// maxRefs is how many refs of one message are looked at, so that no message takes long. Nobody here sends more: an offer ends
// behind fewItems with at most as many again, and a comparison lists fewLeaves leaves of the tree.
const maxRefs = max(2*fewItems, fewLeaves*leafItems)

// onHeads asks for what goes further than ours, and nobody else is asked for. Whoever did not lead answers with its own; the
// leader compares at once if there is nothing to fetch for either.
func (y *Sync) onHeads(now time.Time, p *peer, m wire.StateHeads) {
	p.stir(now)
	ours := 0 // lives of which they have all that we have
	for _, d := range m.Dots {
		if h := y.s.head(lifeOf(d)); h != 0 && h <= d.Seq {
			ours++
		}
	}
	switch asked := y.fetch(now, p, m.Dots); {
	case !p.leads:
		p.tellHeads()
	case asked == 0 && ours == len(y.s.lives):
		p.headed = false
		p.descend = append(p.descend[:0], wire.Path{})
	}
}

// fetch asks for what goes further than ours, and returns of how many lives.
func (y *Sync) fetch(now time.Time, p *peer, dots []wire.Dot) (asked int) {
	p.stir(now)
	for _, d := range dots {
		h := y.s.head(lifeOf(d))
		if d.Seq <= h || !y.wanted(now, p, d, h) {
			continue
		}
		if len(p.fetch) >= wire.MaxStateHeads || !y.claim(now, p, d, h) {
			p.lost = true
			break
		}
		p.fetch = append(p.fetch, wire.Dot{Author: d.Author, Incarnation: d.Incarnation, Seq: h})
		asked++
	}
	return asked
}

// wanted reports whether p may be asked for a life up to d, of which the entries up to h are held.
func (y *Sync) wanted(now time.Time, p *peer, d wire.Dot, h uint64) bool {
	f, asked := y.lives[lifeOf(d)]
	if !asked || h >= f.target {
		return true
	}
	// It brought nothing that is taken; what nobody vouches for, others would bring as well.
	futile := f.target == d.Seq && f.had == h && (f.of == p.id || y.s.uncovered.lives[lifeOf(d)] > 0)
	return !now.Before(f.until) && !(futile && now.Before(f.until.Add(grudge)))
}

// claim notes that p is asked for a life, if there is room for one more of it.
func (y *Sync) claim(now time.Time, p *peer, d wire.Dot, h uint64) bool {
	l := lifeOf(d)
	if f, asked := y.lives[l]; (!asked || f.of != p.id) && !y.livesRoom(now, p) {
		return false
	}
	y.unclaim(l)
	p.claims++
	y.lives[l] = fetching{flight{p.id, now.Add(patience)}, h, d.Seq}
	return true
}

// unclaim forgets that a life was asked for.
func (y *Sync) unclaim(l life) {
	if p := y.peers[y.lives[l].of]; p != nil {
		p.claims--
	}
	delete(y.lives, l)
}

// livesRoom reports whether p may be asked for one more life. Nobody fills more than its share. What is not being fetched any
// more gives way, but is looked for once a second at most: else each dot of a message would go through all of it.
func (y *Sync) livesRoom(now time.Time, p *peer) bool {
	if len(y.lives) < maxLives && p.claims < livesShare {
		return true
	}
	if now.Before(y.sweepDue) {
		return false
	}
	y.sweepDue = now.Add(quiet)
	y.swept += len(y.lives)
	y.sweepLives(now)
	return len(y.lives) < maxLives && p.claims < livesShare
}

// sweepLives forgets what is not being fetched any more.
func (y *Sync) sweepLives(now time.Time) {
	maps.DeleteFunc(y.lives, func(_ life, f fetching) bool {
		over := !now.Before(f.until)
		if of := y.peers[f.of]; over && of != nil {
			of.claims--
		}
		return over
	})
}

func (y *Sync) onNodes(now time.Time, p *peer, m wire.StateNodes) {
	p.stir(now)
	p.answered = true
	for i := range m.Nodes {
		theirs := &m.Nodes[i]
		n, ok := y.s.tree.at(theirs.Path)
		if !ok || n.kids == nil || theirs.Path.N >= wire.MaxPathLen {
			p.compare(theirs.Path)
			continue
		}
		for k := range n.kids {
			switch ours := n.kids[k].sum(); {
			case ours == theirs.Kids[k]:
			case theirs.Kids[k] == [32]byte{}:
				p.offer(offer{path: theirs.Path.Child(k)})
			default:
				p.compare(theirs.Path.Child(k))
			}
		}
	}
}

func (p *peer) compare(path wire.Path) {
	if len(p.descend) >= maxQueue {
		p.lost = true
		return
	}
	p.descend = append(p.descend, path)
}

func (p *peer) offer(o offer) {
	n := len(o.except)
	if len(p.offers) >= maxFresh || p.except+n > maxExcept {
		p.lost = true
		return
	}
	p.except += n
	p.offers = append(p.offers, o)
}

func (y *Sync) onItems(now time.Time, p *peer, m wire.StateItems) {
	p.stir(now)
	p.answered = true
	left := maxRefs
	for i := range m.Items {
		theirs := &m.Items[i]
		if left -= len(theirs.Refs); left < 0 {
			p.lost = true
			return
		}
		y.ask(now, p, theirs.Refs, p.thorough())
		o := offer{path: theirs.Path, except: make(map[[refSlot]byte][]wire.Ref, len(theirs.Refs))}
		for _, r := range theirs.Refs {
			at := [refSlot]byte(r[:refSlot])
			o.except[at] = append(o.except[at], r)
		}
		p.offer(o)
	}
}

// leavesOut reports whether the neighbour has an item, or seems to have a newer one in its place.
func (o *offer) leavesOut(it *item, thorough bool) bool {
	ref := it.ref()
	for _, r := range o.except[[refSlot]byte(it.slot[:refSlot])] {
		if r == ref || !thorough && refTime(r) > it.time {
			return true
		}
	}
	return false
}

// thorough reports whether, of what the neighbour lists in this pass, what seems to be outdated is exchanged as well. A ref does not
// tell all of the slot, so that something else may seem to be newer in its place: then passes alone would not make the two agree. Two
// passes in a row are thorough, since every other one may compare heads; then few are, since the two may differ for good.
func (p *peer) thorough() bool { return p.doubts() && (p.vain < 4 || p.vain%thoroughEach < 2) }

// doubts reports whether the neighbour may be thorough: then it has its reasons to offer what seems to be outdated.
func (p *peer) doubts() bool { return p.vain >= 2 }

// ask wants of refs what is newer than what is held, or all that is not held, and is not on its way from somebody else.
func (y *Sync) ask(now time.Time, p *peer, refs []wire.Ref, all bool) {
	y.expire(now)
	early := y.tooEarly(now)
	for _, r := range p.few(refs) {
		if it, older := y.s.tree.find(r); it != nil || !older && !all || y.s.shuns(now, r) {
			continue
		}
		if refTime(r) < early {
			p.lost = true
			continue
		}
		if f, asked := y.flying[r]; asked && (f.of == p.id || now.Before(f.until) && !y.failed.has(now, r)) {
			continue
		}
		if len(p.want) >= maxQueue || len(y.flying) >= maxFlying {
			p.lost = true
			return
		}
		y.flying[r] = flight{p.id, now.Add(patience)}
		y.flown = append(y.flown, flown{r, now.Add(patience)})
		p.want = append(p.want, r)
		p.wanted++
	}
}

// few returns the first of refs, as many as are looked at in one message.
func (p *peer) few(refs []wire.Ref) []wire.Ref {
	p.lost = p.lost || len(refs) > maxRefs
	return refs[:min(len(refs), maxRefs)]
}

// expire forgets what was asked for and never came: at a time as much as two messages can ask for.
func (y *Sync) expire(now time.Time) {
	n := 0
	for ; n < min(len(y.flown), 2*maxRefs) && !now.Before(y.flown[n].until); n++ {
		if f, ok := y.flying[y.flown[n].ref]; ok && f.until == y.flown[n].until {
			y.landed(y.flown[n].ref, f)
			y.failed.put(now, y.flown[n].ref)
		}
	}
	if y.flown = y.flown[n:]; len(y.flown) == 0 {
		y.flown = nil
	}
}

func (y *Sync) onWant(p *peer, m wire.StateWant) {
	p.offered = max(p.offered-1, 0)
	for _, r := range p.few(m.Refs) {
		it, _ := y.s.tree.find(r)
		if it == nil {
			continue
		}
		if len(p.send) >= maxQueue {
			p.lost = true
			return
		}
		p.send = append(p.send, it)
		p.fruitful, p.rest = true, time.Time{}
	}
}

// Next returns when Pull of some neighbour may have something, if nothing happens before; zero: there is no neighbour.
func (y *Sync) Next(now time.Time) (next time.Time) {
	for _, id := range y.order {
		if t := y.peers[id].next(now); next.IsZero() || t.Before(next) {
			next = t
		}
	}
	return next
}

// NextOf returns when Pull of one neighbour may have something, if nothing happens before; zero: it is none.
func (y *Sync) NextOf(now time.Time, id mesh.NodeID) time.Time {
	if p := y.peers[id]; p != nil {
		return p.next(now)
	}
	return time.Time{}
}

// Ready reports whether Pull of a neighbour has something now.
func (y *Sync) Ready(now time.Time, id mesh.NodeID) bool {
	p := y.peers[id]
	return p != nil && !p.next(now).After(now)
}

func (p *peer) next(now time.Time) time.Time {
	t := p.rootDue
	if p.busy() || len(p.fresh) > 0 {
		return now
	}
	if !p.active.IsZero() && p.active.Before(t) {
		t = p.active
	}
	if p.mayLead() && p.nextPass().Before(t) {
		t = p.nextPass()
	}
	return t
}
