package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
	"x0tta6bl4/lab"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
	"x0tta6bl4/sim"
)

// What a soak is if the command line does not say.
const (
	soakOut     = "out/soak"
	soakSimTime = 25 * time.Second // a builtin fault strikes after 10 s
	// soakSimOutage is the longest gap in the simulator that still counts as healed, milliseconds.
	soakSimOutage = 3000
)

type soakFlags struct {
	maps, kinds, out string
	seed             uint64
	hold, hello      time.Duration
	piece            int
	noSim            bool
}

func (a *app) labSoakCmd() *cobra.Command {
	var fl soakFlags
	cmd := &cobra.Command{
		Use:   "soak --maps DIR|FILE|TOPOLOGY,…",
		Short: "every fault kind on every map, in the lab and in the simulator",
		Long: "soak brings up each map, checks all pairs, and injects one fault kind after the other at places on paths in use. A\n" +
			"cell is healed if traffic was back while the fault still held, between nodes that a way was left to join. Maps of up\n" +
			"to 60 nodes are run in the lab, larger ones in the simulator; with --piece N also the N nodes around the busiest of\n" +
			"a larger one in the lab. The table is kept in --out after every cell, and the same command goes on where the last\n" +
			"one stopped. It fails if a cell failed.",
		Args: needs(),
	}
	f := cmd.Flags()
	f.StringVar(&fl.maps, "maps", "", "directories, files or built-in maps, separated by commas")
	f.StringVar(&fl.kinds, "kinds", "all", "fault kinds, separated by commas")
	f.StringVar(&fl.out, "out", soakOut, "directory of the table: soak.md, soak.html, soak.json")
	f.Uint64Var(&fl.seed, "seed", 1, "seed of the places that are struck")
	f.DurationVar(&fl.hold, "duration", 0, "how long each fault holds (default 6s, longer where hellos are slower)")
	f.DurationVar(&fl.hello, "hello", 0, "time between two hellos on a link of the labs (default 50ms, longer with more than 10 nodes a processor)")
	f.IntVar(&fl.piece, "piece", 0, "of larger maps, so many nodes in the lab as well (0 = none)")
	f.BoolVar(&fl.noSim, "no-sim", false, "leave the simulator out")
	cmd.RunE = a.do(func(ctx context.Context, _ []string) error {
		s, err := a.newSoak(fl)
		if err != nil {
			return err
		}
		return a.inLab(func() error { return s.run(ctx) })
	})
	return cmd
}

// soaking is one soak: a list of steps that each fill some cells of the table.
type soaking struct {
	*app
	fl    soakFlags
	table *lab.Table
	kinds []fault.Kind
	steps []soakStep
	all   int // cells
	done  int
	began time.Time
	left  float64 // weight of the cells that are to be done
	fresh float64 // weight of the cells that this process did
}

// soakStep is one map, whole in the simulator or in the lab.
type soakStep struct {
	sim bool
	m   *topology.Map
}

func (s soakStep) engine() string {
	if s.sim {
		return "sim"
	}
	return "lab"
}

// weight is about how many seconds a cell takes. Only the relations count: tell scales it by what cells took so far.
func (s soakStep) weight(k fault.Kind, hold time.Duration) float64 {
	switch nodes := float64(len(s.m.Nodes)); {
	case s.sim:
		return nodes * nodes / 5000
	case k == lab.ReachCell: // with making the lab
		return 3 + nodes
	}
	return lab.SoakTime(len(s.m.Nodes), hold).Seconds()
}

