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
	cmd.AddCommand(a.benchThroughputCmd())
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
