package node

import (
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/core/flow"
	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/core/path"
	"x0tta6bl4/mesh"
)

// LinkView is what the slow machine knows of one link.
type LinkView struct {
	Label, Theirs mesh.Label
	Neighbour     mesh.NodeID
	Remote        netip.AddrPort
	MTU           int
	Session       mesh.ConnID
	Status        mesh.LinkStatus
	LowCapacity   mesh.BitsPerSecond // that the neighbour announces, if it is less than what counts; else 0
}

// PeerView is what the slow machine knows of one destination in use.
type PeerView struct {
	Node        mesh.NodeID
	Addr        netip.Addr
	Session     mesh.ConnID
	Established time.Time
	Opening     bool
	Paths       []mesh.Path
}

// Links returns the own links, ascending by label.
func (c *Control) Links() []LinkView {
	vs := make([]LinkView, 0, len(c.links))
	for _, l := range c.links {
		vs = append(vs, LinkView{l.label, l.theirs, l.neighbour, l.remote, int(l.frame()), l.via, l.status, l.low})
	}
	return vs
}

// Waiting returns the addresses that no link leads to though one should: neither to themselves nor to their node at
// another address.
func (c *Control) Waiting() []netip.AddrPort {
	return c.targetAddrs(func(t *target) bool { return !c.alternate(t) })
}

// Alternate returns the addresses without a link whose node is met at another address.
func (c *Control) Alternate() []netip.AddrPort { return c.targetAddrs(c.alternate) }

func (c *Control) targetAddrs(which func(*target) bool) (as []netip.AddrPort) {
	for _, t := range c.targets {
		if t.kind.lasting() && !t.met && !t.self && which(t) {
			as = append(as, t.addr)
		}
	}
	return as
}

// NameMet reports whether a link leads to one of the addresses of a configured host name.
func (c *Control) NameMet(name string) bool {
	return slices.ContainsFunc(c.targets, func(t *target) bool { return t.name == name && t.met })
}

// tally counts what a node did about moves, hints and questions.
type tally struct {
	challenges, moves, movesKnown, echoesRefused uint64
	stays                                        uint64
	hints, hintsDropped, hintsKnown              uint64
	returned, woke, doubled, clockSet            uint64
	asksRefused, answersCut                      uint64
}

// Counters returns what was done about moves, hints and questions so far, by name.
func (c *Control) Counters() map[string]uint64 {
	t := &c.tally
	return map[string]uint64{
		"moves_challenged": t.challenges,    // challenges sent to an address that a neighbour may have moved to
		"moves":            t.moves,         // links whose remote address changed
		"moves_known":      t.movesKnown,    // signs of a move to where another link to the neighbour leads
		"moves_copied":     t.stays,         // times that the neighbour still answered where it was: frames were copied
		"moves_unproven":   t.echoesRefused, // replies to no recent challenge, or from elsewhere
		"hints":            t.hints,         // addresses tried because of a hint
		"hints_dropped":    t.hintsDropped,  // hints for which there was no room
		"hints_redundant":  t.hintsKnown,    // hints that led to a neighbour linked by the same interface
		"links_doubled":    t.doubled,       // links by a second address that are one with another at the neighbour
		"links_returned":   t.returned,      // links of a lonely time that were ended
		"clock_set":        t.clockSet,      // times that the clock was set
		"asks_refused":     t.asksRefused,   // digests, summaries and requests of a neighbour that asks too much
		"answers_cut":      t.answersCut,    // answers that were longer than what a neighbour has left
		"wakes":            t.woke,          // times that this process stood still
	}
}

// Peers returns the destinations in use, ascending by node.
func (c *Control) Peers() []PeerView {
	vs := make([]PeerView, 0, len(c.peers))
	for _, p := range c.peers {
		vs = append(vs, PeerView{p.node, p.addr, p.via, p.sess.Established(), p.dialling, slices.Clone(p.paths)})
	}
	return vs
}

// Database returns the link-state database, to be read between two steps only.
func (c *Control) Database() *lsdb.DB { return c.db }

// PathsTo returns the disjoint paths to a node in the topology of this moment: those in use, if they are of it.
func (c *Control) PathsTo(n mesh.NodeID) path.Result {
	g := c.chart().graph
	if p := c.peer(n); p != nil && p.graph == g {
		return p.found
	}
	return g.Disjoint(c.cfg.Self, n, c.cfg.Disjoint)
}

// Switches returns how often another path took the place of one in use, to all destinations.
func (r *Reflex) Switches() uint64 {
	n := r.switches
	for _, p := range r.peers {
		n += p.flow.Switches()
	}
	return n
}

// States returns the state of each path to a destination in use.
func (r *Reflex) States(n mesh.NodeID) []flow.PathState {
	if i, ok := r.findPeer(n); ok {
		return r.peers[i].flow.States()
	}
	return nil
}
