package crdt

import (
	"bytes"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// sweep is where the collection of old deletions is.
type sweep struct{ after []byte }

// Collect looks through at least some entries and forgets deletions older than Life, with what they cover. done: all were
// looked through, and the next call begins again. It is to be done with all entries as soon as Sync.MayForget says,
// so that no neighbour is told of what was forgotten before, and then about every hour.
func (s *State) Collect(now time.Time, some int) (out Outcome, done bool) {
	done = s.collect(now, some)
	return Outcome{Write: s.takePairs()}, done
}

func (s *State) collect(now time.Time, some int) (done bool) {
	end := mesh.HybridAt(now.Add(-Life))
	var over, items []*item
	flush := func() {
		if len(items) == 0 {
			return
		}
		over = append(over, forgotten(items, end, items...)...)
		items = items[:0]
	}
	seen := 0
	done = true
	s.index.from(place{key: s.sweep.after}, func(it *item) bool {
		if len(items) > 0 && !together(items[0], it) {
			flush()
			if seen >= some && !bytes.Equal(it.key(), s.sweep.after) {
				s.sweep.after, done = bytes.Clone(it.key()), false
				return false
			}
		}
		items = append(items, it)
		seen++
		return true
	})
	if done {
		flush()
		s.sweep.after = nil
	}
	for _, it := range over {
		s.drop(it)
	}
	return done
}

// forgetBefore forgets what the author of an entry may have forgotten when it wrote it: else what an earlier entry in its place
// covers would stand again, since this one need not name it.
func (s *State) forgetBefore(it *item) {
	if it.kind != wire.EntrySet && it.kind != wire.EntryMulti {
		return
	}
	peers := s.peers(it.kind, it.key(), it.element())
	for _, old := range forgotten(peers, mesh.HybridAt(it.time.Time().Add(-Life)), peers...) {
		s.drop(old)
	}
}

// forgetCovered does the same for a replica that was killed between writing by, which takes the place of old, and forgetting. The two
// need not be held any more.
func (s *State) forgetCovered(old, by *item) {
	if old.kind != wire.EntrySet && old.kind != wire.EntryMulti || old.time >= mesh.HybridAt(by.time.Time().Add(-Life)) {
		return
	}
	m := coversOf([]*item{old})
	for _, it := range s.peers(old.kind, old.key(), old.element()) {
		if covered(m, it) != nil {
			s.drop(it)
		}
	}
}

// together reports whether two items are peers: of one register, one counter, one element.
func together(a, b *item) bool {
	return a.kind == b.kind && bytes.Equal(a.key(), b.key()) && bytes.Equal(a.element(), b.element())
}

// forgotten returns which of some among items, which are peers, no replica needs any more when deletions before end are over.
func forgotten(items []*item, end mesh.Hybrid, some ...*item) (over []*item) {
	if !slices.ContainsFunc(some, func(it *item) bool { return it.time < end && (it.gone || len(items) > 1) }) {
		return nil
	}
	if items[0].kind == wire.EntryCounter {
		return nil
	}
	m := coversOf(items)
	for _, it := range some {
		by := covered(m, it)
		if it.gone && it.time < end || by != nil && by.time < end {
			over = append(over, it)
		}
	}
	return over
}

// Entry is an entry outside the state, for an operator to judge.
type Entry struct {
	ID   [32]byte
	Dot  wire.Dot
	Kind wire.EntryKind
	Time mesh.Hybrid
	Key  []byte
	Raw  []byte // a piece, as Offer takes it
}

func entryOf(it *item) Entry {
	return Entry{it.id, it.dot(), it.kind, it.time, it.key(), it.batch.piece([]*item{it}).AppendPiece(nil)}
}

// Aside returns what was kept aside with ErrOld, the oldest first. An operator settles each by writing its key anew, with
// that value or another, or by deleting it: that holds for all replicas, also those that have it.
func (s *State) Aside() (es []Entry) {
	for i := 0; i < len(s.aside.all); {
		if it := s.aside.all[i].it; s.lacks(it) {
			es = append(es, entryOf(it))
			i++
		} else {
			s.aside.take(i)
		}
	}
	return es
}

// Rejoin empties a replica that was silent for too long, and returns what it had that others may not have seen: all that
// was written since it last agreed with one of them. It begins a new incarnation, but its clock goes on; it may write when it
// has agreed again. What is returned must be safe before the outcome is written, and that before it meets a neighbour.
func (s *State) Rejoin(now time.Time, incarnation uint64) (unseen []Entry, out Outcome) {
	var all []*item
	s.index.from(place{}, func(it *item) bool {
		all = append(all, it)
		return true
	})
	since := mesh.HybridAt(s.synced.Add(-s.cfg.MaxAhead))
	for _, it := range all {
		if it.time >= since {
			unseen = append(unseen, entryOf(it))
		}
	}
	for _, it := range all {
		c := changeOf(it)
		c.Gone, c.Value.Bytes = true, nil
		out.Changed = append(out.Changed, c)
		s.drop(it)
	}
	s.clear()
	s.draft = nil
	s.cfg.Incarnation, s.next = incarnation, 1
	s.born, s.synced, s.settled = now, time.Time{}, false
	s.saveMeta()
	out.Write = s.takePairs()
	return unseen, out
}
