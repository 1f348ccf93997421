package crdt

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"x0tta6bl4/wire"
)

func TestSpread(t *testing.T) {
	w := newWorld(t, 1, 9, line(9))
	w.run(3 * time.Second)
	for _, r := range w.nodes {
		if !r.s.Settled() {
			t.Errorf("%s has not settled", r.id)
		}
	}
	if err := w.nodes[4].do(Put([]byte("k"), []byte("v"))); err != nil {
		t.Fatal(err)
	}
	w.run(60 * time.Millisecond)
	for _, r := range w.nodes {
		if v, ok := r.s.Get([]byte("k")); !ok || string(v.Bytes) != "v" {
			t.Errorf("%s does not know it: %q", r.id, v.Bytes)
		}
	}
	w.consistent()
}

func TestHeal(t *testing.T) {
	for _, n := range []int{1, 100, 3000} {
		w := newWorld(t, 1, 4, line(4))
		w.run(3 * time.Second)
		w.cut[[2]int{1, 2}] = true
		for i := range n {
			for _, k := range []int{0, 3} {
				if err := w.nodes[k].do(Put(fmt.Appendf(nil, "k%d-%d", k, i), []byte("v"))); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.run(time.Minute)
		w.sent = 0
		w.cut = map[[2]int]bool{}
		d := w.agree(time.Minute)
		t.Logf("%d: %v, %d bytes", n, d, w.sent)
		w.consistent()
	}
}

// fill writes n keys of a prefix in full batches.
func (r *replica) fill(prefix string, n, size int) {
	var ops []Op
	for i := range n {
		ops = append(ops, Put(fmt.Appendf(nil, "%s%06d", prefix, i), bytes.Repeat([]byte{byte(i)}, size)))
	}
	if err := r.do(ops...); err != nil {
		r.w.t.Fatal(err)
	}
}

// heal changes n keys of size bytes on each side of a cut, and returns what it takes to agree again.
func heal(t testing.TB, common, n, size int, same bool) (d time.Duration, bytes int) {
	w := newWorld(t, 1, 2, line(2))
	w.nodes[0].fill("common", common, size)
	w.agree(time.Hour)
	w.run(4 * time.Second)
	w.cut[[2]int{0, 1}] = true
	w.nodes[0].fill("a", n, size)
	if same {
		w.nodes[1].fill("a", n, size)
	} else {
		w.nodes[1].fill("b", n, size)
	}
	w.run(2 * time.Minute)
	w.cut, w.sent = map[[2]int]bool{}, 0
	d = w.agree(time.Hour)
	return d, w.sent
}

// What a partition costs when it heals: the entries themselves, and little else.
func TestHealBytes(t *testing.T) {
	const n = 3000
	for _, c := range []struct {
		name         string
		common, size int
		same         bool
		each         int // bytes for each changed key at most
	}{
		{"1 KiB", 1000, 1 << 10, false, 1536},
		{"small", 1000, 8, false, 8 + 7 + 200},
		{"small, many others", 30_000, 8, false, 8 + 7 + 200},
		{"same keys", 1000, 8, true, 8 + 7 + 200},
	} {
		d, sent := heal(t, c.common, n, c.size, c.same)
		if each := sent / (2 * n); each > c.each {
			t.Errorf("%s: %d bytes a key, at most %d", c.name, each, c.each)
		} else {
			t.Logf("%s: %d bytes a key, %v", c.name, each, d)
		}
	}
}

// What the heads of authors do not tell, the tree does: replicas that lack entries here and there ask for no more than those, and
// their neighbour's proofs hold.
func TestRepairScattered(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	w.nodes[0].fill("k", 20_000, 8)
	w.agree(time.Hour)
	w.run(4 * time.Second)
	lost := 0
	for _, it := range w.nodes[1].s.tree.root.gather(nil) {
		if w.rnd.IntN(100) == 0 {
			w.nodes[1].s.drop(it)
			lost++
		}
	}
	w.nodes[1].write(w.nodes[1].s.takePairs())
	w.sent = 0
	d := w.agree(time.Hour)
	w.consistent()
	t.Logf("%d lost, %v, %d bytes", lost, d, w.sent)
	// About every third of 1024 leaves of the tree differs: 20 refs of 24 bytes for each lost entry, nodes above, the entry
	// and its proof of 8 hashes.
	if each := w.sent / lost; each > 20*24*2+16*32+500 {
		t.Errorf("%d bytes for each lost entry", each)
	}
}

// One entry that is missing is found in few messages.
func TestRepairOne(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	w.nodes[0].fill("k", 20_000, 8)
	w.agree(time.Hour)
	w.run(6 * time.Second)
	all := w.nodes[1].s.tree.root.gather(nil)
	w.nodes[1].s.drop(all[777])
	w.sent, w.packets = 0, 0
	d := w.agree(time.Hour)
	t.Logf("%v, %d bytes, %d messages", d, w.sent, w.packets)
	if w.sent > 3000 || w.packets > 10 || d > 2*time.Second {
		t.Errorf("%d bytes, %d messages, %v", w.sent, w.packets, d)
	}
}

// Replicas that agree tell each other no more than that.
func TestIdle(t *testing.T) {
	w := newWorld(t, 1, 9, ring(9))
	w.nodes[0].fill("k", 1000, 8)
	w.agree(time.Minute)
	w.run(10 * time.Second)
	w.sent = 0
	w.run(time.Minute)
	if each := w.sent / 60 / len(w.nodes); each > 100 {
		t.Errorf("%d bytes a second and node", each)
	}
}

// A value of the largest size goes everywhere, and over each link about once: it is offered before it is sent.
func TestLargeValue(t *testing.T) {
	w := newWorld(t, 1, 5, ring(5))
	w.run(4 * time.Second)
	w.sent = 0
	value := bytes.Repeat([]byte("x"), wire.MaxValue)
	if err := w.nodes[2].do(Put([]byte("k"), value)); err != nil {
		t.Fatal(err)
	}
	w.run(time.Second)
	for _, r := range w.nodes {
		if v, _ := r.s.Get([]byte("k")); !bytes.Equal(v.Bytes, value) {
			t.Errorf("%s has %d bytes", r.id, len(v.Bytes))
		}
	}
	if w.sent > 4*wire.MaxValue+64<<10 {
		t.Errorf("%d bytes for five nodes", w.sent)
	}
}

// A neighbour whose pieces do not verify is not listened to for a while.
func TestShunned(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	r := w.nodes[0]
	bad := func(i int) wire.StateMessage {
		p, err := wire.ParsePiece(pieceBy("b", 1, uint64(i+1), put(epoch, fmt.Sprint(i), "v")))
		if err != nil {
			t.Fatal(err)
		}
		p.Sig = []byte("forged")
		return wire.StatePiece{Raw: p.AppendPiece(nil)}
	}
	for i := range maxBlame {
		_, job, err := r.y.Handle(w.now, w.nodes[1].id, bad(i))
		if err != nil || job == nil {
			t.Fatal(err)
		}
		r.y.Verified(w.now, job, check(job))
	}
	if _, _, err := r.y.Handle(w.now, w.nodes[1].id, bad(maxBlame)); !errors.Is(err, ErrShunned) {
		t.Errorf("one more: %v", err)
	}
	if _, job, err := r.y.Handle(w.now.Add(shunned), w.nodes[1].id, bad(maxBlame)); err != nil || job == nil {
		t.Errorf("later: %v", err)
	}
	counted(t, r.s, "shunned", 1)
}

// Whatever a neighbour sends, the lists of its session stay bounded, and it gets no more than is pulled.
func TestHostileSessionBounded(t *testing.T) {
	c := newChaos(t, 7)
	r, from := c.nodes[2], c.liar.id
	r.s.cfg.Founder, r.s.settled = true, true
	r.fill("k", 5000, 8)
	all := make([]wire.Ref, wire.MaxStateRefs)
	for n := range 400 {
		for i := range all {
			all[i] = wire.Ref{byte(n), byte(n >> 8), byte(i), byte(i >> 8), 6: 0xff}
		}
		path := wire.Path{}.Child(n & 15).Child(n >> 4 & 15)
		nodes := make([]wire.StateNode, wire.MaxStateNodes)
		for i := range nodes {
			nodes[i] = wire.StateNode{Path: path, Kids: [16][32]byte{{1}, {2}}}
		}
		heads := make([]wire.Dot, wire.MaxStateHeads)
		for i := range heads {
			heads[i] = wire.Dot{Author: from, Incarnation: uint64(n)<<20 | uint64(i), Seq: 1 << 40}
		}
		mine := make([]wire.Ref, 0, 5000)
		for _, it := range r.s.tree.root.gather(nil) {
			mine = append(mine, it.ref())
		}
		for _, m := range []wire.StateMessage{wire.StateOffer{Refs: all}, wire.StateItems{Items: []wire.StateItem{{Path: path, Refs: all}}},
			wire.StateNodes{Nodes: nodes}, wire.StateHeads{Dots: heads}, wire.StateFetch{After: heads}, wire.StateWant{Refs: mine}} {
			if _, _, err := r.y.Handle(c.now, from, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := r.y.peers[from]
	for name, n := range map[string][2]int{
		"want": {len(p.want), maxQueue}, "send": {len(p.send), maxQueue}, "descend": {len(p.descend), maxQueue},
		"offers": {len(p.offers), maxFresh}, "except": {p.except, maxExcept}, "fetch": {len(p.fetch), wire.MaxStateHeads},
		"batches": {len(p.batches), wire.MaxStateHeads}, "owed": {len(p.owed), wire.MaxStateHeads}, "acks": {p.acks, offerAhead},
		"flying": {len(r.y.flying), maxFlying}, "flown": {len(r.y.flown), maxFlying}, "lives": {len(r.y.lives), livesShare}, "claims": {p.claims, livesShare},
	} {
		if n[0] > n[1] {
			t.Errorf("%s: %d, at most %d", name, n[0], n[1])
		}
	}
	size := 0
	for _, m := range r.y.Pull(c.now, from, 10_000) {
		b, err := wire.AppendStateMessage(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		size += len(b)
	}
	if size > 10_000+fewItems*len(wire.Ref{})+32<<10 {
		t.Errorf("%d bytes for a budget of 10,000", size)
	}
	r.y.Remove(from)
	if len(r.y.flying)+len(r.y.lives) > 0 {
		t.Error("a neighbour that left is still waited for")
	}
}

// Two links across a heal do not carry everything twice.
func TestHealOverTwoLinks(t *testing.T) {
	const n, size = 3000, 1 << 10
	w := newWorld(t, 1, 4, ring(4)) // 0-1 and 2-3 on either side of 1-2 and 0-3
	w.run(4 * time.Second)
	w.cut[[2]int{1, 2}], w.cut[[2]int{0, 3}] = true, true
	w.nodes[0].fill("a", n, size)
	w.nodes[3].fill("b", n, size)
	w.run(2 * time.Minute)
	w.cut, w.sent = map[[2]int]bool{}, 0
	w.agree(time.Hour)
	// Each entry has to cross to the other side, and to the other node there.
	if each := w.sent / (2 * n); each > 3*size {
		t.Errorf("%d bytes for each key of %d", each, size)
	} else {
		t.Logf("%d bytes for each key of %d", each, size)
	}
}

// Where both sides changed the same keys, and the tree finds it, only what is newer moves.
func TestRepairSameKeys(t *testing.T) {
	const n, size = 500, 1 << 10
	w := newWorld(t, 1, 2, line(2))
	w.nodes[0].fill("k", n, size)
	w.agree(time.Minute)
	w.run(4 * time.Second)
	w.cut[[2]int{0, 1}] = true
	for i := range n {
		if err := w.nodes[i%2].do(Put(fmt.Appendf(nil, "k%06d", i), make([]byte, size))); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Millisecond)
		if err := w.nodes[1-i%2].do(Put(fmt.Appendf(nil, "k%06d", i), make([]byte, size))); err != nil {
			t.Fatal(err)
		}
	}
	w.run(5 * time.Second)
	w.cut, w.sent = map[[2]int]bool{}, 0
	w.agree(time.Minute)
	if each := w.sent / n; each > size+300 {
		t.Errorf("%d bytes for each key of %d", each, size)
	}
}

// What a neighbour has told us meanwhile it is not told.
func TestNotToldBack(t *testing.T) {
	w := newWorld(t, 1, 3, [][2]int{{0, 1}, {0, 2}, {1, 2}})
	w.run(4 * time.Second)
	r, other := w.nodes[0], w.nodes[1].id
	news := func(key string) wire.StateMessage {
		return wire.StatePiece{Raw: pieceBy("b", 1, 1, put(w.now, key, "v"))}
	}
	_, job, err := r.y.Handle(w.now, w.nodes[2].id, news("k"))
	if err != nil {
		t.Fatal(err)
	}
	r.y.Verified(w.now, job, check(job))
	if n := len(r.y.peers[other].fresh); n != 1 {
		t.Fatalf("%d entries are to be told", n)
	}
	if _, job, err = r.y.Handle(w.now, other, news("k")); job != nil || err != nil {
		t.Fatalf("the same again: %v, %v", job, err)
	}
	for _, m := range r.y.Pull(w.now, other, 1<<20) {
		if _, ok := m.(wire.StatePiece); ok {
			t.Error("it is told what it told")
		}
	}
}

// While much is on its way, no more is compared.
func TestComparisonWaits(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	w.nodes[0].fill("k", 100, 1)
	y, other := w.nodes[0].y, w.nodes[1].id
	w.nodes[0].pull()
	p := y.peers[other]
	p.compare(wire.Path{})
	p.wanted = manyItems + 1
	p.stir(w.now)
	if ms := y.Pull(w.now, other, 1<<20); len(ms) != 0 {
		t.Errorf("%T", ms[0])
	}
	p.wanted = manyItems
	if ms := y.Pull(w.now, other, 1<<20); len(ms) != 1 {
		t.Errorf("%d messages", len(ms))
	}
}

// What a replica does not take, it does not ask for again and again, and what it lacks besides is found all the same.
func TestRefusedNotFetchedAgain(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	w.nodes[0].s.cfg.May = func(wr Write) error {
		if wr.Key[0] == 'x' {
			return errors.New("not here")
		}
		return nil
	}
	w.nodes[0].s.settled, w.nodes[1].s.settled = true, true
	w.nodes[1].fill("x", 50, 1000)
	w.run(20 * time.Second)
	counted(t, w.nodes[0].s, "forbidden", 50)
	w.sent = 0
	w.run(2 * time.Minute)
	if w.sent > 20_000 {
		t.Errorf("%d bytes in two minutes of which nothing comes", w.sent)
	}
	w.cut[[2]int{0, 1}] = true
	w.nodes[1].fill("k", 1, 1)
	w.run(20 * time.Second)
	w.cut, w.sent = map[[2]int]bool{}, 0
	w.run(2 * time.Minute)
	reads(t, w.nodes[0].s, "k000000", "\x00")
	counted(t, w.nodes[0].s, "forbidden", 50)
	if w.sent > 50_000+20_000 { // what was refused comes once more, before what its author wrote after it
		t.Errorf("%d bytes in two minutes", w.sent)
	}
}

// What was set aside comes once in ten minutes at most.
func TestAsideNotFetchedAgain(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	w.cut[[2]int{0, 1}] = true
	w.nodes[1].s.settled = true
	w.nodes[1].fill("old", 100, 1000)
	w.now = w.now.Add(Life + 24*time.Hour)
	clear(w.cut)
	w.run(30 * time.Second)
	if n := w.nodes[0].s.Kept(); n != 100 {
		t.Fatalf("%d entries are aside", n)
	}
	w.sent = 0
	w.run(30 * time.Minute)
	if w.sent > 3*150_000+200_000 {
		t.Errorf("%d bytes in half an hour of which nothing comes", w.sent)
	}
}

// A neighbour that says that it has something, and then nothing more, has taught nothing.
func TestNotSettledByPromises(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	y, other := w.nodes[0].y, w.nodes[1].id
	w.nodes[0].s.settled = false
	root := wire.StateRoot{Digest: [32]byte{1}, Count: 1}
	for range 20 {
		if _, _, err := y.Handle(w.now, other, root); err != nil {
			t.Fatal(err)
		}
		y.Pull(w.now, other, 1<<20)
		w.now = w.now.Add(quiet)
		y.Pull(w.now, other, 1<<20)
	}
	if w.nodes[0].s.Settled() {
		t.Error("settled")
	}
}

// Who does not lead answers a root that differs by its own at once.
func TestRootAnswered(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	y, other := w.nodes[1].y, w.nodes[0].id
	y.Pull(w.now, other, 1<<20)
	if y.Ready(w.now, other) {
		t.Fatal("there is more to send")
	}
	if _, _, err := y.Handle(w.now, other, wire.StateRoot{Digest: [32]byte{1}}); err != nil {
		t.Fatal(err)
	}
	want := w.nodes[1].s.Digest()
	want.Time = uint64(w.now.UnixMilli())
	if ms := y.Pull(w.now, other, 1<<20); len(ms) != 1 || ms[0] != wire.StateMessage(want) {
		t.Errorf("answered %v", ms)
	}
}

// A batch larger than any that is made here is sent piece by piece, as there is room.
func TestLargeBatchIsPaced(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	var es []wire.Entry
	for i := range 8 {
		es = append(es, put(epoch, fmt.Sprint(i), string(make([]byte, 100<<10))))
	}
	p := &wire.Piece{Batch: wire.Batch{Author: w.nodes[0].id, Incarnation: 9, First: 1, Count: 8}}
	for i := range es {
		p.Leaves = append(p.Leaves, wire.Leaf{Index: uint16(i), Raw: es[i].Append(nil), Entry: es[i]})
	}
	p.Sig = sign(p.Author, p.SigningInput(p.Root()))
	w.nodes[0].s.merge(epoch, newBatch(p))
	y, other := w.nodes[0].y, w.nodes[1].id
	y.Pull(w.now, other, 1<<20)
	fetch := wire.StateFetch{After: []wire.Dot{{Author: p.Author, Incarnation: 9}}}
	if _, _, err := y.Handle(w.now, other, fetch); err != nil {
		t.Fatal(err)
	}
	for n, seen := 0, 0; seen < 8; n++ {
		size := 0
		for _, m := range y.Pull(w.now, other, 10<<10) {
			piece, err := wire.ParsePiece(m.(wire.StatePiece).Raw)
			if err != nil {
				t.Fatal(err)
			}
			seen += len(piece.Leaves)
			size += piece.Size()
		}
		if size > 110<<10 || n > 20 {
			t.Fatalf("%d bytes at once, %d entries after %d", size, seen, n)
		}
	}
}

// A neighbour that claims to be ahead of all others, and sends nothing or little of it, delays what they have and no more.
func TestEmptyClaimsOnlyDelay(t *testing.T) {
	w := newWorld(t, 1, 3, [][2]int{{0, 1}, {0, 2}})
	liar := w.nodes[1].id
	w.cut[[2]int{0, 1}], w.cut[[2]int{0, 2}] = true, true
	w.nodes[2].s.settled = true
	w.nodes[2].fill("k", 2000, 8)
	w.run(5 * time.Minute)
	delete(w.cut, [2]int{0, 2})
	first := w.nodes[2].s.behind(life{w.nodes[2].id, w.nodes[2].cfg.Incarnation}, 0)
	little := wire.StatePiece{Raw: first.piece(first.live[:1]).AppendPiece(nil)}
	claim := wire.StateHeads{Dots: []wire.Dot{{Author: w.nodes[2].id, Incarnation: w.nodes[2].cfg.Incarnation, Seq: 1 << 50}}}
	w.others = 2
	for range 40 {
		for _, m := range []wire.StateMessage{claim, little} {
			if _, job, err := w.nodes[0].y.Handle(w.now, liar, m); err != nil {
				t.Fatal(err)
			} else if job != nil {
				w.nodes[0].y.Verified(w.now, job, check(job))
			}
		}
		w.run(500 * time.Millisecond)
		if w.nodes[0].s.Digest() == w.nodes[2].s.Digest() {
			return
		}
	}
	t.Errorf("%d of 2000 entries after 20 s", w.nodes[0].s.Digest().Count)
}

// The same for a neighbour that offers everything, again and again, and sends none of it.
func TestEmptyOffersOnlyDelay(t *testing.T) {
	w := newWorld(t, 1, 3, [][2]int{{0, 1}, {0, 2}})
	w.cut[[2]int{0, 1}], w.cut[[2]int{0, 2}] = true, true
	w.nodes[2].s.settled = true
	w.nodes[2].fill("k", 900, 8)
	w.run(5 * time.Minute)
	var refs []wire.Ref
	for _, it := range w.nodes[2].s.tree.root.gather(nil) {
		refs = append(refs, it.ref())
	}
	w.others = 2
	offer := func() {
		if _, _, err := w.nodes[0].y.Handle(w.now, w.nodes[1].id, wire.StateOffer{Refs: refs}); err != nil {
			t.Fatal(err)
		}
	}
	offer()
	delete(w.cut, [2]int{0, 2})
	hogged := fetching{flight{w.nodes[1].id, w.now.Add(time.Hour)}, 0, 1 << 50} // nor by its head
	w.nodes[0].y.lives[life{w.nodes[2].id, w.nodes[2].cfg.Incarnation}] = hogged
	for range 120 {
		w.run(500 * time.Millisecond)
		offer()
		if w.nodes[0].s.Digest() == w.nodes[2].s.Digest() {
			return
		}
	}
	t.Errorf("%d of 900 entries after a minute", w.nodes[0].s.Digest().Count)
}
