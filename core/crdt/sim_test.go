package crdt

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// world is some replicas on a simulated clock and network, all out of one seed.
type world struct {
	t       testing.TB
	rnd     *rand.Rand
	now     time.Time
	nodes   []*replica
	queue   []*packet
	cut     map[[2]int]bool
	faulty  bool // the network loses order, copies and drops
	delay   time.Duration
	sent    int // bytes of messages
	packets int
	links   [][2]int
	writes  []write
	tear    bool // nodes crash between Seal and Commit now and then
	verify  int  // signatures checked
	puller  int  // budget
	others  int  // of the nodes, the last ones that need not agree
	made    []made
	did     injected
	newest  map[[2]int]int // of the messages from one to another that came: the last sent

	// Defects, for tests of tests.
	judge func(*Job) error                       // checks signatures
	hasty bool                                   // a write is acknowledged before it is on disk
	deaf  func(to int, m wire.StateMessage) bool // messages that are not heard
}

// replica is a node with a disk that loses what was not synced when it crashes.
type replica struct {
	id    mesh.NodeID
	n     int
	w     *world
	s     *State
	y     *Sync
	disk  map[string][]byte
	lazy  [][]Pair // outcomes that are not synced
	cfg   Config
	skew  time.Duration
	links []int
	late  bool // it has not collected since it was restored
}

type packet struct {
	from, to int
	at       time.Time
	seq      int
	b        []byte
	job      *Job // instead: the answer of the signature check
	err      error
}

// write is one to a register. It is acked if its node said that it is done; else that node crashed before it could.
type write struct {
	key, value string
	gone       bool
	time       mesh.Hybrid
	dot        wire.Dot
	acked      bool
}

var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func newWorld(t testing.TB, seed uint64, nodes int, links [][2]int) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 5)), now: epoch, cut: map[[2]int]bool{}, delay: 5 * time.Millisecond, links: links, puller: 64 << 10, newest: map[[2]int]int{}, judge: check}
	for i := range nodes {
		id := mesh.MustNodeID(fmt.Sprintf("n%02d", i))
		r := &replica{id: id, n: i, w: w, disk: map[string][]byte{}, cfg: Config{Self: id, Incarnation: 100 + uint64(i), Founder: i == 0}}
		r.s = New(w.now, r.cfg)
		r.sync(r.s.Begun())
		r.y = NewSync(r.s)
		w.nodes = append(w.nodes, r)
	}
	for _, l := range links {
		w.nodes[l[0]].links = append(w.nodes[l[0]].links, l[1])
		w.nodes[l[1]].links = append(w.nodes[l[1]].links, l[0])
	}
	for _, r := range w.nodes {
		r.connect()
	}
	return w
}

func line(n int) (links [][2]int) {
	for i := range n - 1 {
		links = append(links, [2]int{i, i + 1})
	}
	return links
}

func ring(n int) [][2]int { return append(line(n), [2]int{0, n - 1}) }

func (r *replica) connect() {
	for _, n := range r.links {
		r.y.Add(r.w.now, r.w.nodes[n].id)
	}
}

// sign stands for a signature that nobody else can make.
func sign(author mesh.NodeID, input []byte) []byte {
	h := sha256.Sum256(append([]byte("key of "+author.String()+" over "), input...))
	return h[:]
}

func check(job *Job) error {
	if !bytes.Equal(job.Sig, sign(job.Author, job.Signed)) {
		return errors.New("bad signature")
	}
	return nil
}

// write puts what goes together in the queue of the disk; sync waits for all of it, and for pairs.
func (r *replica) write(pairs []Pair) {
	if len(pairs) > 0 {
		r.lazy = append(r.lazy, pairs)
	}
}

func (r *replica) sync(pairs []Pair) {
	for _, p := range append(r.lazy, pairs) {
		r.apply(p)
	}
	r.lazy = nil
}

func (r *replica) apply(pairs []Pair) {
	for _, p := range pairs {
		if p.Value == nil {
			delete(r.disk, string(p.Key))
		} else {
			r.disk[string(p.Key)] = bytes.Clone(p.Value)
		}
	}
}

// crash restarts a replica from its disk, on which the last outcomes may be missing.
func (r *replica) crash() {
	safe := r.w.rnd.IntN(len(r.lazy) + 1)
	for _, p := range r.lazy[:safe] {
		r.apply(p)
	}
	r.w.did.crashes++
	r.w.did.unsynced += len(r.lazy) - safe
	r.lazy = nil
	s, out, errs := Restore(r.clock(), r.cfg, sorted(r.disk))
	if len(errs) > 0 {
		r.w.t.Fatalf("%s: restore: %v", r.id, errs)
	}
	r.write(out.Write)
	r.s, r.y, r.late = s, NewSync(s), true
	r.connect()
	r.w.queue = slices.DeleteFunc(r.w.queue, func(p *packet) bool { return p.job != nil && p.to == r.n })
}

