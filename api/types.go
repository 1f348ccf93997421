package api

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"

	"x0tta6bl4/mesh"
)

// Millis is a length of time that JSON shows as a number of milliseconds, exact to the microsecond.
type Millis time.Duration

// Duration returns m as a time.Duration.
func (m Millis) Duration() time.Duration { return time.Duration(m) }

// MarshalJSON writes milliseconds with at most three decimals.
func (m Millis) MarshalJSON() ([]byte, error) {
	us := time.Duration(m).Round(time.Microsecond).Microseconds()
	return strconv.AppendFloat(nil, float64(us)/1000, 'f', -1, 64), nil
}

// UnmarshalJSON reads a number of milliseconds.
func (m *Millis) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("%s is not a number of milliseconds", b)
	}
	const most = float64(math.MaxInt64 / int64(time.Millisecond))
	if f < -most || f > most {
		return fmt.Errorf("%s milliseconds is beyond what a duration holds", b)
	}
	*m = Millis(math.Round(f*1000)) * Millis(time.Microsecond)
	return nil
}

// List is a slice that JSON never shows as null.
type List[T any] []T

// MarshalJSON writes an array, an empty one for nil.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// Health is what a node says of itself as a whole.
type Health string

// A node is ok, degraded (traffic passes, something needs care: Reasons says what) or down (traffic cannot pass).
const (
	HealthOK       Health = "ok"
	HealthDegraded Health = "degraded"
	HealthDown     Health = "down"
)

// PolicyNone says that no policy exists yet: every member reaches every member.
const PolicyNone = "none"

// Status is the answer to "how is this node".
type Status struct {
	Node        mesh.NodeID          `json:"node"`
	SPIFFEID    string               `json:"spiffe_id"`
	TrustDomain string               `json:"trust_domain"`
	Address     netip.Addr           `json:"address"` // in the mesh
	Version     string               `json:"version"`
	PID         int                  `json:"pid"`
	Started     time.Time            `json:"started"`
	Uptime      Millis               `json:"uptime_ms"`
	Policy      string               `json:"policy"`
	Health      Health               `json:"health"`
	HealthSince time.Time            `json:"health_since,omitzero"` // of the last change of Health that was noticed
	Reasons     List[string]         `json:"reasons"`               // why Health is not ok, what is worst first, each with its remedy
	SeenBy      List[Observer]       `json:"seen_by"`               // members that announce a link with this node
	Members     int                  `json:"members"`               // nodes of the domain whose record is known, this one included
	LSDBNodes   int                  `json:"lsdb_nodes"`
	LSDBDigest  string               `json:"lsdb_digest"` // hex; equal on two nodes that hold the same topology
	LinksUp     int                  `json:"links_up"`
	LinksTotal  int                  `json:"links_total"`
	Sessions    int                  `json:"sessions"` // end to end, up
	SVID        SVID                 `json:"svid"`
	Authority   bool                 `json:"authority"` // this node signs for the domain
	Sealing     string               `json:"sealing"`   // how private keys are kept at rest
	TUN         string               `json:"tun"`       // "" = none
	MTU         int                  `json:"mtu"`       // of the TUN
	Listen      List[netip.AddrPort] `json:"listen"`
	Names       Names                `json:"names"`
	Overridden  List[string]         `json:"overridden"` // keys of the configuration that nodes share, and this node's file has otherwise
	Protect     List[string]         `json:"protect"`    // what is always sent on two paths, as configured
	OnePath     List[mesh.NodeID]    `json:"one_path"`   // destinations in use to which it has only one
	Refused     List[Refusal]        `json:"refused"`    // the latest handshakes that were turned away, newest first
	Warnings    List[string]         `json:"warnings"`
}

