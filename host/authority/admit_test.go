package authority

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"x0tta6bl4/mesh"
)

// callFrom is a connection of which only the other end's address matters.
type callFrom struct {
	net.Conn
	addr string
}

func (c *callFrom) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.addr))
}

// Strangers, however many addresses they have, leave room for the members that renew across the mesh.
func TestStrangersLeaveRoomForMembers(t *testing.T) {
	w := newWorld(t)
	s := &Server{Self: alpha, Source: w.source}
	s.setup()
	admitted := func(addr string) bool { return s.admit(&callFrom{addr: addr}) == nil }
	n := 0
	for i := range 2 * maxConns {
		if admitted(fmt.Sprintf("198.51.100.%d:1000", i)) {
			n++
		}
	}
	if n != maxStrangers {
		t.Errorf("%d strangers were let in, want %d", n, maxStrangers)
	}
	for i := range maxConns - maxStrangers {
		from := mesh.Addr(td, mesh.MustNodeID(fmt.Sprintf("n%d", i)))
		if !admitted(netip.AddrPortFrom(from, 1000).String()) {
			t.Fatalf("member %d found no room", i)
		}
	}
	if admitted(netip.AddrPortFrom(mesh.Addr(td, gamma), 1000).String()) {
		t.Errorf("more than %d at once", maxConns)
	}
}

func TestOneNetworkIsOneCaller(t *testing.T) {
	w := newWorld(t)
	s := &Server{Self: alpha, Source: w.source}
	s.setup()
	let := func(format string) (n int) {
		for i := range 3 * maxPerAddress {
			if s.admit(&callFrom{addr: fmt.Sprintf(format, i+1)}) == nil {
				n++
			}
		}
		return n
	}
	if n := let("[2001:db8::%x]:1000"); n != maxPerAddress {
		t.Errorf("%d connections from one /64, want %d", n, maxPerAddress)
	}
	if n := let("[fe80::%x%%eth0]:1000"); n != maxPerAddress {
		t.Errorf("%d connections from one link, want %d", n, maxPerAddress)
	}
	if n := let("[::ffff:192.0.2.7]:%d"); n != maxPerAddress {
		t.Errorf("%d connections from one IPv4 address, want %d", n, maxPerAddress)
	}
	if n := let("192.0.2.7:%d"); n != 0 {
		t.Errorf("the same address in its other form had %d more", n)
	}
}
