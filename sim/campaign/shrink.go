package campaign

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
	"x0tta6bl4/sim"
)

// shrinker makes a case that fails small. Whatever it leaves out, the case still fails alike: by the same sentence, of
// whatever nodes and times.
type shrinker struct {
	ctx   context.Context
	run   func(context.Context, *Case) error
	best  *Case
	err   error
	what  string
	tries int
}

// shrink makes the case of a failure small, in so many runs: it drops faults, liars and flows, then nodes and links, then time,
// each in halves, quarters and so on, until nothing more can go. The error is that of ctx.
func (f *Failure) shrink(ctx context.Context, c *Case, tries int) error {
	var v *sim.Violation
	if !errors.As(f.err, &v) {
		return nil
	}
	s := &shrinker{ctx: ctx, best: c.clone(), err: f.err, what: v.What, tries: tries, run: func(ctx context.Context, c *Case) error {
		_, err := c.run(ctx)
		return err
	}}
	s.shrink()
	if err := ctx.Err(); err != nil {
		return err
	}
	f.Small, f.Error, f.err = true, s.err.Error(), s.err
	*c = *s.best
	return nil
}

func (s *shrinker) shrink() {
	for before := -1; before != s.best.weight() && s.tries > 0; {
		before = s.best.weight()
		s.drop(len(s.best.Faults), func(c *Case, from, to int) { c.Faults = slices.Delete(c.Faults, from, to) })
		s.drop(len(s.best.Liars), func(c *Case, from, to int) { c.Liars = slices.Delete(c.Liars, from, to) })
		s.drop(len(s.best.Flows), func(c *Case, from, to int) { c.Flows = slices.Delete(c.Flows, from, to) })
		s.drop(len(s.best.Map.Nodes), (*Case).dropNodes)
		s.drop(len(s.best.Map.Links), func(c *Case, from, to int) { c.Map.Links = slices.Delete(c.Map.Links, from, to) })
		s.shorten()
	}
}

// weight is how much there is of a case.
func (c *Case) weight() int {
	n := len(c.Faults) + len(c.Liars) + len(c.Flows) + len(c.Map.Nodes) + len(c.Map.Links) + int(c.Duration/time.Millisecond)
	for _, f := range c.Faults {
		n += int(f.For / time.Millisecond)
	}
	return n
}

func (c *Case) clone() *Case {
	d := *c
	d.Faults, d.Liars, d.Flows = slices.Clone(c.Faults), slices.Clone(c.Liars), slices.Clone(c.Flows)
	m := *c.Map
	m.Nodes, m.Links = slices.Clone(m.Nodes), slices.Clone(m.Links)
	d.Map = &m
	return &d
}

// attempt takes a smaller case in the place of the best if it fails alike, and reports whether it does.
func (s *shrinker) attempt(change func(*Case)) bool {
	if s.tries == 0 || s.ctx.Err() != nil {
		return false
	}
	s.tries--
	c := s.best.clone()
	change(c)
	if len(c.Flows) == 0 {
		return false
	}
	err := s.run(s.ctx, c)
	var v *sim.Violation
	if !errors.As(err, &v) || v.What != s.what {
		return false
	}
	c.Duration = min(c.Duration, v.At.Truncate(100*time.Millisecond)+100*time.Millisecond)
	s.best, s.err = c, err
	return true
}

// drop leaves out what can be of n things, first half of them at a time, at last one by one, from the last to the first.
func (s *shrinker) drop(n int, without func(c *Case, from, to int)) {
	for size := (n + 1) / 2; size > 0; size /= 2 {
		for to := n; to > 0; to -= size {
			from := max(to-size, 0)
			if s.attempt(func(c *Case) { without(c, from, to) }) {
				n -= to - from
			}
		}
	}
}

// dropNodes leaves out nodes and their links. Faults, liars and flows that need them make the case one that cannot be run.
func (c *Case) dropNodes(from, to int) {
	gone := c.Map.Nodes[from:to]
	isGone := func(id mesh.NodeID) bool {
		return slices.ContainsFunc(gone, func(n topology.Node) bool { return n.ID == id })
	}
	for i := range c.Faults {
		for side, ids := range c.Faults[i].Sides {
			c.Faults[i].Sides[side] = slices.DeleteFunc(slices.Clone(ids), isGone)
		}
	}
	m := &topology.Map{Name: c.Map.Name}
	at := make([]int, len(c.Map.Nodes))
	for i, n := range c.Map.Nodes {
		if at[i] = -1; !isGone(n.ID) {
			at[i] = len(m.Nodes)
			m.Nodes = append(m.Nodes, n)
		}
	}
	for _, l := range c.Map.Links {
		if l.A, l.B = at[l.A], at[l.B]; l.A >= 0 && l.B >= 0 {
			m.Links = append(m.Links, l)
		}
	}
	c.Map = m
}

// shorten makes faults shorter, and all of them earlier.
func (s *shrinker) shorten() {
	for i := range s.best.Faults {
		for s.best.Faults[i].For > 2*time.Millisecond && s.attempt(func(c *Case) { c.Faults[i].For /= 2 }) {
		}
		s.attempt(func(c *Case) { c.Faults[i].At = c.Faults[i].At.Truncate(100 * time.Millisecond) })
	}
	if len(s.best.Faults) > 0 && s.best.Faults[0].At > first {
		s.attempt(func(c *Case) {
			by := c.Faults[0].At - first
			for i := range c.Faults {
				c.Faults[i].At -= by
			}
		})
	}
}

// tell writes a case down as x0t sim reads it.
func (f *Failure) tell(c *Case) {
	f.Map = string(c.Map.Format())
	var script strings.Builder
	for _, x := range c.Faults {
		fmt.Fprintln(&script, x)
	}
	f.Faults = script.String()
	f.Args = fmt.Sprintf("--seed %d --duration %v --packet %v --between %s --protect --promises", c.Seed, c.Duration, packet, joined(c.Flows))
	if len(c.Liars) > 0 {
		f.Args += " --liars " + joined(c.Liars)
	}
	if x := c.slander(); x > 0 {
		f.Args += fmt.Sprintf(" --slander %v", x)
	}
}

// joined lists things with commas between.
func joined[T fmt.Stringer](all []T) string {
	var words []string
	for _, x := range all {
		words = append(words, x.String())
	}
	return strings.Join(words, ",")
}