func sorted(m map[string][]byte) func(func([]byte, []byte) bool) {
	return func(yield func([]byte, []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield([]byte(k), m[k]) {
				return
			}
		}
	}
}

func (r *replica) clock() time.Time { return r.w.now.Add(r.skew) }

var testLeaf = sha256.Sum256([]byte("leaf"))

// do writes ops and returns the first error.
func (r *replica) do(ops ...Op) error {
	for len(ops) > 0 {
		d, err := r.s.Begin(r.clock(), testLeaf, ops)
		if err != nil {
			return err
		}
		if d.Input != nil {
			r.seal(d)
			torn := r.w.tear && r.w.rnd.IntN(8) == 0
			for _, it := range d.b.live {
				r.w.made = append(r.w.made, made{it.id, it.slot, it.time, it.dot(), !torn})
				if e := it.entry(); e.Kind == wire.EntryRegister {
					r.w.writes = append(r.w.writes, write{string(e.Key), string(e.Value), e.Gone, e.Time, it.dot(), !torn})
				}
			}
			if torn {
				r.w.did.torn++
				r.crash()
				return nil
			}
			r.write(r.y.Commit(r.clock(), d).Write)
		}
		ops = ops[d.Ops:]
	}
	return nil
}

// seal signs a write and has it on disk.
func (r *replica) seal(d *Draft) {
	pairs := r.s.Seal(d, sign(r.id, d.Input))
	if r.w.hasty {
		r.write(pairs)
		return
	}
	r.sync(pairs)
}

// pull sends what a replica has for its neighbours.
func (r *replica) pull() {
	for _, n := range r.links {
		for _, m := range r.y.Pull(r.clock(), r.w.nodes[n].id, r.w.puller) {
			r.w.send(r.n, n, m)
		}
	}
}

func (w *world) send(from, to int, m wire.StateMessage) {
	b, err := wire.AppendStateMessage(nil, m)
	if err != nil {
		w.t.Fatalf("message of %d: %v", from, err)
	}
	w.sent += len(b)
	if w.cut[[2]int{min(from, to), max(from, to)}] {
		w.did.severed++
		return
	}
	if w.deaf != nil && w.deaf(to, m) {
		return
	}
	delay := w.delay
	copies := 1
	if w.faulty {
		delay += time.Duration(w.rnd.IntN(50)) * time.Millisecond
		copies = []int{0, 1, 1, 1, 1, 1, 1, 1, 2, 3}[w.rnd.IntN(10)]
		w.did.lost += btoi(copies == 0)
		w.did.doubled += btoi(copies > 1)
	}
	for range copies {
		w.push(&packet{from: from, to: to, at: w.now.Add(delay), b: b})
	}
}

func (w *world) push(p *packet) {
	w.packets++
	p.seq = w.packets
	i, _ := slices.BinarySearchFunc(w.queue, p, func(a, b *packet) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return a.seq - b.seq
	})
	w.queue = slices.Insert(w.queue, i, p)
}

func (w *world) deliver(p *packet) {
	r := w.nodes[p.to]
	if p.job != nil {
		r.write(r.y.Verified(r.clock(), p.job, p.err).Write)
		r.pull()
		return
	}
	if r.y.Full(w.nodes[p.from].id) {
		p.at = w.now.Add(time.Millisecond)
		w.push(p)
		return
	}
	way := [2]int{p.from, p.to}
	w.did.late += btoi(p.seq < w.newest[way])
	w.newest[way] = max(w.newest[way], p.seq)
	m, err := wire.ParseStateMessage(p.b[wire.MessageHeader:])
	if err != nil {
		w.t.Fatalf("message to %d: %v", p.to, err)
	}
	out, job, _ := r.y.Handle(r.clock(), w.nodes[p.from].id, m)
	r.write(out.Write)
	if may := r.y.MayForget(); r.late && !may.IsZero() && !r.clock().Before(may) {
		r.write(collect(r.s, r.clock()).Write)
		r.late = false
	}
	if job != nil {
		w.verify++
		w.push(&packet{to: p.to, at: w.now.Add(time.Millisecond), job: job, err: w.judge(job)})
	}
	r.pull()
}

