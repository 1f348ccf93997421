package crdt

import (
	"cmp"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Pull returns the next messages to a neighbour: about as many bytes as budget says, and one message at least if there is
// any. Messages alias the state and must be encoded before it changes.
func (y *Sync) Pull(now time.Time, id mesh.NodeID, budget int) []wire.StateMessage {
	p := y.peers[id]
	if p == nil {
		return nil
	}
	y.turn(now, p)
	out := puller{y: y, p: p, now: now, left: budget}
	for _, f := range []func() bool{out.root, out.wants, out.news, out.heads, out.grown, out.fetches, out.answers, out.batches, out.offers, out.paths} {
		for out.left > 0 && f() {
		}
	}
	if len(out.ms) > 0 && !p.active.IsZero() {
		p.stir(now)
	}
	return out.ms
}

// puller makes messages. Each of its methods makes one of a kind and reports whether there may be more of it.
type puller struct {
	y    *Sync
	p    *peer
	now  time.Time
	left int // of the budget
	ms   []wire.StateMessage
}

func (o *puller) add(m wire.StateMessage, size int) {
	o.ms = append(o.ms, m)
	o.left -= wire.MessageHeader + 1 + size
}

func (o *puller) root() bool {
	if !o.now.Before(o.p.rootDue) {
		o.p.rootDue = o.now.Add(rootInterval)
		m := o.y.s.Digest()
		m.Settled, m.Time = o.y.s.settled, uint64(max(o.now.UnixMilli(), 1))
		o.add(m, 49)
	}
	return false
}

func (o *puller) wants() bool {
	p := o.p
	if len(p.want) == 0 && p.acks == 0 {
		return false
	}
	n := min(len(p.want), fewItems)
	o.add(wire.StateWant{Refs: slices.Clone(p.want[:n])}, 2+n*len(wire.Ref{}))
	p.want = dropFront(p.want, n)
	p.acks = max(p.acks-1, 0)
	return true
}

// dropFront removes the first n, and gives their memory back.
func dropFront[T any](q []T, n int) []T {
	if n == len(q) {
		return nil
	}
	return append(q[:0], q[n:]...)
}

// news pushes what is new, and only offers what is large.
func (o *puller) news() bool {
	p := o.p
	var small []*item
	var large []wire.Ref
	n, size := 0, 0
	for ; n < len(p.fresh) && size < o.left && len(large) < fewItems; n++ {
		switch it := p.fresh[n]; {
		case it.batch == nil || p.known[it]:
		case len(it.raw) > pushSize:
			large = append(large, it.ref())
		default:
			small = append(small, it)
			size += len(it.raw)
		}
	}
	if p.fresh = dropFront(p.fresh, n); len(p.fresh) == 0 {
		clear(p.known)
	}
	o.pieces(small)
	if len(large) > 0 {
		p.offered++
		o.add(wire.StateOffer{Refs: large}, 2+len(large)*len(wire.Ref{}))
	}
	return len(p.fresh) > 0
}

// pieces sends items, those of one batch together.
func (o *puller) pieces(items []*item) {
	slices.SortFunc(items, func(a, b *item) int {
		return cmp.Or(compareBatches(a.batch, b.batch), cmp.Compare(a.index, b.index))
	})
	items = slices.Compact(items)
	for len(items) > 0 {
		n, size := 0, 0
		for ; n < len(items) && items[n].batch == items[0].batch && (n == 0 || size+len(items[n].raw) < maxBatchBytes); n++ {
			size += len(items[n].raw)
		}
		raw := items[0].batch.piece(items[:n]).AppendPiece(nil)
		o.add(wire.StatePiece{Raw: raw}, len(raw))
		items = items[n:]
	}
}

func (o *puller) heads() bool {
	p := o.p
	if !p.telling {
		return false
	}
	dots := o.y.s.headsAfter(p.told, wire.MaxStateHeads)
	if p.telling = len(dots) == wire.MaxStateHeads; p.telling {
		p.told = lifeOf(dots[len(dots)-1])
	}
	o.add(wire.StateHeads{Dots: dots}, 2+32*len(dots))
	return true
}

func (o *puller) grown() bool {
	if len(o.p.grown) == 0 {
		return false
	}
	var m wire.StateGrown
	slices.SortFunc(o.p.grown, compareLives)
	for _, l := range o.p.grown {
		if h := o.y.s.head(l); h > 0 {
			m.Dots = append(m.Dots, wire.Dot{Author: l.author, Incarnation: l.incarnation, Seq: h})
		}
	}
	o.p.grown = nil
	o.add(m, 2+32*len(m.Dots))
	return false
}

// fetches asks for what several messages may have told of: the neighbour takes each life once, ascending.
func (o *puller) fetches() bool {
	if len(o.p.fetch) > 0 {
		after := o.p.fetch
		slices.SortFunc(after, func(a, b wire.Dot) int {
			return cmp.Or(compareLives(lifeOf(a), lifeOf(b)), cmp.Compare(a.Seq, b.Seq))
		})
		after = slices.CompactFunc(after, func(a, b wire.Dot) bool { return lifeOf(a) == lifeOf(b) })
		o.add(wire.StateFetch{After: after}, 2+32*len(after))
		o.p.fetch = nil
	}
	return false
}

// answers sends what was asked for, item by item.
func (o *puller) answers() bool {
	p := o.p
	var items []*item
	n, size := 0, 0
	for ; n < len(p.send) && (n == 0 || size < o.left); n++ {
		if it := p.send[n]; it.batch != nil {
			items = append(items, it)
			size += len(it.raw)
		}
	}
	p.send = dropFront(p.send, n)
	o.pieces(items)
	return len(p.send) > 0
}

// batches sends what was fetched, a batch at a time.
func (o *puller) batches() bool {
	p := o.p
	var b *batch
	n := 0
	for ; n < len(p.batches); n++ {
		if b = o.y.s.behind(p.batches[n], p.owed[p.batches[n]]); b != nil {
			break
		}
		delete(p.owed, p.batches[n])
	}
	if p.batches = dropFront(p.batches, n); b == nil {
		return false
	}
	p.owed[p.batches[0]] = b.First
	if b.bytes() > maxBatchBytes { // nobody here makes such
		p.send = append(p.send, b.live[:min(len(b.live), maxQueue-min(len(p.send), maxQueue))]...)
		return false
	}
	o.pieces(slices.Clone(b.live))
	return true
}

// offers tells the neighbour what it seems to lack, one leaf of the tree after the other.
func (o *puller) offers() bool {
	p := o.p
	var refs []wire.Ref
	for len(p.offers) > 0 && p.offered < offerAhead && len(refs) < fewItems {
		last := p.offers[len(p.offers)-1]
		n, ok := o.y.s.tree.at(last.path)
		if ok && n.count > fewItems && last.path.N < wire.MaxPathLen {
			p.offers = p.offers[:len(p.offers)-1]
			for k := range 16 {
				p.offers = append(p.offers, offer{last.path.Child(k), last.except})
			}
			continue
		}
		if n.count > 0 && len(refs) > 0 && len(refs)+n.count > wire.MaxStateRefs {
			break
		}
		p.offers = p.offers[:len(p.offers)-1]
		for _, it := range o.y.s.tree.below(last.path) {
			if !last.leavesOut(it, p.thorough()) && len(refs) < wire.MaxStateRefs {
				refs = append(refs, it.ref())
			}
		}
	}
	if len(p.offers) == 0 {
		p.except = 0
	}
	if len(refs) > 0 {
		p.offered++
		p.listed += len(refs) * len(wire.Ref{})
		o.add(wire.StateOffer{Refs: refs}, 2+len(refs)*len(wire.Ref{}))
	}
	return len(refs) > 0
}

// paths goes on with the comparison, if what it found before is mostly through.
func (o *puller) paths() bool {
	p := o.p
	if len(p.send)+p.wanted > manyItems {
		return false
	}
	var nodes wire.StateNodes
	var items wire.StateItems
	size := 0
	for len(p.descend) > 0 && len(nodes.Nodes)+len(items.Items) < fewLeaves && size < max(o.left, 1) {
		path := p.descend[len(p.descend)-1]
		p.descend = p.descend[:len(p.descend)-1]
		n, ok := o.y.s.tree.at(path)
		if ok && n.kids != nil {
			nodes.Nodes = append(nodes.Nodes, wire.StateNode{Path: path})
			last := &nodes.Nodes[len(nodes.Nodes)-1]
			for k := range n.kids {
				last.Kids[k] = n.kids[k].sum()
			}
			size += 3 + int(path.N+1)/2 + 16*32
			continue
		}
		item := wire.StateItem{Path: path}
		for _, it := range o.y.s.tree.below(path) {
			item.Refs = append(item.Refs, it.ref())
		}
		items.Items = append(items.Items, item)
		size += 3 + int(path.N+1)/2 + len(item.Refs)*len(wire.Ref{})
	}
	p.listed += size
	if len(nodes.Nodes) > 0 {
		o.add(nodes, size)
	}
	if len(items.Items) > 0 {
		o.add(items, size)
	}
	return len(nodes.Nodes)+len(items.Items) > 0
}
