package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls that move datagrams never wait, so they go around the scheduler's bookkeeping of calls that may
// (RawSyscall). Besides its own cost, that bookkeeping wakes the runtime's monitor thread at every call of a process
// that was idle, and the monitor then polls for a while: for a node that only says hello to its neighbours that was
// the larger half of all its work.

// sender writes datagrams without allocating. It may be used from several goroutines.
type sender struct {
	raw   syscall.RawConn
	inet4 bool // the socket is of IPv4 only; otherwise IPv4 addresses go in their v4-mapped form
	calls sync.Pool
}

// sendCall holds the arguments of one call.
type sendCall struct {
	do    func(fd uintptr) bool // made once: a closure per call would be garbage per call
	name  [unix.SizeofSockaddrInet6]byte
	len   uintptr
	b     []byte
	errno syscall.Errno
}

func newSender(conn *net.UDPConn) (*sender, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &sender{raw: raw}
	domain := 0
	if cerr := raw.Control(func(fd uintptr) { domain, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN) }); cerr != nil {
		return nil, cerr
	}
	s.inet4 = domain == unix.AF_INET
	s.calls.New = func() any {
		c := &sendCall{}
		c.do = c.sendto
		return c
	}
	return s, os.NewSyscallError("get SO_DOMAIN", err)
}

// takes reports whether to can be sent to here: no zone to look up, and of a family that the socket has.
func (s *sender) takes(to netip.AddrPort) bool {
	return to.Addr().Zone() == "" && to.IsValid() && (!s.inet4 || to.Addr().Is4())
}

func (s *sender) send(to netip.AddrPort, b []byte) error {
	c := s.calls.Get().(*sendCall)
	defer s.calls.Put(c)
	c.address(to, s.inet4)
	c.b, c.errno = b, 0
	err := s.raw.Write(c.do)
	c.b = nil
	if err == nil && c.errno != 0 {
		err = os.NewSyscallError("sendto", c.errno)
	}
	return err
}

// address writes to as the kernel reads it (ip(7), ipv6(7)): the family in the machine's order, the port in the network's.
func (c *sendCall) address(to netip.AddrPort, inet4 bool) {
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
	c.len = unix.SizeofSockaddrInet6
}

// sendto reports whether the call is over; false waits until the send buffer has room.
func (c *sendCall) sendto(fd uintptr) bool {
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(c.b))), uintptr(len(c.b)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&c.name[0])), c.len)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		c.errno = errno
		return true
	}
}
