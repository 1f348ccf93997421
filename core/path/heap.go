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
	a := *h
	i := len(a) - 1
	for i > 0 {
		up := (i - 1) / 2
		if a[up].key <= key {
			break
		}
		a[i] = a[up]
		i = up
	}
	a[i] = heapItem{key, item}
}

// pop removes the smallest pair of a heap that is not empty.
func (h *heap) pop() heapItem {
	a := *h
	top := a[0]
	n := len(a) - 1
	last := a[n]
	a = a[:n]
	*h = a
	if n == 0 {
		return top
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= n {
			break
		}
		if child+1 < n && a[child+1].key < a[child].key {
			child++
		}
		if a[child].key >= last.key {
			break
		}
		a[i] = a[child]
		i = child
	}
	a[i] = last
	return top
}
