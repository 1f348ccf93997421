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
	ecnSpace     = (unix.SizeofCmsghdr + 4 + unix.SizeofPtr - 1) / unix.SizeofPtr * unix.SizeofPtr
	sendSpace    = controlSpace + segmentSpace + ecnSpace
)

// told is what the kernel says beside a datagram: by which interface it came, when, and with which ECN code point, if it was
// asked to, and of several that it joined how long each is. The kernel writes headers in it, so it is aligned as one.
type told struct {
	_ [0]unix.Cmsghdr
	b [toldSpace]byte
}

const (
	stampLen  = unix.SizeofCmsghdr + int(unsafe.Sizeof(unix.Timespec{}))
	sizeLen   = unix.SizeofCmsghdr + 4
	tosLen    = unix.SizeofCmsghdr + 1
	classLen  = unix.SizeofCmsghdr + 4
	toldSpace = controlSpace + (stampLen+unix.SizeofPtr-1)/unix.SizeofPtr*unix.SizeofPtr + (sizeLen+unix.SizeofPtr-1)/unix.SizeofPtr*unix.SizeofPtr + ecnSpace
)

// said is what is read of it.
type said struct {
	index uint32 // of the interface; 0 = not said
	stamp int64  // the wall clock's nanoseconds at the time; 0 = not said
	size  int    // of each of several; 0 = it is one
	ecn   uint8  // of all of them; 0 = not said
}

// read reads the n bytes that the kernel wrote.
func (c *told) read(n int) (s said) {
	for at := 0; at+unix.SizeofCmsghdr <= n; {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c.b[at])) // #nosec G103 -- aligned, and long enough
		size := int(h.Len)                             // #nosec G115 -- checked next
		if size <= unix.SizeofCmsghdr || size > n-at {
			break
		}
		data := unsafe.Pointer(&c.b[at+unix.SizeofCmsghdr]) // #nosec G103 -- as above
		switch {
		case size >= pktinfo6Len && h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO:
			s.index = (*unix.Inet6Pktinfo)(data).Ifindex
		case size >= pktinfo4Len && h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO:
			s.index = uint32((*unix.Inet4Pktinfo)(data).Ifindex) // #nosec G115 -- an index is positive
		case size >= stampLen && h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS:
			s.stamp = (*unix.Timespec)(data).Nano()
		case size >= sizeLen && h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO:
			s.size = max(0, int(*(*int32)(data)))
		case size >= tosLen && h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS:
			s.ecn = *(*uint8)(data) & ecnMask
		case size >= classLen && h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS:
			s.ecn = uint8(*(*int32)(data) & ecnMask) // #nosec G115 -- two bits
		}
		at += (size + unix.SizeofPtr - 1) / unix.SizeofPtr * unix.SizeofPtr
	}
	return s
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

// message writes what beside the address the kernel is told: the interface to send by, where to cut a run, and the ECN code
// point. IPv4 takes all in the form of IPv4 on a socket of both, too.
func (c *sendCall) message(inet4 bool) {
	c.control.b, c.said = [sendSpace]byte{}, 0
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
	switch {
	case c.ecn == 0:
	case inet4:
		*(*int32)(c.ancillary(unix.IPPROTO_IP, unix.IP_TOS, 4)) = int32(c.ecn)
	default:
		*(*int32)(c.ancillary(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 4)) = int32(c.ecn)
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
