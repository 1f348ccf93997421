package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/mesh"
)

// What can be wrong with an authority log or with a change to it.
var (
	ErrLogFormat    = errors.New("not an authority log")
	ErrLogVersion   = errors.New("authority log of another version")
	ErrLogSequence  = errors.New("authority log has a gap or does not chain")
	ErrLogSignature = errors.New("authority log entry lacks a signature that counts")
	ErrLogEntry     = errors.New("authority log entry does not apply")
	ErrLogDomain    = errors.New("authority log of another domain key")
	ErrLogForked    = errors.New("authority log has forked")
	ErrLogRollback  = errors.New("authority log is older than the one already known")
)

// MaxLog is the size of the largest authority log in bytes; it fits one control message between nodes.
const MaxLog = 240 << 10

// Op is what one entry of the log does: Establish, AddAuthority or RevokeAuthority.
type Op interface{ kind() byte }

// Establish is the first entry of every log and no other: it says which key a trust domain begins with.
type Establish struct {
	Domain spiffeid.TrustDomain
	Key    DomainKey
}

// AddAuthority admits a node as authority. No two authorities that ever were share a CA key or a JWT key.
type AddAuthority struct {
	Node mesh.NodeID
	CA   []byte // certificate, DER; it passes CheckAuthority
	JWT  []byte // ES256 public key, PKIX DER
}

// RevokeAuthority ends what AddAuthority began, for good: its keys cannot be admitted again.
type RevokeAuthority struct {
	CA [32]byte // SHA-256 of the CA certificate
}

func (Establish) kind() byte       { return 1 }
func (AddAuthority) kind() byte    { return 2 }
func (RevokeAuthority) kind() byte { return 3 }

// Authority is one admitted authority.
type Authority struct {
	Node mesh.NodeID
	CA   *x509.Certificate
	JWT  *ecdsa.PublicKey
}

// ID returns what RevokeAuthority and a Signer call the authority: SHA-256 of its CA certificate.
func (a Authority) ID() [32]byte { return sha256.Sum256(a.CA.Raw) }

// Signer makes signatures under log entries. ID is the SHA-256 of the domain key or of an authority's CA certificate.
type Signer struct {
	ID   [32]byte
	Sign func(message []byte) ([]byte, error)
}

// DomainSigner signs with the domain key, which alone suffices for every entry.
func DomainSigner(key ed25519.PrivateKey) Signer {
	return Signer{sha256.Sum256(key[ed25519.SeedSize:]), func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil }}
}

// AuthoritySigner signs with the key of a CA certificate (deterministically, RFC 6979). As many signatures as
// Quorum says suffice in place of the domain key's.
func AuthoritySigner(ca *x509.Certificate, key *ecdsa.PrivateKey) Signer {
	return Signer{sha256.Sum256(ca.Raw), func(m []byte) ([]byte, error) {
		digest := sha256.Sum256(m)
		return key.Sign(nil, digest[:], cryptoSHA256)
	}}
}

// Quorum returns how many of n active authorities together may change the log without the domain key: one of
// one, two of more.
func Quorum(n int) int { return min(max(n, 1), 2) }

// Log is a verified authority log: there is none whose entries do not chain, whose signatures do not count or
// whose entries contradict each other. It is immutable. Whether it is the log of the *right* domain is Verify's
// question, and whether it is the newest one is Follow's.
type Log struct {
	domain  spiffeid.TrustDomain
	key     DomainKey
	entries [][]byte   // as they are on the wire
	hashes  [][32]byte // of their signed parts
	active  []Authority
	gone    []retired
	seen    map[[32]byte]bool // SHA-256 of every key ever admitted
	last    time.Time
	size    int
	roots   *Roots
}

// NewLog begins the log of td with its domain key.
func NewLog(key ed25519.PrivateKey, td spiffeid.TrustDomain, now time.Time) (*Log, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%w: the domain key has %d bytes", ErrLogEntry, len(key))
	}
	op := Establish{Domain: td}
	copy(op.Key[:], key[ed25519.SeedSize:])
	return new(Log).Append(op, now, DomainSigner(key))
}

