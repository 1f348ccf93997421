package replica

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// domain issues SVIDs and vouches for them.
type domain struct {
	tb   testing.TB
	td   spiffeid.TrustDomain
	ca   *x509.Certificate
	key  *ecdsa.PrivateKey
	asks int // of verify

	mu       sync.Mutex
	distrust bool
}

func newDomain(tb testing.TB) *domain {
	tb.Helper()
	d, err := makeDomain()
	if err != nil {
		tb.Fatal(err)
	}
	d.tb = tb
	return d
}

func makeDomain() (*domain, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	d := &domain{td: spiffeid.RequireTrustDomainFromString("lab.internal"), key: key}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10000 * time.Hour),
	}
	d.ca, err = d.sign(tmpl, tmpl, &key.PublicKey)
	return d, err
}

func (d *domain) sign(tmpl, parent *x509.Certificate, key any) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key, d.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// identity issues an SVID for a node that is valid for a time from an hour ago.
func (d *domain) identity(node mesh.NodeID, valid time.Duration) Identity {
	d.tb.Helper()
	id, err := d.issue(node, valid)
	if err != nil {
		d.tb.Fatal(err)
	}
	return id
}

func (d *domain) issue(node mesh.NodeID, valid time.Duration) (Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Identity{}, err
	}
	leaf, err := d.leaf(node, valid, &key.PublicKey)
	return Identity{Chain: [][]byte{leaf}, Signer: key}, err
}

func (d *domain) leaf(node mesh.NodeID, valid time.Duration, key any) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	c, err := d.sign(&x509.Certificate{
		SerialNumber: serial, KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid),
		URIs: []*url.URL{{Scheme: "spiffe", Host: d.td.Name(), Path: "/node/" + node.String()}},
	}, d.ca, key)
	if err != nil {
		return nil, err
	}
	return c.Raw, nil
}

func (d *domain) setDistrust(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.distrust = on
}

// verify is what a daemon would supply.
func (d *domain) verify(chain [][]byte, author mesh.NodeID, oldest, newest time.Time) error {
	d.mu.Lock()
	d.asks++
	distrust := d.distrust
	d.mu.Unlock()
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return err
	}
	switch {
	case distrust:
		return errors.New("the authority is not known")
	case len(leaf.URIs) != 1 || leaf.URIs[0].Path != "/node/"+author.String():
		return fmt.Errorf("it is not an SVID of %s", author)
	case oldest.Before(leaf.NotBefore.Add(-time.Second)) || newest.After(leaf.NotAfter):
		return fmt.Errorf("it was not valid from %v to %v", oldest, newest)
	}
	return leaf.CheckSignatureFrom(d.ca)
}

// member is a replica that can be closed and opened again.
type member struct {
	*Replica
	tb  testing.TB
	id  mesh.NodeID
	cfg Config
	dom *domain
}

func (d *domain) member(tb testing.TB, name string, change ...func(*Config)) *member {
	tb.Helper()
	m := &member{tb: tb, id: mesh.MustNodeID(name), dom: d}
	id := d.identity(m.id, 1000*time.Hour)
	m.cfg = Config{
		Self: m.id, Domain: d.td, Path: filepath.Join(tb.TempDir(), "state"), Founder: true,
		Identity: func() Identity { return id }, Verify: d.verify, Log: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&m.cfg)
	}
	m.open()
	return m
}

func notFounder(c *Config) { c.Founder = false }

func (m *member) open() {
	m.tb.Helper()
	r, err := Open(m.cfg)
	if err != nil {
		m.tb.Fatal(err)
	}
	m.Replica = r
}

func (m *member) close() {
	m.tb.Helper()
	if err := m.Close(); err != nil && !errors.Is(err, ErrClosed) {
		m.tb.Fatal(err)
	}
}

func (m *member) put(key, value string) api.KVWritten {
	m.tb.Helper()
	w, err := m.KVPut(context.Background(), []byte(key), []byte(value))
	if err != nil {
		m.tb.Fatalf("put %s at %s: %v", key, m.id, err)
	}
	return w
}

