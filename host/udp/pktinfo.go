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
	segmentSpace = (unix.SizeofCmsghdr + 2 + unix.SizeofPtr - 1) / unix.SizeofPtr * unix.SizeofPtr
)

// told is what the kernel says beside a datagram: by which interface it came, and when, if it was asked to, and of several
// that it joined how long each is. The kernel writes headers in it, so it is aligned as one.
type told struct {
	_ [0]unix.Cmsghdr
	b [toldSpace]byte
}

const (
	stampLen  = unix.SizeofCmsghdr + int(unsafe.Sizeof(unix.Timespec{}))
	sizeLen   = unix.SizeofCmsghdr + 4
	toldSpace = controlSpace + (stampLen+unix.SizeofPtr-1)/unix.SizeofPtr*unix.SizeofPtr + (sizeLen+unix.SizeofPtr-1)/unix.SizeofPtr*unix.SizeofPtr
)

// read reads the n bytes that the kernel wrote: the index of the interface, 0 = it did not say, and the wall clock's
// nanoseconds at the time, 0 = it did not say; the length of each of several, 0 = it is one.
func (c *told) read(n int) (index uint32, stamp int64, length int) {
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
		case size >= sizeLen && h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO:
			length = int(*(*int32)(data))
		}
		at += (size + unix.SizeofPtr - 1) / unix.SizeofPtr * unix.SizeofPtr
	}
	return index, stamp, max(length, 0)
}

// ancillary makes room for one more message and returns where its n bytes of data belong.
func (c *sendCall) ancillary(level, kind int32, n int) unsafe.Pointer {
	at := c.said
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c.control.b[at])) // #nosec G103 -- aligned, and long enough
	h.Level, h.Type = level, kind
	h.SetLen(unix.SizeofCmsghdr + n)
	c.said += (unix.SizeofCmsghdr + n + unix.SizeofPtr - 1) / unix.SizeofPtr * unix.SizeofPtr
	return unsafe.Pointer(&c.control.b[at+unix.SizeofCmsghdr]) // #nosec G103 -- as above
}

// message writes what beside the address the kernel is told: the interface to send by, and where to cut a run. IPv4 takes the
// former in the form of IPv4 on a socket of both, too.
func (c *sendCall) message(inet4 bool) {
	c.control.b, c.said = [controlSpace + segmentSpace]byte{}, 0
	switch {
	case c.by == 0:
	case inet4:
		data := c.ancillary(unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
		(*unix.Inet4Pktinfo)(data).Ifindex = int32(c.by) // #nosec G115 -- an index is positive
	default:
		data := c.ancillary(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
		(*unix.Inet6Pktinfo)(data).Ifindex = c.by
	}
	if c.size != 0 {
		*(*uint16)(c.ancillary(unix.SOL_UDP, unix.UDP_SEGMENT, 2)) = c.size
	}
	c.msg = unix.Msghdr{
		Name: &c.name[0], Namelen: uint32(c.len), // #nosec G115 -- the length of an address
		Iov:     &c.iov,
		Control: &c.control.b[0],
	}
	c.msg.SetIovlen(1)
	c.msg.SetControllen(c.said)
}

// sendmsg sends what message describes.
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
