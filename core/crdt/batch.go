package crdt

import (
	"crypto/sha256"
	"slices"

	"x0tta6bl4/wire"
)

// batch is what is left of a batch: the items that still count, and the hashes of the subtrees in which none does. So every
// one of them can be passed on with its proof, and a batch costs no more than what is left of it. Invariant: live and
// pruned, taken together, are the leaves 0 to Count-1, each once; a pruned subtree is one of the tree's, and no larger one
// is pruned.
type batch struct {
	wire.Batch
	sig    []byte
	id     [32]byte // hash of the signing input
	live   []*item  // ascending by index
	pruned []subtree
	late   bool // it came when its SVID was over since Grace; of one that is not held yet
}

// subtree is the leaves lo to hi-1 of a batch's tree.
type subtree struct {
	lo, hi uint16
	hash   [32]byte
}

// newBatch makes a batch of a piece, all of whose items count so far.
func newBatch(p *wire.Piece) *batch {
	b := &batch{Batch: p.Batch, sig: p.Sig}
	for i := range p.Leaves {
		b.live = append(b.live, newItem(b, &p.Leaves[i]))
	}
	hashes := p.Hashes
	walk(b.live, 0, int(p.Count), func(lo, hi int) {
		b.pruned = append(b.pruned, subtree{uint16(lo), uint16(hi), hashes[0]})
		hashes = hashes[1:]
	})
	b.id = sha256.Sum256(b.signed())
	return b
}

// signed returns what its author signed. It reads no entry again: their hashes are kept.
func (b *batch) signed() []byte { return b.SigningInput(b.hashOf(0, int(b.Count))) }

// walk calls f with the largest subtrees that hold none of items, from left to right.
func walk(items []*item, lo, hi int, f func(lo, hi int)) {
	switch {
	case len(items) == 0:
		f(lo, hi)
		return
	case len(items) == hi-lo:
		return
	}
	mid := wire.SplitTree(lo, hi)
	i := before(items, mid)
	walk(items[:i], lo, mid, f)
	walk(items[i:], mid, hi, f)
}

// before returns how many of items have an index below n.
func before(items []*item, n int) int {
	i, _ := slices.BinarySearchFunc(items, n, func(it *item, n int) int { return int(it.index) - n })
	return i
}

// hash returns that of the leaves lo to hi-1. live and pruned must be what b has of them.
func hash(live []*item, pruned []subtree, lo, hi int) [32]byte {
	switch {
	case len(pruned) > 0 && int(pruned[0].lo) == lo && int(pruned[0].hi) == hi:
		return pruned[0].hash
	case hi-lo == 1:
		return live[0].leaf
	}
	mid := wire.SplitTree(lo, hi)
	i := before(live, mid)
	j := prunedBefore(pruned, mid)
	return wire.NodeHash(hash(live[:i], pruned[:j], lo, mid), hash(live[i:], pruned[j:], mid, hi))
}

func prunedBefore(pruned []subtree, n int) int {
	i, _ := slices.BinarySearchFunc(pruned, n, func(s subtree, n int) int { return int(s.lo) - n })
	return i
}

// hashOf returns the hash of the leaves lo to hi-1.
func (b *batch) hashOf(lo, hi int) [32]byte {
	return hash(b.live[before(b.live, lo):before(b.live, hi)], b.pruned[prunedBefore(b.pruned, lo):prunedBefore(b.pruned, hi)], lo, hi)
}

// piece returns items of b, ascending by index, with their proof.
func (b *batch) piece(items []*item) *wire.Piece {
	p := &wire.Piece{Batch: b.Batch, Sig: b.sig}
	for _, it := range items {
		p.Leaves = append(p.Leaves, wire.Leaf{Index: it.index, Raw: it.raw})
	}
	walk(items, 0, int(b.Count), func(lo, hi int) { p.Hashes = append(p.Hashes, b.hashOf(lo, hi)) })
	return p
}

// prune takes an item out of what counts, and tells what became of the subtrees around it: some are there no more, one is
// there instead.
func (b *batch) prune(it *item) (gone []subtree, made subtree) {
	made = subtree{it.index, it.index + 1, it.leaf}
	b.live = slices.DeleteFunc(b.live, func(x *item) bool { return x == it })
	var path []subtree // around the leaf, from the root
	for lo, hi := 0, int(b.Count); hi-lo > 1; {
		path = append(path, subtree{lo: uint16(lo), hi: uint16(hi)})
		if mid := wire.SplitTree(lo, hi); int(it.index) < mid {
			hi = mid
		} else {
			lo = mid
		}
	}
	for _, up := range slices.Backward(path) {
		i := prunedBefore(b.pruned, int(up.lo))
		sibling := func(s subtree) bool {
			return s.lo >= up.lo && s.hi <= up.hi && s.hi-s.lo == up.hi-up.lo-(made.hi-made.lo)
		}
		if i == len(b.pruned) || !sibling(b.pruned[i]) {
			break
		}
		s := b.pruned[i]
		b.pruned = slices.Delete(b.pruned, i, i+1)
		gone = append(gone, s)
		if s.lo < made.lo {
			up.hash = wire.NodeHash(s.hash, made.hash)
		} else {
			up.hash = wire.NodeHash(made.hash, s.hash)
		}
		made = up
	}
	b.pruned = slices.Insert(b.pruned, prunedBefore(b.pruned, int(made.lo)), made)
	return gone, made
}

// join adds items of another part of the same batch, which b has pruned. It leaves the finest subtrees that either knows.
func (b *batch) join(o *batch, items []*item) (gone, made []subtree) {
	live := slices.Clone(b.live)
	for _, it := range items {
		live = slices.Insert(live, before(live, int(it.index)), it)
	}
	var pruned []subtree
	walk(live, 0, int(b.Count), func(lo, hi int) {
		h := b.knows(lo, hi)
		if h == nil {
			h = o.knows(lo, hi)
		}
		pruned = append(pruned, subtree{uint16(lo), uint16(hi), *h})
	})
	had := func(in []subtree) func(subtree) bool {
		return func(s subtree) bool { return slices.Contains(in, s) }
	}
	gone = slices.DeleteFunc(slices.Clone(b.pruned), had(pruned))
	made = slices.DeleteFunc(slices.Clone(pruned), had(b.pruned))
	for _, it := range items {
		it.batch = b
	}
	b.live, b.pruned = live, pruned
	return gone, made
}

// knows returns the hash of the leaves lo to hi-1, or nil if that is inside a larger pruned subtree.
func (b *batch) knows(lo, hi int) *[32]byte {
	if i := prunedBefore(b.pruned, lo+1) - 1; i >= 0 && int(b.pruned[i].hi) > lo && (int(b.pruned[i].lo) < lo || int(b.pruned[i].hi) > hi) {
		return nil
	}
	h := b.hashOf(lo, hi)
	return &h
}

// bytes returns how long its entries are.
func (b *batch) bytes() (n int) {
	for _, it := range b.live {
		n += len(it.raw)
	}
	return n
}
