package daemon

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"math/big"
	randv2 "math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/daemon/replica"
	"x0tta6bl4/host/dataplane"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

// realm is a domain in a bubble: a log that names authorities, and daemons, of which only what has to do with the shared state runs.
type realm struct {
	t     *testing.T
	key   ed25519.PrivateKey
	log   *trust.Log
	nodes []*resident
}

// resident is one node of a realm.
type resident struct {
	*Daemon
	realm   *realm
	path    string
	founder bool
	may     func(*replica.Config) // changes what the replica is told; nil: nothing
	text    *lockedBuffer         // of the log
	logged  []config.Log          // as it was told to be
	end     func()
}

// lockedBuffer is what a logger of several goroutines writes to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newRealm(t *testing.T, authorities ...string) *realm {
	t.Helper()
	m := &realm{t: t, key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	l, err := trust.NewLog(m.key, testDomain, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m.log = l
	for _, a := range authorities {
		m.admit(a)
	}
	return m
}

// obey appends an operation to the log, which all nodes have at once.
func (m *realm) obey(op trust.Op) {
	m.t.Helper()
	l, err := m.log.Append(op, time.Now(), trust.DomainSigner(m.key))
	if err != nil {
		m.t.Fatal(err)
	}
	m.log = l
	for _, n := range m.nodes {
		n.identity.setLog(l)
	}
}

// admit makes a node an authority; revoke ends that.
func (m *realm) admit(name string) { m.obey(another(m.t, name, testDomain.Name())) }

func (m *realm) revoke(name string) {
	a, ok := m.log.Authority(mesh.MustNodeID(name))
	if !ok {
		m.t.Fatalf("%s is no authority", name)
	}
	m.obey(trust.RevokeAuthority{CA: a.ID()})
}

// node starts a node whose file has this in it. The first one began the domain.
func (m *realm) node(name, file string, may func(*replica.Config)) *resident {
	m.t.Helper()
	n := &resident{realm: m, path: filepath.Join(m.t.TempDir(), "state"), founder: len(m.nodes) == 0, may: may}
	m.nodes = append(m.nodes, n)
	n.start(name, file)
	return n
}

// start makes the daemon of a node, with the replica that it had before if it had one.
func (n *resident) start(name, file string) {
	t := n.realm.t
	t.Helper()
	c, given, err := config.ParseGiven("x0t.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	d := bareDaemon()
	_ = d.alarm.Close()
	n.Daemon, n.text, n.logged = d, &lockedBuffer{}, nil
	d.self, d.log = mesh.MustNodeID(name), slog.New(slog.NewTextHandler(n.text, nil))
	d.identity = &Membership{Node: d.self, Domain: testDomain}
	d.identity.setLog(n.realm.log)
	d.opt = Options{Config: c, Given: given, Relog: func(l config.Log) { n.logged = append(n.logged, l) }}
	d.tuning = newTuning(d.identity.Log)
	d.identity.logged = d.tuning.news
	d.events, d.asks, d.done = make(chan node.ControlEvent, 64), make(chan func(*node.Control)), make(chan struct{})
	d.plane = dataplane.New(dataplane.Config{
		Self: mesh.Addr(testDomain, d.self), Prefix: mesh.Prefix(testDomain), Send: func(netip.AddrPort, []byte) error { return nil },
	})
	d.table.Store(&mesh.Forwarding{})
	id := selfMade(t)
	cfg := replica.Config{
		Self: d.self, Domain: testDomain, Path: n.path, Founder: n.founder, May: mayWrite, Vital: isVital,
		Identity: func() replica.Identity { return id },
		Verify:   func([][]byte, mesh.NodeID, time.Time, time.Time) error { return nil },
	}
	if n.may != nil {
		n.may(&cfg)
	}
	r, err := replica.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.shared.replica = r
	close(d.shared.opened)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { d.tuneLoop(ctx, r) })
	wg.Go(func() { n.answer(ctx) })
	n.end = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(n.end)
}

// answer is the slow loop, as far as anybody asks it.
func (n *resident) answer(ctx context.Context) {
	c := node.NewControl(node.Config{Self: n.self, Domain: testDomain, Rand: randv2.New(randv2.NewPCG(1, 1))}, time.Now())
	for {
		select {
		case ask := <-n.asks:
			ask(c)
		case <-ctx.Done():
			return
		}
	}
}

// selfMade makes an identity that nobody checks.
func selfMade(t *testing.T) replica.Identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return replica.Identity{Chain: [][]byte{der}, Signer: key}
}

// link has two nodes exchange state until it is cut.
func (m *realm) link(a, b *resident) (cut func()) {
	x, y := net.Pipe()
	ctx, cancel := context.WithCancel(m.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = a.shared.replica.Meet(ctx, b.self, x) })
	wg.Go(func() { _ = b.shared.replica.Meet(ctx, a.self, y) })
	cut = sync.OnceFunc(func() { cancel(); wg.Wait() })
	m.t.Cleanup(cut)
	m.rest()
	return cut
}

// rest lets everything happen that is under way.
func (m *realm) rest() {
	time.Sleep(20 * time.Second) // of the bubble
	synctest.Wait()
}

// decree writes a register of a topic's as a node's own, whatever the node is, and returns as of when.
func (n *resident) decree(name, value string) time.Time {
	n.realm.t.Helper()
	w, err := n.shared.replica.Put(n.realm.t.Context(), n.tuning.key(name, n.self), []byte(value))
	if err != nil {
		n.realm.t.Fatalf("%s at %s: %v", name, n.self, err)
	}
	return w.Time
}

// has checks what a key's value is, and where it is from.
func (n *resident) has(key, value string, source string) {
	t := n.realm.t
	t.Helper()
	synctest.Wait()
	c, err := n.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range c.Keys {
		if k.Key == key && (k.Value != value || string(k.Source) != source || n.configured().Value(key) != value) {
			t.Errorf("%s has %s: %s from %s, and runs with %s; want %s from %s", n.self, key, k.Value, k.Source, n.configured().Value(key), value, source)
		}
	}
}
