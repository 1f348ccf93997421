package udp

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch is how many datagrams are read at once; of frames, which the kernel hands over joined, fewer.
const (
	batch       = 64
	joinedBatch = 16
	joinedRoom  = 1 << 16
)

// reader receives batches of datagrams without allocating. Whoever uses it holds its lock.
type reader struct {
	sync.Mutex
	port  *endpoint
	recv  func(fd uintptr) // made once: a closure per read would be garbage per read
	size  int              // of the batch
	n     int              // datagrams of the last batch, joined ones counted once
	errno syscall.Errno
	dates dates

	msgs  [batch]unix.Mmsghdr
	iovs  [batch]unix.Iovec
	names [batch]unix.RawSockaddrInet6 // large enough for IPv4 too
	bufs  []byte                       // one behind the other, of room bytes each
	room  int
	from  sources
	told  [batch]told
}

func newReader(p *endpoint, c class, z *zones) *reader {
	r := &reader{port: p, size: batch, room: MaxDatagram, dates: dates{empty: time.Now()}, from: sources{zones: z, named: &z.named}}
	if c == framed {
		r.size, r.room = joinedBatch, joinedRoom // of which only what is filled takes memory
	}
	r.bufs = make([]byte, r.size*r.room)
	for i := range r.size {
		r.iovs[i].Base = &r.bufs[i*r.room]
		r.iovs[i].SetLen(r.room)
		h := &r.msgs[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Control = &r.told[i].b[0]
		r.renew(i)
	}
	r.recv = func(fd uintptr) { r.n, r.errno = recvmmsg(fd, r.msgs[:r.size]) }
	return r
}

// renew sets what the kernel overwrites.
func (r *reader) renew(i int) {
	r.msgs[i].Hdr.Namelen = unix.SizeofSockaddrInet6
	r.msgs[i].Hdr.SetControllen(toldSpace)
}

// read takes what has come, a batch at most; less than that is all. It does not wait: EAGAIN means that nothing has come,
// EBADF that the socket is closed.
func (r *reader) read() (int, syscall.Errno) {
	for i := range r.n {
		r.renew(i)
	}
	r.n, r.errno = 0, unix.EBADF // unless there is a descriptor to ask
	_ = r.port.socket.Control(r.recv)
	if r.errno != 0 {
		r.n = 0
	}
	return r.n, r.errno
}

// arrived is one datagram, or several that came together: of size bytes, only the last of which may be shorter.
type arrived struct {
	b     []byte
	size  int
	from  netip.AddrPort
	stamp int64 // when it came, see dates.of
	ecn   uint8 // the code point of its IP header (RFC 3168)
	whole bool  // else there is nothing of it
}

// datagrams returns what came as the i-th of the last batch, valid until the next read.
func (r *reader) datagrams(i int) arrived {
	m := &r.msgs[i]
	said := r.told[i].read(int(m.Hdr.Controllen)) // #nosec G115 -- at most toldSpace
	if said.size == 0 {
		said.size = int(m.Len)
	}
	if m.Hdr.Flags&unix.MSG_TRUNC != 0 || int(m.Len) > r.room || said.size > MaxDatagram {
		return arrived{}
	}
	from := r.source(&r.names[i])
	if r.from.named.Load() != nil {
		from = r.from.byInterface(from, said.index)
	}
	return arrived{r.bufs[i*r.room:][:m.Len], said.size, from, said.stamp, said.ecn, true}
}

// few reports whether the last batch was all that waited, and no more than one packet may be long.
func (r *reader) few() bool {
	if r.n == r.size {
		return false
	}
	total := 0
	for i := range r.n {
		total += int(r.msgs[i].Len)
	}
	return total <= joinedRoom
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