// run lets d pass.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for _, r := range w.nodes {
		r.pull()
	}
	for {
		next := end
		for _, r := range w.nodes {
			if len(r.links) == 0 {
				continue
			}
			for _, t := range []time.Time{r.y.Next(r.clock()), r.s.Due()} {
				if t = t.Add(-r.skew); !t.Equal(time.Time{}.Add(-r.skew)) && t.Before(next) {
					next = t
				}
			}
		}
		if len(w.queue) > 0 && w.queue[0].at.Before(next) {
			next = w.queue[0].at
		}
		if !next.Before(end) {
			w.now = end
			return
		}
		w.now = later(w.now, next)
		if len(w.queue) > 0 && !w.queue[0].at.After(w.now) {
			p := w.queue[0]
			w.queue = w.queue[1:]
			w.deliver(p)
			continue
		}
		for _, r := range w.nodes {
			r.write(r.y.Release(r.clock()).Write)
			r.pull()
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// agree runs until all replicas hold the same, for at most d.
func (w *world) agree(d time.Duration) time.Duration {
	w.t.Helper()
	start := w.now
	for w.now.Sub(start) < d {
		if w.agreed() {
			return w.now.Sub(start)
		}
		w.run(50 * time.Millisecond)
	}
	for _, r := range w.nodes {
		w.t.Logf("%s: %.8x, %d entries, %d held, %v", r.id, r.s.Digest().Digest, r.s.Digest().Count, r.s.Held(), r.s.Counters())
	}
	for _, r := range w.nodes {
		for _, o := range w.nodes {
			for _, it := range r.s.tree.root.gather(nil) {
				if other := o.s.tree.get(it.slot); other == nil || other.id != it.id {
					w.t.Logf("%s holds %v of %v: %+v; %s holds %+v", r.id, it.dot(), it.time, it.entry(), o.id, other)
				}
			}
		}
	}
	w.t.Fatalf("no agreement after %v", d)
	return 0
}

func (w *world) agreed() bool {
	for _, r := range w.nodes[:len(w.nodes)-w.others] {
		if r.s.Digest() != w.nodes[0].s.Digest() {
			return false
		}
	}
	return true
}

// batchID reads all entries again.
func batchID(p *wire.Piece) [32]byte { return sha256.Sum256(p.SigningInput(p.Root())) }

// valid checks the invariants of a state.
func (s *State) valid() error {
	items := s.tree.root.gather(nil)
	n, size := 0, 0
	used, usedVital, vital := map[mesh.NodeID]int{}, map[mesh.NodeID]int{}, 0
	var last *item
	var err error
	s.index.from(place{}, func(it *item) bool {
		if last != nil && compareItems(last, it) >= 0 {
			err = errors.New("the index is not ascending")
		}
		if s.tree.get(it.slot) != it {
			err = fmt.Errorf("the index has %q, the tree does not", it.key())
		}
		last = it
		n++
		return true
	})
	if err != nil || n != len(items) || n != s.tree.root.count {
		return fmt.Errorf("%d in the index, %d in the tree, which says %d: %w", n, len(items), s.tree.root.count, err)
	}
	for _, it := range items {
		size += it.size()
		used[it.batch.Author] += it.size()
		if s.cfg.Vital != nil && s.cfg.Vital(it.key()) {
			usedVital[it.batch.Author] += it.size()
			vital += it.size()
		}
		if s.batches[it.batch.id] != it.batch || !slices.Contains(it.batch.live, it) {
			return fmt.Errorf("%q is not live in its batch", it.key())
		}
		if it.leaf != wire.LeafHash(it.raw) {
			return fmt.Errorf("the hash of %q is not that of its bytes", it.key())
		}
	}
	live, lived := 0, 0
	for id, b := range s.batches {
		live += len(b.live)
		size += b.size()
		used[b.Author] += b.size()
		if id != batchID(b.piece(b.live)) {
			return fmt.Errorf("batch %x does not prove what is left of it", id[:4])
		}
		if slices.Index(s.lives[life{b.Author, b.Incarnation}], b) < 0 {
			return fmt.Errorf("batch %x is in no life", id[:4])
		}
	}
	for _, bs := range s.lives {
		lived += len(bs)
	}
	if !slices.Equal(s.order, slices.SortedFunc(maps.Keys(s.lives), compareLives)) {
		return fmt.Errorf("%d lives in order, %d held", len(s.order), len(s.lives))
	}
	if size != s.bytes || !maps.Equal(used, s.used) || vital != s.vital || !maps.Equal(usedVital, s.usedVital) {
		return fmt.Errorf("%d bytes, counted %d; of vital keys %d, counted %d", size, s.bytes, vital, s.vital)
	}
	if live != n || lived != len(s.batches) {
		return fmt.Errorf("%d live, %d held; %d batches, %d in lives", live, n, len(s.batches), lived)
	}
	return nil
}

// consistent checks every replica, and its disk.
func (w *world) consistent() {
	w.t.Helper()
	for _, r := range w.nodes {
		r.sync(r.s.takePairs())
		if err := r.s.valid(); err != nil {
			w.t.Fatalf("%s: %v", r.id, err)
		}
		s, _, errs := Restore(r.clock(), r.cfg, sorted(r.disk))
		if len(errs) > 0 {
			w.t.Fatalf("%s: disk: %v", r.id, errs)
		}
		if err := s.valid(); err != nil {
			w.t.Fatalf("%s: disk: %v", r.id, err)
		}
		if s.Digest() != r.s.Digest() || !bytes.Equal(s.meta(), r.s.meta()) {
			w.t.Fatalf("%s: the disk holds %d entries, the replica %d; meta %x, %x", r.id, s.Digest().Count, r.s.Digest().Count, s.meta(), r.s.meta())
		}
	}
}
