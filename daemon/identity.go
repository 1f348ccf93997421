package daemon

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/api"
	"x0tta6bl4/core/node"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/host/authority"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

var errNotExist = fs.ErrNotExist

// Membership is what makes this process a member: its SVID, the log of authorities it trusts, and the state
// directory that both live in. Safe for concurrent use.
type Membership struct {
	Node      mesh.NodeID
	Domain    spiffeid.TrustDomain
	Store     *keeper
	Source    *authority.Source
	Authority *authority.Authority // nil: this node signs for nobody
	clock     *labClock            // nil but in a lab
	Issuer    mesh.NodeID          // who issued our SVID last
	Bootstrap []netip.AddrPort     // members that were told to us at the join
	adopting  sync.Mutex           // of newer logs, one after the other
	log       atomic.Pointer[trust.Log]
	roots     atomic.Pointer[trust.Roots]
	logged    func() // is called when the log is another; nil until somebody wants to know
}

// openMembership opens the state directory and what x0t init or x0t join put there.
func openMembership(opt Options) (*Membership, error) {
	open, err := openState(opt.State)
	if err != nil {
		return nil, err
	}
	dir := newKeeper(open)
	m, err := loadMembership(dir, opt.Config)
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return m, nil
}

func loadMembership(dir *keeper, cfg config.Config) (*Membership, error) {
	have, err := authority.LoadMembership(dir)
	if err != nil {
		return nil, err
	}
	m := &Membership{
		Node: have.SVID.Node, Domain: have.SVID.ID.TrustDomain(), Store: dir,
		Source: authority.NewSource(dir, have.SVID), Issuer: have.Authority,
	}
	if n := cfg.Node.Name; !n.IsZero() && n != m.Node {
		return nil, fmt.Errorf("the configuration says node.name %s, the state in %s belongs to %s: correct one of them", n, dir.Path(), m.Node)
	}
	if td := cfg.Identity.TrustDomain; !td.IsZero() && td != m.Domain {
		return nil, fmt.Errorf("the configuration says identity.trust_domain %s, the state in %s belongs to %s: correct one of them", td, dir.Path(), m.Domain)
	}
	for _, s := range have.Neighbours {
		if a, err := netip.ParseAddrPort(s); err == nil {
			m.Bootstrap = append(m.Bootstrap, a)
		}
	}
	m.setLog(have.Log)
	if authority.IsAuthority(dir) {
		ttl, err := issuingTTL(dir.Dir, cfg)
		if err != nil {
			return nil, err
		}
		if m.Authority, err = authority.Open(dir, ttl); err != nil {
			return nil, err
		}
		m.setLog(m.Authority.Log())
	}
	return m, nil
}

func (m *Membership) setLog(l *trust.Log) {
	m.log.Store(l)
	m.roots.Store(l.Roots())
	if m.logged != nil {
		m.logged()
	}
}

// Close lets the state directory go.
func (m *Membership) Close() error { return m.Store.Close() }

// Log returns the newest log of authorities.
func (m *Membership) Log() *trust.Log { return m.log.Load() }

// Certificate returns the SVID for a TLS handshake.
func (m *Membership) Certificate() tls.Certificate { return m.Source.Certificate() }

// Verify returns the member that a certificate chain belongs to.
func (m *Membership) Verify(chain []*x509.Certificate) (mesh.NodeID, error) {
	return trust.VerifySVID(chain, m.roots.Load(), m.clock.now(), trust.VerifyOptions{})
}

// Sealing says how keys are kept at rest.
func (m *Membership) Sealing() string {
	if m.Authority != nil {
		return m.Authority.Sealing()
	}
	return "file"
}

func (m *Membership) svid() api.SVID {
	s := m.Source.Current()
	leaf := s.Chain[0]
	return api.SVID{
		Serial: fmt.Sprintf("%x", leaf.SerialNumber), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, RenewAt: s.RenewAt(),
	}
}

// identityEvent tells the slow loop which SVID is the node's own.
func (d *Daemon) identityEvent() node.Identity {
	s := d.identity.Source.Current()
	return node.Identity{Chain: s.Raw(), Leaf: s.Hash(), NotAfter: s.NotAfter()}
}

// verifyChain checks the chain that an announcement's record carries.
func (d *Daemon) verifyChain(raw [][]byte) (*x509.Certificate, mesh.NodeID, error) {
	chain, err := trust.ParseChain(raw)
	if err != nil {
		return nil, mesh.NodeID{}, err
	}
	id, err := d.identity.Verify(chain)
	if err != nil {
		return nil, mesh.NodeID{}, err
	}
	return chain[0], id, nil
}

func verifyECDSA(pub any, signed, sig []byte) bool {
	key, ok := pub.(*ecdsa.PublicKey)
	if !ok {
		return false
	}
	h := sha256.Sum256(signed)
	return ecdsa.VerifyASN1(key, h[:], sig)
}
