package lsdb

import (
	"container/heap"
	"maps"
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// endings are the origins of which something is held, the one first of which something may end. What ends later than it did
// leaves an origin where it is; that costs a look.
type endings []*origin

func (h endings) Len() int { return len(h) }
func (h endings) Less(i, j int) bool {
	if h[i].ends.Equal(h[j].ends) {
		return h[i].id.Compare(h[j].id) < 0
	}
	return h[i].ends.Before(h[j].ends)
}
func (h endings) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}
func (h *endings) Push(x any) {
	o := x.(*origin)
	o.place = len(*h)
	*h = append(*h, o)
}
func (h *endings) Pop() any {
	old := *h
	o := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return o
}

// watch notes that something of an origin ends at a time.
func (db *DB) watch(o *origin, at time.Time) {
	switch {
	case o.ends.IsZero():
		o.ends = at
		heap.Push(&db.endings, o)
	case at.Before(o.ends):
		o.ends = at
		heap.Fix(&db.endings, o.place)
	default:
		return
	}
	db.firstEnd = db.endings[0].ends
}

// unwatch forgets when something of an origin ends.
func (db *DB) unwatch(o *origin) {
	if !o.ends.IsZero() {
		heap.Remove(&db.endings, o.place)
		o.ends, db.firstEnd = time.Time{}, time.Time{}
		if len(db.endings) > 0 {
			db.firstEnd = db.endings[0].ends
		}
	}
}

// Expire drops what has come to its end: LSAs at the end of their lifetime or of their SVID, records at the end of
// theirs. Ends are absolute times, so all nodes drop alike. It reports whether Version has changed.
func (db *DB) Expire(now time.Time) (changed bool) {
	was := db.version
	for len(db.endings) > 0 && !now.Before(db.firstEnd) {
		o := db.endings[0]
		db.unwatch(o)
		db.expireOrigin(now, o)
	}
	db.unpark(now)
	return db.version != was
}

func (db *DB) expireOrigin(now time.Time, o *origin) {
	if o.lsa != nil && !now.Before(o.lsa.expires) {
		db.setAnnouncement(o, nil)
		db.changed(true)
	}
	for _, r := range slices.Clone(o.records) {
		if !now.Before(r.notAfter) {
			db.dropRecord(o, r)
		}
	}
	if len(o.records) == 0 {
		db.forget(o)
		return
	}
	for _, r := range o.records {
		db.watch(o, r.notAfter)
	}
	if o.lsa != nil {
		db.watch(o, o.lsa.expires)
	}
}

// unpark forgets LSAs whose record did not come.
func (db *DB) unpark(now time.Time) {
	db.unparked = now
	for _, id := range slices.SortedFunc(maps.Keys(db.parked), mesh.NodeID.Compare) {
		for i := len(db.parked[id]) - 1; i >= 0; i-- {
			if now.Sub(db.parked[id][i].at) > patience {
				db.unparkClaim(id, i)
			}
		}
	}
}

// Deadline returns when Expire and Originate are to be called at the latest; zero when there is no need.
func (db *DB) Deadline() time.Time {
	at := db.own.next
	if end := db.firstEnd; !end.IsZero() && (at.IsZero() || end.Before(at)) {
		at = end
	}
	return at
}
