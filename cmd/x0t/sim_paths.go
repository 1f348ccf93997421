package main

import (
	"context"

	"github.com/spf13/cobra"

	"x0tta6bl4/sim"
)

// simPathsCmd measures the computation of paths. It is real time, of this machine.
func (a *app) simPathsCmd() *cobra.Command {
	var nodes []int
	var k, runs int
	var seed uint64
	cmd := &cobra.Command{
		Use:   "paths",
		Short: "how long this machine takes to compute paths",
		Long: "paths makes random graphs of a mean degree of 6, a ring and two chords for each node, and measures with the code that\n" +
			"nodes run: k disjoint paths to one destination, from one source and from a new one each time; and, after the cost of\n" +
			"one link has changed, the graph and the tree of shortest paths, and the graph and the k paths to one destination.",
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.IntSliceVar(&nodes, "nodes", []int{1000, 10_000}, "the sizes of the graphs")
	f.IntVar(&k, "paths", 3, "how many disjoint paths")
	f.IntVar(&runs, "runs", 300, "how often each is measured")
	f.Uint64Var(&seed, "seed", 1, "seed of the graphs")
	cmd.RunE = a.do(func(ctx context.Context, _ []string) error {
		all := []sim.PathTimes{}
		for _, n := range nodes {
			if err := ctx.Err(); err != nil {
				return err
			}
			t, err := sim.MeasurePaths(n, k, runs, seed, a.now)
			if err != nil {
				return usageError{err}
			}
			all = append(all, t)
		}
		return a.show(all, func() { a.pathsText(all) })
	})
	return cmd
}

func (a *app) pathsText(all []sim.PathTimes) {
	var t table
	t.row(cell{"nodes", bold}, cell{"links", bold}, cell{"", bold}, cell{"p50 ms", bold}, cell{"p99 ms", bold}, cell{"max ms", bold})
	for _, p := range all {
		for _, r := range []struct {
			name string
			sim.Elapsed
		}{{"disjoint paths", p.Disjoint}, {"from a new source", p.Cold}, {"tree after a change", p.Tree}, {"paths after a change", p.Update}} {
			t.row(textf("%d", p.Nodes), textf("%d", p.Links), textf("%s", r.name), textf("%.3f", r.P50), textf("%.3f", r.P99), textf("%.3f", r.Max))
		}
	}
	t.print(a)
}
