package lsdb

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// The signatures of these tests: the certificate of node a, number 1 is "cert/a/1/<end>", and its signature of a text
// is the hash of both. What the host does with real ones, verify does with these.

func cert(n mesh.NodeID, number int, end time.Time) []byte {
	return fmt.Appendf(nil, "cert/%s/%d/%d", n, number, end.Unix())
}

func sign(cert, text []byte) []byte {
	h := sha256.Sum256(slices.Concat(cert, text))
	return h[:]
}

func verify(job VerifyJob) (time.Time, error) {
	var name string
	var number int
	var end int64
	parts := bytes.Split(job.Chain[0], []byte("/"))
	if len(parts) != 4 {
		return time.Time{}, errors.New("no certificate")
	}
	name = string(parts[1])
	if _, err := fmt.Sscan(string(parts[2])+" "+string(parts[3]), &number, &end); err != nil {
		return time.Time{}, err
	}
	if name != job.Origin.String() || !bytes.Equal(sign(job.Chain[0], job.Signed), job.Sig) {
		return time.Time{}, fmt.Errorf("%s: %w", name, ErrWrongSigner)
	}
	return time.Unix(end, 0), nil
}

// author makes signed announcements of one node.
type author struct {
	id                     mesh.NodeID
	cert                   []byte
	end                    time.Time
	incarnation, boot, seq uint64
	recordSeq              uint64
}

func newAuthor(name string, now time.Time) *author {
	id := mesh.MustNodeID(name)
	end := now.Add(24 * time.Hour)
	return &author{id: id, cert: cert(id, 1, end), end: end, incarnation: 7, boot: uint64(now.UnixMilli())}
}

func (a *author) rotate(number int, end time.Time) { a.cert, a.end = cert(a.id, number, end), end }

func (a *author) record(now time.Time, addrs ...string) []byte {
	a.recordSeq++
	r := wire.Record{Origin: a.id, Incarnation: a.incarnation, Seq: a.recordSeq, Time: now, Chain: [][]byte{a.cert}, Addresses: addrs}
	return r.AppendSigned(nil, sign(a.cert, r.SigningInput()))
}

func (a *author) lsa(now time.Time, links ...mesh.Adjacency) wire.LSA {
	a.seq++
	return wire.LSA{Origin: a.id, Incarnation: a.incarnation, Boot: a.boot, Seq: a.seq, Time: now, Lifetime: Lifetime,
		SVID: sha256.Sum256(a.cert), Links: links}
}

func (a *author) signed(l wire.LSA) []byte {
	return l.AppendSigned(nil, sign(a.cert, l.SigningInput()))
}

func (a *author) raw(now time.Time, links ...mesh.Adjacency) []byte {
	return a.signed(a.lsa(now, links...))
}

func link(to string, label, remote mesh.Label, cost mesh.Cost) mesh.Adjacency {
	return mesh.Adjacency{Neighbour: mesh.MustNodeID(to), Label: label, Remote: remote, Cost: cost, Quality: mesh.Excellent, MTU: 1452}
}

// by is a neighbour of one connection.
func by(c mesh.ConnID) Source { return Source{c, mesh.MustNodeID(fmt.Sprintf("by-%d", c))} }

// tb is what *testing.T and *rapid.T share.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// take offers something and verifies it if asked to; it returns the error that stopped it, by the counters.
func take(t tb, db *DB, now time.Time, kind Kind, raw []byte) (Outcome, error) {
	t.Helper()
	v, err := db.Offer(now, by(1), kind, raw)
	if v.Action != Verify {
		return Outcome{}, err
	}
	if err != nil {
		t.Fatalf("asked to verify in spite of %v", err)
	}
	out := finish(db, now, v.Job)
	check(t, db)
	return out, nil
}

func finish(db *DB, now time.Time, job VerifyJob) Outcome {
	end, err := verify(job)
	return db.Verified(now, job, end, err)
}

