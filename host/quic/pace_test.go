package quicconn

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

var mallory = mesh.MustNodeID("mallory")

// A member that sends messages without end is read at a bounded rate, loses none of them, and holds up nobody else.
func TestFloodOfMessagesIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, ca, a, b := pair(t)
		atA, atB := connect(t, a, b)
		qc, err := client(t, n, b, &tls.Config{NextProtos: []string{wire.ALPNLink}, Certificates: []tls.Certificate{ca.issue(t, "mallory", time.Hour)}})
		if err != nil {
			t.Fatal(err)
		}
		const flood = messageBurst + 4*messagesPerSec
		began := time.Now()
		written := make(chan struct{})
		go func() {
			defer close(written)
			s, err := qc.OpenStream()
			for range flood {
				if err == nil {
					_, err = s.Write(framed(250, 1, 2, 3))
				}
			}
			if err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(time.Second)
		if got := b.Counters()["quic_unknown_messages"]; got > messageBurst+messagesPerSec*1.1 || got < messageBurst {
			t.Errorf("%d messages read in the first second, want %d and %d more", got, messageBurst, messagesPerSec)
		}
		now := time.Now()
		exchange(t, a, b, atA.Conn, atB.Conn)
		if late := time.Since(now); late > 500*time.Millisecond {
			t.Errorf("another peer's message took %v", late)
		}
		<-written
		for b.Counters()["quic_unknown_messages"] < flood {
			time.Sleep(100 * time.Millisecond)
		}
		took := time.Since(began).Seconds()
		if want := float64(flood-messageBurst) / messagesPerSec; took < want-1 || took > want+2 {
			t.Errorf("%d messages took %.1f s, want %.1f", flood, took, want)
		}
		if b.Counters()["quic_paced"] == 0 || a.Counters()["quic_paced"] != 0 {
			t.Errorf("paced: %d by who was flooded, %d by who was not", b.Counters()["quic_paced"], a.Counters()["quic_paced"])
		}
		qc.CloseWithError(0, "")
	})
}

func TestPacers(t *testing.T) {
	var p pacers
	now := time.Unix(0, 0)
	p.join(mallory, now, 9)
	p.join(mallory, now, 9)
	for i := range messageBurst {
		if w := p.take(mallory, now, 1); w != 0 {
			t.Fatalf("message %d waits %v", i, w)
		}
	}
	if w := p.take(mallory, now, 1); w != time.Second/messagesPerSec {
		t.Errorf("one more waits %v", w)
	}
	p.leave(mallory)
	p.leave(mallory)
	p.join(mallory, now, 9) // comes anew
	if w := p.take(mallory, now, 1); w != 2*time.Second/messagesPerSec {
		t.Errorf("by a new connection it waits %v", w)
	}
	now = now.Add(time.Hour)
	if w := p.take(mallory, now, byteBurst+bytesPerSec); w != time.Second {
		t.Errorf("bytes of a second too many wait %v", w)
	}
	p.join(bob, now, 9)
	if w := p.take(bob, now, 1); w != 0 {
		t.Errorf("another peer waits %v", w)
	}
	p.leave(mallory)
	p.leave(bob)
	for i := range 2 * keptPacers {
		now = now.Add(time.Hour)
		n := mesh.MustNodeID(fmt.Sprintf("n%d", i))
		p.join(n, now, 9)
		p.leave(n)
	}
	if len(p.m) > keptPacers {
		t.Errorf("%d pacers are kept", len(p.m))
	}
}

// One member may have so many connections and no more; another is not touched by it.
func TestConnectionsPerPeerAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, ca, a, b := pair(t, func(c *Config) { c.MaxPerPeer = 2 })
		connect(t, a, b)
		m := start(t, n.listen("m"), ca, ca.issue(t, "mallory", time.Hour), func(c *Config) { c.MaxPerPeer = 9 })
		for range 4 {
			m.Dial(1, b.pc.LocalAddr(), bob)
		}
		time.Sleep(time.Second)
		for range 2 {
			want(t, "established", b.established)
			wantErr(t, "one too many, at the acceptor", want(t, "closed", m.closed).err, ErrPeerClosed)
		}
		if got := b.Counters()["quic_crowded"]; got != 2 {
			t.Errorf("%d turned away", got)
		}
		last, _ := connect(t, a, b)
		a.Dial(3, b.pc.LocalAddr(), bob)
		wantErr(t, "one too many, at the dialler", want(t, "failed", a.failed).err, ErrCrowded)
		a.CloseConn(last.Conn, "")
		wantErr(t, "closed", want(t, "closed", a.closed).err, ErrLocal)
	})
}

// A handshake that its beginner never ends is given up, and its place is free again.
func TestUnfinishedHandshakesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, ca, a, b := pair(t, func(c *Config) { c.MaxHalfOpen = 1 })
		b.pc.(*endpoint).failWrites(syscall.EPERM) // nothing that b says arrives: as if the other end did not listen
		m := start(t, n.listen("m"), ca, ca.issue(t, "mallory", time.Hour))
		m.Dial(1, b.pc.LocalAddr(), bob)
		want(t, "failed", m.failed)
		for _, more := range []bool{true, false} {
			b.gate.mu.Lock()
			open := b.gate.halfOpen
			b.gate.mu.Unlock()
			if (open == 1) != more {
				t.Errorf("%d half-open", open)
			}
			time.Sleep(2 * b.cfg.HandshakeTimeout)
		}
		if b.Counters()["quic_abandoned"] != 1 {
			t.Errorf("counters %v", b.Counters())
		}
		b.pc.(*endpoint).failWrites(nil)
		connect(t, a, b)
	})
}

// The transport asks where a caller is, counts it there while its handshake lasts, and remembers where members are.
func TestTransportCountsByNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := netip.MustParsePrefix("192.0.2.0/24")
		_, _, a, b := pair(t, func(c *Config) {
			c.RetryAbove = -1
			c.Networks = func(net.Addr) []netip.Prefix { return []netip.Prefix{one} }
		})
		state := func() origin {
			b.gate.mu.Lock()
			defer b.gate.mu.Unlock()
			return *b.gate.from[one]
		}
		atA, _ := connect(t, a, b)
		if s := state(); s.links != 1 || s.halfOpen != 0 || s.tokens != networkSeconds*16-1 {
			t.Errorf("%+v", s)
		}
		a.CloseConn(atA.Conn, "")
		want(t, "closed", b.closed)
		synctest.Wait()
		if s := state(); s.links != 0 {
			t.Errorf("%+v after the link ended", s)
		}
	})
}