// Append returns the log with one more entry. Without signatures that count, or if op contradicts the log, it fails.
func (l *Log) Append(op Op, now time.Time, signers ...Signer) (*Log, error) {
	e := entry{op: op, seq: uint64(len(l.entries)) + 1, time: now}
	if n := len(l.hashes); n > 0 {
		e.prev = l.hashes[n-1]
	}
	signed := e.appendSigned(nil)
	for _, s := range signers {
		sig, err := s.Sign(signingInput(signed))
		if err != nil {
			return nil, fmt.Errorf("sign authority log entry %d: %w", e.seq, err)
		}
		e.sigs = append(e.sigs, signature{s.ID, sig})
	}
	raw := e.appendSigs(signed)
	next := l.clone()
	if err := next.apply(raw); err != nil {
		return nil, err
	}
	next.roots = newRoots(next.domain, next.certificates())
	return next, nil
}

// ParseLog reads and verifies a log. It proves that the log is the work of the key in its first entry, which
// anybody can make: call Verify before believing it.
func ParseLog(b []byte) (*Log, error) {
	raws, err := splitLog(b)
	if err != nil {
		return nil, err
	}
	l := new(Log).clone()
	for _, raw := range raws {
		if err := l.apply(raw); err != nil {
			return nil, err
		}
	}
	l.roots = newRoots(l.domain, l.certificates())
	return l, nil
}

// Bytes returns the log as ParseLog reads it.
func (l *Log) Bytes() []byte {
	b := append(make([]byte, 0, l.size+len(logMagic)+1), logMagic...)
	b = append(b, logVersion)
	for _, e := range l.entries {
		b = appendB32(b, e)
	}
	return b
}

// Verify reports whether the log is that of trust domain td and of the pinned domain key.
func (l *Log) Verify(td spiffeid.TrustDomain, pinned DomainKey) error {
	if l.domain != td || l.key != pinned {
		return fmt.Errorf("%w: it is rooted in %q by %s…, expected %q by %s…; the answer comes from a stranger",
			ErrLogDomain, l.domain, l.key.String()[:16], td, pinned.String()[:16])
	}
	return nil
}

// Follow reports whether offered may replace l: nil if it is l or continues it, ErrLogRollback if it is an older
// state of l, ErrLogForked if each holds an entry that the other has not.
func (l *Log) Follow(offered *Log) error {
	both := min(len(l.hashes), len(offered.hashes))
	for i := range both {
		if l.hashes[i] != offered.hashes[i] {
			return fmt.Errorf("%w at entry %d: two histories of %q are signed; ask the holder of the domain key which one is true",
				ErrLogForked, i+1, l.domain)
		}
	}
	if len(offered.hashes) < len(l.hashes) {
		return fmt.Errorf("%w: it has %d entries, %d are known", ErrLogRollback, len(offered.hashes), len(l.hashes))
	}
	return nil
}

// Domain returns the trust domain.
func (l *Log) Domain() spiffeid.TrustDomain { return l.domain }

// DomainKey returns the key of the first entry.
func (l *Log) DomainKey() DomainKey { return l.key }

// Len returns the number of entries.
func (l *Log) Len() int { return len(l.entries) }

// Head returns the hash of the last entry, which stands for the whole log.
func (l *Log) Head() [32]byte { return l.hashes[len(l.hashes)-1] }

// Time returns the time that the last entry bears.
func (l *Log) Time() time.Time { return l.last }

// Authorities returns the authorities that are not revoked, in the order of their admission.
func (l *Log) Authorities() []Authority { return slices.Clone(l.active) }

// Authority returns the newest admission of node that is not revoked.
func (l *Log) Authority(node mesh.NodeID) (Authority, bool) {
	for _, a := range slices.Backward(l.active) {
		if a.Node == node {
			return a, true
		}
	}
	return Authority{}, false
}

// Roots returns the certificates of the active authorities.
func (l *Log) Roots() *Roots { return l.roots }

func (l *Log) certificates() []*x509.Certificate {
	var cas []*x509.Certificate
	for _, a := range l.active {
		cas = append(cas, a.CA)
	}
	return cas
}

func (l *Log) clone() *Log {
	n := *l
	n.entries, n.hashes, n.active = slices.Clone(l.entries), slices.Clone(l.hashes), slices.Clone(l.active)
	n.gone = slices.Clone(l.gone)
	n.seen = maps.Clone(l.seen)
	if n.seen == nil {
		n.seen = map[[32]byte]bool{}
	}
	return &n
}

