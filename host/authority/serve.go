package authority

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

// Exchange is how one connection to a Server ended.
type Exchange struct {
	Remote  net.Addr
	Purpose trust.Purpose // 0 if not even that was said
	Relayed bool          // this node was not the authority and carried the bytes
	Node    mesh.NodeID   // who asked; zero if unknown
	Err     error
}

// Server answers joins and renewals on a member: itself if it is the authority that is asked for, else by
// carrying the bytes to it. Self and, on an authority, Authority and Source are needed; the rest may be left out.
type Server struct {
	Self       mesh.NodeID
	Authority  *Authority // nil on a member that is none
	Source     *Source    // the SVID by which the authority proves itself
	Dial       func(ctx context.Context, authority mesh.NodeID) (net.Conn, error)
	Neighbours func() []string // addresses worth dialling, told to who joins
	Clock      Clock
	Done       func(Exchange) // called once for each connection, from several goroutines

	once   sync.Once
	relays chan struct{}
	tries  tries
	tally  tally

	mu      sync.Mutex
	conns   map[net.Conn]netip.Prefix // where each comes from, as caller has it
	relayed map[netip.Prefix]int      // how many of them are carried to an authority
}

// Serve accepts connections until ctx ends or ln fails, and returns when all of them are over. It closes ln.
// After the end of ctx it returns nil. Several listeners may be served at once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	s.setup()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	for {
		conn, err := ln.Accept()
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil && temporary(err):
			// Out of descriptors, say: the connections that hold them end within maxExchange.
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(100 * time.Millisecond):
			}
			continue
		case err != nil:
			_ = ln.Close()
			return fmt.Errorf("accept joins on %s: %w", ln.Addr(), err)
		}
		wg.Go(func() { s.handle(ctx, conn) })
	}
}

func (s *Server) setup() {
	s.once.Do(func() {
		s.relays = make(chan struct{}, maxRelays)
		s.conns, s.relayed = map[net.Conn]netip.Prefix{}, map[netip.Prefix]int{}
	})
}

func temporary(err error) bool {
	var t interface{ Temporary() bool } // deprecated for callers in general, but what accept has
	return errors.As(err, &t) && t.Temporary()
}

// admit counts conn in, or says why not: there are too many, or its caller came too often.
func (s *Server) admit(conn net.Conn) error {
	from, member := s.caller(conn)
	if !s.tries.left(from, member, time.Now()) {
		return ErrOften
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	same, strangers := 0, 0
	for _, p := range s.conns {
		if p == from {
			same++
		}
		if !s.inside(p.Addr()) {
			strangers++
		}
	}
	if len(s.conns) >= maxConns || same >= maxPerAddress || !member && strangers >= maxStrangers {
		return ErrBusy
	}
	s.conns[conn] = from
	return nil
}

// caller returns who counts as one: a member or an IPv4 address as itself, any other IPv6 address with its /64, which
// one stranger has whole. member says that the connection came across the mesh: nobody else can answer from there.
func (s *Server) caller(conn net.Conn) (from netip.Prefix, member bool) {
	ap, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Prefix{}, false
	}
	addr := ap.Addr().Unmap().WithZone("")
	member = s.inside(addr)
	bits := addr.BitLen()
	if addr.Is6() && !member {
		bits = 64
	}
	return netip.PrefixFrom(addr, bits).Masked(), member
}

// inside reports whether addr is a mesh address of the own trust domain.
func (s *Server) inside(addr netip.Addr) bool {
	return s.Source != nil && mesh.Prefix(s.Source.Current().ID.TrustDomain()).Contains(addr)
}

