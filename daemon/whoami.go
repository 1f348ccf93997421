package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"

	"x0tta6bl4/api"
)

// Identity implements api.Backend.
func (d *Daemon) Identity(context.Context) (api.Identity, error) {
	s, l := d.identity.Source.Current(), d.identity.Log()
	leaf, hash := s.Chain[0], s.Hash()
	id := api.Identity{
		Node: d.self, SPIFFEID: s.ID.String(), TrustDomain: d.domain.Name(), Address: d.addr, SVID: d.identity.svid(),
		Certificate: api.Certificate{
			Issuer: leaf.Issuer.String(), Key: keyName(leaf), Signature: leaf.SignatureAlgorithm.String(),
			SHA256: hex.EncodeToString(hash[:]),
		},
		Chain: pemOf(s.Chain), Bundle: pemOf(l.Roots().Certificates()), DomainKey: l.DomainKey().String(),
		Log: api.Log{Seq: uint64(l.Len())}, // #nosec G115 -- a length
	}
	for _, a := range l.Authorities() {
		ca := a.ID()
		id.Log.Authorities = append(id.Log.Authorities, api.Authority{
			Node: a.Node.String(), State: "active", SHA256: hex.EncodeToString(ca[:]), NotAfter: a.CA.NotAfter,
		})
	}
	return id, nil
}

func keyName(c *x509.Certificate) string {
	if k, ok := c.PublicKey.(*ecdsa.PublicKey); ok {
		return "ECDSA " + k.Curve.Params().Name
	}
	return fmt.Sprint(c.PublicKeyAlgorithm)
}

func pemOf(chain []*x509.Certificate) string {
	var b []byte
	for _, c := range chain {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return string(b)
}
