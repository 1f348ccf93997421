package lsdb

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// known returns a database that holds a's record and first LSA.
func known(t *testing.T, a *author) *DB {
	t.Helper()
	db := newDB("self")
	if out, err := take(t, db, epoch, KindRecord, a.record(epoch)); err != nil || len(out.Flood) != 1 {
		t.Fatalf("record: %v %+v", err, out)
	}
	if out, err := take(t, db, epoch, KindLSA, a.raw(epoch)); err != nil || !out.Changed || len(out.Flood) != 1 || out.From != 1 {
		t.Fatalf("LSA: %v %+v", err, out)
	}
	return db
}

// A node can only lie about itself: every defect is refused by name, and the same without it is accepted.
func TestRefusals(t *testing.T) {
	now := epoch.Add(10 * time.Minute)
	mallory := newAuthor("mallory", epoch)
	cases := []struct {
		name   string
		want   error
		defect func(a *author, l *wire.LSA) []byte // nil result: sign l
	}{
		{"signed by another node", ErrWrongSigner, func(_ *author, l *wire.LSA) []byte { return mallory.signed(*l) }},
		{"a bit turned", ErrWrongSigner, func(a *author, l *wire.LSA) []byte {
			raw := a.signed(*l)
			raw[len(raw)-1] ^= 1
			return raw
		}},
		{"the SVID of another node", ErrNoRecord, func(_ *author, l *wire.LSA) []byte {
			l.SVID = [32]byte{1}
			return nil
		}},
		{"replayed", ErrStale, func(_ *author, l *wire.LSA) []byte {
			l.Seq = 1
			l.Capabilities = 9
			return nil
		}},
		{"from an earlier boot", ErrStale, func(_ *author, l *wire.LSA) []byte {
			l.Boot--
			return nil
		}},
		{"from the future", ErrFuture, func(_ *author, l *wire.LSA) []byte {
			l.Time = now.Add(61 * time.Second)
			return nil
		}},
		{"expired", ErrExpired, func(_ *author, l *wire.LSA) []byte {
			l.Time = now.Add(-Lifetime)
			return nil
		}},
		{"immortal", ErrMalformed, func(_ *author, l *wire.LSA) []byte {
			l.Lifetime = 365 * 24 * time.Hour
			return nil
		}},
		{"cut short", ErrMalformed, func(a *author, l *wire.LSA) []byte {
			raw := a.signed(*l)
			return raw[:len(raw)-1]
		}},
		{"too long", ErrMalformed, func(a *author, l *wire.LSA) []byte {
			return append(a.signed(*l), make([]byte, wire.MaxLSA)...)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := newAuthor("alice", epoch)
			db := known(t, a)
			if _, err := take(t, db, now, KindRecord, mallory.record(epoch)); err != nil {
				t.Fatal(err)
			}
			good := a.lsa(now, link("self", 1, 2, 3))
			bad := good
			raw := c.defect(a, &bad)
			if raw == nil {
				raw = a.signed(bad)
			}
			before, digest := db.Version(), db.Digest()
			out, err := take(t, db, now, KindLSA, raw)
			if err != nil && !errors.Is(err, c.want) {
				t.Errorf("refused because %v, want %v", err, c.want)
			}
			if n := db.Counters()[nameOf(c.want)]; n != 1 {
				t.Errorf("counter %q is %d, all: %v", nameOf(c.want), n, db.Counters())
			}
			if len(out.Flood) > 0 || db.Version() != before || db.Digest() != digest {
				t.Error("it left a trace in the database")
			}
			out, err = take(t, db, now, KindLSA, a.signed(good))
			if err != nil || len(out.Flood) != 1 || !out.Changed {
				t.Errorf("the same without the defect: %v, %+v", err, out)
			}
		})
	}
}

func nameOf(err error) string {
	for _, n := range named {
		if errors.Is(err, n.err) {
			return n.name
		}
	}
	return "?"
}

