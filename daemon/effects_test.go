package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/host/alarm"
	"x0tta6bl4/host/quic"
	"x0tta6bl4/host/udp"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// narrow is a control channel whose queue holds so many messages.
type narrow struct {
	room   int
	err    error
	sent   []wire.Message
	closed bool
}

func (n *narrow) Send(_ mesh.ConnID, msgs ...wire.Message) error {
	if n.err != nil {
		return n.err
	}
	if len(n.sent)+len(msgs) > n.room {
		return quicconn.ErrQueueFull
	}
	n.sent = append(n.sent, msgs...)
	return nil
}

func (n *narrow) CloseConn(mesh.ConnID, string) { n.closed = true }

func bareDaemon() *Daemon {
	bell, err := alarm.New()
	if err != nil {
		panic(err)
	}
	return &Daemon{
		alarm: bell, shared: newShared(testAlpha, slog.New(slog.DiscardHandler), nil),
		log: slog.New(slog.DiscardHandler), registry: newRegistry(), domain: testDomain, self: testAlpha,
		frames: make(chan node.ReflexEvent, 4), pings: map[uint64]ping{}, rtts: map[mesh.NodeID]time.Duration{}, answers: map[mesh.NodeID]time.Time{},
	}
}

// A database larger than the queue must reach a newcomer in pieces: what fits goes, the connection stays, and the next
// digest brings the rest. All or nothing would never get anywhere.
func TestSendLosesWhatFindsTheQueueFull(t *testing.T) {
	d, ch := bareDaemon(), &narrow{room: 3}
	d.registry.add(1, &connection{peer: testBeta, sender: ch})
	var all []wire.Message
	for i := range 5 {
		all = append(all, wire.LSAMsg{Raw: []byte{byte(i)}})
	}
	d.send(node.Send{Conn: 1, Messages: all})
	if len(ch.sent) != 3 || ch.closed || d.sendsDropped.Load() != 1 {
		t.Fatalf("%d sent, closed %t, %d drops", len(ch.sent), ch.closed, d.sendsDropped.Load())
	}
	for i, m := range ch.sent {
		if m.(wire.LSAMsg).Raw[0] != byte(i) {
			t.Errorf("message %d in place %d", m.(wire.LSAMsg).Raw[0], i)
		}
	}
	ch.err = quicconn.ErrNoConn
	d.send(node.Send{Conn: 1, Messages: all})
	d.send(node.Send{Conn: 2, Messages: all})
	if len(ch.sent) != 3 || d.sendsDropped.Load() != 1 {
		t.Error("a connection that is over took messages")
	}
}

// A member that guesses the number of an operator's ping must not answer it for another.
func TestPingIsAnsweredByWhoWasAsked(t *testing.T) {
	d := bareDaemon()
	gamma := mesh.MustNodeID("gamma")
	answer := make(chan time.Time, 1)
	d.pings[7] = ping{testBeta, answer}
	now := setAhead(time.Now(), time.Hour) // that the clock is set meanwhile must not show
	d.started = time.Now().Add(-time.Minute)
	p := wire.Probe{ID: 7, SentAt: int64(now.Sub(d.started) - time.Millisecond)}
	d.probeAnswered(gamma, 1, p, now)
	if len(answer) != 0 || len(d.frames) != 1 {
		t.Fatal("another node answered the ping")
	}
	d.probeAnswered(testBeta, 1, p, now)
	if len(answer) != 1 || len(d.pings) != 0 || d.rtts[testBeta] != time.Millisecond {
		t.Errorf("%d answers, %d pings wait, RTT %s", len(answer), len(d.pings), d.rtts[testBeta])
	}
	d.probeAnswered(testBeta, 1, p, now) // a second copy is the fast loop's, which does not know it
	if len(answer) != 1 || len(d.frames) != 2 {
		t.Error("a ping was answered twice")
	}
}

