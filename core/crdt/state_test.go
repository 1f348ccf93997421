package crdt

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// pieceBy makes a signed piece of entries.
func pieceBy(author string, incarnation, first uint64, es ...wire.Entry) []byte {
	p := &wire.Piece{Batch: wire.Batch{Author: mesh.MustNodeID(author), Incarnation: incarnation, First: first, Count: uint16(len(es))}}
	for i := range es {
		p.Leaves = append(p.Leaves, wire.Leaf{Index: uint16(i), Raw: es[i].Append(nil), Entry: es[i]})
	}
	p.Sig = sign(p.Author, p.SigningInput(p.Root()))
	return p.AppendPiece(nil)
}

func put(at time.Time, key, value string) wire.Entry {
	return wire.Entry{Kind: wire.EntryRegister, Time: mesh.HybridAt(at), Key: []byte(key), Value: []byte(value)}
}

func del(at time.Time, key string) wire.Entry {
	return wire.Entry{Kind: wire.EntryRegister, Gone: true, Time: mesh.HybridAt(at), Key: []byte(key)}
}

// give offers a piece and checks its signature.
func give(s *State, now time.Time, raw []byte) (Outcome, error) {
	_, out, job, err := s.offer(now, mesh.MustNodeID("n"), raw)
	if job != nil {
		out = s.verified(now, job, check(job))
	}
	return out, err
}

func founder(name string) *State {
	return New(epoch, Config{Self: mesh.MustNodeID(name), Incarnation: 1, Founder: true})
}

func counted(t *testing.T, s *State, name string, want uint64) {
	t.Helper()
	if got := s.Counters()[name]; got != want {
		t.Errorf("%s: counted %d, want %d", name, got, want)
	}
}

func reads(t *testing.T, s *State, key, want string) {
	t.Helper()
	if v, ok := s.Get([]byte(key)); string(v.Bytes) != want || ok != (want != "") {
		t.Errorf("%q reads %q %v, want %q", key, v.Bytes, ok, want)
	}
}

func TestClock(t *testing.T) {
	c := NewClock(0)
	a, _ := c.Next(epoch, time.Minute)
	b, _ := c.Next(epoch, time.Minute)
	if a != mesh.HybridAt(epoch) || b != a+1 {
		t.Errorf("%v, then %v", a, b)
	}
	if n, _ := c.Next(epoch.Add(-time.Second), time.Minute); n != b+1 {
		t.Errorf("a clock that goes back gave %v", n)
	}
	ahead := mesh.HybridAt(epoch.Add(30 * time.Second))
	c.Learn(ahead)
	if n, err := c.Next(epoch, time.Minute); n != ahead+1 || err != nil {
		t.Errorf("behind what it learnt: %v, %v", n, err)
	}
	if _, err := c.Next(epoch.Add(-31*time.Second), time.Minute); !errors.Is(err, ErrClock) {
		t.Errorf("further ahead than allowed: %v", err)
	}
	if n, err := c.Next(epoch.Add(-29*time.Second), time.Minute); n != ahead+2 || err != nil {
		t.Errorf("after a refusal: %v, %v", n, err)
	}
}

// A node that lost its clock writes behind a time that is over for certain.
func TestClockFloor(t *testing.T) {
	floor := mesh.HybridAt(epoch.Add(30 * time.Second))
	s := New(epoch, Config{Self: mesh.MustNodeID("a"), Founder: true, Floor: floor})
	if err := perform(s, epoch, Put([]byte("k"), []byte("v"))); err != nil {
		t.Fatal(err)
	}
	if v, _ := s.Get([]byte("k")); v.Time <= floor {
		t.Errorf("written at %v", v.Time)
	}
}

// A node whose clock went back far refuses to write, says so, and loses nothing.
func TestOwnClockRefused(t *testing.T) {
	s := founder("a")
	if err := perform(s, epoch, Put([]byte("k"), []byte("v"))); err != nil {
		t.Fatal(err)
	}
	if err := perform(s, epoch.Add(-time.Hour), Put([]byte("k"), []byte("w"))); !errors.Is(err, ErrClock) {
		t.Errorf("an hour back: %v", err)
	}
	if err := perform(s, epoch.Add(-time.Second), Put([]byte("k"), []byte("w"))); err != nil {
		t.Errorf("a second back: %v", err)
	}
	reads(t, s, "k", "w")
}

