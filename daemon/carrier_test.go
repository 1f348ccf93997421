package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/host/quic"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// outbox collects what a carrier sends.
type outbox struct {
	mu    sync.Mutex
	sends []dispatched
}

type dispatched struct {
	first  mesh.Label
	labels []mesh.Label
	h      wire.Handshake
}

func (o *outbox) send(first mesh.Label, labels []mesh.Label, h wire.Handshake) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	h.Datagram = slices.Clone(h.Datagram)
	o.sends = append(o.sends, dispatched{first, slices.Clone(labels), h})
	return nil
}

func (o *outbox) bytes() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.sends {
		n += len(s.h.Datagram)
	}
	return n
}

func (o *outbox) last(t *testing.T) dispatched {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.sends) == 0 {
		t.Fatal("nothing was sent")
	}
	return o.sends[len(o.sends)-1]
}

// pathTo is a table with one path to a node, by these labels.
func pathTo(n mesh.NodeID, labels ...mesh.Label) func() *mesh.Forwarding {
	f := &mesh.Forwarding{Peers: []mesh.ForwardPeer{{
		Node: n, Addr: mesh.Addr(testDomain, n), Ways: []mesh.Way{{Path: mesh.Path{Labels: labels}}},
	}}}
	return func() *mesh.Forwarding { return f }
}

func noTable() *mesh.Forwarding { return &mesh.Forwarding{} }

func initial(id uint64, n int) wire.Handshake {
	return wire.Handshake{FromInitiator: true, Conversation: id, Datagram: make([]byte, n)}
}

// begins delivers a stranger's first datagram and returns the address that QUIC sees.
func begins(t *testing.T, c *carrier, id uint64, n int, in mesh.Label, back ...mesh.Label) net.Addr {
	t.Helper()
	c.deliver(initial(id, n), in, back)
	_, a, err := c.ReadFrom(make([]byte, 2048))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestCarrierAnswersByTheWayBackAtMostThreefold(t *testing.T) {
	var out outbox
	c := newCarrier(pathTo(testBeta, 7, 8), out.send)
	a := begins(t, c, 99, 1200, 5, 3, 4)
	for range 8 {
		if n, err := c.WriteTo(make([]byte, 1000), a); n != 1000 || err != nil {
			t.Fatalf("WriteTo = %d, %v", n, err)
		}
	}
	if got := out.bytes(); got != 4000 {
		t.Errorf("%d bytes answered 1200 of an unproven peer, want 3600 and the rest of the datagram that reaches them", got)
	}
	if s := out.last(t); s.first != 5 || !slices.Equal(s.labels, []mesh.Label{3, 4}) || s.h.FromInitiator || s.h.Conversation != 99 {
		t.Errorf("answered by %d %v: %+v", s.first, s.labels, s.h)
	}
	begins(t, c, 99, 1200, 6, 2) // more came, by another way
	if _, err := c.WriteTo(make([]byte, 1000), a); err != nil {
		t.Fatal(err)
	}
	if s := out.last(t); out.bytes() != 5000 || s.first != 6 || !slices.Equal(s.labels, []mesh.Label{2}) {
		t.Errorf("after another datagram: %d bytes, by %d %v", out.bytes(), s.first, s.labels)
	}
	// Who has proved to be beta is sent to by our own path, without limit.
	c.established(a, testBeta)
	for range 10 {
		if _, err := c.WriteTo(make([]byte, 1000), a); err != nil {
			t.Fatal(err)
		}
	}
	if s := out.last(t); out.bytes() != 15000 || s.first != 7 || !slices.Equal(s.labels, []mesh.Label{8}) {
		t.Errorf("once established: %d bytes, by %d %v", out.bytes(), s.first, s.labels)
	}
}

func TestCarrierInitiatorUsesItsOwnPath(t *testing.T) {
	var out outbox
	c := newCarrier(pathTo(testBeta, 7, 8), out.send)
	a, err := c.begin(testBeta)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteTo(make([]byte, 1200), a); err != nil {
		t.Fatal(err)
	}
	s := out.last(t)
	if s.first != 7 || !slices.Equal(s.labels, []mesh.Label{8}) || !s.h.FromInitiator {
		t.Errorf("sent by %d %v: %+v", s.first, s.labels, s.h)
	}
	// Only the answer to our own conversation reaches QUIC, and it never redirects what we send.
	c.deliver(wire.Handshake{Conversation: s.h.Conversation + 1, Datagram: []byte{1}}, 5, nil)
	c.deliver(wire.Handshake{Conversation: s.h.Conversation, Datagram: []byte{2}}, 5, []mesh.Label{6})
	b := make([]byte, 10)
	if n, from, err := c.ReadFrom(b); n != 1 || b[0] != 2 || from.String() != a.String() || err != nil {
		t.Errorf("ReadFrom = %d %v from %v, %v", n, b[:1], from, err)
	}
	if _, err := c.WriteTo(make([]byte, 10), a); err != nil {
		t.Fatal(err)
	}
	if s := out.last(t); s.first != 7 {
		t.Errorf("an answer redirected us to link %d", s.first)
	}
	c.end(a)
	n := out.bytes()
	if _, err := c.WriteTo(make([]byte, 10), a); err != nil || out.bytes() != n || len(c.talks) != 0 {
		t.Errorf("an ended conversation: %v, %d bytes more, %d left", err, out.bytes()-n, len(c.talks))
	}
}

func TestCarrierBoundsStrangersPerLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCarrier(noTable, new(outbox).send)
		for i := range uint64(2 * maxStrangers) {
			c.deliver(initial(i, 10), 5, nil)
		}
		if len(c.talks) != maxStrangers || c.strangers[5] != maxStrangers {
			t.Fatalf("one link holds %d conversations, %d counted; want %d", len(c.talks), c.strangers[5], maxStrangers)
		}
		// Another neighbour's conversations are not its business.
		other := initial(1<<40, 10)
		c.deliver(other, 6, nil)
		if c.strangers[6] != 1 {
			t.Fatal("one link's flood shut out another")
		}
		// Who proved who it is does not count, and what it leaves is room.
		c.established(talkKey{0, false}.addr(), testBeta)
		c.deliver(initial(1<<41, 10), 5, nil)
		if len(c.talks) != maxStrangers+2 || c.strangers[5] != maxStrangers {
			t.Fatalf("%d conversations, %d of strangers on link 5", len(c.talks), c.strangers[5])
		}
		c.end(talkKey{0, false}.addr())
		if c.strangers[5] != maxStrangers {
			t.Fatalf("an established conversation's end changed the count of strangers to %d", c.strangers[5])
		}
		time.Sleep(talkIdle + time.Second)
		c.deliver(other, 6, nil) // still there
		c.deliver(initial(1<<42, 10), 5, nil)
		if len(c.talks) != 2 || c.strangers[5] != 1 || c.strangers[6] != 1 {
			t.Errorf("silent strangers are still held: %d talks, %v", len(c.talks), c.strangers)
		}
	})
}

