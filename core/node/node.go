// Package node composes the deciding half of a mesh node out of its sibling packages. It has two machines, both
// pure: events and the time go in, effects come out in the order in which they have to be carried out.
//
//	Control  slow loop: neighbours, sessions, the link-state database, disjoint paths
//	Reflex   fast loop: hellos and probes, which path carries packets now, the forwarding table
//
// They share nothing; each sends the other events. A shell (the daemon, the simulator) runs each in a loop of its
// own, so that whatever delays the slow one (a flood of announcements, a thousand new paths) never delays a hello.
//
//	            ControlEvent                 ReflexEvent
//	handshakes ─────────────► Control ─────────────────────► Reflex ◄── hellos, errors, probe replies
//	messages                     ▲        links, peers, paths   │
//	requests                     └──────────────────────────────┴──► forwarding table, hellos, probes
//	                               LinkReport
package node

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/core/flow"
	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Config is what a node knows when it starts. Zero durations and counts mean the defaults named.
type Config struct {
	Self              mesh.NodeID
	Domain            spiffeid.TrustDomain
	Incarnation       uint64 // random, made once with an empty state directory
	Boot              uint64 // milliseconds since 1970 at process start; grows with every restart
	Rand              *rand.Rand
	Neighbours        []netip.AddrPort // addresses to keep a link to
	Bootstrap         []netip.AddrPort // addresses of members, told at the join: tried for ever too, but waited for only without any link
	Contacts          []Contact        // members known from an earlier life, for the case that nobody else answers
	Labels            LabelState       // as last persisted
	Addresses         []string         // underlay addresses announced in the node record
	Roles             uint32
	Hello             time.Duration                 // hello interval of our links; 0 = 50 ms
	Groups            []uint32                      // shared-risk groups of all our links (mesh.RiskGroup)
	InterfaceGroups   map[string][]uint32           // and of those that an interface leads to
	InterfaceCapacity map[string]mesh.BitsPerSecond // what these carry; none = not known
	Disjoint          int                           // paths kept per destination; 0 = 3
	Protect           bool                          // some packets are to go by two paths: a pair of them is chosen for each destination
	Spread            flow.Spread                   // when flows go by several paths
	Idle              time.Duration                 // an end-to-end session without packets is closed after this; 0 = 5 min
	RetryFirst        time.Duration                 // wait after the first failed dial; 0 = 100 ms
	RetryMax          time.Duration                 // longest wait between dials; 0 = 5 s
	Shared            *Shared                       // with other nodes of this goroutine; nil = nothing
	Observe           bool                          // note since when each node has announced each neighbour
}

func (c *Config) defaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&c.Hello, 50*time.Millisecond)
	set(&c.Idle, 5*time.Minute)
	set(&c.RetryFirst, 100*time.Millisecond)
	set(&c.RetryMax, 5*time.Second)
	if c.Disjoint <= 0 {
		c.Disjoint = 3
	}
}

// LabelState is what must outlive the process so that no label is used for two links within the life of an
// announcement.
type LabelState struct {
	Next     mesh.Label     `json:"next"` // first label that was certainly never handed out; 0 = no state yet
	Bindings []LabelBinding `json:"bindings"`
}

// LabelBinding ties a label to one way to one neighbour.
type LabelBinding struct {
	Label     mesh.Label     `json:"label"`
	Neighbour mesh.NodeID    `json:"neighbour"`
	Remote    netip.AddrPort `json:"remote"`
}

// ControlEvent is what the slow loop takes.
type ControlEvent interface{ controlEvent() }

