package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/daemon"
	"x0tta6bl4/host/authority"
	"x0tta6bl4/host/disk"
	"x0tta6bl4/mesh"
)

// sites are two machines: alpha, which begins the domain by the command itself and answers joins, and a place for
// beta.
type sites struct {
	alpha, beta string // state directories
	addr        string // where alpha answers joins
	office      *authority.Authority
}

func openSites(t *testing.T) *sites {
	t.Helper()
	isolate(t)
	s := &sites{alpha: filepath.Join(t.TempDir(), "alpha"), beta: filepath.Join(t.TempDir(), "beta")}
	out, errs, code := runArgs(t.Context(), "", "init", "--trust-domain", "example.mesh", "--name", "alpha", "--state", s.alpha)
	if code != exitDone {
		t.Fatalf("init: %d %s", code, errs)
	}
	want := regexp.MustCompile(`^domain key  [0-9a-f]{64}
identity    spiffe://example\.mesh/node/alpha
address     fd[0-9a-f:]+
keys        in files of mode 0600 under ` + regexp.QuoteMeta(s.alpha) + `, not sealed: guard the disk and its copies
next: x0t up, then x0t token create --node NAME for each machine that is to join
$`)
	if !want.MatchString(out) {
		t.Errorf("init printed\n%s", out)
	}
	s.serve(t)
	return s
}

func (s *sites) serve(t *testing.T) {
	t.Helper()
	dir, err := disk.Open(s.alpha)
	if err != nil {
		t.Fatal(err)
	}
	m, err := authority.LoadMembership(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.office, err = authority.Open(dir, 0); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	srv := &authority.Server{Self: m.SVID.Node, Authority: s.office, Source: authority.NewSource(dir, m.SVID)}
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
}

func (s *sites) token(t *testing.T, node string, addrs ...string) string {
	t.Helper()
	tok, err := s.office.CreateToken(authority.TokenOptions{Node: mesh.MustNodeID(node), Addresses: addrs}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return tok.String()
}

func TestInitAndJoin(t *testing.T) {
	s := openSites(t)
	out, errs, code := runArgs(t.Context(), "", "join", s.token(t, "beta", s.addr), "--state", s.beta)
	want := regexp.MustCompile(`^identity    spiffe://example\.mesh/node/beta
address     fd[0-9a-f:]+
authority   alpha
expires     in .*, renewed before
neighbours  ` + regexp.QuoteMeta(s.addr) + `
keys        in files of mode 0600 under .*
next: x0t up
$`)
	if code != exitDone || errs != "" || !want.MatchString(out) {
		t.Errorf("join: %d\n%s%s", code, out, errs)
	}
	_, errs, code = runArgs(t.Context(), "", "join", s.token(t, "gamma", s.addr), "--state", s.beta)
	if code != exitFailed || !strings.Contains(errs, "already holds an identity") {
		t.Errorf("second join: %d %s", code, errs)
	}
	_, errs, code = runArgs(t.Context(), "", "init", "--trust-domain", "other.mesh", "--name", "x", "--state", s.beta)
	if code != exitFailed || !strings.Contains(errs, "already holds an identity") {
		t.Errorf("init over a membership: %d %s", code, errs)
	}
	_, errs, code = runArgs(t.Context(), "", "init", "--trust-domain", "example.mesh", "--name", "alpha", "--state", s.alpha)
	if code != exitFailed || !strings.Contains(errs, "in use by another process") {
		t.Errorf("init of a state in use: %d %s", code, errs)
	}
}

func TestTokenFromStdinFileAndVia(t *testing.T) {
	s := openSites(t)
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("x0t join " + s.token(t, "gamma", s.addr) + "\n")
	for name, tc := range map[string]struct {
		stdin string
		args  []string
	}{
		"stdin": {s.token(t, "beta", s.addr) + "\n", []string{"join", "-"}},
		"file":  {"", []string{"join", "--token-file", file}},
		"via":   {"", []string{"join", s.token(t, "delta"), "--via", s.addr}},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, code := runArgs(t.Context(), tc.stdin, append(tc.args, "--json", "--state", filepath.Join(t.TempDir(), "s"))...)
			var b belongingOut
			if err := json.Unmarshal([]byte(out), &b); code != exitDone || err != nil || b.Authority != "alpha" || len(b.Neighbours) != 1 {
				t.Errorf("%d %s %s %v", code, out, errs, err)
			}
		})
	}
}

