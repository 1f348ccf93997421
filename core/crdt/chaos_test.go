package crdt

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/wire"
)

// chaos is one seed: honest replicas on a ring, one of whose members has a lying neighbour, while links are cut, messages lost,
// doubled and put out of order, and nodes crash with what was not synced lost.
type chaos struct {
	*world
	honest int
	liar   liar
	heard  [][]byte // pieces that the liar overheard
	memory int      // how many of them it keeps
	spared int      // the node that never loses its disk; -1: none
	own    string   // the prefix where the liar may write
}

// vitalKey takes some of the keys of a campaign for vital.
func vitalKey(k []byte) bool { return k[len(k)-1]%2 == 1 }

func newChaos(t testing.TB, seed uint64) *chaos {
	w := newWorld(t, seed, 5, append(ring(4), [2]int{2, 4}))
	c := &chaos{world: w, honest: 4, memory: 20, spared: -1, own: "liar/"}
	c.liar = liar{w.nodes[4].id, w.rnd, func() []byte {
		return []byte([]string{"k0", "k1", "k2", c.own + "x", c.own + "y"}[w.rnd.IntN(5)])
	}}
	for _, r := range w.nodes {
		r.cfg.May, r.cfg.Vital = c.may, vitalKey
		r.s.cfg.May, r.s.cfg.Vital = c.may, vitalKey
		if r.n > 0 {
			r.skew = time.Duration(w.rnd.IntN(2000)-1000) * time.Millisecond
		}
	}
	return c
}

func (c *chaos) may(w Write) error {
	if lies := bytes.HasPrefix(w.Key, []byte(c.own)); lies != (w.Author == c.liar.id) {
		return fmt.Errorf("%s under %q", w.Author, w.Key)
	}
	return nil
}

func (c *chaos) step() {
	rnd := c.rnd
	r, wrote := c.nodes[rnd.IntN(c.honest)], len(c.made)
	key := fmt.Appendf(nil, "k%d", rnd.IntN(3))
	switch rnd.IntN(12) {
	case 0:
		l := c.links[rnd.IntN(len(c.links)-1)]
		c.cut[[2]int{min(l[0], l[1]), max(l[0], l[1])}] = rnd.IntN(2) == 0
	case 1:
		if rnd.IntN(8) == 0 && r.n != c.spared {
			c.wipe(r)
		} else {
			r.crash()
		}
	case 2, 3:
		c.lie()
	case 4:
		c.run(time.Duration(rnd.IntN(3000)) * time.Millisecond)
	case 5:
		c.must(r.do(Count(key, int64(rnd.IntN(9)-4)), Insert(key, []byte{byte(rnd.IntN(3))}), Assign(key, []byte{byte(rnd.IntN(9))})))
	case 6:
		c.must(r.do(Remove(key, []byte{byte(rnd.IntN(3))}), Withdraw(key)))
	case 7:
		c.must(r.do(Delete(key)))
	default:
		c.must(r.do(Put(key, fmt.Appendf(nil, "%d", rnd.IntN(1000)))))
	}
	if len(c.made) > wrote && c.parted() {
		c.did.split++
	}
	c.run(time.Duration(rnd.IntN(100)) * time.Millisecond)
}

// wipe gives a replica a new disk. What nobody else had heard of is lost with the old one.
func (c *chaos) wipe(r *replica) {
	for i := range c.writes {
		w := &c.writes[i]
		known := false
		for _, o := range c.nodes[:c.honest] {
			it := o.item(w.key)
			known = known || o != r && it != nil && (it.dot() == w.dot || it.time > w.time)
		}
		w.acked = w.acked && known
	}
	c.disowned(r)
	c.did.wiped++
	for _, o := range c.nodes[:c.honest] {
		o.sync(nil) // it is on their disks
	}
	r.disk, r.lazy = map[string][]byte{}, nil
	r.cfg.Incarnation, r.cfg.Founder = 1000+c.rnd.Uint64N(1<<40), false
	r.s = New(r.clock(), r.cfg)
	r.sync(r.s.Begun())
	r.y = NewSync(r.s)
	r.connect()
	c.queue = slices.DeleteFunc(c.queue, func(p *packet) bool { return p.job != nil && p.to == r.n })
}

