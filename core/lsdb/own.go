package lsdb

import (
	"errors"
	"fmt"
	"math"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// ErrNotOwn says that SetSelf was given what this node did not make.
var ErrNotOwn = errors.New("not this node's own announcement")

// twinMargin is how long after our start an LSA in our name must be dated to be a twin's and not our own last one.
const twinMargin = 2 * time.Second

// own is what the node announces of itself.
type own struct {
	boot      uint64 // as announced: the configured one, or higher if we had to jump over an earlier life's
	seq       uint64 // of the last LSA made
	recordSeq uint64 // highest of any record of ours that was seen
	svid      [32]byte
	hasSVID   bool

	announced []mesh.Adjacency // in the last LSA made
	under     [32]byte         // the SVID that it names
	made      bool
	signing   time.Time // an LSA is out for signature since then; zero = none
	class     change    // of what waits to be announced
	since     time.Time // it waits since
	refresh   time.Time
	next      time.Time // see Deadline
	force     bool      // announce though the links are the same: others hold a newer LSA of ours, or its date is wrong
	again     bool      // the last LSA was not signed
	pace      pace
}

func newOwn(boot uint64) own { return own{boot: boot, pace: newPace()} }

func (o *own) stamp(cfg Config) stamp { return stamp{o.boot, cfg.Incarnation, o.seq} }

// NextRecordSeq returns the sequence number for the next record of this node: above all that it or an earlier life
// of it is known to have used.
func (db *DB) NextRecordSeq() uint64 { return max(db.own.recordSeq+1, db.own.boot) }

// SetSelf puts in what this node itself has signed: a record with the end of its SVID, or the LSA that Originate
// gave. An empty raw says that the LSA could not be signed, and lets Originate give another.
func (db *DB) SetSelf(now time.Time, kind Kind, raw []byte, notAfter time.Time) (Outcome, error) {
	if kind == KindLSA {
		db.own.signing = time.Time{}
	}
	switch {
	case len(raw) == 0:
		db.own.again = db.own.again || kind == KindLSA
		return Outcome{}, nil
	case kind == KindRecord:
		return db.setRecord(now, raw, notAfter)
	case kind == KindLSA:
		return db.setLSA(raw)
	}
	return Outcome{}, fmt.Errorf("%w: unknown kind %d", ErrMalformed, kind)
}

func (db *DB) setRecord(now time.Time, raw []byte, notAfter time.Time) (Outcome, error) {
	x, err := db.cfg.Shared.openOwn(KindRecord, raw)
	if err != nil {
		return Outcome{}, err
	}
	rec := &x.rec
	if rec.Origin != db.self {
		return Outcome{}, fmt.Errorf("record of %s: %w", rec.Origin, ErrNotOwn)
	}
	if !now.Before(notAfter) {
		return Outcome{}, fmt.Errorf("own record: %w", ErrExpired)
	}
	job := VerifyJob{Object: x, Chain: rec.Chain}
	out := db.acceptRecord(now, job, notAfter)
	if len(out.Flood) == 0 {
		return out, fmt.Errorf("own record %d: %w; take NextRecordSeq", rec.Seq, ErrStale)
	}
	db.own.svid, db.own.hasSVID = job.svid, true
	return out, nil
}

func (db *DB) setLSA(raw []byte) (Outcome, error) {
	x, err := db.cfg.Shared.openOwn(KindLSA, raw)
	if err != nil {
		db.own.again = true
		return Outcome{}, err
	}
	lsa := &x.lsa
	o := db.origins[db.self]
	switch {
	case lsa.Origin != db.self || lsa.Incarnation != db.cfg.Incarnation:
		return Outcome{}, fmt.Errorf("LSA of %s: %w", lsa.Origin, ErrNotOwn)
	case o == nil || o.record(lsa.SVID) == nil:
		db.own.again = true
		return Outcome{}, fmt.Errorf("own LSA: %w", ErrNoRecord)
	case o.lsa != nil && !stampOf(lsa).newer(stampOf(&o.lsa.lsa)):
		return Outcome{}, fmt.Errorf("own LSA %d: %w", lsa.Seq, ErrStale)
	}
	changed := db.install(o, x, o.record(x.svid).notAfter)
	return Outcome{Flood: x.flood, Changed: changed}, nil
}

// Redate lets Originate give an LSA though the links are the same: the clock was set, and the last one bears a date by
// which others may refuse it. What was refused because of its dates may be offered again.
func (db *DB) Redate() {
	db.own.force = true
	db.refused = newRefused()
	db.senders.pardon()
}

// foreignSelf is called with a valid LSA of ours that is newer than what we announce. It is our own from an earlier
// life, whose clock was ahead or whose state was lost; or a twin lives. Either way we go above it, for ours is the one
// that names the links we have. If it was made during this life it was not made by us.
func (db *DB) foreignSelf(l wire.LSA) Outcome {
	if !stampOf(&l).newer(db.own.stamp(db.cfg)) {
		return Outcome{}
	}
	out := Outcome{Reoriginate: true}
	if l.Time.After(time.UnixMilli(int64(min(db.cfg.Boot, math.MaxInt64))).Add(twinMargin)) {
		out.Alarm = fmt.Errorf("LSA of boot %d, incarnation %x: %w", l.Boot, l.Incarnation, ErrTwin)
		db.count(out.Alarm)
	}
	if l.Boot == db.own.boot && l.Incarnation == db.cfg.Incarnation || l.Boot == math.MaxUint64 {
		db.own.seq = max(db.own.seq, l.Seq)
	} else {
		db.own.boot = l.Boot + 1
	}
	db.own.force = true
	return out
}
