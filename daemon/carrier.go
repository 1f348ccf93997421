package daemon

import (
	crand "crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// carrier is the packet connection under the end-to-end handshakes: QUIC datagrams cross the mesh as handshake
// frames. A conversation is named by 64 random bits, so that nobody on the way sees who talks to whom; QUIC gets
// to see it as an address that stays the same whatever path the frames take.
//
// The end that began sends by its own paths to the peer. The end that answers sends by the reversed prefix of
// what it received, at most three times as many bytes (RFC 9000 §8.1), until the handshake has told who the peer
// is; then by its own paths too.
type carrier struct {
	table   func() *mesh.Forwarding
	send    func(first mesh.Label, labels []mesh.Label, h wire.Handshake) error
	packets chan carried

	mu        sync.Mutex
	talks     map[talkKey]*talk
	strangers map[mesh.Label]int // conversations whose peer is not known, by the link they began on
	swept     time.Time
	closed    chan struct{}
	once      sync.Once
	read      deadline
}

type talkKey struct {
	id   uint64
	mine bool // this end began it
}

type talk struct {
	peer      mesh.NodeID // zero until the handshake has told
	first     mesh.Label  // the reversed prefix
	back      []mesh.Label
	allowance int
	seen      time.Time
	origin    mesh.Label    // the link it is counted under as a stranger's; zero if it is not
	came      [2]mesh.Label // the link it began on, and before that the neighbour's own, zero if it began there
}

type carried struct {
	from talkKey
	data []byte
}

// Bounds of the answering side: strangers cannot make the table grow, and one neighbour cannot fill all of it.
const (
	maxTalks     = 4096
	maxStrangers = 512 // conversations of nobody known yet that came by one link
	talkIdle     = 15 * time.Second
	carrierQueue = 512
)

func newCarrier(table func() *mesh.Forwarding, send func(mesh.Label, []mesh.Label, wire.Handshake) error) *carrier {
	return &carrier{
		table: table, send: send, packets: make(chan carried, carrierQueue),
		talks: map[talkKey]*talk{}, strangers: map[mesh.Label]int{}, closed: make(chan struct{}), read: newDeadline(),
	}
}

// begin returns the address of a new conversation with a peer.
func (c *carrier) begin(peer mesh.NodeID) (net.Addr, error) {
	var b [8]byte
	if _, err := crand.Read(b[:]); err != nil {
		return nil, err
	}
	k := talkKey{binary.BigEndian.Uint64(b[:]), true}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.talks[k] = &talk{peer: peer, seen: time.Now()}
	return k.addr(), nil
}

// established tells who is at the other end of a conversation.
func (c *carrier) established(a net.Addr, peer mesh.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := keyOf(a); ok && c.talks[k] != nil {
		c.talks[k].peer = peer
		c.acquaint(c.talks[k])
	}
}

// acquaint takes a conversation out of the count of strangers'.
func (c *carrier) acquaint(t *talk) {
	if t.origin == 0 {
		return
	}
	if c.strangers[t.origin]--; c.strangers[t.origin] == 0 {
		delete(c.strangers, t.origin)
	}
	t.origin = 0
}

// end forgets a conversation a while after its connection has ended.
func (c *carrier) end(a net.Addr) {
	k, ok := keyOf(a)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.talks[k]; t != nil {
		c.acquaint(t)
		delete(c.talks, k)
	}
}

// deliver takes a handshake frame that ended here: it came in by link `in`, and back leads to its sender from
// there. The datagram is copied.
func (c *carrier) deliver(h wire.Handshake, in mesh.Label, back []mesh.Label) {
	k := talkKey{h.Conversation, !h.FromInitiator}
	c.mu.Lock()
	t := c.talks[k]
	if t == nil {
		if k.mine || !c.makeRoom(in) {
			c.mu.Unlock()
			return
		}
		t = &talk{origin: in, came: [2]mesh.Label{in, firstOf(back)}}
		c.talks[k] = t
		c.strangers[in]++
	}
	t.seen = time.Now()
	if !k.mine {
		t.first, t.back = in, append(t.back[:0], back...)
		t.allowance += 3 * len(h.Datagram)
	}
	c.mu.Unlock()
	select {
	case c.packets <- carried{k, slices.Clone(h.Datagram)}:
	default: // QUIC repeats what is lost
	}
}

// makeRoom reports whether one more stranger may begin a conversation by the link in, after dropping those that
// went silent if there are too many.
func (c *carrier) makeRoom(in mesh.Label) bool {
	full := func() bool { return len(c.talks) >= maxTalks || c.strangers[in] >= maxStrangers }
	if now := time.Now(); full() && now.Sub(c.swept) > time.Second {
		c.swept = now
		for k, t := range c.talks {
			if t.peer.IsZero() && now.Sub(t.seen) > talkIdle {
				c.acquaint(t)
				delete(c.talks, k)
			}
		}
	}
	return !full()
}

// ReadFrom implements net.PacketConn.
func (c *carrier) ReadFrom(b []byte) (int, net.Addr, error) {
	expired := c.read.wait()
	select { // what is over is over, however many datagrams wait
	case <-c.closed:
		return 0, nil, net.ErrClosed
	case <-expired:
		return 0, nil, os.ErrDeadlineExceeded
	default:
	}
	select {
	case <-c.closed:
		return 0, nil, net.ErrClosed
	case p := <-c.packets:
		return copy(b, p.data), p.from.addr(), nil
	case <-expired:
		return 0, nil, os.ErrDeadlineExceeded
	}
}

// WriteTo implements net.PacketConn. A datagram that finds no way now is lost, as on any network.
func (c *carrier) WriteTo(b []byte, a net.Addr) (int, error) {
	k, ok := keyOf(a)
	if !ok {
		return 0, net.InvalidAddrError("not a conversation of this node: " + a.String())
	}
	h := wire.Handshake{FromInitiator: k.mine, Conversation: k.id, Datagram: b}
	c.mu.Lock()
	t := c.talks[k]
	if t == nil {
		c.mu.Unlock()
		return len(b), nil
	}
	peer, first, back := t.peer, t.first, slices.Clone(t.back)
	if peer.IsZero() {
		// As in QUIC itself the last datagram may exceed the limit (RFC 9000 §8.1 looks at what was sent before it):
		// a stricter rule than the endpoint's own would lose what that believes sent.
		if t.allowance <= 0 {
			c.mu.Unlock()
			return len(b), nil
		}
		t.allowance -= len(b)
	}
	c.mu.Unlock()
	if !peer.IsZero() {
		if p, ok := c.table().Peer(peer); ok && len(p.Ways) > 0 {
			first, back = p.Ways[0].Labels[0], p.Ways[0].Labels[1:]
		}
	}
	if first != 0 {
		_ = c.send(first, back, h) // a link that is down just now: QUIC repeats
	}
	return len(b), nil
}

// Close implements net.PacketConn.
func (c *carrier) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// LocalAddr implements net.PacketConn.
func (c *carrier) LocalAddr() net.Addr { return talkKey{}.addr() }

// SetDeadline implements net.PacketConn; writes never wait.
func (c *carrier) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (c *carrier) SetReadDeadline(t time.Time) error {
	c.read.set(t)
	return nil
}

// SetWriteDeadline implements net.PacketConn; writes never wait.
func (c *carrier) SetWriteDeadline(time.Time) error { return nil }

// addr shows a conversation as an address of the IPv6 discard-only block (RFC 6666), which never leaves this
// process: quic-go compares and prints addresses, and knows only this kind.
func (k talkKey) addr() net.Addr {
	a := [16]byte{0: 0x01}
	binary.BigEndian.PutUint64(a[8:], k.id)
	port := uint16(2)
	if k.mine {
		port = 1
	}
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom16(a), port))
}

