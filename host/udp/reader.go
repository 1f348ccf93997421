package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const batch = 64

// reader receives batches of datagrams without allocating. It belongs to one goroutine.
type reader struct {
	raw   syscall.RawConn
	recv  func(fd uintptr) bool // made once: a closure per read would be garbage per read
	n     int
	errno syscall.Errno

	msgs  [batch]unix.Mmsghdr
	iovs  [batch]unix.Iovec
	names [batch]unix.RawSockaddrInet6 // large enough for IPv4 too
	bufs  [batch][MaxDatagram]byte
	zones map[uint32]string
}

func newReader(conn *net.UDPConn) (*reader, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &reader{raw: raw, zones: make(map[uint32]string)}
	for i := range r.msgs {
		r.iovs[i].Base = &r.bufs[i][0]
		r.iovs[i].SetLen(MaxDatagram)
		h := &r.msgs[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
	}
	r.recv = r.recvmmsg
	return r, nil
}

// read waits for at least one datagram and returns how many came.
func (r *reader) read() (int, error) {
	for i := range r.msgs {
		r.msgs[i].Hdr.Namelen = unix.SizeofSockaddrInet6 // the kernel overwrites it
	}
	if err := r.raw.Read(r.recv); err != nil {
		return 0, err
	}
	if r.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", r.errno)
	}
	return r.n, nil
}

// recvmmsg reports whether the call is over; false waits for the descriptor to become readable.
func (r *reader) recvmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.msgs[0])), batch, unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno == unix.EAGAIN {
			return false
		}
		r.n, r.errno = int(n), errno
		return true
	}
}

// datagram returns the i-th datagram of the last batch, valid until the next read, and whether it is whole.
func (r *reader) datagram(i int) (b []byte, from netip.AddrPort, whole bool) {
	m := &r.msgs[i]
	if m.Hdr.Flags&unix.MSG_TRUNC != 0 || m.Len > MaxDatagram {
		return nil, netip.AddrPort{}, false
	}
	return r.bufs[i][:m.Len], r.source(&r.names[i]), true
}

func (r *reader) source(sa *unix.RawSockaddrInet6) netip.AddrPort {
	switch sa.Family {
	case unix.AF_INET:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), port(&sa4.Port))
	case unix.AF_INET6:
		a := netip.AddrFrom16(sa.Addr).Unmap()
		if a.Is6() && a.IsLinkLocalUnicast() {
			a = a.WithZone(r.zone(sa.Scope_id))
		}
		return netip.AddrPortFrom(a, port(&sa.Port))
	}
	return netip.AddrPort{}
}

// port reads a port, which is in network order whatever the machine's.
func port(p *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:])
}

// zone names an interface as the net package does, and remembers it: the lookup is a netlink dump.
func (r *reader) zone(index uint32) string {
	if name, ok := r.zones[index]; ok {
		return name
	}
	name := strconv.FormatUint(uint64(index), 10)
	if ifi, err := net.InterfaceByIndex(int(index)); err == nil {
		name = ifi.Name
	}
	r.zones[index] = name
	return name
}
