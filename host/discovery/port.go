package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// receiveBuffer holds some tens of beacons: of a flood the rest is dropped by the kernel.
const receiveBuffer = 64 << 10

// port is one interface's socket with its segment.
type port struct {
	d      *Discovery
	name   string
	conn   *net.UDPConn
	to     netip.AddrPort // the group
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{}
	wg     sync.WaitGroup

	mu  sync.Mutex // guards seg
	seg *segment
}

// jittered spreads a wait by a fifth either way, so that nodes that began together do not go on together.
func jittered(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5+1) // #nosec G404 -- spreads load, protects nothing
}

func listen(i Interface) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = configure(int(fd), i) })
		return errors.Join(err, failed)
	}}
	pc, err := lc.ListenPacket(context.Background(), "udp6", fmt.Sprintf("[::]:%d", Port))
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fmt.Errorf("discovery: listen on UDP port %d: %w: stop the program that holds it", Port, err)
	case err != nil:
		return nil, fmt.Errorf("discovery: listen on UDP port %d: %w", Port, err)
	}
	return pc.(*net.UDPConn), nil // what ListenPacket returns for udp networks
}

// configure binds a socket to its interface: it sends and receives by no other.
func configure(fd int, i Interface) error {
	if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, i.Name); err != nil {
		return os.NewSyscallError("set SO_BINDTODEVICE", err)
	}
	mreq := &unix.IPv6Mreq{Multiaddr: Group.As16(), Interface: uint32(i.Index)} // #nosec G115 -- an index is positive
	if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, mreq); err != nil {
		return os.NewSyscallError("set IPV6_JOIN_GROUP", err)
	}
	for _, o := range []struct{ level, option, value int }{
		{unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer},
		{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, i.Index},
		{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0},
		{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0}, // only the group that this socket joined
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

// close returns when neither goroutine runs any more.
func (p *port) close() {
	p.cancel()
	_ = p.conn.Close()
	p.wg.Wait()
}

func (p *port) hurry() {
	p.mu.Lock()
	p.seg.hurry(time.Now())
	p.mu.Unlock()
	p.rouse()
}

// rouse has the ticker look at its deadline anew.
func (p *port) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// hear reads until the socket is closed.
func (p *port) hear() {
	b := make([]byte, 256) // what a longer one has behind is of a later version
	for p.ctx.Err() == nil {
		n, from, err := p.conn.ReadFromUDPAddrPort(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			p.d.count.readErrors.Add(1)
			p.rest(floodedPause) // never spin on an error that stays
			continue
		}
		if p.take(netip.AddrPortFrom(from.Addr().WithZone(""), from.Port()), b[:n]) {
			p.rest(floodedPause)
		}
	}
}

func (p *port) rest(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.ctx.Done():
	}
}

// take hands a datagram to the segment and does what that says. It reports whether there are too many.
func (p *port) take(from netip.AddrPort, b []byte) (flooded bool) {
	now := time.Now()
	p.mu.Lock()
	v := p.seg.hear(now, from, b)
	if v.arm.IsValid() && !p.d.cfg.Linked(p.zoned(v.arm)) {
		p.seg.arm(now, v.arm.Addr(), v.first)
		defer p.rouse()
	}
	p.mu.Unlock()
	if v.answer {
		if p.send(p.d.beacon(p.seg.nonce, true), p.zoned(from)) {
			p.d.count.answered.Add(1)
		}
	}
	return v.flooded
}

func (p *port) zoned(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().WithZone(p.name), a.Port())
}

// sendLimit is how long a beacon may wait for room in the socket's buffer: others wait for the port meanwhile.
const sendLimit = 250 * time.Millisecond

func (p *port) send(b []byte, to netip.AddrPort) bool {
	_ = p.conn.SetWriteDeadline(time.Now().Add(sendLimit)) // fails on a closed socket only, as the write does then
	if _, err := p.conn.WriteToUDPAddrPort(b, to); err != nil {
		p.d.count.sendErrors.Add(1)
		return false
	}
	return true
}

// tick sends beacons and hands addresses on when they are due, until the port is closed.
func (p *port) tick() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
		timer.Reset(max(0, time.Until(p.act(time.Now()))))
	}
}

// act does what is due and returns when to be called again.
func (p *port) act(now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !now.Before(p.seg.next) {
		ok := p.send(p.d.beacon(p.seg.nonce, false), p.to)
		if ok {
			p.d.count.sent.Add(1)
		}
		p.seg.sent(now, ok)
	}
	for _, a := range p.seg.due(now, func(a netip.AddrPort) bool { return p.d.cfg.Linked(p.zoned(a)) }) {
		p.d.cfg.Found(p.zoned(a), p.name)
	}
	return p.seg.deadline()
}
