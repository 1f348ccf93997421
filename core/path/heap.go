package path

// heap is a binary heap of (key, item) pairs, smallest key first. Items may be in it more than once; whoever pops
// skips the outdated. It is written out, not container/heap, because it is the inner loop of every search.
type heap []heapItem

type heapItem struct {
	key  int64
	item int32
}

func (h *heap) push(key int64, item int32) {
	*h = append(*h, heapItem{})
	(*h).rise(len(*h)-1, heapItem{key, item})
}

// rise moves the hole at i up to where x belongs and puts it there.
func (h heap) rise(i int, x heapItem) {
	for i > 0 {
		up := (i - 1) / 2
		if h[up].key <= x.key {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = x
}

// pop removes the smallest pair of a heap that is not empty. The hole sinks to a leaf along the smaller children, and
// the last pair, which nearly always belongs to a leaf, rises from there: that spares a comparison per level that no
// processor can predict (Wegener 1993).
func (h *heap) pop() heapItem {
	a := *h
	top, n := a[0], len(a)-1
	last := a[n]
	a = a[:n]
	*h = a
	if n == 0 {
		return top
	}
	i := 0
	for child := 1; child < n; child = 2*i + 1 {
		if right := child + 1; right < n {
			child += less(a[right].key, a[child].key)
		}
		a[i] = a[child]
		i = child
	}
	a.rise(i, last)
	return top
}

// less is 1 if a < b and 0 otherwise, without a branch; neither is negative.
func less(a, b int64) int { return int(uint64(a-b) >> 63) }