func (c *chaos) must(err error) {
	if err != nil && !errors.Is(err, ErrUnsettled) {
		c.t.Fatal(err)
	}
}

// lie sends one message of the liar to its neighbour.
func (c *chaos) lie() {
	rnd, victim := c.rnd, c.nodes[2].s
	for _, l := range victim.headsAfter(life{}, wire.MaxStateHeads) {
		b := victim.behind(lifeOf(l), 0)
		c.heard = append(c.heard, b.piece(b.live).AppendPiece(nil))
	}
	c.heard = c.heard[max(0, len(c.heard)-c.memory):]
	var raw []byte
	if len(c.heard) > 0 {
		raw = bytes.Clone(c.heard[rnd.IntN(len(c.heard))])
	}
	var m wire.StateMessage
	switch rnd.IntN(9) {
	case 0, 1:
		m = wire.StatePiece{Raw: c.lies(c.liar.piece(c.now.Add(time.Duration(rnd.IntN(5)) * time.Hour)))}
	case 2, 3:
		m = wire.StatePiece{Raw: c.lies(c.liar.piece(c.now))}
	case 4: // as somebody else
		l := c.liar
		l.id = c.nodes[rnd.IntN(4)].id
		raw = l.piece(c.now)
		p, _ := wire.ParsePiece(raw)
		p.Sig = sign(c.liar.id, p.SigningInput(p.Root()))
		raw = p.AppendPiece(nil)
		c.heard = append(c.heard, raw)
		c.did.impostures++
		m = wire.StatePiece{Raw: raw}
	case 5: // what somebody else wrote, changed
		if len(raw) == 0 {
			return
		}
		raw[rnd.IntN(len(raw))] ^= byte(1 + rnd.IntN(255))
		c.did.forged++
		m = wire.StatePiece{Raw: raw}
	case 6: // what somebody else wrote, again
		m = wire.StatePiece{Raw: raw}
	case 7:
		m = victim.Digest()
	default:
		m = c.noise()
	}
	c.send(4, 2, m)
}

// noise is a message of the comparison that says anything.
func (c *chaos) noise() wire.StateMessage {
	rnd := c.rnd
	path := wire.Path{}
	for range rnd.IntN(wire.MaxPathLen + 1) {
		path = path.Child(rnd.IntN(16))
	}
	refs := make([]wire.Ref, rnd.IntN(5))
	for i := range refs {
		refs[i] = wire.Ref{byte(rnd.IntN(256)), byte(rnd.IntN(256))}
	}
	dots := []wire.Dot{{Author: c.nodes[rnd.IntN(5)].id, Incarnation: 100 + rnd.Uint64N(5), Seq: rnd.Uint64() >> rnd.IntN(64)}}
	node := wire.StateNode{Path: path}
	node.Kids[rnd.IntN(16)] = [32]byte{1}
	return []wire.StateMessage{wire.StateRoot{Digest: [32]byte{1}, Count: rnd.Uint64()}, wire.StateHeads{Dots: dots}, wire.StateFetch{After: dots},
		wire.StateNodes{Nodes: []wire.StateNode{node}}, wire.StateItems{Items: []wire.StateItem{{Path: path, Refs: refs}}}, wire.StateOffer{Refs: refs}, wire.StateWant{Refs: refs}}[rnd.IntN(7)]
}

// settle ends the faults and waits until the honest agree.
func (c *chaos) settle() {
	c.faulty, c.tear, c.cut = false, false, map[[2]int]bool{}
	c.nodes = c.nodes[:c.honest]
	c.nodes[2].y.Remove(c.liar.id)
	c.nodes[2].links = c.nodes[2].links[:2]
	c.queue = nil
	c.agree(10 * time.Minute)
	c.consistent()
}

// winners checks that no acknowledged write is lost: of every key the last write counts, of those that were acknowledged and those
// whose node crashed too early to say so.
func (c *chaos) winners() {
	last := map[string]write{}
	for _, w := range c.writes {
		old, ok := last[w.key]
		if it := c.nodes[0].item(w.key); !w.acked && (it == nil || it.dot() != w.dot) {
			continue // it may be lost
		}
		if !ok || cmp.Or(cmp.Compare(w.time, old.time), w.dot.Compare(old.dot)) > 0 {
			last[w.key] = w
		}
	}
	for _, r := range c.nodes {
		for key, w := range last {
			it := r.item(key)
			if it == nil && c.deleted(w) {
				continue
			}
			if it == nil || it.dot() != w.dot || it.gone != w.gone || string(it.entry().Value) != w.value {
				c.t.Fatalf("%s: %q is %+v, the last write was %+v", r.id, key, it, w)
			}
		}
	}
}

