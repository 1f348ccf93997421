package crdt

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// modelOp is one operation in the reference: it knows all that its replica had seen, and nothing of slots, dots in entries,
// trees or batches.
type modelOp struct {
	n       int // a name
	op      Op
	by      int
	time    mesh.Hybrid
	order   int // among those of its replica
	seen    map[int]bool
	element string
}

// model is the reference: every replica is the set of all operations that it knows, and reading looks at all of them.
type model struct {
	ops   []*modelOp
	knows []map[int]bool
}

func (m *model) write(by int, now time.Time, op Op) *modelOp {
	o := &modelOp{n: len(m.ops), op: op, by: by, time: mesh.HybridAt(now), order: len(m.ops), seen: maps.Clone(m.knows[by]), element: string(op.element)}
	for n := range m.knows[by] {
		o.time = max(o.time, m.ops[n].time+1)
	}
	m.ops = append(m.ops, o)
	m.knows[by][o.n] = true
	return o
}

func (m *model) merge(to, from int) { maps.Copy(m.knows[to], m.knows[from]) }

// of returns the operations on a key of a kind that a replica knows, in the order in which they were done.
func (m *model) of(r int, kind wire.EntryKind, key string) (ops []*modelOp) {
	for n := range m.ops {
		if o := m.ops[n]; m.knows[r][n] && o.op.kind == kind && string(o.op.key) == key {
			ops = append(ops, o)
		}
	}
	return ops
}

func (m *model) register(r int, key string) (value string, ok bool) {
	var last *modelOp
	for _, o := range m.of(r, wire.EntryRegister, key) {
		if last == nil || cmp.Or(cmp.Compare(o.time, last.time), cmp.Compare(o.by, last.by), cmp.Compare(o.order, last.order)) > 0 {
			last = o
		}
	}
	if last == nil || last.op.gone {
		return "", false
	}
	return string(last.op.value), true
}

func (m *model) counter(r int, key string) (sum int64) {
	for _, o := range m.of(r, wire.EntryCounter, key) {
		sum += int64(o.op.add) - int64(o.op.take)
	}
	return sum
}

// elements is the observed-remove set of Shapiro et al. (INRIA RR-7506, §3.3.5): an add counts until a removal that had seen it.
func (m *model) elements(r int, key string) []string {
	in := map[string]bool{}
	ops := m.of(r, wire.EntrySet, key)
	for _, a := range ops {
		removed := slices.ContainsFunc(ops, func(o *modelOp) bool { return o.op.gone && o.element == a.element && o.seen[a.n] })
		if !a.op.gone && !removed {
			in[a.element] = true
		}
	}
	return slices.Sorted(maps.Keys(in))
}

func (m *model) values(r int, key string) (vs []string) {
	ops := m.of(r, wire.EntryMulti, key)
	for _, a := range ops {
		if !a.op.gone && !slices.ContainsFunc(ops, func(o *modelOp) bool { return o.seen[a.n] }) {
			vs = append(vs, string(a.op.value))
		}
	}
	slices.Sort(vs)
	return vs
}

// transfer gives all that one state holds to another, in pieces and an order that rnd chooses.
func transfer(t rapid.TB, now time.Time, from, to *State, rnd *rand.Rand) {
	t.Helper()
	var raws [][]byte
	for _, l := range slices.SortedFunc(maps.Keys(from.lives), compareLives) {
		for _, b := range from.lives[l] {
			var a, z []*item
			for _, it := range b.live {
				if rnd.IntN(2) == 0 {
					a = append(a, it)
				} else {
					z = append(z, it)
				}
			}
			for _, items := range [][]*item{a, z} {
				if len(items) > 0 {
					raws = append(raws, b.piece(items).AppendPiece(nil))
				}
			}
		}
	}
	raws = append(raws, raws[:len(raws)/4]...) // some twice
	rnd.Shuffle(len(raws), func(i, j int) { raws[i], raws[j] = raws[j], raws[i] })
	for _, raw := range raws {
		_, _, job, err := to.offer(now, from.cfg.Self, raw)
		if err != nil {
			t.Fatal(err)
		}
		if job != nil {
			to.verified(now, job, check(job))
		}
	}
}

// perform writes one operation at a state that has no disk.
func perform(s *State, now time.Time, ops ...Op) error {
	d, err := s.Begin(now, testLeaf, ops)
	if err != nil || d.Input == nil {
		return err
	}
	s.Seal(d, sign(s.cfg.Self, d.Input))
	s.commit(now, d)
	return nil
}

