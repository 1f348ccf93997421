package trust

import (
	"crypto/x509"
	"time"

	"x0tta6bl4/mesh"
)

// retired is an authority that was revoked, and when.
type retired struct {
	Authority
	at time.Time
}

// Author returns the node that chain (leaf first) belongs to, if it was a valid SVID from oldest to newest: of who signed
// something at a time that is over. An authority that was revoked since vouches for what is dated before that, and for no
// session: all replicas of a record must judge it alike, whenever they see it first. So who has the key of a revoked
// authority can still date something back.
func (l *Log) Author(chain []*x509.Certificate, oldest, newest time.Time) (mesh.NodeID, error) {
	roots := l.rootsAt(newest)
	node, err := VerifySVID(chain, roots, newest, VerifyOptions{})
	if err != nil || oldest.Equal(newest) {
		return node, err
	}
	return VerifySVID(chain, roots, oldest, VerifyOptions{})
}

// Ends returns until when the SVID of a chain (leaf first) is current: to the end of its life, or until the authority that issued it
// was revoked. It does not verify the chain.
func (l *Log) Ends(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	top := chain[len(chain)-1]
	for _, r := range l.gone {
		if r.at.Before(end) && (top.Equal(r.CA) || top.CheckSignatureFrom(r.CA) == nil) {
			end = r.at
		}
	}
	return end
}

// rootsAt returns the roots with those that had not been revoked at a time.
func (l *Log) rootsAt(at time.Time) *Roots {
	cas := l.certificates()
	active := len(cas)
	for _, r := range l.gone {
		if at.Before(r.at) {
			cas = append(cas, r.CA)
		}
	}
	if len(cas) == active {
		return l.roots
	}
	return newRoots(l.domain, cas)
}
