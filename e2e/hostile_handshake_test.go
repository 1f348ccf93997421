package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"x0tta6bl4/lab/flood"
)

const (
	newcomerArrives = 10 * time.Second // for a node that comes up while its neighbour is flooded with handshakes
	handshakeFlood  = 4 * time.Second  // that the flood lasts at least
)

// A stranger begins handshakes as fast as it can: with forged sources, from its own address without ever ending one, or
// one after the other with a certificate of nobody's. Each kind is bounded and counted; links stay as they are, and an
// honest node on another cable gets its link meanwhile.
func TestHandshakeFlood(t *testing.T) {
	need(t)
	n := lay(t, cables("alpha-beta alpha-gamma alpha-mallory"))
	alpha, beta, gamma, mallory := n.at("alpha"), n.at("beta"), n.at("gamma"), n.at("mallory")
	n.found(alpha)
	alpha.up(t)
	n.converged(alpha)
	n.join(beta, []*machine{alpha})
	beta.up(t)
	n.converged(alpha, beta)
	n.join(gamma, []*machine{alpha})
	here, _ := n.underlay(alpha, mallory)
	target := netip.AddrPortFrom(here, port)
	stranger := sign(t, invented(t, "e2e.mesh"), leaf("spiffe://e2e.mesh/node/mallory"))
	for _, tt := range []struct {
		name     string
		counters []string // one of them must rise
		flood    func(t *testing.T, ctx context.Context)
		most     float64 // handshakes that may be taken to their end, a second, but for those at once
	}{
		{"forged sources", []string{"udp_newcomers_limited", "udp_overflow_newcomer", "link_quic_retries"}, func(t *testing.T, ctx context.Context) {
			for ctx.Err() == nil {
				beta.flood(t, "to-alpha", flood.Initial, 20_000)
			}
		}, 0},
		{"never ended", []string{"link_quic_busy", "link_quic_retries", "udp_newcomers_limited"}, func(t *testing.T, ctx context.Context) {
			knocking(t, ctx, mallory, 64, target, stranger, true)
		}, 0},
		{"certificates of nobody's", []string{"link_quic_busy", "link_quic_retries", "udp_newcomers_limited"}, func(t *testing.T, ctx context.Context) {
			knocking(t, ctx, mallory, 16, target, stranger, false)
		}, 50 + 16},
	} {
		t.Run(tt.name, func(t *testing.T) {
			was, busy, began := alpha.counters(t), alpha.busy(t), time.Now()
			downs := n.downsTo(t, alpha, beta)
			ctx, cancel := context.WithCancel(t.Context())
			over := make(chan struct{})
			go func() { defer close(over); tt.flood(t, ctx) }()
			defer func() { cancel(); <-over }()
			long := time.After(handshakeFlood)
			eventually(t, handshakeFlood, "the flood is felt", func(ctx context.Context) error {
				now, err := alpha.client.Counters(ctx)
				if err == nil && risen(was, now, tt.counters...) == 0 {
					err = fmt.Errorf("none of %v rose", tt.counters)
				}
				return err
			})
			up := time.Now()
			gamma.up(t)
			eventually(t, newcomerArrives, "gamma gets its link", func(ctx context.Context) error {
				s, err := gamma.client.Status(ctx)
				if err == nil && s.LinksUp != 1 {
					err = fmt.Errorf("%d links up", s.LinksUp)
				}
				return err
			})
			t.Logf("gamma had its link %v after it was started", time.Since(up).Round(time.Millisecond))
			<-long
			took, used := time.Since(began), alpha.busy(t)-busy
			now := alpha.counters(t)
			cancel()
			<-over
			gamma.stop(t)
			t.Logf("alpha used %.0f %% of a core; what rose: %v", 100*used.Seconds()/took.Seconds(), rose(was, now))
			if risen(was, now, tt.counters...) == 0 {
				t.Errorf("none of %v rose", tt.counters)
			}
			if got, most := float64(risen(was, now, "link_quic_refused")), tt.most*(took.Seconds()+1)+8*16; got > most {
				t.Errorf("%.0f handshakes were taken to their end in %v, want %.0f", got, took, most)
			}
			if got := n.downsTo(t, alpha, beta); got > downs {
				t.Errorf("the link with beta went down %d times", got-downs)
			}
		})
	}
}

// downsTo returns how often a machine's link to another went down.
func (n *network) downsTo(t *testing.T, m, to *machine) (downs uint64) {
	t.Helper()
	for _, l := range must(m.client.Links(t.Context()))(t) {
		if l.Neighbour == to.id {
			downs += l.Downs
		}
	}
	return downs
}

// knocking has a machine begin handshakes until ctx ends, so many at a time, each from a port of its own. deaf: it does
// not read what is answered.
func knocking(t *testing.T, ctx context.Context, m *machine, parallel int, to netip.AddrPort, id identity, deaf bool) {
	var done atomic.Uint64
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for ctx.Err() == nil {
				var pc net.PacketConn = m.listenUDP(t, netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
				if deaf {
					pc = deafConn{pc}
				}
				try, cancel := context.WithTimeout(ctx, 2*time.Second)
				c, err := quic.Dial(try, pc, net.UDPAddrFromAddrPort(to), &tls.Config{
					InsecureSkipVerify: true, NextProtos: []string{"x0t-link/1"}, MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{id.Certificate},
				}, &quic.Config{HandshakeIdleTimeout: time.Second})
				if err == nil {
					select {
					case <-c.Context().Done():
					case <-try.Done():
					}
					_ = c.CloseWithError(0, "")
				}
				cancel()
				_ = pc.Close()
				done.Add(1)
			}
		})
	}
	wg.Wait()
	t.Logf("%d attempts", done.Load())
}

// deafConn sends and hears nothing.
type deafConn struct{ net.PacketConn }

// ReadFrom returns only when the connection is closed or its deadline has passed.
func (c deafConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if _, _, err := c.PacketConn.ReadFrom(b); err != nil {
			return 0, nil, err
		}
	}
}

// Without these quic-go complains on standard error.
func (deafConn) SetReadBuffer(int) error  { return nil }
func (deafConn) SetWriteBuffer(int) error { return nil }
