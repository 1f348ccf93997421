package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh/topology"
	"x0tta6bl4/sim"
)

// What a simulation is if the command line does not say.
const (
	simNodes    = 100
	simPacket   = 20 * time.Millisecond
	simDuration = 40 * time.Second // a fault at 10 s, 20 s to heal, 10 s in which all must be as if it had never been
)

func (a *app) simCmd() *cobra.Command {
	var fl simFlags
	cmd := &cobra.Command{
		Use:   "sim [TOPOLOGY]",
		Short: "a mesh of simulated nodes: the real decisions on a simulated clock and network",
		Long: "sim runs the protocol code of every node of TOPOLOGY in this process, on a simulated clock and network, and checks\n" +
			"after every event that nothing loops, no dead link is used, paths are as disjoint as claimed, databases agree and\n" +
			"packets arrive. TOPOLOGY is a file or one of " + topology.Specs + ";\n" +
			"without it --nodes N random places are joined. The same seed gives the same run, to the bit: equal runs have equal\n" +
			"traces. --faults takes a file, lines separated by semicolons (\"kill node:n2 at 5s for 5s\"), or builtin:KIND, which\n" +
			"strikes the middle of the longest way after 10s; the kinds are those of x0t lab run. --churn links=1,nodes=0.1,for=1s-10s\n" +
			"cuts so many links and kills so many nodes of the mesh a second, at random, from 10s on (from=TIME), each for a time\n" +
			"between the two. A frame has room for ways of 33 links; flows between ends farther apart are counted as too far.\n" +
			"It fails if an invariant is violated, and prints the command that shows it again. --promises also checks how soon flows\n" +
			"are served again, what the protected class loses, and how often flows take another path; x0t sim campaign does that on\n" +
			"many random maps.",
		Args: cobra.MaximumNArgs(1),
	}
	fl.register(cmd)
	cmd.AddCommand(a.simCampaignCmd(), a.simPathsCmd(), a.simScaleCmd())
	cmd.RunE = a.do(func(ctx context.Context, args []string) error {
		name, err := fl.topology(args, cmd.Flags().Changed("nodes"))
		if err != nil {
			return err
		}
		cfg, err := a.simConfig(name, fl)
		if err != nil {
			return err
		}
		return a.simRun(ctx, cfg, fl.replay(name))
	})
	return cmd
}

// simReport is the report of a run and what it really took.
type simReport struct {
	*sim.Report
	Real   api.Millis `json:"real_ms"`
	Factor float64    `json:"speed"`            // simulated time over real time
	Churn  *float64   `json:"speed_from_churn"` // the same from the beginning of the churn on; null = there was none
	Rate   float64    `json:"events_per_second"`
	Memory uint64     `json:"memory_bytes"` // the most that this process took from the system
}

// meter notes when a run has got how far.
type meter struct {
	began, churned time.Time
	from           time.Duration
}

func (a *app) simRun(ctx context.Context, cfg sim.Config, replay string) error {
	m := &meter{began: a.now(), from: cfg.Churn.From}
	w, err := sim.New(withProgress(ctx, a, &cfg, m))
	if err != nil {
		return usageError{err}
	}
	r, err := w.Run()
	a.clearLine()
	if err != nil {
		return simError(err, replay)
	}
	out := m.report(r, a.now(), !cfg.Churn.IsZero())
	return a.show(out, func() { a.simText(out) })
}

// report adds to a report what the run took until now.
func (m *meter) report(r *sim.Report, now time.Time, churn bool) simReport {
	took := max(now.Sub(m.began), time.Microsecond)
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	out := simReport{
		Report: r, Real: api.Millis(took), Factor: r.Simulated / 1000 / took.Seconds(), Rate: float64(r.Events) / took.Seconds(),
		Memory: mem.Sys,
	}
	if rest := now.Sub(m.churned).Seconds(); churn && !m.churned.IsZero() && rest > 0 {
		f := (r.Simulated/1000 - m.from.Seconds()) / rest
		out.Churn = &f
	}
	return out
}

// simError adds to a violated invariant how it is seen again.
func simError(err error, replay string) error {
	if errors.Is(err, sim.ErrInvariant) {
		return &api.Error{Code: "invariant", Message: err.Error(), Remedy: "the same again: " + replay}
	}
	return err
}

// withProgress has the run end with ctx, and tell how far it is if somebody looks.
func withProgress(ctx context.Context, a *app, cfg *sim.Config, m *meter) sim.Config {
	told := a.now()
	tty := isTerminal(a.err)
	cfg.Progress = func(at time.Duration) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		now := a.now()
		if m.churned.IsZero() && at >= m.from {
			m.churned = now
		}
		if tty && now.Sub(told) >= 200*time.Millisecond {
			told = now
			fmt.Fprintf(a.err, "\r\x1b[Ksimulated %.1f s of %v, %.3g times real time", at.Seconds(), cfg.Duration, at.Seconds()/now.Sub(m.began).Seconds())
		}
		return nil
	}
	return *cfg
}

// clearLine takes the progress line away.
func (a *app) clearLine() {
	if isTerminal(a.err) {
		fmt.Fprint(a.err, "\r\x1b[K")
	}
}

func (a *app) simText(r simReport) {
	var t table
	line := func(name, format string, args ...any) { t.row(cell{name, bold}, textf(format, args...)) }
	line("map", "%s: %d nodes, %d links, seed %d", r.Map, r.Nodes, r.Links, r.Seed)
	line("simulated", "%.1f s in %.1f s, %.3g times real time, %.0f events a second, %s of memory",
		r.Simulated/1000, r.Real.Duration().Seconds(), r.Factor, r.Rate, size(r.Memory))
	if r.Churn != nil {
		line("churn", "%d cuts and kills; from the first on %.3g times real time", r.Changes, *r.Churn)
	}
	if r.Converged != nil {
		line("converged", "after %.0f ms", *r.Converged)
	} else {
		t.row(cell{"converged", bold}, cell{"never", red})
	}
	line("packets", "%d sent in %d flows, %d delivered, %d lost, %d waited for a session", r.Sent, r.Flows, r.Delivered, r.Lost, r.NoSession)
	line("faults", "%d", r.Faults)
	line("outage", "%.0f ms at most while a way existed; back at most %.0f ms after a way was", r.Outage, r.Rejoin)
	line("outages", "%d: p50 %.0f ms, p95 %.0f ms, p99 %.0f ms; %d flows too far apart for a frame", r.Outages.Number, r.Outages.P50, r.Outages.P95, r.Outages.P99, r.TooFar)
	line("control", "%s/s per node", size(uint64(r.ControlRate)))
	for _, k := range r.Kinds {
		if k.Rate >= 1 {
			line("", "%-14s %s/s per node after convergence", k.Kind, size(uint64(k.Rate)))
		}
	}
	if p := r.Promises; p != nil {
		promisesText(line, p)
	}
	line("invariants", "hold")
	line("trace", "%s", r.TraceHash)
	t.print(a)
}
