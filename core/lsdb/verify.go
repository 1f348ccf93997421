package lsdb

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Outcome is what follows from an accepted announcement.
type Outcome struct {
	Flood       []wire.Message // to every neighbour but the one it came from
	From        mesh.ConnID    // that one; 0 = none, it is our own
	Changed     bool           // Version has changed
	Next        []VerifyJob    // parked LSAs whose record is in now
	Reoriginate bool           // somebody holds a newer LSA of ours than we do: call Originate
	Alarm       error          // ErrTwin
}

// Verified takes the host's answer to a job: the end of the SVID that signed, or why it is refused. An error that
// does not wrap ErrWrongSigner is counted as ErrRefused.
func (db *DB) Verified(now time.Time, job VerifyJob, notAfter time.Time, err error) Outcome {
	db.done(job.id)
	if err != nil {
		db.reject(now, job, err)
		return Outcome{}
	}
	if !now.Before(notAfter) {
		db.count(fmt.Errorf("SVID of %s: %w", job.Origin, ErrExpired))
		return Outcome{}
	}
	switch job.Kind {
	case KindRecord:
		return db.acceptRecord(now, job, notAfter)
	case KindLSA:
		return db.acceptLSA(now, job, notAfter)
	}
	return Outcome{}
}

// reject blames the sender, not the origin: anybody can send bad bytes in another's name. The same bytes are not looked
// at again for a while, whoever brings them. Only an LSA whose certificates were good and are not any more is held
// against its origin.
func (db *DB) reject(now time.Time, job VerifyJob, err error) {
	if !errors.Is(err, ErrWrongSigner) {
		err = fmt.Errorf("%w: %w", ErrRefused, err)
	}
	db.count(err)
	db.refused.Put(job.id, now)
	switch o := db.originOf(job.Object); {
	case errors.Is(err, ErrWrongSigner):
		db.senders.blame(now, job.From.Node, job.Origin)
	case job.Kind == KindRecord:
		db.senders.blameRefused(now, job.From.Node)
	case o != nil:
		o.rate.take(now, rateBurst, ratePerSecond)
	}
}

// charge takes what is known to be an origin's from what it may announce, if there is any left.
func (db *DB) charge(now time.Time, o *origin, x *Object) bool {
	if o == nil || o.id == db.self || o.rate.takeMany(now, rateBurst, ratePerSecond, priceOf(x)) {
		return true
	}
	db.count(fmt.Errorf("%s: %w", o.id, ErrRate))
	return false
}

func (db *DB) acceptRecord(now time.Time, job VerifyJob, notAfter time.Time) Outcome {
	if o := db.originOf(job.Object); o != nil && !o.wants(job.rec.Seq, job.svid) {
		db.count(fmt.Errorf("record of %s: %w", job.Origin, ErrStale))
		return Outcome{}
	}
	if !db.charge(now, db.originOf(job.Object), job.Object) {
		return Outcome{}
	}
	o := db.admit(job.Origin)
	if o == nil {
		db.count(fmt.Errorf("record of %s: %w", job.Origin, ErrFull))
		return Outcome{}
	}
	was := db.version
	db.store(o, record{job.Object, notAfter})
	out := Outcome{Flood: job.flood, From: job.From.Conn, Changed: db.version != was}
	if job.Origin == db.self {
		db.own.recordSeq = max(db.own.recordSeq, job.rec.Seq)
	}
	out.Next = db.resume(now, o, job.svid)
	return out
}

// wants reports whether a record belongs to the newest that are kept of o.
func (o *origin) wants(seq uint64, svid [32]byte) bool {
	if r := o.record(svid); r != nil {
		return seq > r.rec.Seq
	}
	return len(o.records) < maxRecords || placeOf(seq, svid, o.records[0]) > 0
}

func recordOrder(a, b *record) int { return placeOf(a.rec.Seq, a.svid, b) }

// placeOf compares a record of this sequence and SVID with another.
func placeOf(seq uint64, svid [32]byte, b *record) int {
	return cmp.Or(cmp.Compare(seq, b.rec.Seq), bytes.Compare(svid[:], b.svid[:]))
}

