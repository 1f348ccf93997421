package dataplane

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/host/dataplane/segment"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

var (
	testDomain = spiffeid.RequireTrustDomainFromString("mesh.example.internal")
	testPrefix = mesh.Prefix(testDomain)
)

// testNet joins planes in one goroutine: what one sends, the other handles before Send returns.
type testNet struct {
	t     testing.TB
	nodes map[string]*testNode
	at    map[netip.AddrPort]*testNode
	conn  mesh.ConnID
	now   time.Time

	// tap sees every datagram, may change it, and says how often it arrives.
	tap func(from, to *testNode, b []byte) (copies int)
}

type testNode struct {
	net   *testNet
	plane *Plane
	id    mesh.NodeID
	addr  netip.Addr
	under netip.AddrPort
	tun   memTUN
	table mesh.Forwarding

	needs      []netip.Addr
	hellos     []wire.Hello
	errors     []wire.ErrorFrame
	matches    []*SentMatch
	replies    []wire.Probe
	sending    []sendingTold
	shakes     []shake
	challenges []wire.Challenge
	moved      []netip.AddrPort
	unknown    []uint32
	runs       []int // datagrams of each that was sent
}

type sendingTold struct {
	node      mesh.NodeID
	protected bool
}

type shake struct {
	h    wire.Handshake
	in   mesh.Label
	back []mesh.Label
}

// memTUN keeps what is written; reads come from a channel.
type memTUN struct {
	mu      sync.Mutex
	written [][]byte
	headers [][]byte // virtio's, of each
	fail    error
	in      chan []byte
}

func (d *memTUN) Read(b []byte) (int, error) {
	p, ok := <-d.in
	if !ok {
		return 0, io.ErrClosedPipe
	}
	clear(b[:segment.HeaderLen])
	return segment.HeaderLen + copy(b[segment.HeaderLen:], p), nil
}

func (d *memTUN) TryRead(b []byte) (int, bool) {
	select {
	case p, ok := <-d.in:
		if !ok {
			return 0, false
		}
		clear(b[:segment.HeaderLen])
		return segment.HeaderLen + copy(b[segment.HeaderLen:], p), true
	default:
		return 0, false
	}
}

func (d *memTUN) LargeUDP() bool { return true }

func (d *memTUN) WritePacket(bufs [][]byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	d.written, d.headers = append(d.written, slices.Concat(bufs[1:]...)), append(d.headers, bytes.Clone(bufs[0]))
	return nil
}

func (d *memTUN) take() [][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.written
	d.written, d.headers = nil, nil
	return w
}

func newNet(t testing.TB, names ...string) *testNet {
	n := &testNet{
		t: t, nodes: map[string]*testNode{}, at: map[netip.AddrPort]*testNode{},
		now: time.Unix(1_700_000_000, 0),
		tap: func(_, _ *testNode, _ []byte) int { return 1 },
	}
	for i, name := range names {
		n.add(name, i)
	}
	return n
}

func (n *testNet) add(name string, i int) {
	id := mesh.MustNodeID(name)
	d := &testNode{
		net: n, id: id, addr: mesh.Addr(testDomain, id),
		under: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 7420),
		tun:   memTUN{in: make(chan []byte, 16)},
	}
	d.plane = New(Config{
		Self: d.addr, Prefix: testPrefix, Tun: &d.tun, Now: func() time.Time { return n.now },
		Send:    func(to netip.AddrPort, b []byte) error { return n.carry(d, to, b) },
		SendRun: func(to netip.AddrPort, run []byte, size int) error { return n.carryRun(d, to, run, size) },
		Callbacks: Callbacks{
			Hello: func(_ mesh.Label, h wire.Hello, _ time.Time) { d.hellos = append(d.hellos, h) },
			Error: func(e wire.ErrorFrame, _ mesh.Label, _ time.Time, m *SentMatch) {
				d.errors, d.matches = append(d.errors, e), append(d.matches, m)
			},
			Need:       func(a netip.Addr) { d.needs = append(d.needs, a) },
			Sending:    func(n mesh.NodeID, protected bool) { d.sending = append(d.sending, sendingTold{n, protected}) },
			ProbeReply: func(_ mesh.NodeID, _ mesh.ConnID, p wire.Probe, _ time.Time) { d.replies = append(d.replies, p) },
			Handshake: func(h wire.Handshake, in mesh.Label, back []mesh.Label) {
				d.shakes = append(d.shakes, shake{h, in, back})
			},
			Challenge: func(_ mesh.Label, _ netip.AddrPort, _ bool, c wire.Challenge) {
				d.challenges = append(d.challenges, c)
			},
			Moved:          func(_ mesh.Label, _ mesh.ConnID, a netip.AddrPort) { d.moved = append(d.moved, a) },
			UnknownSession: func(_ netip.AddrPort, i uint32) { d.unknown = append(d.unknown, i) },
		},
	})
	n.nodes[name], n.at[d.under] = d, d
}