// An entry from the future is held until it is within the bound, counts then, and its author's skew is told.
func TestFutureHeld(t *testing.T) {
	s := founder("a")
	if _, err := give(s, epoch, pieceBy("b", 1, 1, put(epoch.Add(time.Hour), "k", "later"), put(epoch, "l", "now"))); err != nil {
		t.Fatal(err)
	}
	counted(t, s, "future", 1)
	reads(t, s, "k", "")
	reads(t, s, "l", "now")
	if k := s.TakeSkew(); k.Author.String() != "b" || k.Ahead != time.Hour || s.TakeSkew() != (Skew{}) {
		t.Errorf("skew %+v", k)
	}
	if err := perform(s, epoch, Put([]byte("k"), []byte("mine"))); err != nil {
		t.Fatal(err)
	}
	due := epoch.Add(time.Hour - time.Minute)
	if s.Due() != due || s.Held() != 1 {
		t.Fatalf("due %v, %d held", s.Due(), s.Held())
	}
	s.release(due.Add(-time.Millisecond))
	reads(t, s, "k", "mine")
	out := s.release(due)
	reads(t, s, "k", "later")
	if len(out.Changed) != 1 || len(out.Write) == 0 || s.Held() != 0 || !s.Due().IsZero() {
		t.Errorf("%+v, %d held", out, s.Held())
	}
	if err := perform(s, due, Put([]byte("k"), []byte("last"))); err != nil {
		t.Fatal(err)
	}
	reads(t, s, "k", "last") // the clock is past what was released
}

// What is held is bounded, and nobody fills it for others.
func TestHeldBounded(t *testing.T) {
	s := founder("a")
	for i := range maxHeld {
		give(s, epoch, pieceBy("b", 1, uint64(1+i), put(epoch.Add(time.Hour), fmt.Sprint(i), "v")))
	}
	if s.Held() != maxHeld/4 {
		t.Errorf("%d held of one author", s.Held())
	}
	counted(t, s, "full", maxHeld*3/4)
	if give(s, epoch, pieceBy("c", 1, 1, put(epoch.Add(time.Hour), "c", "v"))); s.Held() != maxHeld/4+1 {
		t.Error("another author's is not held")
	}
	s.release(epoch.Add(time.Hour))
	give(s, epoch.Add(time.Hour), pieceBy("b", 1, maxHeld, put(epoch.Add(time.Hour), fmt.Sprint(maxHeld-1), "v")))
	reads(t, s, fmt.Sprint(maxHeld-1), "v") // refused then, taken now
}

// A replica that knows nothing writes nothing, and one that lost its state takes nothing from what it wrote in its former
// life.
func TestEmptyNeverBeatsReal(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	w.cut[[2]int{0, 1}] = true
	a, b := w.nodes[0], w.nodes[1]
	if err := a.do(Put([]byte("k"), []byte("real"))); err != nil {
		t.Fatal(err)
	}
	w.run(time.Minute)
	if err := b.do(Put([]byte("k"), []byte("default"))); !errors.Is(err, ErrUnsettled) {
		t.Errorf("an empty replica writes: %v", err)
	}
	w.cut = map[[2]int]bool{}
	w.agree(time.Minute)
	w.run(5 * time.Second)
	if err := b.do(Count([]byte("n"), 5), Insert([]byte("s"), []byte("e"))); err != nil {
		t.Fatal(err)
	}
	w.agree(time.Minute)
	b.cfg.Incarnation, b.disk, b.skew = 999, map[string][]byte{}, -20*time.Second // a new disk, and a clock that is behind
	b.s = New(b.clock(), b.cfg)
	b.sync(b.s.Begun())
	b.y = NewSync(b.s)
	b.connect()
	if err := b.do(Count([]byte("n"), 1)); !errors.Is(err, ErrUnsettled) {
		t.Errorf("the replaced replica writes: %v", err)
	}
	w.agree(time.Minute)
	w.run(5 * time.Second)
	if err := b.do(Count([]byte("n"), 1), Put([]byte("k"), []byte("new")), Remove([]byte("s"), []byte("e"))); err != nil {
		t.Fatal(err)
	}
	w.agree(time.Minute)
	for _, r := range w.nodes {
		reads(t, r.s, "k", "new")
		if n := r.s.Counter([]byte("n")); n != 6 || len(r.s.Elements([]byte("s"))) != 0 {
			t.Errorf("%s: counter %d, elements %q", r.id, n, r.s.Elements([]byte("s")))
		}
	}
}

