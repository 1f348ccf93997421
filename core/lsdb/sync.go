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
		var all []wire.SummaryEntry
		for _, id := range db.order {
			all = db.origins[id].summary(all)
		}
		db.digest = wire.Summary{Entries: all}.Digest().Hash
		db.digestOld = false
	}
	return db.digest
}

// summary appends one entry for each record; the sequence of the LSA is with the record that it names.
func (o *origin) summary(to []wire.SummaryEntry) []wire.SummaryEntry {
	first := len(to)
	for _, r := range o.records {
		e := wire.SummaryEntry{Origin: o.id, SVID: r.svid, RecordSeq: r.Seq}
		if o.lsa != nil && o.lsa.SVID == r.svid {
			e.Boot, e.Seq = o.lsa.Boot, o.lsa.Seq
		}
		to = append(to, e)
	}
	slices.SortFunc(to[first:], func(a, b wire.SummaryEntry) int { return bytes.Compare(a.SVID[:], b.SVID[:]) })
	return to
}

// Summary returns what the database holds as messages that each stand alone: one tells of all origins from that of
// its first entry to that of its last, upwards and round the end of the alphabet. The same origin at both ends, or no
// entry at all, means all origins. So consecutive messages share the origin where they meet, and the last comes
// back to the first.
func (db *DB) Summary() []wire.Summary {
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
	records map[[32]byte]uint64
}

// Reconcile returns what the sender of a summary lacks, records before the LSAs that name them, and the records to
// ask it for. LSAs need not be asked for: the sender answers our own summary with them.
func (db *DB) Reconcile(s wire.Summary) (send []wire.Message, request [][32]byte) {
	them := make(map[mesh.NodeID]*theirs, len(s.Entries))
	for i := range s.Entries {
		e := &s.Entries[i]
		t := them[e.Origin]
		if t == nil {
			t = &theirs{records: map[[32]byte]uint64{}}
			them[e.Origin] = t
		}
		if at := (stamp{e.Boot, 0, e.Seq}); at.newer(t.lsa) {
			t.lsa = at
		}
		if _, again := t.records[e.SVID]; !again && db.lacks(e) {
			request = append(request, e.SVID)
		}
		t.records[e.SVID] = e.RecordSeq
	}
	for _, id := range db.order {
		if covers(s, id) {
			send = db.origins[id].missing(send, them[id])
		}
	}
	return send, request
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
		if seq, ok := them.records[r.svid]; !ok || seq < r.Seq {
			send = append(send, wire.RecordMsg{Raw: r.raw})
		}
	}
	if o.lsa != nil && (stamp{o.lsa.Boot, 0, o.lsa.Seq}).newer(them.lsa) {
		send = append(send, wire.LSAMsg{Raw: o.lsa.raw})
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
			out = append(out, wire.RecordMsg{Raw: r.raw})
		}
	}
	return out
}
