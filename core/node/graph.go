package node

import (
	"net/netip"
	"slices"

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
	if s := c.cfg.Shared; s != nil {
		c.graph = s.graphOf(c.db)
	} else if edges := c.db.Edges(); !slices.EqualFunc(edges, c.edges, sameWay) {
		c.graph, c.edges = path.NewGraph(edges), edges
	}
	return c.graph != was
}

// graphOf returns the graph of a database, made by the first that asks.
func (s *Shared) graphOf(db *lsdb.DB) *path.Graph {
	if x, ok := s.graphs.Get(db.Ways()); ok {
		return x.graph
	}
	edges := db.Edges()
	i := slices.IndexFunc(s.recent[:], func(x *charted) bool { return x != nil && slices.EqualFunc(x.edges, edges, sameWay) })
	if i < 0 { // else only one end of a link has announced it, or its end
		i = s.made % len(s.recent)
		s.recent[i] = &charted{path.NewGraph(edges), edges}
		s.made++
	}
	s.graphs.Put(db.Ways(), s.recent[i])
	return s.recent[i].graph
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

// sameWay reports whether two edges are the same to who looks for paths: suspicion is none of it.
func sameWay(a, b mesh.Edge) bool {
	return a.From == b.From && a.To == b.To && a.Label == b.Label && a.Remote == b.Remote && a.Cost == b.Cost &&
		a.Quality == b.Quality && a.MTU == b.MTU && a.Capacity == b.Capacity && slices.Equal(a.Groups, b.Groups)
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
