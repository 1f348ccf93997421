package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// trafficPort is where applications exchange numbered packets.
const trafficPort = 7500

// endpoint is an application on a machine: it sends numbered packets to others and notes which arrive from whom.
//
//	0 magic [8]byte   8 number u64   16.. filling
type endpoint struct {
	m    *machine
	conn *net.UDPConn
	wg   sync.WaitGroup

	mu   sync.Mutex
	sent map[netip.Addr]uint64         // by destination: numbers given out
	got  map[netip.Addr]map[uint64]int // by source: how often each number came
	last map[netip.Addr]time.Time      // by source: the latest arrival
	wake map[netip.Addr]chan struct{}  // by source: closed at the next arrival
}

var trafficMagic = []byte("x0t-e2e:")

// listen makes an endpoint. It outlives the daemon of its machine.
func listen(t *testing.T, m *machine) *endpoint {
	t.Helper()
	e := &endpoint{
		m: m, conn: m.listenUDP(t, netip.AddrPortFrom(netip.IPv6Unspecified(), trafficPort)),
		sent: map[netip.Addr]uint64{}, got: map[netip.Addr]map[uint64]int{}, last: map[netip.Addr]time.Time{},
		wake: map[netip.Addr]chan struct{}{},
	}
	_ = e.conn.SetReadBuffer(4 << 20)
	e.wg.Go(e.receive)
	return e
}

func (e *endpoint) close() {
	e.conn.Close()
	e.wg.Wait()
}

func (e *endpoint) receive() {
	b := make([]byte, 2048)
	for {
		k, from, err := e.conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		if k < 16 || !bytes.Equal(b[:8], trafficMagic) {
			continue
		}
		src := from.Addr().Unmap()
		e.mu.Lock()
		if e.got[src] == nil {
			e.got[src] = map[uint64]int{}
		}
		e.got[src][binary.BigEndian.Uint64(b[8:])]++
		e.last[src] = time.Now()
		if w := e.wake[src]; w != nil {
			close(w)
			delete(e.wake, src)
		}
		e.mu.Unlock()
	}
}

// send sends one packet with so many bytes of payload (16 at least) and a text somewhere in it.
func (e *endpoint) send(to *endpoint, size int, text string) {
	e.mu.Lock()
	number := e.sent[to.m.addr]
	e.sent[to.m.addr]++
	e.mu.Unlock()
	b := make([]byte, max(size, 16+len(text)))
	copy(b, trafficMagic)
	binary.BigEndian.PutUint64(b[8:], number)
	copy(b[16:], text)
	_, _ = e.conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(to.m.addr, trafficPort)) // what was not sent counts as lost
}

// arrival returns a channel that is closed when the next packet from another comes.
func (e *endpoint) arrival(from *endpoint) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.wake[from.m.addr]
	if w == nil {
		w = make(chan struct{})
		e.wake[from.m.addr] = w
	}
	return w
}

// knock sends packets until one arrives.
func (e *endpoint) knock(t *testing.T, to *endpoint, limit time.Duration) {
	t.Helper()
	arrived := to.arrival(e)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(limit)
	defer end.Stop()
	for {
		e.send(to, 0, "")
		select {
		case <-arrived:
			return
		case <-end.C:
			t.Errorf("no packet from %s reached %s within %s", e.m.id, to.m.id, limit)
			return
		case <-tick.C:
		}
	}
}

// tally is the fate of the packets from one endpoint to another.
type tally struct {
	sent, arrived, twice int
	last                 time.Time // arrival
}

func (a tally) lost() int { return a.sent - a.arrived }
func (a tally) String() string {
	return fmt.Sprintf("%d sent, %d lost, %d came twice", a.sent, a.lost(), a.twice)
}

// tally says what became of all packets from e to another so far.
func (e *endpoint) tally(to *endpoint) tally { return e.upTo(to, e.given(to)) }

// given is how many packets e has sent to another.
func (e *endpoint) given(to *endpoint) uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sent[to.m.addr]
}

// upTo is the tally of the packets before a number.
func (e *endpoint) upTo(to *endpoint, number uint64) tally {
	to.mu.Lock()
	defer to.mu.Unlock()
	a := tally{sent: int(number), last: to.last[e.m.addr]}
	for n, times := range to.got[e.m.addr] {
		if n < number {
			a.arrived++
			if times > 1 {
				a.twice++
			}
		}
	}
	return a
}

// stream sends a packet on each of flows every period until done is closed.
func stream(done <-chan struct{}, period time.Duration, flows ...[2]*endpoint) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		for _, f := range flows {
			f[0].send(f[1], 64, "")
		}
		select {
		case <-tick.C:
		case <-done:
			return
		}
	}
}

// settled waits until no packet of a flow is under way: until as many arrived as were sent, or limit has passed.
func settled(limit time.Duration, flows ...[2]*endpoint) {
	end := time.Now().Add(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, f := range flows {
		for f[0].tally(f[1]).lost() > 0 && time.Now().Before(end) {
			<-tick.C
		}
	}
}
