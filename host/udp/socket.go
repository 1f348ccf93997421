// Package udp owns the node's UDP socket. Mesh frames and QUIC share one port and are told apart by the first
// byte of a datagram, in the manner of RFC 9443:
//
//	0x30 … 0x3f          mesh frame, handed to Handlers.Frame on the read goroutine
//	0x40 or 0x80 set     QUIC, queued for the packet connection that QUIC returns
//	anything else        dropped and counted
//
// Behind that the kernel sorts what comes into queues, each read by a goroutine of its own, so that a flood of one kind
// does not crowd out another:
//
//	frames               of the link sessions that Admit names
//	hellos               of those: the ones that want no answer, which may wait (Gather)
//	QUIC                 for connections whose IDs NewConnectionID made, once RequireMarks was called
//	newcomers            QUIC that begins a connection: limited by network and altogether, and read at a bounded rate;
//	                     those from addresses that Expect named apart from all others
//	refused              everything else: dropped by the kernel and counted
//
// Reading is in batches (recvmmsg), into buffers that are used again. Addresses given out and taken are plain
// IPv4 or IPv6: the v4-mapped form (::ffff:a.b.c.d) stays inside. Datagrams leave unfragmented (don't-fragment
// set), from the source address that the kernel's routing chooses; all but data frames leave with a priority that local
// queues with bands serve first, and data frames with their own ECN code point in the IP header (RFC 6040 §4.1).
//
// An address with a zone, which is the name or the number of an interface, is sent to by that interface and from an
// address of it. Link-local sources come with their zone. IPv4 with a zone has the v4-mapped form, as netip wants it.
package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/mesh"
)

// ErrTooBig is wrapped by Send when the datagram exceeds the path MTU that the kernel knows, so that it would
// have had to be fragmented. PathMTU tells what fits.
var ErrTooBig = errors.New("datagram larger than the path MTU")

// MaxDatagram is the largest datagram that is received whole; longer ones are counted as truncated and dropped.
const MaxDatagram = 2048

// Handlers are the receivers of what arrives. A nil field drops and counts.
type Handlers struct {
	// Frame gets every mesh frame that is admitted. It is called by one goroutine, one datagram at a time; b is the
	// handler's until Flush has returned, and of its capacity what belongs to datagrams that were given before, or to none.
	// It must not call Close of the socket.
	Frame func(local *Socket, from netip.AddrPort, b []byte)

	// Came is called by the same goroutine in front of the frames that the kernel handed over as one: at is when the first of
	// them came to the machine; few says that they were read with all that waited, and that this was no more than one
	// packet may be long; marked that the network in between marked them congestion-experienced (RFC 3168). It may be nil.
	Came func(at time.Time, few, marked bool)

	// Flush is called by the same goroutine after the last of the frames that came together.
	Flush func()

	// Hello gets the hellos that want no answer, if it is not nil and the kernel sorts; else Frame gets them too. at is when
	// one came. It is called by one goroutine at a time, at the same time as Frame. It must call neither Close nor Collect.
	Hello func(local *Socket, from netip.AddrPort, b []byte, at time.Time)
}

// Socket is an open UDP port. Its methods may be called from any goroutine.
type Socket struct {
	ports    group
	unsorted error     // why the kernel does not sort; nil = it does
	port     *endpoint // that of frames
	out      *sender
	control  *sender // for all but data
	local    netip.AddrPort
	h        Handlers
	quic     *packetConn
	count    counters
	mark     *marker
	started  time.Time
	arrivals *newcomers
	hellos   *reader       // of those that may wait; nil = they come with other frames
	gathers  atomic.Bool   // they do wait
	done     chan struct{} // closed when Close begins
	wg       sync.WaitGroup
	once     sync.Once

	rules atomic.Pointer[rules]
	mu    sync.Mutex // held to change the rules, and what follows

	members []uint32 // those of the rules, oldest first
}

