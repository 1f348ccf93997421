package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"x0tta6bl4/bench"
)

// benchOut is where reports go if the command line does not say.
const benchOut = "out/bench"

func (a *app) benchCmd() *cobra.Command {
	cmd := a.group(&cobra.Command{
		Use:   "bench",
		Short: "x0t beside other programs, on this machine",
	})
	cmd.AddCommand(a.benchThroughputCmd(), a.benchFailoverCmd())
	return cmd
}

func (a *app) benchThroughputCmd() *cobra.Command {
	var offload, out string
	opt := bench.ThroughputOptions{Progress: a.err}
	cmd := &cobra.Command{
		Use:   "throughput",
		Short: "how much x0t and its peers carry, one after the other on the same links",
		Long: "throughput puts x0t and its peers up on one line of network namespaces and measures them in turn, run by run: TCP, round\n" +
			"trips with and without it, processor and memory of the daemons. Peers are " + strings.Join(bench.ThroughputPeers(), ", ") + ".\n" +
			"scripts/peers of the source gets their programs without installing them; what is not here is left out, and the report says\n" +
			"why. --offload off cuts what the links carry into packets of 1500 bytes, as a real network does. Figures of a machine that\n" +
			"has other things to do say little: the report tells how late timers fired.",
		Args: needs(),
	}
	f := cmd.Flags()
	f.IntVar(&opt.Hops, "hops", 1, "links between the two ends")
	f.StringVar(&offload, "offload", "on", "segmentation offload of the links: on or off")
	f.StringSliceVar(&opt.Peers, "peer", nil, "compare with these only, or with none (default all)")
	f.IntVar(&opt.Runs, "runs", bench.MinRuns, "how often each is measured")
	f.DurationVar(&opt.Time, "time", 5*time.Second, "how long each TCP stream lasts")
	f.IntVar(&opt.Streams, "streams", 1, "TCP streams at once")
	f.StringVar(&out, "out", benchOut, "directory of the report: throughput….json, .md and .html")
	a.benchComplete(cmd, bench.ThroughputPeers(), map[string][]string{"offload": {"on", "off"}})
	cmd.RunE = a.do(func(ctx context.Context, _ []string) error {
		if offload != "on" && offload != "off" {
			return usagef("--offload %s: it is on or off", offload)
		}
		opt.NoOffload = offload == "off"
		if err := opt.Check(); err != nil {
			return usageError{err}
		}
		return a.inLab(func() error {
			r, err := bench.Throughput(ctx, opt)
			if r == nil {
				return err
			}
			return errors.Join(err, a.benchTell(out, fmt.Sprintf("throughput-%dhop-offload-%s", opt.Hops, offload), r))
		})
	})
	return cmd
}

// benchTell keeps a report and shows it.
func (a *app) benchTell(dir, name string, r bench.Told) error {
	files, err := bench.Keep(dir, name, r)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.err, "bench: wrote", strings.Join(files, " "))
	return a.show(r, func() { fmt.Fprint(a.out, r.Markdown()) })
}

// benchComplete completes lists of peers, and flags that take one of few words.
func (a *app) benchComplete(cmd *cobra.Command, peers []string, words map[string][]string) {
	words["peer"] = append(slices.Clone(peers), bench.NoPeers)
	for flag, known := range words {
		_ = cmd.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return begin(slices.Clone(known), typed), cobra.ShellCompDirectiveNoFileComp
		})
	}
	_ = cmd.MarkFlagDirname("out")
}

func (a *app) benchFailoverCmd() *cobra.Command {
	var profile, out string
	opt := bench.FailoverOptions{Progress: a.err}
	cmd := &cobra.Command{
		Use:   "failover",
		Short: "how long applications notice a fault, with x0t and with its peers",
		Long: "failover keeps one mesh of twelve nodes up and breaks what lies on a path in use, again and again, at random moments: the\n" +
			"first link or relay of the path, and one three hops away. It tells the outage of a stream of probes, one a millisecond each\n" +
			"way, and what flows of the protected class lost meanwhile. Peers are struck by the same faults of links, in a network of the\n" +
			"same shape, fewer times where they take long: " + strings.Join(bench.FailoverPeers(), ", ") + ".\n" +
			"Faults are kinds with their parameters, as in \"blackhole,greydrop 1.0\". scripts/peers of the source gets the peers' programs;\n" +
			"what is not here is left out, and the report says why.",
		Args: needs(),
	}
	f := cmd.Flags()
	f.StringVar(&opt.Faults, "faults", bench.DefaultFaults, "kinds of faults, separated by commas")
	f.IntVar(&opt.Trials, "trials", bench.DefaultTrials, "faults of each kind at each place")
	f.StringVar(&profile, "profile", "default", "default, or fast: hellos every 10 ms")
	f.StringSliceVar(&opt.Peers, "peer", nil, "compare with these only, or with none (default all)")
	f.Uint64Var(&opt.Seed, "seed", 1, "seed of places and moments")
	f.StringVar(&opt.Keep, "keep", "", "keep the daemons' logs and configurations in this directory")
	f.StringVar(&out, "out", benchOut, "directory of the report: failover-PROFILE.json, .md and .html")
	a.benchComplete(cmd, bench.FailoverPeers(), map[string][]string{"profile": {"default", "fast"}})
	cmd.RunE = a.do(func(ctx context.Context, _ []string) error {
		if profile != "default" && profile != "fast" {
			return usagef("--profile %s: it is default or fast", profile)
		}
		opt.Fast = profile == "fast"
		if err := opt.Check(); err != nil {
			return usageError{err}
		}
		return a.inLab(func() error {
			r, err := bench.Failover(ctx, opt)
			if r == nil {
				return err
			}
			return errors.Join(err, a.benchTell(out, "failover-"+profile, r))
		})
	})
	return cmd
}
