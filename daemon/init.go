package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/daemon/config"
	"x0tta6bl4/host/authority"
	"x0tta6bl4/host/disk"
	"x0tta6bl4/mesh"
)

// initFile keeps what x0t init was told and nothing else says.
const initFile = "init.json"

// InitOptions say which trust domain begins, and with which node.
type InitOptions struct {
	State       string // directory; made if it is not there
	TrustDomain spiffeid.TrustDomain
	Name        mesh.NodeID
	TTL         time.Duration // of the SVIDs that this authority issues; 0 = 24 h
}

// Belonging is what a machine is after Init or Join.
type Belonging struct {
	Node      mesh.NodeID
	Domain    spiffeid.TrustDomain
	SPIFFEID  spiffeid.ID
	Address   netip.Addr // in the mesh
	DomainKey string     // hex
	Authority mesh.NodeID
	NotAfter  time.Time // of the SVID
	Sealing   string    // how the keys are kept at rest
	State     string    // where, absolute

	Neighbours []string      // Join: addresses of members, kept in the state
	Skew       time.Duration // Join: the authority's clock minus ours
}

// Init begins a trust domain in an empty state directory: its domain key, this node as its first authority, and the
// node's own SVID. A directory that holds an identity is left as it is (authority.ErrInitialized).
func Init(_ context.Context, opt InitOptions) (Belonging, error) {
	if opt.TrustDomain.IsZero() || opt.Name.IsZero() {
		return Belonging{}, errors.New("a trust domain and a node need names")
	}
	dir, err := openState(opt.State)
	if err != nil {
		return Belonging{}, err
	}
	defer dir.Close()
	if !authority.HasIdentity(dir) {
		if err := writeInit(dir, opt.TTL); err != nil {
			return Belonging{}, err
		}
	}
	a, err := authority.Init(dir, opt.TrustDomain, opt.Name, opt.TTL, time.Now())
	if err != nil {
		return Belonging{}, err
	}
	m, err := authority.LoadMembership(dir)
	if err != nil {
		return Belonging{}, err
	}
	return belonging(dir, m, a.Sealing()), nil
}

func belonging(dir *disk.Dir, m authority.Membership, sealing string) Belonging {
	td := m.SVID.ID.TrustDomain()
	return Belonging{
		Node: m.SVID.Node, Domain: td, SPIFFEID: m.SVID.ID, Address: mesh.Addr(td, m.SVID.Node),
		DomainKey: m.Log.DomainKey().String(), Authority: m.Authority, NotAfter: m.SVID.NotAfter(),
		Sealing: sealing, State: dir.Path(), Neighbours: m.Neighbours, Skew: m.Skew,
	}
}

type initRecord struct {
	TTL string `json:"ttl"` // as time.Duration writes it; "0s" = the default
}

func writeInit(dir *disk.Dir, ttl time.Duration) error {
	b, err := json.Marshal(initRecord{ttl.String()})
	if err != nil {
		return err
	}
	return dir.Write(initFile, append(b, '\n'))
}

// issuingTTL returns the life of the SVIDs that this node issues: the configuration's word, else what x0t init was
// told, else 0, which is the authority's default.
func issuingTTL(dir *disk.Dir, cfg config.Config) (time.Duration, error) {
	if cfg.Identity.TTL != 0 {
		return cfg.Identity.TTL, nil
	}
	b, err := dir.Read(initFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var r initRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return 0, fmt.Errorf("%w: %s in %s: %w; set identity.ttl in the configuration instead", authority.ErrCorrupt, initFile, dir.Path(), err)
	}
	ttl, err := time.ParseDuration(r.TTL)
	if err != nil {
		return 0, fmt.Errorf("%w: %s in %s: %w; set identity.ttl in the configuration instead", authority.ErrCorrupt, initFile, dir.Path(), err)
	}
	return ttl, nil
}
