package e2e

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"x0tta6bl4/wire/trust"
)

// privateKey reads a key of a machine's state.
func (m *machine) privateKey(t *testing.T, file string) crypto.Signer {
	t.Helper()
	block, _ := pem.Decode(must(os.ReadFile(filepath.Join(m.state(), file)))(t))
	if block == nil {
		t.Fatalf("%s of %s is no PEM", file, m.id)
	}
	return must(x509.ParsePKCS8PrivateKey(block.Bytes))(t).(crypto.Signer)
}

// An authority whose log has grown tells all members, also those that it has no link with, long before they renew.
func TestAuthorityLogReachesMembers(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta beta-gamma"))
	alpha := n.at("alpha")
	for _, m := range n.machines {
		m.writable(t)
	}
	alpha.stop(t)
	delta := machineIn(t, "delta") // an authority that the domain is to admit
	n.found(delta)
	file := filepath.Join(alpha.state(), "authority.log")
	l := must(trust.ParseLog(must(os.ReadFile(file))(t)))(t)
	jwt := must(x509.MarshalPKIXPublicKey(delta.privateKey(t, "authority-jwt.key").Public()))(t)
	l = must(l.Append(trust.AddAuthority{Node: delta.id, CA: stolen(t, delta).cert.Raw, JWT: jwt}, time.Now(),
		trust.DomainSigner(alpha.privateKey(t, "domain.key").(ed25519.PrivateKey))))(t)
	if err := os.WriteFile(file, l.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	alpha.up(t)
	n.converged(n.machines...)
	eventually(t, agreeLimit, "the log to reach all", func(context.Context) error {
		for _, m := range n.machines {
			if b, err := os.ReadFile(filepath.Join(m.state(), "authority.log")); err != nil || !bytes.Equal(b, l.Bytes()) {
				return errors.Join(err, errors.New(m.id.String()+" has another"))
			}
		}
		return nil
	})
}