func TestCarrierBoundsAllTalks(t *testing.T) {
	c := newCarrier(noTable, new(outbox).send)
	for i := range uint64(maxTalks + 100) {
		c.deliver(initial(i, 10), mesh.Label(1+i%100), nil)
	}
	if len(c.talks) != maxTalks {
		t.Errorf("%d conversations, want %d", len(c.talks), maxTalks)
	}
	if len(c.packets) != carrierQueue {
		t.Errorf("%d datagrams wait, want %d", len(c.packets), carrierQueue)
	}
}

func TestCarrierAddresses(t *testing.T) {
	for _, k := range []talkKey{{0, true}, {1, false}, {1<<64 - 1, true}} {
		if got, ok := keyOf(k.addr()); !ok || got != k {
			t.Errorf("%v came back as %v, %t", k, got, ok)
		}
	}
	c := newCarrier(noTable, new(outbox).send)
	for _, a := range []net.Addr{&net.TCPAddr{}, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}} {
		if _, err := c.WriteTo([]byte{1}, a); err == nil {
			t.Errorf("%v is no conversation", a)
		}
		c.established(a, testBeta)
		c.end(a)
	}
	if len(c.talks) != 0 {
		t.Error("a foreign address made a conversation")
	}
}

func TestCarrierDeadline(t *testing.T) {
	read := func(c *carrier) error {
		_, _, err := c.ReadFrom(make([]byte, 10))
		return err
	}
	synctest.Test(t, func(t *testing.T) {
		c := newCarrier(noTable, new(outbox).send)
		start := time.Now()
		_ = c.SetReadDeadline(start.Add(time.Second))
		if err := read(c); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		if err := read(c); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a passed deadline holds no more: %v", err)
		}
		// Moved while a read waits: away first, then close.
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		done := make(chan error, 1)
		go func() { done <- read(c) }()
		synctest.Wait()
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Minute))
		time.Sleep(90 * time.Second)
		select {
		case err := <-done:
			t.Fatalf("the earlier deadline fired though it was moved: %v", err)
		default:
		}
		_ = c.SetReadDeadline(time.Now())
		if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		// A deadline that has passed wins over datagrams that wait; without one they come.
		c.deliver(initial(1, 5), 3, nil)
		if err := read(c); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read past the deadline: %v", err)
		}
		_ = c.SetReadDeadline(time.Time{})
		_ = c.SetWriteDeadline(time.Now())
		if err := read(c); err != nil {
			t.Error(err)
		}
		go func() { done <- read(c) }()
		synctest.Wait()
		_ = c.Close()
		_ = c.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("close under a read: %v", err)
		}
	})
}

