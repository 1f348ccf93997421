package crdt

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// What a long campaign asks of TestChaos and TestMonths: scripts/soak.
var (
	stateSeeds = flag.Uint64("state.seeds", 0, "seeds of TestChaos and TestMonths; 0: as many as each has for every day")
	stateFirst = flag.Uint64("state.first", 0, "the first of them")
	stateFor   = flag.Duration("state.for", 0, "begin no further seed after this time; 0: until all are done")
)

// seeds yields the seeds of a test, and says how many they were and how one that failed is run again.
func seeds(t *testing.T, usual, short uint64) iter.Seq[uint64] {
	n, first, began := usual, *stateFirst, time.Now()
	if testing.Short() {
		n = short
	}
	if *stateSeeds > 0 {
		n = *stateSeeds
	}
	return func(yield func(uint64) bool) {
		seed := first
		defer func() {
			if t.Failed() {
				t.Logf("seed %d again: go test -count=1 -run '^%s$' ./core/crdt -args -state.first %d -state.seeds 1", seed, t.Name(), seed)
			} else {
				t.Logf("%d seeds from %d on, none failed", seed-first, first)
			}
		}()
		for ; seed-first < n && (*stateFor == 0 || time.Since(began) < *stateFor); seed++ {
			if !yield(seed) {
				return
			}
		}
	}
}

// injected is how often what a campaign is about was done to it.
type injected struct {
	lost, doubled, late int // messages: lost, come twice, come behind later ones
	severed             int // messages that a cut link did not carry
	split               int // writes while the honest were in two parts
	crashes, unsynced   int // restarts, and outcomes that the disk had not yet got when they came
	torn                int // crashes between signing a write and acknowledging it
	wiped               int // disks lost
	impostures          int // pieces in somebody else's name
	erasures            int // entries of the liar that delete, or cover, under the keys of others
	forged              int // pieces of others that were changed
}

func (a *injected) add(b *injected) {
	x, y := a.all(), b.all()
	for i := range x {
		*x[i].n += *y[i].n
	}
}

type tried struct {
	name string
	n    *int
}

func (a *injected) all() []tried {
	return []tried{
		{"lost", &a.lost}, {"doubled", &a.doubled}, {"out of order", &a.late}, {"not carried by a cut link", &a.severed},
		{"writes while parted", &a.split}, {"crashes", &a.crashes}, {"outcomes not on disk", &a.unsynced}, {"torn writes", &a.torn},
		{"disks lost", &a.wiped}, {"impostures", &a.impostures}, {"erasures", &a.erasures}, {"changed pieces", &a.forged},
	}
}

// tell says what was injected; with must, all of it has to have been.
func (a *injected) tell(t *testing.T, must bool) {
	var words []string
	for _, x := range a.all() {
		words = append(words, fmt.Sprintf("%s %d", x.name, *x.n))
		if must && *x.n == 0 {
			t.Errorf("%s: none: the test does not try it", x.name)
		}
	}
	t.Log(strings.Join(words, ", "))
}

// made is an entry that an honest replica signed. It is acked if its node said that it is written.
type made struct {
	id    [32]byte
	slot  slot
	time  mesh.Hybrid
	dot   wire.Dot
	acked bool
}

// counts reports whether a replica that holds it in the entry's slot has the entry, or what took its place.
func (m *made) counts(it *item) bool {
	return it != nil && cmp.Or(cmp.Compare(it.time, m.time), it.dot().Compare(m.dot), bytes.Compare(it.id[:], m.id[:])) >= 0
}

// parted reports whether the honest are in two parts.
func (c *chaos) parted() bool {
	reached, queue := map[int]bool{0: true}, []int{0}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		for _, m := range c.nodes[n].links {
			if m < c.honest && !reached[m] && !c.cut[[2]int{min(n, m), max(n, m)}] {
				reached[m] = true
				queue = append(queue, m)
			}
		}
	}
	return len(reached) < c.honest
}

