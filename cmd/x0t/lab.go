package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh/topology"
)

func (a *app) labCmd() *cobra.Command {
	cmd := a.group(&cobra.Command{
		Use:   "lab",
		Short: "real nodes in network namespaces of this machine",
	})
	cmd.AddCommand(a.labRunCmd(), a.labDemoCmd(), a.labUpCmd(), a.labExecCmd(), a.labInjectCmd(), a.labMendCmd(),
		a.labStatusCmd(), a.labListCmd(), a.labDownCmd(), a.labSoakCmd(), a.labEndureCmd())
	return cmd
}

type labFlags struct {
	faults, keep, page   string
	duration, delay, ttl time.Duration
	hello                time.Duration
	delayGiven           bool
}

func (a *app) labRunCmd() *cobra.Command {
	var fl labFlags
	cmd := &cobra.Command{
		Use:   "run TOPOLOGY",
		Short: "start a mesh, break it, and report what applications noticed",
		Long: "run starts one daemon for each node of TOPOLOGY, waits until the mesh has converged, sends packets between all pairs,\n" +
			"injects the faults while probes run, and reports. TOPOLOGY is a file or one of " + topology.Specs + ".\n" +
			"A fault is one line: KIND TARGET [PARAM] at T [for D], for instance \"cut link:n1-n2 at 2s\"; --faults takes a file of\n" +
			"them, the lines themselves separated by semicolons, or builtin:KIND for that kind in the middle of the path in use.\n" +
			"It fails if a pair does not reach each other, or a fault is not left although a way round it exists.",
		Args: needs("TOPOLOGY"),
	}
	f := cmd.Flags()
	f.StringVar(&fl.faults, "faults", "", "what to break, and when")
	f.DurationVar(&fl.duration, "duration", 0, "how long the probes run (default 10s if there are faults)")
	f.StringVar(&fl.page, "report", "", "write a report page: a file that ends in .html, or a directory")
	a.labShapeFlags(cmd, &fl)
	cmd.RunE = a.do(func(ctx context.Context, args []string) error {
		fl.delayGiven = f.Changed("delay")
		opt, err := a.labOptions(args[0], fl)
		if err != nil {
			return err
		}
		return a.inLab(func() error { return a.labRun(ctx, opt) })
	})
	return cmd
}

// labShapeFlags are those that say what lab is made.
func (a *app) labShapeFlags(cmd *cobra.Command, fl *labFlags) {
	f := cmd.Flags()
	f.DurationVar(&fl.delay, "delay", 0, "one-way delay of every link, 0 for none (default: the map's, else 5ms)")
	f.DurationVar(&fl.ttl, "ttl", 0, "life of the nodes' certificates (default 24h)")
	f.DurationVar(&fl.hello, "hello", 0, "time between two hellos on a link (default 50ms, longer with more than 10 nodes a processor)")
	f.StringVar(&fl.keep, "keep", "", "keep the daemons' logs and configurations in this directory")
}

func (a *app) labOptions(name string, fl labFlags) (lab.Options, error) {
	opt := lab.Options{Duration: fl.duration, Delay: fl.delay, TTL: fl.ttl, Hello: fl.hello, Keep: fl.keep, Page: fl.page, Progress: a.err}
	if min(fl.duration, fl.delay, fl.ttl, fl.hello) < 0 {
		return opt, usagef("--duration, --delay, --ttl and --hello cannot be negative")
	}
	m, err := a.loadMap(name)
	if err != nil {
		return opt, err
	}
	opt.Map = labMap(m, fl.delayGiven)
	if fl.delayGiven && fl.delay == 0 {
		opt.Delay = lab.NoDelay
	}
	if opt.Faults, err = lab.LoadFaults(fl.faults, opt.Map.Nodes); err != nil {
		return opt, usageError{err}
	}
	return opt, nil
}

// loadMap reads the map that name says: a file if there is one of that name, else a built-in one; behind a '#' may
// stand which piece of it is wanted.
func (a *app) loadMap(name string) (*topology.Map, error) {
	m, err := readMap(name)
	if err != nil {
		return nil, err
	}
	whole := len(m.Nodes)
	if m.Skipped > 0 {
		fmt.Fprintf(a.err, "x0t: %s: %d nodes and links that cannot be are left out (loops, repeated ids, links to nowhere or that deliver nothing)\n", name, m.Skipped)
	}
	_, piece := topology.Split(name)
	if m, err = m.Simple().Piece(piece); err != nil {
		return nil, usageError{err}
	}
	if !m.Connected(topology.Broken{}) {
		m = m.Largest()
		fmt.Fprintf(a.err, "x0t: %s is in several parts; taking the largest, %d of %d nodes\n", name, len(m.Nodes), whole)
	}
	return m, nil
}

func readMap(name string) (*topology.Map, error) {
	base, _ := topology.Split(name)
	b, err := os.ReadFile(base) // #nosec G304 -- the user names the file
	switch {
	case err == nil:
		return topology.Parse(base, b)
	case !errors.Is(err, os.ErrNotExist) || strings.ContainsAny(base, "/."):
		return nil, fmt.Errorf("topology: %w", err)
	}
	m, err := topology.Builtin(base)
	if err != nil {
		return nil, usageError{err}
	}
	return m, nil
}

// labMap turns a map into what the lab builds, without its delays if others are wanted.
func labMap(m *topology.Map, otherDelay bool) lab.Map {
	out := lab.FromTopology(m)
	for i := range out.Links {
		if otherDelay {
			out.Links[i].Delay = 0
		}
	}
	return out
}

// inLab runs f where namespaces can be made: here, or in a copy of this process that then does the work.
func (a *app) inLab(f func() error) error {
	code, done, err := lab.Enter()
	switch {
	case err != nil:
		return err
	case done && code == exitDone:
		return nil
	case done:
		return exitError(code)
	}
	return f()
}

func (a *app) labRun(ctx context.Context, opt lab.Options) error {
	r, err := lab.Run(ctx, opt)
	if r == nil {
		return err
	}
	var shown error
	if a.json {
		shown = writeJSON(a.out, r)
	} else {
		shown = r.Text(a.out)
	}
	if err = errors.Join(err, shown); err != nil {
		return err
	}
	if !healed(r) {
		return errQuiet
	}
	return nil
}

// healed reports whether the mesh did what it is for.
func healed(r *lab.Report) bool {
	for _, f := range r.Faults {
		if f.PathExisted && !f.Recovered {
			return false
		}
	}
	return r.PairsReachable == r.Pairs
}

func (a *app) labDemoCmd() *cobra.Command {
	var keep string
	cmd := &cobra.Command{
		Use:   "demo [TOPOLOGY]",
		Short: "watch a mesh lose a link in the middle of a download",
		Args:  cobra.MaximumNArgs(1),
	}
	cmd.Flags().StringVar(&keep, "keep", "", "keep the daemons' logs and configurations in this directory")
	cmd.RunE = a.do(func(ctx context.Context, args []string) error {
		if a.json {
			return usagef("a demo is to be looked at and has no JSON; x0t lab run has")
		}
		opt := lab.DemoOptions{Keep: keep, Out: a.out, TTY: isTerminal(a.out)}
		if len(args) == 1 {
			m, err := a.loadMap(args[0])
			if err != nil {
				return err
			}
			opt.Map = labMap(m, false)
		}
		return a.inLab(func() error { return lab.Demo(ctx, opt) })
	})
	return cmd
}