func newDB(name string) *DB {
	return New(mesh.MustNodeID(name), Config{Incarnation: 1, Boot: uint64(epoch.UnixMilli())})
}

// check asserts the invariants of DB.
func check(t tb, db *DB) {
	t.Helper()
	if !slices.Equal(db.order, slices.SortedFunc(maps.Keys(db.origins), mesh.NodeID.Compare)) {
		t.Fatal("order and origins differ")
	}
	if first := db.firstEnd; len(db.endings) != len(db.order) || len(db.order) > 0 && !first.Equal(db.endings[0].ends) {
		t.Fatalf("%d of %d nodes have an end, the first at %v", len(db.endings), len(db.order), first)
	}
	owned := 0
	var holds, ways Sum
	for _, id := range db.order {
		o := db.origins[id]
		if len(o.records) == 0 || len(o.records) > maxRecords || !slices.IsSortedFunc(o.records, recordOrder) {
			t.Fatalf("%s has %d records", id, len(o.records))
		}
		if o.lsa != nil && o.record(o.lsa.svid) == nil {
			t.Fatalf("the LSA of %s has no record", id)
		}
		for _, r := range o.records {
			if db.owner[r.svid] != id {
				t.Fatalf("record of %s is not in the index", id)
			}
			owned++
			holds.add(sumOf(r.id))
		}
		if o.lsa != nil {
			holds.add(sumOf(o.lsa.id))
			ways.add(waysOf(&o.lsa.lsa))
		}
	}
	if holds != db.holds || ways != db.ways {
		t.Fatal("the sums are not those of what is held")
	}
	if owned != len(db.owner) {
		t.Fatalf("%d records, %d in the index", owned, len(db.owner))
	}
	if err := db.counted(); err != nil {
		t.Fatal(err)
	}
	if was := db.digest; !db.digestOld {
		if db.digestOld = true; db.Digest() != was {
			t.Fatal("the digest was not made anew after a change")
		}
	}
}

// counted reports the first count of what waits that is wrong.
func (db *DB) counted() error {
	size, count := 0, 0
	by := map[*sender]*sender{}
	of := func(n *sender) *sender {
		if by[n] == nil {
			by[n] = &sender{}
		}
		return by[n]
	}
	for n, claims := range db.parked {
		if len(claims) == 0 || len(claims) > maxClaims {
			return fmt.Errorf("%d claims of %s are parked", len(claims), n)
		}
		for _, p := range claims {
			size += len(p.job.Raw)
			count++
			of(db.senders.m[p.job.From.Node]).parked++
			of(db.senders.m[p.job.From.Node]).parkedBytes += len(p.job.Raw)
		}
	}
	claims := map[claim]int{}
	out := 0
	for _, u := range db.pending.queue {
		if u.answered {
			continue
		}
		out++
		claims[u.claim]++
		if db.pending.get(&u.id) != u {
			return errors.New("what is out is not found by its hash")
		}
		of(u.claim.by).inFlight++
		of(u.claim.by).flightBytes += u.size
		of(u.claim.by).inFlightNew += map[bool]int{true: 1}[u.fresh]
	}
	if size != db.parkedBytes || count != db.parkedCount || out != db.pending.out || out > maxPending {
		return errors.New("the count of what waits is wrong")
	}
	for c, n := range claims {
		if db.pending.claimed(c) != n {
			return errors.New("the count of what is out of an origin is wrong")
		}
	}
	if x := db.pending.index; x != nil && (len(x.ids) != out || !maps.Equal(x.of, claims)) {
		return errors.New("the index of what is out is wrong")
	}
	for got, want := range by {
		if got == nil || got.parked != want.parked || got.parkedBytes != want.parkedBytes || got.inFlight != want.inFlight ||
			got.flightBytes != want.flightBytes || got.inFlightNew != want.inFlightNew {
			return fmt.Errorf("what is held of a neighbour is counted wrong: %+v, want %+v", got, want)
		}
	}
	return nil
}
