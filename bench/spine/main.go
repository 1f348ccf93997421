// Command spine takes the figures of docs/performance.md: `make bench` runs it. It ends with code 1 if a mark is missed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"x0tta6bl4/bench"
	"x0tta6bl4/lab"
	"x0tta6bl4/lab/flood"
)

func main() {
	for _, helper := range []func() (int, bool){lab.Helper, flood.Helper, bench.Helper} {
		if code, ok := helper(); ok {
			os.Exit(code)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit code: 0 if all marks are met, 1 if not, 2 if it was called wrongly.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	f := flag.NewFlagSet("spine", flag.ContinueOnError)
	f.SetOutput(errs)
	opt := bench.Options{Progress: errs}
	f.StringVar(&opt.Binary, "x0t", "bin/x0t", "the `program` to measure")
	f.IntVar(&opt.Runs, "runs", bench.MinRuns, "how often each figure is taken")
	f.StringVar(&opt.Keep, "keep", "", "keep the daemons' logs in this `directory`")
	save := f.String("o", "out/bench/spine.json", "where the report goes, as JSON")
	f.IntVar(&opt.Trials, "trials", 0, "faults of each kind for failover (default as many as the marks ask for, which takes hours)")
	f.StringVar(&opt.Reports, "reports", "out/bench", "`directory` for the reports of throughput and failover")
	peers := f.String("peers", "", "compare with these only, separated by commas, or none (default all)")
	parts := f.String("parts", "", "only these of "+strings.Join(bench.Parts(), ","))
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if *peers != "" {
		opt.Peers = strings.Split(*peers, ",")
	}
	if *parts != "" {
		opt.Parts = strings.Split(*parts, ",")
	}
	for _, p := range opt.Parts {
		if !slices.Contains(bench.Parts(), p) {
			fmt.Fprintf(errs, "-parts %q: the parts are %s\n", p, strings.Join(bench.Parts(), ", "))
			return 2
		}
	}
	if err := measure(ctx, opt, *save, out); err != nil {
		fmt.Fprintln(errs, "bench:", err)
		return 1
	}
	return 0
}

func measure(ctx context.Context, opt bench.Options, save string, out io.Writer) error {
	switch code, done, err := lab.Enter(); {
	case err != nil:
		return err
	case done && code != 0:
		os.Exit(code) // the copy in a user namespace has said why
	case done:
		return nil
	}
	report, err := bench.Spine(ctx, opt)
	if report == nil {
		return err
	}
	err = errors.Join(err, report.Text(out), report.Save(save))
	if missed := report.Figures.Missed(); len(missed) > 0 {
		err = errors.Join(err, fmt.Errorf("marks missed: %s", strings.Join(missed, "; ")))
	}
	return err
}