// networks says where a conversation that others began comes from, in the form that quicconn counts by: the way that it
// came, the last two links of it and the last one alone. What stands before that may be invented by the neighbour.
func (c *carrier) networks(a net.Addr) []netip.Prefix {
	k, ok := keyOf(a)
	if !ok || k.mine {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.talks[k]
	if t == nil {
		return nil
	}
	b := [16]byte{0: 0x01}
	binary.BigEndian.PutUint16(b[8:], uint16(t.came[0]))
	binary.BigEndian.PutUint16(b[10:], uint16(t.came[1]))
	ip := netip.AddrFrom16(b)
	return []netip.Prefix{netip.PrefixFrom(ip, 96), netip.PrefixFrom(ip, 80).Masked()}
}

func firstOf(labels []mesh.Label) mesh.Label {
	if len(labels) == 0 {
		return 0
	}
	return labels[0]
}

func keyOf(a net.Addr) (talkKey, bool) {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return talkKey{}, false
	}
	b := u.AddrPort().Addr().As16()
	return talkKey{binary.BigEndian.Uint64(b[8:]), u.Port == 1}, b[0] == 0x01
}

// deadline is a read deadline that can be moved while a read waits.
type deadline struct{ state *deadlineState }

type deadlineState struct {
	mu    sync.Mutex
	timer *time.Timer
	round int // of set: a timer that fired while it was being replaced must not end the new wait
	fired chan struct{}
}

func newDeadline() deadline { return deadline{&deadlineState{fired: make(chan struct{})}} }

func (d deadline) wait() <-chan struct{} {
	d.state.mu.Lock()
	defer d.state.mu.Unlock()
	return d.state.fired
}

func (d deadline) set(t time.Time) {
	s := d.state
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round++
	if s.timer != nil {
		s.timer.Stop()
	}
	select {
	case <-s.fired:
		s.fired = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	wait, round := time.Until(t), s.round
	if wait <= 0 {
		close(s.fired)
		return
	}
	s.timer = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.round == round {
			close(s.fired)
		}
	})
}
