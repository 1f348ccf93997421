package lsdb

import (
	"iter"

	"x0tta6bl4/mesh"
)

// Announced yields every node whose announcement is in force, ascending, with the links as it announces them, ascending
// by label: those that nobody confirms too. The links must not be changed.
func (db *DB) Announced() iter.Seq2[mesh.NodeID, []mesh.Adjacency] {
	return func(yield func(mesh.NodeID, []mesh.Adjacency) bool) {
		for _, id := range db.order {
			if l := db.origins[id].lsa; l != nil && !yield(id, l.lsa.Links) {
				return
			}
		}
	}
}

// Links returns the links that a node announces now, none if no announcement of it is in force. They must not be changed.
func (db *DB) Links(n mesh.NodeID) []mesh.Adjacency {
	if o := db.origins[n]; o != nil && o.lsa != nil {
		return o.lsa.lsa.Links
	}
	return nil
}

// Mutual reports whether the other end of a link that n announces announces it too.
func (db *DB) Mutual(n mesh.NodeID, l mesh.Adjacency) bool {
	_, ok := db.mirror(n, &l)
	return ok
}
