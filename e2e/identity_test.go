package e2e

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"x0tta6bl4/api"
)

const betaID = "spiffe://e2e.mesh/node/beta"

// defects are certificates that must not make a link, each with the reason that has to be named. The first one has no
// defect.
var defects = []struct {
	name, reason string
	make         func(t *testing.T, ca signer) identity
}{
	{"none", "", func(t *testing.T, ca signer) identity { return sign(t, ca, leaf(betaID)) }},
	{"another domain", "SVID of another trust domain", func(t *testing.T, _ signer) identity {
		return sign(t, invented(t, "evil.mesh"), leaf("spiffe://evil.mesh/node/beta"))
	}},
	{"invented authority", "signed by no authority of the trust domain", func(t *testing.T, _ signer) identity {
		return sign(t, invented(t, "e2e.mesh"), leaf(betaID))
	}},
	{"self-signed", "signed by its own key", func(t *testing.T, _ signer) identity { return sign(t, signer{}, leaf(betaID)) }},
	{"expired", "SVID has expired", func(t *testing.T, ca signer) identity {
		c := leaf(betaID)
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Minute), time.Now().Add(-time.Second)
		return sign(t, ca, c)
	}},
	{"not valid yet", "SVID is not valid yet", func(t *testing.T, ca signer) identity {
		c := leaf(betaID)
		c.NotBefore = time.Now().Add(time.Minute)
		return sign(t, ca, c)
	}},
	{"wrong extended key usage", "lacks serverAuth or clientAuth", func(t *testing.T, ca signer) identity {
		c := leaf(betaID)
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		return sign(t, ca, c)
	}},
	{"two URI SANs", "more than one URI SAN", func(t *testing.T, ca signer) identity {
		return sign(t, ca, leaf(betaID, "spiffe://e2e.mesh/node/gamma"))
	}},
	{"no URI SAN", "no URI SAN", func(t *testing.T, ca signer) identity { return sign(t, ca, leaf()) }},
	{"no path", "has no path", func(t *testing.T, ca signer) identity { return sign(t, ca, leaf("spiffe://e2e.mesh")) }},
	{"workload", "SVID is not a node's", func(t *testing.T, ca signer) identity { return sign(t, ca, leaf("spiffe://e2e.mesh/web")) }},
	{"may sign", "allows signing", func(t *testing.T, ca signer) identity {
		c := leaf(betaID)
		c.KeyUsage |= x509.KeyUsageCertSign
		return sign(t, ca, c)
	}},
	{"is an authority", "SVID is a CA certificate", func(t *testing.T, ca signer) identity {
		c := leaf(betaID)
		c.IsCA = true
		return sign(t, ca, c)
	}},
}

// refusal returns what a machine said of the refused handshake of a remote address, "" if it refused none.
func (m *machine) refusal(t *testing.T, remote string) string {
	t.Helper()
	for _, r := range m.status(t).Refused {
		if r.Remote == remote {
			return r.Reason
		}
	}
	return ""
}

// Whoever comes with a certificate that breaks one rule is refused, and status names the rule.
func TestRefusedIdentities(t *testing.T) {
	need(t)
	n := lay(t, cables("alpha-mallory"))
	alpha, mallory := n.at("alpha"), n.at("mallory")
	n.found(alpha)
	alpha.up(t)
	n.converged(alpha)
	ca := stolen(t, alpha)
	here, _ := n.underlay(alpha, mallory)
	there, _ := n.underlay(mallory, alpha)
	for _, d := range defects {
		t.Run(d.name, func(t *testing.T) {
			from, ended := d.make(t, ca).knockWith(t, mallory, netip.AddrPortFrom(here, port))
			remote := netip.AddrPortFrom(there, from.Port())
			if d.reason == "" {
				eventually(t, 10*time.Second, "the link is made", func(ctx context.Context) error {
					ls, err := alpha.client.Links(ctx)
					for _, l := range ls {
						if l.Remote == remote && l.Neighbour.String() == "beta" {
							return nil
						}
					}
					return errors.Join(err, fmt.Errorf("alpha's links are %v; it refused %q", ls, alpha.refusal(t, remote.String())))
				})
				return
			}
			select {
			case err := <-ended:
				if te := (*quic.TransportError)(nil); !errors.As(err, &te) || !te.ErrorCode.IsCryptoError() || !te.Remote {
					t.Errorf("the connection ended with %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the connection stays")
			}
			eventually(t, 5*time.Second, "status tells the reason", func(context.Context) error {
				if got := alpha.refusal(t, remote.String()); !strings.Contains(got, d.reason) {
					return fmt.Errorf("it says %q", got)
				}
				return nil
			})
			for _, l := range must(alpha.client.Links(t.Context()))(t) {
				if l.Remote == remote {
					t.Errorf("alpha has a link with %s at %s", l.Neighbour, l.Remote)
				}
			}
		})
	}
}

// A node whose own certificate is at fault does not start, or is refused by its neighbour and both say so; with its
// genuine certificate back, the same node works.
func TestOwnIdentityAtFault(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta"))
	alpha, beta := n.at("alpha"), n.at("beta")
	beta.stop(t)
	ca := stolen(t, alpha)
	genuine := must(os.ReadFile(filepath.Join(beta.state(), "svid.pem")))(t)

	// What can be no node's certificate of this domain at all, x0t up refuses in words of its own.
	atHome := map[string]string{
		"two URI SANs": "more than one URI SAN", "no path": "non-root path", "no URI SAN": "no URI SAN",
		"another domain": `of "evil.mesh"`, "workload": `"spiffe://e2e.mesh/web" is not /node/`, "may sign": "keyCertSign", "is an authority": "CA flag",
	}
	for _, d := range defects[1:] {
		if d.name == "expired" || d.name == "not valid yet" {
			continue // it renews itself, as a machine does that slept too long
		}
		t.Run(d.name, func(t *testing.T) {
			d.make(t, ca).install(t, beta)
			if want, ok := atHome[d.name]; ok {
				if r := beta.run(t, "x0t", "up"); r.code != 1 || !strings.Contains(r.err, want) {
					t.Errorf("x0t up: %s, want exit code 1 and %q", r, want)
				}
				return
			}
			n.refused(t, alpha, beta, d.reason)
		})
	}
	t.Run("genuine", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(beta.state(), "svid.pem"), genuine, 0o600); err != nil {
			t.Fatal(err)
		}
		beta.up(t)
		n.converged(alpha, beta)
		n.reach(10*time.Second, alpha, beta)
	})
}

