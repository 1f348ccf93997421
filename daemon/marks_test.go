package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"x0tta6bl4/host/quic"
	"x0tta6bl4/host/udp"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Of what two nodes' QUIC really sends, from the first Initial to the last packet, a socket that sorts refuses nothing: with
// Retry and without, and with messages both ways that take many packets.
func TestSocketTakesAllOfQUIC(t *testing.T) {
	for _, retry := range []int{0, -1} {
		t.Run(fmt.Sprintf("retry %d", retry), func(t *testing.T) {
			alpha, beta := onSocket(t, testAlpha, retry), onSocket(t, testBeta, retry)
			alpha.t.Dial(1, beta.s.QUIC().LocalAddr(), testBeta)
			a := next(t, alpha.ups)
			if err := alpha.t.Send(a.Conn, wire.LSAMsg{Raw: make([]byte, 64<<10)}); err != nil {
				t.Fatal(err)
			}
			b := next(t, beta.ups)
			next(t, beta.msgs)
			if err := beta.t.Send(b.Conn, wire.LSAMsg{Raw: make([]byte, 64<<10)}); err != nil {
				t.Fatal(err)
			}
			next(t, alpha.msgs)
			alpha.t.CloseConn(a.Conn, "done")
			next(t, beta.ends)
			for who, s := range map[string]*udp.Socket{"alpha": alpha.s, "beta": beta.s} {
				c := s.Counters()
				if c["udp_refused"] != 0 || c["udp_garbage"] != 0 || c["udp_newcomers_limited"] != 0 || c["udp_quic"] < 50 {
					t.Errorf("%s: %v", who, c)
				}
			}
			if n := alpha.s.Counters()["udp_newcomers"]; n != 0 {
				t.Errorf("%d answers to the dialler passed for strangers'", n)
			}
			if n := beta.s.Counters()["udp_newcomers"]; n == 0 || n > 10 {
				t.Errorf("%d datagrams of the dialler's were a stranger's, want its first ones", n)
			}
		})
	}
}

// sorted is a node's QUIC on a socket that knows its connections.
type sorted struct {
	wired
	s *udp.Socket
}

func onSocket(t *testing.T, self mesh.NodeID, retry int) *sorted {
	t.Helper()
	w := &sorted{wired: *newWired()}
	var err error
	if w.s, err = udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Handlers{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.s.Close() })
	cert := selfSigned(t, self)
	w.t, err = quicconn.New(w.s.QUIC(), quicconn.Config{
		Purpose: wire.PurposeLink, TrustDomain: testDomain, RetryAbove: retry, ConnectionID: w.s.NewConnectionID,
		Identity: func() tls.Certificate { return cert },
		Verify: func(chain []*x509.Certificate) (mesh.NodeID, error) {
			return mesh.ParseNodeID(chain[0].Subject.CommonName)
		},
		NextConn: func() mesh.ConnID { return 1 },
		Callbacks: quicconn.Callbacks{
			Established: func(e quicconn.Established) { w.ups <- e },
			Failed:      func(_ uint64, _ net.Addr, err error) { w.fails <- err },
			Message:     func(_ mesh.ConnID, m wire.Message) { w.msgs <- m },
			Closed:      func(_ mesh.ConnID, err error) { w.ends <- err },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.t.Close() })
	if err := w.s.RequireMarks(); err != nil {
		t.Fatal(err)
	}
	return w
}

func next[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	var v T
	select {
	case v = <-ch:
	case <-time.After(20 * time.Second):
		t.Fatalf("no %T within 20 s", v)
	}
	return v
}
