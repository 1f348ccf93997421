package quicconn

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

var bob = mesh.MustNodeID("bob")

func TestHandshakeAndMessages(t *testing.T) {
	for _, purpose := range []wire.Purpose{wire.PurposeLink, wire.PurposeE2E} {
		synctest.Test(t, func(t *testing.T) {
			_, ca, a, b := pair(t, func(c *Config) { c.Purpose = purpose })
			atA, atB := connect(t, a, b)
			if atA.Dial != 1 || atB.Dial != 0 || atA.Conn == atB.Conn {
				t.Errorf("dialler %+v, acceptor %+v", atA, atB)
			}
			if atA.Peer != bob || atB.Peer != mesh.MustNodeID("alice") {
				t.Errorf("peers %s and %s", atA.Peer, atB.Peer)
			}
			if len(atA.Secret) != wire.SecretSize || !bytes.Equal(atA.Secret, atB.Secret) {
				t.Errorf("secrets differ: %x, %x", atA.Secret, atB.Secret)
			}
			if atA.Remote.String() != "b" || atB.Remote.String() != "a" {
				t.Errorf("remotes %s and %s", atA.Remote, atB.Remote)
			}
			end := time.Now().Add(time.Hour) // alice's, the earlier one
			for _, e := range []Established{atA, atB} {
				if d := end.Sub(e.NotAfter); d < 0 || d > 2*time.Second {
					t.Errorf("not after %s, want %s", e.NotAfter, end)
				}
			}
			if atA.LeafHash != sha256.Sum256(b.identity().Certificate[0]) {
				t.Error("wrong leaf hash")
			}
			exchange(t, a, b, atA.Conn, atB.Conn)
			_ = ca
		})
	}
}

// exchange sends messages of all sizes both ways at once and expects them whole and in order.
func exchange(t *testing.T, a, b *peer, ca, cb mesh.ConnID) {
	t.Helper()
	var sent []wire.Message
	for i, n := range []int{0, 1, 5000, 70000, 200 << 10} {
		sent = append(sent, wire.LSAMsg{Raw: bytes.Repeat([]byte{byte(i + 1)}, n)})
	}
	if err := a.Send(ca, sent...); err != nil {
		t.Fatal(err)
	}
	if err := b.Send(cb, sent...); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*peer{a, b} {
		for i, m := range sent {
			got := want(t, fmt.Sprintf("message %d", i), p.messages)
			if raw := got.msg.(wire.LSAMsg).Raw; !bytes.Equal(raw, m.(wire.LSAMsg).Raw) {
				t.Fatalf("message %d: %d bytes", i, len(raw))
			}
		}
	}
}

func TestCloseConnTellsBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, a, b := pair(t)
		atA, atB := connect(t, a, b)
		a.CloseConn(atA.Conn, "no longer needed")
		a.CloseConn(atA.Conn, "again")
		got := want(t, "closed here", a.closed)
		wantErr(t, "closed here", got.err, ErrLocal)
		if got.conn != atA.Conn || !strings.Contains(got.err.Error(), "no longer needed") {
			t.Errorf("got %v", got.err)
		}
		got = want(t, "closed there", b.closed)
		wantErr(t, "closed there", got.err, ErrPeerClosed)
		if got.conn != atB.Conn || !strings.Contains(got.err.Error(), "no longer needed") {
			t.Errorf("got %+v", got)
		}
		wantErr(t, "send on a dead connection", a.Send(atA.Conn, wire.Bye{}), ErrNoConn)
		a.CloseConn(atA.Conn, "dead")
		synctest.Wait()
		none(t, "second close", a.closed)
	})
}