func TestJoinMistakes(t *testing.T) {
	s := openSites(t)
	good := s.token(t, "beta", s.addr)
	long := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(long, make([]byte, maxToken+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		stdin string
		args  []string
		code  int
		says  string
	}{
		"no token":           {"", nil, exitUsage, "TOKEN is missing"},
		"two tokens":         {"", []string{good, good}, exitUsage, "accepts at most 1"},
		"token and file":     {"", []string{good, "--token-file", long}, exitUsage, "not both"},
		"no such file":       {"", []string{"--token-file", long + "x"}, exitFailed, "no such file"},
		"file too long":      {"", []string{"--token-file", long}, exitFailed, "too long"},
		"empty stdin":        {"\n", []string{"-"}, exitFailed, "no token in standard input"},
		"via without port":   {"", []string{good, "--via", "192.0.2.1"}, exitUsage, "--via"},
		"via nowhere":        {"", []string{good, "--via", "0.0.0.0:1"}, exitUsage, "--via"},
		"not a token":        {"", []string{"alpha"}, exitFailed, "not a join token"},
		"cut off":            {"", []string{good[:40]}, exitFailed, "cut off"},
		"state in a file":    {"", []string{good, "--state", filepath.Join(long, "s")}, exitFailed, long},
		"nobody at address":  {"", []string{s.token(t, "gamma", "127.0.0.1:1"), "--wait", "0s"}, exitFailed, "127.0.0.1:1"},
		"nobody for a while": {"", []string{s.token(t, "gamma", "127.0.0.1:1"), "--wait", "10ms"}, exitFailed, "no member answers yet"},
		"the control":        {"", []string{good}, exitDone, ""},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"join", "--state", filepath.Join(t.TempDir(), "s")}, tc.args...)
			_, errs, code := runArgs(t.Context(), tc.stdin, args...)
			if code != tc.code || !strings.Contains(errs, tc.says) {
				t.Errorf("exit %d, %s; want %d and %q", code, errs, tc.code, tc.says)
			}
		})
	}
}

func TestInitOptions(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "x0t.yaml")
	if err := os.WriteFile(conf, []byte("node: {name: zeta}\nidentity: {trust_domain: conf.mesh, ttl: 20s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no domain":         {[]string{"--name", "a"}, exitUsage, "--trust-domain is missing"},
		"no name":           {[]string{"--trust-domain", "a.mesh"}, exitUsage, "--name is missing"},
		"domain as URI":     {[]string{"--trust-domain", "spiffe://a.mesh", "--name", "a"}, exitUsage, "name only"},
		"domain upper":      {[]string{"--trust-domain", "A.mesh", "--name", "a"}, exitUsage, "--trust-domain"},
		"name upper":        {[]string{"--trust-domain", "a.mesh", "--name", "A"}, exitUsage, "lower-case"},
		"ttl too short":     {[]string{"--trust-domain", "a.mesh", "--name", "a", "--ttl", "1s"}, exitFailed, "between 2s"},
		"broken config":     {[]string{"--config", "testdata/bad.yaml"}, exitFailed, "bad.yaml:4: links.helo"},
		"all from config":   {[]string{"--config", conf}, exitDone, "spiffe://conf.mesh/node/zeta"},
		"flags over config": {[]string{"--config", conf, "--name", "eta"}, exitDone, "spiffe://conf.mesh/node/eta"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"init", "--state", filepath.Join(t.TempDir(), "s")}, tc.args...)
			out, errs, code := runArgs(t.Context(), "", args...)
			if code != tc.code || !strings.Contains(out+errs, tc.says) {
				t.Errorf("exit %d, %s%s; want %d and %q", code, out, errs, tc.code, tc.says)
			}
		})
	}
}

func TestUpNeedsIdentityAndConfig(t *testing.T) {
	isolate(t)
	dir := shortDir(t)
	_, errs, code := runArgs(t.Context(), "", "up", "--state", filepath.Join(dir, "s"), "--socket", filepath.Join(dir, "x.sock"))
	if code != exitFailed || !strings.Contains(errs, "x0t init") || !strings.Contains(errs, "x0t join") {
		t.Errorf("up without identity: %d %s", code, errs)
	}
	_, errs, code = runArgs(t.Context(), "", "up", "--config", "testdata/bad.yaml")
	if code != exitFailed || !strings.Contains(errs, "bad.yaml:2: node.name") {
		t.Errorf("up with a broken configuration: %d %s", code, errs)
	}
}

func TestPrintJoinWarnsOfClocks(t *testing.T) {
	for skew, want := range map[time.Duration]string{
		0: "", 3 * time.Second: "", 2 * time.Minute: "clock is 2m behind the authority's", -time.Hour: "clock is 1h ahead of the authority's",
	} {
		var out strings.Builder
		a := &app{out: &out, now: time.Now}
		a.printJoin(daemon.Belonging{Skew: skew})
		if got := strings.Contains(out.String(), "warning"); got != (want != "") || !strings.Contains(out.String(), want) {
			t.Errorf("skew %v: %s", skew, out.String())
		}
	}
}
