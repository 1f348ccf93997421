// Package udp owns the node's UDP socket. Mesh frames and QUIC share one port and are told apart by the first
// byte of a datagram, in the manner of RFC 9443:
//
//	0x30 … 0x3f          mesh frame, handed to Handlers.Frame on the read goroutine
//	0x40 or 0x80 set     QUIC, queued for the packet connection that QUIC returns
//	anything else        counted and dropped
//
// One goroutine reads, in batches (recvmmsg), into buffers it reuses. Addresses given out and taken are plain
// IPv4 or IPv6: the v4-mapped form (::ffff:a.b.c.d) stays inside. Datagrams leave unfragmented (don't-fragment
// set), from the source address that the kernel's routing chooses.
//
// An address with a zone, which is the name or the number of an interface, is sent to by that interface and from an
// address of it. Link-local sources come with their zone. IPv4 with a zone has the v4-mapped form, as netip wants it.
package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/mesh"
)

// ErrTooBig is wrapped by Send when the datagram exceeds the path MTU that the kernel knows, so that it would
// have had to be fragmented. PathMTU tells what fits.
var ErrTooBig = errors.New("datagram larger than the path MTU")

// MaxDatagram is the largest datagram that is received whole; longer ones are counted as truncated and dropped.
const MaxDatagram = 2048

const (
	receiveBuffer = 8 << 20
	sendBuffer    = 2 << 20
)

// Handlers are the receivers of what arrives. A nil field drops and counts.
type Handlers struct {
	// Frame gets every mesh frame. It is called by one goroutine, one datagram at a time; b is valid during the
	// call only. It must not call Close of the socket.
	Frame func(local *Socket, from netip.AddrPort, b []byte)
}

// Socket is an open UDP port. Its methods may be called from any goroutine.
type Socket struct {
	port  *endpoint
	out   *sender
	local netip.AddrPort
	h     Handlers
	quic  *packetConn
	count counters
	done  chan struct{} // closed when Close begins
	wg    sync.WaitGroup
	once  sync.Once
}

type counters struct {
	frames, quic, quicDropped, garbage, truncated, receiveErrors, sent, sendErrors, noInterface, receivedBytes, sentBytes atomic.Uint64
}

// Listen opens addr and starts reading. A zero or unspecified IPv6 address takes IPv4 and IPv6 (IPv4 alone where
// the kernel has no IPv6), 0.0.0.0 IPv4 only, any other just itself. Port 0 picks a free one; see LocalAddr.
func Listen(addr netip.AddrPort, h Handlers) (*Socket, error) {
	network, bind := binding(addr)
	lc := net.ListenConfig{Control: configure}
	pc, err := lc.ListenPacket(context.Background(), network, bind)
	if err != nil {
		return nil, listenError(bind, err)
	}
	conn := pc.(*net.UDPConn) // what ListenPacket returns for udp networks
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	p, err := newEndpoint(conn)
	if err != nil {
		return nil, fmt.Errorf("udp: listen on %s: %w", bind, err)
	}
	s := &Socket{
		port:  p,
		local: netip.AddrPortFrom(local.Addr().Unmap(), local.Port()),
		h:     h,
		done:  make(chan struct{}),
	}
	s.quic = newPacketConn(s)
	z := newZones(p.socket)
	if s.out, err = newSender(p, z); err != nil {
		return nil, errors.Join(fmt.Errorf("udp: write to %s: %w", s.local, err), p.close())
	}
	s.wg.Go(func() { s.readLoop(newReader(p, z)) })
	return s, nil
}

// binding maps a configured address to the arguments of the net package.
func binding(addr netip.AddrPort) (network, bind string) {
	a := addr.Addr().Unmap()
	switch {
	case !a.IsValid() || a.Is6() && a.IsUnspecified():
		return "udp", fmt.Sprintf(":%d", addr.Port())
	case a.Is4():
		return "udp4", netip.AddrPortFrom(a, addr.Port()).String()
	}
	return "udp6", addr.String()
}

func listenError(bind string, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("udp: listen on %s: %w: stop the program that holds the port or choose another", bind, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("udp: listen on %s: %w: the address must be one of this host's", bind, err)
	}
	return fmt.Errorf("udp: listen on %s: %w", bind, err)
}

// configure sets what must hold before bind: buffers, and no fragmentation in either family.
func configure(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = configureFD(int(fd)) })
	return errors.Join(err, failed)
}

func configureFD(fd int) error {
	setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, receiveBuffer)
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, sendBuffer)
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

// LocalAddr returns the address bound, with the real port. The address is unspecified for a wildcard socket.
func (s *Socket) LocalAddr() netip.AddrPort { return s.local }