// The dialler does not accept the acceptor.
func TestDiallerRefuses(t *testing.T) {
	stranger := func(t *testing.T) *authority { return newAuthority(t, "mesh.test") } // same name, another key
	for _, tt := range []struct {
		name string
		cert func(t *testing.T, ca *authority) tls.Certificate // of the acceptor
		want mesh.NodeID
		errs []error
	}{
		{"foreign authority", func(t *testing.T, ca *authority) tls.Certificate {
			return stranger(t).issue(t, "bob", time.Hour)
		}, mesh.NodeID{}, []error{ErrUnverified, errForeign}},
		{"another node", func(t *testing.T, ca *authority) tls.Certificate {
			return ca.issue(t, "bob", time.Hour)
		}, mesh.MustNodeID("carol"), []error{ErrUnverified, ErrWrongPeer}},
		{"itself", func(t *testing.T, ca *authority) tls.Certificate {
			return ca.issue(t, "alice", time.Hour)
		}, mesh.NodeID{}, []error{ErrUnverified, ErrSelf}},
		{"expired", func(t *testing.T, ca *authority) tls.Certificate {
			return ca.issue(t, "bob", -time.Second)
		}, bob, []error{ErrUnverified, errForeign}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, ca, a, b := pair(t)
				b.setCert(tt.cert(t, ca))
				a.Dial(7, b.pc.LocalAddr(), tt.want)
				got := want(t, "failed", a.failed)
				wantErr(t, "failed", got.err, tt.errs...)
				if got.dial != 7 {
					t.Errorf("dial %d", got.dial)
				}
				wantErr(t, "refused", want(t, "refused", b.refused).err, ErrRefused)
				none(t, "established", a.established)
				none(t, "established", b.established)
			})
		})
	}
}

// The acceptor does not accept the dialler, which learns it after its own side of the handshake is done.
func TestAcceptorRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, a, b := pair(t)
		a.setCert(newAuthority(t, "mesh.test").issue(t, "alice", time.Hour))
		a.Dial(7, b.pc.LocalAddr(), bob)
		wantErr(t, "refused", want(t, "refused", b.refused).err, ErrUnverified, errForeign)
		select {
		case e := <-a.established:
			got := want(t, "closed", a.closed)
			wantErr(t, "closed", got.err, ErrRefused)
			if got.conn != e.Conn {
				t.Errorf("closed %d, established %d", got.conn, e.Conn)
			}
		case got := <-a.failed:
			wantErr(t, "failed", got.err, ErrRefused)
		}
		synctest.Wait()
		none(t, "established", b.established)
		if c := b.Counters(); c["quic_refused"] != 1 || c["quic_established"] != 0 {
			t.Errorf("counters %v", c)
		}
	})
}

func TestNoIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, a, b := pair(t)
		bad := []tls.Certificate{
			{},
			{Certificate: [][]byte{[]byte("not a certificate")}},
			{Certificate: [][]byte{newAuthority(t, "mesh.test").cert.Raw}}, // an ID, but no node's
			newAuthority(t, "other.test").issue(t, "alice", time.Hour),
		}
		for i, c := range bad {
			a.setCert(c)
			a.Dial(1, b.pc.LocalAddr(), bob)
			wantErr(t, fmt.Sprintf("certificate %d", i), want(t, "failed", a.failed).err, ErrNoIdentity)
			b.Dial(2, a.pc.LocalAddr(), mesh.NodeID{})
			wantErr(t, "dial to it", want(t, "failed", b.failed).err, ErrRefused)
			wantErr(t, "at the acceptor", want(t, "refused", a.refused).err, ErrNoIdentity)
		}
	})
}

// A node whose own SVID has ended need not ask anybody: everyone would refuse it.
func TestExpiredNodeDoesNotDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, ca, a, b := pair(t)
		a.setCert(ca.issue(t, "alice", -time.Second))
		a.Dial(1, b.pc.LocalAddr(), bob)
		wantErr(t, "failed", want(t, "failed", a.failed).err, ErrNoIdentity)
		synctest.Wait()
		none(t, "refused", b.refused)
		a.setCert(ca.issue(t, "alice", time.Hour))
		connect(t, a, b)
	})
}

func TestRotationNeedsNoRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, ca, a, b := pair(t)
		first, _ := connect(t, a, b)
		b.setCert(ca.issue(t, "bob", 3*time.Hour))
		second, _ := connect(t, a, b)
		if first.LeafHash == second.LeafHash || bytes.Equal(first.Secret, second.Secret) {
			t.Error("the second handshake used the first's certificate or secret")
		}
		if second.LeafHash != sha256.Sum256(b.identity().Certificate[0]) {
			t.Error("wrong leaf hash")
		}
		none(t, "the first connection must live on", a.closed)
	})
}

func TestBothDialAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, a, b := pair(t)
		a.Dial(1, b.pc.LocalAddr(), bob)
		b.Dial(2, a.pc.LocalAddr(), mesh.NodeID{})
		secrets := make(map[string]int)
		for _, p := range []*peer{a, b} {
			for range 2 {
				secrets[string(want(t, "established", p.established).Secret)]++
			}
		}
		if len(secrets) != 2 {
			t.Errorf("%d secrets on two connections", len(secrets))
		}
	})
}

func TestDialNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, a, _ := pair(t)
		begin := time.Now()
		a.Dial(3, memAddr("nobody"), mesh.NodeID{})
		wantErr(t, "failed", want(t, "failed", a.failed).err, ErrTimeout)
		if d := time.Since(begin); d > 10*time.Second {
			t.Errorf("took %s", d)
		}
	})
}

func TestLinkLivesWhileSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _, a, b := pair(t)
		connect(t, a, b)
		time.Sleep(time.Hour) // virtual
		none(t, "closed", a.closed)
		n.setCut(true)
		begin := time.Now()
		for _, p := range []*peer{a, b} {
			wantErr(t, "cut off", want(t, "closed", p.closed).err, ErrTimeout)
		}
		if d := time.Since(begin); d > 14*time.Second { // a ping sent into the void begins the 10 s anew
			t.Errorf("took %s", d)
		}
	})
}

func TestEndToEndEndsWithIdleness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, a, b := pair(t, func(c *Config) { c.Purpose = wire.PurposeE2E })
		connect(t, a, b)
		wantErr(t, "idle", want(t, "closed", a.closed).err, ErrTimeout)
		wantErr(t, "idle", want(t, "closed", b.closed).err, ErrTimeout)
	})
}

// Garbage must neither stop the transport nor end a connection, also when it looks like QUIC.
func TestGarbage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _, a, b := pair(t)
		evil := n.listen("evil")
		r := rand.New(rand.NewPCG(1, 2))
		spray := func() {
			for i := range 500 {
				p := make([]byte, r.IntN(1400))
				for j := range p {
					p[j] = byte(r.Uint32())
				}
				if len(p) > 6 && i%3 == 0 { // a long header of QUIC version 1
					p[0] |= 0xc0
					copy(p[1:], []byte{0, 0, 0, 1, 8})
				}
				evil.WriteTo(p, b.pc.LocalAddr())
				evil.WriteTo(p, a.pc.LocalAddr())
			}
			synctest.Wait()
		}
		spray()
		atA, atB := connect(t, a, b)
		spray()
		exchange(t, a, b, atA.Conn, atB.Conn)
		time.Sleep(time.Minute) // half-open handshakes of the noise time out
		none(t, "closed", a.closed)
		none(t, "established", b.established)
		if b.gate.halfOpen != 0 {
			t.Errorf("%d half-open handshakes left", b.gate.halfOpen)
		}
	})
}