// deleted reports whether w or a later write of its key, which need not have been acknowledged, is a deletion that is forgotten.
func (c *chaos) deleted(w write) bool {
	return slices.ContainsFunc(c.writes, func(o write) bool {
		return o.key == w.key && o.gone && o.time >= w.time && c.now.Sub(o.time.Time()) > Life
	})
}

func (r *replica) item(key string) *item {
	return r.s.tree.get(slotOf(&wire.Batch{}, &wire.Entry{Kind: wire.EntryRegister, Key: []byte(key)}))
}

// Whatever happens to network, disks and members, the honest replicas agree when it is over, hold every acknowledged write, and
// nothing that its author did not sign or may not write.
func TestChaos(t *testing.T) {
	refused, did, ran := map[string]uint64{}, injected{}, 0
	for seed := range seeds(t, 2000, 500) {
		c := newChaos(t, seed)
		for name, n := range c.whole() {
			refused[name] += n
		}
		did.add(&c.did)
		ran++
	}
	t.Logf("refused: %v", refused)
	enough := ran >= 500
	did.tell(t, enough)
	for _, name := range []string{"malformed", "forbidden", "future", "refused", "known_bad", "equivocal"} {
		if refused[name] == 0 && enough {
			t.Errorf("nothing was refused as %s: the test does not try it", name)
		}
	}
	if refused["twin"] > 0 {
		t.Error("an honest node met entries of its own that it did not write")
	}
}

// whole runs the faults of a seed, ends them, and checks what is to hold then; it returns what was refused.
func (c *chaos) whole() map[string]uint64 {
	refused := map[string]uint64{}
	c.faulty, c.tear = true, true
	for range 40 {
		c.step()
	}
	for _, r := range c.nodes {
		for name, n := range r.s.Counters() {
			refused[name] += n
		}
	}
	c.settle()
	c.genuine()
	c.winners()
	c.kept()
	return refused
}

// collect has every replica forget what is over, and returns how many entries that were.
func (c *chaos) collect() (n int) {
	for _, r := range c.nodes {
		before := r.s.Digest().Count
		r.write(collect(r.s, r.clock()).Write)
		n += int(before - r.s.Digest().Count)
	}
	return n
}

// The same over months, in which deletions are forgotten while the liar forgets nothing: what was deleted stays deleted. Only a
// replica that is new, and hears it of the liar, cannot know; so the liar's neighbour keeps its disk.
func TestMonths(t *testing.T) {
	old, forgotten, ran := uint64(0), 0, 0
	for seed := range seeds(t, 200, 50) {
		c := newChaos(t, seed)
		c.memory, c.others, c.spared = 2000, 1, 2
		for range 6 {
			c.faulty, c.tear = true, true
			for range 12 {
				c.step()
			}
			c.faulty, c.tear, c.cut = false, false, map[[2]int]bool{}
			for range 3 { // clocks differ: one replica forgets a second before the other
				forgotten += c.collect()
				c.run(3 * time.Second)
			}
			c.agree(12 * time.Minute)
			for _, r := range c.nodes {
				r.sync(nil) // no disk takes days
			}
			c.now = c.now.Add(time.Duration(c.rnd.IntN(20*24)) * time.Hour)
			forgotten += c.collect()
			for range 10 {
				if len(c.heard) > 0 {
					c.send(4, 2, wire.StatePiece{Raw: c.heard[c.rnd.IntN(len(c.heard))]})
				}
			}
		}
		for _, r := range c.nodes {
			old += r.s.Counters()["old"]
		}
		c.others = 0
		for range 3 {
			forgotten += c.collect()
			c.run(3 * time.Second)
		}
		c.settle()
		c.genuine()
		c.winners()
		ran++
	}
	if t.Logf("%d entries forgotten, %d set aside", forgotten, old); ran >= 50 && (forgotten == 0 || old == 0) {
		t.Error("the test does not get there")
	}
}
