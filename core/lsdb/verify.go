package lsdb

import (
	"bytes"
	"cmp"
	"crypto/sha256"
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
	db.pending.done(&job)
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

// reject blames the sender, not the origin: anybody can send bad bytes in another's name. For refused certificates it
// blames nobody, since the sender may not have heard of a ban yet.
func (db *DB) reject(now time.Time, job VerifyJob, err error) {
	if !errors.Is(err, ErrWrongSigner) {
		err = fmt.Errorf("%w: %w", ErrRefused, err)
	}
	db.count(err)
	if errors.Is(err, ErrWrongSigner) {
		db.senders.blame(now, job.From)
	}
	if o := db.origins[job.Origin]; o != nil {
		o.rate.tokens = min(o.rate.tokens+1, rateBurst)
	}
}

func (db *DB) acceptRecord(now time.Time, job VerifyJob, notAfter time.Time) Outcome {
	if o := db.origins[job.Origin]; o != nil && !o.wants(job.rec.Seq, job.svid) {
		db.count(fmt.Errorf("record of %s: %w", job.Origin, ErrStale))
		return Outcome{}
	}
	o := db.admit(job.Origin)
	if o == nil {
		db.count(fmt.Errorf("record of %s: %w", job.Origin, ErrFull))
		return Outcome{}
	}
	was := db.version
	db.store(o, &record{Record: job.rec, raw: job.Raw, svid: job.svid, notAfter: notAfter})
	out := Outcome{Flood: []wire.Message{wire.RecordMsg{Raw: job.Raw}}, From: job.From, Changed: db.version != was}
	if job.Origin == db.self {
		db.own.recordSeq = max(db.own.recordSeq, job.rec.Seq)
	}
	if next, ok := db.resume(now, o, job.svid); ok {
		out.Next = append(out.Next, next)
	}
	return out
}

// resume returns the job for an LSA that was parked for want of the record svid.
func (db *DB) resume(now time.Time, o *origin, svid [32]byte) (VerifyJob, bool) {
	p, ok := db.parked[o.id]
	r := o.record(svid)
	if !ok || p.job.lsa.SVID != svid || r == nil {
		return VerifyJob{}, false
	}
	db.unparkOne(o.id)
	job := p.job
	job.id = sha256.Sum256(job.Raw)
	job.Chain = r.Chain
	if db.pending.ids[job.id] || !db.pending.add(now, &job) {
		return VerifyJob{}, false
	}
	return job, true
}

// wants reports whether a record belongs to the newest that are kept of o.
func (o *origin) wants(seq uint64, svid [32]byte) bool {
	if r := o.record(svid); r != nil {
		return seq > r.Seq
	}
	return len(o.records) < maxRecords || recordOrder(&record{Record: wire.Record{Seq: seq}, svid: svid}, o.records[0]) > 0
}

func recordOrder(a, b *record) int {
	return cmp.Or(cmp.Compare(a.Seq, b.Seq), bytes.Compare(a.svid[:], b.svid[:]))
}

// store puts a record in, in place of an older one of the same SVID, and the oldest out if there are too many.
func (db *DB) store(o *origin, r *record) {
	topology := true
	if old := o.record(r.svid); old != nil {
		topology = !slices.Equal(old.Addresses, r.Addresses) || old.Roles != r.Roles
		o.records = slices.DeleteFunc(o.records, func(x *record) bool { return x == old })
	}
	o.records = append(o.records, r)
	slices.SortFunc(o.records, recordOrder)
	db.owner[r.svid] = o.id
	db.expiry.add(r.notAfter, o.id)
	if len(o.records) > maxRecords {
		db.dropRecord(o, o.records[0])
	}
	db.changed(topology)
}

// dropRecord takes a record out, and with it the LSA that it vouched for.
func (db *DB) dropRecord(o *origin, r *record) {
	o.records = slices.DeleteFunc(o.records, func(x *record) bool { return x == r })
	delete(db.owner, r.svid)
	if o.lsa != nil && o.lsa.SVID == r.svid {
		o.lsa = nil
	}
	db.changed(true)
}

func (db *DB) acceptLSA(now time.Time, job VerifyJob, notAfter time.Time) Outcome {
	o := db.origins[job.Origin]
	if o == nil || o.record(job.lsa.SVID) == nil {
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
	changed := db.install(o, &announcement{LSA: job.lsa, raw: job.Raw}, notAfter)
	return Outcome{Flood: []wire.Message{wire.LSAMsg{Raw: job.Raw}}, From: job.From, Changed: changed}
}

// install makes a the LSA of o, until its lifetime or its SVID ends.
func (db *DB) install(o *origin, a *announcement, notAfter time.Time) (changed bool) {
	a.expires = a.Time.Add(a.Lifetime)
	for _, end := range []time.Time{notAfter, o.record(a.SVID).notAfter} {
		if end.Before(a.expires) {
			a.expires = end
		}
	}
	old := o.lsa
	o.lsa = a
	db.expiry.add(a.expires, o.id)
	changed = old == nil || old.Boot != a.Boot || old.Incarnation != a.Incarnation ||
		old.Capabilities != a.Capabilities || !slices.EqualFunc(old.Links, a.Links, sameLink)
	db.changed(changed)
	return changed
}

func sameLink(a, b mesh.Adjacency) bool {
	return a.Neighbour == b.Neighbour && a.Label == b.Label && a.Remote == b.Remote && a.Cost == b.Cost && a.Quality == b.Quality &&
		a.MTU == b.MTU && a.Capacity == b.Capacity && a.Suspect == b.Suspect && slices.Equal(a.Groups, b.Groups)
}