// store puts a record in, in place of an older one of the same SVID, and the oldest out if there are too many.
func (db *DB) store(o *origin, r record) {
	topology := true
	if old := o.record(r.svid); old != nil {
		topology = !slices.Equal(old.rec.Addresses, r.rec.Addresses) || old.rec.Roles != r.rec.Roles
		db.holds.take(sumOf(old.id))
		o.remove(old)
	}
	o.insert(r)
	db.holds.add(sumOf(r.id))
	db.owner[r.svid] = o.id
	db.watch(o, r.notAfter)
	if len(o.records) > maxRecords {
		db.dropRecord(o, o.records[0])
	}
	db.changed(topology)
}

func (o *origin) insert(r record) {
	p := &o.one
	if p.Object != nil {
		p = &record{}
	}
	*p = r
	o.records = append(o.records, p)
	slices.SortFunc(o.records, recordOrder)
}

func (o *origin) remove(r *record) {
	o.records = slices.DeleteFunc(o.records, func(x *record) bool { return x == r })
	if r == &o.one {
		o.one = record{}
	}
}

// dropRecord takes a record out, and with it the LSA that it vouched for.
func (db *DB) dropRecord(o *origin, r *record) {
	db.holds.take(sumOf(r.id))
	delete(db.owner, r.svid)
	if o.lsa != nil && o.lsa.svid == r.svid {
		db.setAnnouncement(o, nil)
	}
	o.remove(r)
	db.changed(true)
}

func (db *DB) acceptLSA(now time.Time, job VerifyJob, notAfter time.Time) Outcome {
	o := db.originOf(job.Object)
	if o == nil || o.record(job.svid) == nil {
		db.count(fmt.Errorf("LSA of %s: %w", job.Origin, ErrNoRecord)) // it ended while the signature was checked
		return Outcome{}
	}
	if job.Origin == db.self {
		return db.foreignSelf(job.lsa)
	}
	if err := db.timely(now, o, &job.lsa); err != nil {
		db.count(err)
		return Outcome{}
	}
	if !db.charge(now, o, job.Object) {
		return Outcome{}
	}
	changed := db.install(o, job.Object, notAfter)
	return Outcome{Flood: job.flood, From: job.From.Conn, Changed: changed}
}

// install makes x the LSA of o, until its lifetime or its SVID ends.
func (db *DB) install(o *origin, x *Object, notAfter time.Time) (changed bool) {
	l := &x.lsa
	a := announcement{x, l.Time.Add(l.Lifetime)}
	for _, end := range [...]time.Time{notAfter, o.record(x.svid).notAfter} {
		if end.Before(a.expires) {
			a.expires = end
		}
	}
	changed = true
	if o.lsa != nil {
		old := &o.lsa.lsa
		changed = old.Boot != l.Boot || old.Incarnation != l.Incarnation || old.Capabilities != l.Capabilities ||
			!slices.EqualFunc(old.Links, l.Links, sameLink)
	}
	db.setAnnouncement(o, &a)
	db.watch(o, a.expires)
	db.changed(changed)
	return changed
}

// setAnnouncement puts a, or nothing, in the place of the LSA of o.
func (db *DB) setAnnouncement(o *origin, a *announcement) {
	if a == nil || o.lsa == nil || a.ways != o.lsa.ways {
		db.stirred.add(o.id)
	}
	if o.lsa != nil {
		db.holds.take(sumOf(o.lsa.id))
		db.ways.take(o.lsa.ways)
	}
	o.lsa = nil
	if a != nil {
		o.held = *a
		o.lsa = &o.held
		db.holds.add(sumOf(a.id))
		db.ways.add(a.ways)
	}
}

func sameLink(a, b mesh.Adjacency) bool {
	return a.Neighbour == b.Neighbour && a.Label == b.Label && a.Remote == b.Remote && a.Cost == b.Cost && a.Quality == b.Quality &&
		a.MTU == b.MTU && a.Capacity == b.Capacity && a.Suspect == b.Suspect && slices.Equal(a.Groups, b.Groups)
}
