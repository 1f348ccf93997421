package daemon

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/daemon/config"
	"x0tta6bl4/host/authority"
	"x0tta6bl4/host/disk"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

var (
	testDomain = spiffeid.RequireTrustDomainFromString("example.mesh")
	testAlpha  = mesh.MustNodeID("alpha")
	testBeta   = mesh.MustNodeID("beta")
)

// office is an authority at work: it begins a domain in a directory of its own and answers joins on loopback.
type office struct {
	*authority.Authority
	state string
	addr  string
}

func openOffice(t *testing.T, ttl time.Duration) *office {
	t.Helper()
	o := &office{state: filepath.Join(t.TempDir(), "alpha")}
	if _, err := Init(t.Context(), InitOptions{State: o.state, TrustDomain: testDomain, Name: testAlpha, TTL: ttl}); err != nil {
		t.Fatal(err)
	}
	dir, err := disk.Open(o.state)
	if err != nil {
		t.Fatal(err)
	}
	m, err := authority.LoadMembership(dir)
	if err != nil {
		t.Fatal(err)
	}
	issuing, err := issuingTTL(dir, config.Default())
	if err != nil {
		t.Fatal(err)
	}
	if o.Authority, err = authority.Open(dir, issuing); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.addr = ln.Addr().String()
	srv := &authority.Server{Self: testAlpha, Authority: o.Authority, Source: authority.NewSource(dir, m.SVID)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = dir.Close()
	})
	return o
}