func (a *app) newSoak(fl soakFlags) (*soaking, error) {
	if fl.maps == "" {
		return nil, usagef("--maps is missing: name directories, files or built-in maps")
	}
	if min(fl.hold, fl.hello) < 0 || fl.piece < 0 || fl.piece == 1 || fl.piece > lab.MaxNodes {
		return nil, usagef("--duration and --hello cannot be negative, and --piece is 2 to %d, or 0", lab.MaxNodes)
	}
	s := &soaking{app: a, fl: fl, began: a.now()}
	var err error
	if s.kinds, err = soakKinds(fl.kinds); err != nil {
		return nil, err
	}
	names, err := soakMaps(fl.maps)
	if err != nil {
		return nil, err
	}
	var labs, sims []soakStep
	for _, name := range names {
		m, err := a.loadMap(name)
		if err != nil {
			return nil, err
		}
		m.Name = filepath.Base(m.Name)
		if len(m.Nodes) <= lab.MaxNodes {
			labs = append(labs, soakStep{false, m})
			continue
		}
		if !fl.noSim {
			sims = append(sims, soakStep{true, m})
		}
		if fl.piece > 0 {
			if m, err = m.Piece(fmt.Sprint(fl.piece)); err != nil {
				return nil, err
			}
			labs = append(labs, soakStep{false, m})
		}
	}
	s.steps = append(labs, sims...)
	slices.SortStableFunc(s.steps, func(a, b soakStep) int { // what is soon known comes first
		return cmp.Or(strings.Compare(a.engine(), b.engine()), cmp.Compare(len(a.m.Nodes), len(b.m.Nodes)))
	})
	if s.all = len(s.steps) * (1 + len(s.kinds)); s.all == 0 {
		return nil, usagef("--maps %s: nothing is left to run: without the simulator, maps of more than %d nodes need --piece", fl.maps, lab.MaxNodes)
	}
	if s.table, err = lab.OpenTable(fl.out, fl.seed); err != nil {
		return nil, err
	}
	for _, step := range s.steps {
		for _, k := range s.cells() {
			if s.table.Done(step.engine(), step.m.Name, string(k)) {
				s.done++
			} else {
				s.left += step.weight(k, fl.hold)
			}
		}
	}
	return s, nil
}

// cells are what is done on each map.
func (s *soaking) cells() []fault.Kind { return append([]fault.Kind{lab.ReachCell}, s.kinds...) }

func soakKinds(list string) ([]fault.Kind, error) {
	if list == "all" {
		return fault.Kinds(), nil
	}
	var kinds []fault.Kind
	for _, k := range strings.Split(list, ",") {
		if !slices.Contains(fault.Kinds(), fault.Kind(k)) {
			return nil, usagef("--kinds: there is no kind %q; there are %v", k, fault.Kinds())
		}
		kinds = append(kinds, fault.Kind(k))
	}
	return kinds, nil
}

// soakMaps lists the maps that --maps names; a directory stands for the maps in it.
func soakMaps(list string) (names []string, err error) {
	for _, name := range strings.Split(list, ",") {
		if info, err := os.Stat(name); err != nil || !info.IsDir() {
			names = append(names, name)
			continue
		}
		for _, ending := range []string{"*.tsv", "*.json", "*.topo"} {
			found, err := filepath.Glob(filepath.Join(name, ending))
			if err != nil {
				return nil, err
			}
			names = append(names, found...)
		}
	}
	if len(names) == 0 {
		return nil, usagef("--maps %s: there are no maps (*.tsv, *.json, *.topo)", list)
	}
	return names, nil
}

func (s *soaking) run(ctx context.Context) error {
	var broken []error
	for _, step := range s.steps {
		if err := s.step(ctx, step); err != nil {
			if ctx.Err() != nil {
				return errors.Join(err, s.table.Write())
			}
			fmt.Fprintf(s.err, "soak: %s on %s: %v\n", step.engine(), step.m.Name, err)
			broken = append(broken, s.broke(step, err))
			continue
		}
		s.table.Drop(step.engine(), step.m.Name, labItself) // what broke once is mended
	}
	if err := errors.Join(append(broken, s.table.Write())...); err != nil {
		return err
	}
	if err := s.show(s.table, func() { fmt.Fprint(s.out, s.table.Markdown()) }); err != nil {
		return err
	}
	if len(s.table.Failures()) > 0 {
		return errQuiet
	}
	return nil
}

// labItself is the cell of a map that broke off after all pairs had been reached.
const labItself = "the lab itself"

// broke writes down that a map could not be run at all.
func (s *soaking) broke(step soakStep, err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	kind := lab.ReachCell
	if s.table.Done(step.engine(), step.m.Name, kind) {
		kind = labItself
	}
	return s.table.Add(lab.Cell{Map: step.m.Name, Engine: step.engine(), Kind: kind, Seed: s.fl.seed,
		Nodes: len(step.m.Nodes), Links: len(step.m.Links), Verdict: lab.Failed, Note: line})
}

