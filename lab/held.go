package lab

import (
	"container/heap"

	"golang.org/x/sys/unix"
)

// frameRoom is more than any frame of a link, and any order to the relay.
const frameRoom = 2048

// port is one direction of a link.
type port struct {
	in, out int // descriptors of TAP devices
	shaper
}

// held is a frame on its way.
type held struct {
	due  int64  // ns since the relay began
	seq  uint64 // keeps order among equal dues
	port int
	data []byte
}

type heldHeap []held

func (h heldHeap) Len() int { return len(h) }
func (h heldHeap) Less(i, j int) bool {
	return h[i].due < h[j].due || h[i].due == h[j].due && h[i].seq < h[j].seq
}
func (h heldHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *heldHeap) Push(x any)   { *h = append(*h, x.(held)) }
func (h *heldHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = held{}
	*h = old[:len(old)-1]
	return x
}

// hold keeps a frame of port i until it is due.
func (r *relay) hold(i int, due int64, data []byte) {
	r.ports[i].queued += len(data)
	r.seq++
	heap.Push(&r.held, held{due, r.seq, i, data})
}

// send sends what is due.
func (r *relay) send() {
	now := r.now()
	for len(r.held) > 0 && r.held[0].due <= now {
		h := heap.Pop(&r.held).(held)
		p := &r.ports[h.port]
		p.queued -= len(h.data)
		// An error here is an interface that is down (EIO) or a full queue: on a real link the frame is lost, too.
		_, _ = unix.Write(p.out, h.data)
		r.free = append(r.free, h.data[:cap(h.data)])
	}
}
