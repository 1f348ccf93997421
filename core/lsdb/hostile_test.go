package lsdb

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// invented is a record in a's name with certificates that nobody accepts, the i-th of many.
func invented(a *author, i int) []byte {
	r := wire.Record{Origin: a.id, Incarnation: 1, Seq: 1000 + uint64(i), Time: epoch, Chain: [][]byte{fmt.Appendf(nil, "invented %d", i)}}
	return r.AppendSigned(nil, []byte("signature"))
}

// unknown is an LSA in a's name under a record that there is not, the i-th of many, each newer than the one before.
func unknown(a *author, i int) []byte {
	l := a.lsa(epoch)
	l.Boot += 1000 + uint64(i)
	l.SVID = [32]byte{byte(i), byte(i >> 8), 1}
	return l.AppendSigned(nil, []byte("signature"))
}

func forged(a *author, i int) []byte {
	l := a.lsa(epoch)
	l.Seq += 1000 + uint64(i)
	return l.AppendSigned(nil, fmt.Appendf(nil, "forged %d", i))
}

// Whatever one neighbour sends in another node's name, that node's own word passes by the next neighbour, while the
// false ones still wait for their check.
func TestNobodyIsSilencedInHisName(t *testing.T) {
	for _, tt := range []struct {
		name string
		bad  func(a *author, i int) []byte
		kind Kind
	}{
		{"certificates of nobody's", invented, KindRecord},
		{"records that there are not", unknown, KindLSA},
		{"signatures that are not its own", forged, KindLSA},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAuthor("alice", epoch)
			db := known(t, a)
			var out []VerifyJob
			for i := range 500 {
				if v, _ := db.Offer(epoch, by(66), tt.kind, tt.bad(a, i)); v.Action == Verify {
					out = append(out, v.Job)
				}
			}
			check(t, db)
			if got, err := take(t, db, epoch, KindLSA, a.raw(epoch)); err != nil || len(got.Flood) != 1 {
				t.Errorf("the node itself: %v, %v", err, db.Counters())
			}
			for _, job := range out {
				finish(db, epoch, job)
			}
			check(t, db)
			if got, err := take(t, db, epoch, KindLSA, a.raw(epoch)); err != nil || len(got.Flood) != 1 {
				t.Errorf("the node itself, later: %v, %v", err, db.Counters())
			}
		})
	}
}

// Certificates that are refused cost the neighbour that hands them on its credit, however many connections it has; what
// it says under certificates that were accepted is still heard.
func TestRefusedCertificatesUseUpCredit(t *testing.T) {
	a, b := newAuthor("alice", epoch), newAuthor("bob", epoch)
	db := known(t, a)
	from := func(i int) Source { return Source{mesh.ConnID(i), mesh.MustNodeID("mallory")} }
	checks := 0
	for i := range 5000 {
		if v, err := db.Offer(epoch, from(i), KindRecord, invented(newAuthor(fmt.Sprintf("n%d", i), epoch), i)); v.Action == Verify {
			checks++
			finish(db, epoch, v.Job)
		} else if !errors.Is(err, ErrSender) {
			t.Fatal(err)
		}
	}
	check(t, db)
	c := db.Counters()
	if checks != refusedBurst || c["refused"] != refusedBurst || c["sender"] != 5000-refusedBurst {
		t.Errorf("%d checks, counters %v", checks, c)
	}
	if v, err := db.Offer(epoch, from(9999), KindRecord, b.record(epoch)); !errors.Is(err, ErrSender) {
		t.Errorf("a new certificate: %v %v", v.Action, err)
	}
	if v, err := db.Offer(epoch, from(9999), KindLSA, a.raw(epoch)); v.Action != Verify {
		t.Errorf("an LSA under a known certificate: %v", err)
	}
	if v, err := db.Offer(epoch, from(9999), KindRecord, a.record(epoch)); v.Action != Verify {
		t.Errorf("a record of a known certificate: %v", err)
	}
	if v, err := db.Offer(epoch.Add(time.Second), from(9999), KindRecord, b.record(epoch)); v.Action != Verify {
		t.Errorf("never forgiven: %v", err)
	}
	db.Redate()
	if s := db.senders.m[mesh.MustNodeID("mallory")]; s.refused.tokens != refusedBurst {
		t.Errorf("%v credit after the clock was set", s.refused.tokens)
	}
}

