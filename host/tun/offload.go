package tun

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxRead is the length of the longest packet with its virtio header.
const MaxRead = 10 + 65535 + 40

// maxBuffers is how many buffers one packet may consist of.
const maxBuffers = 128

// What TUNSETOFFLOAD takes (linux/if_tun.h): the kinds of packets that the kernel may give as a large one.
const (
	offloadChecksum = 0x01
	offloadTCPv4    = 0x02
	offloadTCPv6    = 0x04
	offloadECN      = 0x08
	offloadUDPv4    = 0x20
	offloadUDPv6    = 0x40
)

// offload lets the kernel hand over large packets and take them. UDP came with Linux 6.2, both versions of IP at once.
func offload(fd int) (udp bool, err error) {
	const tcp = offloadChecksum | offloadTCPv4 | offloadTCPv6 | offloadECN
	if unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp|offloadUDPv4|offloadUDPv6) == nil {
		return true, nil
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp); err != nil {
		return false, os.NewSyscallError("TUNSETOFFLOAD", err)
	}
	return false, nil
}

// LargeUDP reports whether WritePacket takes large UDP packets; Read gives them under the same condition.
func (d *Device) LargeUDP() bool { return d.udp }

// WritePacket hands one packet to the host: the buffers, at most 128 and none empty, are one virtio header and the packet. The
// kernel drops it, with an error, while the interface is down.
func (d *Device) WritePacket(bufs [][]byte) error {
	if len(bufs) == 0 || len(bufs) > maxBuffers {
		return fmt.Errorf("tun: a packet in %d buffers: 1 to %d", len(bufs), maxBuffers)
	}
	c := d.writes.Get().(*writeCall)
	for i, b := range bufs {
		c.vec[i].Base = unsafe.SliceData(b)
		c.vec[i].SetLen(len(b))
	}
	c.n = len(bufs)
	err := d.raw.Write(c.do)
	clear(c.vec[:c.n]) // the pool must not keep packets alive
	errno := c.errno
	d.writes.Put(c)
	switch {
	case err != nil:
		return fmt.Errorf("tun: %w", net.ErrClosed) // there is no other reason
	case errno != 0:
		return os.NewSyscallError("writev", errno)
	}
	return nil
}

// writeCall holds the arguments of one writev.
type writeCall struct {
	do    func(fd uintptr) bool // made once: a closure per call would be garbage per call
	vec   [maxBuffers]unix.Iovec
	n     int
	errno syscall.Errno
}

func newWriteCall() *writeCall {
	c := &writeCall{}
	c.do = c.write
	return c
}

// write reports whether the call is over; false waits for room, of which a TUN has always some.
func (c *writeCall) write(fd uintptr) bool {
	for {
		// #nosec G103 -- the vector and its buffers live longer than the call
		_, _, c.errno = unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&c.vec[0])), uintptr(c.n))
		if c.errno != unix.EINTR {
			return c.errno != unix.EAGAIN
		}
	}
}

// TryRead copies the next packet that the host sends into the mesh to b, as Read does, if there is one. If there is none, or
// Read would return an error, ok is false.
func (d *Device) TryRead(b []byte) (n int, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	c := d.reads.Get().(*readCall)
	c.b, c.errno = b, 0
	err := d.raw.Control(c.do) // not Read, which waits for another Read that waits
	n, ok = c.n, err == nil && c.errno == 0
	c.b = nil // the pool must not keep it alive
	d.reads.Put(c)
	return n, ok
}

// readCall holds the arguments of one read.
type readCall struct {
	do    func(fd uintptr) // made once: a closure per call would be garbage per call
	b     []byte
	n     int
	errno syscall.Errno
}

func newReadCall() *readCall {
	c := &readCall{}
	c.do = c.read
	return c
}

func (c *readCall) read(fd uintptr) {
	for {
		// #nosec G103 -- a slice's memory for the call
		n, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(c.b))), uintptr(len(c.b)))
		if errno != unix.EINTR {
			c.n, c.errno = int(n), errno // #nosec G115 -- at most len(c.b)
			return
		}
	}
}