// A timer that fires while it is being replaced has no say over the deadline that follows.
func TestDeadlineReplacedAtTheMomentItFires(t *testing.T) {
	spin := func(d time.Duration) {
		for at := time.Now().Add(d); time.Now().Before(at); { // a few microseconds of real time are the test
			runtime.Gosched()
		}
	}
	d := newDeadline()
	for range 100 {
		d.set(time.Now().Add(20 * time.Microsecond))
		// Held, the timer's function waits for the lock, and Stop in set comes too late for it.
		d.state.mu.Lock()
		spin(100 * time.Microsecond)
		d.state.mu.Unlock()
		d.set(time.Now().Add(time.Hour))
		spin(50 * time.Microsecond)
		select {
		case <-d.wait():
			t.Fatal("a deadline an hour away has passed")
		default:
		}
	}
	d.set(time.Time{})
}

// wired is one end of two carriers that are wired back to back, under QUIC.
type wired struct {
	c     *carrier
	t     *quicconn.Transport
	ups   chan quicconn.Established
	ends  chan error
	fails chan error
	msgs  chan wire.Message
}

// wire2 returns two connected ends, and what loses every seventh datagram until it is told not to.
func wire2(t *testing.T) (alpha, beta *wired, reliable *atomic.Bool) {
	t.Helper()
	alpha, beta = newWired(), newWired()
	var sent atomic.Int64
	reliable = new(atomic.Bool)
	connect := func(from, to *wired, peer mesh.NodeID) {
		from.c = newCarrier(pathTo(peer, 1), func(_ mesh.Label, _ []mesh.Label, h wire.Handshake) error {
			if sent.Add(1)%7 == 0 && !reliable.Load() {
				return nil
			}
			h.Datagram = slices.Clone(h.Datagram)
			to.c.deliver(h, 1, nil)
			return nil
		})
	}
	connect(alpha, beta, testBeta)
	connect(beta, alpha, testAlpha)
	var conns atomic.Uint64
	alpha.start(t, testAlpha, &conns)
	beta.start(t, testBeta, &conns)
	return alpha, beta, reliable
}

func newWired() *wired {
	return &wired{
		ups: make(chan quicconn.Established, 8), ends: make(chan error, 8), fails: make(chan error, 8), msgs: make(chan wire.Message, 8),
	}
}