// A neighbour that comes back by new connections does not bring new credit.
func TestCreditIsTheNeighboursNotTheConnections(t *testing.T) {
	a := newAuthor("alice", epoch)
	db := known(t, a)
	checks := 0
	for i := range 200 {
		v, _ := db.Offer(epoch, Source{mesh.ConnID(i), mesh.MustNodeID("mallory")}, KindLSA, forged(a, i))
		if v.Action == Verify {
			checks++
			finish(db, epoch, v.Job)
		}
	}
	if c := db.Counters(); checks != badBurst || c["sender"] != 200-badBurst {
		t.Errorf("%d checks, counters %v", checks, c)
	}
	if v, err := db.Offer(epoch, Source{7, mesh.MustNodeID("honest")}, KindLSA, a.raw(epoch)); v.Action != Verify {
		t.Errorf("another neighbour by a connection of the same number: %v", err)
	}
}

// A neighbour that forged in one node's name until it had no credit left is heard about itself and about the others, as often as
// each may announce; about that node, and about those that are not known, it is not, nor about anybody if it forges in many names.
func TestForgeriesInOneNameSilenceNoOther(t *testing.T) {
	a, b, m := newAuthor("alice", epoch), newAuthor("bob", epoch), newAuthor("mallory", epoch)
	from := Source{7, m.id}
	offer := func(db *DB, kind Kind, raw []byte) error {
		v, err := db.Offer(epoch, from, kind, raw)
		if v.Action == Verify {
			finish(db, epoch, v.Job)
		}
		check(t, db)
		return err
	}
	db := known(t, a)
	if _, err := take(t, db, epoch, KindRecord, b.record(epoch)); err != nil {
		t.Fatal(err)
	}
	for i := range badBurst {
		if err := offer(db, KindLSA, forged(a, i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		what string
		kind Kind
		raw  []byte
		want error
	}{
		{"in that name", KindLSA, a.raw(epoch), ErrSender},
		{"of nobody that is known", KindRecord, newAuthor("nobody", epoch).record(epoch), ErrSender},
		{"of nobody, to be parked", KindLSA, newAuthor("nobody", epoch).raw(epoch), ErrSender},
		{"of its own, to be parked", KindLSA, m.raw(epoch), ErrNoRecord},
		{"its own record", KindRecord, m.record(epoch), nil},
		{"its own announcement", KindLSA, m.raw(epoch), nil},
		{"of another", KindLSA, b.raw(epoch), nil},
	} {
		if err := offer(db, x.kind, x.raw); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", x.what, err, x.want)
		}
	}
	for _, n := range []mesh.NodeID{b.id, m.id} {
		if x, ok := db.Node(n); !ok || !x.Announced {
			t.Errorf("%s is not known", n)
		}
	}
	for i := range rateBurst {
		_ = offer(db, KindLSA, b.raw(epoch.Add(time.Duration(i+1)*time.Millisecond)))
	}
	if c := db.Counters(); c["rate"] == 0 || c["wrong_signer"] != badBurst {
		t.Errorf("counters %v", c)
	}

	db = known(t, b)
	checks := 0
	for i := range 3 * maxForged {
		x := newAuthor(fmt.Sprintf("n%d", i), epoch)
		if _, err := take(t, db, epoch, KindRecord, x.record(epoch)); err != nil {
			t.Fatal(err)
		}
		for k := range badBurst {
			if err := offer(db, KindLSA, forged(x, k)); err == nil {
				checks++
			} else if !errors.Is(err, ErrSender) {
				t.Fatal(err)
			}
		}
	}
	if want := badBurst + maxForged; checks > want || db.Counters()["wrong_signer"] != uint64(checks) {
		t.Errorf("%d checks, want %d at most; counters %v", checks, want, db.Counters())
	}
	if err := offer(db, KindLSA, b.raw(epoch)); !errors.Is(err, ErrSender) {
		t.Errorf("who forged in many names is heard: %v", err)
	}
	later := epoch.Add(time.Duration(badBurst/badPerSecond) * time.Second)
	if v, err := db.Offer(later, from, KindLSA, b.raw(later)); v.Action != Verify {
		t.Errorf("never forgiven: %v", err)
	}
}

// What waits for its check is bounded for each neighbour, in number and in bytes, and less for one that lost credit.
func TestChecksUnderWayAreBounded(t *testing.T) {
	fill := func(t *testing.T, db *DB, at time.Time, raw func(i int) []byte) (jobs []VerifyJob) {
		t.Helper()
		for i := range 2 * maxPending {
			v, err := db.Offer(at, by(66), KindRecord, raw(i))
			if v.Action == Drop {
				if !errors.Is(err, ErrBusy) && !errors.Is(err, ErrSender) {
					t.Fatal(err)
				}
				break
			}
			jobs = append(jobs, v.Job)
		}
		check(t, db)
		return jobs
	}
	small := func(i int) []byte { return invented(newAuthor(fmt.Sprintf("n%d", i), epoch), i) }
	t.Run("number", func(t *testing.T) {
		db := newDB("self")
		jobs := fill(t, db, epoch, small)
		if len(jobs) != maxInFlight || db.Counters()["busy"] != 1 {
			t.Errorf("%d under way, counters %v", len(jobs), db.Counters())
		}
		if v, err := db.Offer(epoch, by(1), KindRecord, newAuthor("alice", epoch).record(epoch)); v.Action != Verify {
			t.Errorf("another neighbour's: %v", err)
		}
		for _, job := range jobs {
			finish(db, epoch, job)
		}
		again := fill(t, db, epoch.Add(time.Second), func(i int) []byte { return small(100_000 + i) })
		if want := int(maxInFlight * refusedPerSecond / refusedBurst); len(again) != want {
			t.Errorf("%d under way a second after %d were refused, want %d", len(again), len(jobs), want)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		db := newDB("self")
		size := 0
		for _, job := range fill(t, db, epoch, func(i int) []byte {
			n := newAuthor(fmt.Sprintf("n%d", i), epoch)
			r := wire.Record{Origin: n.id, Incarnation: 1, Seq: 1, Time: epoch, Chain: [][]byte{bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 4000)}}
			return r.AppendSigned(nil, []byte("signature"))
		}) {
			size += len(job.Raw)
		}
		if size > maxFlightBytes || size < maxFlightBytes-10_000 || db.Counters()["busy"] != 1 {
			t.Errorf("%d bytes under way, counters %v", size, db.Counters())
		}
	})
}

// The same bad bytes are checked once, whoever brings them, until a while has passed or the clock is set.
func TestSameBadBytesAreCheckedOnce(t *testing.T) {
	a := newAuthor("alice", epoch)
	db := known(t, a)
	bad := invented(a, 1)
	if _, err := take(t, db, epoch, KindRecord, bad); err != nil {
		t.Fatal(err)
	}
	for i := range mesh.ConnID(50) {
		if v, err := db.Offer(epoch, by(i), KindRecord, bad); v.Action != Drop || !errors.Is(err, ErrKnownBad) {
			t.Fatalf("%v %v", v.Action, err)
		}
	}
	if c := db.Counters(); c["known_bad"] != 50 || c["refused"] != 1 {
		t.Errorf("counters %v", c)
	}
	if v, err := db.Offer(epoch, by(1), KindRecord, a.record(epoch)); v.Action != Verify {
		t.Errorf("a good one of the same node: %v", err)
	}
	if v, err := db.Offer(epoch.Add(patience), by(1), KindRecord, bad); v.Action != Verify {
		t.Errorf("after a while: %v", err)
	} else {
		finish(db, epoch.Add(patience), v.Job)
	}
	db.Redate()
	if v, err := db.Offer(epoch.Add(patience), by(1), KindRecord, bad); v.Action != Verify {
		t.Errorf("after the clock was set: %v", err)
	}
	for i := range 10 * maxRefused {
		db.refused.Put([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}, epoch)
	}
	if n := len(db.refused.new) + len(db.refused.old); n > 2*maxRefused {
		t.Errorf("%d hashes kept", n)
	}
}

// A false LSA that waits for a record does not stand in the way of the true one, nor does one neighbour take all places.
func TestParkedClaimsAreEachTheirNeighbours(t *testing.T) {
	a := newAuthor("alice", epoch)
	db := newDB("self")
	truth := a.lsa(epoch, link("self", 1, 1, 10))
	lie := truth
	lie.Boot += 1 << 40
	for raw, from := range map[string]mesh.ConnID{string(lie.AppendSigned(nil, []byte("signature"))): 66, string(a.signed(truth)): 5} {
		if v, err := db.Offer(epoch, by(from), KindLSA, []byte(raw)); v.Action != Park {
			t.Fatalf("%v %v", v.Action, err)
		}
	}
	check(t, db)
	out, err := take(t, db, epoch, KindRecord, a.record(epoch))
	if err != nil || len(out.Next) != 2 {
		t.Fatalf("%d resumed, %v", len(out.Next), err)
	}
	for _, job := range out.Next {
		finish(db, epoch, job)
	}
	check(t, db)
	if n, ok := db.Node(a.id); !ok || !n.Announced || n.Boot != truth.Boot || db.Counters()["wrong_signer"] != 1 {
		t.Errorf("%+v, counters %v", n, db.Counters())
	}

	for i := range 2 * maxParked {
		db.Offer(epoch, by(66), KindLSA, newAuthor(fmt.Sprintf("n%d", i), epoch).raw(epoch))
	}
	check(t, db)
	if db.parkedCount != maxParkedFrom {
		t.Errorf("%d parked of one neighbour, want %d", db.parkedCount, maxParkedFrom)
	}
	if v, _ := db.Offer(epoch, by(5), KindLSA, newAuthor("bob", epoch).raw(epoch)); v.Action != Park {
		t.Error("another neighbour has no place")
	}
	for i := range mesh.ConnID(3 * maxClaims) {
		l := newAuthor("carol", epoch).lsa(epoch)
		l.Seq += uint64(i)
		db.Offer(epoch, by(100+i), KindLSA, l.AppendSigned(nil, []byte("signature")))
	}
	check(t, db)
	if n := len(db.parked[mesh.MustNodeID("carol")]); n != maxClaims {
		t.Errorf("%d claims of one origin, want %d", n, maxClaims)
	}
}

// maxHeld is what one member can make every other hold, in bytes of signed objects.
const maxHeld = maxRecords*wire.MaxRecord + wire.MaxLSA

// A member may have as many lives and certificates as it likes: what is held of it is four records and one LSA.
func TestOneMemberHoldsItsShareOnly(t *testing.T) {
	db := newDB("self")
	a := newAuthor("mallory", epoch)
	at, accepted := epoch, 0
	for i := range 2000 {
		at = at.Add(100 * time.Millisecond)
		if i%3 == 0 {
			a.rotate(i, epoch.Add(24*time.Hour))
		}
		a.incarnation, a.boot = uint64(i*7919%1000), a.boot+uint64(i%5)
		for _, x := range []struct {
			kind Kind
			raw  []byte
		}{{KindRecord, a.record(at)}, {KindLSA, a.raw(at, link("self", 1, 1, 10))}} {
			if out, _ := take(t, db, at, x.kind, x.raw); len(out.Flood) > 0 {
				accepted++
			}
		}
		db.Expire(at)
	}
	held, o := 0, db.origins[a.id]
	for _, r := range o.records {
		held += len(r.Raw)
	}
	if o.lsa != nil {
		held += len(o.lsa.Raw)
	}
	span := at.Sub(epoch).Seconds()
	if accepted < 100 || float64(accepted) > rateBurst+1+ratePerSecond*span {
		t.Errorf("%d accepted in %.0f s", accepted, span)
	}
	if len(db.origins) != 1 || len(o.records) > maxRecords || len(db.owner) > maxRecords || held > maxHeld || len(db.endings) > 1 {
		t.Errorf("%d origins, %d records, %d bytes, %d ends", len(db.origins), len(o.records), held, len(db.endings))
	}
	t.Logf("%d of 4000 accepted in %.0f s; %d bytes held, at most %d for any member", accepted, span, held, maxHeld)
}

// Everybody carries what a member announces, so what is large uses its rate up the sooner.
func TestLargeAnnouncementsCountMore(t *testing.T) {
	accepted := func(links, groups int) (n, bytes int) {
		a := newAuthor("alice", epoch)
		db := known(t, a)
		at := epoch
		for i := range 200 {
			at = at.Add(50 * time.Millisecond)
			var ls []mesh.Adjacency
			for k := range links {
				l := link("self", mesh.Label(k+1), 1, mesh.Cost(i+1)) // #nosec G115 -- small
				for g := range groups {
					l.Groups = append(l.Groups, uint32(g)) // #nosec G115 -- small
				}
				ls = append(ls, l)
			}
			raw := a.raw(at, ls...)
			if out, _ := take(t, db, at, KindLSA, raw); len(out.Flood) > 0 {
				n, bytes = n+1, bytes+len(raw)
			}
		}
		if db.Counters()["rate"] != uint64(200-n) {
			t.Errorf("%d accepted, counters %v", n, db.Counters())
		}
		return n, bytes
	}
	small, _ := accepted(300, 0)
	large, bytes := accepted(wire.MaxLinks, wire.MaxGroups)
	if small < 65 || large > small/2 || large < 10 {
		t.Errorf("in ten seconds %d LSAs of 300 links are accepted, and %d of the largest", small, large)
	}
	if most := (rateBurst + 1 + ratePerSecond*10) * priceUnit; bytes > most {
		t.Errorf("%d bytes in ten seconds, want at most %d", bytes, most)
	}
	t.Logf("in ten seconds: %d of 300 links, %d of the largest with %d bytes", small, large, bytes)
}