func drawOp(t *rapid.T) Op {
	key := []byte(rapid.SampledFrom([]string{"a", "ab", "b\x00", "\xff"}).Draw(t, "key"))
	element := []byte(rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "element"))
	value := fmt.Appendf(nil, "%d", rapid.IntRange(0, 99).Draw(t, "value"))
	switch rapid.IntRange(0, 9).Draw(t, "op") {
	case 0, 1:
		return Put(key, value)
	case 2:
		return Delete(key)
	case 3:
		return Count(key, int64(rapid.IntRange(-5, 5).Draw(t, "n")))
	case 4, 5:
		return Insert(key, element)
	case 6:
		return Remove(key, element)
	case 7, 8:
		return Assign(key, value)
	}
	return Withdraw(key)
}

// Every type reads as the reference does, on every replica and after every step, whatever is written and merged.
func TestTypesAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 4).Draw(t, "replicas")
		m := &model{}
		now := epoch
		var states []*State
		for i := range n {
			m.knows = append(m.knows, map[int]bool{})
			states = append(states, New(now, Config{Self: mesh.MustNodeID(fmt.Sprintf("n%02d", i)), Incarnation: 1, Founder: true}))
		}
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 1))
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "ms")) * time.Millisecond)
			r := rapid.IntRange(0, n-1).Draw(t, "replica")
			if from := rapid.IntRange(-2, n-1).Draw(t, "from"); from >= 0 && from != r {
				transfer(t, now, states[from], states[r], rnd)
				m.merge(r, from)
			} else {
				op := drawOp(t)
				before := states[r].next
				if err := perform(states[r], now, op); err != nil {
					t.Fatal(err)
				}
				if states[r].next > before { // else it was nothing to write: a removal of what is not there
					m.write(r, now, op)
				}
			}
			if err := states[r].valid(); err != nil {
				t.Fatal(err)
			}
			compareModel(t, m, r, states[r])
		}
	})
}

func compareModel(t rapid.TB, m *model, r int, s *State) {
	t.Helper()
	for _, key := range []string{"a", "ab", "b\x00", "\xff"} {
		k := []byte(key)
		v, ok := s.Get(k)
		if want, wantOK := m.register(r, key); ok != wantOK || string(v.Bytes) != want {
			t.Fatalf("register %q at %d: %q %v, want %q %v", key, r, v.Bytes, ok, want, wantOK)
		}
		if got, want := s.Counter(k), m.counter(r, key); got != want {
			t.Fatalf("counter %q at %d: %d, want %d", key, r, got, want)
		}
		var in []string
		for _, e := range s.Elements(k) {
			in = append(in, string(e))
		}
		if want := m.elements(r, key); !slices.Equal(in, want) {
			t.Fatalf("set %q at %d: %q, want %q", key, r, in, want)
		}
		var vs []string
		for _, v := range s.Values(k) {
			vs = append(vs, string(v.Bytes))
		}
		slices.Sort(vs)
		if want := m.values(r, key); !slices.Equal(vs, want) {
			t.Fatalf("values of %q at %d: %q, want %q", key, r, vs, want)
		}
	}
	var listed []string
	s.List(nil, nil, func(key []byte, v Value) bool {
		listed = append(listed, string(key)+"="+string(v.Bytes))
		return true
	})
	var want []string
	for _, key := range []string{"a", "ab", "b\x00", "\xff"} {
		if v, ok := m.register(r, key); ok {
			want = append(want, key+"="+v)
		}
	}
	if !slices.Equal(listed, want) {
		t.Fatalf("list at %d: %q, want %q", r, listed, want)
	}
}

// liar signs entries of any content as one author: any time, any dots, numbers used twice.
type liar struct {
	id  mesh.NodeID
	rnd *rand.Rand
	key func() []byte
}

func (l *liar) piece(now time.Time) []byte {
	n := 1 + l.rnd.IntN(4)
	p := &wire.Piece{Batch: wire.Batch{Author: l.id, Incarnation: uint64(l.rnd.IntN(2)), First: 1 + uint64(l.rnd.IntN(5)), Count: uint16(n)}}
	for i := range n {
		e := wire.Entry{Kind: wire.EntryKind(1 + l.rnd.IntN(4)), Key: l.key(), Time: mesh.HybridAt(now) + mesh.Hybrid(l.rnd.Int64N(1<<23)) - 1<<22}
		e.Gone = e.Kind != wire.EntryCounter && l.rnd.IntN(3) == 0
		if e.Kind == wire.EntrySet || e.Kind == wire.EntryMulti {
			for a := range 3 {
				if l.rnd.IntN(2) == 0 {
					e.Covers = append(e.Covers, wire.Dot{Author: mesh.MustNodeID(fmt.Sprintf("n%02d", a)), Incarnation: 1 + uint64(99+a)*uint64(l.rnd.IntN(2)), Seq: 1 + l.rnd.Uint64N(1<<uint(l.rnd.IntN(63)))})
				}
			}
		}
		if !e.Gone && (e.Kind == wire.EntryRegister || e.Kind == wire.EntryMulti) {
			e.Value = fmt.Appendf(nil, "lie %d", l.rnd.IntN(9))
		}
		if e.Kind == wire.EntryCounter {
			e.Added, e.Taken = l.rnd.Uint64N(100), l.rnd.Uint64N(100)
		}
		raw := e.Append(nil)
		e, err := wire.ParseEntry(raw)
		if err != nil {
			panic(err)
		}
		p.Leaves = append(p.Leaves, wire.Leaf{Index: uint16(i), Raw: raw, Entry: e})
	}
	p.Sig = sign(l.id, p.SigningInput(p.Root()))
	return p.AppendPiece(nil)
}

