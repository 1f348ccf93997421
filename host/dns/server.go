package nameserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrTaken means that another program listens on the port of the address.
var ErrTaken = errors.New("another program holds port 53 of every address; have it listen on its own addresses only")

// Server answers questions on one address. Its methods may be called from any goroutine.
type Server struct {
	at        netip.AddrPort
	changed   func(error)
	rebind    time.Duration
	zones     atomic.Pointer[Zones]
	counts    [counters]atomic.Uint64
	strangers gate
	conns     chan struct{} // one for each TCP connection that is served

	mu      sync.Mutex
	serving bool
	err     error // why it does not serve; nil = it does, or has not tried yet
}

// New makes a server for a node's mesh address. It is told of changes: nil when it begins to answer, else why it ceased;
// nil for nobody.
func New(at netip.AddrPort, changed func(error)) *Server {
	if changed == nil {
		changed = func(error) {}
	}
	return &Server{at: at, changed: changed, rebind: rebind, conns: make(chan struct{}, maxConns)}
}

// Publish puts zones in place. Without any the server refuses all questions.
func (s *Server) Publish(z *Zones) { s.zones.Store(z) }

// Serving reports whether the server answers now.
func (s *Server) Serving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serving
}

// Err returns why the server does not answer; nil if it does, and before it has tried.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Run answers until ctx ends. A socket that cannot be opened, or fails, is opened again after a while.
func (s *Server) Run(ctx context.Context) {
	for {
		err := s.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		s.note(err)
		timer := time.NewTimer(s.rebind)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (s *Server) note(err error) {
	s.mu.Lock()
	same := err != nil && s.err != nil && err.Error() == s.err.Error()
	s.err, s.serving = err, err == nil
	s.mu.Unlock()
	if !same {
		s.changed(err)
	}
}

// serve opens both sockets and answers until one fails or ctx ends.
func (s *Server) serve(ctx context.Context) error {
	lc := net.ListenConfig{Control: anytime}
	pc, err := lc.ListenPacket(ctx, "udp6", s.at.String())
	if err != nil {
		return explain(s.at, err)
	}
	defer func() { _ = pc.Close() }()
	l, err := lc.Listen(ctx, "tcp6", s.at.String())
	if err != nil {
		return explain(s.at, err)
	}
	defer func() { _ = l.Close() }()
	s.note(nil)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(ctx, func() { _ = pc.Close(); _ = l.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { cancel(s.serveUDP(pc.(*net.UDPConn))) })
	wg.Go(func() { cancel(s.serveTCP(ctx, l)) })
	wg.Wait()
	return context.Cause(ctx)
}

// anytime lets a socket have the address while the interface is without it: it serves when the address is back.
func anytime(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1) // #nosec G115 -- a descriptor
	}); e != nil {
		return e
	}
	return err
}

func explain(at netip.AddrPort, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %w: %w", at, ErrTaken, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w; run as root or with CAP_NET_BIND_SERVICE", err)
	}
	return err
}

func (s *Server) serveUDP(c *net.UDPConn) error {
	b := make([]byte, maxQuery+1)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return err
		}
		if n > maxQuery {
			s.count(malformed)
			continue
		}
		reply := s.respond(b[:n], from.Addr(), false)
		if reply == nil {
			continue
		}
		if _, err := c.WriteToUDPAddrPort(reply, from); err != nil {
			s.count(unsent)
		}
	}
}

func (s *Server) serveTCP(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		if !s.local(remote(c)) {
			s.count(foreign)
			_ = c.Close()
			continue
		}
		select {
		case s.conns <- struct{}{}:
		default:
			s.count(crowded)
			_ = c.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-s.conns }()
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			defer func() { _ = c.Close() }()
			s.converse(c)
		})
	}
}

func remote(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr()
	}
	return netip.Addr{}
}

// converse answers the questions of one connection (RFC 7766), each of which two bytes of length precede.
func (s *Server) converse(c net.Conn) {
	b := make([]byte, maxQuery)
	for range maxPerConn {
		if c.SetDeadline(time.Now().Add(connIdle)) != nil {
			return
		}
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(size[:]))
		if n > maxQuery {
			s.count(malformed)
			return
		}
		if _, err := io.ReadFull(c, b[:n]); err != nil {
			return
		}
		reply := s.respond(b[:n], remote(c), true)
		if reply == nil || c.SetDeadline(time.Now().Add(connWrite)) != nil {
			return
		}
		framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...) // #nosec G115 -- at most 65535
		if _, err := c.Write(framed); err != nil {
			s.count(unsent)
			return
		}
	}
}

// local reports whether a question comes from this machine: from the address that it is sent to, as those of the
// machine's own programs do, or from loopback. What comes by the mesh has its sender's own address, and nothing else can
// reach the server's (host/tun).
func (s *Server) local(from netip.Addr) bool {
	from = from.Unmap().WithZone("")
	return from == s.at.Addr() || from.IsLoopback()
}

// gate lets some events of a second pass.
type gate struct {
	mu   sync.Mutex
	room float64
	last time.Time
}

func (g *gate) pass() bool { return g.passAt(time.Now()) }

func (g *gate) passAt(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last.IsZero() {
		g.room = strangers
	} else {
		g.room = min(strangers, g.room+now.Sub(g.last).Seconds()*strangers)
	}
	g.last = now
	if g.room < 1 {
		return false
	}
	g.room--
	return true
}