// An author can cover only what it may have seen: no entry that is yet to be written.
func TestNobodyCoversWhatIsYetToBeWritten(t *testing.T) {
	s := founder("a")
	evil := wire.Entry{Kind: wire.EntrySet, Gone: true, Time: mesh.HybridAt(epoch), Key: []byte("s"), Element: []byte("e"),
		Covers: []wire.Dot{{Author: mesh.MustNodeID("a"), Incarnation: 1, Seq: 1 << 60}}}
	give(s, epoch, pieceBy("b", 1, 1, evil))
	if err := perform(s, epoch, Insert([]byte("s"), []byte("e"))); err != nil {
		t.Fatal(err)
	}
	if in := s.Elements([]byte("s")); len(in) != 1 {
		t.Errorf("elements %q", in)
	}
}

// Who may write what is asked for every entry, also within one batch; the others of it count.
func TestPolicy(t *testing.T) {
	s := founder("a")
	s.cfg.May = func(w Write) error {
		if w.Author.String() != "a" && !bytes.HasPrefix(w.Key, []byte("open/")) {
			return errors.New("only a writes here")
		}
		return nil
	}
	give(s, epoch, pieceBy("b", 1, 1, put(epoch, "closed", "v"), put(epoch, "open/k", "v"), del(epoch, "closed")))
	counted(t, s, "forbidden", 2)
	reads(t, s, "open/k", "v")
	reads(t, s, "closed", "")
	s.cfg.May = func(w Write) error { return errors.New("no") }
	if err := perform(s, epoch, Put([]byte("k"), nil)); !errors.Is(err, ErrForbidden) {
		t.Errorf("own write: %v", err)
	}
}

// Nothing is taken that its author did not sign, whatever is changed of it; the same bytes are not checked again.
func TestForgedRefused(t *testing.T) {
	good := pieceBy("b", 1, 1, put(epoch, "k", "v"), put(epoch, "l", "w"))
	for i := range good {
		s := founder("a")
		raw := bytes.Clone(good)
		raw[i] ^= 4
		_, err := give(s, epoch, raw)
		if c := s.Counters(); s.tree.root.count != 0 || c["refused"]+c["malformed"] != 1 {
			t.Fatalf("byte %d changed: %v, %v, %d entries", i, err, c, s.tree.root.count)
		}
		if c := s.Counters(); c["refused"] == 1 {
			if _, err := give(s, epoch, raw); !errors.Is(err, ErrKnownBad) {
				t.Fatalf("byte %d changed, again: %v", i, err)
			}
		}
	}
	s := founder("a")
	if _, err := give(s, epoch, good); err != nil || s.tree.root.count != 2 {
		t.Fatalf("the good one: %v", err)
	}
}

// Two entries with one number: every replica keeps the same one, whichever came first, and counts the lie.
func TestEquivocation(t *testing.T) {
	one, two := pieceBy("b", 1, 1, put(epoch, "k", "one")), pieceBy("b", 1, 1, put(epoch, "k", "two"))
	s, o := founder("a"), founder("c")
	for _, raw := range [][]byte{one, two} {
		give(s, epoch, raw)
	}
	for _, raw := range [][]byte{two, one} {
		give(o, epoch, raw)
	}
	if s.Digest() != o.Digest() {
		t.Error("the order of arrival counts")
	}
	if s.Counters()["equivocal"]+o.Counters()["equivocal"] == 0 {
		t.Error("the lie is not counted")
	}
}