func (m *member) get(key string) string {
	m.tb.Helper()
	g, err := m.KVGet(context.Background(), []byte(key))
	if err != nil {
		m.tb.Fatal(err)
	}
	if g.Entry == nil {
		return "-"
	}
	return string(g.Entry.Value)
}

func (m *member) info() api.StateInfo {
	m.tb.Helper()
	i, err := m.State(context.Background())
	if err != nil {
		m.tb.Fatal(err)
	}
	return i
}

func (m *member) counter(name string) uint64 {
	m.tb.Helper()
	c, err := m.Counters(context.Background())
	if err != nil {
		m.tb.Fatal(err)
	}
	n, ok := c[name]
	if !ok {
		m.tb.Fatalf("no counter %q", name)
	}
	return n
}

// connection is two members that meet.
type connection struct {
	ctx    context.Context
	cancel context.CancelFunc
	ends   sync.WaitGroup
	errs   [2]error
	pipe   [2]*pipeEnd
}

func connect(a, b *member) *connection {
	c := &connection{}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.pipe[0], c.pipe[1] = newPipe()
	c.ends.Go(func() { c.errs[0] = a.Meet(c.ctx, b.id, c.pipe[0]) })
	c.ends.Go(func() { c.errs[1] = b.Meet(c.ctx, a.id, c.pipe[1]) })
	return c
}

func (c *connection) cut() {
	c.cancel()
	c.ends.Wait()
}

// agree waits until all have the same, on the clock of the bubble, and returns how long that took.
func agree(tb testing.TB, within time.Duration, ms ...*member) time.Duration {
	tb.Helper()
	begin := time.Now()
	for {
		synctest.Wait()
		first, same := ms[0].info(), true
		for _, m := range ms[1:] {
			same = same && m.info().Digest == first.Digest
		}
		if same {
			return time.Since(begin)
		}
		if time.Since(begin) > within {
			for _, m := range ms {
				tb.Logf("%s: %+v", m.id, m.info())
			}
			tb.Fatalf("no agreement after %v", within)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// pipeEnd is one end of a stream in memory, with a buffer in either direction.
type pipeEnd struct{ in, out *pipeBuffer }

type pipeBuffer struct {
	mu     sync.Mutex
	change *sync.Cond
	b      []byte
	room   int
	closed bool
	passed int // bytes that were written
}

func newPipe() (a, b *pipeEnd) {
	one, two := newPipeBuffer(), newPipeBuffer()
	return &pipeEnd{one, two}, &pipeEnd{two, one}
}

func newPipeBuffer() *pipeBuffer {
	p := &pipeBuffer{room: 256 << 10}
	p.change = sync.NewCond(&p.mu)
	return p
}

func (e *pipeEnd) Read(b []byte) (int, error) {
	p := e.in
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.b) == 0 && !p.closed {
		p.change.Wait()
	}
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.b)
	p.b = p.b[n:]
	p.change.Broadcast()
	return n, nil
}

func (e *pipeEnd) Write(b []byte) (n int, err error) {
	p := e.out
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(b) > 0 {
		for len(p.b) >= p.room && !p.closed {
			p.change.Wait()
		}
		if p.closed {
			return n, io.ErrClosedPipe
		}
		some := min(len(b), p.room-len(p.b))
		p.b = append(p.b, b[:some]...)
		b, n = b[some:], n+some
		p.passed += some
		p.change.Broadcast()
	}
	return n, nil
}

func (e *pipeEnd) Close() error {
	for _, p := range [...]*pipeBuffer{e.in, e.out} {
		p.mu.Lock()
		p.closed = true
		p.change.Broadcast()
		p.mu.Unlock()
	}
	return nil
}

func (p *pipeBuffer) bytes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed
}

func code(err error) api.Code {
	var e *api.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func mustNode(name string) mesh.NodeID { return mesh.MustNodeID(name) }