// lies notes what the liar tries with a piece of its own.
func (c *chaos) lies(raw []byte) []byte {
	p, err := wire.ParsePiece(raw)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, l := range p.Leaves {
		if (l.Entry.Gone || len(l.Entry.Covers) > 0) && !bytes.HasPrefix(l.Entry.Key, []byte(c.own)) {
			c.did.erasures++
		}
	}
	return raw
}

// genuine checks that the honest hold of each other what was signed, and of the liar what it may write.
func (c *chaos) genuine() {
	signed := map[[32]byte]bool{}
	for i := range c.made {
		signed[c.made[i].id] = true
	}
	for _, r := range c.nodes[:c.honest] {
		for _, it := range r.s.tree.root.gather(nil) {
			if lies := it.batch.Author == c.liar.id; lies && !bytes.HasPrefix(it.key(), []byte(c.own)) || !lies && !signed[it.id] {
				c.t.Fatalf("%s holds %v under %q, which its author did not sign or may not write", r.id, it.dot(), it.key())
			}
		}
	}
}

// kept checks that of each entry that was acknowledged, of any kind, the honest have it or what its author's later one, or for
// a register anybody's, put in its place.
func (c *chaos) kept() {
	for _, r := range c.nodes[:c.honest] {
		for i := range c.made {
			if m := &c.made[i]; m.acked && !m.counts(r.s.tree.get(m.slot)) {
				c.t.Fatalf("%s has lost %v of %v", r.id, m.dot, m.time.Time())
			}
		}
	}
}

// disowned takes what nobody else has of what r has written for not acknowledged.
func (c *chaos) disowned(r *replica) {
	for i := range c.made {
		m := &c.made[i]
		m.acked = m.acked && slices.ContainsFunc(c.nodes[:c.honest], func(o *replica) bool { return o != r && m.counts(o.s.tree.get(m.slot)) })
	}
}

// caught is a TB that a test fails into.
type caught struct {
	testing.TB
	what string
}

func (c *caught) Helper()                   {}
func (c *caught) Logf(string, ...any)       {}
func (c *caught) Failed() bool              { return c.what != "" }
func (c *caught) Fatal(args ...any)         { c.fail(fmt.Sprint(args...)) }
func (c *caught) Fatalf(f string, a ...any) { c.fail(fmt.Sprintf(f, a...)) }

func (c *caught) fail(what string) {
	c.what = what
	panic(c)
}

// Each defect that a campaign is to find is found.
func TestChaosFinds(t *testing.T) {
	for _, d := range []struct {
		name, want string
		sabotage   func(c *chaos)
	}{
		{"a check of signatures that passes all", "did not sign", func(c *chaos) { c.judge = func(*Job) error { return nil } }},
		{"a policy that lets everybody write", "may not write", func(c *chaos) {
			for _, r := range c.nodes {
				r.cfg.May, r.s.cfg.May = nil, nil
			}
		}},
		{"writes acknowledged before they are on disk", "", func(c *chaos) { c.hasty = true }},
		{"a replica that takes nothing in", "no agreement", func(c *chaos) {
			c.deaf = func(to int, m wire.StateMessage) bool { _, is := m.(wire.StatePiece); return is && to == 1 }
		}},
	} {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(100) {
				if what := chaosOf(t, seed, d.sabotage); strings.Contains(what, d.want) && what != "" {
					t.Logf("seed %d: %s", seed, what)
					return
				}
			}
			t.Error("no seed of 100 found it")
		})
	}
}

// chaosOf runs one seed with a defect and returns how it failed; empty: it did not.
func chaosOf(t *testing.T, seed uint64, sabotage func(*chaos)) (what string) {
	trap := &caught{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(trap) {
			panic(r)
		}
		what = trap.what
	}()
	c := newChaos(trap, seed)
	sabotage(c)
	c.whole()
	return ""
}