// A node that meets entries of its own incarnation that it did not write says so and never uses their numbers.
func TestTwin(t *testing.T) {
	s := founder("a")
	out, err := give(s, epoch, pieceBy("a", 1, 7, put(epoch, "k", "v")))
	if err != nil || !errors.Is(out.Alarm, ErrTwin) {
		t.Fatalf("%v, %v", out.Alarm, err)
	}
	perform(s, epoch, Put([]byte("k"), []byte("w")))
	if v, _ := s.Get([]byte("k")); v.Dot.Seq != 8 {
		t.Errorf("numbered %d", v.Dot.Seq)
	}
	if out, _ := give(s, epoch, pieceBy("a", 2, 1, put(epoch, "l", "v"))); out.Alarm != nil {
		t.Errorf("a former incarnation: %v", out.Alarm)
	}
}

func TestOpLimits(t *testing.T) {
	s := founder("a")
	long := make([]byte, wire.MaxValue+1)
	for _, c := range []struct {
		op   Op
		want error
	}{
		{Put(nil, nil), ErrKey},
		{Put(make([]byte, wire.MaxKey+1), nil), ErrKey},
		{Put(make([]byte, wire.MaxKey), long[1:]), nil},
		{Put([]byte("k"), long), ErrValue},
		{Assign([]byte("k"), long), ErrValue},
		{Insert([]byte("k"), long[:wire.MaxElement+1]), ErrValue},
		{Insert([]byte("k"), long[:wire.MaxElement]), nil},
		{Count([]byte("k"), -1<<63), nil},
		{Count([]byte("k"), 1<<63-1), nil},
		{Count([]byte("k"), -1<<63), ErrRange},
	} {
		if err := perform(s, epoch, c.op); !errors.Is(err, c.want) {
			t.Errorf("%d of %d and %d bytes: %v, want %v", c.op.kind, len(c.op.key), len(c.op.value), err, c.want)
		}
	}
}

// A draft takes operations up to the first that is refused, and what is signed together is bounded.
func TestDraft(t *testing.T) {
	s := founder("a")
	ops := []Op{Put([]byte("a"), nil), Put([]byte("b"), nil), Put(nil, nil), Put([]byte("c"), nil)}
	d, err := s.Begin(epoch, testLeaf, ops)
	if err != nil || d.Ops != 2 {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err := s.Begin(epoch, testLeaf, ops); !errors.Is(err, ErrDraft) {
		t.Errorf("a second draft: %v", err)
	}
	reads(t, s, "a", "") // nothing is visible before Commit
	s.Abort(d)
	if out := s.commit(epoch, d); len(out.Changed) > 0 {
		t.Error("an aborted draft was committed")
	}
	if _, err := s.Begin(epoch, testLeaf, ops[2:]); !errors.Is(err, ErrKey) {
		t.Errorf("a bad one first: %v", err)
	}
	if d, err := s.Begin(epoch, testLeaf, []Op{Remove([]byte("s"), []byte("e")), Count([]byte("n"), 0)}); err != nil || d.Ops != 2 || d.Input != nil {
		t.Errorf("nothing to write: %+v, %v", d, err)
	}
	big := make([]Op, 300)
	for i := range big {
		big[i] = Put(fmt.Append(nil, i), make([]byte, 100<<10))
	}
	if d, err = s.Begin(epoch, testLeaf, big); err != nil || d.Ops != 2 {
		t.Errorf("large ones: %+v, %v", d.Ops, err)
	}
	s.Abort(d)
	for i := range big {
		big[i] = Put(fmt.Append(nil, i), nil)
	}
	if d, err = s.Begin(epoch, testLeaf, big); err != nil || d.Ops != wire.MaxBatch {
		t.Errorf("many: %+v, %v", d.Ops, err)
	}
}

// The store is bounded as a whole and for each author; what makes it smaller is always taken.
func TestMemoryBounded(t *testing.T) {
	s := New(epoch, Config{Self: mesh.MustNodeID("a"), Incarnation: 1, Founder: true, MaxBytes: 40 << 10, MaxAuthorBytes: 12 << 10})
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		err = perform(s, epoch, Put(fmt.Append(nil, n), make([]byte, 1000)))
	}
	if !errors.Is(err, ErrQuota) || s.Bytes() > 12<<10 {
		t.Fatalf("after %d: %v, %d bytes", n, err, s.Bytes())
	}
	if err := perform(s, epoch, Delete([]byte("0"))); err != nil {
		t.Errorf("deletion in a full store: %v", err)
	}
	if err := perform(s, epoch, Put([]byte("0"), make([]byte, 500))); err != nil {
		t.Errorf("a smaller value: %v", err)
	}
	for _, author := range []string{"b", "c", "d", "e", "f"} {
		for i := range 100 {
			give(s, epoch, pieceBy(author, 1, uint64(1+i), put(epoch, fmt.Sprint(author, i), string(make([]byte, 1000)))))
		}
		if used := s.used[mesh.MustNodeID(author)]; used > 12<<10 || s.Bytes() > 40<<10 {
			t.Fatalf("%s used %d of %d", author, used, s.Bytes())
		}
	}
	if c := s.Counters(); c["quota"] == 0 || c["full"] == 0 {
		t.Errorf("%v", c)
	}
	if err := s.valid(); err != nil {
		t.Error(err)
	}
}

