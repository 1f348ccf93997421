package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// sender writes datagrams without allocating. It may be used from several goroutines.
type sender struct {
	port  *endpoint
	inet4 bool // the socket is of IPv4 only; otherwise IPv4 addresses go in their v4-mapped form
	calls sync.Pool
	zones *zones
}

// sendCall holds the arguments of one call.
type sendCall struct {
	do    func(fd uintptr) // made once: a closure per call would be garbage per call
	name  [unix.SizeofSockaddrInet6]byte
	len   int
	b     []byte
	by    uint32 // the interface to send by, where the address does not say; 0 = the kernel chooses
	errno syscall.Errno

	size uint16 // of the datagrams that b consists of, the last may be shorter; 0 = it is one
	ecn  uint8  // the ECN code point of their IP headers (RFC 3168)

	msg     unix.Msghdr // these serve only a run, or a datagram with an interface of its own, or with a code point
	iov     unix.Iovec
	said    int // bytes of control
	control struct {
		_ [0]unix.Cmsghdr // the kernel reads headers in it, so it is aligned as one
		b [sendSpace]byte
	}
}

func newSender(p *endpoint, z *zones) (*sender, error) {
	s := &sender{port: p, zones: z}
	domain, err := 0, error(nil)
	if cerr := p.socket.Control(func(fd uintptr) { domain, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN) }); cerr != nil {
		return nil, cerr
	}
	s.inet4 = domain == unix.AF_INET
	s.calls.New = func() any {
		c := &sendCall{}
		c.do = c.send
		return c
	}
	return s, os.NewSyscallError("get SO_DOMAIN", err)
}

// send writes one datagram, or several of size bytes of which only the last may be shorter.
func (s *sender) send(to netip.AddrPort, b []byte, size uint16) error {
	ip := to.Addr()
	if !to.IsValid() || s.inet4 && !ip.Is4() && !ip.Is4In6() {
		return os.NewSyscallError("sendto", unix.EAFNOSUPPORT)
	}
	c := s.calls.Get().(*sendCall)
	defer s.calls.Put(c)
	var zone uint32
	if name := ip.Zone(); name != "" {
		if zone = s.zones.index(name); zone == 0 {
			return noInterface(name)
		}
	}
	c.size, c.ecn = size, ecnOf(b)
	c.address(to, s.inet4, zone)
	c.b, c.errno = b, 0
	err := s.port.socket.Control(c.do)
	c.b = nil
	switch {
	case err != nil:
		return net.ErrClosed // there is no other reason
	case c.errno == 0:
		return nil
	case zone != 0 && (c.errno == unix.ENODEV || c.errno == unix.ENXIO):
		s.zones.forget(ip.Zone()) // the interface may be back under another index
		return noInterface(ip.Zone())
	}
	return os.NewSyscallError("sendto", c.errno)
}

// address writes to as the kernel reads it (ip(7), ipv6(7)): the port in the network's order, all else in the machine's.
// The zone of a link-local address is part of it; that of any other is asked for beside it.
func (c *sendCall) address(to netip.AddrPort, inet4 bool, zone uint32) {
	clear(c.name[:])
	c.by = 0
	if a := to.Addr(); a.Is4In6() || !a.IsLinkLocalUnicast() { // IPv4 has no place for a zone, link-local or not
		c.by = zone
	}
	binary.BigEndian.PutUint16(c.name[2:], to.Port())
	if inet4 {
		binary.NativeEndian.PutUint16(c.name[:], unix.AF_INET)
		a := to.Addr().As4()
		copy(c.name[4:], a[:])
		c.len = unix.SizeofSockaddrInet4
	} else {
		binary.NativeEndian.PutUint16(c.name[:], unix.AF_INET6)
		a := to.Addr().As16()
		copy(c.name[8:], a[:])
		binary.NativeEndian.PutUint32(c.name[24:], zone)
		c.len = unix.SizeofSockaddrInet6
	}
	if !c.plain() {
		c.message(to.Addr().Is4() || to.Addr().Is4In6())
	}
}

// plain reports whether the kernel need not be told more than the address.
func (c *sendCall) plain() bool { return c.by == 0 && c.size == 0 && c.ecn == 0 }

// send waits once if the send buffer is full; a datagram that finds it full again is lost, with an error.
func (c *sendCall) send(fd uintptr) {
	c.errno = c.attempt(fd)
	if c.errno == unix.EAGAIN {
		waitForRoom(fd)
		c.errno = c.attempt(fd)
	}
}

func (c *sendCall) attempt(fd uintptr) syscall.Errno {
	if c.plain() {
		return sendto(fd, c.b, c.name[:c.len])
	}
	return c.sendmsg(fd)
}
