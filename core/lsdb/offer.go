package lsdb

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Action says what is to be done with what was offered.
type Action uint8

// The actions.
const (
	Drop   Action = iota // refused; the error says why
	Have                 // known already, or being verified
	Verify               // carry out Verdict.Job and call Verified
	Park                 // kept until its record is in: ask the sender for Verdict.Request, if any (the error is ErrNoRecord)
)

// Verdict is the answer to an Offer.
type Verdict struct {
	Action  Action
	Job     VerifyJob
	Request [][32]byte
	Origin  mesh.NodeID // of an LSA: who is said to have made it
	Time    time.Time   // and when
	Boot    uint64      // and as which of its announcements
	Seq     uint64
}

// VerifyJob asks the host whether Sig is a valid signature of Signed by the leaf of Chain, and whether Chain is a
// valid SVID of Origin. It must come back through Verified unchanged.
type VerifyJob struct {
	*Object
	Chain [][]byte // DER, leaf first: of the record itself, or of the record that the LSA names
	From  Source
}

// Offer takes a signed object from a neighbour and does all checks that need no cryptography. raw is not kept.
func (db *DB) Offer(now time.Time, from Source, kind Kind, raw []byte) (Verdict, error) {
	v, err := db.offer(now, from, kind, raw)
	if err != nil {
		return v, db.count(err)
	}
	return v, nil
}

func (db *DB) offer(now time.Time, from Source, kind Kind, raw []byte) (Verdict, error) {
	x, err := db.cfg.Shared.open(kind, raw)
	if err != nil {
		return Verdict{}, err
	}
	if !db.senders.heard(now, from.Node, x.Origin, db.originOf(x) != nil) {
		return Verdict{}, ErrSender
	}
	if kind == KindRecord {
		return db.offerRecord(now, VerifyJob{Object: x, Chain: x.rec.Chain, From: from})
	}
	v, err := db.offerLSA(now, VerifyJob{Object: x, From: from})
	v.Origin, v.Time, v.Boot, v.Seq = x.Origin, x.lsa.Time, x.lsa.Boot, x.lsa.Seq
	return v, err
}

func (db *DB) offerRecord(now time.Time, job VerifyJob) (Verdict, error) {
	rec := &job.rec
	o := db.originOf(job.Object)
	if o != nil {
		if known := o.record(job.svid); known != nil && known.same(job.Object) {
			return Verdict{Action: Have}, nil
		}
		if !o.wants(rec.Seq, job.svid) {
			return Verdict{}, fmt.Errorf("record %d of %s: %w", rec.Seq, rec.Origin, ErrStale)
		}
	}
	if rec.Time.After(now.Add(MaxAhead)) {
		return Verdict{}, fmt.Errorf("record of %s: %w", rec.Origin, ErrFuture)
	}
	return db.submit(now, o, job)
}

// same reports whether two objects are of the same bytes.
func (x *Object) same(y *Object) bool { return x == y || bytes.Equal(x.Raw, y.Raw) }

func (db *DB) offerLSA(now time.Time, job VerifyJob) (Verdict, error) {
	l := &job.lsa
	o := db.originOf(job.Object)
	if o != nil && o.lsa != nil && o.lsa.same(job.Object) {
		return Verdict{Action: Have}, nil
	}
	if l.Origin == db.self {
		// A clock must not stand between us and the news that somebody announces us.
		if !stampOf(l).newer(db.own.stamp(db.cfg)) {
			return Verdict{}, fmt.Errorf("our own LSA of an earlier time: %w", ErrStale)
		}
	} else if err := db.timely(now, o, l); err != nil {
		return Verdict{}, err
	}
	if o != nil {
		if r := o.record(l.SVID); r != nil {
			job.Chain = r.rec.Chain
			return db.submit(now, o, job)
		}
	}
	return db.park(now, job)
}

// timely checks sequence, clock and lifetime.
func (db *DB) timely(now time.Time, o *origin, l *wire.LSA) error {
	switch {
	case o != nil && o.lsa != nil && !stampOf(l).newer(stampOf(&o.lsa.lsa)):
		return fmt.Errorf("LSA %d of %s: %w (%d)", l.Seq, l.Origin, ErrStale, o.lsa.lsa.Seq)
	case l.Time.After(now.Add(MaxAhead)):
		return fmt.Errorf("LSA of %s: %w", l.Origin, ErrFuture)
	case l.Lifetime > maxLifetime:
		return fmt.Errorf("LSA of %s: %w: lifetime %v, at most %v", l.Origin, ErrMalformed, l.Lifetime, maxLifetime)
	case !now.Before(l.Time.Add(l.Lifetime)):
		return fmt.Errorf("LSA of %s: %w", l.Origin, ErrExpired)
	}
	return nil
}

// submit makes a job out for the host, unless the same bytes are out already or were refused a while ago.
func (db *DB) submit(now time.Time, o *origin, job VerifyJob) (Verdict, error) {
	fresh := job.Kind == KindRecord && !o.holds(&job)
	if err := db.senders.of(now, job.From.Node).mayTry(now, job.Object, o, fresh); err != nil {
		return Verdict{}, fmt.Errorf("%s: %w", job.Origin, err)
	}
	db.purge(now)
	if job.Object = job.own(); db.pending.get(&job.id) != nil {
		return Verdict{Action: Have}, nil
	}
	if at, ok := db.refused.Get(job.id); ok && now.Sub(at) < patience {
		return Verdict{}, fmt.Errorf("%s: %w", job.Origin, ErrKnownBad)
	}
	// An origin that is not known yet has no allowance of its own: its sender answers for it.
	if o != nil {
		o.rate.fill(now, rateBurst, ratePerSecond)
		if float64(db.pending.claimed(claim{o, db.senders.of(now, job.From.Node)})+1) > o.rate.tokens {
			return Verdict{}, fmt.Errorf("%s: %w", job.Origin, ErrRate)
		}
	}
	if !db.begin(now, o, &job, fresh) {
		return Verdict{}, fmt.Errorf("%s: %w", job.Origin, ErrBusy)
	}
	return Verdict{Action: Verify, Job: job}, nil
}

// holds reports whether a record's certificates are those of one that was accepted.
func (o *origin) holds(job *VerifyJob) bool {
	if o == nil {
		return false
	}
	r := o.record(job.svid)
	return r != nil && slices.EqualFunc(r.rec.Chain, job.rec.Chain, bytes.Equal)
}