// refused starts the daemon of a machine and waits until its neighbour says why it refuses it, and it that it was
// refused.
func (n *network) refused(t *testing.T, by, m *machine, reason string) {
	t.Helper()
	began := time.Now()
	m.up(t)
	defer m.stop(t)
	there, _ := n.underlay(m, by)
	remote := netip.AddrPortFrom(there, port).String()
	eventually(t, 15*time.Second, by.id.String()+" refuses", func(context.Context) error {
		for _, r := range by.status(t).Refused {
			if r.At.After(began) && r.Remote == remote && strings.Contains(r.Reason, reason) {
				return nil
			}
		}
		return fmt.Errorf("it says %v", by.status(t).Refused)
	})
	eventually(t, 15*time.Second, m.id.String()+" says that it was refused", func(ctx context.Context) error {
		s, err := m.client.Status(ctx)
		if err != nil {
			return err
		}
		ls, err := m.client.Links(ctx)
		if err != nil || len(ls) != 1 {
			return fmt.Errorf("%v, links %v", err, ls)
		}
		if s.LinksUp != 0 || s.Health != api.HealthDown || !strings.Contains(ls[0].Error, "refused this node's certificate") {
			return fmt.Errorf("it is %s with %d links up, and says %q", s.Health, s.LinksUp, ls[0].Error)
		}
		return nil
	})
}

// A machine that belongs to another trust domain is refused, and refuses; after it has joined, the same machine at the
// same place is a neighbour.
func TestForeignMachine(t *testing.T) {
	need(t)
	n := lay(t, cables("alpha-mallory"))
	alpha, mallory := n.at("alpha"), n.at("mallory")
	n.found(alpha)
	alpha.up(t)
	n.converged(alpha)
	mallory.must(t, "x0t", "init", "--trust-domain", "evil.mesh", "--name", "mallory")
	mallory.up(t)
	for _, m := range n.machines {
		eventually(t, 15*time.Second, m.id.String()+" names the reason", func(ctx context.Context) error {
			s, err := m.client.Status(ctx)
			if err != nil {
				return err
			}
			for _, r := range s.Refused {
				if strings.Contains(r.Reason, "SVID of another trust domain") {
					return nil
				}
			}
			return fmt.Errorf("it says %v", s.Refused)
		})
		if s := m.status(t); s.LinksUp != 0 || s.LSDBNodes > 1 {
			t.Errorf("%s has %d links up and knows %d nodes", m.id, s.LinksUp, s.LSDBNodes)
		}
	}
	mallory.stop(t)
	if err := os.RemoveAll(mallory.state()); err != nil {
		t.Fatal(err)
	}
	n.join(mallory, n.machines[:1])
	mallory.up(t)
	n.converged(n.machines...)
	n.reach(10*time.Second, n.machines...)
}

// A node that comes back after its certificate has expired renews it by its key, and is a member again.
func TestExpiredNodeReturns(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta beta-gamma"), "--ttl", "8s")
	gamma := n.at("gamma")
	end := gamma.status(t).SVID.NotAfter
	gamma.kill()
	eventually(t, 30*time.Second, "its certificate expires", func(context.Context) error {
		if left := time.Until(end); left > -time.Second {
			return fmt.Errorf("%s is left", left)
		}
		return nil
	})
	gamma.up(t)
	n.converged(n.machines...)
	if s := gamma.status(t); !s.SVID.NotAfter.After(end) {
		t.Errorf("its certificate ended %s", s.SVID.NotAfter)
	}
	n.reach(20*time.Second, n.at("alpha"), gamma)
	// It did not storm its neighbour meanwhile.
	if k := strings.Count(string(n.at("beta").log()), "handshake refused"); k > 40 {
		t.Errorf("its neighbour refused it %d times", k)
	}
}