// An error of the network while sending is loss: the connection outlives it.
func TestSendErrorsAreLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, a, b := pair(t)
		atA, _ := connect(t, a, b)
		a.pc.(*endpoint).failWrites(syscall.ENETUNREACH)
		if err := a.Send(atA.Conn, wire.Bye{Reason: "delayed"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		a.pc.(*endpoint).failWrites(nil)
		if m := want(t, "message", b.messages); m.msg != (wire.Bye{Reason: "delayed"}) {
			t.Errorf("got %+v", m)
		}
		if a.Counters()["quic_send_errors"] == 0 {
			t.Error("not counted")
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var once sync.Once
		open := func() { once.Do(func() { close(gate) }) }
		defer open()
		n := &network{ports: make(map[string]*endpoint)}
		ca := newAuthority(t, "mesh.test")
		a := start(t, n.listen("a"), ca, ca.issue(t, "alice", time.Hour))
		got := make(chan int, 4096)
		b := start(t, n.listen("b"), ca, ca.issue(t, "bob", time.Hour), func(c *Config) {
			c.Callbacks.Message = func(_ mesh.ConnID, m wire.Message) {
				<-gate // a receiver that takes nothing
				got <- len(m.(wire.LSAMsg).Raw)
			}
		})
		a.Dial(1, b.pc.LocalAddr(), bob)
		e := want(t, "established", a.established)
		m := wire.LSAMsg{Raw: make([]byte, 100<<10)}
		sent := 0
		for err := error(nil); err == nil; sent++ {
			if sent > 100 {
				t.Fatal("the queue takes everything")
			}
			if err = a.Send(e.Conn, m); err != nil {
				wantErr(t, "send", err, ErrQueueFull)
				break
			}
			synctest.Wait()
		}
		if sent < 10 {
			t.Errorf("only %d messages taken", sent)
		}
		wantErr(t, "oversize", a.Send(e.Conn, wire.LSAMsg{Raw: make([]byte, wire.MaxMessage)}), wire.ErrTooLong)
		open()
		for range sent { // nothing that was taken is lost
			want(t, "message", got)
		}
		if err := a.Send(e.Conn, m); err != nil {
			t.Errorf("after the peer caught up: %v", err)
		}
	})
}

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, a, b := pair(t, func(c *Config) { c.RetryAbove = -1 })
		connect(t, a, b)
		if b.Counters()["quic_retries"] == 0 {
			t.Error("the source was not validated")
		}
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, a, b := pair(t, func(c *Config) { c.MaxConns = 1 })
		atA, _ := connect(t, a, b)
		a.Dial(2, b.pc.LocalAddr(), bob)
		wantErr(t, "one too many", want(t, "failed", a.failed).err, ErrBusy)
		if b.Counters()["quic_busy"] == 0 {
			t.Error("not counted")
		}
		a.CloseConn(atA.Conn, "")
		want(t, "closed", b.closed)
		synctest.Wait()
		connect(t, a, b)
	})
}

func TestCloseEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble fails if a goroutine stays
		_, _, a, b := pair(t)
		atA, _ := connect(t, a, b)
		a.Dial(9, memAddr("nobody"), mesh.NodeID{})
		synctest.Wait()
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		got := want(t, "closed", a.closed)
		wantErr(t, "closed", got.err, ErrClosed)
		wantErr(t, "pending dial", want(t, "failed", a.failed).err, ErrClosed)
		got = want(t, "closed at the peer", b.closed)
		wantErr(t, "closed at the peer", got.err, ErrPeerClosed)
		if !strings.Contains(got.err.Error(), textShutdown) {
			t.Errorf("got %v", got.err)
		}
		if err := a.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
		a.Dial(10, b.pc.LocalAddr(), bob)
		a.CloseConn(atA.Conn, "late")
		wantErr(t, "send after close", a.Send(atA.Conn, wire.Bye{}), ErrNoConn)
		synctest.Wait()
		none(t, "failed after close", a.failed)
		none(t, "established after close", a.established)
	})
}

func TestCloseDuringHandshakes(t *testing.T) {
	for delay := range 8 {
		synctest.Test(t, func(t *testing.T) {
			_, _, a, b := pair(t)
			for d := range uint64(5) {
				a.Dial(d+1, b.pc.LocalAddr(), bob)
			}
			for range delay {
				synctest.Wait()
				time.Sleep(time.Microsecond)
			}
			b.Close()
			a.Close()
			ended := len(a.failed) + len(a.closed)
			if ended != 5 || len(a.established) != len(a.closed) || len(b.established) != len(b.closed) {
				t.Errorf("%d failed, %d established, %d closed; at the peer %d, %d",
					len(a.failed), len(a.established), len(a.closed), len(b.established), len(b.closed))
			}
		})
	}
}

func TestConfigIsChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _, a, _ := pair(t)
		for i, spoil := range []func(*Config){
			func(c *Config) { c.Purpose = 0 },
			func(c *Config) { c.Identity = nil },
			func(c *Config) { c.NextConn = nil },
			func(c *Config) { c.Callbacks.Closed = nil },
		} {
			cfg := a.cfg
			spoil(&cfg)
			if tr, err := New(n.listen("c"), cfg); err == nil {
				tr.Close()
				t.Errorf("spoiled configuration %d accepted", i)
			}
		}
	})
}
