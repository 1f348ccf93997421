package lsdb

import (
	"fmt"
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// maxClaims is how many neighbours' LSAs of one origin are parked: they are not verified, so one that is false must not
// stand in the way of another's.
const maxClaims = 8

type parked struct {
	job VerifyJob
	at  time.Time
}

// park keeps an LSA whose record is missing, the newest of each origin from each neighbour, and says which record to ask
// for. It takes nothing of what the origin may announce: anybody can name an origin and a record that there is not.
func (db *DB) park(now time.Time, job VerifyJob) (Verdict, error) {
	v := Verdict{Action: Park}
	if db.purge(now); !db.pending.svids[job.lsa.SVID] {
		v.Request = [][32]byte{job.lsa.SVID}
	}
	err := fmt.Errorf("LSA of %s: %w", job.Origin, ErrNoRecord)
	claims := db.parked[job.Origin]
	if slices.ContainsFunc(claims, func(p parked) bool { return p.job.same(job.Object) }) {
		return v, err
	}
	mine := slices.IndexFunc(claims, func(p parked) bool { return p.job.From.Node == job.From.Node })
	switch {
	case mine >= 0 && !stampOf(&job.lsa).newer(stampOf(&claims[mine].job.lsa)):
		v.Action = Drop // the record is wanted all the same
		return v, err
	case mine >= 0:
		db.unparkClaim(job.Origin, mine)
	case len(claims) >= maxClaims:
		v.Action = Drop
		return v, err
	}
	s := db.senders.of(now, job.From.Node)
	if !db.roomFor(now, s, len(job.Raw)) {
		v.Action = Drop
		return v, err
	}
	job.Object = job.own()
	db.parked[job.Origin] = append(db.parked[job.Origin], parked{job, now})
	db.parkedCount++
	db.parkedBytes += len(job.Raw)
	s.parked++
	s.parkedBytes += len(job.Raw)
	return v, err
}

// unparkClaim forgets the claim at a place of those parked of n.
func (db *DB) unparkClaim(n mesh.NodeID, i int) {
	claims := db.parked[n]
	p := claims[i]
	if claims = slices.Delete(claims, i, i+1); len(claims) == 0 {
		delete(db.parked, n)
	} else {
		db.parked[n] = claims
	}
	db.parkedCount--
	db.parkedBytes -= len(p.job.Raw)
	if s := db.senders.get(p.job.From.Node); s != nil {
		s.parked = max(0, s.parked-1)
		s.parkedBytes = max(0, s.parkedBytes-len(p.job.Raw))
	}
}

// unparkAll forgets what is parked of n.
func (db *DB) unparkAll(n mesh.NodeID) {
	for len(db.parked[n]) > 0 {
		db.unparkClaim(n, 0)
	}
}

// roomFor reports whether size more bytes of a neighbour's may be parked.
func (db *DB) roomFor(now time.Time, s *sender, size int) bool {
	full := func() bool {
		return db.parkedCount >= maxParked || db.parkedBytes+size > maxParkedBytes ||
			s.parked >= maxParkedFrom || s.parkedBytes+size > maxParkedShare
	}
	if full() && now.Sub(db.unparked) >= time.Second { // to look at all costs more than what is refused
		db.unpark(now)
	}
	return !full()
}

// resume returns the jobs for LSAs that were parked for want of the record svid.
func (db *DB) resume(now time.Time, o *origin, svid [32]byte) (jobs []VerifyJob) {
	r := o.record(svid)
	if r == nil {
		return nil
	}
	for i := 0; i < len(db.parked[o.id]); {
		job := db.parked[o.id][i].job
		if job.lsa.SVID != svid {
			i++
			continue
		}
		db.unparkClaim(o.id, i)
		job.Chain = r.rec.Chain
		if db.pending.get(&job.id) == nil && db.senders.of(now, job.From.Node).mayTry(now, job.Object, o, false) == nil && db.begin(now, o, &job, false) {
			jobs = append(jobs, job)
		}
	}
	return jobs
}
