package authority

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

// Source is the one holder of a node's current SVID. Whoever needs it asks at each use, so that a rotation needs
// nobody's help. Safe for concurrent use.
type Source struct {
	store Store
	cur   atomic.Pointer[SVID]
}

// NewSource returns a source of s that persists rotations in store; nil persists nothing.
func NewSource(store Store, s *SVID) *Source {
	src := &Source{store: store}
	src.cur.Store(s)
	return src
}

// Current returns the SVID in use. It is never nil.
func (s *Source) Current() *SVID { return s.cur.Load() }

// Rotate persists next and then puts it in place. It is refused if it is another node's or was issued
// before the current one; on any error the current SVID stays.
func (s *Source) Rotate(next *SVID) error {
	cur := s.Current()
	if next.ID != cur.ID {
		return fmt.Errorf("SVID of %s cannot take the place of %s's", next.ID, cur.ID)
	}
	if next.Issued().Before(cur.Issued()) {
		return fmt.Errorf("SVID issued %s cannot take the place of one issued %s", next.Issued(), cur.Issued())
	}
	if s.store != nil {
		if err := saveSVID(s.store, next); err != nil {
			return err
		}
	}
	s.cur.Store(next)
	return nil
}

// Certificate returns the current SVID as crypto/tls wants it.
func (s *Source) Certificate() tls.Certificate { return s.Current().Certificate() }

// GetX509SVID makes a Source one in go-spiffe's sense (x509svid.Source).
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	c := s.Current()
	return &x509svid.SVID{ID: c.ID, Certificates: c.Chain, PrivateKey: c.Key}, nil
}

// Membership is what makes a machine a node of a trust domain.
type Membership struct {
	SVID       *SVID
	Log        *trust.Log
	Authority  mesh.NodeID   // who issued the SVID
	Neighbours []string      // addresses (host:port) worth dialling, best first
	Skew       time.Duration // the authority's clock minus ours, measured at the join; not kept
}

type membershipFile struct {
	Version    int         `json:"version"`
	Authority  mesh.NodeID `json:"authority"`
	Neighbours []string    `json:"neighbours"`
}

// Save keeps the membership. The SVID is written last: without it there is no membership.
func (m Membership) Save(store Store) error {
	b, err := json.MarshalIndent(membershipFile{1, m.Authority, m.Neighbours}, "", "  ")
	if err != nil {
		return err
	}
	if err := store.Write(fileMembership, append(b, '\n')); err != nil {
		return err
	}
	if err := SaveLog(store, m.Log); err != nil {
		return err
	}
	return saveSVID(store, m.SVID)
}

// HasIdentity reports whether store holds a membership.
func HasIdentity(store Store) bool { return store.Exists(fileSVID) }

// LoadMembership reads what Save kept; ErrNoIdentity if nothing. Whether the SVID is still valid is not looked at.
func LoadMembership(store Store) (Membership, error) {
	b, err := store.Read(fileSVID)
	if errors.Is(err, fs.ErrNotExist) && store.Exists(fileMembership) {
		return Membership{}, fmt.Errorf("%w: %s is missing, %s is there; repeat the x0t init or x0t join that was interrupted, or restore the file from a copy",
			ErrNoIdentity, fileSVID, fileMembership)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return Membership{}, fmt.Errorf("%w: begin a trust domain with \"x0t init\" or join one with \"x0t join\"", ErrNoIdentity)
	}
	if err != nil {
		return Membership{}, err
	}
	var m Membership
	if m.SVID, err = parseSVID(b); err != nil {
		return Membership{}, err
	}
	if m.Log, err = loadLog(store); err != nil {
		return Membership{}, err
	}
	if m.Log.Domain() != m.SVID.ID.TrustDomain() {
		return Membership{}, fmt.Errorf("%w: %s is of %q and %s of %q; restore both from one copy", ErrCorrupt, fileLog, m.Log.Domain(), fileSVID, m.SVID.ID.TrustDomain())
	}
	if b, err = readNeeded(store, fileMembership); err != nil {
		return Membership{}, err
	}
	var f membershipFile
	err = json.Unmarshal(b, &f)
	if err == nil && f.Version != 1 {
		err = fmt.Errorf("it has version %d", f.Version)
	}
	if err != nil {
		return Membership{}, fmt.Errorf("%w: %s: %w; restore it from a copy", ErrCorrupt, fileMembership, err)
	}
	m.Authority, m.Neighbours = f.Authority, f.Neighbours
	return m, nil
}

// SaveLog keeps the newest authority log.
func SaveLog(store Store, l *trust.Log) error { return store.Write(fileLog, l.Bytes()) }

func loadLog(store Store) (*trust.Log, error) {
	b, err := readNeeded(store, fileLog)
	if err != nil {
		return nil, err
	}
	l, err := trust.ParseLog(b)
	if err == nil && l.Len() < 2 {
		err = errors.New("it names no authority") // the second entry of every log names the first one
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w; restore it from a copy", ErrCorrupt, fileLog, err)
	}
	return l, nil
}

// readNeeded reads a file without which there is no membership.
func readNeeded(store Store, name string) ([]byte, error) {
	b, err := store.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w; restore it from a copy", ErrCorrupt, err)
	}
	return b, err
}

func saveSVID(store Store, s *SVID) error {
	b, err := s.marshal()
	if err != nil {
		return err
	}
	return store.Write(fileSVID, b)
}
