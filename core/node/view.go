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
		vs = append(vs, LinkView{l.label, l.theirs, l.neighbour, l.remote, l.mtu, l.via, l.status})
	}
	return vs
}

// Waiting returns the configured addresses that no link leads to now.
func (c *Control) Waiting() []netip.AddrPort {
	var as []netip.AddrPort
	for _, t := range c.targets {
		if !t.met && !t.self && !t.recalled {
			as = append(as, t.addr)
		}
	}
	return as
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

// PathsTo computes the disjoint paths to a node from the topology of this moment.
func (c *Control) PathsTo(n mesh.NodeID) path.Result {
	return path.NewGraph(c.db.Edges()).Disjoint(c.cfg.Self, n, c.cfg.Disjoint)
}

// States returns the state of each path to a destination in use.
func (r *Reflex) States(n mesh.NodeID) []flow.PathState {
	if i, ok := r.findPeer(n); ok {
		return r.peers[i].flow.States()
	}
	return nil
}
