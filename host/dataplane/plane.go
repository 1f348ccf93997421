package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Errors of the Send and Add methods.
var (
	ErrNoLink    = errors.New("no link with that label, or no session on it yet")
	ErrNoSession = errors.New("no session with that node yet")
	ErrPath      = errors.New("not a path")
	ErrTooBig    = errors.New("does not fit a frame")
)

// Config says what a Plane is connected to.
type Config struct {
	Self   netip.Addr   // this node's mesh address: the only source of its packets
	Prefix netip.Prefix // of the mesh: packets to anywhere else are dropped

	// Protect names the protected class: packets of it go by two paths. nil: none.
	Protect []mesh.ProtectRule

	Tun TUN

	// Send hands a datagram to the underlay. b is the plane's and valid only during the call. Send must not block. An
	// error that wraps EMSGSIZE says that b is larger than the way there carries.
	Send func(to netip.AddrPort, b []byte) error

	// SendRun hands over several datagrams of size bytes that lie one behind the other in run; only the last may be shorter.
	// There are at most 64, of 65,000 bytes together. The rest is as with Send. nil = they are sent one by one.
	SendRun func(to netip.AddrPort, run []byte, size int) error

	// Duplicates is the part of each link's capacity that may go to frames which take another link too, 0 to 1; 0 is a
	// tenth, less than 0 none.
	Duplicates float64

	Now func() time.Time // nil = time.Now; should be monotonic

	Callbacks Callbacks
}

// TUN is the network device of this node. What it carries are packets behind the virtio header that package segment knows, of
// up to 64 KiB. Writes may come from several goroutines at once.
type TUN interface {
	// Read waits for a packet and copies it, behind its header, to b.
	Read(b []byte) (int, error)

	// TryRead is like Read, but does not wait: ok is false if there is no packet, or Read has an error to tell.
	TryRead(b []byte) (n int, ok bool)

	// WritePacket takes one packet, in at most 65 buffers, the first of which is its header.
	WritePacket(bufs [][]byte) error

	// LargeUDP reports whether WritePacket takes large UDP packets; large TCP packets it does take.
	LargeUDP() bool
}

// Callbacks are called on the goroutine that handled the packet, with no lock held. They must not block. What they
// are given is theirs to keep. Any may be nil.
type Callbacks struct {
	// Hello is called for every hello of a neighbour.
	Hello func(label mesh.Label, h wire.Hello, at time.Time)

	// Challenge is called for challenges, at most once per 100 ms and link, and for all replies: from is where it came
	// from, not what is published.
	Challenge func(label mesh.Label, from netip.AddrPort, reply bool, c wire.Challenge)

	// Moved is called when the newest frame of a link came from another address than the published one, at most
	// once per 100 ms and link. It is no proof: an address is believed after an echoed challenge only.
	Moved func(label mesh.Label, conn mesh.ConnID, from netip.AddrPort)

	// TooBig is called when the underlay refused a frame of size bytes on a link because of its size: each time for a
	// hello, at most once per 100 ms and link for other frames.
	TooBig func(label mesh.Label, size int)

	// Error is called for an error that quotes something this node sent, never for another. match is not nil.
	Error func(e wire.ErrorFrame, in mesh.Label, at time.Time, match *SentMatch)

	// Need is called when packets wait for a session to addr, at most once per 100 ms and address.
	Need func(addr netip.Addr)

	// Sending is called when a packet was sent to a node, at most once per 50 ms and node, and less often where there are
	// more than 20: with 100 or more, once per 250 ms. Packets of the protected class are told of for themselves.
	Sending func(node mesh.NodeID, protected bool)

	// ProbeReply is called when node answered a probe; conn is the session that it sealed the answer with.
	ProbeReply func(node mesh.NodeID, conn mesh.ConnID, p wire.Probe, at time.Time)

	// Handshake is called for handshake frames for this node. The answer goes by SendHandshake(in, back, …).
	Handshake func(h wire.Handshake, in mesh.Label, back []mesh.Label)

	// Sessions is called with the indices of all link sessions whenever they change, before AddLink or RemoveLink returns:
	// frames with others are of no use. It must not call the plane.
	Sessions func(rx []uint32)

	// UnknownSession is called when a frame names no link session of ours (most likely from before a restart),
	// at most once per 100 ms. Anybody can cause it.
	UnknownSession func(from netip.AddrPort, index uint32)
}

// SentMatch is what an error was about: something this node sent on Path.
type SentMatch struct {
	Node      mesh.NodeID // the destination; zero if no published path has these labels any more
	Conn      mesh.ConnID // the session that it was sealed for; 0 for a handshake
	Path      mesh.Path   // as it was sent; without Nodes if Node is zero
	Reporter  int         // the reporting node's place on the path: 1 is the node behind the first link
	Handshake bool        // a handshake frame, not data
}

// Plane is one node's data plane. Make it with New.
type Plane struct {
	self      [16]byte
	prefix    netip.Prefix
	tun       TUN
	send      func(netip.AddrPort, []byte) error
	sendRunTo func(netip.AddrPort, []byte, int) error
	clock     func() time.Time
	base      time.Time // the plane's own clock counts from here
	cb        Callbacks
	count     counters
	view      atomic.Pointer[view]
	queue     queue
	sealers   sync.Pool
	receivers sync.Pool
	shakes    ring // handshake frames sent
	unknown   limiter

	refusals icmpBucket

	mu  sync.Mutex // guards reg and the order of view changes; never taken by packets
	reg registry
}

