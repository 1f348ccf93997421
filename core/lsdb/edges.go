package lsdb

import (
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// Edges returns the links that both their ends announce, one edge for each direction, ascending by From and
// Label. Callers must not modify it; it is made anew when Version changes.
func (db *DB) Edges() []mesh.Edge {
	if db.edgesOf == db.version {
		return db.edges
	}
	db.edges, db.edgesOf = db.join(len(db.edges)), db.version
	return db.edges
}

// join makes the edges, about as many as expected.
func (db *DB) join(expected int) []mesh.Edge {
	edges := make([]mesh.Edge, 0, expected)
	for _, id := range db.order {
		edges = db.joinOf(edges, db.origins[id])
	}
	return edges
}

// joinOf appends the edges from one node.
func (db *DB) joinOf(edges []mesh.Edge, o *origin) []mesh.Edge {
	if o.lsa == nil {
		return edges
	}
	for i := range o.lsa.lsa.Links {
		l := &o.lsa.lsa.Links[i]
		if back, ok := db.mirror(o.id, l); ok {
			edges = append(edges, join(o.id, l, back))
		}
	}
	return edges
}

// mirror returns the neighbour's announcement of link l of node id. Each end must name the other and its label, so a
// node cannot attach itself to one that does not want it, nor confuse two parallel links.
func (db *DB) mirror(id mesh.NodeID, l *mesh.Adjacency) (*mesh.Adjacency, bool) {
	o := db.origins[l.Neighbour]
	if o == nil || o.lsa == nil {
		return nil, false
	}
	back, ok := findLink(o.lsa.lsa.Links, l.Remote)
	return back, ok && back.Neighbour == id && back.Remote == l.Label
}

func join(from mesh.NodeID, l, back *mesh.Adjacency) mesh.Edge {
	return mesh.Edge{
		From: from, To: l.Neighbour, Label: l.Label, Remote: l.Remote,
		Cost:     max(l.Cost, back.Cost),
		Quality:  leastKnown(l.Quality, back.Quality),
		MTU:      leastKnown(l.MTU, back.MTU),
		Capacity: leastKnown(l.Capacity, back.Capacity),
		Suspect:  l.Suspect || back.Suspect,
		Groups:   union(l.Groups, back.Groups),
	}
}

// leastKnown returns the smaller of two where 0 means unknown.
func leastKnown[T mesh.Quality | mesh.BitsPerSecond | uint16](a, b T) T {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

func union(a, b []uint32) []uint32 {
	if len(a)+len(b) == 0 {
		return nil
	}
	u := slices.Concat(a, b)
	slices.Sort(u)
	return slices.Compact(u)
}

// NodeInfo is what the database holds of one node.
type NodeInfo struct {
	ID           mesh.NodeID
	Announced    bool      // an LSA of the node is in force; the next six fields are of it
	Time         time.Time // when it was made
	Expires      time.Time
	Incarnation  uint64
	Boot, Seq    uint64
	Capabilities uint32
	Links        int
	SVID         [32]byte // of the LSA's record, else of the newest; so are the fields below
	NotAfter     time.Time
	Roles        uint32
	Addresses    []string
}

// Nodes returns all nodes whose record is in force, ascending by ID.
func (db *DB) Nodes() []NodeInfo {
	out := make([]NodeInfo, 0, len(db.order))
	for _, id := range db.order {
		out = append(out, db.origins[id].info())
	}
	return out
}

// Node returns what is held of one node.
func (db *DB) Node(id mesh.NodeID) (NodeInfo, bool) {
	o := db.origins[id]
	if o == nil {
		return NodeInfo{}, false
	}
	return o.info(), true
}

func (o *origin) info() NodeInfo {
	r := o.records[len(o.records)-1]
	n := NodeInfo{ID: o.id}
	if o.lsa != nil {
		l := &o.lsa.lsa
		r = o.record(l.SVID)
		n.Announced = true
		n.Time, n.Expires, n.Incarnation, n.Boot, n.Seq = l.Time, o.lsa.expires, l.Incarnation, l.Boot, l.Seq
		n.Capabilities, n.Links = l.Capabilities, len(l.Links)
	}
	n.SVID, n.NotAfter, n.Roles, n.Addresses = r.svid, r.notAfter, r.rec.Roles, r.rec.Addresses
	return n
}
