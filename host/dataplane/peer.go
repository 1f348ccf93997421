package dataplane

import (
	"crypto/cipher"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

const (
	peerSends      = 256 // recent sends remembered per peer, a power of two
	handshakeSends = 64  // and of handshake frames altogether

	// A session is renewed at 2^32 packets at the latest; one that was not, stops.
	maxSeals = 1<<32 + 1<<24
)

// peerSession is one set of end-to-end keys.
type peerSession struct {
	conn    mesh.ConnID
	node    mesh.NodeID
	addr    [16]byte
	rxIndex uint32
	seal    cipher.AEAD
	open    cipher.AEAD
	peer    *peerState

	tx      index
	counter atomic.Uint64 // next to seal with
	out, in pathCounts

	mu     sync.Mutex // guards window
	window *wire.Window
}

// pathCounts counts frames by the number that their sender gives the path, modulo 2^32.
type pathCounts [wire.PathNumbers]atomic.Uint32

// peerState is what stays while sessions with a peer come and go.
type peerState struct {
	node     mesh.NodeID
	addr     netip.Addr
	lastTx   atomic.Int64
	lastRx   atomic.Int64
	busy     limiter // tells that packets are sent
	busyPair limiter // that protected ones are
	tx, rx   traffic
	sent     ring
	spread   spread
	probes   allowance // probes and answers of the peer's that were looked at
}

func newPeerSession(conn mesh.ConnID, n mesh.NodeID, addr netip.Addr, rx uint32, k wire.DataKeys) (*peerSession, error) {
	if !addr.Is6() {
		return nil, fmt.Errorf("%v is not an IPv6 address", addr)
	}
	seal, err := wire.NewAEAD(wire.SuiteAES256GCM, k.Send[:])
	if err != nil {
		return nil, err
	}
	open, err := wire.NewAEAD(wire.SuiteAES256GCM, k.Recv[:])
	if err != nil {
		return nil, err
	}
	return &peerSession{
		conn: conn, node: n, addr: addr.As16(), rxIndex: rx, seal: seal, open: open, window: wire.NewWindow(windowSize),
	}, nil
}

// fresh reports whether counter c could still be accepted: cheap, and before any decryption.
func (s *peerSession) fresh(c uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window.Check(c)
}

// accept takes counter c after its ciphertext proved authentic.
func (s *peerSession) accept(c uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window.Accept(c)
}

// ring remembers the last sends: the first 16 payload bytes of each, and the path it was sent on.
type ring struct {
	mu   sync.Mutex
	next int
	at   []sent
}

type sent struct {
	quote [wire.QuoteLen]byte
	path  *mesh.Path // nil: unused, or already reported
}

func newRing(n int) ring { return ring{at: make([]sent, n)} }

func (r *ring) add(payload []byte, path *mesh.Path) {
	if len(payload) < wire.QuoteLen {
		return
	}
	r.mu.Lock()
	e := &r.at[r.next&(len(r.at)-1)]
	e.quote = [wire.QuoteLen]byte(payload)
	e.path = path
	r.next++
	r.mu.Unlock()
}

// addRun remembers each frame of a run; its payload begins front bytes behind its beginning.
func (r *ring) addRun(run []byte, size, front int, path *mesh.Path) {
	r.mu.Lock()
	for at := 0; at+front+wire.QuoteLen <= len(run); at += size {
		e := &r.at[r.next&(len(r.at)-1)]
		e.quote, e.path = [wire.QuoteLen]byte(run[at+front:]), path
		r.next++
	}
	r.mu.Unlock()
}

// match returns the path on which what e quotes was sent, if it left by the link in that the error came back by
// and the place that e names lies on it. A send is matched once: one packet on one path can cause one error.
func (r *ring) match(e *wire.ErrorFrame, in mesh.Label) (*mesh.Path, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.at {
		s := &r.at[i]
		if s.path == nil || s.quote != e.Quote || !liesOn(e, in, s.path.Labels) {
			continue
		}
		path := s.path
		s.path = nil
		return path, true
	}
	return nil, false
}

// liesOn reports whether the place that e names can be one of the path with these labels, seen from its source. The
// reporter at hop h had labels[h+1] to look up; at the destination none is left.
func liesOn(e *wire.ErrorFrame, in mesh.Label, labels []mesh.Label) bool {
	reporter := int(e.Hop) + 1
	if labels[0] != in || reporter > len(labels) {
		return false
	}
	if reporter == len(labels) || e.Code == wire.ErrorNoSession {
		return reporter == len(labels) && e.Code == wire.ErrorNoSession
	}
	return labels[reporter] == e.Label
}

// PeerUsage is what was exchanged with one peer since it was first named. Packets are inner packets, each counted
// once however many copies were sent; probes and keepalives do not count.
type PeerUsage struct {
	Addr               netip.Addr
	LastTx, LastRx     time.Time
	TxPackets, TxBytes uint64
	RxPackets, RxBytes uint64
	Sealed             uint64 // packets sealed with the key in use: renew well before 2^32
}

// Last returns when a packet last went either way, zero for never.
func (u PeerUsage) Last() time.Time {
	if u.LastTx.After(u.LastRx) {
		return u.LastTx
	}
	return u.LastRx
}

// PeerUsage returns the usage of every peer that has a session or is published.
func (p *Plane) PeerUsage() map[mesh.NodeID]PeerUsage {
	v := p.view.Load()
	all := make(map[mesh.NodeID]PeerUsage, len(v.peerStates))
	for n, s := range v.peerStates {
		u := PeerUsage{
			Addr: s.addr, LastTx: p.time(s.lastTx.Load()), LastRx: p.time(s.lastRx.Load()),
			TxPackets: s.tx.frames.Load(), TxBytes: s.tx.bytes.Load(),
			RxPackets: s.rx.frames.Load(), RxBytes: s.rx.bytes.Load(),
		}
		if o := v.byNode[n]; o != nil && o.session != nil {
			u.Sealed = o.session.counter.Load()
		}
		all[n] = u
	}
	return all
}
