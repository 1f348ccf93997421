package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"x0tta6bl4/mesh"
)

// Where and how applications probe.
const (
	probePort     = 7421
	probeInterval = time.Millisecond
	probeLen      = 64
	longProbeLen  = 1200 // of IPv6 packets that a link of builtin:mtu does not carry in one frame
	probeHeader   = 8 + 4 + 4
	probeOnWire   = probeLen + 174         // bytes at most: UDP and IPv6 inside and out, the mesh's headers and 8 labels, Ethernet
	probeDrain    = 500 * time.Millisecond // for what is under way when sending ends
)

// Prober sends probes between applications on the nodes and notes which arrive, when. All nodes are in one process,
// so one clock serves for sending and receiving.
//
//	0 run u64 (foreign packets do not carry it)   8 flow u32   12 sequence u32   16.. zeroes up to 64 or 1200 bytes
type Prober struct {
	began time.Time
	run   uint64
	port  uint16
	socks map[mesh.NodeID]*net.UDPConn
	addrs map[mesh.NodeID]netip.Addr
	wg    sync.WaitGroup
	long  atomic.Bool // Stream sends long probes

	mu    sync.Mutex
	flows []*Flow
	late  time.Duration // the longest time that a turn of Stream came too late
}

// Flow is one direction of a probed pair. Times are since the prober began; index = sequence number.
type Flow struct {
	from, to mesh.NodeID
	id       uint32
	dst      netip.AddrPort

	mu    sync.Mutex
	sent  []time.Duration
	got   []time.Duration // 0 = not (yet)
	first chan struct{}   // closed when the first one arrives
}

// newProber opens one socket in each of spaces. addrs are the mesh addresses of the nodes.
func newProber(spaces map[mesh.NodeID]*space, addrs map[mesh.NodeID]netip.Addr) (*Prober, error) {
	return openProber(spaces, addrs, probePort, func(mesh.NodeID) net.IP { return net.IPv6unspecified })
}

// openProber does the same with sockets of one port, bound to what at says.
func openProber(spaces map[mesh.NodeID]*space, addrs map[mesh.NodeID]netip.Addr, port uint16, at func(mesh.NodeID) net.IP) (*Prober, error) {
	p := &Prober{began: time.Now(), run: rand.Uint64(), port: port, socks: map[mesh.NodeID]*net.UDPConn{}, addrs: addrs} // #nosec G404
	for id, s := range spaces {
		c, err := s.listenUDP(&net.UDPAddr{IP: at(id), Port: int(port)})
		if err != nil {
			p.Close()
			return nil, fmt.Errorf("probe socket on %s: %w", id, err)
		}
		p.socks[id] = c
		p.wg.Go(func() { p.receive(id, c) })
	}
	return p, nil
}

// Close closes the sockets.
func (p *Prober) Close() {
	for _, c := range p.socks {
		c.Close()
	}
	p.wg.Wait()
}

// Now is the time since the prober began.
func (p *Prober) Now() time.Duration { return time.Since(p.began) }

// Flow makes a new flow.
func (p *Prober) Flow(from, to mesh.NodeID) *Flow {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := &Flow{from: from, to: to, id: uint32(len(p.flows)), first: make(chan struct{}), // #nosec G115 -- few
		dst: netip.AddrPortFrom(p.addrs[to], p.port)}
	p.flows = append(p.flows, f)
	return f
}

// Forget drops flows that nobody will look at again: a prober that runs for hours would keep every probe.
func (p *Prober) Forget(flows ...*Flow) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range flows {
		p.flows[f.id] = nil
	}
}

// all are the flows that were not dropped.
func (p *Prober) all() []*Flow {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.flows), func(f *Flow) bool { return f == nil })
}

func (p *Prober) receive(at mesh.NodeID, c *net.UDPConn) {
	buf := make([]byte, 2*longProbeLen)
	for {
		n, src, err := c.ReadFromUDPAddrPort(buf)
		now := p.Now()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != probeLen && n != longProbeLen || binary.BigEndian.Uint64(buf) != p.run {
			continue // errors of single packets, such as an ICMP answer to an earlier one
		}
		if f := p.find(binary.BigEndian.Uint32(buf[8:])); f != nil && f.to == at && p.addrs[f.from] == src.Addr().Unmap() {
			f.arrived(int(binary.BigEndian.Uint32(buf[12:])), now)
		}
	}
}

func (p *Prober) find(id uint32) *Flow {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int64(id) >= int64(len(p.flows)) {
		return nil
	}
	return p.flows[id]
}

// send sends the next probe of f. A send that the kernel refuses, for example because the daemon and its TUN are
// gone, counts as sent and lost.
func (p *Prober) send(f *Flow) {
	n := probeLen
	if p.long.Load() {
		n = longProbeLen
	}
	b := make([]byte, n)
	f.mu.Lock()
	seq := len(f.sent)
	f.sent, f.got = append(f.sent, p.Now()), append(f.got, 0)
	f.mu.Unlock()
	binary.BigEndian.PutUint64(b, p.run)
	binary.BigEndian.PutUint32(b[8:], f.id)
	binary.BigEndian.PutUint32(b[12:], uint32(seq)) // #nosec G115 -- 49 days at 1 kHz
	_, _ = p.socks[f.from].WriteToUDPAddrPort(b, f.dst)
}

