package udp

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ancillary data that names the interface of one datagram (ip(7), ipv6(7)). The source address in it is left to the
// kernel, which takes one of that interface.
const (
	pktinfo4Len  = unix.SizeofCmsghdr + unix.SizeofInet4Pktinfo
	pktinfo6Len  = unix.SizeofCmsghdr + unix.SizeofInet6Pktinfo
	controlSpace = (pktinfo6Len + unix.SizeofPtr - 1) / unix.SizeofPtr * unix.SizeofPtr // the larger of the two
)

// control holds one such message; the kernel reads a header at its start, so it is aligned as one.
type control struct {
	_ [0]unix.Cmsghdr
	b [controlSpace]byte
}

// told is what the kernel says beside a datagram: by which interface it came, and when, if it was asked to.
type told struct {
	_ [0]unix.Cmsghdr
	b [toldSpace]byte
}

const (
	stampLen  = unix.SizeofCmsghdr + int(unsafe.Sizeof(unix.Timespec{}))
	toldSpace = controlSpace + (stampLen+unix.SizeofPtr-1)/unix.SizeofPtr*unix.SizeofPtr
)

// read reads the n bytes that the kernel wrote: the index of the interface, 0 = it did not say, and the wall clock's
// nanoseconds at the time, 0 = it did not say.
func (c *told) read(n int) (index uint32, stamp int64) {
	for at := 0; at+unix.SizeofCmsghdr <= n; {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c.b[at])) // #nosec G103 -- aligned, and long enough
		size := int(h.Len)                             // #nosec G115 -- checked next
		if size <= unix.SizeofCmsghdr || size > n-at {
			break
		}
		data := unsafe.Pointer(&c.b[at+unix.SizeofCmsghdr]) // #nosec G103 -- as above
		switch {
		case size >= pktinfo6Len && h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO:
			index = (*unix.Inet6Pktinfo)(data).Ifindex
		case size >= pktinfo4Len && h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO:
			index = uint32((*unix.Inet4Pktinfo)(data).Ifindex) // #nosec G115 -- an index is positive
		case size >= stampLen && h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS:
			stamp = (*unix.Timespec)(data).Nano()
		}
		at += (size + unix.SizeofPtr - 1) / unix.SizeofPtr * unix.SizeofPtr
	}
	return index, stamp
}

// byInterface writes the message for a datagram of either family. IPv4 takes that of IPv4 on a socket of both, too.
func (c *sendCall) byInterface(inet4 bool) {
	c.control.b = [controlSpace]byte{}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c.control.b))       // #nosec G103 -- aligned, and long enough
	data := unsafe.Pointer(&c.control.b[unix.SizeofCmsghdr]) // #nosec G103 -- as above
	if inet4 {
		h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		h.SetLen(pktinfo4Len)
		(*unix.Inet4Pktinfo)(data).Ifindex = int32(c.by) // #nosec G115 -- an index is positive
	} else {
		h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
		h.SetLen(pktinfo6Len)
		(*unix.Inet6Pktinfo)(data).Ifindex = c.by
	}
	c.msg = unix.Msghdr{
		Name: &c.name[0], Namelen: uint32(c.len), // #nosec G115 -- the length of an address
		Iov:     &c.iov,
		Control: &c.control.b[0],
	}
	c.msg.SetIovlen(1)
	c.msg.SetControllen(int(h.Len)) // #nosec G115 -- written above
}

// sendmsg sends the datagram by the interface that byInterface wrote.
func (c *sendCall) sendmsg(fd uintptr) syscall.Errno {
	c.iov.Base = unsafe.SliceData(c.b)
	c.iov.SetLen(len(c.b))
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&c.msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) // #nosec G103 -- a struct's memory for the call
		if errno != unix.EINTR {
			c.iov.Base = nil // the caller's again
			return errno
		}
	}
}