func TestRefusedRecords(t *testing.T) {
	mallory := newAuthor("mallory", epoch)
	cases := []struct {
		name string
		want error
		make func(a *author) []byte
	}{
		{"chain of another node", ErrWrongSigner, func(a *author) []byte {
			m := *mallory
			m.id = a.id
			return m.record(epoch)
		}},
		{"from the future", ErrFuture, func(a *author) []byte { return a.record(epoch.Add(2 * time.Minute)) }},
		{"SVID ended", ErrExpired, func(a *author) []byte {
			b := *a
			b.rotate(3, epoch.Add(-time.Second))
			return b.record(epoch)
		}},
		{"chain refused", ErrRefused, func(a *author) []byte {
			b := *a
			b.cert = []byte("nonsense")
			return b.record(epoch)
		}},
		{"garbage", ErrMalformed, func(*author) []byte { return []byte("x0t-record/1\x00") }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := newAuthor("alice", epoch)
			db := newDB("self")
			if out, _ := take(t, db, epoch, KindRecord, c.make(a)); len(out.Flood) > 0 {
				t.Error("accepted")
			}
			if db.Counters()[nameOf(c.want)] != 1 || len(db.Nodes()) != 0 {
				t.Errorf("counters %v", db.Counters())
			}
			if out, err := take(t, db, epoch, KindRecord, a.record(epoch)); err != nil || len(out.Flood) != 1 {
				t.Errorf("the same without the defect: %v", err)
			}
		})
	}
}

func TestKnownAndOldOnes(t *testing.T) {
	a := newAuthor("alice", epoch)
	db := known(t, a)
	first := a.raw(epoch, link("self", 1, 1, 10))
	second := a.raw(epoch, link("self", 1, 1, 20))
	if _, err := take(t, db, epoch, KindLSA, second); err != nil {
		t.Fatal(err)
	}
	if v, err := db.Offer(epoch, by(1), KindLSA, second); v.Action != Have || err != nil {
		t.Errorf("the same again: %v %v", v.Action, err)
	}
	if v, err := db.Offer(epoch, by(1), KindLSA, first); v.Action != Drop || !errors.Is(err, ErrStale) {
		t.Errorf("an overtaken one: %v %v", v.Action, err)
	}
	a.incarnation, a.boot, a.seq = 3, a.boot+1, 0
	if out, err := take(t, db, epoch, KindLSA, a.raw(epoch)); err != nil || !out.Changed {
		t.Errorf("a fresh state directory with a newer boot does not win: %v", err)
	}
}

func TestVersionIgnoresRenewal(t *testing.T) {
	a := newAuthor("alice", epoch)
	db := known(t, a)
	v, d := db.Version(), db.Digest()
	out, err := take(t, db, epoch.Add(time.Minute), KindLSA, a.raw(epoch.Add(time.Minute)))
	if err != nil || out.Changed || db.Version() != v || len(out.Flood) != 1 {
		t.Errorf("a renewal: %v %+v", err, out)
	}
	if db.Digest() == d {
		t.Error("the digest does not see the renewal")
	}
}

func TestVerifiedOnceForManyNeighbours(t *testing.T) {
	a := newAuthor("alice", epoch)
	db := known(t, a)
	raw := a.raw(epoch, link("self", 1, 1, 10))
	v, _ := db.Offer(epoch, by(1), KindLSA, raw)
	for from := mesh.ConnID(2); from < 50; from++ {
		if again, err := db.Offer(epoch, by(from), KindLSA, raw); again.Action != Have || err != nil {
			t.Fatalf("neighbour %d: %v %v", from, again.Action, err)
		}
	}
	// A job that the host lost does not block for ever.
	if again, _ := db.Offer(epoch.Add(patience+time.Second), by(2), KindLSA, raw); again.Action != Verify {
		t.Error("a lost job blocks the LSA")
	}
	clear(raw) // the buffer is the caller's again
	if out := finish(db, epoch, v.Job); len(out.Flood) != 1 {
		t.Error("the job depends on the caller's buffer")
	}
}

