package crdt

import (
	"bytes"
	"slices"
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

// from calls f with all items whose key is not below key, upwards, until f returns false. f must not change the index.
func (x *index) from(key []byte, f func(*item) bool) {
	byKey := func(it *item, key []byte) int {
		if bytes.Compare(it.key(), key) < 0 {
			return -1
		}
		return 1
	}
	c, _ := slices.BinarySearchFunc(x.chunks, key, func(c []*item, key []byte) int { return byKey(c[len(c)-1], key) })
	for ; c < len(x.chunks); c++ {
		i, _ := slices.BinarySearchFunc(x.chunks[c], key, byKey)
		for _, it := range x.chunks[c][i:] {
			if !f(it) {
				return
			}
		}
	}
}
