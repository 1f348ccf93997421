// Package flood sends garbage to a node, as fast as one processor can or at a set rate, from the place of a neighbour on
// one of its cables, so that any source may be forged. Measurements and tests use it; a Sink says how much of it a program
// that does nothing else could read.
package flood

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	ring  = 4096 // different datagrams, sent in turn
	batch = 64   // per system call
)

// Sender is garbage ready to be sent. It belongs to one goroutine.
type Sender struct {
	fd     int
	msgs   []unix.Mmsghdr
	iovs   []unix.Iovec
	frames [][]byte
	next   int
}

// NewSender prepares garbage of the kinds, mixed evenly, for the node that the example was caught on its way to. It must be
// called in the example's network namespace; the Sender may be used from anywhere.
func NewSender(e Example, kinds []Kind, seed uint64) (*Sender, error) {
	if len(kinds) == 0 || slices.Contains(kinds, Sealed) && e.QUIC == nil {
		return nil, errors.New("flood: name at least one kind of garbage, and those that the example was caught for")
	}
	fd, err := rawSocket(e.Interface, 0)
	if err != nil {
		return nil, err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1) // faster where it can be
	s := &Sender{fd: fd, frames: e.garbage(kinds, ring, seed), msgs: make([]unix.Mmsghdr, ring), iovs: make([]unix.Iovec, ring)}
	for i, f := range s.frames {
		s.iovs[i].Base = unsafe.SliceData(f)
		s.iovs[i].SetLen(len(f))
		s.msgs[i].Hdr.Iov = &s.iovs[i]
		s.msgs[i].Hdr.SetIovlen(1)
	}
	return s, nil
}

// rawSocket opens a packet socket on an interface; with protocol 0 it receives nothing.
func rawSocket(index, protocol int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("flood: open a packet socket: %w: it takes root", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index, Protocol: uint16(protocol)}); err != nil { // #nosec G115 -- a protocol
		unix.Close(fd)
		return -1, os.NewSyscallError("bind a packet socket", err)
	}
	return fd, nil
}

// Close frees the Sender's socket.
func (s *Sender) Close() error { return unix.Close(s.fd) }

// Rate is what was sent or received in a time. CPU is what the whole process used meanwhile; over a veth the kernel's work for
// the receiver, up to its socket, is done on the sender's time.
type Rate struct {
	Packets uint64        `json:"packets"`
	Took    time.Duration `json:"took_ns"`
	CPU     time.Duration `json:"cpu_ns"`
}

// PerSecond is the mean rate.
func (r Rate) PerSecond() float64 {
	if r.Took <= 0 {
		return 0
	}
	return float64(r.Packets) / r.Took.Seconds()
}

// Send sends until ctx ends: perSecond datagrams a second, or as many as it can if that is 0.
func (s *Sender) Send(ctx context.Context, perSecond int) (Rate, error) {
	r, began, busy := Rate{}, time.Now(), processorTime()
	for ctx.Err() == nil {
		n := batch
		if perSecond > 0 {
			due := time.Since(began).Seconds()*float64(perSecond) - float64(r.Packets)
			if n = min(int(due), batch); n <= 0 {
				time.Sleep(200 * time.Microsecond)
				continue
			}
		}
		sent, err := s.sendBatch(n)
		if err != nil {
			return r, err
		}
		r.Packets += uint64(sent) // #nosec G115 -- not negative
	}
	r.Took, r.CPU = time.Since(began), processorTime()-busy
	return r, nil
}

func processorTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // fails on a bad pointer only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (s *Sender) sendBatch(n int) (int, error) {
	n = min(n, ring-s.next)
	sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.msgs[s.next])), uintptr(n), 0, 0, 0) // #nosec G103 -- for the call
	switch errno {
	case 0:
		s.next = (s.next + int(sent)) % ring // #nosec G115 -- at most n
		return int(sent), nil                // #nosec G115 -- as above
	case unix.EINTR, unix.ENOBUFS, unix.EAGAIN:
		return 0, nil
	}
	return 0, os.NewSyscallError("sendmmsg", errno)
}

// Sink receives datagrams on an address in batches, does nothing with them, and returns how fast they came, from the first to the
// last, until ctx ends.
func Sink(ctx context.Context, at netip.AddrPort) (Rate, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Rate{}, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	tick := unix.NsecToTimeval(int64(50 * time.Millisecond))
	if err := errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tick),
		unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}),
	); err != nil {
		return Rate{}, fmt.Errorf("flood: listen on %s: %w", at, err)
	}
	var msgs [batch]unix.Mmsghdr
	var iovs [batch]unix.Iovec
	bufs := make([][2048]byte, batch)
	for i := range msgs {
		iovs[i].Base = &bufs[i][0]
		iovs[i].SetLen(len(bufs[i]))
		msgs[i].Hdr.Iov = &iovs[i]
		msgs[i].Hdr.SetIovlen(1)
	}
	var r Rate
	var first time.Time
	for ctx.Err() == nil {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), batch, unix.MSG_WAITFORONE, 0, 0) // #nosec G103 -- for the call
		if errno != 0 {
			continue // nothing came for a tick
		}
		if first.IsZero() {
			first = time.Now()
		}
		r.Packets += uint64(n)
		r.Took = time.Since(first)
	}
	return r, nil
}