func TestRatePerOrigin(t *testing.T) {
	a := newAuthor("alice", epoch)
	db := known(t, a)
	accepted := 0
	for range 100 {
		if out, _ := take(t, db, epoch, KindLSA, a.raw(epoch)); len(out.Flood) > 0 {
			accepted++
		}
	}
	if accepted < rateBurst-1 || accepted > rateBurst || db.Counters()["rate"] != uint64(100-accepted) {
		t.Errorf("%d of 100 at once accepted, counters %v", accepted, db.Counters())
	}
	b := newAuthor("bob", epoch)
	if _, err := take(t, db, epoch, KindRecord, b.record(epoch)); err != nil {
		t.Errorf("another origin suffers: %v", err)
	}
	if out, err := take(t, db, epoch.Add(time.Second), KindLSA, a.raw(epoch)); err != nil || len(out.Flood) != 1 {
		t.Errorf("a second later: %v", err)
	}
}

// A neighbour that forges LSAs uses up its own credit, not that of the origin it names.
func TestForgeryIsTheSendersFault(t *testing.T) {
	a, mallory := newAuthor("alice", epoch), newAuthor("mallory", epoch)
	db := known(t, a)
	for i := range 50 {
		l := a.lsa(epoch)
		l.Seq += 1000 + uint64(i)
		v, _ := db.Offer(epoch, by(66), KindLSA, mallory.signed(l))
		if v.Action == Verify {
			finish(db, epoch, v.Job)
		}
	}
	c := db.Counters()
	if c["wrong_signer"] != badBurst || c["sender"] != 50-badBurst {
		t.Errorf("counters %v", c)
	}
	if out, err := take(t, db, epoch, KindLSA, a.raw(epoch)); err != nil || len(out.Flood) != 1 {
		t.Errorf("the origin itself, by another neighbour: %v", err)
	}
	if v, err := db.Offer(epoch.Add(10*time.Second), by(66), KindLSA, a.raw(epoch)); v.Action != Verify {
		t.Errorf("never forgiven: %v", err)
	}
}

func TestParkedUntilTheRecordIsIn(t *testing.T) {
	a := newAuthor("alice", epoch)
	db := newDB("self")
	raw := a.raw(epoch, link("self", 1, 1, 10))
	v, err := db.Offer(epoch, by(5), KindLSA, raw)
	if v.Action != Park || !errors.Is(err, ErrNoRecord) || len(v.Request) != 1 {
		t.Fatalf("%+v %v", v, err)
	}
	// The neighbour answers the request.
	src := newDB("neighbour")
	rec := a.record(epoch)
	if _, err := take(t, src, epoch, KindRecord, rec); err != nil {
		t.Fatal(err)
	}
	answer := src.Answer(wire.RecordRequest{SVIDs: [][32]byte{v.Request[0], v.Request[0], {9}}})
	if len(answer) != 1 {
		t.Fatalf("%d answers", len(answer))
	}
	job, err := db.Offer(epoch, by(5), KindRecord, answer[0].(wire.RecordMsg).Raw)
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := db.Offer(epoch, by(6), KindLSA, raw); v.Action != Park || len(v.Request) != 0 {
		t.Errorf("a record that is being verified is asked for again: %+v", v)
	}
	out := finish(db, epoch, job.Job)
	if len(out.Next) != 1 {
		t.Fatal("the parked LSA is not offered again")
	}
	out = finish(db, epoch, out.Next[0])
	if n, ok := db.Node(a.id); len(out.Flood) != 1 || out.From != 5 || !ok || !n.Announced {
		t.Errorf("%+v, node %+v", out, n)
	}
	check(t, db)
}

func TestParkingIsBounded(t *testing.T) {
	db := newDB("self")
	for i := range maxParked + 100 {
		a := newAuthor(fmt.Sprintf("n%d", i), epoch)
		if v, _ := db.Offer(epoch, by(5), KindLSA, a.raw(epoch)); len(v.Request) != 1 {
			t.Fatal("the record is not asked for")
		}
	}
	check(t, db)
	if len(db.parked) > maxParked {
		t.Errorf("%d parked", len(db.parked))
	}
	db.Expire(epoch.Add(patience + time.Second))
	check(t, db)
	if len(db.parked) != 0 {
		t.Errorf("%d parked for ever", len(db.parked))
	}
}

