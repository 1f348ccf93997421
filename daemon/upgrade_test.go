package daemon

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"x0tta6bl4/core/node"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/host/authority"
	"x0tta6bl4/host/disk"
	"x0tta6bl4/wire/trust"
)

// previous is what the fixtures of testdata/state-v1 say: the state of another program, at another time.
var previous = map[string]struct {
	address   string
	authority bool
	label     uint16
	remote    string
	boot      uint64
}{
	"alpha": {"fd64:9143:f1ab:0:c965:d6d7:3166:ca19", true, 11158, "192.0.2.2:7420", 1795433151159},
	"beta":  {"fd64:9143:f1ab:0:7486:e830:9836:e91e", false, 31115, "192.0.2.1:7420", 1795433153207},
}

const previousKey = "153baf035e9a7a96f72d58280c13ea047192852d4d270f212c86e73e2f6e224a"

// copyState puts a fixture into a directory of the test, with the modes that a daemon writes.
func copyState(t *testing.T, name string) string {
	t.Helper()
	base, err := os.MkdirTemp("/dev/shm", "x0t") // thousands of starts: memory, where there is such
	if err != nil {
		base = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	to := filepath.Join(base, name)
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	from := filepath.Join("testdata", "state-v1", name)
	files, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, f.Name()), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// started reads a state directory as x0t up does before it takes anything from the system.
func started(state string) (*Daemon, node.Config, error) {
	opt := Options{Config: config.Default(), State: state, Log: slog.New(slog.DiscardHandler)}
	m, err := openMembership(opt)
	if err != nil {
		return nil, node.Config{}, err
	}
	d := newDaemon(opt, m)
	cfg, err := d.nodeConfig()
	if err != nil {
		_ = m.Close()
	}
	return d, cfg, err
}

// same reports how a started daemon differs from the one that wrote the fixture.
func same(d *Daemon, name string) error {
	want := previous[name]
	leaf := d.identity.Source.Current().Chain[0]
	switch {
	case d.self.String() != name || d.domain.Name() != "example.mesh" || d.addr.String() != want.address:
		return fmt.Errorf("it is %s of %s at %s", d.self, d.domain, d.addr)
	case d.identity.Log().DomainKey().String() != previousKey:
		return fmt.Errorf("the domain key is %s", d.identity.Log().DomainKey())
	case (d.identity.Authority != nil) != want.authority:
		return fmt.Errorf("authority: %t", d.identity.Authority != nil)
	}
	// Not today's time: the fixture's certificates end, what they prove does not.
	id, err := trust.VerifySVID([]*x509.Certificate{leaf}, d.identity.roots.Load(), leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore)/2), trust.VerifyOptions{})
	if err != nil || id != d.self {
		return fmt.Errorf("the SVID is of %s, %w", id, err)
	}
	return nil
}

func TestStateOfThePreviousRelease(t *testing.T) {
	for name, want := range previous {
		d, cfg, err := started(copyState(t, name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer d.identity.Close()
		if err := same(d, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if cfg.Boot <= want.boot || cfg.Incarnation == 0 {
			t.Errorf("%s: boot %d after %d, incarnation %d", name, cfg.Boot, want.boot, cfg.Incarnation)
		}
		if b := cfg.Labels.Bindings; len(b) != 1 || uint16(b[0].Label) != want.label || b[0].Remote.String() != want.remote {
			t.Errorf("%s: labels %+v", name, cfg.Labels)
		}
		if want.authority {
			tokens, names := d.identity.Authority.Tokens(), d.identity.Authority.Names(d.started)
			if len(tokens) != 2 || len(names) != 2 {
				t.Errorf("%s remembers %v and %v", name, tokens, names)
			}
			// The authority gives itself a new SVID, however long ago the old one ended.
			if err := d.renew(t.Context()); err != nil || !d.started.Before(d.identity.Source.Current().NotAfter()) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// An upgrade takes real state to a format that exists for this test only, and what it left unchanged still starts.
func TestUpgradeOfRealState(t *testing.T) {
	step := func(files map[string][]byte) (map[string][]byte, error) {
		if len(files["svid.pem"]) == 0 {
			return nil, errors.New("no SVID")
		}
		return map[string][]byte{"join.key": nil, "format.json": []byte(`{"test":true}`)}, nil
	}
	for name := range previous {
		state := copyState(t, name)
		dir, err := disk.Open(state, step)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if dir.Exists("join.key") || !dir.Exists("format.json") {
			t.Errorf("%s: the step did not happen", name)
		}
		if m, err := authority.LoadMembership(dir); err != nil || m.SVID.Node.String() != name {
			t.Errorf("%s: %v", name, err)
		}
		_ = dir.Close()
		if _, _, err := started(state); !errors.Is(err, disk.ErrNewer) {
			t.Errorf("%s: the program without the step: %v", name, err)
		}
		d, _, err := started(filepath.Join(state, "backup-v1"))
		if err != nil {
			t.Fatalf("%s: the backup: %v", name, err)
		}
		if err := same(d, name); err != nil {
			t.Errorf("%s: the backup: %v", name, err)
		}
		_ = d.identity.Close()
	}
}

// A file cut off anywhere, or gone: the start fails and says which file and what to do, or the node is the one it was.
// It never becomes another, and an authority never quietly stops to be one.
func TestDamagedStateIsNamedOrHarmless(t *testing.T) {
	for name := range previous {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			damageEach(t, name)
		})
	}
}

func damageEach(t *testing.T, name string) {
	files, err := os.ReadDir(filepath.Join("testdata", "state-v1", name))
	if err != nil {
		t.Fatal(err)
	}
	state, refused := copyState(t, name), 0
	for _, f := range files {
		path := filepath.Join(state, f.Name())
		whole, err := os.ReadFile(filepath.Join("testdata", "state-v1", name, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for length := -1; length < len(whole); length++ {
			what := fmt.Sprintf("%s: %s with %d of %d bytes", name, f.Name(), length, len(whole))
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if length >= 0 {
				if err := os.WriteFile(path, whole[:length], 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if damaged(t, what, state, name, f.Name()) {
				refused++
			}
			_ = os.WriteFile(path, whole, 0o600)
		}
		restore(t, state, name)
	}
	if refused < 1000 {
		t.Errorf("%s: only %d starts were refused", name, refused)
	}
}

// damaged starts from a state in which one file is damaged, and reports whether that was refused.
func damaged(t *testing.T, what, state, name, file string) bool {
	t.Helper()
	d, _, err := started(state)
	if err == nil {
		if err := same(d, name); err != nil {
			t.Errorf("%s: it started, and %v", what, err)
		}
		_ = d.identity.Close()
		return false
	}
	if !strings.Contains(err.Error(), file) {
		t.Errorf("%s: the error does not name it: %v", what, err)
	}
	if !strings.Contains(err.Error(), "restore") && !strings.Contains(err.Error(), "delete it") && !strings.Contains(err.Error(), "set identity.ttl") {
		t.Errorf("%s: the error says no remedy: %v", what, err)
	}
	return true
}

// restore makes a state the fixture again: a start writes a few files.
func restore(t *testing.T, state, name string) {
	t.Helper()
	from := filepath.Join("testdata", "state-v1", name)
	files, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(state, f.Name()), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