func (s *soaking) step(ctx context.Context, step soakStep) error {
	switch done := func(k fault.Kind) bool { return s.table.Done(step.engine(), step.m.Name, string(k)) }; {
	case !slices.ContainsFunc(s.cells(), func(k fault.Kind) bool { return !done(k) }):
		return nil
	case step.sim:
		return s.simulate(ctx, step)
	}
	opt := lab.SoakOptions{Kinds: s.kinds, Seed: s.fl.seed, Hold: s.fl.hold, Logs: s.fl.out,
		Lab:  lab.Options{Map: lab.FromTopology(step.m), Hello: s.fl.hello, Progress: s.err},
		Done: func(k fault.Kind) bool { return s.table.Done("lab", step.m.Name, string(k)) }}
	var lost error
	opt.Tell = func(c lab.Cell) { lost = errors.Join(lost, s.tell(step, c)) }
	return errors.Join(lab.Soak(ctx, opt), lost)
}

// tell keeps a cell and says how far the soak is.
func (s *soaking) tell(step soakStep, c lab.Cell) error {
	weight := step.weight(fault.Kind(c.Kind), s.fl.hold)
	s.fresh += weight // also if it was done before: a lab that goes on has to be made again
	if !s.table.Done(c.Engine, c.Map, c.Kind) {
		s.done++
		s.left -= weight
	}
	var left time.Duration
	if s.fresh > 0 {
		left = time.Duration(float64(s.now().Sub(s.began)) / s.fresh * max(0, s.left))
	}
	fmt.Fprintf(s.err, "soak: %d of %d, about %s left: %s %s %s: %s, outage %.0f ms %s\n", s.done, s.all, left.Round(time.Second),
		c.Engine, c.Map, c.Kind, c.Verdict, float64(c.Outage.Duration())/1e6, c.Note)
	if err := s.table.Add(c); err != nil {
		return err
	}
	return s.table.Write()
}

// simulate runs a map whole, once without and once for each kind.
func (s *soaking) simulate(ctx context.Context, step soakStep) error {
	for _, k := range s.cells() {
		if s.table.Done("sim", step.m.Name, string(k)) {
			continue
		}
		began := s.now()
		c := lab.Cell{Map: step.m.Name, Engine: "sim", Kind: string(k), Seed: s.fl.seed, Nodes: len(step.m.Nodes), Links: len(step.m.Links)}
		if err := s.simCell(ctx, step.m, k, &c); err != nil {
			return err
		}
		c.Took = api.Millis(s.now().Sub(began))
		if err := s.tell(step, c); err != nil {
			return err
		}
	}
	return nil
}

func (s *soaking) simCell(ctx context.Context, m *topology.Map, k fault.Kind, c *lab.Cell) error {
	cfg := sim.Config{Map: m, Seed: s.fl.seed, Duration: soakSimTime,
		Progress: func(time.Duration) error { return ctx.Err() }}
	if k != lab.ReachCell {
		cfg.Faults = []fault.Fault{{Kind: k, Param: k.Builtin(), Target: fault.Target{Path: true}}}
	}
	w, err := sim.New(cfg)
	if errors.Is(err, fault.ErrUnsupported) {
		c.Verdict, c.Note = lab.NotHere, "the simulator has no such fault"
		return nil
	}
	if err != nil {
		c.Verdict, c.Note = lab.NotHere, err.Error()
		return nil
	}
	r, err := w.Run()
	if err != nil {
		if errors.Is(err, sim.ErrInvariant) {
			c.Verdict, c.Note = lab.Failed, err.Error()
			return nil
		}
		return err
	}
	c.Verdict, c.Outage, c.Lost, c.Sent = lab.Healed, api.Millis(r.Outage*float64(time.Millisecond)), int(r.Lost), int(r.Sent) // #nosec G115 -- counts of a short run
	reason, known := lab.Exceptions[k]
	switch {
	case r.Converged == nil && lossless(m):
		c.Verdict, c.Note = lab.Failed, "never converged"
	case r.Outage > soakSimOutage && known:
		c.Verdict, c.Note = lab.Exception, reason
	case r.Outage > soakSimOutage:
		c.Verdict, c.Note = lab.Failed, fmt.Sprintf("a gap of more than %d ms although a way existed", soakSimOutage)
	}
	return nil
}

// lossless reports whether no link of a map loses packets by nature. Where some do, they come and go, and there may be no
// moment at which all are up.
func lossless(m *topology.Map) bool {
	return !slices.ContainsFunc(m.Links, func(l topology.Link) bool { return l.Quality < 1 })
}
