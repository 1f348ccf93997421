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
	zones sync.Map // string → uint32: the lookup is a netlink dump
}

// sendCall holds the arguments of one call.
type sendCall struct {
	do    func(fd uintptr) // made once: a closure per call would be garbage per call
	name  [unix.SizeofSockaddrInet6]byte
	len   int
	b     []byte
	errno syscall.Errno
}

func newSender(p *endpoint) (*sender, error) {
	s := &sender{port: p}
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

func (s *sender) send(to netip.AddrPort, b []byte) error {
	if !to.IsValid() || s.inet4 && !to.Addr().Is4() {
		return os.NewSyscallError("sendto", unix.EAFNOSUPPORT)
	}
	c := s.calls.Get().(*sendCall)
	defer s.calls.Put(c)
	c.address(to, s.inet4, s.zone(to.Addr().Zone()))
	c.b, c.errno = b, 0
	err := s.port.socket.Control(c.do)
	c.b = nil
	switch {
	case err != nil:
		return net.ErrClosed // there is no other reason
	case c.errno != 0:
		s.zones.Delete(to.Addr().Zone()) // the interface may have another index now
		return os.NewSyscallError("sendto", c.errno)
	}
	return nil
}

func (s *sender) zone(name string) uint32 {
	if name == "" {
		return 0
	}
	if i, ok := s.zones.Load(name); ok {
		return i.(uint32)
	}
	i := zoneIndex(name)
	s.zones.Store(name, i)
	return i
}

// address writes to as the kernel reads it (ip(7), ipv6(7)): the port in the network's order, all else in the machine's.
func (c *sendCall) address(to netip.AddrPort, inet4 bool, zone uint32) {
	clear(c.name[:])
	binary.BigEndian.PutUint16(c.name[2:], to.Port())
	if inet4 {
		binary.NativeEndian.PutUint16(c.name[:], unix.AF_INET)
		a := to.Addr().As4()
		copy(c.name[4:], a[:])
		c.len = unix.SizeofSockaddrInet4
		return
	}
	binary.NativeEndian.PutUint16(c.name[:], unix.AF_INET6)
	a := to.Addr().As16()
	copy(c.name[8:], a[:])
	binary.NativeEndian.PutUint32(c.name[24:], zone)
	c.len = unix.SizeofSockaddrInet6
}

// send waits once if the send buffer is full; a datagram that finds it full again is lost, with an error.
func (c *sendCall) send(fd uintptr) {
	c.errno = sendto(fd, c.b, c.name[:c.len])
	if c.errno == unix.EAGAIN {
		waitForRoom(fd)
		c.errno = sendto(fd, c.b, c.name[:c.len])
	}
}
