package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A Socket is six of the kernel's on one port, one for each class, among which a program chooses (SO_REUSEPORT with
// SO_ATTACH_REUSEPORT_CBPF, socket(7)); none of it needs a privilege. Where the kernel does not do that, it is one, and the
// classes are told apart when they are read.

// Bytes that may wait of each class. Handshakes of strangers wait no longer than it takes to serve them in turn.
var receiveBuffers = [classes]int{refused: 4 << 10, framed: 8 << 20, acquainted: 4 << 20, strange: 1 << 20, expected: 1 << 20, calm: 4 << 20}

const (
	sendBuffer      = 2 << 20
	controlPriority = 6 // TC_PRIO_INTERACTIVE: the highest that needs no privilege (socket(7)), served first by pfifo_fast
)

// group is the sockets by class. Only that of frames is there if the kernel does not sort.
type group [classes]*endpoint

// sorted reports whether the kernel sorts.
func (g *group) sorted() bool { return g[refused] != nil }

type shareFunc func(g *group, first *endpoint, network string, addr netip.AddrPort) error

// open binds the address. If sorting is why, and not the address, that is in the second error, and the group is one socket.
func (g *group) open(addr netip.AddrPort, share shareFunc) (local netip.AddrPort, unsorted, err error) {
	network, bind := binding(addr)
	// The first is bound without sharing the port, so that a port that another program holds is found out.
	first, local, err := bindSocket(network, bind, framed, false)
	if err != nil {
		return local, nil, listenError(bind, err)
	}
	if unsorted = share(g, first, network, netip.AddrPortFrom(addr.Addr(), local.Port())); unsorted == nil {
		return local, nil, nil
	}
	_ = g.close()
	*g = group{framed: first}
	return local, unsorted, nil
}

// share lets others have the port of the first socket, which becomes that of what is refused: in the order in which they
// join, the sockets have the numbers that programs return.
func (g *group) share(first *endpoint, network string, addr netip.AddrPort) error {
	if err := first.control(func(fd int) error {
		return os.NewSyscallError("set SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	}); err != nil {
		return err
	}
	_, bind := binding(addr)
	for c := framed; c < classes; c++ {
		var err error
		if g[c], _, err = bindSocket(network, bind, c, true); err != nil {
			return err
		}
	}
	if err := g.attach(&rules{}); err != nil {
		return err
	}
	if err := dropAll(first); err != nil {
		return err
	}
	g[refused] = first
	return nil
}

// bindSocket opens one socket of the group.
func bindSocket(network, bind string, c class, shared bool) (*endpoint, netip.AddrPort, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = configureFD(int(fd), c, shared) })
		return errors.Join(err, failed)
	}}
	pc, err := lc.ListenPacket(context.Background(), network, bind)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	conn := pc.(*net.UDPConn) // what ListenPacket returns for udp networks
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	p, err := newEndpoint(conn)
	return p, netip.AddrPortFrom(local.Addr().Unmap(), local.Port()), err
}

// configureFD sets what must hold before bind: buffers, and no fragmentation in either family.
func configureFD(fd int, c class, shared bool) error {
	setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, receiveBuffers[c])
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, sendBuffer)
	if shared {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return os.NewSyscallError("set SO_REUSEPORT", err)
		}
	}
	if c == acquainted {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, controlPriority) // of use only where a queue has bands
	}
	if c == framed {
		_ = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) // datagrams that come together are read together, if it can
	}
	if c == framed { // without, marks of the network are not seen
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1) // of IPv4 on a socket of both, too
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
	}
	if c == calm || c == framed { // they are read later than they come
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		if err != nil && c == calm { // a frame without a stamp has not waited
			return os.NewSyscallError("set SO_TIMESTAMPNS", err)
		}
	}
	// Probe, not do: both set don't-fragment, but with do whoever forges an ICMP error, which takes no more than the two
	// addresses, could make the kernel refuse our frames. What crosses a link is measured (core/link).
	// An IPv6 socket has this one too, for the IPv4 that it carries when it is dual-stack.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE); err != nil {
		return os.NewSyscallError("set IP_MTU_DISCOVER", err)
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("get SO_DOMAIN", err)
	}
	if domain == unix.AF_INET6 {
		err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
		return os.NewSyscallError("set IPV6_MTU_DISCOVER", err)
	}
	return nil
}

// setBuffer asks for a large buffer: beyond the system's limit where allowed (CAP_NET_ADMIN), else up to it. A
// small buffer costs packets in bursts and nothing else, so failure is no error.
func setBuffer(fd, force, plain, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, size)
	}
}

// attach makes the kernel sort by other rules from the next datagram on. If it takes no more instructions than for a few
// sessions, as old systems do (net.core.optmem_max), it lets in all frames.
func (g *group) attach(r *rules) error {
	if len(r.sessions) > maxSessions {
		r = r.lenient()
	}
	err := g.tryAttach(r)
	if err != nil && r.only {
		err = g.tryAttach(r.lenient())
	}
	return err
}

func (g *group) tryAttach(r *rules) error {
	p, err := r.program()
	if err != nil {
		return fmt.Errorf("assemble the filter: %w", err)
	}
	return g[framed].control(func(fd int) error {
		return attachFilter(fd, unix.SO_ATTACH_REUSEPORT_CBPF, p)
	})
}

func (r *rules) lenient() *rules { return &rules{mark: r.mark, members: r.members, hellos: r.hellos} }

// dropAll makes the kernel drop, and count, all that a socket is given.
func dropAll(p *endpoint) error {
	nothing, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return err
	}
	return p.control(func(fd int) error { return attachFilter(fd, unix.SO_ATTACH_FILTER, nothing) })
}

func attachFilter(fd, option int, raw []bpf.RawInstruction) error {
	p := make([]unix.SockFilter, len(raw))
	for i, ri := range raw {
		p[i] = unix.SockFilter{Code: ri.Op, Jt: ri.Jt, Jf: ri.Jf, K: ri.K}
	}
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: unsafe.SliceData(p)} // #nosec G103 G115 -- for the call; at most 4096
	return os.NewSyscallError("attach a socket filter", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, option, &prog))
}

// each calls f for every socket that is there.
func (g *group) each(f func(class, *endpoint) error) error {
	var errs []error
	for c, p := range g {
		if p != nil {
			errs = append(errs, f(class(c), p))
		}
	}
	return errors.Join(errs...)
}

func (g *group) close() error {
	return g.each(func(_ class, p *endpoint) error { return p.close() })
}

// readers returns the classes that are read.
func (g *group) readers() []class {
	return slices.DeleteFunc([]class{framed, acquainted, strange, expected, calm}, func(c class) bool { return g[c] == nil })
}
