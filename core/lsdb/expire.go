package lsdb

import (
	"container/heap"
	"maps"
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// expiryHeap holds when something of an origin ends. Entries outlive what they were made for; they cost a look.
type expiryHeap struct{ items expiryItems }

type expiryItem struct {
	at time.Time
	id mesh.NodeID
}

type expiryItems []expiryItem

func (h expiryItems) Len() int { return len(h) }
func (h expiryItems) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].id.Compare(h[j].id) < 0
	}
	return h[i].at.Before(h[j].at)
}
func (h expiryItems) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *expiryItems) Push(x any)   { *h = append(*h, x.(expiryItem)) }
func (h *expiryItems) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func (h *expiryHeap) add(at time.Time, id mesh.NodeID) { heap.Push(&h.items, expiryItem{at, id}) }

// Expire drops what has come to its end: LSAs at the end of their lifetime or of their SVID, records at the end of
// theirs. Ends are absolute times, so all nodes drop alike. It reports whether Version has changed.
func (db *DB) Expire(now time.Time) (changed bool) {
	was := db.version
	for len(db.expiry.items) > 0 && !now.Before(db.expiry.items[0].at) {
		item := heap.Pop(&db.expiry.items).(expiryItem)
		if o := db.origins[item.id]; o != nil {
			db.expireOrigin(now, o)
		}
	}
	db.compact()
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
	}
}

// compact makes the heap anew when most of it is entries that were overtaken by a renewal.
func (db *DB) compact() {
	if len(db.expiry.items) < 64+4*(maxRecords+1)*len(db.order) {
		return
	}
	db.expiry.items = db.expiry.items[:0]
	for _, id := range db.order {
		o := db.origins[id]
		for _, r := range o.records {
			db.expiry.items = append(db.expiry.items, expiryItem{r.notAfter, id})
		}
		if o.lsa != nil {
			db.expiry.items = append(db.expiry.items, expiryItem{o.lsa.expires, id})
		}
	}
	heap.Init(&db.expiry.items)
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
	if len(db.expiry.items) > 0 && (at.IsZero() || db.expiry.items[0].at.Before(at)) {
		at = db.expiry.items[0].at
	}
	return at
}
