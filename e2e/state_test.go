package e2e

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// fixture puts a state directory of an earlier release in place of a machine's.
func (m *machine) fixture(t *testing.T, from string) {
	t.Helper()
	if err := os.CopyFS(m.state(), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(m.state())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Chmod(filepath.Join(m.state(), f.Name()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// resign gives a machine's own key a certificate for today: those of a fixture end.
func (m *machine) resign(t *testing.T, ca signer) {
	t.Helper()
	path := filepath.Join(m.state(), "svid.pem")
	pair, err := tls.LoadX509KeyPair(path, path)
	if err != nil {
		t.Fatal(err)
	}
	old, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf(old.URIs[0].String()), ca.cert, old.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	identity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: pair.PrivateKey}}.install(t, m)
}

// Daemons that find what the release before wrote go on where its daemons stopped: the same identities, the same
// domain, a link without another join, and an authority that renews and admits.
func TestStateOfThePreviousRelease(t *testing.T) {
	need(t)
	n := lay(t, cables("alpha-beta"))
	alpha, beta := n.at("alpha"), n.at("beta")
	for _, m := range n.machines {
		m.fixture(t, filepath.Join("..", "daemon", "testdata", "state-v1", m.id.String()))
	}
	beta.resign(t, stolen(t, alpha)) // alpha's own may have ended: an authority gives itself another
	for _, m := range n.machines {
		m.up(t)
	}
	n.converged(n.machines...)
	n.reach(20*time.Second, n.machines...)
	for m, want := range map[*machine]string{alpha: "fd64:9143:f1ab:0:c965:d6d7:3166:ca19", beta: "fd64:9143:f1ab:0:7486:e830:9836:e91e"} {
		s := m.status(t)
		if s.Address.String() != want || s.TrustDomain != "example.mesh" || len(s.Warnings) > 0 || s.Authority != (m == alpha) {
			t.Errorf("%s: %+v", m.id, s)
		}
	}
	alpha.wantFailure(t, 1, "belongs to a live node", "x0t", "token", "create", "--node", "alpha")
	if out := alpha.must(t, "x0t", "token", "create", "--node", "delta"); !strings.HasPrefix(out, "x0t join x0t1-") {
		t.Errorf("a token: %s", out)
	}
}

func (m *machine) disk() string { return filepath.Join(m.dir, "disk") }

// onDisk gives a machine's state a file system of its own, of 8 MiB. full fills it to the last byte and returns what
// makes room again.
func (m *machine) onDisk(t *testing.T) (full func() func()) {
	t.Helper()
	disk := m.disk()
	if err := m.do(func() error {
		return errors.Join(os.Mkdir(disk, 0o700), unix.Mount("tmpfs", disk, "tmpfs", 0, "size=8m,mode=700"),
			os.Mkdir(filepath.Join(disk, "state"), 0o700), os.Symlink(filepath.Join(disk, "state"), m.state()))
	}); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "ballast")
	return func() func() {
		if err := m.do(func() error {
			err := os.WriteFile(ballast, make([]byte, 9<<20), 0o600)
			if !errors.Is(err, unix.ENOSPC) {
				return fmt.Errorf("the disk is not full: %w", err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := m.do(func() error { return os.Remove(ballast) }); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// sharedApart gives a machine's shared state another file system than the rest: while its file is open the kernel makes none
// read-only that it lies in.
func (m *machine) sharedApart(t *testing.T) {
	t.Helper()
	shared := filepath.Join(m.disk(), "state", "shared")
	if err := m.do(func() error {
		return errors.Join(os.Mkdir(shared, 0o700), unix.Mount("tmpfs", shared, "tmpfs", 0, "size=8m,mode=700"))
	}); err != nil {
		t.Fatal(err)
	}
}

// says waits until a machine's status is as healthy as wanted and, if words are given, has a warning of them.
func (m *machine) says(t *testing.T, limit time.Duration, words string) {
	t.Helper()
	eventually(t, limit, fmt.Sprintf("%s to warn of %q", m.id, words), func(ctx context.Context) error {
		s, err := m.client.Status(ctx)
		if err != nil {
			return err
		}
		warned := slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, words) })
		switch {
		case words == "" && len(s.Warnings) == 0:
			return nil
		case words != "" && warned && s.Health != api.HealthOK:
			return nil
		}
		return fmt.Errorf("%s, %q", s.Health, s.Warnings)
	})
}

// A disk that is full or read-only: nothing is acknowledged that is not kept, the node says what is wrong, carries
// packets meanwhile, and goes on by itself when the disk is well.
func TestDiskFaults(t *testing.T) {
	need(t)
	n := lay(t, cables("alpha-beta"))
	alpha, beta := n.at("alpha"), n.at("beta")
	fillAlpha, fillBeta := alpha.onDisk(t), beta.onDisk(t)
	n.found(alpha)
	alpha.sharedApart(t)
	alpha.up(t)
	n.converged(alpha)

	t.Run("join onto a full disk", func(t *testing.T) {
		a, _ := n.underlay(alpha, beta)
		token := n.token(beta.id)
		room := fillBeta()
		beta.wantFailure(t, 1, "free some space", "x0t", "join", "--via", fmt.Sprintf("%s:%d", a, port), token)
		room()
		beta.must(t, "x0t", "join", "--via", fmt.Sprintf("%s:%d", a, port), token) // the same one: nothing was lost
	})
	beta.up(t)
	n.converged(n.machines...)
	a, b := listen(t, alpha), listen(t, beta)
	t.Cleanup(func() { a.close(); b.close() })
	knockAll(t, 20*time.Second, a, b)

	t.Run("full", func(t *testing.T) {
		room := fillAlpha()
		alpha.says(t, 15*time.Second, "free some space")
		alpha.wantFailure(t, 1, "the token was not made", "x0t", "token", "create", "--node", "gamma")
		alpha.says(t, 5*time.Second, "registry.json")
		if !strings.Contains(string(alpha.log()), "the state cannot be written") {
			t.Errorf("the log says nothing\n%s", tail(alpha.log(), 10))
		}
		knockAll(t, 20*time.Second, a, b)
		room()
		alpha.must(t, "x0t", "token", "create", "--node", "gamma")
		alpha.says(t, 15*time.Second, "")
	})
	t.Run("labels wait for room", func(t *testing.T) {
		room := fillBeta()
		beta.says(t, 15*time.Second, "free some space")
		alpha.kill()
		alpha.up(t)
		n.converged(n.machines...)
		room()
		beta.says(t, 15*time.Second, "")
		if err := beta.do(func() error {
			labels, err := os.ReadFile(filepath.Join(beta.state(), "labels.json"))
			if err == nil && !json.Valid(labels) {
				err = fmt.Errorf("labels: %s", labels)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	})
	t.Run("read-only", func(t *testing.T) {
		remount := func(flags uintptr) {
			if err := alpha.do(func() error { return unix.Mount("", alpha.disk(), "", unix.MS_REMOUNT|flags, "size=8m") }); err != nil {
				t.Fatal(err)
			}
		}
		remount(unix.MS_RDONLY)
		alpha.says(t, 15*time.Second, "read-only")
		alpha.wantFailure(t, 1, "the token was not made", "x0t", "token", "create", "--node", "delta")
		knockAll(t, 20*time.Second, a, b)
		remount(0)
		alpha.must(t, "x0t", "token", "create", "--node", "delta")
		alpha.says(t, 15*time.Second, "")
	})
}

// An authority that is killed in the middle of writes, again and again, has every token that it acknowledged, and starts.
func TestKilledWhileWriting(t *testing.T) {
	need(t)
	m := machineIn(t, "alpha")
	m.must(t, "x0t", "init", "--trust-domain", "e2e.mesh", "--name", "alpha")
	m.up(t)
	acknowledged := 0
	answers := func() {
		t.Helper()
		eventually(t, 20*time.Second, "start again", func(ctx context.Context) error {
			_, err := m.client.Status(ctx)
			return err
		})
	}
	for round := range 6 {
		answers()
		deadly := time.AfterFunc(time.Duration(40+70*round)*time.Millisecond, func() { _ = m.daemon.cmd.Process.Kill() })
		for {
			_, err := m.client.CreateToken(t.Context(), api.TokenRequest{Node: mesh.MustNodeID("beta"), Addresses: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7420")}})
			if err != nil {
				break // it was killed
			}
			acknowledged++
		}
		deadly.Stop()
		m.kill()
		var kept struct{ Tokens map[string]any }
		if err := json.Unmarshal(must(os.ReadFile(filepath.Join(m.state(), "registry.json")))(t), &kept); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		// One more may have been written and not acknowledged in each round.
		if len(kept.Tokens) < acknowledged || len(kept.Tokens) > acknowledged+round+1 {
			t.Fatalf("round %d: %d tokens were acknowledged, %d are kept", round, acknowledged, len(kept.Tokens))
		}
		m.up(t)
	}
	answers()
	if acknowledged == 0 {
		t.Error("no token was made")
	}
	t.Logf("%d tokens acknowledged in 6 lives, all kept", acknowledged)
}
