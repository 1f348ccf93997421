package nameserver

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// start runs a server on a free port of loopback and returns it with its address.
func start(t *testing.T, at netip.AddrPort) (*Server, chan error) {
	t.Helper()
	told := make(chan error, 16)
	s := New(at, func(err error) { told <- err })
	s.rebind = time.Millisecond
	s.Publish(zones(t, beta))
	if err := s.Err(); err != nil || s.Serving() {
		t.Errorf("before it runs: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return s, told
}

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp6", "[::1]:0")
		if err != nil {
			t.Skipf("no IPv6 on loopback: %v", err)
		}
		at := l.Addr().(*net.TCPAddr).AddrPort()
		pc, err := net.ListenPacket("udp6", at.String())
		_ = l.Close()
		if err == nil {
			_ = pc.Close()
			return at
		}
	}
	t.Fatal("no free port")
	return netip.AddrPort{}
}

func exchange(t *testing.T, network string, at netip.AddrPort) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: network, Timeout: 5 * time.Second}
	r, _, err := c.Exchange(question("beta.example.mesh.", dns.TypeAAAA), at.String())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestServesUDPAndTCP(t *testing.T) {
	at := freePort(t)
	s, told := start(t, at)
	if err := <-told; err != nil || s.Err() != nil || !s.Serving() {
		t.Fatal(err, s.Err())
	}
	for _, network := range []string{"udp", "tcp"} {
		if r := exchange(t, network, at); len(r.Answer) != 1 || r.Answer[0].(*dns.AAAA).AAAA.String() != betaAddr {
			t.Errorf("%s: %v", network, r)
		}
	}
	// Several questions on one connection.
	c, err := dns.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		if err := c.WriteMsg(question("alpha.example.mesh.", dns.TypeAAAA)); err != nil {
			t.Fatal(err)
		}
		if r, err := c.ReadMsg(); err != nil || len(r.Answer) != 1 {
			t.Fatal(r, err)
		}
	}
}

// The port is taken: the server says so, and serves when it is free.
func TestWaitsForThePort(t *testing.T) {
	at := freePort(t)
	l, err := net.Listen("tcp6", at.String())
	if err != nil {
		t.Fatal(err)
	}
	s, told := start(t, at)
	if err := <-told; !errors.Is(err, ErrTaken) || !errors.Is(s.Err(), ErrTaken) || s.Serving() {
		t.Fatalf("%v, %v", err, s.Err())
	}
	_ = l.Close()
	if err := <-told; err != nil {
		t.Fatal(err)
	}
	exchange(t, "udp", at)
}

// TCP is for so many at a time; who comes too much is turned away, and there is room again when others go.
func TestCrowd(t *testing.T) {
	at := freePort(t)
	s, told := start(t, at)
	<-told
	var held []net.Conn
	for range maxConns {
		c, err := net.Dial("tcp6", at.String())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		talk(t, c)
	}
	c, err := net.Dial("tcp6", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, context.DeadlineExceeded) || err == nil {
		t.Errorf("one too many reads %d bytes, %v", n, err)
	}
	if n := s.Counters()["dns_tcp_crowded"]; n != 1 {
		t.Errorf("counted %d", n)
	}
	for _, c := range held {
		_ = c.Close()
	}
	for range maxConns { // all of them are free again
		s.conns <- struct{}{}
	}
	for range maxConns {
		<-s.conns
	}
	exchange(t, "tcp", at)
}

// talk has one question answered on a connection.
func talk(t *testing.T, c net.Conn) {
	t.Helper()
	b, err := question("alpha.example.mesh.", dns.TypeAAAA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)); err != nil {
		t.Fatal(err)
	}
	d := dns.Conn{Conn: c}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if r, err := d.ReadMsg(); err != nil || len(r.Answer) != 1 {
		t.Fatal(r, err)
	}
}

// A question that is too long ends the connection; nothing is read into a buffer that the asker chose the size of.
func TestTooLongAQuestion(t *testing.T) {
	at := freePort(t)
	s, told := start(t, at)
	<-told
	c, err := net.Dial("tcp6", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte{0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
	u, err := net.Dial("udp6", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := u.Write(make([]byte, maxQuery+1)); err != nil {
		t.Fatal(err)
	}
	exchange(t, "udp", at) // comes after
	if n := s.Counters()["dns_malformed"]; n != 2 {
		t.Errorf("counted %d", n)
	}
}

// Connections that are open do not keep the server from ending.
func TestEndsWithConnectionsOpen(t *testing.T) {
	at := freePort(t)
	told := make(chan error, 1)
	s := New(at, func(err error) { told <- err })
	s.Publish(zones(t))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	if err := <-told; err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp6", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	talk(t, c)
	cancel()
	<-ended
}
