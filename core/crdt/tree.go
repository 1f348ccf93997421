package crdt

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"x0tta6bl4/wire"
)

// tree is a Merkle tree over all items, a trie of sixteen branches by the nibbles of their slots. Its shape follows from the
// set of slots alone: a node has branches exactly if more than leafItems are below it. So replicas that hold the same have
// the same digests, whatever way they came there. Digests are made when they are asked for.
type tree struct{ root node }

const (
	leafItems = 32
	maxDepth  = 2 * len(slot{})
)

// node is a subtree. One without kids holds its items ascending by slot.
type node struct {
	kids   *[16]node
	items  []*item
	count  int
	fresh  bool // digest is that of what is below
	digest [32]byte
}

func (s slot) nibble(i int) int { return int(s[i/2]>>(4*(1-i&1))) & 15 }

func compareSlot(it *item, s slot) int { return bytes.Compare(it.slot[:], s[:]) }

// get returns the item of a slot, or nil.
func (t *tree) get(s slot) *item {
	n := &t.root
	for d := 0; n.kids != nil; d++ {
		n = &n.kids[s.nibble(d)]
	}
	if i, ok := slices.BinarySearchFunc(n.items, s, compareSlot); ok {
		return n.items[i]
	}
	return nil
}

// put makes it the item of its slot, and returns the one that was, or nil.
func (t *tree) put(it *item) (old *item) { return t.root.put(it, 0) }

func (n *node) put(it *item, depth int) (old *item) {
	n.fresh = false
	if n.kids != nil {
		if old = n.kids[it.slot.nibble(depth)].put(it, depth+1); old == nil {
			n.count++
		}
		return old
	}
	i, ok := slices.BinarySearchFunc(n.items, it.slot, compareSlot)
	if ok {
		old, n.items[i] = n.items[i], it
		return old
	}
	n.items = slices.Insert(n.items, i, it)
	n.count++
	if n.count > leafItems && depth < maxDepth {
		n.split(depth)
	}
	return nil
}

func (n *node) split(depth int) {
	n.kids = new([16]node)
	for rest := n.items; len(rest) > 0; {
		branch := rest[0].slot.nibble(depth)
		end := 1
		for end < len(rest) && rest[end].slot.nibble(depth) == branch {
			end++
		}
		kid := &n.kids[branch]
		kid.items, kid.count = slices.Clone(rest[:end]), end
		if end > leafItems && depth+1 < maxDepth {
			kid.split(depth + 1)
		}
		rest = rest[end:]
	}
	n.items = nil
}

// remove takes the item of a slot out.
func (t *tree) remove(s slot) { t.root.remove(s, 0) }

func (n *node) remove(s slot, depth int) bool {
	if n.kids == nil {
		i, ok := slices.BinarySearchFunc(n.items, s, compareSlot)
		if ok {
			n.items = slices.Delete(n.items, i, i+1)
			n.count, n.fresh = n.count-1, false
		}
		return ok
	}
	if !n.kids[s.nibble(depth)].remove(s, depth+1) {
		return false
	}
	n.count, n.fresh = n.count-1, false
	if n.count <= leafItems {
		n.items, n.kids = n.gather(make([]*item, 0, leafItems)), nil
	}
	return true
}

// gather appends all items below n, ascending.
func (n *node) gather(to []*item) []*item {
	if n.kids == nil {
		return append(to, n.items...)
	}
	for i := range n.kids {
		to = n.kids[i].gather(to)
	}
	return to
}

// sum returns the digest of n; that of nothing is zero.
func (n *node) sum() [32]byte {
	if n.fresh || n.count == 0 {
		if n.count == 0 {
			n.digest = [32]byte{}
		}
		return n.digest
	}
	h := sha256.New()
	if n.kids == nil {
		h.Write([]byte{3})
		for _, it := range n.items {
			h.Write(it.id[:])
		}
	} else {
		h.Write([]byte{4})
		for i := range n.kids {
			d := n.kids[i].sum()
			h.Write(d[:])
		}
	}
	n.digest, n.fresh = [32]byte(h.Sum(nil)), true
	return n.digest
}

// at returns the subtree of a path. Below a node without kids there is none of its own: then ok is false, and n is that node.
func (t *tree) at(p wire.Path) (n *node, ok bool) {
	n = &t.root
	for i := range int(p.N) {
		if n.kids == nil {
			return n, false
		}
		n = &n.kids[p.Nibble(i)]
	}
	return n, true
}

// below returns the items under a path if they are few, ascending.
func (t *tree) below(p wire.Path) []*item {
	n, ok := t.at(p)
	if ok {
		return n.gather(nil)
	}
	var in []*item
	for _, it := range n.items {
		if covers(p, it.slot) {
			in = append(in, it)
		}
	}
	return in
}

func covers(p wire.Path, s slot) bool {
	for i := range int(p.N) {
		if s.nibble(i) != p.Nibble(i) {
			return false
		}
	}
	return true
}

// find returns the item that a ref names, or nil; older says that what is held in its place is older, or nothing is.
func (t *tree) find(r wire.Ref) (it *item, older bool) {
	var s slot
	copy(s[:], r[:refSlot])
	n := &t.root
	for d := 0; n.kids != nil && d < 2*refSlot; d++ {
		n = &n.kids[s.nibble(d)]
	}
	items := n.items
	if n.kids != nil {
		items = n.gather(nil)
	}
	older = true
	i, _ := slices.BinarySearchFunc(items, s, compareSlot)
	for ; i < len(items) && bytes.Equal(items[i].slot[:refSlot], r[:refSlot]); i++ {
		if items[i].ref() == r {
			return items[i], false
		}
		older = older && items[i].time <= refTime(r)
	}
	return nil, older
}
