package crdt

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Grace is how long after its end what an SVID signed is taken as it comes: no part of the mesh loses what it wrote while it was cut
// off no longer. After that, who has the key could sign as of then and nobody could tell; so a batch that is not here already
// counts only if Config.Covered, or Proves, says so.
const Grace = 7 * 24 * time.Hour

const maxUncovered = 128 << 10 // entries that are remembered: some 20 MB

// uncovered is what was not taken because nobody vouches for it. While it is remembered it is not fetched again, and as soon as
// somebody vouches it is. When there is no room, nothing so old is fetched until there is.
type uncovered struct {
	refs  map[wire.Ref]bool
	by    map[[32]byte]*shut // by ID of the batch
	order []*shut            // ascending by until
	room  int                // of refs
}

// shut is what came of one batch.
type shut struct {
	batch [32]byte
	refs  []wire.Ref
	until time.Time
}

func newUncovered() uncovered {
	return uncovered{refs: map[wire.Ref]bool{}, by: map[[32]byte]*shut{}, room: maxUncovered}
}

func (u *uncovered) put(now time.Time, it *item) {
	ref, batch := it.ref(), it.batch.id
	if u.refs[ref] || u.full(now) {
		return
	}
	x := u.by[batch]
	if x == nil {
		x = &shut{batch: batch, until: now.Add(grudge)}
		u.by[batch] = x
		u.order = append(u.order, x)
	}
	x.refs = append(x.refs, ref)
	u.refs[ref] = true
}

// prune forgets what was remembered for long enough.
func (u *uncovered) prune(now time.Time) {
	n := 0
	for ; n < len(u.order); n++ {
		if x := u.order[n]; u.by[x.batch] == x && now.Before(x.until) {
			break
		}
		u.drop(u.order[n])
	}
	u.order = slices.Delete(u.order, 0, n)
}

// full reports whether no more can be remembered now.
func (u *uncovered) full(now time.Time) bool {
	u.prune(now)
	return len(u.refs) >= u.room
}

func (u *uncovered) drop(x *shut) {
	if u.by[x.batch] != x {
		return
	}
	delete(u.by, x.batch)
	for _, r := range x.refs {
		delete(u.refs, r)
	}
}

// welcome forgets that a batch was refused.
func (u *uncovered) welcome(batch [32]byte) {
	if x := u.by[batch]; x != nil {
		u.drop(x)
	}
}

// Uncovered returns how many entries neighbours brought of late that are not taken since nobody vouches for them.
func (s *State) Uncovered(now time.Time) int {
	s.uncovered.prune(now)
	return len(s.uncovered.refs)
}

// vouched says whether an item may count as to who signed it when. One that proves itself must be alone in its batch: others of a
// batch of which something is held are taken.
func (s *State) vouched(it *item) error {
	b := it.batch
	if !b.late || s.cfg.Covered == nil || s.cfg.Covered(b.id) {
		return nil
	}
	if b.Count == 1 && s.cfg.Proves != nil && s.cfg.Proves(writeOf(it), it.entry().Value) {
		return nil
	}
	return fmt.Errorf("%w: batch %x…", ErrUncovered, b.id[:8])
}

// Covered takes note that Config.Covered takes batches that it did not take before, so that what was refused of them is fetched, here
// and by neighbours that learn the same.
func (y *Sync) Covered(now time.Time, batches [][32]byte) {
	if len(batches) == 0 {
		return
	}
	for _, b := range batches {
		y.s.uncovered.welcome(b)
	}
	maps.DeleteFunc(y.lives, func(_ life, f fetching) bool { return !now.Before(f.until) }) // they may bring something now
	for _, id := range y.order {
		p := y.peers[id]
		p.idle, p.passDue, p.rest = 0, time.Time{}, time.Time{}
	}
}

// tooEarly returns before which time nothing is fetched, since there is no room to remember that it is not taken.
func (y *Sync) tooEarly(now time.Time) mesh.Hybrid {
	if !y.s.uncovered.full(now) {
		return 0
	}
	return mesh.HybridAt(now.Add(-Grace)) // what is newer was signed with an SVID whose grace is not over
}
