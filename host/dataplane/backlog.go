package dataplane

import (
	"time"

	"x0tta6bl4/host/dataplane/segment"
)

const (
	backlogPackets = 64
	backlogFlows   = 256
	backlogReads   = 8       // at most before one more leaves, so that nobody has to wait for all of a burst to be read
	backlogQuantum = 1 << 16 // bytes that a flow may send in its turn: a large packet
)

// backlog is what has been read from the TUN and not been sent yet. The interface's own queue has no clock, counts packets and
// not bytes, and is in order of arrival: a ping behind a stream of large packets waits for megabytes. So all that is there is read
// before one more is sent, and leaves by FQ-CoDel (RFC 8290): flows in turn, those that begin first, and who keeps
// packets waiting too long is told. What finds no room stays in the interface's queue. It is of one goroutine and allocates
// nothing.
type backlog struct {
	room   []byte // of backlogPackets, maxRead bytes each: of which only what is filled takes memory
	free   [backlogPackets]uint8
	left   int // entries of free that are
	held   [backlogPackets]heldPacket
	flows  [backlogFlows]heldFlow
	begun  turns // flows that have not had a turn since they were empty,
	others turns // and those that have
}

type heldPacket struct {
	n    int // bytes
	came time.Duration
	next int16 // of the flow; -1 = it is the last
}

// heldFlow is the packets of one flow, or of several whose hashes meet.
type heldFlow struct {
	first, last int16 // of its packets; -1 = none, if waits
	waits       bool  // it is in begun or in others
	credit      int   // bytes that it may send before its turn is over
	next        int16 // in begun or in others
	codel       codel
}

// turns is a list of flows.
type turns struct {
	first, last int16
	n           int
}

func newBacklog() *backlog {
	q := &backlog{room: make([]byte, backlogPackets*maxRead), left: backlogPackets}
	for i := range q.free {
		q.free[i] = uint8(backlogPackets - 1 - i) // #nosec G115 -- below 256
	}
	return q
}

// empty reports whether nothing waits.
func (q *backlog) empty() bool { return q.left == backlogPackets }

// buffer returns where the next packet is to be read to, nil if there is no room. It is that of the packet that left last, as
// that is in the processor's cache.
func (q *backlog) buffer() []byte {
	if q.left == 0 {
		return nil
	}
	return q.at(int16(q.free[q.left-1]))
}

func (q *backlog) at(i int16) []byte { return q.room[int(i)*maxRead:][:maxRead] }

// add takes the n bytes that were read to buffer.
func (q *backlog) add(n int, now time.Duration) {
	q.left--
	i := int16(q.free[q.left])
	q.held[i] = heldPacket{n: n, came: now, next: -1}
	at := flowOfRead(q.at(i)[:n])
	f := &q.flows[at]
	if !f.waits {
		f.first, f.last, f.waits, f.credit = -1, -1, true, backlogQuantum
		q.begun.push(q, at)
	}
	if f.first < 0 {
		f.first = i
	} else {
		q.held[f.last].next = i
	}
	f.last = i
}

// flowOfRead returns the number of the flow that a packet behind a virtio header is of.
func flowOfRead(b []byte) int16 {
	if len(b) < segment.HeaderLen+ipv6Header {
		return 0
	}
	pkt := b[segment.HeaderLen:]
	return int16(flowBucket(pkt) ^ pkt[ipv6Header-1]) // the address is a hash itself
}

// next takes out the packet that leaves now; hit says that it is to be marked or dropped. It lies in its buffer until the next
// call of add. nil: nothing waits.
func (q *backlog) next(now time.Duration) (b []byte, hit bool) {
	for {
		list := &q.begun
		if list.n == 0 {
			list = &q.others
		}
		if list.n == 0 {
			return nil, false
		}
		at := list.first
		f := &q.flows[at]
		switch {
		case f.credit <= 0:
			f.credit += backlogQuantum
			list.pop(q)
			q.others.push(q, at)
		case f.first < 0 && list == &q.begun && q.others.n > 0: // it may not begin again before the others had a turn (RFC 8290 §4.2)
			list.pop(q)
			q.others.push(q, at)
		case f.first < 0:
			list.pop(q)
			f.waits = false
		default:
			return q.take(f, now)
		}
	}
}

// take takes out the first packet of a flow.
func (q *backlog) take(f *heldFlow, now time.Duration) (b []byte, hit bool) {
	i := f.first
	h := &q.held[i]
	f.first = h.next
	f.credit -= h.n
	q.free[q.left] = uint8(i) // #nosec G115 -- below 256
	q.left++
	wait := now - h.came
	if wait >= codelTarget || !f.codel.idle() {
		hit = f.codel.hit(now, wait, f.first < 0)
	}
	return q.at(i)[:h.n], hit
}

func (t *turns) push(q *backlog, at int16) {
	if t.n == 0 {
		t.first = at
	} else {
		q.flows[t.last].next = at
	}
	t.last = at
	t.n++
}

func (t *turns) pop(q *backlog) {
	t.first = q.flows[t.first].next
	t.n--
}