type (
	// ConnUp says that a mutual-TLS connection was established and the peer's identity checked.
	ConnUp struct {
		Conn     mesh.ConnID
		Dial     uint64 // the Dial effect it answers; 0 = the peer dialled us
		Purpose  wire.Purpose
		Peer     mesh.NodeID
		Remote   netip.AddrPort // link: the neighbour's underlay address
		Via      string         // link: the interface that leads there; empty = not known
		MTU      int            // link: datagram payload bytes that the way there carries
		NotAfter time.Time      // the earlier of the two leaves'
	}
	// ConnDown says that a connection has ended.
	ConnDown struct {
		Conn   mesh.ConnID
		Reason string
	}
	// DialFailed says that a Dial effect came to nothing.
	DialFailed struct {
		Dial   uint64
		Reason string
		Self   bool // this very node answered
	}
	// Received is one control message from a connection.
	Received struct {
		Conn    mesh.ConnID
		Message wire.Message
	}
	// Identity says that the node's own SVID is this from now on.
	Identity struct {
		Chain    [][]byte // DER, leaf first
		Leaf     [32]byte // SHA-256 of the leaf's DER
		NotAfter time.Time
	}
	// Signed answers a Sign effect; Raw is empty if the SVID was rotated meanwhile.
	Signed struct {
		Kind lsdb.Kind
		Raw  []byte
	}
	// Checked answers a verify job: Err is nil if chain and signature hold, and NotAfter is the leaf's.
	Checked struct {
		Job      lsdb.VerifyJob
		NotAfter time.Time
		Err      error
	}
	// Wanted says that a packet, or an operator, wants to reach a mesh address.
	Wanted struct{ Addr netip.Addr }
	// Known says that the peer sealed something with a session that it was said not to know.
	Known struct {
		Node mesh.NodeID
		Conn mesh.ConnID
	}
	// Used says when packets of a peer's session last passed.
	Used struct {
		Node mesh.NodeID
		At   time.Time
	}
	// LinkReport is what the fast loop measured of a link.
	LinkReport struct {
		Label  mesh.Label
		Status mesh.LinkStatus
	}
	// Stale says that the peer does not know a session that we sent to it with; Conn is 0 for the one in use.
	Stale struct {
		Node mesh.NodeID
		Conn mesh.ConnID
	}
	// Found says that somebody who may be a member answers at an address. It is a hint: only a handshake proves it.
	Found struct {
		Addr netip.AddrPort
		Via  string      // the interface, or another source of hints; few dials are pending for each
		Want mesh.NodeID // zero: any member
	}
	// Resolved says which addresses a configured host name has now; none = it has no link to keep any more.
	Resolved struct {
		Name      string
		Addresses []netip.AddrPort
	}
	// CarrierLost says that nothing goes out by an interface any more.
	CarrierLost struct{ Via string }
	// LocalAddresses says where the machine is reached from now on. It comes also when only the ways out changed.
	LocalAddresses struct{ Addresses []string }
	// Woke says that this process stood still for a time, so that neighbours may have forgotten it.
	Woke struct{ Slept time.Duration }
	// Moved says that a link's newest frame came from another address than the link's.
	Moved struct {
		Label mesh.Label
		Conn  mesh.ConnID
		From  netip.AddrPort
	}
	// Echoed is the reply to a SendChallenge, and where it came from.
	Echoed struct {
		Label     mesh.Label
		From      netip.AddrPort
		Challenge wire.Challenge
	}
	// Tick says that the deadline has come.
	Tick struct{}
)

func (ConnUp) controlEvent()         {}
func (ConnDown) controlEvent()       {}
func (DialFailed) controlEvent()     {}
func (Received) controlEvent()       {}
func (Identity) controlEvent()       {}
func (Signed) controlEvent()         {}
func (Checked) controlEvent()        {}
func (Wanted) controlEvent()         {}
func (Used) controlEvent()           {}
func (LinkReport) controlEvent()     {}
func (Stale) controlEvent()          {}
func (Known) controlEvent()          {}
func (Found) controlEvent()          {}
func (Resolved) controlEvent()       {}
func (CarrierLost) controlEvent()    {}
func (LocalAddresses) controlEvent() {}
func (Woke) controlEvent()           {}
func (Moved) controlEvent()          {}
func (Echoed) controlEvent()         {}
func (Tick) controlEvent()           {}

// Effects are what the slow loop wants done. The shell carries the fields out in their order and waits for none
// of them; those with an answer come back as an event.
type Effects struct {
	Persist   *LabelState      // must reach the disk some time; labels are reserved ahead, so nothing waits for it
	Install   []Install        // before Send: the index is announced only when keys can receive
	Activate  []Activate       // before Reflex: the peer's index is there before a table names the session
	Reflex    []ReflexEvent    // to the fast loop, in order
	Send      []Send           // to control connections, in order per connection
	Close     []Close          // connections to end; their keys are erased a little later by Remove
	Sign      []Sign           // answered by Signed
	Verify    []lsdb.VerifyJob // answered by Checked
	Dial      []Dial           // answered by ConnUp or DialFailed
	Challenge []SendChallenge  // answered by Echoed
	NoSuch    []netip.Addr     // mesh addresses that were Wanted and that no member has
	Alarm     []string         // for the operator
}

type (
	// Install makes a connection's keys receive under an index: those of a link (Label set) or of a peer.
	Install struct {
		Conn    mesh.ConnID
		Purpose wire.Purpose
		Node    mesh.NodeID
		Label   mesh.Label
		Index   uint32
		MTU     int
	}
	// Activate gives the index under which the peer receives.
	Activate struct {
		Conn    mesh.ConnID
		Purpose wire.Purpose
		Index   uint32
	}
	// Send hands messages to a control connection.
	Send struct {
		Conn     mesh.ConnID
		Messages []wire.Message
	}
	// Close ends a connection; its receive keys live on until packets in flight have arrived.
	Close struct {
		Conn    mesh.ConnID
		Purpose wire.Purpose
		Reason  string
	}
	// Sign asks for a signature by the SVID that the announcement names.
	Sign struct {
		Kind   lsdb.Kind
		LSA    wire.LSA
		Record wire.Record
		SVID   [32]byte
	}
	// SendChallenge asks the neighbour of a link to echo a challenge from an address that is not yet the link's.
	SendChallenge struct {
		Label     mesh.Label
		To        netip.AddrPort
		Challenge wire.Challenge
	}
	// Dial asks for a connection to a neighbour's underlay address. Connections to peers are dialled through the
	// fast loop (DialPeer), after the table that holds the way there was published.
	Dial struct {
		ID   uint64
		Addr netip.AddrPort
		Want mesh.NodeID // zero: any member
	}
)