// Send writes one datagram. It allocates nothing unless it fails, and waits, a tenth of a second at most, only while
// the kernel's send buffer is full. An error concerns this datagram alone: the socket stays usable until Close. An
// interface named by the address that is not there is ErrNoInterface; once it is back, sends reach it within 2 s.
func (s *Socket) Send(to netip.AddrPort, b []byte) error {
	to = mesh.PlainUnderlay(to)
	err := s.out.send(to, b)
	if err == nil {
		s.count.sent.Add(1)
		s.count.sentBytes.Add(uint64(len(b)))
		return nil
	}
	s.count.sendErrors.Add(1)
	if errors.Is(err, ErrNoInterface) {
		s.count.noInterface.Add(1)
	}
	if errors.Is(err, unix.EMSGSIZE) {
		return fmt.Errorf("udp: send %d bytes to %s: %w: %w", len(b), to, ErrTooBig, err)
	}
	return fmt.Errorf("udp: send to %s: %w", to, err)
}

// NameInterfaces gives sources that come by the interfaces of these names a zone, as link-local ones always have, so that
// what answers them leaves by the interface that they came by. It is for machines with several ways to one neighbour.
func (s *Socket) NameInterfaces(names []string) error {
	level, option := unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO // of IPv4 on a socket of both, too
	if s.out.inet4 {
		level, option = unix.IPPROTO_IP, unix.IP_PKTINFO
	}
	var err error
	if cerr := s.port.socket.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) }); cerr != nil || err != nil {
		return fmt.Errorf("udp: ask by which interface datagrams come: %w", errors.Join(cerr, err))
	}
	named := slices.Clone(names)
	s.out.zones.named.Store(&named)
	return nil
}

// QUIC returns the packet connection that carries the datagrams of QUIC. It is the same one at every call.
// Closing it drops QUIC datagrams from then on and leaves the socket open.
func (s *Socket) QUIC() net.PacketConn { return s.quic }

// Counters returns what was received, sent and dropped so far, by name.
func (s *Socket) Counters() map[string]uint64 {
	return map[string]uint64{
		"udp_frames":         s.count.frames.Load(),
		"udp_quic":           s.count.quic.Load(),
		"udp_quic_dropped":   s.count.quicDropped.Load(),
		"udp_garbage":        s.count.garbage.Load(),
		"udp_truncated":      s.count.truncated.Load(),
		"udp_receive_errors": s.count.receiveErrors.Load(),
		"udp_received_bytes": s.count.receivedBytes.Load(), // of whole datagrams, whatever is in them
		"udp_sent":           s.count.sent.Load(),
		"udp_sent_bytes":     s.count.sentBytes.Load(),
		"udp_send_errors":    s.count.sendErrors.Load(),
		"udp_no_interface":   s.count.noInterface.Load(),
	}
}

// Close closes the socket and returns when the read goroutine has ended: no handler runs after it.
func (s *Socket) Close() error {
	var err error
	s.once.Do(func() {
		close(s.done)
		err = s.port.close()
		s.quic.Close()
	})
	s.wg.Wait()
	return err
}

// readLoop ends only when the socket is closed: ICMP errors, full tables and refusals by a packet filter come
// back here as errors too, and concern one peer.
func (s *Socket) readLoop(r *reader) {
	for {
		n, err := r.read()
		switch {
		case err != nil && s.closed():
			return
		case err != nil:
			s.count.receiveErrors.Add(1)
			if !s.pause(10 * time.Millisecond) { // never spin on an error that stays
				return
			}
			continue
		}
		bytes := 0
		for i := range n {
			b, from, whole := r.datagram(i)
			if !whole {
				s.count.truncated.Add(1)
				continue
			}
			bytes += len(b)
			s.demux(from, b)
		}
		s.count.receivedBytes.Add(uint64(bytes)) // #nosec G115 -- lengths
	}
}

func (s *Socket) closed() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// pause waits for d; false means that the socket was closed meanwhile.
func (s *Socket) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}

func (s *Socket) demux(from netip.AddrPort, b []byte) {
	switch {
	case len(b) == 0 || !from.IsValid():
		s.count.garbage.Add(1)
	case b[0]&0xc0 != 0: // long header, or short header with the fixed bit (RFC 9000 §17)
		s.quic.deliver(from, b)
	case b[0]&0xf0 == 0x30 && s.h.Frame != nil:
		s.count.frames.Add(1)
		s.h.Frame(s, from, b)
	default:
		s.count.garbage.Add(1)
	}
}
