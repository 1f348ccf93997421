package crdt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

const day = 24 * time.Hour

// endOf is when the SVID ends that signed something: at the next midnight.
func endOf(at time.Time) time.Time { return at.Truncate(day).Add(day) }

// late offers a piece whose SVID was over at the end of the day of its entries.
func late(s *State, now time.Time, raw []byte) Outcome {
	_, out, job, _ := s.offer(now, mesh.MustNodeID("n"), raw)
	if job != nil {
		job.Ends = endOf(job.Newest)
		out = s.verified(now, job, check(job))
	}
	return out
}

func idOfPiece(t *testing.T, raw []byte) [32]byte {
	t.Helper()
	p, err := wire.ParsePiece(raw)
	if err != nil {
		t.Fatal(err)
	}
	return batchID(p)
}

// notary is a replica with a set of batches that are covered.
func notary() (*State, *Sync, map[[32]byte]bool) {
	covered := map[[32]byte]bool{}
	s := founder("a")
	s.cfg.Covered = func(b [32]byte) bool { return covered[b] }
	s.cfg.Proves = func(w Write, value []byte) bool { return string(w.Key) == "proof" && string(value) == "genuine" }
	return s, NewSync(s), covered
}

// What an SVID signed is taken until a grace after its end, and after that if a checkpoint covers its batch: that very one.
func TestUncovered(t *testing.T) {
	over := endOf(epoch).Add(Grace)
	s, _, _ := notary()
	raw := pieceBy("b", 1, 1, put(epoch, "k", "v"), put(epoch, "l", "v"))
	if late(s, over, raw); s.Digest().Count != 2 {
		t.Error("it is refused before the grace is over")
	}

	s, y, covered := notary()
	over = over.Add(1)
	if out := late(s, over, raw); s.Digest().Count != 0 || len(out.Refused) != 2 || s.Uncovered(over) != 2 {
		t.Errorf("%d entries, %d refused, %d uncovered", s.Digest().Count, len(out.Refused), s.Uncovered(over))
	}
	counted(t, s, "uncovered", 2)
	late(s, over, raw)
	counted(t, s, "uncovered", 2) // it is known
	forged := pieceBy("b", 1, 1, put(epoch.Add(time.Hour), "k", "forged"), put(epoch, "l", "v"))
	id := idOfPiece(t, raw)
	covered[id] = true
	y.Covered(over, [][32]byte{id})
	if n := s.Uncovered(over); n != 0 {
		t.Errorf("%d are still remembered", n)
	}
	if late(s, over, raw); s.Digest().Count != 2 {
		t.Error("what is covered is not taken")
	}
	late(s, over, forged) // with the same numbers
	reads(t, s, "k", "v")
	counted(t, s, "uncovered", 3)
	if err := s.valid(); err != nil {
		t.Error(err)
	}
}

// An entry that proves itself needs no cover if it is alone in its batch, and lets nothing else in.
func TestProvesItself(t *testing.T) {
	over := endOf(epoch).Add(Grace + 1)
	s, _, _ := notary()
	late(s, over, pieceBy("b", 1, 1, put(epoch, "proof", "false")))
	reads(t, s, "proof", "")
	late(s, over, pieceBy("b", 1, 2, put(epoch, "proof", "genuine"), put(epoch, "k", "forged")))
	if s.Digest().Count != 0 {
		t.Error("a batch of two is taken")
	}
	late(s, over, pieceBy("b", 1, 4, put(epoch, "proof", "genuine")))
	reads(t, s, "proof", "genuine")

	a := founder("a")
	if err := perform(a, epoch, Put([]byte("proof"), []byte("genuine"))); err != nil {
		t.Fatal(err)
	}
	if err := perform(a, epoch, Put([]byte("k"), nil)); err != nil {
		t.Fatal(err)
	}
	if err := perform(a, epoch, Put([]byte("proof2"), nil), Put([]byte("l"), nil)); err != nil {
		t.Fatal(err)
	}
	all := func([32]byte) bool { return true }
	proves := func(key []byte) bool { return bytes.HasPrefix(key, []byte("proof")) }
	if got := a.Batches(all, proves); len(got) != 2 || slices.ContainsFunc(got, func(b [32]byte) bool { return a.batches[b] == nil }) {
		t.Errorf("%d batches are to be covered", len(got))
	}
	if got := a.Batches(func([32]byte) bool { return false }, proves); len(got) != 0 {
		t.Errorf("%d batches whose SVID is current", len(got))
	}
}

