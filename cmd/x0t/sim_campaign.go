package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
	"x0tta6bl4/sim"
	"x0tta6bl4/sim/campaign"
)

// campaignOut is where the files of failures go.
const campaignOut = "out/campaign"

// shrinkFirst is how many failures of a campaign are made small.
const shrinkFirst = 5

type campaignFlags struct {
	seed, seeds uint64
	nodes, out  string
	noShrink    bool
}

func (a *app) simCampaignCmd() *cobra.Command {
	var fl campaignFlags
	cmd := &cobra.Command{
		Use:   "campaign",
		Short: "many small random meshes, random faults, members that lie: what flows are promised is checked",
		Long: "campaign simulates a mesh of 20 s for each seed: a random map (places, grid, ring with chords, sparse) on which no\n" +
			"single failure parts anybody, one to four faults of all kinds that lose packets, now and then members that lie about\n" +
			"their links and then swallow what they forward, and three streams, each with a twin of the protected class.\n" +
			"It checks all that x0t sim checks, and that no stream stays unserved for longer than its bound while a way exists, that\n" +
			"no packet of the protected class is lost to one failure, and that streams do not swing between paths.\n" +
			"A seed that fails is made small: faults, nodes and links that it does not need are dropped. Map and faults are written\n" +
			"below --out, with the command that shows the failure. --seed N alone runs that seed again.",
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.Uint64Var(&fl.seeds, "seeds", 1000, "how many seeds")
	f.Uint64Var(&fl.seed, "seed", 1, "the first seed; without --seeds the only one")
	f.StringVar(&fl.nodes, "nodes", "10-20", "how many nodes a map has, such as 10-20")
	f.StringVar(&fl.out, "out", campaignOut, "directory for the files of failures")
	f.BoolVar(&fl.noShrink, "no-shrink", false, "leave failures as they are")
	cmd.RunE = a.do(func(ctx context.Context, _ []string) error {
		if f.Changed("seed") && !f.Changed("seeds") {
			fl.seeds = 1
		}
		p, err := fl.plan()
		if err != nil {
			return usageError{err}
		}
		p.Progress = a.campaignProgress(p)
		r, err := campaign.Run(ctx, p)
		a.clearLine()
		return a.campaignDone(r, err, fl.out)
	})
	return cmd
}

// plan reads the flags.
func (fl campaignFlags) plan() (campaign.Plan, error) {
	p := campaign.Plan{First: fl.seed, Seeds: fl.seeds, Workers: runtime.GOMAXPROCS(0), Shrinks: shrinkFirst}
	if fl.noShrink {
		p.Shrinks = 0
	}
	least, most, ok := strings.Cut(fl.nodes, "-")
	if !ok {
		most = least
	}
	var err1, err2 error
	p.Least, err1 = strconv.Atoi(least)
	p.Most, err2 = strconv.Atoi(most)
	if err1 != nil || err2 != nil || p.Least < 1 {
		return p, fmt.Errorf("--nodes %q: write for example 10-20", fl.nodes)
	}
	return p, nil
}

// campaignProgress tells how far a campaign is: on a terminal often, else seldom.
func (a *app) campaignProgress(p campaign.Plan) func(done, failed uint64) {
	began, told, tty := a.now(), a.now(), isTerminal(a.err)
	every, form := 10*time.Second, "%d of %d seeds, %d failed, %.0f a second\n"
	if tty {
		every, form = 200*time.Millisecond, "\r\x1b[K"+strings.TrimSuffix(form, "\n")
	}
	return func(done, failed uint64) {
		if now := a.now(); now.Sub(told) >= every {
			told = now
			fmt.Fprintf(a.err, form, done, p.Seeds, failed, float64(done)/now.Sub(began).Seconds())
		}
	}
}

// campaignDone shows what came of a campaign.
func (a *app) campaignDone(r *campaign.Result, err error, out string) error {
	switch {
	case errors.Is(err, campaign.ErrPlan):
		return usageError{err}
	case r == nil:
		return err
	}
	var commands []string
	for i := range r.Failures {
		c, err := writeFailure(out, &r.Failures[i])
		if err != nil {
			return err
		}
		commands = append(commands, c)
	}
	if err := a.show(r, func() { a.campaignText(r, commands) }); err != nil {
		return err
	}
	if r.Failed > 0 {
		return &api.Error{Code: "invariant", Message: fmt.Sprintf("%d of %d seeds failed", r.Failed, r.Seeds), Remedy: "the first again: " + commands[0]}
	}
	return err
}

// writeFailure writes the files of a failure and returns the command that shows it.
func writeFailure(dir string, f *campaign.Failure) (string, error) {
	base := filepath.Join(dir, strconv.FormatUint(f.Seed, 10))
	if err := os.MkdirAll(dir, 0o755); err != nil { // #nosec G301 -- for everybody to read
		return "", fmt.Errorf("files of a failure: %w: name a directory that can be written with --out", err)
	}
	for name, text := range map[string]string{base + ".topo": f.Map, base + ".faults": f.Faults} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil { // #nosec G306 -- for everybody to read
			return "", fmt.Errorf("files of a failure: %w: name a directory that can be written with --out", err)
		}
	}
	return fmt.Sprintf("x0t sim --topology %s --faults %s %s", shellWord(base+".topo"), shellWord(base+".faults"), f.Args), nil
}

func (a *app) campaignText(r *campaign.Result, commands []string) {
	var t table
	line := func(name, format string, args ...any) { t.row(cell{name, bold}, textf(format, args...)) }
	line("seeds", "%d from %d on, %d to %d nodes, %.0f s simulated", r.Seeds, r.First, r.Least, r.Most, r.Time/1000)
	if r.Failed > 0 {
		line("", "the figures are those of the %d that did not fail", r.Seeds-r.Failed)
	}
	line("packets", "%d", r.Sent)
	promisesText(line, &r.Promised)
	line("failed", "%d", r.Failed)
	for i, f := range r.Failures {
		line("", "%s", f.Error)
		line("", "%s", commands[i])
	}
	t.print(a)
}

// promisesText shows how what flows are promised was kept.
func promisesText(line func(name, format string, args ...any), p *sim.Promised) {
	line("back", "after %.0f ms at most of those with a bound, %.0f %% of the bound at most", p.Gap, 100*p.Share)
	line("protected", "%d packets under single failures, none lost; of %d unprotected ones in the same time %d were", p.Guarded, p.Control, p.Lost)
	line("covered", "%s of the time of faults in which a sound way existed have a bound; no way was counted on yet in %s, no whole path offered in %s",
		shareOf(p.Bound, p.Faulty), shareOf(p.Unsure, p.Faulty), shareOf(p.Swallowed, p.Faulty))
	line("", "%s of the protected packets sent in it had to arrive; of the others %d were lost, and %d of their twins",
		shareOf(float64(p.Held), float64(p.Struck)), p.LostElse, p.TwinElse)
	line("", "%s of those sent while one link or relay alone was broken", shareOf(float64(p.AloneHeld), float64(p.Alone)))
	line("switches", "%d in %d changes of the network, %d of one stream at most, %s of what it may at most", p.Switches, p.Changes, p.ByOne, percent(p.Swing))
}

// shareOf writes how much of all a part is.
func shareOf(part, all float64) string {
	if all == 0 {
		return "none"
	}
	return percent(part / all)
}