func (f *Flow) arrived(seq int, now time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq >= len(f.got) || f.got[seq] != 0 {
		return // a duplicate
	}
	f.got[seq] = now
	select {
	case <-f.first:
	default:
		close(f.first)
	}
}

// Knock sends probes from one node to another, one and then one more for every period that passes in vain, until one
// arrives or ctx ends. It returns the time from the first sent to the first received.
func (p *Prober) Knock(ctx context.Context, from, to mesh.NodeID, period time.Duration) (time.Duration, error) {
	f := p.Flow(from, to)
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		p.send(f)
		select {
		case <-f.first:
			return f.latency(), nil
		case <-tick.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("no probe from %s reached %s: %w", from, to, ctx.Err())
		}
	}
}

// latency is the time from the first probe sent to the first received.
func (f *Flow) latency() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var first time.Duration
	for _, g := range f.got {
		if g != 0 && (first == 0 || g < first) {
			first = g
		}
	}
	return first - f.sent[0]
}

// Stream sends probes on all flows every interval until ctx ends, and then waits for those under way. A late turn is
// made up for, so that the rate holds.
func (p *Prober) Stream(ctx context.Context, flows []*Flow) {
	next := time.Now()
	for ctx.Err() == nil {
		late := time.Since(next)
		p.mu.Lock()
		p.late = max(p.late, late)
		p.mu.Unlock()
		for range int(late/probeInterval) + 1 {
			for _, f := range flows {
				p.send(f)
			}
			next = next.Add(probeInterval)
		}
		time.Sleep(time.Until(next))
	}
	time.Sleep(probeDrain)
}

// stalled tells, and forgets, the longest time that Stream had to wait for a processor beyond its turn.
func (p *Prober) stalled() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	late := p.late
	p.late = 0
	return late
}

// Window is what happened to a flow between two moments.
type Window struct {
	Sent, Lost int
	Outage     time.Duration // the longest gap between two arrivals, less the interval
	Tail       float64       // share that arrived of what was sent at the end, the least of two (see tails)
}

// tailLength is how long service must be back at the end of a fault to count as returned.
const tailLength = 500 * time.Millisecond

// tails judge the end of a window: what is sent in the last half second must arrive, and what is sent in the half
// second before must arrive before the end. What a frozen daemon hands on when it wakes up after the fault is no service.
type tails struct {
	end, late, early         time.Duration // the window's end, where its last part begins, and the one before
	sent, got, sent2, inTime int
}

func tailsOf(begin, end time.Duration) tails {
	length := min(tailLength, (end-begin)/3)
	return tails{end: end, late: end - length, early: end - 2*length}
}

func (t *tails) count(sent, got time.Duration) {
	switch {
	case sent >= t.late:
		t.sent++
		if got != 0 {
			t.got++
		}
	case sent >= t.early:
		t.sent2++
		if got != 0 && got <= t.end {
			t.inTime++
		}
	}
}

func (t *tails) share() float64 {
	if t.sent == 0 || t.sent2 == 0 {
		return 0
	}
	return min(float64(t.got)/float64(t.sent), float64(t.inTime)/float64(t.sent2))
}

// Look judges the probes that were sent from begin until end. Gaps are between arrivals in the order in which they came,
// whatever was sent when: a daemon that stood still hands on at last what waited for it, and until then there is
// nothing. A probe that was under way when the window began ends a gap too; what comes after the window's end, such as what
// the kernel held back for a link that was down until then, comes at its end.
func (f *Flow) Look(begin, end time.Duration) Window {
	f.mu.Lock()
	defer f.mu.Unlock()
	var w Window
	var arrivals []time.Duration
	lastSent := begin
	tail := tailsOf(begin, end)
	for seq, sent := range f.sent {
		if sent >= end {
			break
		}
		got := f.got[seq]
		if got > begin {
			arrivals = append(arrivals, min(got, end))
		}
		if sent < begin {
			continue
		}
		w.Sent++
		lastSent = sent
		tail.count(sent, got)
		if got == 0 {
			w.Lost++
		}
	}
	slices.Sort(arrivals)
	last := begin
	for _, got := range arrivals {
		w.Outage = max(w.Outage, got-last)
		last = got
	}
	w.Outage = max(0, max(w.Outage, lastSent-last)-probeInterval)
	w.Tail = tail.share()
	return w
}

// returned reports whether in some half second after from nearly all that was sent arrived: not in the last one alone, in
// which the machine may have had other things to do.
func (f *Flow) returned(from, end time.Duration) bool {
	for ; from+tailLength <= end; from += tailLength {
		if w := f.Look(from, from+tailLength); w.Sent > 0 && float64(w.Sent-w.Lost) >= backThreshold*float64(w.Sent) {
			return true
		}
	}
	return false
}
