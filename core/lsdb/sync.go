package lsdb

import (
	"bytes"
	"slices"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// summaryChunk is how many entries one Summary message holds: with the longest names it stays under wire's limit.
const summaryChunk = 2000

// How two neighbours bring their databases together: each sends its Digest, on connecting and now and then; who
// gets another than its own answers with its Summary; who gets a Summary answers with Reconcile.

// Digest returns the hash of everything in the database. Equal digests mean equal databases.
func (db *DB) Digest() [32]byte {
	if db.digestOld {
		db.digest = shared(db, (*Shared).digestsOf, db.makeDigest)
		db.digestOld = false
	}
	return db.digest
}

func (db *DB) makeDigest() [32]byte {
	all := make([]wire.SummaryEntry, 0, len(db.order))
	for _, id := range db.order {
		all = db.origins[id].summary(all)
	}
	return wire.Summary{Entries: all}.Digest().Hash
}

func (s *Shared) digestsOf() *Memo[Sum, [32]byte]         { return &s.digests }
func (s *Shared) summariesOf() *Memo[Sum, []wire.Summary] { return &s.summaries }

// shared returns what follows from all that db holds: from what is shared if an equal database has asked for it.
func shared[V any](db *DB, of func(*Shared) *Memo[Sum, V], ask func() V) V {
	s := db.cfg.Shared
	if s == nil {
		return ask()
	}
	v, ok := of(s).Get(db.holds)
	if !ok {
		v = ask()
		of(s).Put(db.holds, v)
	}
	return v
}

// summary appends one entry for each record; the sequence of the LSA is with the record that it names.
func (o *origin) summary(to []wire.SummaryEntry) []wire.SummaryEntry {
	first := len(to)
	for _, r := range o.records {
		e := wire.SummaryEntry{Origin: o.id, SVID: r.svid, RecordSeq: r.rec.Seq}
		if o.lsa != nil && o.lsa.svid == r.svid {
			e.Boot, e.Seq = o.lsa.lsa.Boot, o.lsa.lsa.Seq
		}
		to = append(to, e)
	}
	if len(o.records) == 1 {
		return to
	}
	slices.SortFunc(to[first:], func(a, b wire.SummaryEntry) int { return bytes.Compare(a.SVID[:], b.SVID[:]) })
	return to
}

// Summary returns what the database holds as messages that each stand alone: one tells of all origins from that of
// its first entry to that of its last, upwards and round the end of the alphabet. The same origin at both ends, or no
// entry at all, means all origins. So consecutive messages share the origin where they meet, and the last comes
// back to the first. They must not be changed.
func (db *DB) Summary() []wire.Summary { return shared(db, (*Shared).summariesOf, db.summarise) }

func (db *DB) summarise() []wire.Summary {
	if len(db.order) == 0 {
		return []wire.Summary{{}}
	}
	var out []wire.Summary
	var part []wire.SummaryEntry
	for _, id := range db.order {
		part = db.origins[id].summary(part)
		if len(part) >= summaryChunk {
			out = append(out, wire.Summary{Entries: part})
			part = db.origins[id].summary(nil)
		}
	}
	if len(db.order) > 1 {
		part = db.origins[db.order[0]].summary(part)
	}
	return append(out, wire.Summary{Entries: part})
}

// covers reports whether a summary tells of n.
func covers(s wire.Summary, n mesh.NodeID) bool {
	if len(s.Entries) == 0 {
		return true
	}
	first, last := s.Entries[0].Origin, s.Entries[len(s.Entries)-1].Origin
	switch first.Compare(last) {
	case 0:
		return true
	case -1:
		return n.Compare(first) >= 0 && n.Compare(last) <= 0
	}
	return n.Compare(first) >= 0 || n.Compare(last) <= 0
}

// theirs is what a summary says of one origin.
type theirs struct {
	lsa     stamp // without incarnation: a summary does not tell it
	entries []*wire.SummaryEntry
}

// seq returns the sequence that they have of the record svid.
func (t *theirs) seq(svid [32]byte) (seq uint64, ok bool) {
	for _, e := range t.entries {
		if e.SVID == svid {
			seq, ok = e.RecordSeq, true
		}
	}
	return seq, ok
}

// Reconcile returns what the sender of a summary lacks, records before the LSAs that name them, and the records to
// ask it for. LSAs need not be asked for: the sender answers our own summary with them.
func (db *DB) Reconcile(s wire.Summary) (send []wire.Message, request [][32]byte) {
	them := make(map[mesh.NodeID]*theirs)
	equal := make([]bool, len(db.order))
	at := 0
	for i := range s.Entries {
		e := &s.Entries[i]
		t := them[e.Origin]
		if at = db.place(at, e.Origin); at < len(equal) && t == nil && db.agrees(at, s.Entries, i) {
			equal[at] = true
			continue
		}
		if t == nil {
			t = &theirs{}
			them[e.Origin] = t
		}
		if at := (stamp{e.Boot, 0, e.Seq}); at.newer(t.lsa) {
			t.lsa = at
		}
		if _, again := t.seq(e.SVID); !again && db.lacks(e) {
			request = append(request, e.SVID)
		}
		t.entries = append(t.entries, e)
	}
	for i, id := range db.order {
		if t := them[id]; (t != nil || !equal[i]) && covers(s, id) {
			send = db.origins[id].missing(send, t)
		}
	}
	return send, request
}

// place returns where n is in order, or would be. It looks just behind at first: summaries are sorted.
func (db *DB) place(at int, n mesh.NodeID) int {
	for _, i := range [...]int{at + 1, at} {
		if i < len(db.order) && db.order[i] == n {
			return i
		}
	}
	i, _ := slices.BinarySearchFunc(db.order, n, mesh.NodeID.Compare)
	return i
}

// agrees reports whether entry i is all that a summary says of its origin where it stands, and all that is held of the
// node at a place in order. So it is with nearly all entries of nearly all summaries.
func (db *DB) agrees(at int, entries []wire.SummaryEntry, i int) bool {
	e, id := &entries[i], db.order[at]
	if id != e.Origin || i > 0 && entries[i-1].Origin == id || i+1 < len(entries) && entries[i+1].Origin == id {
		return false
	}
	o := db.origins[id]
	if len(o.records) != 1 || o.records[0].svid != e.SVID || o.records[0].rec.Seq != e.RecordSeq {
		return false
	}
	if o.lsa == nil {
		return e.Boot == 0 && e.Seq == 0
	}
	return o.lsa.lsa.Boot == e.Boot && o.lsa.lsa.Seq == e.Seq
}

// lacks reports whether the record of a summary's entry would be accepted here.
func (db *DB) lacks(e *wire.SummaryEntry) bool {
	o := db.origins[e.Origin]
	return o == nil && len(db.origins) < db.cfg.MaxOrigins || o != nil && o.wants(e.RecordSeq, e.SVID)
}

// missing appends what of o is not among theirs.
func (o *origin) missing(send []wire.Message, them *theirs) []wire.Message {
	if them == nil {
		them = &theirs{}
	}
	for _, r := range o.records {
		if seq, ok := them.seq(r.svid); !ok || seq < r.rec.Seq {
			send = append(send, r.flood...)
		}
	}
	if o.lsa != nil && (stamp{o.lsa.lsa.Boot, 0, o.lsa.lsa.Seq}).newer(them.lsa) {
		send = append(send, o.lsa.flood...)
	}
	return send
}

// Answer returns the records that a neighbour asked for, each once.
func (db *DB) Answer(q wire.RecordRequest) []wire.Message {
	var out []wire.Message
	done := map[[32]byte]bool{}
	for _, svid := range q.SVIDs {
		o := db.origins[db.owner[svid]]
		if o == nil || done[svid] {
			continue
		}
		done[svid] = true
		if r := o.record(svid); r != nil {
			out = append(out, r.flood...)
		}
	}
	return out
}
