package authority

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

// Authority issues the SVIDs of a trust domain's nodes. Safe for concurrent use.
type Authority struct {
	store Store
	td    spiffeid.TrustDomain
	node  mesh.NodeID
	ttl   atomic.Int64 // a time.Duration
	ca    *x509.Certificate
	caKey *ecdsa.PrivateKey
	log   atomic.Pointer[trust.Log]
	addr  func(spiffeid.TrustDomain, mesh.NodeID) netip.Addr // mesh.Addr; collisions cannot be made to test with

	mu  sync.Mutex // one change of the registry or of the log at a time; guards reg
	reg *registry
}

// Init begins trust domain td in an empty store: the domain key, this node as its first authority, the log that
// says so, and this node's own SVID. ttl is that of the SVIDs it issues; 0 is DefaultTTL. An interrupted Init can
// be repeated.
func Init(store Store, td spiffeid.TrustDomain, node mesh.NodeID, ttl time.Duration, now time.Time) (*Authority, error) {
	if HasIdentity(store) {
		return nil, fmt.Errorf("%w; to begin anew, choose an empty state directory (X0T_STATE)", ErrInitialized)
	}
	if reg, err := loadRegistry(store); err == nil && (len(reg.Names) > 1 || len(reg.Tokens) > 0) {
		return nil, fmt.Errorf("%w: an authority's, which lost its %s; restore that from a copy", ErrInitialized, fileSVID)
	}
	if td.IsZero() || node.IsZero() {
		return nil, errors.New("a trust domain needs a name and its first node one; give --trust-domain and --name")
	}
	a := &Authority{store: store, td: td, node: node, addr: mesh.Addr, reg: newRegistry()}
	if err := a.SetTTL(ttl); err != nil {
		return nil, err
	}
	if err := a.makeKeys(now); err != nil {
		return nil, fmt.Errorf("begin trust domain %q: %w", td, err)
	}
	svid, err := a.issueSelf(now)
	if err != nil {
		return nil, err
	}
	// Some names that SPIFFE allows (an IPv4 address, say) cannot stand in an X.509 name constraint.
	if _, err := trust.VerifySVID(svid.Chain, a.Log().Roots(), now, trust.VerifyOptions{}); err != nil {
		return nil, fmt.Errorf("trust domain %q cannot be used: %w; choose a name like a DNS name", td, err)
	}
	return a, Membership{SVID: svid, Log: a.Log(), Authority: node}.Save(store)
}

// makeKeys makes and keeps the keys and the log.
func (a *Authority) makeKeys(now time.Time) error {
	_, domainKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	jwtKey, err := newKey()
	if err != nil {
		return err
	}
	if a.caKey, err = newKey(); err != nil {
		return err
	}
	if a.ca, err = makeCA(a.td, a.node, a.caKey, now); err != nil {
		return err
	}
	jwt, err := x509.MarshalPKIXPublicKey(&jwtKey.PublicKey)
	if err != nil {
		return err
	}
	log, err := trust.NewLog(domainKey, a.td, now)
	if err != nil {
		return err
	}
	log, err = log.Append(trust.AddAuthority{Node: a.node, CA: a.ca.Raw, JWT: jwt}, now, trust.DomainSigner(domainKey))
	if err != nil {
		return err
	}
	a.log.Store(log)
	ca, err := marshalKey(a.caKey)
	if err != nil {
		return err
	}
	ca = append(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.ca.Raw})...)
	return errors.Join(writeKey(a.store, fileDomainKey, domainKey), writeKey(a.store, fileJWTKey, jwtKey), a.store.Write(fileCA, ca))
}

func writeKey(store Store, name string, key any) error {
	b, err := marshalKey(key)
	if err != nil {
		return err
	}
	return store.Write(name, b)
}

// makeCA makes the certificate that trust.CheckAuthority wants.
func makeCA(td spiffeid.TrustDomain, node mesh.NodeID, key *ecdsa.PrivateKey, now time.Time) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, caTemplate(td, node, now), caTemplate(td, node, now), &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func caTemplate(td spiffeid.TrustDomain, node mesh.NodeID, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"x0t authority"}, CommonName: node.String()},
		URIs:                  []*url.URL{td.ID().URL()},
		NotBefore:             now.Add(-maxBackdate),
		NotAfter:              now.Add(caTTL),
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		// The flag is named for DNS and marks the whole extension.
		PermittedDNSDomainsCritical: true, PermittedURIDomains: []string{td.Name()},
	}
}

// SetTTL sets the life of the SVIDs that are issued from now on; 0 is DefaultTTL.
func (a *Authority) SetTTL(ttl time.Duration) error {
	ttl, err := checkTTL(ttl)
	if err == nil {
		a.ttl.Store(int64(ttl))
	}
	return err
}

