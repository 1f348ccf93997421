package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const quicQueue = 1024

// packetConn is the QUIC half of a Socket as a plain net.PacketConn. The queue between them is bounded: when
// QUIC falls behind, what comes next is dropped and counted, and its own loss recovery slows the sender.
type packetConn struct {
	s     *Socket
	queue chan *packet
	read  deadline
	done  chan struct{}
	once  sync.Once
	pool  sync.Pool
}

type packet struct {
	from netip.AddrPort
	n    int
	data [MaxDatagram]byte
}

func newPacketConn(s *Socket) *packetConn {
	return &packetConn{
		s:     s,
		queue: make(chan *packet, quicQueue),
		read:  deadline{expired: make(chan struct{})},
		done:  make(chan struct{}),
		pool:  sync.Pool{New: func() any { return new(packet) }},
	}
}

func (c *packetConn) deliver(from netip.AddrPort, b []byte) {
	select {
	case <-c.done:
		c.s.count.quicDropped.Add(1)
		return
	default:
	}
	p := c.pool.Get().(*packet)
	p.from, p.n = from, copy(p.data[:], b)
	select {
	case c.queue <- p:
		c.s.count.quic.Add(1)
	default:
		c.pool.Put(p)
		c.s.count.quicDropped.Add(1)
	}
}

// ReadFrom returns the next QUIC datagram, cut to len(b).
func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	expired := c.read.wait()
	select {
	case <-c.done:
		return 0, nil, c.closed("read")
	case <-expired:
		return 0, nil, os.ErrDeadlineExceeded
	default:
	}
	select {
	case p := <-c.queue:
		n := copy(b, p.data[:p.n])
		from := net.UDPAddrFromAddrPort(p.from)
		c.pool.Put(p)
		return n, from, nil
	case <-c.done:
		return 0, nil, c.closed("read")
	case <-expired:
		return 0, nil, os.ErrDeadlineExceeded
	}
}

// WriteTo sends b to addr, which must be a *net.UDPAddr. Errors that concern the network and not the socket (no
// route, refused by a filter, out of buffers) are losses to QUIC, which otherwise would close the connection;
// they are counted and not returned. ErrTooBig is.
func (c *packetConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	select {
	case <-c.done:
		return 0, c.closed("write")
	default:
	}
	ua, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("udp: cannot send to a %T: use a *net.UDPAddr", addr)
	}
	if err := c.s.Send(ua.AddrPort(), b); err != nil && !transient(err) {
		return 0, err
	}
	return len(b), nil
}

// transient tells the errors of one datagram from those of the socket.
func transient(err error) bool {
	for _, e := range []error{
		unix.ECONNREFUSED, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EHOSTDOWN, unix.EPERM, unix.EACCES,
		unix.EADDRNOTAVAIL, unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN, unix.EINTR, unix.EINVAL, unix.ENODEV, unix.ENXIO,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (c *packetConn) closed(op string) error {
	return &net.OpError{Op: op, Net: "udp", Addr: c.LocalAddr(), Err: net.ErrClosed}
}

// Close ends reading and writing here; the socket stays open.
func (c *packetConn) Close() error {
	c.once.Do(func() { close(c.done) })
	return nil
}

// LocalAddr returns the socket's address as a *net.UDPAddr.
func (c *packetConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.s.local) }

// SetDeadline sets the read deadline; writes do not wait.
func (c *packetConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline makes ReadFrom fail with os.ErrDeadlineExceeded from t on, a waiting one too. Zero is never.
func (c *packetConn) SetReadDeadline(t time.Time) error {
	c.read.set(t)
	return nil
}

// SetWriteDeadline has no effect: writes do not wait.
func (c *packetConn) SetWriteDeadline(time.Time) error { return nil }

// deadline is a channel that is closed from a point in time on; set may move that point either way.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{}
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.expired
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.expired // the timer has fired: let it close the channel before looking at it
	}
	d.timer = nil
	select {
	case <-d.expired:
		d.expired = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	ch := d.expired
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(ch) })
		return
	}
	close(ch)
}
