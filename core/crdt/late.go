package crdt

import (
	"fmt"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Grace is how long after its end what an SVID signed is taken as it comes: no part of the mesh loses what it wrote while it was cut
// off no longer. After that, who has the key could sign as of then and nobody could tell; so a batch that is not here already
// counts only if Config.Covered, or Proves, says so.
const Grace = 7 * 24 * time.Hour

const (
	maxUncovered = 128 << 10  // entries that are remembered: some 20 MB
	aftermath    = 2 * grudge // what could be fetched again and was not is still told of
)

// uncovered is what was not taken because nobody vouches for it. For a while it is not fetched again, unless somebody vouches; it is
// remembered for longer, so that an operator sees it. When there is no room, nothing so old is fetched until there is.
type uncovered struct {
	refs  map[wire.Ref]*shut
	by    map[[32]byte]*shut // by ID of the batch
	order []mark             // ascending by until
	lives map[life]int       // how many of them are of each
	room  int                // of refs
}

// shut is what came of one batch.
type shut struct {
	batch [32]byte
	life  life
	refs  []wire.Ref
	until time.Time
}

// mark is a batch and what its until was; if that is another now there is a later mark of it.
type mark struct {
	*shut
	was time.Time
}

func newUncovered() uncovered {
	return uncovered{refs: map[wire.Ref]*shut{}, by: map[[32]byte]*shut{}, lives: map[life]int{}, room: maxUncovered}
}

func (u *uncovered) put(now time.Time, it *item) {
	u.prune(now.Add(-aftermath))
	if u.full(now) {
		return
	}
	ref, batch := it.ref(), it.batch.id
	x := u.by[batch]
	if x == nil {
		x = &shut{batch: batch, life: lifeOf(it.dot())}
		u.by[batch] = x
		u.lives[x.life]++
	}
	if !now.Before(x.until) {
		x.until = now.Add(grudge)
		u.order = append(u.order, mark{x, x.until})
	}
	if u.refs[ref] == nil {
		x.refs = append(x.refs, ref)
		u.refs[ref] = x
	}
}

// has reports whether what a ref names is not to be fetched.
func (u *uncovered) has(now time.Time, r wire.Ref) bool {
	x := u.refs[r]
	return x != nil && now.Before(x.until)
}

// prune forgets what could have been fetched again since a time.
func (u *uncovered) prune(since time.Time) {
	n := 0
	for ; n < len(u.order); n++ {
		m := u.order[n]
		if u.by[m.batch] != m.shut || !m.was.Equal(m.until) {
			continue
		}
		if since.Before(m.until) {
			break
		}
		u.drop(m.shut)
	}
	u.order = slices.Delete(u.order, 0, n)
}

// full reports whether no more can be remembered now.
func (u *uncovered) full(now time.Time) bool {
	if len(u.refs) >= u.room {
		u.prune(now)
	}
	return len(u.refs) >= u.room
}

func (u *uncovered) drop(x *shut) {
	delete(u.by, x.batch)
	if u.lives[x.life]--; u.lives[x.life] == 0 {
		delete(u.lives, x.life)
	}
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
	s.uncovered.prune(now.Add(-aftermath))
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
	y.sweepLives(now) // they may bring something now
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
