package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"x0tta6bl4/mesh/fault"
)

// ErrChurn is in every error about churn that cannot be.
var ErrChurn = errors.New("not a churn")

// Churn is random change without end: links are cut and nodes killed, at random times that do not depend on each other
// (Poisson), each for a time drawn evenly between Least and Most. One that is gone already is left alone.
type Churn struct {
	Links       float64       // cuts a second, of the whole mesh
	Nodes       float64       // kills a second
	Least, Most time.Duration // how long a link or node is away
	From        time.Duration // when it begins; 0 = 10 s
}

// IsZero reports whether nothing changes.
func (c Churn) IsZero() bool { return c.Links == 0 && c.Nodes == 0 }

// String is what ParseChurn reads.
func (c Churn) String() string {
	return fmt.Sprintf("links=%g,nodes=%g,for=%s-%s,from=%s", c.Links, c.Nodes, c.Least, c.Most, c.From)
}

// maxChurn is the most changes a second.
const maxChurn = 10_000

// ParseChurn reads links=RATE,nodes=RATE,for=LEAST-MOST,from=TIME: cuts and kills a second in the whole mesh, how long
// each lasts (1s-10s if not said), and when it begins (10s). Each part may be left out.
func ParseChurn(s string) (Churn, error) {
	c := Churn{Least: time.Second, Most: 10 * time.Second, From: builtinAt}
	for part := range strings.SplitSeq(s, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		var err error
		switch key {
		case "links":
			c.Links, err = strconv.ParseFloat(value, 64)
		case "nodes":
			c.Nodes, err = strconv.ParseFloat(value, 64)
		case "from":
			c.From, err = time.ParseDuration(value)
		case "for":
			least, most, ok := strings.Cut(value, "-")
			if !ok {
				most = least
			}
			c.Least, err = time.ParseDuration(least)
			if err == nil {
				c.Most, err = time.ParseDuration(most)
			}
		default:
			err = errors.New("unknown part")
		}
		if err != nil {
			return Churn{}, fmt.Errorf("%w: %q: write for example links=1,nodes=0.1,for=1s-10s", ErrChurn, part)
		}
	}
	return c, c.check()
}

func (c Churn) check() error {
	rate := func(r float64) bool { return r >= 0 && r <= maxChurn } // written so that it refuses NaN
	switch {
	case !rate(c.Links) || !rate(c.Nodes):
		return fmt.Errorf("%w: %s: rates are from 0 to %d a second", ErrChurn, c, maxChurn)
	case !c.IsZero() && (c.Least <= 0 || c.Most < c.Least || c.From < 0):
		return fmt.Errorf("%w: %s: the times are more than 0, the longer one second", ErrChurn, c)
	}
	return nil
}

// churner makes churn, from a source of its own: so the same changes meet a mesh whatever else is drawn.
type churner struct {
	Churn
	rng  *rand.Rand
	done int
}

func (c *churner) init(w *World) error {
	c.Churn = w.cfg.Churn
	if c.IsZero() {
		return nil
	}
	if err := c.check(); err != nil {
		return err
	}
	if c.From == 0 {
		c.From = builtinAt
	}
	c.rng = rand.New(rand.NewPCG(w.cfg.Seed, 0x636875726e)) // #nosec G404 -- seeded so that a run can be repeated
	c.next(w, c.Links, c.From, c.cut)
	c.next(w, c.Nodes, c.From, c.kill)
	return nil
}

// next has something happen at a rate, from a time on.
func (c *churner) next(w *World, rate float64, from time.Duration, what func(*World)) {
	if rate == 0 {
		return
	}
	wait := time.Duration(c.rng.ExpFloat64() / rate * float64(time.Second))
	w.after(from+wait, func() {
		what(w)
		c.next(w, rate, 0, what)
	})
}

func (c *churner) away() time.Duration {
	return c.Least + time.Duration(c.rng.Int64N(int64(c.Most-c.Least)+1))
}

func (c *churner) cut(w *World) {
	l, away := w.wires[c.rng.IntN(len(w.wires))], c.away()
	if l.down == 0 {
		c.strike(w, fault.Fault{Kind: fault.Cut}, target{links: []*wireLink{l}}, away)
	}
}

func (c *churner) kill(w *World) {
	s, away := w.nodes[c.rng.IntN(len(w.nodes))], c.away()
	if s.alive {
		c.strike(w, fault.Fault{Kind: fault.Kill}, target{node: s}, away)
	}
}

func (c *churner) strike(w *World, f fault.Fault, hit target, away time.Duration) {
	c.done++
	f.At, f.For = time.Duration(w.at), away
	w.addFault(f, func() target { return hit })
}
