// Package path computes the ways through the mesh: shortest paths, sets of disjoint paths and local detours. It is
// pure: a Graph is made from the edges of the topology and answers questions about them.
//
// # Weights
//
// Paths are compared by one 64-bit number that orders several things lexicographically, the dearest first:
//
//	bit 53.. links that a set uses twice
//	bit 44.. relays that a set uses twice
//	bit 34.. weak links: 2 for each BAD link, 1 for each POOR one
//	bit  0.. cost, microseconds
//
// so a BAD or POOR link carries traffic only where nothing better exists. Paths of a usable length (33 hops) cannot
// carry from one field into the next, for sets of up to MaxPaths.
//
// # Disjoint paths
//
// A set of j paths is a flow of j units (Suurballe 1974; Bhandari 1999), found by successive shortest paths with
// potentials, hence exact: node-disjoint where as many as asked for exist; else disjoint in links, with the fewest
// shared relays; else, if not even two paths are disjoint in links, the fewest shared links, then the fewest
// shared relays; among equals always the least cost. Where fewer than k disjoint paths exist, as many as exist
// are returned, and no more: a third path that shares links with the other two is left out.
//
// The problem turns hard in two places, and there a stated heuristic stands in. Shared-risk groups: the exact set
// is the root of a bounded best-first search that bans links of a group in which two paths meet; what overlap
// remains is reported. Length: if a path of the exact set has more than MaxHops hops, the set is looked for again with a
// price per hop; paths of up to MaxLongHops hops are kept as a last resort.
package path

import "x0tta6bl4/mesh"

const (
	// MaxHops is the longest path wanted: its 16 labels fit a frame of the usual size.
	MaxHops = 17
	// MaxLongHops is the longest path possible: a frame holds 32 labels.
	MaxLongHops = 33
	// MaxDetour is the longest detour in hops: it takes the place of one label and may add four.
	MaxDetour = 5
	// MaxPaths is the largest set that Disjoint returns.
	MaxPaths = 8
	// DefaultPaths is how many paths Disjoint looks for when told 0.
	DefaultPaths = 3
)

const (
	costBits = 34
	weakUnit = int64(1) << costBits
	nodeUnit = int64(1) << 44
	linkUnit = int64(1) << 53
	costMask = weakUnit - 1
	infinity = int64(1<<63 - 1)

	// flowHops bounds the hops of a whole set, so that the weight of no set overflows.
	flowHops = 512
)

// Disjointness says how independent the paths of a set are.
type Disjointness uint8

// The degrees, best last.
const (
	Single       Disjointness = iota // fewer than two paths
	Maximal                          // some links are shared, as few as possible
	LinkDisjoint                     // no link is shared, some relays are
	NodeDisjoint                     // no relay is shared
)

func (d Disjointness) String() string {
	return [...]string{"single", "maximal", "link", "node"}[min(d, NodeDisjoint)]
}

// MarshalText makes a Disjointness its name in JSON.
func (d Disjointness) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Result is a set of paths between two nodes.
type Result struct {
	Paths        []mesh.Path // primary first, then by how little they share with it, then by cost
	Disjoint     Disjointness
	SharedLinks  int           // uses of links beyond the first
	SharedNodes  []mesh.NodeID // relays on more than one path, ascending
	SharedGroups []uint32      // shared-risk groups on more than one path, ascending
	EndGroups    []uint32      // of those: groups of every link of one of the two ends, which no path avoids

	// For Change, of all paths that were found, those too long for a frame too.
	full     bool           // there are as many as there can be, none of which meet
	apart    limit          // how many of those there are at most
	byLink   limit          // how many that share relays
	within   int            // the hops that one more path may have to be welcome: MaxLongHops, MaxHops, or 0
	room     int64          // what they cost more than the cheapest set of one path less
	cheapest [][]mesh.Label // of the cheapest set, if it is not this one because of its length
}