func (o *office) token(t *testing.T, addrs ...string) string {
	t.Helper()
	tok, err := o.CreateToken(authority.TokenOptions{Node: testBeta, Addresses: addrs}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return tok.String()
}

func TestInitAndJoin(t *testing.T) {
	o := openOffice(t, 0)
	state := filepath.Join(t.TempDir(), "beta")
	token := o.token(t, o.addr)
	b, err := Join(t.Context(), JoinOptions{State: state, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	if b.Node != testBeta || b.Domain != testDomain || b.SPIFFEID.String() != "spiffe://example.mesh/node/beta" || b.Authority != testAlpha ||
		b.Address != mesh.Addr(testDomain, testBeta) || b.DomainKey != o.Log().DomainKey().String() || b.State != state || b.Sealing != "file" {
		t.Errorf("joined as %+v", b)
	}
	if !slices.Contains(b.Neighbours, o.addr) {
		t.Errorf("neighbours %v lack %s, by which it joined", b.Neighbours, o.addr)
	}
	dir, err := disk.Open(state)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	m, err := authority.LoadMembership(dir)
	if err != nil || !slices.Contains(m.Neighbours, o.addr) {
		t.Errorf("the state holds %+v, %v", m, err)
	}
	if authority.IsAuthority(dir) {
		t.Error("a joiner became an authority")
	}
}

func TestJoinVia(t *testing.T) {
	o := openOffice(t, 0)
	b, err := Join(t.Context(), JoinOptions{
		State: filepath.Join(t.TempDir(), "beta"), Token: o.token(t, "127.0.0.1:1"), Via: []netip.AddrPort{netip.MustParseAddrPort(o.addr)},
	})
	if err != nil || b.Neighbours[0] != o.addr {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestBadTokens(t *testing.T) {
	o := openOffice(t, 0)
	good := o.token(t, o.addr)
	used := o.token(t, o.addr)
	if _, err := Join(t.Context(), JoinOptions{State: filepath.Join(t.TempDir(), "first"), Token: used}); err != nil {
		t.Fatal(err)
	}
	past, err := o.CreateToken(authority.TokenOptions{Node: mesh.MustNodeID("gamma"), Addresses: []string{o.addr}}, time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	lonely := past
	lonely.Addresses = []string{"127.0.0.1:1"}
	typo := []byte(good)
	typo[len(typo)/2] ^= 'a' ^ 'b' // a letter or digit of base32 may become none
	for name, tc := range map[string]struct {
		token string
		want  []error
		made  bool // whether it went far enough to make the state directory
	}{
		"no token":                 {"hello", []error{trust.ErrTokenFormat}, false},
		"empty":                    {"", []error{trust.ErrTokenFormat}, false},
		"cut off":                  {good[:len(good)-9], []error{trust.ErrTokenTruncated}, false},
		"mistyped":                 {string(typo), []error{trust.ErrTokenChecksum, trust.ErrTokenFormat}, false},
		"used":                     {used, []error{authority.ErrTokenUsed}, true},
		"expired":                  {past.String(), []error{trust.ErrTokenExpired}, true},
		"expired, nobody to ask":   {lonely.String(), []error{trust.ErrTokenExpired}, true},
		"authority not to be seen": {o.token2(t, "127.0.0.1:1"), []error{authority.ErrUnreachable}, true},
	} {
		t.Run(name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state")
			_, err := Join(t.Context(), JoinOptions{State: state, Token: tc.token})
			if !slices.ContainsFunc(tc.want, func(w error) bool { return errors.Is(err, w) }) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if _, err := os.Stat(state); tc.made == errors.Is(err, fs.ErrNotExist) {
				t.Errorf("state directory made: %v, want %v", err == nil, tc.made)
			}
		})
	}
	// The one defect removed, the same state serves.
	state := filepath.Join(t.TempDir(), "state")
	if _, err := Join(t.Context(), JoinOptions{State: state, Token: used}); err == nil {
		t.Error("a used token was good again")
	}
	fresh, err := o.CreateToken(authority.TokenOptions{Node: mesh.MustNodeID("delta"), Addresses: []string{o.addr}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Join(t.Context(), JoinOptions{State: state, Token: fresh.String()}); err != nil {
		t.Errorf("join after a failed one: %v", err)
	}
	if _, err := Join(t.Context(), JoinOptions{State: state, Token: fresh.String()}); !errors.Is(err, authority.ErrInitialized) {
		t.Errorf("joining twice: %v", err)
	}
}

// token2 is a token for another name than beta, which the tests give away.
func (o *office) token2(t *testing.T, addr string) string {
	t.Helper()
	tok, err := o.CreateToken(authority.TokenOptions{Node: mesh.MustNodeID("epsilon"), Addresses: []string{addr}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return tok.String()
}

func TestInitRefuses(t *testing.T) {
	good := InitOptions{State: filepath.Join(t.TempDir(), "s"), TrustDomain: testDomain, Name: testAlpha, TTL: 20 * time.Second}
	for name, tc := range map[string]struct {
		change func(*InitOptions)
		want   error
	}{
		"no domain":      {func(o *InitOptions) { o.TrustDomain = spiffeid.TrustDomain{} }, nil},
		"no name":        {func(o *InitOptions) { o.Name = mesh.NodeID{} }, nil},
		"ttl too short":  {func(o *InitOptions) { o.TTL = time.Second }, authority.ErrTTL},
		"foreign folder": {func(o *InitOptions) { o.State = foreign(t) }, disk.ErrNotState},
		"a file":         {func(o *InitOptions) { o.State = filepath.Join(foreign(t), "notes") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			opt := good
			tc.change(&opt)
			if _, err := Init(t.Context(), opt); err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
	b, err := Init(t.Context(), good)
	if err != nil || b.Authority != testAlpha || b.Sealing != "file" || time.Until(b.NotAfter) > 21*time.Second {
		t.Errorf("without the defects: %+v, %v", b, err)
	}
	other := good
	other.TTL = time.Hour
	if _, err := Init(t.Context(), other); !errors.Is(err, authority.ErrInitialized) {
		t.Errorf("second init: %v", err)
	}
	dir, err := disk.Open(good.State)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if ttl, err := issuingTTL(dir, config.Default()); err != nil || ttl != good.TTL {
		t.Errorf("the refused init left a lifetime of %v, %v", ttl, err)
	}
	if _, err := Init(t.Context(), good); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("init of a state in use: %v", err)
	}
}

func foreign(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "notes"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestIssuingTTL(t *testing.T) {
	dir, err := disk.Open(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	check := func(cfg, want time.Duration) {
		t.Helper()
		got, err := issuingTTL(dir, config.Config{Identity: config.Identity{TTL: cfg}})
		if err != nil || got != want {
			t.Errorf("issuingTTL = %v, %v; want %v", got, err, want)
		}
	}
	check(0, 0)
	if err := writeInit(dir, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	check(0, 20*time.Second)
	check(time.Hour, time.Hour)
	for _, bad := range []string{"{", `{"ttl":"soon"}`} {
		if err := dir.Write(initFile, []byte(bad)); err != nil {
			t.Fatal(err)
		}
		if _, err := issuingTTL(dir, config.Default()); !errors.Is(err, authority.ErrCorrupt) || !strings.Contains(err.Error(), "identity.ttl") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
