package api

import (
	"context"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

var (
	alpha = mesh.MustNodeID("alpha")
	beta  = mesh.MustNodeID("beta")
	gamma = mesh.MustNodeID("gamma")
	noon  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// fake answers with what the test put in; its functions say what a daemon would do.
type fake struct {
	status Status
	err    error // of everything
	token  func(TokenRequest) (Token, error)
	ping   func(ctx context.Context, req PingRequest, emit func(PingReply) error) error
	trace  func(ctx context.Context, n mesh.NodeID, emit func(TraceHop) error) error
}

func (f *fake) Status(context.Context) (Status, error) { return f.status, f.err }
func (f *fake) Peers(context.Context) ([]Peer, error) {
	if f.err != nil {
		return nil, f.err
	}
	return []Peer{{Node: beta, Session: SessionUp, Path: []mesh.NodeID{alpha, beta}, RTT: Millis(1500 * time.Microsecond)}}, nil
}
func (f *fake) Links(context.Context) ([]Link, error) { return nil, f.err }
func (f *fake) Paths(_ context.Context, n mesh.NodeID) (Paths, error) {
	if n != beta {
		return Paths{}, Errorf(CodeUnknownNode, "no member is called %s", n).With("see x0t peers")
	}
	p := mesh.Path{Nodes: []mesh.NodeID{alpha, beta}, Labels: []mesh.Label{7}, Cost: 900, MTU: 1452}
	return Paths{Node: n, Disjoint: DisjointNone, Paths: []Path{PathOf(p, PathActive)}}, f.err
}
func (f *fake) Identity(context.Context) (Identity, error) {
	return Identity{Node: alpha, SPIFFEID: "spiffe://example.mesh/node/alpha", Log: Log{Seq: 2}}, f.err
}
func (f *fake) Counters(context.Context) (Counters, error) {
	return Counters{"frames_in": 1 << 60}, f.err
}
func (f *fake) Ping(ctx context.Context, req PingRequest, emit func(PingReply) error) error {
	return f.ping(ctx, req, emit)
}
func (f *fake) Trace(ctx context.Context, n mesh.NodeID, emit func(TraceHop) error) error {
	return f.trace(ctx, n, emit)
}
func (f *fake) CreateToken(_ context.Context, r TokenRequest) (Token, error) { return f.token(r) }

// socketDir is a directory with a path short enough for a socket.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "x0t")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// serve runs a server of b on a socket of its own and returns a client of it. Both end with the test.
func serve(t *testing.T, b Backend) (*Client, string) {
	t.Helper()
	return serveOptions(t, ServerOptions{Backend: b})
}

func serveOptions(t *testing.T, opt ServerOptions) (*Client, string) {
	t.Helper()
	path := filepath.Join(socketDir(t), "run", "x0t.sock")
	opt.Socket = path
	s, err := Listen(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	c := NewClient(path)
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("the socket is still there after Serve: %v", err)
		}
	})
	return c, path
}

func wholeStatus() Status {
	return Status{
		Node: alpha, SPIFFEID: "spiffe://example.mesh/node/alpha", TrustDomain: "example.mesh", Address: netip.MustParseAddr("fd00::1"),
		Version: "v1", PID: 42, Started: noon, Uptime: Millis(90 * time.Second), Policy: PolicyNone, Health: HealthOK, HealthSince: noon, Members: 3,
		LSDBNodes: 3, LSDBDigest: "ab", LinksUp: 2, LinksTotal: 2, Sessions: 1, Authority: true, Sealing: "0600 file", TUN: "x0t0", MTU: 1360,
		SVID:   SVID{Serial: "0f", NotBefore: noon, NotAfter: noon.Add(24 * time.Hour), RenewAt: noon.Add(12 * time.Hour)},
		Listen: []netip.AddrPort{netip.MustParseAddrPort("[::]:7420")},
	}
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
