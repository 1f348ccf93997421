package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"x0tta6bl4/mesh/topology"
	"x0tta6bl4/sim"
)

// scaleRow is what a mesh of one size costs.
type scaleRow struct {
	Member sim.Member    `json:"member"`
	Paths  sim.PathTimes `json:"paths"`
	Mesh   *sim.Mesh     `json:"mesh"` // null: not simulated, see --most
}

type scaleFlags struct {
	nodes    []int
	most     int
	runs     int
	seed     uint64
	duration time.Duration
}

// simScaleCmd prints what meshes of several sizes cost: memory, control traffic, convergence, computation of paths.
func (a *app) simScaleCmd() *cobra.Command {
	var fl scaleFlags
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "what meshes of 10 to 10,000 nodes cost: memory, bytes a second, convergence, computation of paths",
		Long: "scale measures for each size: the database of one node among so many (memory, time to take it in, what renewals cost),\n" +
			"the computation of its paths as x0t sim paths does, and, up to --most nodes, a whole mesh geo:N, which is simulated at\n" +
			"rest and with one link cut a second and a node killed every ten: convergence from the start of all nodes, control bytes\n" +
			"that a node sends a second, outages of streams, and memory. A thousand nodes take some minutes and 1.5 GB;\n" +
			"ten thousand in one process would take more than a hundred times that.",
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.IntSliceVar(&fl.nodes, "nodes", []int{10, 100, 1000, 10_000}, "the sizes")
	f.IntVar(&fl.most, "most", 1000, "the largest mesh that is simulated whole")
	f.IntVar(&fl.runs, "runs", 300, "how often each computation is measured")
	f.Uint64Var(&fl.seed, "seed", 1, "seed of graphs and maps")
	f.DurationVar(&fl.duration, "duration", time.Minute, "simulated time of each mesh, 20s at least")
	cmd.RunE = a.do(func(ctx context.Context, _ []string) error {
		all := []scaleRow{}
		for _, n := range fl.nodes {
			row, err := a.scaleOf(ctx, n, &fl)
			if err != nil {
				return err
			}
			all = append(all, row)
		}
		return a.show(all, func() { a.scaleText(all) })
	})
	return cmd
}

func (a *app) scaleOf(ctx context.Context, n int, fl *scaleFlags) (row scaleRow, err error) {
	if fl.duration < 20*time.Second {
		return row, usageError{fmt.Errorf("--duration %v: 20s at least", fl.duration)}
	}
	if row.Member, err = sim.MeasureMember(n, fl.seed, a.now); err != nil {
		return row, usageError{err}
	}
	if row.Paths, err = sim.MeasurePaths(n, 3, fl.runs, fl.seed, a.now); err != nil {
		return row, usageError{err}
	}
	if n > fl.most {
		return row, ctx.Err()
	}
	m, err := topology.Builtin(fmt.Sprintf("geo:%d:%d", n, fl.seed))
	if err != nil {
		return row, usageError{err}
	}
	mesh, err := sim.MeasureMesh(sim.Config{
		Map: m, Seed: fl.seed, Duration: fl.duration, Packet: 100 * time.Millisecond,
		Churn:    sim.Churn{Links: 1, Nodes: 0.1, Least: time.Second, Most: 10 * time.Second, From: 10 * time.Second},
		Progress: func(time.Duration) error { return ctx.Err() },
	}, a.now)
	row.Mesh = &mesh
	return row, err
}

func (a *app) scaleText(all []scaleRow) {
	var t table
	head := []cell{{"nodes", bold}}
	for _, r := range all {
		head = append(head, textf("%d", r.Member.Nodes))
	}
	t.row(head...)
	line := func(name string, value func(r *scaleRow) cell) {
		row := []cell{{name, bold}}
		for i := range all {
			row = append(row, value(&all[i]))
		}
		t.row(row...)
	}
	whole := func(name string, value func(m *sim.Mesh) cell) {
		line(name, func(r *scaleRow) cell {
			if r.Mesh == nil {
				return textf("–")
			}
			return value(r.Mesh)
		})
	}
	line("database of a node", func(r *scaleRow) cell { return textf("%s", size(r.Member.Memory)) })
	line("  taken in, ms", func(r *scaleRow) cell { return textf("%.1f", r.Member.TakeIn) })
	line("  renewals, B/s", func(r *scaleRow) cell { return textf("%.0f", r.Member.Renewals) })
	line("3 disjoint paths, p99 ms", func(r *scaleRow) cell { return textf("%.3f", r.Paths.Disjoint.P99) })
	line("tree after a change, p99 ms", func(r *scaleRow) cell { return textf("%.3f", r.Paths.Tree.P99) })
	line("paths after a change, p99 ms", func(r *scaleRow) cell { return textf("%.3f", r.Paths.Update.P99) })
	whole("converged, ms", func(m *sim.Mesh) cell { return textf("%.0f", m.Converged) })
	whole("control at rest, B/s", func(m *sim.Mesh) cell { return textf("%.0f", m.Rest) })
	whole("  under churn", func(m *sim.Mesh) cell { return textf("%.0f", m.Churn) })
	whole("outages under churn, p50 ms", func(m *sim.Mesh) cell { return textf("%.0f", m.Outages.P50) })
	whole("  p99", func(m *sim.Mesh) cell { return textf("%.0f", m.Outages.P99) })
	whole("memory of the simulation, a node", func(m *sim.Mesh) cell { return textf("%s", size(m.Memory)) })
	whole("times real time under churn", func(m *sim.Mesh) cell { return textf("%.1f", m.Speed) })
	t.print(a)
}