// What is on a replica's own disk was taken in time and stays; the rest of a batch of which something is here comes, too.
func TestOwnDiskStays(t *testing.T) {
	over := endOf(epoch).Add(Grace + 1)
	raw := pieceBy("b", 1, 1, put(epoch, "k", "v"), put(epoch, "l", "v"))
	p, err := wire.ParsePiece(raw)
	if err != nil {
		t.Fatal(err)
	}
	b := newBatch(p)
	s, _, _ := notary()
	late(s, epoch, b.piece(b.live[:1]).AppendPiece(nil))
	disk := map[string][]byte{}
	for _, p := range append(s.Begun(), Pair{batchKey('b', b), append(b.Append(nil), b.sig...)}, Pair{batchKey('e', b, 0), b.live[0].raw},
		Pair{batchKey('p', b, 1, 2), slices.Clone(s.batches[b.id].pruned[0].hash[:])}) {
		disk[string(p.Key)] = p.Value
	}
	again, _, errs := Restore(over, s.cfg, sorted(disk))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	reads(t, again, "k", "v")
	late(again, over, raw)
	reads(t, again, "l", "v")
	counted(t, again, "uncovered", 0)
}

// What an operator brings is judged anew, by what the host says of it.
func TestImportUncovered(t *testing.T) {
	over := endOf(epoch).Add(Grace + 1)
	s, y, _ := notary()
	raw := pieceBy("b", 1, 1, put(epoch, "k", "v"))
	late(s, over, raw)
	_, job, err := y.Import(over, raw)
	if err != nil || job == nil {
		t.Fatalf("%v, %v", job, err)
	}
	y.Verified(over, job, nil) // without an end
	reads(t, s, "k", "v")
}

// What is remembered is bounded; beyond, what is so old is not asked for until there is room, and all else is.
func TestUncoveredBounded(t *testing.T) {
	w := lateWorld(t, 2)
	w.nodes[1].s.uncovered.room = 100
	w.nodes[0].fill("k", 500, 10)
	w.now = w.now.Add(20 * day)
	w.run(time.Minute)
	s := w.nodes[1].s
	if n := s.Uncovered(w.now); n != 100 {
		t.Errorf("%d are remembered", n)
	}
	if s.Settled() {
		t.Error("it takes itself for complete")
	}
	w.nodes[0].fill("new", 50, 10)
	w.run(10 * time.Second)
	if n := s.Digest().Count; n != 50 {
		t.Errorf("%d of 50 new entries came", n)
	}
	if w.sent = 0; len(s.uncovered.order) > 500 {
		t.Errorf("%d batches", len(s.uncovered.order))
	}
	w.run(time.Hour)
	if w.sent > 2<<20 {
		t.Errorf("%d bytes in an hour in which nothing comes", w.sent)
	}
	w.notarise(0)
	w.agree(15 * time.Minute)
}

// lateWorld is replicas on a line whose SVIDs end at midnight. All but the first are new. Covered is what the register "proof" says,
// that the first one writes: the IDs of the batches that it has.
func lateWorld(t testing.TB, nodes int) *world {
	w := newWorld(t, 1, nodes, line(nodes))
	w.judge = func(j *Job) error {
		j.Ends = endOf(j.Newest)
		return check(j)
	}
	for _, r := range w.nodes {
		r.coverBy(w.nodes[0].id)
	}
	return w
}

func (r *replica) coverBy(authority mesh.NodeID) {
	r.cfg.Covered = func(b [32]byte) bool {
		v, _ := r.s.Get([]byte("proof"))
		for ids := v.Bytes; len(ids) >= 32; ids = ids[32:] {
			if bytes.Equal(ids[:32], b[:]) {
				return true
			}
		}
		return false
	}
	r.cfg.Proves = func(wr Write, _ []byte) bool { return string(wr.Key) == "proof" && wr.Author == authority }
	r.s.cfg.Covered, r.s.cfg.Proves = r.cfg.Covered, r.cfg.Proves
}

// notarise has a replica cover what it has of days that are over.
func (w *world) notarise(n int) {
	w.t.Helper()
	r := w.nodes[n]
	var ids []byte
	for _, l := range r.s.order {
		for _, b := range r.s.lives[l] {
			if it := b.live[0]; string(it.key()) != "proof" && endOf(it.time.Time()).Before(w.now) {
				ids = append(ids, b.id[:]...)
			}
		}
	}
	if v, _ := r.s.Get([]byte("proof")); bytes.Equal(v.Bytes, ids) {
		return
	}
	if err := r.do(Put([]byte("proof"), ids)); err != nil {
		w.t.Fatal(err)
	}
}

// follow lets d pass, and each replica take note of checkpoints every second.
func (w *world) follow(d time.Duration) {
	known := map[int]string{}
	for end := w.now.Add(d); w.now.Before(end); {
		w.run(time.Second)
		for i, r := range w.nodes {
			v, _ := r.s.Get([]byte("proof"))
			if string(v.Bytes) == known[i] {
				continue
			}
			known[i] = string(v.Bytes)
			var all [][32]byte
			for ids := v.Bytes; len(ids) >= 32; ids = ids[32:] {
				all = append(all, [32]byte(ids))
			}
			r.y.Covered(r.clock(), all)
		}
	}
}

