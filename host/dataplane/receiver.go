package dataplane

import (
	"hash/maphash"
	"time"

	"x0tta6bl4/host/dataplane/segment"
	"x0tta6bl4/wire"
)

// Receiver is where one goroutine that reads the underlay puts what it reads. Datagrams that came together leave together: what
// is to be sent on by the same link as one run, packets of one flow as one large packet for the TUN. So whoever has read
// all that there was calls Flush.
type Receiver struct {
	p      *Plane
	join   segment.Joiner
	added  int // packets in join
	run    relayRun
	around detourRun
	queue  discipline // where what is handled now has waited

	now time.Duration // when the first of what is handled now was, on the plane's clock; 0 = nothing is
}

// relayRun is frames that lie one behind the other and leave by the same link.
type relayRun struct {
	out  *outLink
	in   *linkState
	b    []byte
	size int // of each but the last
}

// NewReceiver returns a Receiver for one goroutine.
func (p *Plane) NewReceiver() *Receiver {
	return &Receiver{p: p, join: segment.Joiner{KeepUDP: !p.tun.LargeUDP()}, queue: discipline{seed: maphash.MakeSeed()}}
}

// Flush hands on what was collected. The datagrams that HandleFrame was given are the caller's again.
func (r *Receiver) Flush() {
	r.flushRun()
	r.flushDetour()
	r.flushTUN()
	r.now = 0
}

// clock returns the time on the plane's clock. It looks once for all that came together.
func (r *Receiver) clock() time.Duration {
	if r.now == 0 {
		r.now = r.p.now()
	}
	return r.now
}

// add takes a packet for the TUN.
func (r *Receiver) add(pkt []byte, partial bool) {
	r.added++
	if !r.join.Add(pkt, partial) {
		r.flushTUN()
	}
}

func (r *Receiver) flushTUN() {
	if r.added == 0 {
		return
	}
	refused := r.join.Flush(r.p.tun.WritePacket)
	r.p.count.add(tunWriteFailed, refused)
	r.p.count.add(delivered, r.added-refused)
	r.added = 0
}

// forward takes a frame that leaves by a link.
func (r *Receiver) forward(out *outLink, in *linkState, b []byte) {
	if !r.run.follows(out, in, b) {
		r.flushRun()
		r.run = relayRun{out, in, b, len(b)}
		return
	}
	r.run.b = r.run.b[:len(r.run.b)+len(b)]
}

// follows reports whether the frame b can leave together with those of the run.
func (r *relayRun) follows(out *outLink, in *linkState, b []byte) bool {
	n := len(r.b)
	return r.takes(out, in, len(b), wire.FlagsOf(b).ECN()) && &r.b[:n+1][n] == &b[0]
}

// takes reports whether a frame of length bytes can be one more of the run: the kernel takes datagrams of one size, the last of
// which may be shorter, and of one ECN code point.
func (r *relayRun) takes(out *outLink, in *linkState, length int, ecn uint8) bool {
	n := len(r.b)
	return n > 0 && r.out == out && r.in == in && n%r.size == 0 && length <= r.size && n/r.size < maxRun &&
		n+length <= min(maxRunBytes, cap(r.b)) && wire.FlagsOf(r.b).ECN() == ecn
}

func (r *Receiver) flushRun() {
	run := r.run
	r.run = relayRun{}
	if len(run.b) > 0 && r.p.emitRun(run.out, run.b, run.size) {
		n := frames(run.b, run.size)
		r.p.count.add(relayForwarded, n)
		run.in.forwarded.addAll(n, len(run.b))
	}
}
