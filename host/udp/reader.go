package udp

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const batch = 64

// reader receives batches of datagrams without allocating. It belongs to one goroutine.
type reader struct {
	port  *endpoint
	ready func(epoll uintptr) bool // made once: a closure per read would be garbage per read
	recv  func(fd uintptr)
	n     int
	errno syscall.Errno

	msgs  [batch]unix.Mmsghdr
	iovs  [batch]unix.Iovec
	names [batch]unix.RawSockaddrInet6 // large enough for IPv4 too
	bufs  [batch][MaxDatagram]byte
	from  sources
	ctrls [batch]control // where the kernel says by which interface each came, once it is asked to
}

func newReader(p *endpoint, z *zones) *reader {
	r := &reader{port: p, from: sources{zones: z, named: &z.named}}
	for i := range r.msgs {
		r.iovs[i].Base = &r.bufs[i][0]
		r.iovs[i].SetLen(MaxDatagram)
		h := &r.msgs[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Control = &r.ctrls[i].b[0]
	}
	r.ready = r.attempt
	r.recv = func(fd uintptr) { r.n, r.errno = recvmmsg(fd, r.msgs[:]) }
	return r
}

// read waits for at least one datagram and returns how many came.
func (r *reader) read() (int, error) {
	for i := range r.msgs {
		r.msgs[i].Hdr.Namelen = unix.SizeofSockaddrInet6 // the kernel overwrites both
		r.msgs[i].Hdr.SetControllen(controlSpace)
	}
	if err := r.port.poll.Read(r.ready); err != nil {
		return 0, err
	}
	if r.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", r.errno)
	}
	return r.n, nil
}

// attempt reports whether the call is over; false waits for something to arrive.
func (r *reader) attempt(uintptr) bool {
	r.n, r.errno = 0, unix.EBADF // unless there is a descriptor to ask
	_ = r.port.socket.Control(r.recv)
	return r.errno != unix.EAGAIN
}

// datagram returns the i-th datagram of the last batch, valid until the next read, and whether it is whole.
func (r *reader) datagram(i int) (b []byte, from netip.AddrPort, whole bool) {
	m := &r.msgs[i]
	if m.Hdr.Flags&unix.MSG_TRUNC != 0 || m.Len > MaxDatagram {
		return nil, netip.AddrPort{}, false
	}
	from = r.source(&r.names[i])
	if r.from.named.Load() != nil {
		from = r.from.byInterface(from, r.ctrls[i].arrival(int(m.Hdr.Controllen))) // #nosec G115 -- at most controlSpace
	}
	return r.bufs[i][:m.Len], from, true
}

func (r *reader) source(sa *unix.RawSockaddrInet6) netip.AddrPort {
	switch sa.Family {
	case unix.AF_INET:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), port(&sa4.Port))
	case unix.AF_INET6:
		a := netip.AddrFrom16(sa.Addr).Unmap()
		if a.Is6() && a.IsLinkLocalUnicast() {
			a = r.from.addr(a, sa.Scope_id)
		}
		return netip.AddrPortFrom(a, port(&sa.Port))
	}
	return netip.AddrPort{}
}

// port reads a port, which is in network order whatever the machine's.
func port(p *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:])
}
