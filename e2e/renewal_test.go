package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"x0tta6bl4/api"
)

// Certificates that live 20 s are renewed at every node, authority and relay included, without the loss of a packet.
// When the authority then falls silent, nodes say so, carry on as long as their certificates are good, and not longer;
// when it is back, so is everything.
func TestRenewal(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta beta-gamma gamma-delta"), "--ttl", "20s")
	beta, gamma, delta := n.at("beta"), n.at("gamma"), n.at("delta")
	b, d := listen(t, beta), listen(t, delta)
	t.Cleanup(func() { b.close(); d.close() })
	knockAll(t, 20*time.Second, b, d)
	flows := [][2]*endpoint{{b, d}, {d, b}}
	settled(time.Second, flows...)
	before := []tally{b.tally(d), d.tally(b)}

	done, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); stream(done, 5*time.Millisecond, flows...) }()
	finish := func() {
		if done != nil {
			close(done)
			<-ended
			done = nil
		}
	}
	t.Cleanup(finish)

	n.renewals(45*time.Second, 3)
	// A packet that was sent before now has had its time.
	var after []tally
	cut := []uint64{b.given(d), d.given(b)}
	eventually(t, 5*time.Second, "every packet through all renewals", func(context.Context) error {
		after = []tally{b.upTo(d, cut[0]), d.upTo(b, cut[1])}
		for i, a := range after {
			if a.lost() > before[i].lost() || a.twice > 0 {
				return fmt.Errorf("%s: %s (before: %s)", flows[i][0].m.id, a, before[i])
			}
		}
		return nil
	})
	t.Logf("through the renewals: %s; %s", after[0], after[1])

	t.Run("silent authority", func(t *testing.T) { silentAuthority(t, n, flows, beta, gamma, delta) })
	finish()
	if t.Failed() {
		return
	}
	if err := n.at("alpha").daemon.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	knockAll(t, 60*time.Second, b, d)
	t.Logf("with the authority back, traffic passed after %s", time.Since(began).Round(time.Millisecond))
}

// renewals watches all nodes for so long and asks that each had that many new certificates.
func (n *network) renewals(watch time.Duration, least int) {
	n.t.Helper()
	serials := map[*machine][]string{}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(watch); time.Now().Before(end); <-tick.C {
		for _, m := range n.machines {
			s := m.status(n.t)
			if !slices.Contains(serials[m], s.SVID.Serial) {
				serials[m] = append(serials[m], s.SVID.Serial)
			}
			if s.Health == api.HealthDown {
				n.t.Errorf("%s is %s: %v", m.id, s.Health, s.Reasons)
			}
		}
	}
	for _, m := range n.machines {
		if got := len(serials[m]) - 1; got < least {
			n.t.Errorf("%s renewed its certificate %d times in %s, not %d", m.id, got, watch, least)
		}
	}
}

// silentAuthority freezes the authority, which carries none of the traffic, and watches the end of that.
func silentAuthority(t *testing.T, n *network, flows [][2]*endpoint, ms ...*machine) {
	if err := n.at("alpha").daemon.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	frozen := time.Now()
	warned := map[*machine]time.Time{}
	// A renewal that was under way when the authority froze may still come in: what holds is what is seen last.
	var end time.Time
	eventually(t, 40*time.Second, "traffic ends with the first certificate", func(context.Context) error {
		end = time.Time{}
		for _, m := range ms {
			s := m.status(t)
			if end.IsZero() || s.SVID.NotAfter.Before(end) {
				end = s.SVID.NotAfter
			}
			if _, ok := warned[m]; !ok && s.Health != api.HealthOK && strings.Contains(strings.Join(s.Reasons, " "), "renewed") {
				warned[m] = time.Now()
			}
		}
		if left := time.Until(end); left > -2*time.Second {
			return fmt.Errorf("%s is left", left)
		}
		return nil
	})
	for _, m := range ms {
		if at, ok := warned[m]; !ok || at.After(end) {
			t.Errorf("%s did not say before the end that its certificate was not renewed", m.id)
		}
		if s := m.status(t); s.Health != api.HealthDown && time.Now().After(s.SVID.NotAfter) {
			t.Errorf("%s is %s although its certificate has expired: %v", m.id, s.Health, s.Reasons)
		}
	}
	for _, f := range flows {
		last := f[0].tally(f[1]).last
		t.Logf("the last packet from %s to %s came %s after the end of the first certificate, %s after the authority froze",
			f[0].m.id, f[1].m.id, last.Sub(end).Round(time.Millisecond), last.Sub(frozen).Round(time.Millisecond))
		if early := end.Sub(last); early > time.Second {
			t.Errorf("traffic ended %s before the first certificate", early)
		} else if early < -time.Second {
			t.Errorf("traffic went on for %s after the first certificate had ended", -early)
		}
	}
}
