package quicconn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

var errForeign = errors.New("not of this domain")

// authority issues SVIDs of one trust domain.
type authority struct {
	td   spiffeid.TrustDomain
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T, domain string) *authority {
	t.Helper()
	a := &authority{td: spiffeid.RequireTrustDomainFromString(domain)}
	a.key, a.cert = sign(t, &x509.Certificate{
		URIs:                  []*url.URL{a.td.ID().URL()},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
		NotAfter:              time.Now().Add(1000 * time.Hour),
	}, nil)
	return a
}

func (a *authority) issue(t *testing.T, name string, ttl time.Duration) tls.Certificate {
	t.Helper()
	key, leaf := sign(t, &x509.Certificate{
		URIs:     []*url.URL{mesh.MustNodeID(name).SPIFFEID(a.td).URL()},
		KeyUsage: x509.KeyUsageDigitalSignature,
		NotAfter: time.Now().Add(ttl),
	}, a)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
}

var serial atomic.Int64

// sign makes a key and its certificate, by the authority or, if that is nil, by itself.
func sign(t *testing.T, c *x509.Certificate, by *authority) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(serial.Add(1))
	c.NotBefore = time.Now().Add(-time.Minute)
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

func (a *authority) verify(chain []*x509.Certificate) (mesh.NodeID, error) {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	opts := x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	if _, err := chain[0].Verify(opts); err != nil {
		return mesh.NodeID{}, fmt.Errorf("%w: %w", errForeign, err)
	}
	id, err := x509svid.IDFromCert(chain[0])
	if err != nil {
		return mesh.NodeID{}, err
	}
	return mesh.NodeIDFromSPIFFE(id)
}

// network carries datagrams between the endpoints of one test.
type network struct {
	mu    sync.Mutex
	ports map[string]*endpoint
	cut   bool // everything is lost
}

func (n *network) setCut(cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
}

func (n *network) to(addr string) *endpoint {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut {
		return nil
	}
	return n.ports[addr]
}

type memAddr string

func (a memAddr) Network() string { return "mem" }
func (a memAddr) String() string  { return string(a) }

type datagram struct {
	from memAddr
	data []byte
}

// endpoint is an in-memory net.PacketConn: loss instead of waiting, so that synctest can see when all is idle.
type endpoint struct {
	net  *network
	addr memAddr
	in   chan datagram

	mu       sync.Mutex
	expired  chan struct{}
	writeErr error
}

func (n *network) listen(addr string) *endpoint {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := &endpoint{net: n, addr: memAddr(addr), in: make(chan datagram, 1024), expired: make(chan struct{})}
	n.ports[addr] = e
	return e
}

func (e *endpoint) ReadFrom(b []byte) (int, net.Addr, error) {
	e.mu.Lock()
	expired := e.expired
	e.mu.Unlock()
	select {
	case d := <-e.in:
		return copy(b, d.data), d.from, nil
	case <-expired:
		return 0, nil, os.ErrDeadlineExceeded
	}
}

func (e *endpoint) failWrites(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writeErr = err
}

func (e *endpoint) WriteTo(b []byte, addr net.Addr) (int, error) {
	e.mu.Lock()
	err := e.writeErr
	e.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if to := e.net.to(addr.String()); to != nil {
		select {
		case to.in <- datagram{e.addr, append([]byte(nil), b...)}:
		default:
		}
	}
	return len(b), nil
}

// SetReadDeadline knows what quic-go uses: now, and never.
func (e *endpoint) SetReadDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.IsZero() {
		e.expired = make(chan struct{})
	} else {
		close(e.expired)
	}
	return nil
}

func (e *endpoint) Close() error                     { return nil }
func (e *endpoint) LocalAddr() net.Addr              { return e.addr }
func (e *endpoint) SetDeadline(time.Time) error      { return nil }
func (e *endpoint) SetWriteDeadline(time.Time) error { return nil }

type event struct {
	dial uint64
	conn mesh.ConnID
	err  error
	msg  wire.Message
}

// peer is a transport whose callbacks can be awaited.
type peer struct {
	*Transport
	pc net.PacketConn

	mu   sync.Mutex
	cert tls.Certificate

	established chan Established
	failed      chan event
	refused     chan event
	messages    chan event
	closed      chan event
}

func (p *peer) setCert(c tls.Certificate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cert = c
}

func (p *peer) identity() tls.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cert
}

var handles atomic.Uint64

// start runs a transport on pc; tweak may change its configuration.
func start(t *testing.T, pc net.PacketConn, a *authority, cert tls.Certificate, tweak ...func(*Config)) *peer {
	t.Helper()
	p := &peer{
		pc:          pc,
		cert:        cert,
		established: make(chan Established, 64),
		failed:      make(chan event, 64),
		refused:     make(chan event, 64),
		messages:    make(chan event, 4096),
		closed:      make(chan event, 64),
	}
	cfg := Config{
		Purpose:     wire.PurposeLink,
		TrustDomain: a.td,
		Identity:    p.identity,
		Verify:      a.verify,
		NextConn:    func() mesh.ConnID { return mesh.ConnID(handles.Add(1)) },
		Callbacks: Callbacks{
			Established: func(e Established) { p.established <- e },
			Failed:      func(d uint64, _ net.Addr, err error) { p.failed <- event{dial: d, err: err} },
			Refused:     func(_ net.Addr, err error) { p.refused <- event{err: err} },
			Message:     func(c mesh.ConnID, m wire.Message) { p.messages <- event{conn: c, msg: m} },
			Closed:      func(c mesh.ConnID, err error) { p.closed <- event{conn: c, err: err} },
		},
	}
	for _, f := range tweak {
		f(&cfg)
	}
	var err error
	if p.Transport, err = New(pc, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// pair is two members of one domain that can reach each other, as "a" and "b".
func pair(t *testing.T, tweak ...func(*Config)) (n *network, ca *authority, a, b *peer) {
	t.Helper()
	n = &network{ports: make(map[string]*endpoint)}
	ca = newAuthority(t, "mesh.test")
	a = start(t, n.listen("a"), ca, ca.issue(t, "alice", time.Hour), tweak...)
	b = start(t, n.listen("b"), ca, ca.issue(t, "bob", 2*time.Hour), tweak...)
	return n, ca, a, b
}

// want waits for the next event. Under synctest the wait is in virtual time.
func want[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("%s: did not happen", what)
		panic("unreachable")
	}
}

func none[T any](t *testing.T, what string, ch <-chan T) {
	t.Helper()
	select {
	case v := <-ch:
		t.Fatalf("%s: %+v", what, v)
	default:
	}
}

// connect makes a dial b and returns what both were told.
func connect(t *testing.T, a, b *peer) (atA, atB Established) {
	t.Helper()
	a.Dial(1, b.pc.LocalAddr(), mesh.NodeID{})
	atA = want(t, "established at the dialler", a.established)
	if err := a.Send(atA.Conn, wire.Bye{Reason: "first"}); err != nil {
		t.Fatal(err)
	}
	atB = want(t, "established at the acceptor", b.established)
	m := want(t, "first message", b.messages)
	if m.conn != atB.Conn || m.msg != (wire.Bye{Reason: "first"}) {
		t.Fatalf("got %+v", m)
	}
	return atA, atB
}

func wantErr(t *testing.T, what string, err error, all ...error) {
	t.Helper()
	for _, target := range all {
		if !errors.Is(err, target) {
			t.Errorf("%s: %v does not wrap %q", what, err, target)
		}
	}
}
