package dataplane

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of the queue in which first packets wait while a session opens.
const (
	queuePackets      = 64
	queueBytes        = 256 << 10
	queueDestinations = 256
	queueAge          = 5 * time.Second
	needInterval      = 100 * time.Millisecond
)

// queue holds packets without a session, per destination address and in order.
//
// Invariant: while an entry exists every packet to its destination goes through it, and at most one goroutine
// (entry.draining) takes packets out, so a flow is not reordered when its session comes.
type queue struct {
	n  atomic.Int32 // number of entries: lets the steady state pass without the lock
	mu sync.Mutex
	to map[[16]byte]*waiting
	at time.Duration // of the last sweep

	expired [][]byte // packets that nobody was told of yet, at most queuePackets
}

type waiting struct {
	packets  []waitingPacket
	bytes    int
	need     time.Duration // of the last Need
	asked    bool
	draining bool
}

type waitingPacket struct {
	b  []byte
	at time.Duration
}

// holds reports whether packets to dst wait already.
func (q *queue) holds(dst [16]byte) bool {
	if q.n.Load() == 0 {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.to[dst] != nil
}

// wait queues a copy of pkt and, when it is time, asks for a session to dst.
func (p *Plane) wait(dst [16]byte, pkt []byte, now time.Duration) {
	if ask := p.queue.add(&p.count, dst, pkt, now); ask {
		p.cb.Need(netip.AddrFrom16(dst))
	}
	// The session may have come since the caller looked; whoever published it may have drained before we added.
	p.drain(dst)
	p.tellExpired()
}

func (q *queue) add(count *counters, dst [16]byte, pkt []byte, now time.Duration) (ask bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.to[dst]
	if w == nil {
		if now-q.at > time.Second || len(q.to) >= queueDestinations {
			q.sweep(count, now)
		}
		if len(q.to) >= queueDestinations {
			count.inc(queueOverflow)
			return false
		}
		w = &waiting{}
		q.to[dst] = w
		q.n.Store(int32(len(q.to)))
	}
	q.expire(w, count, now)
	// The oldest gives way, as in the kernel's neighbour queue: the newest is likeliest still wanted.
	for len(w.packets) > 0 && (len(w.packets) >= queuePackets || w.bytes+len(pkt) > queueBytes) {
		w.pop()
		count.inc(queueOverflow)
	}
	w.packets = append(w.packets, waitingPacket{append([]byte(nil), pkt...), now})
	w.bytes += len(pkt)
	count.inc(queueAdded)
	if w.asked && now-w.need < needInterval {
		return false
	}
	w.asked, w.need = true, now
	return true
}

// drain sends what waits for dst, if it can be sent now.
func (p *Plane) drain(dst [16]byte) {
	q := &p.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.to[dst]
	if w == nil || w.draining {
		return
	}
	w.draining = true
	defer func() { w.draining = false }()
	s := p.sealers.Get().(*sealer)
	defer p.sealers.Put(s)
	for {
		q.expire(w, &p.count, p.now())
		v := p.view.Load()
		peer := v.byAddr[dst]
		if len(w.packets) > 0 && !peer.ready() {
			return
		}
		if len(w.packets) == 0 {
			delete(q.to, dst)
			q.n.Store(int32(len(q.to)))
			return
		}
		b := w.pop().b
		q.mu.Unlock() // Send may come back to us in the same goroutine
		n := copy(s.packet(), b)
		p.sendPacket(s, peer, n)
		q.mu.Lock()
	}
}

// drainAll is called after every change that may have brought a session.
func (p *Plane) drainAll() {
	q := &p.queue
	if q.n.Load() == 0 {
		return
	}
	q.mu.Lock()
	q.sweep(&p.count, p.now())
	all := make([][16]byte, 0, len(q.to))
	for dst := range q.to {
		all = append(all, dst)
	}
	q.mu.Unlock()
	for _, dst := range all {
		p.drain(dst)
	}
	p.tellExpired()
}

// sweep drops what is too old. q.mu is held.
func (q *queue) sweep(count *counters, now time.Duration) {
	q.at = now
	for dst, w := range q.to {
		q.expire(w, count, now)
		if len(w.packets) == 0 && !w.draining {
			delete(q.to, dst)
		}
	}
	q.n.Store(int32(len(q.to)))
}

// expire drops what waited too long for w. q.mu is held.
func (q *queue) expire(w *waiting, count *counters, now time.Duration) {
	for len(w.packets) > 0 && now-w.packets[0].at > queueAge {
		b := w.pop().b
		count.inc(queueExpired)
		if len(q.expired) < queuePackets {
			q.expired = append(q.expired, b)
		}
	}
}

// takeExpired returns the packets that expired since the last call.
func (q *queue) takeExpired() [][]byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.expired
	q.expired = nil
	return b
}

// reject takes out what waits for dst. Who waits is remembered, so that not each further packet asks anew.
func (q *queue) reject(count *counters, dst [16]byte) (packets [][]byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.to[dst]
	for w != nil && len(w.packets) > 0 {
		packets = append(packets, w.pop().b)
		count.inc(queueRefused)
	}
	return packets
}

func (w *waiting) pop() waitingPacket {
	first := w.packets[0]
	w.packets[0].b = nil
	w.packets = w.packets[1:]
	w.bytes -= len(first.b)
	return first
}