// The number of pieces out for a check is bounded, as a whole and for each neighbour; an answer that never comes is not waited for.
func TestPendingBounded(t *testing.T) {
	s := founder("a")
	offer := func(now time.Time, from, i int) (*Job, error) {
		_, _, job, err := s.offer(now, mesh.MustNodeID(fmt.Sprint("n", from)), pieceBy("b", 1, uint64(1+i), put(epoch, fmt.Sprint(i), "v")))
		return job, err
	}
	for i := range maxPending {
		if job, err := offer(epoch, i*4/maxPending, i); job == nil || err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if i == maxPending/4-1 {
			if _, err := offer(epoch, 0, maxPending); !errors.Is(err, ErrBusy) || !NewSync(s).Full(mesh.MustNodeID("n0")) || NewSync(s).Full(mesh.MustNodeID("n1")) {
				t.Errorf("one more of one neighbour: %v", err)
			}
		}
	}
	if _, err := offer(epoch, 5, maxPending); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	if job, err := offer(epoch, 0, 0); job != nil || err != nil {
		t.Errorf("the first again: %v, %v", job, err)
	}
	if job, err := offer(epoch.Add(patience), 0, 0); job == nil || err != nil {
		t.Errorf("the first again, later: %v, %v", job, err)
	}
	if job, err := offer(epoch.Add(patience), 0, maxPending); job == nil || err != nil {
		t.Errorf("one more, later: %v, %v", job, err)
	}
	if len(s.pending.out) != 2 || s.pending.all.count != 2 || len(s.pending.by) != 1 {
		t.Errorf("%d are still waited for", len(s.pending.out))
	}
}

// Of entries with one place in one batch the newest counts, wherever it stands.
func TestTwiceInABatch(t *testing.T) {
	for i, es := range [][]wire.Entry{
		{put(epoch, "k", "old"), put(epoch.Add(1), "l", "v"), put(epoch.Add(time.Second), "k", "new")},
		{put(epoch.Add(time.Second), "k", "new"), put(epoch, "k", "old"), put(epoch, "l", "v")},
	} {
		s := founder("a")
		if _, err := give(s, epoch, pieceBy("b", 1, 1, es...)); err != nil {
			t.Fatal(err)
		}
		reads(t, s, "k", "new")
		reads(t, s, "l", "v")
		if err := s.valid(); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// Who dates its entries as far ahead as is taken does not keep others from writing.
func TestAuthorAheadSilencesNobody(t *testing.T) {
	s := founder("a")
	s.clock.Learn(mesh.HybridAt(epoch.Add(maxAhead)))
	if err := perform(s, epoch.Add(-time.Second), Put([]byte("k"), []byte("v"))); err != nil {
		t.Error(err)
	}
	if err := perform(s, epoch.Add(-maxAhead-time.Second), Put([]byte("k"), []byte("v"))); !errors.Is(err, ErrClock) {
		t.Error(err)
	}
}