func (s *Server) dismiss(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

func (s *Server) handle(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	x := Exchange{Remote: conn.RemoteAddr()}
	if err := s.admit(conn); err == nil {
		ctx, cancel := context.WithTimeout(ctx, maxExchange)
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		x.Err = s.exchange(ctx, conn, &x)
		s.dismiss(conn)
		stop()
		cancel()
		s.settle(conn, &x)
	} else {
		x.Err = err
		if errors.Is(err, ErrOften) {
			s.tally.often.Add(1)
		} else {
			s.tally.busy.Add(1)
		}
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write([]byte{byte(trust.StatusBusy)})
	}
	if s.Done != nil {
		s.Done(x)
	}
}

// settle counts an exchange, and takes a try of its caller's unless it was of use. What was carried for another may have
// been or not: this node cannot read it.
func (s *Server) settle(conn net.Conn, x *Exchange) {
	switch {
	case x.Relayed:
		s.tally.relayed.Add(1)
	case x.Err == nil:
		s.tally.served.Add(1)
		return
	default:
		s.tally.failed.Add(1)
	}
	from, member := s.caller(conn)
	s.tries.spend(from, member, time.Now())
}

func (s *Server) exchange(ctx context.Context, conn net.Conn, x *Exchange) error {
	_ = conn.SetDeadline(time.Now().Add(maxPreamble))
	p, err := readPreamble(conn)
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(maxExchange))
	x.Purpose = p.Purpose
	if s.Authority != nil && p.Authority == s.Self {
		return s.answer(ctx, conn, p.Purpose, x)
	}
	x.Relayed = true
	return s.relay(ctx, conn, p)
}

func readPreamble(r io.Reader) (trust.Preamble, error) {
	b := make([]byte, trust.PreambleHead, trust.PreambleHead+mesh.MaxName)
	if _, err := io.ReadFull(r, b); err != nil {
		return trust.Preamble{}, fmt.Errorf("%w: %w", trust.ErrPreamble, err)
	}
	n, err := trust.PreambleLen(b)
	if err != nil {
		return trust.Preamble{}, err
	}
	b = append(b, make([]byte, n-len(b))...)
	if _, err := io.ReadFull(r, b[trust.PreambleHead:]); err != nil {
		return trust.Preamble{}, fmt.Errorf("%w: %w", trust.ErrPreamble, err)
	}
	return trust.ParsePreamble(b)
}

// answer is the authority's side of the exchange.
func (s *Server) answer(ctx context.Context, raw net.Conn, purpose trust.Purpose, x *Exchange) error {
	if _, err := raw.Write([]byte{byte(trust.StatusOK)}); err != nil {
		return err
	}
	cfg := tlsConfig()
	cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		c := s.Source.Certificate()
		return &c, nil
	}
	if purpose == trust.PurposeRenew {
		cfg.ClientAuth = tls.RequireAnyClientCert // decide verifies it, with grace
	}
	conn := tls.Server(&boundedConn{raw, maxUp}, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS with %s: %w", raw.RemoteAddr(), err)
	}
	binding, err := exporter(conn)
	if err != nil {
		return err
	}
	if err := writeMessage(conn, trust.Greeting{Time: s.Clock.now(), Log: s.Authority.Log().Bytes()}.Append(nil)); err != nil {
		return err
	}
	body, err := readMessage(conn, trust.MaxRequest)
	if err != nil {
		return fmt.Errorf("read the request of %s: %w", raw.RemoteAddr(), err)
	}
	chain, verdict := s.decide(body, purpose, binding, conn, x)
	reply := trust.Reply{Chain: chain}
	if verdict != nil {
		reply = replyOf(verdict)
	} else if s.Neighbours != nil {
		reply.Neighbours = s.Neighbours()
	}
	if err := writeMessage(conn, reply.Append(nil)); err != nil {
		return errors.Join(verdict, err)
	}
	return errors.Join(verdict, conn.Close())
}

// decide checks a request and has the SVID issued.
func (s *Server) decide(body []byte, purpose trust.Purpose, binding []byte, conn *tls.Conn, x *Exchange) ([][]byte, error) {
	q, err := trust.ParseRequest(body, purpose)
	if err != nil {
		return nil, err
	}
	now := s.Clock.now()
	pub, err := PublicKeyOfCSR(q.CSR)
	if err != nil {
		return nil, err
	}
	if purpose == trust.PurposeJoin {
		x.Node = q.Node
		if !q.CheckProof(binding) {
			return nil, ErrProof
		}
		return s.Authority.redeem(q.TokenKey, q.Node, pub, now)
	}
	peer := conn.ConnectionState().PeerCertificates
	node, err := trust.VerifySVID(peer, s.Authority.Log().Roots(), now, trust.VerifyOptions{Grace: RenewGrace})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotAdmitted, err)
	}
	x.Node = node
	if node != q.Node {
		return nil, fmt.Errorf("%w: %s asks for the SVID of %s", ErrNotAdmitted, node, q.Node)
	}
	old, ok := peer[0].PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, ErrKeyType
	}
	return s.Authority.renew(node, old, pub, now)
}