// Listen opens addr and starts reading. A zero or unspecified IPv6 address takes IPv4 and IPv6 (IPv4 alone where
// the kernel has no IPv6), 0.0.0.0 IPv4 only, any other just itself. Port 0 picks a free one; see LocalAddr.
func Listen(addr netip.AddrPort, h Handlers) (*Socket, error) { return listen(addr, h, (*group).share) }

// listen is given how the port is shared, so that tests can have a kernel that does not sort.
func listen(addr netip.AddrPort, h Handlers, share shareFunc) (*Socket, error) {
	s := &Socket{h: h, mark: newMarker(), started: time.Now(), arrivals: newNewcomers(), done: make(chan struct{})}
	s.rules.Store(&rules{})
	var err error
	if s.local, s.unsorted, err = s.ports.open(addr, share); err != nil {
		return nil, err
	}
	s.port = s.ports[framed]
	s.quic = newPacketConn(s)
	z := newZones(s.port.socket)
	if s.out, err = newSender(s.port, z); err == nil {
		s.control = s.out
		if s.ports.sorted() {
			s.control, err = newSender(s.ports[acquainted], z)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("udp: write to %s: %w", s.local, err), s.ports.close())
	}
	s.read(z)
	if s.hellos != nil {
		if err := s.change(func(r *rules) { r.hellos = true }); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// read starts to read.
func (s *Socket) read(z *zones) {
	for _, c := range s.ports.readers() {
		r := newReader(s.ports[c], c, z)
		if c == calm && s.h.Hello != nil {
			s.hellos = r
		}
		s.wg.Go(func() { s.readLoop(c, r) })
	}
}

// Unsorted returns why the kernel does not sort what arrives, nil if it does. Without that a flood crowds out frames.
func (s *Socket) Unsorted() error { return s.unsorted }

// Admit names the link sessions whose frames are wanted, by the indices in their headers; those of others are dropped.
// Before the first call all frames are let in. When it returns, the next datagram is judged so.
func (s *Socket) Admit(sessions []uint32) error {
	known := slices.Clone(sessions)
	slices.Sort(known)
	return s.change(func(r *rules) { r.sessions, r.only = known, true })
}

// RequireMarks says that all connections on QUIC have IDs made by NewConnectionID: what is for none of them and does not
// begin one is dropped.
func (s *Socket) RequireMarks() error { return s.change(func(r *rules) { r.mark = s.mark }) }

// Expect says that a member has been at the address, now: handshakes from there have a queue and an allowance of their own,
// of which the last maxMembers addresses partake.
func (s *Socket) Expect(a netip.Addr) error {
	if !a.IsValid() || s.rules.Load().expects(a) {
		return nil
	}
	return s.change(func(r *rules) {
		s.members = append(s.members[max(0, len(s.members)+1-maxMembers):], lastWord(a))
		r.members = slices.Sorted(slices.Values(s.members))
	})
}

// NewConnectionID returns a connection ID for QUIC, ConnectionIDLen bytes, that this socket recognises.
func (s *Socket) NewConnectionID() []byte { return s.mark.id() }

func (s *Socket) change(f func(*rules)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := *s.rules.Load()
	f(&next)
	if s.ports.sorted() {
		if err := s.ports.attach(&next); err != nil {
			return fmt.Errorf("udp: sort what arrives at %s: %w", s.local, err)
		}
	}
	s.rules.Store(&next)
	return nil
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

// LocalAddr returns the address bound, with the real port. The address is unspecified for a wildcard socket.
func (s *Socket) LocalAddr() netip.AddrPort { return s.local }

// Send writes one datagram. It allocates nothing unless it fails, and waits, a tenth of a second at most, only while
// the kernel's send buffer is full. An error concerns this datagram alone: the socket stays usable until Close. An
// interface named by the address that is not there is ErrNoInterface; once it is back, sends reach it within 2 s.
func (s *Socket) Send(to netip.AddrPort, b []byte) error {
	to = mesh.PlainUnderlay(to)
	out := s.out
	if len(b) > 0 && b[0] != dataFrame {
		out = s.control
	}
	err := out.send(to, b, 0)
	if err == nil {
		s.count.sent.Add(1)
		s.count.sentBytes.Add(uint64(len(b)))
		return nil
	}
	return s.notSent(to, len(b), err)
}

// notSent counts a send that failed, and says what it was.
func (s *Socket) notSent(to netip.AddrPort, n int, err error) error {
	s.count.sendErrors.Add(1)
	if errors.Is(err, ErrNoInterface) {
		s.count.noInterface.Add(1)
	}
	if errors.Is(err, unix.EMSGSIZE) {
		return fmt.Errorf("udp: send %d bytes to %s: %w: %w", n, to, ErrTooBig, err)
	}
	return fmt.Errorf("udp: send to %s: %w", to, err)
}

// Bounds of a run: the kernel cuts it into 64 datagrams at most (UDP_MAX_SEGMENTS), and takes no more than an IPv4 packet holds.
const (
	MaxRun      = 64
	MaxRunBytes = 65000
)

// SendRun writes datagrams of size bytes that lie one behind the other in run, of which only the last may be shorter, in
// one call, or in several if there are more than the kernel takes. Of data frames all have the ECN code point of the first. What
// the kernel does not take so, because an interface on the way cannot make checksums, or knows a smaller MTU, is sent datagram
// by datagram. Otherwise it is like Send.
func (s *Socket) SendRun(to netip.AddrPort, run []byte, size int) error {
	if size <= 0 {
		return fmt.Errorf("udp: a run of datagrams of %d bytes", size)
	}
	most := max(size, min(MaxRun*size, MaxRunBytes))
	for len(run) > most {
		n := most / size * size
		if err := s.sendRun(to, run[:n], size); err != nil {
			return err // what follows would fare no better, and might wait as long
		}
		run = run[n:]
	}
	return s.sendRun(to, run, size)
}

// sendRun is SendRun for no more than the kernel takes, but for a single datagram of any size.
func (s *Socket) sendRun(to netip.AddrPort, run []byte, size int) error {
	n := (len(run) + size - 1) / size
	if n > 1 {
		to := mesh.PlainUnderlay(to)
		err := s.out.send(to, run, uint16(size)) // #nosec G115 -- below len(run)
		switch {
		case err == nil:
			s.count.runs.Add(1)
			s.count.sent.Add(uint64(n)) // #nosec G115 -- at most MaxRun
			s.count.sentBytes.Add(uint64(len(run)))
			return nil
		case !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EMSGSIZE):
			return s.notSent(to, len(run), err) // what is wrong is not that it is a run: no room, no route
		}
		s.count.runsRefused.Add(1)
	}
	var errs error
	for at := 0; at < len(run); at += size {
		errs = errors.Join(errs, s.Send(to, run[at:min(at+size, len(run))]))
	}
	return errs
}

// NameInterfaces gives sources that come by the interfaces of these names a zone, as link-local ones always have, so that
// what answers them leaves by the interface that they came by. It is for machines with several ways to one neighbour.
func (s *Socket) NameInterfaces(names []string) error {
	level, option := unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO // of IPv4 on a socket of both, too
	if s.out.inet4 {
		level, option = unix.IPPROTO_IP, unix.IP_PKTINFO
	}
	if err := s.ports.each(func(_ class, p *endpoint) error {
		return p.control(func(fd int) error { return unix.SetsockoptInt(fd, level, option, 1) })
	}); err != nil {
		return fmt.Errorf("udp: ask by which interface datagrams come: %w", err)
	}
	named := slices.Clone(names)
	s.out.zones.named.Store(&named)
	return nil
}

// QUIC returns the packet connection that carries the datagrams of QUIC. It is the same one at every call.
// Closing it drops QUIC datagrams from then on and leaves the socket open.
func (s *Socket) QUIC() net.PacketConn { return s.quic }

// Close closes the socket and returns when the read goroutines have ended: no handler runs after it.
func (s *Socket) Close() error {
	var err error
	s.once.Do(func() {
		close(s.done)
		err = s.ports.close()
		s.quic.Close()
	})
	s.wg.Wait()
	return err
}
