package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// wantFailure runs a command that is to fail with a code and words.
func (m *machine) wantFailure(t *testing.T, code int, words string, argv ...string) {
	t.Helper()
	r := m.run(t, argv...)
	if r.code != code || !strings.Contains(r.err, words) {
		t.Errorf("%s: %s\nwant exit code %d and %q", strings.Join(argv, " "), r, code, words)
	}
}

// A token that is cut off, mistyped, of another mesh, used or too old joins nobody, and x0t join says why; a good one
// joins the same machine.
func TestTokens(t *testing.T) {
	need(t)
	n := lay(t, cables("alpha-beta alpha-gamma"))
	alpha, beta, gamma := n.at("alpha"), n.at("beta"), n.at("gamma")
	n.found(alpha)
	alpha.up(t)
	n.converged(alpha)

	var old api.Token
	if err := json.Unmarshal([]byte(alpha.must(t, "x0t", "token", "create", "--json", "--node", "beta", "--ttl", "1s")), &old); err != nil {
		t.Fatal(err)
	}
	beta.wantFailure(t, 1, "not a join token", "x0t", "join", "open sesame")
	good := n.token(beta.id)
	for _, k := range []int{len(good) - 1, len(good) / 2, len("x0t1-") + 1} {
		beta.wantFailure(t, 1, "join token is cut off", "x0t", "join", good[:k])
	}
	for _, k := range []int{len("x0t1-"), len(good) / 2, len(good) - 2} {
		other := byte('a')
		if good[k] == other {
			other = 'b'
		}
		beta.wantFailure(t, 1, "join token is mistyped", "x0t", "join", good[:k]+string(other)+good[k+1:])
	}

	t.Run("another mesh", func(t *testing.T) {
		// The authority of the token is called alpha too, and sends the machine to the alpha that is no such thing.
		gamma.must(t, "x0t", "init", "--trust-domain", "evil.mesh", "--name", "alpha")
		gamma.up(t)
		n.converged(gamma)
		here, _ := n.underlay(alpha, beta)
		out := gamma.must(t, "x0t", "token", "create", "--json", "--node", "beta", "--address", netip.AddrPortFrom(here, port).String())
		var foreign api.Token
		if err := json.Unmarshal([]byte(out), &foreign); err != nil {
			t.Fatal(err)
		}
		beta.wantFailure(t, 1, "authority log of another domain key", "x0t", "join", foreign.Token)
		gamma.stop(t)
		if err := os.RemoveAll(gamma.state()); err != nil {
			t.Fatal(err)
		}
	})

	timer := time.NewTimer(time.Until(old.Expires) + 1100*time.Millisecond)
	defer timer.Stop()
	<-timer.C
	beta.wantFailure(t, 1, "join token has expired", "x0t", "join", old.Token)

	// Nothing of all this keeps a good token from doing its work, once.
	here, _ := n.underlay(alpha, beta)
	via := netip.AddrPortFrom(here, port).String()
	beta.must(t, "x0t", "join", "--via", via, good)
	beta.wantFailure(t, 1, "already holds an identity", "x0t", "join", "--via", via, good)
	here, _ = n.underlay(alpha, gamma)
	gamma.wantFailure(t, 1, "the token was used by another key", "x0t", "join", "--via", netip.AddrPortFrom(here, port).String(), good)
	alpha.wantFailure(t, 1, "the name belongs to a live node", "x0t", "token", "create", "--node", "beta")
	n.join(gamma, []*machine{alpha})
	beta.up(t)
	gamma.up(t)
	n.converged(n.machines...)
	beta.wantFailure(t, 1, "signs for nobody", "x0t", "token", "create", "--node", "delta")
}

// A daemon refuses a state directory or a configuration that it cannot use, by name, and starts with the defect gone.
func TestUnusableStateAndConfiguration(t *testing.T) {
	need(t)
	n := lay(t, cables("alpha-beta"))
	alpha := n.at("alpha")

	t.Run("no state", func(t *testing.T) {
		alpha.wantFailure(t, 1, "x0t init", "x0t", "up")
		alpha.wantFailure(t, 3, "start it with: x0t up", "x0t", "status")
		if err := os.RemoveAll(alpha.state()); err != nil {
			t.Fatal(err)
		}
	})
	n.found(alpha)

	t.Run("unknown key", func(t *testing.T) {
		alpha.configure(t, "node:\n  name: alpha\nlinks:\n  neighbors: []\n")
		for _, verb := range [][]string{{"up"}, {"config", "check"}} {
			alpha.wantFailure(t, 1, alpha.config()+":4:", append([]string{"x0t"}, verb...)...)
			alpha.wantFailure(t, 1, "neighbours", append([]string{"x0t"}, verb...)...)
		}
		alpha.configure(t, "node:\n  name: beta\n")
		alpha.wantFailure(t, 1, "belongs to alpha", "x0t", "up")
		alpha.configure(t, "")
		alpha.must(t, "x0t", "config", "check")
	})

	t.Run("unwritable state", func(t *testing.T) {
		if err := alpha.do(func() error {
			if err := unix.Mount(alpha.state(), alpha.state(), "", unix.MS_BIND, ""); err != nil {
				return err
			}
			return unix.Mount("", alpha.state(), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}); err != nil {
			t.Fatal(err)
		}
		alpha.wantFailure(t, 1, "state cannot be written", "x0t", "up")
		alpha.wantFailure(t, 1, "mounted read-only", "x0t", "up")
		if err := alpha.do(func() error { return unix.Unmount(alpha.state(), unix.MNT_DETACH) }); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(alpha.dir, "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		alpha.wantFailure(t, 1, "state cannot be written", "x0t", "--state", file, "init", "--trust-domain", "e2e.mesh", "--name", "alpha")
	})

	alpha.up(t)
	n.converged(alpha)
	t.Run("second daemon", func(t *testing.T) {
		other := filepath.Join(alpha.dir, "other.sock")
		pid := fmt.Sprintf("process %d holds %s", alpha.daemon.cmd.Process.Pid, alpha.state())
		alpha.wantFailure(t, 1, "state directory is in use by another process", "x0t", "--socket", other, "up")
		alpha.wantFailure(t, 1, pid, "x0t", "--socket", other, "up")
		if s := alpha.status(t); s.PID != alpha.daemon.cmd.Process.Pid {
			t.Errorf("the first daemon is disturbed: %+v", s)
		}
	})
	t.Run("address in use", func(t *testing.T) {
		// Another node on the same machine: it has a state of its own, but the port and the device are taken.
		state := filepath.Join(alpha.dir, "second")
		alpha.must(t, "x0t", "--state", state, "init", "--trust-domain", "other.mesh", "--name", "alpha")
		alpha.wantFailure(t, 1, "x0t0", "x0t", "--state", state, "--socket", filepath.Join(alpha.dir, "other.sock"), "up")
		n.converged(alpha)
	})
	// Wrong usage, for the code: it is told apart from failure.
	alpha.wantFailure(t, 2, "--name", "x0t", "--state", filepath.Join(alpha.dir, "third"), "init", "--trust-domain", "e2e.mesh")
	alpha.wantFailure(t, 2, "statsu", "x0t", "statsu")
	alpha.wantFailure(t, 1, `no member "nobody"`, "x0t", "ping", mesh.MustNodeID("nobody").String())
}
