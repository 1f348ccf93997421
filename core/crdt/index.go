package crdt

import (
	"bytes"
	"cmp"
	"slices"

	"x0tta6bl4/wire"
)

// index holds all items in the order of compareItems, in chunks, so that a change moves little.
type index struct{ chunks [][]*item }

const chunkItems = 512

// chunk returns which chunk an item is in or belongs to.
func (x *index) chunk(it *item) int {
	i, _ := slices.BinarySearchFunc(x.chunks, it, func(c []*item, it *item) int { return compareItems(c[0], it) })
	if i < len(x.chunks) && compareItems(x.chunks[i][0], it) == 0 {
		return i
	}
	return max(i-1, 0)
}

// put inserts it, in place of the one that compares equal.
func (x *index) put(it *item) {
	if len(x.chunks) == 0 {
		x.chunks = append(x.chunks, make([]*item, 0, chunkItems))
		x.chunks[0] = append(x.chunks[0], it)
		return
	}
	c := x.chunk(it)
	i, ok := slices.BinarySearchFunc(x.chunks[c], it, compareItems)
	if ok {
		x.chunks[c][i] = it
		return
	}
	if len(x.chunks[c]) == chunkItems {
		right := append(make([]*item, 0, chunkItems), x.chunks[c][chunkItems/2:]...)
		clear(x.chunks[c][chunkItems/2:])
		x.chunks[c] = x.chunks[c][:chunkItems/2]
		x.chunks = slices.Insert(x.chunks, c+1, right)
		if i > chunkItems/2 {
			c, i = c+1, i-chunkItems/2
		}
	}
	x.chunks[c] = slices.Insert(x.chunks[c], i, it)
}

// remove takes out the item that compares equal to it.
func (x *index) remove(it *item) {
	if len(x.chunks) == 0 {
		return
	}
	c := x.chunk(it)
	i, ok := slices.BinarySearchFunc(x.chunks[c], it, compareItems)
	if !ok {
		return
	}
	if x.chunks[c] = slices.Delete(x.chunks[c], i, i+1); len(x.chunks[c]) == 0 {
		x.chunks = slices.Delete(x.chunks, c, c+1)
	}
}

// place is where to begin in the order of the index: the first item of an element.
type place struct {
	key     []byte
	kind    wire.EntryKind
	element []byte
}

// compare returns -1 if an item comes before the place, else 1.
func (at *place) compare(it *item) int {
	if cmp.Or(bytes.Compare(it.key(), at.key), cmp.Compare(it.kind, at.kind), bytes.Compare(it.element(), at.element)) < 0 {
		return -1
	}
	return 1
}

// from calls f with all items that do not come before a place, upwards, until f returns false. f must not change the index.
func (x *index) from(at place, f func(*item) bool) {
	c, _ := slices.BinarySearchFunc(x.chunks, &at, func(c []*item, at *place) int { return at.compare(c[len(c)-1]) })
	for ; c < len(x.chunks); c++ {
		i, _ := slices.BinarySearchFunc(x.chunks[c], &at, func(it *item, at *place) int { return at.compare(it) })
		for _, it := range x.chunks[c][i:] {
			if !f(it) {
				return
			}
		}
	}
}
