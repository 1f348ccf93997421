package node

import (
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/core/path"
	"x0tta6bl4/mesh"
)

// Shared is what many nodes of one process and one goroutine may hold in common, as a simulation does. It changes no
// decision: what is shared is what each would have made itself.
type Shared struct {
	db     *lsdb.Shared
	graphs lsdb.Memo[lsdb.Sum, *charted]
	recent [4]*charted // made last
	made   int
	change struct {
		was, is *path.Graph
		change  *path.Change
	}
}

// charted is a graph and the edges that it was made of.
type charted struct {
	graph *path.Graph
	edges []mesh.Edge
}

// sharedGraphs is how many graphs are kept, at least: nodes differ by the few announcements that are on their way.
const sharedGraphs = 32

// NewShared returns one that holds nothing yet.
func NewShared() *Shared {
	return &Shared{db: lsdb.NewShared(), graphs: lsdb.NewMemo[lsdb.Sum, *charted](sharedGraphs)}
}

func (s *Shared) database() *lsdb.Shared {
	if s == nil {
		return nil
	}
	return s.db
}

// mapTopology brings graph and addrs up to date with the database and reports whether the graph is another. A node that
// talks to nobody does not need them.
func (c *Control) mapTopology() (changed bool) {
	if !c.unmapped {
		return false
	}
	c.unmapped = false
	if c.db.Members() != c.members {
		c.members = c.db.Members()
		c.mapAddresses()
	}
	was := c.graph
	c.graph = c.chart().graph
	return c.graph != was
}

// chart returns the graph of the database as it is now. Equal edges have the same one.
func (c *Control) chart() *charted {
	s := c.cfg.Shared
	if s != nil {
		if x, ok := s.graphs.Get(c.db.Ways()); ok {
			c.db.Caught()
			c.charted = x
			return x
		}
	}
	was := c.charted
	if edges := c.db.Patch(was.edges); len(edges) != len(was.edges) || len(edges) > 0 && &edges[0] != &was.edges[0] {
		c.charted = s.chartOf(edges, was.graph)
	}
	if s != nil {
		s.graphs.Put(c.db.Ways(), c.charted)
	}
	return c.charted
}

// chartOf returns the graph of edges, which differ a little from those of another.
func (s *Shared) chartOf(edges []mesh.Edge, near *path.Graph) *charted {
	if s == nil {
		return &charted{near.Next(edges), edges}
	}
	i := slices.IndexFunc(s.recent[:], func(x *charted) bool { return x != nil && slices.EqualFunc(x.edges, edges, lsdb.SameWay) })
	if i < 0 { // else others have come to them by another way
		i = s.made % len(s.recent)
		s.recent[i] = &charted{near.Next(edges), edges}
		s.made++
	}
	return s.recent[i]
}

// changeFrom returns how the graph differs from an earlier one.
func (c *Control) changeFrom(was *path.Graph) *path.Change {
	s := c.cfg.Shared
	if s == nil {
		return c.graph.Since(was)
	}
	if s.change.was != was || s.change.is != c.graph {
		s.change.was, s.change.is, s.change.change = was, c.graph, c.graph.Since(was)
	}
	return s.change.change
}

func (c *Control) spfDue(now time.Time) bool {
	return c.version != c.db.Version() && now.Sub(c.lastSPF) >= spfPause
}

// syncTopology recomputes the paths of every peer when the topology changed, at most once per spfPause.
func (c *Control) syncTopology(now time.Time) {
	if !c.spfDue(now) {
		return
	}
	c.version = c.db.Version()
	c.lastSPF = now
	c.unmapped = true
	for _, p := range c.peers {
		// Only the news of a later boot ends sessions: a node that jumped over its own stale announcements announces
		// a boot that is later than the one its sessions carry, for as long as it lives.
		if n, ok := c.db.Node(p.node); ok && n.Boot > p.boot {
			p.boot = n.Boot
			if dead := p.sess.EndBefore(n.Boot); len(dead) > 0 {
				c.closeAll(dead, "the peer was restarted")
			}
		}
	}
	was := c.graph
	if len(c.peers) == 0 || !c.mapTopology() {
		return // what changed is no matter of paths, such as a suspicion
	}
	change := c.changeFrom(was)
	for _, p := range c.peers {
		switch {
		case p.graph != was:
			c.findPaths(p)
		case change.Keeps(&p.found, c.cfg.Self, p.node):
			p.graph = c.graph
			if c.followByways(now, p) {
				c.tellPeer(p)
			}
		default:
			c.usePaths(p, change.Disjoint(&p.found, c.cfg.Self, p.node, c.cfg.Disjoint))
		}
	}
}

// mapAddresses makes addrs the addresses of the nodes in the database. To make one costs two hashes; nodes come and go one
// by one.
func (c *Control) mapAddresses() {
	known := make(map[mesh.NodeID]netip.Addr, len(c.addrs))
	for _, n := range c.mapped {
		known[n.id] = n.addr
	}
	clear(c.addrs)
	c.mapped = c.mapped[:0]
	for _, n := range c.db.IDs() {
		a, ok := known[n]
		if !ok {
			a = mesh.Addr(c.cfg.Domain, n)
		}
		c.addrs[a] = n
		c.mapped = append(c.mapped, addressed{n, a})
	}
}

// addressed is a node and its mesh address.
type addressed struct {
	id   mesh.NodeID
	addr netip.Addr
}
