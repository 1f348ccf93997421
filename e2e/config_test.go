package e2e

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/wire/trust"
)

// second makes a machine an authority in the log of the first one, which is restarted, and returns when all have that log.
func (n *network) second(m *machine) {
	t, first := n.t, n.machines[0]
	t.Helper()
	first.stop(t)
	other := machineIn(t, "other") // has a CA to take
	n.found(other)
	file := filepath.Join(first.state(), "authority.log")
	l := must(trust.ParseLog(must(os.ReadFile(file))(t)))(t)
	jwt := must(x509.MarshalPKIXPublicKey(other.privateKey(t, "authority-jwt.key").Public()))(t)
	l = must(l.Append(trust.AddAuthority{Node: m.id, CA: stolen(t, other).cert.Raw, JWT: jwt}, time.Now(),
		trust.DomainSigner(first.privateKey(t, "domain.key").(ed25519.PrivateKey))))(t)
	if err := os.WriteFile(file, l.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	first.up(t)
	n.converged(n.machines...)
	eventually(t, agreeLimit, "the log to reach all", func(ctx context.Context) error {
		for _, m := range n.machines {
			if id, err := m.client.Identity(ctx); err != nil || len(id.Log.Authorities) != 2 {
				return errors.Join(err, fmt.Errorf("%s knows of %v", m.id, id.Log.Authorities))
			}
		}
		return nil
	})
}

// runWith waits until machines have a value for a key, from the place that is said.
func runWith(t *testing.T, key, value string, source api.ConfigSource, ms ...*machine) {
	t.Helper()
	eventually(t, agreeLimit, fmt.Sprintf("%s: %s", key, value), func(ctx context.Context) error {
		for _, m := range ms {
			c, err := m.client.Config(ctx)
			if err != nil {
				return err
			}
			for _, k := range c.Keys {
				if k.Key == key && (k.Value != value || k.Source != source) {
					return fmt.Errorf("%s has %s from %s", m.id, k.Value, k.Source)
				}
			}
		}
		return nil
	})
}

// What an authority shares changes what daemons do while they run, and what both sides of a cut share agrees after it.
func TestSharedConfiguration(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta beta-gamma alpha-gamma"))
	alpha, beta, gamma := n.at("alpha"), n.at("beta"), n.at("gamma")
	n.second(gamma)
	for _, m := range n.machines {
		m.writable(t)
	}
	pid := beta.status(t).PID

	if r := beta.run(t, "x0t", "config", "set", "routing.protect", "[]"); r.code != 1 || !strings.Contains(r.err, "do it on alpha or gamma") {
		t.Fatalf("a member shares a value: %s", r)
	}
	alpha.must(t, "x0t", "config", "set", "routing.protect", "[all]")
	runWith(t, "routing.protect", `["all"]`, api.ConfigForAll, n.machines...)
	n.copies(beta, "go by two paths", func(sent, once int) bool { return sent > once })
	alpha.must(t, "x0t", "config", "set", "routing.duplicate_budget", "0")
	runWith(t, "routing.duplicate_budget", "0", api.ConfigForAll, n.machines...)
	n.copies(beta, "go by one path", func(sent, once int) bool { return sent > 0 && sent == once })
	alpha.must(t, "x0t", "config", "set", "log.level", "debug", "--node", "beta")
	runWith(t, "log.level", "debug", api.ConfigForNode, beta)
	runWith(t, "log.level", "info", api.ConfigDefault, alpha, gamma)

	gamma.cut(t, alpha, true)
	gamma.cut(t, beta, true)
	alpha.must(t, "x0t", "config", "set", "routing.k", "2")
	gamma.must(t, "x0t", "config", "set", "routing.k", "4")
	gamma.must(t, "x0t", "config", "unset", "routing.protect")
	runWith(t, "routing.k", "2", api.ConfigForAll, alpha, beta)
	runWith(t, "routing.k", "4", api.ConfigForAll, gamma)
	runWith(t, "routing.protect", `["all"]`, api.ConfigForAll, alpha, beta)
	runWith(t, "routing.protect", "[]", api.ConfigDefault, gamma)
	eventually(t, 30*time.Second, "say at level debug that a neighbour cannot be reached", func(context.Context) error {
		if !strings.Contains(string(beta.log()), "level=DEBUG") {
			return errors.New("it does not")
		}
		return nil
	})
	if strings.Contains(string(alpha.log()), "level=DEBUG") {
		t.Error("so does alpha, which was not told to")
	}
	gamma.cut(t, alpha, false)
	gamma.cut(t, beta, false)
	runWith(t, "routing.k", "4", api.ConfigForAll, n.machines...)
	runWith(t, "routing.protect", "[]", api.ConfigDefault, n.machines...)

	if beta.status(t).PID != pid {
		t.Error("beta was restarted")
	}
	beta.stop(t)
	beta.configure(t, n.neighbours(beta)+"routing: {k: 5}\n")
	beta.up(t)
	runWith(t, "log.level", "debug", api.ConfigForNode, beta)
	runWith(t, "routing.k", "5", api.ConfigFile, beta)
	if out := beta.must(t, "x0t", "status"); !strings.Contains(out, "the file overrides what nodes share: routing.k") {
		t.Errorf("status does not say what the file overrides:\n%s", out)
	}
}

// copies waits until protected packets of a machine go as they should: sent is how many left, once those by one path only.
func (n *network) copies(m *machine, what string, as func(sent, once int) bool) {
	n.t.Helper()
	eventually(n.t, agreeLimit, what, func(context.Context) error {
		before := m.counters(n.t)
		n.reach(agreeLimit, n.machines...)
		after := m.counters(n.t)
		sent, once := risen(before, after, "protected_sent"), risen(before, after, "protected_single")
		if !as(sent, once) {
			return fmt.Errorf("of %d protected packets %d left once", sent, once)
		}
		return nil
	})
}