// Merging is commutative, associative and idempotent whatever authors say: three replicas with arbitrary entries, signed by
// liars, are merged in every order and grouping, with repetition, and always give the same.
func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		fresh := func() *State { return New(epoch, Config{Self: mesh.MustNodeID("n09"), Incarnation: 1, Founder: true}) }
		var parts []*State
		for range 3 {
			s := fresh()
			for range rapid.IntRange(0, 12).Draw(t, "pieces") {
				l := liar{mesh.MustNodeID(fmt.Sprintf("n%02d", rnd.IntN(3))), rnd, func() []byte { return []byte{byte('a' + rnd.IntN(3))} }}
				_, _, job, err := s.offer(epoch, l.id, l.piece(epoch))
				if err != nil {
					t.Fatal(err)
				}
				if job != nil {
					s.verified(epoch, job, check(job))
				}
			}
			parts = append(parts, s)
		}
		join := func(states ...*State) *State {
			s := fresh()
			for _, o := range states {
				transfer(t, epoch, o, s, rnd)
			}
			if err := s.valid(); err != nil {
				t.Fatal(err)
			}
			return s
		}
		a, b, c := parts[0], parts[1], parts[2]
		want := join(a, b, c).Digest()
		for name, s := range map[string]*State{
			"other order":    join(c, b, a),
			"other grouping": join(join(b, c), a),
			"repeated":       join(a, b, a, c, join(a, b), b, a),
			"with nothing":   join(join(), a, join(), b, c, join()),
		} {
			if s.Digest() != want {
				t.Fatalf("%s: %v, want %v", name, s.Digest(), want)
			}
		}
	})
}

// The tree and the index are what a sorted list says, after whatever changes; the digest is the same for the same content.
func TestTreeAgainstList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		var tr tree
		var x index
		ref := map[slot]*item{}
		keys := rapid.SampledFrom([]int{10, 50, 400, 1200}).Draw(t, "keys")
		for n := range rapid.IntRange(0, 900).Draw(t, "changes") {
			it := testItem(rnd.IntN(keys), n)
			if rnd.IntN(5) < 2 {
				if old := ref[it.slot]; old != nil {
					tr.remove(old.slot)
					x.remove(old)
					delete(ref, it.slot)
				}
				continue
			}
			if old := tr.put(it); old != ref[it.slot] {
				t.Fatalf("put over %v, had %v", old, ref[it.slot])
			}
			x.put(it)
			ref[it.slot] = it
		}
		var other tree
		all := slices.Collect(maps.Values(ref))
		for _, it := range all {
			other.put(it)
		}
		if tr.root.count != len(ref) || tr.root.sum() != other.root.sum() {
			t.Fatalf("%d of %d items; digests %x, %x", tr.root.count, len(ref), tr.root.sum(), other.root.sum())
		}
		slices.SortFunc(all, compareItems)
		var listed []*item
		from := []byte(fmt.Sprintf("%04d", rnd.IntN(400)))
		x.from(place{key: from}, func(it *item) bool { listed = append(listed, it); return true })
		all = slices.DeleteFunc(all, func(it *item) bool { return bytes.Compare(it.key(), from) < 0 })
		if !slices.Equal(listed, all) {
			t.Fatalf("%d listed, want %d", len(listed), len(all))
		}
		for _, it := range all {
			if got, _ := tr.find(it.ref()); got != it {
				t.Fatalf("%q is not found by its ref", it.key())
			}
		}
	})
}

func testItem(key, n int) *item {
	e := wire.Entry{Kind: wire.EntryRegister, Time: mesh.Hybrid(n), Key: fmt.Appendf(nil, "%04d", key)}
	return newItem(&batch{Batch: wire.Batch{Author: mesh.MustNodeID("a"), First: 1, Count: 1}}, &wire.Leaf{Raw: e.Append(nil), Entry: e})
}