func (n *testNet) carry(from *testNode, to netip.AddrPort, b []byte) error {
	d := n.at[to]
	if d == nil {
		return fmt.Errorf("nobody at %v", to)
	}
	c := bytes.Clone(b)
	for range n.tap(from, d, c) {
		d.plane.handleFrame(from.under, bytes.Clone(c))
	}
	return nil
}

// carryRun has them arrive as the kernel hands them over: in one buffer.
func (n *testNet) carryRun(from *testNode, to netip.AddrPort, run []byte, size int) error {
	d := n.at[to]
	if d == nil {
		return fmt.Errorf("nobody at %v", to)
	}
	from.runs = append(from.runs, frames(run, size))
	r, c := d.plane.NewReceiver(), bytes.Clone(run)
	for at := 0; at < len(c); at += size {
		f := c[at:min(at+size, len(c))]
		for range n.tap(from, d, f) {
			r.HandleFrame(from.under, f)
		}
	}
	r.Flush()
	return nil
}

// link joins a and b; each has its own label for the link.
func (n *testNet) link(a, b string, la, lb mesh.Label, mtu uint16) {
	x, y := n.nodes[a], n.nodes[b]
	n.conn += 2
	secret := bytes.Repeat([]byte{byte(n.conn)}, 32)
	x.addLink(n.conn, la, y, mtu, n.linkKeys(secret, true), uint32(0x1000+n.conn))
	y.addLink(n.conn+1, lb, x, mtu, n.linkKeys(secret, false), uint32(0x1001+n.conn))
	x.plane.SetLinkTx(n.conn, uint32(0x1001+n.conn))
	y.plane.SetLinkTx(n.conn+1, uint32(0x1000+n.conn))
}

func (n *testNet) linkKeys(secret []byte, client bool) wire.LinkKeys {
	k, err := wire.DeriveLinkKeys(secret, client)
	if err != nil {
		n.t.Fatal(err)
	}
	return k
}

func (d *testNode) addLink(c mesh.ConnID, l mesh.Label, to *testNode, mtu uint16, k wire.LinkKeys, rx uint32) {
	d.plane.AddLink(c, l, rx, k, int(mtu))
	d.table.Links = append(d.table.Links, mesh.ForwardLink{
		Label: l, Neighbour: to.id, Session: c, Remote: to.under, MTU: mtu, Usable: true,
	})
	d.publish()
}

func (d *testNode) publish() {
	f := mesh.Forwarding{Links: slices.Clone(d.table.Links), Peers: slices.Clone(d.table.Peers)}
	d.plane.Publish(&f)
}

// session opens an end-to-end session between a and b; the tables name it but the paths are set by route.
func (n *testNet) session(a, b string) {
	x, y := n.nodes[a], n.nodes[b]
	n.conn += 2
	secret := bytes.Repeat([]byte{byte(n.conn)}, 32)
	x.addPeer(n.conn, y, n.dataKeys(secret, true), uint32(0x2000+n.conn))
	y.addPeer(n.conn+1, x, n.dataKeys(secret, false), uint32(0x2001+n.conn))
	x.plane.SetPeerTx(n.conn, uint32(0x2001+n.conn))
	y.plane.SetPeerTx(n.conn+1, uint32(0x2000+n.conn))
}

func (n *testNet) dataKeys(secret []byte, client bool) wire.DataKeys {
	k, err := wire.DeriveDataKeys(secret, client)
	if err != nil {
		n.t.Fatal(err)
	}
	return k
}

func (d *testNode) addPeer(c mesh.ConnID, to *testNode, k wire.DataKeys, rx uint32) {
	if err := d.plane.AddPeer(c, to.id, to.addr, rx, k); err != nil {
		d.net.t.Fatal(err)
	}
	d.entry(to).Session = c
	d.publish()
}

func (d *testNode) entry(to *testNode) *mesh.ForwardPeer {
	for i := range d.table.Peers {
		if d.table.Peers[i].Node == to.id {
			return &d.table.Peers[i]
		}
	}
	d.table.Peers = append(d.table.Peers, mesh.ForwardPeer{Node: to.id, Addr: to.addr})
	return &d.table.Peers[len(d.table.Peers)-1]
}

