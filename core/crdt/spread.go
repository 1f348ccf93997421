package crdt

import (
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// after spreads what an outcome brought, to all but the neighbour that brought it.
func (y *Sync) after(now time.Time, out Outcome, from mesh.NodeID) Outcome {
	if len(out.fresh) > 0 {
		if p := y.peers[from]; p != nil {
			p.fruitful = true
		}
		y.spread(now, out.fresh, from)
	}
	out.fresh = nil
	out.Write = append(out.Write, y.s.takePairs()...)
	return out
}

// spread tells all neighbours but one of what is new. While a life is being fetched they are told only how far it is, since
// they may be fetching it too.
func (y *Sync) spread(now time.Time, fresh []*item, from mesh.NodeID) {
	var bulk []life
	fresh = slices.DeleteFunc(fresh, func(it *item) bool {
		if it.batch == nil { // what came with it took its place
			return true
		}
		l := life{it.batch.Author, it.batch.Incarnation}
		f, ok := y.lives[l]
		if ok = ok && f.of == from && now.Before(f.until); ok && !slices.Contains(bulk, l) {
			bulk = append(bulk, l)
		}
		return ok
	})
	for _, id := range y.order {
		if id == from {
			continue
		}
		p := y.peers[id]
		p.tell(fresh)
		for _, l := range bulk {
			if !slices.Contains(p.grown, l) && len(p.grown) < wire.MaxStateHeads {
				p.grown = append(p.grown, l)
			}
		}
	}
}

// tell notes what is new. If it becomes too much, the next comparison finds it.
func (p *peer) tell(fresh []*item) {
	if len(p.fresh)+len(fresh) > maxFresh {
		p.fresh = nil
		clear(p.known)
		p.lost = true
		return
	}
	p.fresh = append(p.fresh, fresh...)
}