// Members that are no neighbours renew at the address in the mesh, also where links listen on other addresses only.
func TestJoinsAreServedInTheMesh(t *testing.T) {
	if l, err := net.Listen("tcp", "127.0.0.2:7420"); err != nil {
		t.Skip("a node runs on this machine: ", err)
	} else {
		_ = l.Close()
	}
	s, err := udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Handlers{})
	if err != nil {
		t.Fatal(err)
	}
	d := bareDaemon()
	d.sockets = []*udp.Socket{s}
	d.addr = netip.MustParseAddr("127.0.0.2") // stands for the mesh address: any that this machine has
	defer d.close()
	if err := d.listenJoin(); err != nil {
		t.Fatal(err)
	}
	var at []string
	for _, l := range d.joins {
		at = append(at, l.Addr().String())
	}
	if want := []string{s.LocalAddr().String(), "127.0.0.2:7420"}; !slices.Equal(at, want) {
		t.Errorf("listening on %v, want %v", at, want)
	}
	if _, err := d.dialForRenewal(t.Context(), testAlpha); err == nil || errors.Is(err, errNotExist) {
		t.Errorf("dialled itself: %v", err)
	}
}

func TestWorkEndsWithItsContext(t *testing.T) {
	m := newMailbox[func()]()
	ran := make(chan int, 2)
	m.put(func() { ran <- 1 }, func() { ran <- 2 })
	done := make(chan struct{})
	go func() { work(t.Context(), m); close(done) }()
	if a, b := <-ran, <-ran; a != 1 || b != 2 {
		t.Errorf("ran %d, %d", a, b)
	}
	t.Cleanup(func() { <-done })
}

// Strangers must not fill the log, nor push out of sight whom else was refused.
func TestRefusalsAreNotedOncePerHostAndReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bareDaemon()
		foreign, expired := errors.New("of another domain"), errors.New("expired")
		for port := range 100 {
			d.refuse(fmt.Sprintf("192.0.2.1:%d", port+1), foreign)
		}
		d.refuse("192.0.2.1:1", expired)
		d.refuse("[2001:db8::1]:1", foreign)
		if len(d.refused) != 3 || d.refusalsUntold.Load() != 99 {
			t.Fatalf("%d noted, %d not", len(d.refused), d.refusalsUntold.Load())
		}
		for i := range 200 {
			d.refuse(fmt.Sprintf("198.51.100.%d:1", i), foreign)
		}
		if len(d.refused) != maxRefusals || d.refused[maxRefusals-1].Remote != "192.0.2.1:1" {
			t.Errorf("%d noted, the oldest %+v", len(d.refused), d.refused[maxRefusals-1])
		}
		time.Sleep(refusalPause)
		d.refuse("203.0.113.1:1", foreign)
		d.refuse("198.51.100.1:1", foreign)
		if d.refused[0].Remote != "198.51.100.1:1" || d.refused[1].Remote != "203.0.113.1:1" {
			t.Errorf("the newest are %+v", d.refused[:2])
		}
	})
}

// With a socket per underlay what goes to a neighbour leaves by the socket on its side, not by the first.
func TestSocketOnTheNeighboursSide(t *testing.T) {
	d := bareDaemon()
	defer d.close()
	for _, a := range []string{"127.0.0.3:0", "127.0.0.1:0", "[::1]:0"} {
		s, err := udp.Listen(netip.MustParseAddrPort(a), udp.Handlers{})
		if err != nil {
			t.Fatal(err)
		}
		d.sockets = append(d.sockets, s)
	}
	d.sources.socket = d.sockets[0]
	for to, want := range map[string]int{
		"127.0.0.1": 1, // the kernel sends from 127.0.0.1
		"::1":       2,
	} {
		for range 2 { // asked, then remembered
			if got := d.socketFor(netip.MustParseAddr(to)); got != want {
				t.Errorf("to %s by socket %d, want %d", to, got, want)
			}
		}
	}
	_, d.sockets = d.sockets[2].Close(), d.sockets[:2]
	if got := d.socketFor(netip.MustParseAddr("::1")); got != -1 {
		t.Errorf("IPv6 by socket %d of IPv4", got)
	}
}