func TestOriginsAreBounded(t *testing.T) {
	db := New(mesh.MustNodeID("self"), Config{Boot: 1, MaxOrigins: 3})
	for i := range 5 {
		_, err := take(t, db, epoch, KindRecord, newAuthor(fmt.Sprintf("n%d", i), epoch).record(epoch))
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(db.Nodes()) != 3 || db.Counters()["full"] != 2 {
		t.Errorf("%d nodes, %v", len(db.Nodes()), db.Counters())
	}
}

func TestEverythingEnds(t *testing.T) {
	a, b := newAuthor("alice", epoch), newAuthor("bob", epoch)
	b.rotate(1, epoch.Add(5*time.Minute)) // ends before its LSA's lifetime
	db := newDB("self")
	for _, x := range []*author{a, b} {
		if _, err := take(t, db, epoch, KindRecord, x.record(epoch)); err != nil {
			t.Fatal(err)
		}
	}
	for _, raw := range [][]byte{a.raw(epoch, link("bob", 1, 2, 10)), b.raw(epoch, link("alice", 2, 1, 10))} {
		if _, err := take(t, db, epoch, KindLSA, raw); err != nil {
			t.Fatal(err)
		}
	}
	if len(db.Edges()) != 2 {
		t.Fatalf("%d edges", len(db.Edges()))
	}
	var ends []time.Duration
	for len(db.Nodes()) > 0 {
		now := db.Deadline()
		if !db.Expire(now) {
			t.Fatal("the deadline was for nothing")
		}
		check(t, db)
		ends = append(ends, now.Sub(epoch))
		if len(db.Edges()) != 0 {
			t.Fatal("a link to a node whose SVID has ended")
		}
	}
	if want := []time.Duration{5 * time.Minute, Lifetime, 24 * time.Hour}; fmt.Sprint(ends) != fmt.Sprint(want) {
		t.Errorf("ends at %v, want %v", ends, want)
	}
}

func TestHeapDoesNotGrowWithRenewals(t *testing.T) {
	a := newAuthor("alice", epoch)
	db := known(t, a)
	now := epoch
	for range 10_000 {
		now = now.Add(time.Second)
		if out, err := take(t, db, now, KindLSA, a.raw(now)); err != nil || len(out.Flood) != 1 {
			t.Fatal(err)
		}
		db.Expire(now)
	}
	if n := len(db.endings); n != 1 {
		t.Errorf("%d entries for one node", n)
	}
}

func TestFourRecordsPerOrigin(t *testing.T) {
	a := newAuthor("alice", epoch)
	db := known(t, a)
	for i := range 3 {
		a.rotate(i+2, epoch.Add(time.Hour))
		if _, err := take(t, db, epoch, KindRecord, a.record(epoch)); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := db.Node(a.id); !n.Announced {
		t.Fatal("the first record is out too early")
	}
	a.rotate(9, epoch.Add(time.Hour))
	newest := a.record(epoch)
	if _, err := take(t, db, epoch, KindRecord, newest); err != nil {
		t.Fatal(err)
	}
	if n, _ := db.Node(a.id); n.Announced || len(db.origins[a.id].records) != maxRecords {
		t.Error("an LSA without its record")
	}
	old := newAuthor("alice", epoch)
	old.rotate(77, epoch.Add(time.Hour))
	if _, err := take(t, db, epoch, KindRecord, old.record(epoch)); !errors.Is(err, ErrStale) {
		t.Errorf("a fifth, older record: %v", err)
	}
	db.Remove(a.id)
	check(t, db)
	if _, ok := db.Node(a.id); ok || len(db.owner) != 0 {
		t.Error("removed, and still there")
	}
	db.Remove(a.id)
}

func TestRefusedRecordIsAskedForAgain(t *testing.T) {
	a := newAuthor("alice", epoch)
	db := newDB("self")
	bad := a.record(epoch)
	bad[len(bad)-1] ^= 1
	if _, err := take(t, db, epoch, KindRecord, bad); err != nil {
		t.Fatal(err)
	}
	if v, _ := db.Offer(epoch, by(2), KindLSA, a.raw(epoch)); len(v.Request) != 1 {
		t.Error("a record that was refused is not asked for again")
	}
}

func TestOrderOfLSAs(t *testing.T) {
	// Each is newer than all before it, whichever of two nodes hears which first.
	order := []stamp{{1, 1, 1}, {1, 1, 2}, {1, 2, 1}, {2, 1, 1}, {2, 1, 9}, {3, 0, 0}}
	for i, a := range order {
		for j, b := range order {
			if a.newer(b) != (i > j) {
				t.Errorf("%v newer than %v: %v", a, b, a.newer(b))
			}
		}
	}
}

// The same bytes may go out for verification again after an answer that decided nothing; that they are out is not forgotten
// with the first time.
func TestOutAgain(t *testing.T) {
	a := newAuthor("alice", epoch)
	db := known(t, a)
	raw := a.raw(epoch)
	before, _ := db.Offer(epoch, by(1), KindRecord, newAuthor("bob", epoch).record(epoch))
	first, err := db.Offer(epoch, by(1), KindLSA, raw)
	if err != nil || first.Action != Verify {
		t.Fatal(first, err)
	}
	db.Verified(epoch, first.Job, epoch, nil) // the SVID has just ended
	again, err := db.Offer(epoch, by(1), KindLSA, raw)
	if err != nil || again.Action != Verify {
		t.Fatal(again, err)
	}
	finish(db, epoch, before.Job)
	for range 3 {
		if v, err := db.Offer(epoch, by(2), KindLSA, raw); err != nil || v.Action != Have {
			t.Fatalf("%v, %v: it is out already", v.Action, err)
		}
		check(t, db)
	}
	finish(db, epoch, again.Job)
	if check(t, db); len(db.Links(a.id)) != 0 || db.origins[a.id].lsa == nil {
		t.Error("it was not taken")
	}
}

// Many that were out at once leave no large maps behind, and what comes after them is counted as ever.
func TestPendingShrinks(t *testing.T) {
	db := newDB("self")
	var jobs []VerifyJob
	for i := range 2 * smallPending {
		v, err := db.Offer(epoch, by(1), KindRecord, newAuthor(fmt.Sprint("n", i), epoch).record(epoch))
		if err != nil || v.Action != Verify {
			t.Fatal(v, err)
		}
		jobs = append(jobs, v.Job)
	}
	for _, job := range jobs {
		finish(db, epoch, job)
	}
	if take(t, db, epoch, KindRecord, newAuthor("late", epoch).record(epoch)); db.pending.most != 1 || db.Len() != 2*smallPending+1 {
		t.Errorf("%d were out at most, %d nodes", db.pending.most, db.Len())
	}
}

// A few that are out are looked through, and many have an index until all are answered: in whatever order the answers come,
// each is found, and offered anew while it is out it is known.
func TestPendingIsFound(t *testing.T) {
	for _, n := range []int{1, fewPending, fewPending + 1, 5 * fewPending} {
		db := newDB("self")
		var jobs []VerifyJob
		for i := range n {
			v, err := db.Offer(epoch, by(1), KindRecord, newAuthor(fmt.Sprint("n", i), epoch).record(epoch))
			if err != nil || v.Action != Verify {
				t.Fatal(v, err)
			}
			jobs = append(jobs, v.Job)
		}
		if indexed := db.pending.index != nil; indexed != (n > fewPending) {
			t.Errorf("%d are out, an index: %v", n, indexed)
		}
		for k := range n {
			i := (k + n/2) % n // from the middle on
			if v, err := db.Offer(epoch, by(2), KindRecord, jobs[i].Raw); err != nil || v.Action != Have {
				t.Fatalf("%v, %v: it is out already", v.Action, err)
			}
			finish(db, epoch, jobs[i])
			check(t, db)
		}
		if db.pending.index != nil || db.pending.out != 0 || db.Len() != n {
			t.Errorf("%d of %d are in, %d out, an index: %v", db.Len(), n, db.pending.out, db.pending.index != nil)
		}
	}
}