// route makes one more path of from: names and labels alternate behind it.
func (n *testNet) route(from string, hops ...any) mesh.Path {
	d := n.nodes[from]
	p := mesh.Path{Nodes: []mesh.NodeID{d.id}}
	for i := 0; i < len(hops); i += 2 {
		p.Labels = append(p.Labels, mesh.Label(hops[i].(int)))
		p.Nodes = append(p.Nodes, n.nodes[hops[i+1].(string)].id)
	}
	e := d.entry(n.nodes[hops[len(hops)-1].(string)])
	e.Ways = append(slices.Clone(e.Ways), mesh.Way{Path: p})
	d.publish()
	return p
}

// doubtWay makes the second way to a node the copy of the first.
func (d *testNode) doubtWay(to *testNode) {
	e := d.entry(to)
	e.Ways = []mesh.Way{{Path: e.Ways[0].Path, Copy: e.Ways[1].Path}}
	d.publish()
}

// protect makes the ways to a node the pair for what is protected.
func (d *testNode) protect(to *testNode) {
	e := d.entry(to)
	e.Pair = nil
	for _, w := range e.Ways {
		e.Pair = append(e.Pair, w.Path)
	}
	e.Ways = e.Ways[:1:1]
	d.publish()
}

// usable marks a link of d up or down.
func (d *testNode) usable(l mesh.Label, up bool) {
	for i := range d.table.Links {
		if d.table.Links[i].Label == l {
			d.table.Links[i].Usable = up
		}
	}
	d.publish()
}

// packet makes an IPv6 UDP-like packet of n bytes altogether.
func packet(from, to netip.Addr, n int, fill byte) []byte {
	b := bytes.Repeat([]byte{fill}, n)
	clear(b[:ipv6Header])
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(n-ipv6Header))
	b[6], b[7] = 17, 64
	src, dst := from.As16(), to.As16()
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
	return b
}

// send gives d a packet as if read from its TUN.
func (d *testNode) send(pkt []byte) {
	s := new(outbox)
	d.plane.handlePacket(s, read(pkt), false)
	d.plane.flush(s)
}

func (d *testNode) sendTo(to *testNode, n int) []byte {
	pkt := packet(d.addr, to.addr, n, 0xa5)
	d.send(pkt)
	return pkt
}

// forge sends a packet that the own TUN check would refuse, as a member with changed software could.
func (d *testNode) forge(to *testNode, pkt []byte) {
	s := new(sealer)
	d.plane.sendPacket(s, d.plane.view.Load().byNode[to.id], copy(s.packet(), pkt))
}

// read returns a packet as the TUN gives it.
func read(pkt []byte) []byte {
	return append(make([]byte, segment.HeaderLen, segment.HeaderLen+len(pkt)), pkt...)
}

func (d *testNode) wantDelivered(want ...[]byte) {
	d.net.t.Helper()
	if got := d.tun.take(); !slices.EqualFunc(got, want, bytes.Equal) {
		d.net.t.Errorf("%v: delivered %d packets, want %d, or they differ\n got %x\nwant %x", d.id, len(got), len(want), got, want)
	}
}

func (d *testNode) wantCount(name string, want uint64) {
	d.net.t.Helper()
	got, known := d.plane.Counters()[name]
	if !known {
		d.net.t.Errorf("no counter is named %q", name)
	}
	if got != want {
		d.net.t.Errorf("%v: %s = %d, want %d", d.id, name, got, want)
	}
}

// line is a — b — c — d, with sessions and paths between a and d. Labels: every node has 1 to the left, 2 to the
// right, plus 10 for a, 20 for b and so on.
func line(t testing.TB) *testNet {
	n := newNet(t, "a", "b", "c", "d")
	n.link("a", "b", 12, 21, 1452)
	n.link("b", "c", 22, 31, 1452)
	n.link("c", "d", 32, 41, 1452)
	n.session("a", "d")
	n.route("a", 12, "b", 22, "c", 32, "d")
	n.route("d", 41, "c", 31, "b", 21, "a")
	return n
}

// handleFrame is what a reader does that found one datagram.
func (p *Plane) handleFrame(from netip.AddrPort, b []byte) {
	r := p.receivers.Get().(*Receiver)
	defer p.receivers.Put(r)
	r.HandleFrame(from, b)
	r.Flush()
}