// New returns a plane that knows no links and no peers yet. Self, Prefix, Tun and Send must be set.
func New(cfg Config) *Plane {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.SendRun == nil {
		cfg.SendRun = oneByOne(cfg.Send)
	}
	p := &Plane{
		self: cfg.Self.As16(), prefix: cfg.Prefix.Masked(), tun: cfg.Tun, send: cfg.Send, sendRunTo: cfg.SendRun,
		clock: cfg.Now, base: cfg.Now().Add(-1), cb: cfg.Callbacks.withDefaults(),
		reg: newRegistry(), shakes: newRing(handshakeSends),
	}
	p.queue.to = make(map[[16]byte]*waiting)
	p.receivers.New = func() any { return p.NewReceiver() }
	p.sealers.New = func() any { return new(sealer) }
	p.reg.rule(cfg.Protect, cfg.Duplicates)
	p.view.Store(p.reg.compile(&p.count, p.now()))
	return p
}

func (c Callbacks) withDefaults() Callbacks {
	if c.Hello == nil {
		c.Hello = func(mesh.Label, wire.Hello, time.Time) {}
	}
	if c.Challenge == nil {
		c.Challenge = func(mesh.Label, netip.AddrPort, bool, wire.Challenge) {}
	}
	if c.Moved == nil {
		c.Moved = func(mesh.Label, mesh.ConnID, netip.AddrPort) {}
	}
	if c.TooBig == nil {
		c.TooBig = func(mesh.Label, int) {}
	}
	if c.Error == nil {
		c.Error = func(wire.ErrorFrame, mesh.Label, time.Time, *SentMatch) {}
	}
	if c.Need == nil {
		c.Need = func(netip.Addr) {}
	}
	if c.Sending == nil {
		c.Sending = func(mesh.NodeID, bool) {}
	}
	if c.ProbeReply == nil {
		c.ProbeReply = func(mesh.NodeID, mesh.ConnID, wire.Probe, time.Time) {}
	}
	if c.Handshake == nil {
		c.Handshake = func(wire.Handshake, mesh.Label, []mesh.Label) {}
	}
	if c.Sessions == nil {
		c.Sessions = func([]uint32) {}
	}
	if c.UnknownSession == nil {
		c.UnknownSession = func(netip.AddrPort, uint32) {}
	}
	return c
}

// now is the time since base, never 0: stored times use 0 for never.
func (p *Plane) now() time.Duration { return p.since(p.clock()) }

// since is now as of a time.
func (p *Plane) since(t time.Time) time.Duration { return max(1, t.Sub(p.base)) }

// time turns a stored time back into a time.Time, zero for never.
func (p *Plane) time(d int64) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return p.base.Add(time.Duration(d))
}

// change applies f to the registry and publishes the view that follows from it.
func (p *Plane) change(f func(*registry)) {
	p.mu.Lock()
	f(&p.reg)
	p.view.Store(p.reg.compile(&p.count, p.now()))
	p.mu.Unlock()
	p.drainAll()
}

// SetRules changes Config.Protect and Config.Duplicates, for all packets from now on.
func (p *Plane) SetRules(protect []mesh.ProtectRule, duplicates float64) {
	p.change(func(r *registry) { r.rule(protect, duplicates) })
}

// Publish makes f the table that packets are forwarded by, at once and as a whole, and sends what waited for it.
// f must not be changed afterwards.
func (p *Plane) Publish(f *mesh.Forwarding) {
	if f == nil {
		f = &mesh.Forwarding{}
	}
	p.change(func(r *registry) { r.forwarding = f })
}

// AddLink adds a link session: frames with rxIndex are from now on received as from the neighbour at label.
// Frames are sent with it when SetLinkTx was called and the published ForwardLink.Session is conn. mtu is used where
// the published MTU is 0.
func (p *Plane) AddLink(conn mesh.ConnID, label mesh.Label, rxIndex uint32, keys wire.LinkKeys, mtu int) {
	p.change(func(r *registry) {
		r.links[conn] = newLinkSession(conn, label, rxIndex, keys, mtu, r.linkState(label))
		p.cb.Sessions(r.rxIndices())
	})
}

// SetLinkTx gives the index that the neighbour wants to see in frames of this session.
func (p *Plane) SetLinkTx(conn mesh.ConnID, txIndex uint32) {
	p.change(func(r *registry) {
		if s := r.links[conn]; s != nil {
			s.tx.set(txIndex)
		}
	})
}

// RemoveLink ends a link session: its frames are unknown from now on.
func (p *Plane) RemoveLink(conn mesh.ConnID) {
	p.change(func(r *registry) {
		delete(r.links, conn)
		p.cb.Sessions(r.rxIndices())
	})
}

// AddPeer adds an end-to-end session with node, whose mesh address is addr: data with rxIndex is from now on opened
// with it. Packets are sealed with it when SetPeerTx was called and the published ForwardPeer.Session is conn.
func (p *Plane) AddPeer(conn mesh.ConnID, node mesh.NodeID, addr netip.Addr, rxIndex uint32, keys wire.DataKeys) error {
	s, err := newPeerSession(conn, node, addr, rxIndex, keys)
	if err != nil {
		return fmt.Errorf("dataplane: session %d with %v: %w", conn, node, err)
	}
	p.change(func(r *registry) {
		s.peer = r.peerState(node, addr)
		r.peers[conn] = s
	})
	return nil
}

// SetPeerTx gives the index that the peer wants to see in data of this session, and sends what waited for it.
func (p *Plane) SetPeerTx(conn mesh.ConnID, txIndex uint32) {
	p.change(func(r *registry) {
		if s := r.peers[conn]; s != nil {
			s.tx.set(txIndex)
		}
	})
}

// RemovePeer ends an end-to-end session in both directions.
func (p *Plane) RemovePeer(conn mesh.ConnID) {
	p.change(func(r *registry) { delete(r.peers, conn) })
}
