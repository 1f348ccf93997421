package authority

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

var (
	td    = spiffeid.RequireTrustDomainFromString("example.mesh")
	alpha = mesh.MustNodeID("alpha")
	beta  = mesh.MustNodeID("beta")
	gamma = mesh.MustNodeID("gamma")
	start = time.Date(2031, 5, 6, 7, 8, 9, 400e6, time.UTC)

	errDisk = errors.New("disk full")
)

// memory is a Store that can be told to fail.
type memory struct {
	mu    sync.Mutex
	files map[string][]byte
	fail  string // the name whose writes fail
}

func newMemory() *memory { return &memory{files: map[string][]byte{}} }

func (m *memory) Read(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, ok := m.files[name]; ok {
		return bytes.Clone(b), nil
	}
	return nil, fs.ErrNotExist
}

func (m *memory) Write(name string, b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail == name || m.fail == "all" {
		return errDisk
	}
	m.files[name] = bytes.Clone(b)
	return nil
}

func (m *memory) Exists(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.files[name]
	return ok
}

func (m *memory) failing(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = name
}

func (m *memory) copy() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := newMemory()
	for n, b := range m.files {
		c.files[n] = bytes.Clone(b)
	}
	return c
}

// manual is a clock that is set by hand.
type manual struct {
	mu sync.Mutex
	t  time.Time
}

func (m *manual) now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.t
}

func (m *manual) set(t time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.t = t
}

// world is a trust domain with one authority, alpha, that serves on a loopback socket.
type world struct {
	t      *testing.T
	store  *memory
	auth   *Authority
	source *Source
	server *Server
	clock  *manual
	addr   string
	done   chan Exchange
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, store: newMemory(), clock: &manual{t: start}, done: make(chan Exchange, 1000)}
	var err error
	if w.auth, err = Init(w.store, td, alpha, 0, start); err != nil {
		t.Fatal(err)
	}
	m, err := LoadMembership(w.store)
	if err != nil {
		t.Fatal(err)
	}
	w.source = NewSource(w.store, m.SVID)
	w.server = &Server{Self: alpha, Authority: w.auth, Source: w.source, Clock: w.clock.now}
	w.addr = w.serve(w.server)
	return w
}

// serve starts s on a new loopback socket until the end of the test.
func (w *world) serve(s *Server) string {
	w.t.Helper()
	if s.Done == nil {
		s.Done = func(x Exchange) { w.done <- x }
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String()
}

func (w *world) token(node mesh.NodeID, change func(*TokenOptions)) trust.Token {
	w.t.Helper()
	o := TokenOptions{Node: node, Addresses: []string{w.addr}}
	if change != nil {
		change(&o)
	}
	tok, err := w.auth.CreateToken(o, w.clock.now())
	if err != nil {
		w.t.Fatal(err)
	}
	return tok
}

func (w *world) join(tok trust.Token, store Store) (Membership, error) {
	return Join(context.Background(), tok, JoinOptions{Store: store, Clock: w.clock.now})
}

func (w *world) mustJoin(node mesh.NodeID) Membership {
	w.t.Helper()
	m, err := w.join(w.token(node, nil), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *world) renew(s *Source, l *trust.Log) (Renewal, error) {
	return Renew(context.Background(), RenewOptions{Source: s, Log: l, Clock: w.clock.now, Dial: w.dialTo(w.addr)})
}

func (w *world) dialTo(addr string) func(context.Context, mesh.NodeID) (net.Conn, error) {
	return func(ctx context.Context, _ mesh.NodeID) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
}
