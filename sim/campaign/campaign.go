// Package campaign simulates many small meshes, each of its own seed: a random map on which everything has two ways, random
// faults, sometimes members that lie. What flows are promised is checked all along (sim: promise). A case that breaks a
// promise, or an invariant, is the same whenever it is repeated, and is made small.
package campaign

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"x0tta6bl4/sim"
)

// Plan says what is simulated.
type Plan struct {
	First, Seeds uint64 // so many seeds from the first on
	Least, Most  int    // nodes of a map; 0 = 10 and 20
	Workers      int    // cases at a time; 0 = 1
	Shrinks      int    // failures that are made small; the others are told as they are
	Tries        int    // runs that making one failure small may take; 0 = 400

	// Progress is called after each case with how many are done and how many of them failed, by one goroutine at a time;
	// nil = not wanted.
	Progress func(done, failed uint64)
}

// The bounds of a plan.
const (
	MaxSeeds = 1_000_000
	MinNodes = 4
	MaxNodes = 200
	defTries = 400
)

// ErrPlan is in every error about a plan that cannot be.
var ErrPlan = errors.New("not a campaign")

// ErrProvesNothing says that the unprotected twins of the flows that lost nothing have lost nothing either.
var ErrProvesNothing = errors.New("the campaign proves nothing: no unprotected packet was lost")

// meaningful is how many seeds must have lost an unprotected packet.
const meaningful = 50

// Result is what came of a campaign.
type Result struct {
	First    uint64    `json:"first_seed"`
	Seeds    uint64    `json:"seeds"`
	Least    int       `json:"least_nodes"`
	Most     int       `json:"most_nodes"`
	Failed   uint64    `json:"failed"`
	Failures []Failure `json:"failures"` // by seed, the first maxFailures
	sim.Promised
	Sent uint64  `json:"packets_sent"`
	Time float64 `json:"simulated_ms"`
}

// maxFailures is how many failures are told.
const maxFailures = 100

// Failure is a case that broke something.
type Failure struct {
	Seed   uint64 `json:"seed"`
	Error  string `json:"error"`
	Small  bool   `json:"small"` // the case was made small
	Map    string `json:"topology"`
	Faults string `json:"faults"`
	Args   string `json:"arguments"` // of x0t sim, besides topology and faults

	err error
}

func (p *Plan) check() error {
	if p.Least == 0 && p.Most == 0 {
		p.Least, p.Most = 10, 20
	}
	if p.Tries == 0 {
		p.Tries = defTries
	}
	switch {
	case p.Seeds == 0 || p.Seeds > MaxSeeds || p.First+p.Seeds < p.First:
		return fmt.Errorf("%w: %d seeds: from 1 to %d", ErrPlan, p.Seeds, MaxSeeds)
	case p.Least < MinNodes || p.Most < p.Least || p.Most > MaxNodes:
		return fmt.Errorf("%w: %d to %d nodes: from %d to %d, the smaller number first", ErrPlan, p.Least, p.Most, MinNodes, MaxNodes)
	}
	return nil
}

// Run simulates all cases. Its error is about the plan, the context, or a campaign that proves nothing; what failed is in the
// result, which is the same for the same plan whatever Workers is.
func Run(ctx context.Context, p Plan) (*Result, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	r := &Result{First: p.First, Seeds: p.Seeds, Least: p.Least, Most: p.Most, Failures: []Failure{}}
	if err := r.runAll(ctx, &p); err != nil {
		return nil, err
	}
	r.first()
	for i := range r.Failures {
		c := draw(r.Failures[i].Seed, p.Least, p.Most)
		if i < p.Shrinks {
			if err := r.Failures[i].shrink(ctx, c, p.Tries); err != nil {
				return nil, err
			}
		}
		r.Failures[i].tell(c)
	}
	if r.Failed == 0 && p.Seeds >= meaningful && r.Lost == 0 {
		return r, ErrProvesNothing
	}
	return r, nil
}

// runAll runs all cases, several at a time.
func (r *Result) runAll(ctx context.Context, p *Plan) error {
	var mu sync.Mutex // guards r, done and failed
	var next atomic.Uint64
	var done uint64
	var wg sync.WaitGroup
	var failed error
	for range max(p.Workers, 1) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < p.Seeds && ctx.Err() == nil; i = next.Add(1) - 1 {
				c := draw(p.First+i, p.Least, p.Most)
				report, err := c.run(ctx)
				mu.Lock()
				if err != nil && !errors.Is(err, sim.ErrInvariant) && failed == nil {
					failed = fmt.Errorf("seed %d: %w", c.Seed, err)
				}
				r.add(c, report, err)
				if done++; p.Progress != nil {
					p.Progress(done, r.Failed)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	return failed
}

// run simulates a case.
func (c *Case) run(ctx context.Context) (*sim.Report, error) {
	cfg := c.config()
	cfg.Progress = func(time.Duration) error { return ctx.Err() }
	w, err := sim.New(cfg)
	if err != nil {
		return nil, err
	}
	return w.Run()
}

// add takes over what came of one case.
func (r *Result) add(c *Case, report *sim.Report, err error) {
	r.Time += float64(c.Duration.Milliseconds())
	if err != nil {
		r.Failed++
		r.Failures = append(r.Failures, Failure{Seed: c.Seed, Error: err.Error(), err: err})
		if len(r.Failures) > 2*maxFailures {
			r.first()
		}
		return
	}
	r.Sent += report.Sent
	r.Add(report.Promises)
}

// first puts the failures in order, and keeps the first.
func (r *Result) first() {
	slices.SortFunc(r.Failures, func(a, b Failure) int { return cmp.Compare(a.Seed, b.Seed) })
	r.Failures = r.Failures[:min(len(r.Failures), maxFailures)]
}