func (w *wired) start(t *testing.T, self mesh.NodeID, conns *atomic.Uint64) {
	t.Helper()
	cert := selfSigned(t, self)
	var err error
	w.t, err = quicconn.New(w.c, quicconn.Config{
		Purpose: wire.PurposeE2E, TrustDomain: testDomain,
		Identity: func() tls.Certificate { return cert },
		Verify: func(chain []*x509.Certificate) (mesh.NodeID, error) {
			return mesh.ParseNodeID(chain[0].Subject.CommonName)
		},
		NextConn: func() mesh.ConnID { return mesh.ConnID(conns.Add(1)) },
		Callbacks: quicconn.Callbacks{
			Established: func(e quicconn.Established) {
				w.c.established(e.Remote, e.Peer)
				w.ups <- e
			},
			Failed:  func(_ uint64, a net.Addr, err error) { w.c.end(a); w.fails <- err },
			Message: func(_ mesh.ConnID, m wire.Message) { w.msgs <- m },
			Closed:  func(_ mesh.ConnID, err error) { w.ends <- err },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.t.Close() })
}

func selfSigned(t *testing.T, n mesh.NodeID) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{n.SPIFFEID(testDomain).URL()}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	tmpl.Subject.CommonName = n.String()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestQUICOverTwoCarriers(t *testing.T) {
	alpha, beta, reliable := wire2(t)
	to, err := alpha.c.begin(testBeta)
	if err != nil {
		t.Fatal(err)
	}
	alpha.t.Dial(1, to, testBeta)
	a, b := <-alpha.ups, (quicconn.Established{})
	if err := alpha.t.Send(a.Conn, wire.PeerOpen{Version: 1, Index: 77}); err != nil {
		t.Fatal(err)
	}
	b = <-beta.ups
	if a.Peer != testBeta || b.Peer != testAlpha || string(a.Secret) != string(b.Secret) || len(a.Secret) != wire.SecretSize {
		t.Errorf("established %+v and %+v", a, b)
	}
	if m, ok := (<-beta.msgs).(wire.PeerOpen); !ok || m.Index != 77 {
		t.Errorf("beta got %+v", m)
	}
	// Answers too are larger than what carries them to a stranger.
	if err := beta.t.Send(b.Conn, wire.LSAMsg{Raw: make([]byte, 64<<10)}); err != nil {
		t.Fatal(err)
	}
	if m, ok := (<-alpha.msgs).(wire.LSAMsg); !ok || len(m.Raw) != 64<<10 {
		t.Errorf("alpha got %T", m)
	}
	reliable.Store(true) // the end of a connection is told once
	alpha.t.CloseConn(a.Conn, "done")
	if err := <-beta.ends; !errors.Is(err, quicconn.ErrPeerClosed) {
		t.Errorf("beta's end: %v", err)
	}
	<-alpha.ends
	alpha.c.end(a.Remote)
	beta.c.end(b.Remote)
	if len(alpha.c.talks) != 0 || len(alpha.c.strangers) != 0 {
		t.Errorf("alpha still holds %d conversations", len(alpha.c.talks))
	}
}

func TestQUICOverTwoCarriersWrongPeer(t *testing.T) {
	alpha, _, _ := wire2(t)
	to, err := alpha.c.begin(testBeta)
	if err != nil {
		t.Fatal(err)
	}
	alpha.t.Dial(1, to, mesh.MustNodeID("gamma"))
	if err := <-alpha.fails; !errors.Is(err, quicconn.ErrWrongPeer) {
		t.Error(err)
	}
}

func TestSocketAddressesAreNotConversations(t *testing.T) {
	if _, ok := keyOf(net.UDPAddrFromAddrPort(netip.MustParseAddrPort("[2001:db8::1]:1"))); ok {
		t.Error("an underlay address passed for a conversation")
	}
}

// Conversations are counted by the way they came, as far as the neighbour cannot invent it.
func TestCarrierTellsWhereConversationsComeFrom(t *testing.T) {
	c := newCarrier(noTable, new(outbox).send)
	at := func(id uint64, in mesh.Label, back ...mesh.Label) []netip.Prefix {
		c.deliver(initial(id, 10), in, back)
		return c.networks(talkKey{id, false}.addr())
	}
	near, far, other, direct := at(1, 5, 3), at(2, 5, 3, 9, 9), at(3, 5, 4), at(4, 6)
	switch {
	case len(near) != 2 || near[0].Bits() <= near[1].Bits() || !near[1].Contains(near[0].Addr()):
		t.Errorf("the neighbour's link is not within the own one: %v", near)
	case !slices.Equal(near, far):
		t.Errorf("what lies behind the neighbour's link tells conversations apart: %v, %v", near, far)
	case other[0] == near[0] || other[1] != near[1] || direct[1] == near[1]:
		t.Errorf("ways are confused: %v, %v, %v", near, other, direct)
	}
	c.deliver(initial(1, 10), 6, nil) // it moves
	if got := c.networks(talkKey{1, false}.addr()); !slices.Equal(got, near) {
		t.Errorf("a conversation that goes on by another way is counted as %v, began as %v", got, near)
	}
	mine, err := c.begin(testBeta)
	if err != nil || c.networks(mine) != nil || c.networks(talkKey{99, false}.addr()) != nil || c.networks(&net.TCPAddr{}) != nil {
		t.Error("counted what nobody else began")
	}
}