// A new replica takes what is recent and what is covered, whichever it hears of first; what is covered later comes then, and until then
// costs little.
func TestCoveredLater(t *testing.T) {
	w := lateWorld(t, 3)
	w.cut[[2]int{0, 1}] = true
	w.nodes[0].fill("old", 3000, 20)
	w.now = w.now.Add(20 * day)
	w.nodes[0].fill("new", 100, 20)
	clear(w.cut)
	w.follow(30 * time.Second)
	s := w.nodes[1].s
	if n, u := s.Digest().Count, s.Uncovered(w.now); n != 100 || u != 3000 || !s.Settled() {
		t.Errorf("%d entries, %d uncovered; settled %v", n, u, s.Settled())
	}
	w.sent = 0
	w.follow(10 * time.Minute)
	if w.sent > 1<<20 { // the entries once more after ten minutes, and comparisons
		t.Errorf("%d bytes in ten minutes of which nothing comes", w.sent)
	}
	w.notarise(0)
	w.follow(20 * time.Second)
	if !w.agreed() || w.nodes[2].s.Digest().Count != 3101 {
		t.Errorf("20 s after the checkpoint the last one has %d entries", w.nodes[2].s.Digest().Count)
	}
	for _, r := range w.nodes {
		if u := r.s.Uncovered(w.now); u != 0 {
			t.Errorf("%s: %d uncovered", r.id, u)
		}
	}
	w.consistent()
}

// However many neighbours have what nobody vouches for, it costs little: it is not fetched from one after the other.
func TestUncoveredOfManyNeighbours(t *testing.T) {
	w := newWorld(t, 1, 4, [][2]int{{0, 1}, {1, 2}, {0, 2}, {0, 3}, {1, 3}, {2, 3}})
	w.judge = func(j *Job) error {
		j.Ends = endOf(j.Newest)
		return check(j)
	}
	for i, r := range w.nodes {
		r.coverBy(w.nodes[0].id)
		w.cut[[2]int{i, 3}] = true
	}
	w.nodes[0].fill("old", 3000, 300)
	w.run(10 * time.Second)
	w.now = w.now.Add(20 * day)
	clear(w.cut)
	w.follow(time.Minute)
	if w.nodes[3].s.Uncovered(w.now) != 3000 {
		t.Fatalf("%d uncovered", w.nodes[3].s.Uncovered(w.now))
	}
	w.sent = 0
	w.follow(30 * time.Minute)
	if w.sent > 5<<20 { // all of it, some 1 MB, three times, and comparisons
		t.Errorf("%d bytes in half an hour of which nothing comes", w.sent)
	}
	w.notarise(0)
	w.follow(10 * time.Second)
	if !w.agreed() {
		t.Error("no agreement 10 s after the checkpoint")
	}
}

// For two months replicas write under SVIDs of a day, links are down for a day now and then, and replicas begin as empty ones, also the one
// that covers what it has; whatever way it takes, all comes to that one within the grace. In the end all agree, whoever heard of what from whom.
func TestCoveredMonths(t *testing.T) {
	uncovered := uint64(0)
	for seed := range seeds(t, 20, 5) {
		w := lateWorld(t, 4)
		w.rnd = rand.New(rand.NewPCG(seed, 7))
		for d := range 60 {
			uncovered += w.pass(d)
		}
		clear(w.cut)
		w.follow(30 * time.Second)
		w.notarise(0)
		w.follow(30 * time.Second)
		w.agree(time.Minute)
		for _, r := range w.nodes {
			if n := r.s.Digest().Count; n < 40 {
				t.Errorf("seed %d: %s has %d entries", seed, r.id, n)
			}
			uncovered += r.s.Counters()["uncovered"]
		}
		w.consistent()
	}
	if uncovered == 0 {
		t.Error("nothing was ever uncovered")
	}
}

// pass is one day of it: each link may be down. It returns how many entries who was emptied had counted that nothing covered.
func (w *world) pass(d int) (uncovered uint64) {
	for _, l := range w.links {
		w.cut[l] = !w.cut[l] && w.rnd.IntN(3) == 0
	}
	n := w.rnd.IntN(len(w.nodes))
	learnt := slices.ContainsFunc(w.nodes, func(r *replica) bool { return r.n != n && r.s.Settled() }) // somebody is left to learn from
	if w.rnd.IntN(6) == 0 && learnt {
		r := w.nodes[n]
		uncovered = r.s.Counters()["uncovered"]
		r.cfg.Incarnation += 1000
		r.cfg.Founder = false
		r.s, r.disk, r.lazy = New(w.now, r.cfg), map[string][]byte{}, nil
		r.sync(r.s.Begun())
		r.y = NewSync(r.s)
		r.connect()
		w.queue = slices.DeleteFunc(w.queue, func(p *packet) bool { return p.job != nil && p.to == n })
	}
	for i, r := range w.nodes {
		if r.s.Settled() {
			_ = r.do(Put(fmt.Appendf(nil, "k%d-%d", i, d%20), fmt.Append(nil, d)))
		}
	}
	w.follow(10 * time.Second)
	if w.nodes[0].s.Settled() {
		w.notarise(0)
	}
	w.follow(20 * time.Second)
	w.now = w.now.Add(day)
	return uncovered
}