// IsAuthority reports whether store is an authority's. One that lost a file is one still: Open says which.
func IsAuthority(store Store) bool {
	return store.Exists(fileCA) || store.Exists(fileRegistry) || store.Exists(fileJWTKey)
}

// Open opens the authority that Init made; ErrNotAuthority if there is none. ttl is as for Init.
func Open(store Store, ttl time.Duration) (*Authority, error) {
	if !IsAuthority(store) {
		return nil, ErrNotAuthority
	}
	m, err := LoadMembership(store)
	if err != nil {
		return nil, err
	}
	a := &Authority{store: store, td: m.SVID.ID.TrustDomain(), node: m.SVID.Node, addr: mesh.Addr}
	if err := a.SetTTL(ttl); err != nil {
		return nil, err
	}
	key, rest, err := readKey[*ecdsa.PrivateKey](store, fileCA)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(rest)
	if block == nil {
		return nil, fmt.Errorf("%w: %s holds no certificate; restore it from a copy", ErrCorrupt, fileCA)
	}
	if a.ca, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, fmt.Errorf("%w: %s: %w; restore it from a copy", ErrCorrupt, fileCA, err)
	}
	if !key.PublicKey.Equal(a.ca.PublicKey) {
		return nil, fmt.Errorf("%w: key and certificate in %s do not belong together; restore it from a copy", ErrCorrupt, fileCA)
	}
	a.caKey = key
	a.log.Store(m.Log)
	if a.reg, err = loadRegistry(store); err != nil {
		return nil, err
	}
	return a, a.checkRareKeys()
}

// checkRareKeys looks at the keys that no start needs, so that one that is damaged is not found on the day it is.
func (a *Authority) checkRareKeys() error {
	if _, _, err := readKey[*ecdsa.PrivateKey](a.store, fileJWTKey); err != nil {
		return err
	}
	key, _, err := readKey[ed25519.PrivateKey](a.store, fileDomainKey)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // kept offline
	case err != nil:
		return fmt.Errorf("%w, or move it away: an authority works without it", err)
	case a.Log().DomainKey().String() != hex.EncodeToString(key.Public().(ed25519.PublicKey)):
		return fmt.Errorf("%w: %s is of another domain than %s; move it away: an authority works without it", ErrCorrupt, fileDomainKey, a.td)
	}
	return nil
}

// Node returns the name of the node that is this authority.
func (a *Authority) Node() mesh.NodeID { return a.node }

// Domain returns the trust domain.
func (a *Authority) Domain() spiffeid.TrustDomain { return a.td }

// Log returns the newest authority log.
func (a *Authority) Log() *trust.Log { return a.log.Load() }

// Sealing says how the keys are kept at rest. "file": as files that only their owner may read.
func (a *Authority) Sealing() string { return "file" }

// Append adds an entry to the authority log and keeps it: signed by the domain key where it is at hand, else by
// this authority, which suffices only while it is the only one (trust.Quorum) or together with more signers.
func (a *Authority) Append(op trust.Op, now time.Time, more ...trust.Signer) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	key, _, err := readKey[ed25519.PrivateKey](a.store, fileDomainKey)
	switch {
	case err == nil:
		more = append(more, trust.DomainSigner(key))
	case errors.Is(err, fs.ErrNotExist):
		more = append(more, trust.AuthoritySigner(a.ca, a.caKey))
	default:
		return err
	}
	next, err := a.Log().Append(op, now, more...)
	if err != nil {
		return err
	}
	return a.keepLog(next)
}

// Checkpoint signs that this node had batches of the shared state in time. A revoked authority does not.
func (a *Authority) Checkpoint(batches [][32]byte) ([]byte, error) {
	b, err := trust.NewCheckpoint(batches, trust.AuthoritySigner(a.ca, a.caKey))
	if err == nil {
		_, err = a.Log().Covers(b)
	}
	return b, err
}

// AdoptLog takes a log that another node had: it must continue the own one (trust.Log.Follow).
func (a *Authority) AdoptLog(l *trust.Log) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.Log().Follow(l); err != nil {
		return err
	}
	return a.keepLog(l)
}

func (a *Authority) keepLog(l *trust.Log) error {
	if err := SaveLog(a.store, l); err != nil {
		return err
	}
	a.log.Store(l)
	return nil
}

// keyHash is what the registry calls a key: SHA-256 of its PKIX encoding.
func keyHash(pub *ecdsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrKeyType, err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(der)), nil
}

func checkTTL(ttl time.Duration) (time.Duration, error) {
	if ttl == 0 {
		return DefaultTTL, nil
	}
	if ttl < MinTTL || ttl > MaxTTL {
		return 0, fmt.Errorf("%w: SVID lifetime %s is not between %s and %s", ErrTTL, ttl, MinTTL, MaxTTL)
	}
	return ttl, nil
}
