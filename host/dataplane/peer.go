package dataplane

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

const (
	// A session is renewed at 2^32 packets at the latest; one that was not, stops.
	maxSeals = 1<<32 + 1<<24
)

// peerSession is one set of end-to-end keys.
type peerSession struct {
	conn    mesh.ConnID
	node    mesh.NodeID
	addr    [16]byte
	rxIndex uint32
	seal    *keyChain
	open    *keyChain
	peer    *peerState

	tx      index
	counter atomic.Uint64 // next to seal with
	out, in pathCounts
	marks   marks

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
	spread   spread
	recall   recall
	probes   allowance // probes and answers of the peer's that were looked at
}

func newPeerSession(conn mesh.ConnID, n mesh.NodeID, addr netip.Addr, rx uint32, k wire.DataKeys) (*peerSession, error) {
	if !addr.Is6() {
		return nil, fmt.Errorf("%v is not an IPv6 address", addr)
	}
	seal, err := newKeyChain(k.Send)
	if err != nil {
		return nil, err
	}
	open, err := newKeyChain(k.Recv)
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
	ok := s.window.Check(c)
	s.mu.Unlock()
	return ok
}

// accept takes counter c after its ciphertext proved authentic.
func (s *peerSession) accept(c uint64) bool {
	s.mu.Lock()
	ok := s.window.Accept(c)
	s.mu.Unlock()
	return ok
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