// How the machine's resolver knows members by name.
const (
	ResolverResolved   = "resolved"   // systemd-resolved asks the node
	ResolverResolvconf = "resolvconf" // a local resolver asks the node, told by openresolv
	ResolverHosts      = "hosts"      // members stand in /etc/hosts
	ResolverOther      = "other"      // it knows them, but not by this daemon
	ResolverNone       = "none"       // it does not know them
	ResolverOff        = "off"        // they are not to have names
)

// Names says how members are known by name.
type Names struct {
	Name     string         `json:"name"`            // of this node
	Zone     string         `json:"zone"`            // that every member has its name in
	Mode     string         `json:"mode"`            // as configured
	Server   netip.AddrPort `json:"server,omitzero"` // that answers DNS questions from this machine; zero = none does
	Resolver string         `json:"resolver"`        // one of the above
	Resolves bool           `json:"resolves"`        // the machine's resolver knew Name when it was last asked
	Note     string         `json:"note,omitempty"`  // why it does not, and what to do
}

// SVID is the life of the node's X.509-SVID.
type SVID struct {
	Serial    string    `json:"serial"` // hex
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	RenewAt   time.Time `json:"renew_at,omitzero"`
}

// Refusal is one handshake that was turned away.
type Refusal struct {
	Remote string    `json:"remote"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// SessionState is the state of an end-to-end session.
type SessionState string

// The states of a session.
const (
	SessionNone    SessionState = "none" // not needed so far, or gone idle
	SessionOpening SessionState = "opening"
	SessionUp      SessionState = "up"
)

// Observer is a member that announces a link with a node. All nodes hear that, so it shows how others see the node.
type Observer struct {
	Node    mesh.NodeID  `json:"node"`
	Since   time.Time    `json:"since,omitzero"` // this node has held the announcement without a break since then
	Quality mesh.Quality `json:"quality"`        // as announced, of the best of the links; so are the next two
	Cost    mesh.Cost    `json:"cost_us"`        // microseconds
	Suspect bool         `json:"suspect"`        // the observer has not heard of the node for a moment
	Mutual  bool         `json:"mutual"`         // the node announces the link too; one that it does not is no link
}

// PeerState is what passes between this node and a peer now.
type PeerState string

// The states of a peer. Whichever is first in this list holds:
//
//	unreachable  no path leads there
//	none         a path, but no session: none was needed so far, or it was closed after five idle minutes
//	opening      no session yet; one is being opened
//	stalled      packets were sent, and for 10 s nothing came back, not even the answer to a probe
//	connected    a packet from it was decrypted within the last 30 s
//	idle         a session that is open and quiet
//
// A packet is one of an application or the answer to a probe: both prove that data passes end to end. Where packets
// go one way only, the node probes every 5 s to know.
const (
	PeerUnreachable PeerState = "unreachable"
	PeerNone        PeerState = "none"
	PeerOpening     PeerState = "opening"
	PeerStalled     PeerState = "stalled"
	PeerConnected   PeerState = "connected"
	PeerIdle        PeerState = "idle"
)

// Peer is another member of the domain as this node knows it.
type Peer struct {
	Node       mesh.NodeID       `json:"node"`
	Address    netip.Addr        `json:"address"`
	Session    SessionState      `json:"session"`
	Since      time.Time         `json:"since,omitzero"` // of the last change of Session
	State      PeerState         `json:"state"`
	StateSince time.Time         `json:"state_since,omitzero"` // of the last change of State, to 5 s
	LastRx     time.Time         `json:"last_rx,omitzero"`     // when a packet of its, or its answer to a probe, was last decrypted here
	LastTx     time.Time         `json:"last_tx,omitzero"`     // when a packet was last sent to it
	Observers  List[Observer]    `json:"observers"`            // who announces a link with it, and how it is
	Path       List[mesh.NodeID] `json:"path"`                 // the preferred one, both ends included; empty = unreachable now
	RTT        Millis            `json:"rtt_ms"`               // end to end; 0 = not measured
	LastSeen   time.Time         `json:"last_seen,omitzero"`   // when a packet of its was last decrypted here
	ObservedBy List[mesh.NodeID] `json:"observed_by"`          // members that announce a link with it
	RxBytes    uint64            `json:"rx_bytes"`
	TxBytes    uint64            `json:"tx_bytes"`
}

// Link is one link of this node's to a neighbour.
type Link struct {
	Label     mesh.Label     `json:"label"`
	Neighbour mesh.NodeID    `json:"neighbour"` // "" = the other end has not proved who it is yet
	Remote    netip.AddrPort `json:"remote"`
	State     mesh.LinkState `json:"state"`
	Since     time.Time      `json:"since,omitzero"` // of the last change of State
	RTT       Millis         `json:"rtt_ms"`
	MinRTT    Millis         `json:"min_rtt_ms"`
	Jitter    Millis         `json:"jitter_ms"`
	LossIn    float64        `json:"loss_in"`  // 0 to 1
	LossOut   float64        `json:"loss_out"` // 0 to 1
	Quality   mesh.Quality   `json:"quality"`
	Cost      mesh.Cost      `json:"cost"` // microseconds
	MTU       uint16         `json:"mtu"`  // bytes of UDP payload
	RxBytes   uint64         `json:"rx_bytes"`
	TxBytes   uint64         `json:"tx_bytes"`
	RxFrames  uint64         `json:"rx_frames"`
	TxFrames  uint64         `json:"tx_frames"`
	LastHeard time.Time      `json:"last_heard,omitzero"`
	Flaps     uint64         `json:"flaps"`           // how often it went down or became suspect since this daemon knows it
	Downs     uint64         `json:"downs"`           // and how often it went down
	Error     string         `json:"error,omitempty"` // why the last attempt to open it failed, or why it carries nothing
}

// Disjointness says what the paths to one destination share.
type Disjointness string

// How apart paths are.
const (
	DisjointNode    Disjointness = "node"    // no relay and no link in common
	DisjointLink    Disjointness = "link"    // no link in common
	DisjointMaximal Disjointness = "maximal" // as few links in common as the topology allows
	DisjointNone    Disjointness = "none"    // fewer than two paths
)

// PathState is the part that a path plays now.
type PathState string

// The states of a path.
const (
	PathActive  PathState = "active"  // carries packets
	PathStandby PathState = "standby" // would carry them if the active one failed
	PathSuspect PathState = "suspect" // there is reason to doubt it; it is being probed
	PathDead    PathState = "dead"
)

// Paths are the ways from this node to another.
type Paths struct {
	Node     mesh.NodeID  `json:"node"`
	Address  netip.Addr   `json:"address"`
	Disjoint Disjointness `json:"disjoint"`
	Paths    List[Path]   `json:"paths"`
	Protect  bool         `json:"protect"` // some packets of this node are always sent on two of them

	// Shared-risk groups on more than one of the paths, by their names in this node's configuration, else in hexadecimal.
	// EndGroups are those of them that no choice of paths avoids: every link of one of the two ends is in them.
	SharedGroups List[string] `json:"shared_groups"`
	EndGroups    List[string] `json:"end_groups"`
}

// Path is one way through the mesh. Labels[i] leads from Nodes[i] to Nodes[i+1].
type Path struct {
	Nodes  List[mesh.NodeID] `json:"nodes"`
	Labels List[mesh.Label]  `json:"labels"`
	Cost   mesh.Cost         `json:"cost"` // microseconds
	MTU    uint16            `json:"mtu"`
	State  PathState         `json:"state"`

	Share     float64 `json:"share"`     // of the flows that go by it now, 0 to 1
	Copies    bool    `json:"copies"`    // while another is in doubt, packets that go by that are copied to this one
	Protected bool    `json:"protected"` // every protected packet goes by it, while the destination is in use

	// Loss is the share of what this node sent by the path that the other end did not get, of about the last 500 frames,
	// probes included. Absent where nothing was sent by the path lately, or the other end does not count.
	Loss *float64 `json:"loss,omitempty"`
}

// PathOf shows p in the given state.
func PathOf(p mesh.Path, s PathState) Path {
	return Path{Nodes: p.Nodes, Labels: p.Labels, Cost: p.Cost, MTU: p.MTU, State: s}
}

// PingRequest asks for round trips to a node.
type PingRequest struct {
	Node     mesh.NodeID
	Count    int           // 0 = until the context ends
	Interval time.Duration // between two probes
}

// PingReply is the fate of one probe.
type PingReply struct {
	Seq   int               `json:"seq"` // from 1
	RTT   Millis            `json:"rtt_ms"`
	Path  List[mesh.NodeID] `json:"path"` // that the probe was sent by, both ends included
	Lost  bool              `json:"lost"`
	Error string            `json:"error,omitempty"` // why it was lost, if known
}

// PingSummary closes a ping.
type PingSummary struct {
	Node     mesh.NodeID `json:"node"`
	Sent     int         `json:"sent"`
	Received int         `json:"received"`
	Loss     float64     `json:"loss"` // 0 to 1
	Min      Millis      `json:"min_ms"`
	Avg      Millis      `json:"avg_ms"`
	Max      Millis      `json:"max_ms"`
}

// TraceHop is the answer of one node of a path, or its silence.
type TraceHop struct {
	Hop     int          `json:"hop"` // from 1
	Node    mesh.NodeID  `json:"node"`
	Address netip.Addr   `json:"address"`
	RTT     Millis       `json:"rtt_ms"` // from here to that node and back
	Lost    bool         `json:"lost"`
	Quality mesh.Quality `json:"quality"` // announced, of the link that leads to this node
	Label   mesh.Label   `json:"label"`   // by which the node before sends to it
	Error   string       `json:"error,omitempty"`
}

// TokenRequest asks for a join token.
type TokenRequest struct {
	Node      mesh.NodeID          `json:"node"`
	TTL       Millis               `json:"ttl_ms"`    // 0 = 10 minutes
	Replace   bool                 `json:"replace"`   // allow a name that is in use; its present holder is turned out
	Addresses List[netip.AddrPort] `json:"addresses"` // where the joiner finds a member; none = this node's own
}

// Token lets one machine join once.
type Token struct {
	Node    mesh.NodeID `json:"node"`
	Token   string      `json:"token"`
	Join    string      `json:"join"` // the command to run on the machine that joins
	Expires time.Time   `json:"expires"`
}

// Identity is all that is public of who this node is and whom it trusts.
type Identity struct {
	Node        mesh.NodeID `json:"node"`
	SPIFFEID    string      `json:"spiffe_id"`
	TrustDomain string      `json:"trust_domain"`
	Address     netip.Addr  `json:"address"`
	SVID        SVID        `json:"svid"`
	Certificate Certificate `json:"certificate"`
	Chain       string      `json:"chain"`      // PEM, leaf first
	Bundle      string      `json:"bundle"`     // PEM, the roots of the domain
	DomainKey   string      `json:"domain_key"` // that roots the log: ed25519, hex
	Log         Log         `json:"log"`
}

// Certificate tells a certificate's details.
type Certificate struct {
	Issuer    string `json:"issuer"`
	Key       string `json:"key"` // algorithm and size or curve
	Signature string `json:"signature"`
	SHA256    string `json:"sha256"` // of the DER, hex
}

// Log is the signed log of the domain's authorities, as far as this node knows it.
type Log struct {
	Seq         uint64          `json:"seq"`
	Authorities List[Authority] `json:"authorities"`
}

// Authority is a node that may sign for the domain.
type Authority struct {
	Node     string    `json:"node"`
	State    string    `json:"state"`  // active or revoked
	SHA256   string    `json:"sha256"` // of its CA certificate, hex
	NotAfter time.Time `json:"not_after,omitzero"`
}

// Counters are everything that the node counts, by name.
type Counters map[string]uint64
