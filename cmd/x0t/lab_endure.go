package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh/fault"
)

type endureFlags struct {
	labFlags
	kinds, load, out string
	seed             uint64
}

func (a *app) labEndureCmd() *cobra.Command {
	var fl endureFlags
	cmd := &cobra.Command{
		Use:   "endure TOPOLOGY",
		Short: "one mesh, one fault after the other, for a long time",
		Long: "endure brings one map up and strikes it with faults of all kinds, drawn by the seed, one after the other, while a TCP\n" +
			"connection carries load. It tells the outage of each kind, how available the mesh was, and whether the daemons that\n" +
			"were never killed grew: memory, goroutines, descriptors. It fails if a fault was not left although a way round it\n" +
			"existed, or if a daemon grew or holds more than 100 MiB.",
		Args: needs("TOPOLOGY"),
	}
	f := cmd.Flags()
	f.DurationVar(&fl.duration, "duration", time.Hour, "how long")
	f.StringVar(&fl.kinds, "kinds", "all", "fault kinds, separated by commas")
	f.StringVar(&fl.load, "load", "20M", "rate of the TCP connection in bit/s, 0 for none")
	f.StringVar(&fl.out, "out", "", "keep the report (endure.json, endure.txt) and logs of faults that were not left in this directory")
	f.Uint64Var(&fl.seed, "seed", 1, "seed of kinds and places")
	a.labShapeFlags(cmd, &fl.labFlags)
	cmd.RunE = a.do(func(ctx context.Context, args []string) error {
		fl.delayGiven = f.Changed("delay")
		opt, err := a.endureOptions(args[0], fl)
		if err != nil {
			return err
		}
		return a.inLab(func() error { return a.endure(ctx, opt, fl.out) })
	})
	return cmd
}

func (a *app) endureOptions(name string, fl endureFlags) (lab.EndureOptions, error) {
	opt := lab.EndureOptions{Seed: fl.seed, For: fl.duration, Logs: fl.out}
	if fl.duration < time.Second {
		return opt, usagef("--duration %s is too short: at least 1s", fl.duration)
	}
	var err error
	if fl.load != "0" {
		if opt.Load, err = fault.ParseRate(fl.load); err != nil {
			return opt, usagef("--load: %v", err)
		}
	}
	if opt.Kinds, err = soakKinds(fl.kinds); err != nil {
		return opt, err
	}
	fl.duration = 0
	opt.Lab, err = a.labOptions(name, fl.labFlags)
	return opt, err
}

func (a *app) endure(ctx context.Context, opt lab.EndureOptions, out string) error {
	if out != "" {
		if err := os.MkdirAll(out, 0o750); err != nil {
			return err
		}
	}
	began, n := a.now(), 0
	opt.Tell = func(c lab.Cell) {
		n++
		fmt.Fprintf(a.err, "endure: %d, %s of %s: %s %s: %s, outage %.0f ms %s\n", n, a.now().Sub(began).Round(time.Second), opt.For, c.Kind, c.Target,
			c.Verdict, float64(c.Outage.Duration())/1e6, c.Note)
	}
	r, err := lab.Endure(ctx, opt)
	if err != nil {
		return err
	}
	if out != "" {
		if err := saveEndurance(r, out); err != nil {
			return err
		}
	}
	var told error
	if err := a.show(r, func() { told = r.Text(a.out) }); err != nil || told != nil {
		return err
	}
	if len(r.Misses) > 0 {
		return errQuiet
	}
	return nil
}

func saveEndurance(r *lab.Endurance, dir string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "endure.json"), append(b, '\n'), 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "endure.txt"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) // #nosec G304 -- the user names the directory
	if err != nil {
		return err
	}
	if err := r.Text(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
