package dataplane

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

const windowSize = 1 << 16 // counters, link and end to end

// index is a transmit index that may not be known yet.
type index struct{ v atomic.Uint64 }

func (i *index) set(x uint32)  { i.v.Store(1<<32 | uint64(x)) }
func (i *index) known() bool   { return i.v.Load() != 0 }
func (i *index) value() uint32 { return uint32(i.v.Load()) }

// limiter lets one event through per interval.
type limiter struct{ last atomic.Int64 }

// allow is for an interval of needInterval.
func (l *limiter) allow(now time.Duration) bool { return l.every(needInterval, now) }

func (l *limiter) every(interval, now time.Duration) bool {
	last := l.last.Load()
	return (last == 0 || now-time.Duration(last) >= interval) && l.last.CompareAndSwap(last, int64(now))
}

// linkSession is one set of link keys.
type linkSession struct {
	conn    mesh.ConnID
	label   mesh.Label
	rxIndex uint32
	mtu     int
	keys    wire.LinkKeys
	state   *linkState

	tx      index
	counter atomic.Uint64 // next to send
	part    atomic.Uint32 // next part id

	mu     sync.Mutex // guards what follows: several sockets may read frames of one link
	window *wire.Window
	seen   uint64 // newest accepted counter + 1
	joiner wire.Joiner
}

// linkState is what stays while sessions of a link come and go.
type linkState struct {
	quotes buckets // quotes of data in errors that were looked at, by session

	label     mesh.Label
	heard     atomic.Int64
	moved     limiter
	tooBig    limiter
	asked     [2]limiter // challenges of the neighbour's that were answered: it asks at the old and the new address at once
	errors    buckets
	copies    budget    // what goes out by it and by another link too
	told      allowance // hellos and replies to challenges that were handed up
	accused   allowance // errors that were
	shakes    allowance // handshake frames that were
	shakesVia buckets   // of them those that came to the neighbour by one of its links
	rx        traffic
	tx        traffic
	forwarded traffic
	expected  atomic.Uint64

	share atomic.Uint32 // the label under which what comes is counted: of links of one neighbour the same; 0 = the own
}

// hear notes that a frame came. Those that waited are noted later than others that came after them.
func (s *linkState) hear(at time.Duration) {
	for {
		last := s.heard.Load()
		if int64(at) <= last || s.heard.CompareAndSwap(last, int64(at)) {
			return
		}
	}
}

// traffic counts frames and their bytes.
type traffic struct{ frames, bytes atomic.Uint64 }

func (t *traffic) add(n int) {
	t.frames.Add(1)
	t.bytes.Add(uint64(n))
}

func (t *traffic) addAll(frames, bytes int) {
	t.frames.Add(uint64(frames)) // #nosec G115 -- a number of things
	t.bytes.Add(uint64(bytes))   // #nosec G115 -- a length
}

func newLinkSession(conn mesh.ConnID, l mesh.Label, rx uint32, keys wire.LinkKeys, mtu int, st *linkState) *linkSession {
	return &linkSession{
		conn: conn, label: l, rxIndex: rx, mtu: mtu, keys: keys, state: st, window: wire.NewWindow(windowSize),
	}
}

// accept verifies the frame b, whose counter has the low bits low, and takes its counter. It reports whether the
// frame is authentic and fresh, and whether it is the newest of the session.
func (s *linkSession) accept(count *counters, b []byte, low uint32) (newest, ok bool) {
	s.mu.Lock()
	c := wire.ExtendCounter(low, s.window.Newest())
	authentic := wire.Check(b, &s.keys.Recv, c)
	fresh := authentic && s.window.Accept(c)
	newest = fresh && c >= s.seen
	if newest {
		s.state.expected.Add(c + 1 - s.seen)
		s.seen = c + 1
	}
	s.mu.Unlock()
	switch {
	case !authentic:
		count.inc(linkBadMAC)
	case !fresh:
		count.inc(linkReplay)
	}
	return newest, fresh
}

// join takes the payload of a part and, when it completes a frame, copies that to buf.
func (s *linkSession) join(now time.Time, payload, buf []byte) (frame []byte, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok, err := s.joiner.Add(now, payload)
	return buf[:copy(buf, f)], ok, err
}

// emit seals the frame for the link and sends it, in two parts if the link is too thin. It reports whether it did;
// if not, why not is counted.
func (p *Plane) emit(o *outLink, frame []byte) bool {
	switch {
	case o.session == nil || !o.session.tx.known():
		p.count.inc(sendNoSession)
		return false
	case len(frame) > o.mtu:
		return p.emitParts(o, frame)
	}
	return p.emitWhole(o, frame)
}

func (p *Plane) emitParts(o *outLink, frame []byte) bool {
	s := p.sealers.Get().(*sealer)
	defer p.sealers.Put(s)
	half := len(s.buf) / 2
	a, b, err := wire.AppendParts(s.buf[:0:half], s.buf[half:half], frame, o.mtu, o.session.part.Add(1))
	if err != nil {
		p.count.inc(sendTooBig)
		return false
	}
	p.count.inc(partSent)
	return p.emitWhole(o, a) && p.emitWhole(o, b)
}

func (p *Plane) emitWhole(o *outLink, frame []byte) bool {
	s := o.session
	wire.Seal(frame, &s.keys.Send, s.tx.value(), s.counter.Add(1)-1)
	if err := p.send(o.remote, frame); err != nil {
		p.count.inc(sendFailed)
		if errors.Is(err, syscall.EMSGSIZE) && (frame[0]&0x0f == byte(wire.TypeHello) || o.state.tooBig.allow(p.now())) {
			p.cb.TooBig(o.label, len(frame))
		}
		return false
	}
	o.state.tx.add(len(frame))
	return true
}

// LastHeard returns when the last fresh authenticated frame came in by the link, zero for never.
func (p *Plane) LastHeard(label mesh.Label) time.Time {
	if s := p.view.Load().linkStates[label]; s != nil {
		return p.time(s.heard.Load())
	}
	return time.Time{}
}

// LinkUsage is what went over one link since it was first named.
type LinkUsage struct {
	RxFrames, RxBytes uint64 // fresh authenticated frames
	TxFrames, TxBytes uint64

	// Of what came in: what was sent on for others, that is the neighbour's use of this node as a relay.
	ForwardedFrames, ForwardedBytes uint64

	// Frames the neighbour has sent, as its counters tell. What is missing from RxFrames was lost on the link.
	ExpectedFrames uint64
}

// LinkCounters returns the usage of every link that has a session or is published.
func (p *Plane) LinkCounters() map[mesh.Label]LinkUsage {
	v := p.view.Load()
	all := make(map[mesh.Label]LinkUsage, len(v.linkStates))
	for l, s := range v.linkStates {
		all[l] = LinkUsage{
			RxFrames: s.rx.frames.Load(), RxBytes: s.rx.bytes.Load(),
			TxFrames: s.tx.frames.Load(), TxBytes: s.tx.bytes.Load(),
			ForwardedFrames: s.forwarded.frames.Load(), ForwardedBytes: s.forwarded.bytes.Load(),
			ExpectedFrames: s.expected.Load(),
		}
	}
	return all
}