// apply checks one entry against the log so far and adds it. On an error l is spoilt.
func (l *Log) apply(raw []byte) error {
	e, err := parseEntry(raw)
	if err != nil {
		return err
	}
	var prev [32]byte
	if n := len(l.hashes); n > 0 {
		prev = l.hashes[n-1]
	}
	if e.seq != uint64(len(l.entries))+1 || e.prev != prev {
		return fmt.Errorf("%w at entry %d (it says %d)", ErrLogSequence, len(l.entries)+1, e.seq)
	}
	if l.size += len(raw) + 4; l.size > MaxLog {
		return fmt.Errorf("%w: it has more than %d bytes", ErrLogFormat, MaxLog)
	}
	if first, ok := e.op.(Establish); ok && len(l.entries) == 0 {
		l.domain, l.key = first.Domain, first.Key
	}
	if err := l.checkSignatures(e); err != nil {
		return err
	}
	if err := l.obey(e.op, e.time); err != nil {
		return fmt.Errorf("%w: entry %d: %w", ErrLogEntry, e.seq, err)
	}
	l.entries, l.hashes, l.last = append(l.entries, bytes.Clone(raw)), append(l.hashes, sha256.Sum256(e.signed)), e.time
	return nil
}

// checkSignatures wants the domain key's signature, or those of as many active authorities as Quorum says. One
// that does not verify spoils the entry; one by nobody known counts for nothing.
func (l *Log) checkSignatures(e entry) error {
	domain, count, voted := sha256.Sum256(l.key[:]), 0, map[[32]byte]bool{}
	rooted := false
	for _, s := range e.sigs {
		ok := true
		if s.signer == domain {
			ok = ed25519.Verify(l.key[:], signingInput(e.signed), s.sig)
			rooted = true
		} else if i := slices.IndexFunc(l.active, func(a Authority) bool { return a.ID() == s.signer }); i >= 0 && !voted[s.signer] {
			digest := sha256.Sum256(signingInput(e.signed))
			ok = ecdsa.VerifyASN1(l.active[i].CA.PublicKey.(*ecdsa.PublicKey), digest[:], s.sig)
			voted[s.signer] = true
			count++
		}
		if !ok {
			return fmt.Errorf("%w: entry %d: signature of %x… does not verify", ErrLogSignature, e.seq, s.signer[:8])
		}
	}
	if rooted || e.seq > 1 && len(l.active) > 0 && count >= Quorum(len(l.active)) {
		return nil
	}
	return fmt.Errorf("%w: entry %d is signed by %d of %d authorities and not by the domain key", ErrLogSignature, e.seq, count, len(l.active))
}

func (l *Log) obey(op Op, at time.Time) error {
	if _, first := op.(Establish); first != (len(l.entries) == 0) {
		return errors.New("the domain is established by the first entry and by no other")
	}
	switch op := op.(type) {
	case AddAuthority:
		return l.add(op)
	case RevokeAuthority:
		i := slices.IndexFunc(l.active, func(a Authority) bool { return a.ID() == op.CA })
		if i < 0 {
			return fmt.Errorf("it revokes %x…, which is no active authority", op.CA[:8])
		}
		l.gone = append(l.gone, retired{l.active[i], at})
		l.active = slices.Delete(l.active, i, i+1)
	}
	return nil
}

func (l *Log) add(op AddAuthority) error {
	ca, err := x509.ParseCertificate(op.CA)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAuthorityCert, err)
	}
	if err := CheckAuthority(ca, l.domain); err != nil {
		return err
	}
	pub, err := x509.ParsePKIXPublicKey(op.JWT)
	if err != nil {
		return fmt.Errorf("JWT key: %w", err)
	}
	jwt, ok := pub.(*ecdsa.PublicKey)
	if !ok || jwt.Curve != elliptic.P256() {
		return errors.New("the JWT key is not ECDSA P-256, as ES256 needs")
	}
	caKey, jwtKey := sha256.Sum256(ca.RawSubjectPublicKeyInfo), sha256.Sum256(op.JWT)
	if l.seen[caKey] || l.seen[jwtKey] || caKey == jwtKey {
		return errors.New("one of its keys was admitted before; every authority makes its own")
	}
	l.seen[caKey], l.seen[jwtKey] = true, true
	l.active = append(l.active, Authority{op.Node, ca, jwt})
	return nil
}
