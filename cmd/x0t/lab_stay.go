package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"x0tta6bl4/lab"
)

// defaultLab is what a lab is called that nobody named.
const defaultLab = "lab"

func (a *app) labUpCmd() *cobra.Command {
	var fl labFlags
	var name string
	var foreground bool
	cmd := &cobra.Command{
		Use:   "up TOPOLOGY",
		Short: "start a lab that stays, to look around in",
		Long: "up starts one daemon for each node of TOPOLOGY, waits until the mesh has converged and leaves it running in the\n" +
			"background. Enter a node with x0t lab exec NODE, break something with x0t lab inject, end it with x0t lab down.",
		Args: needs("TOPOLOGY"),
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", defaultLab, "what the lab is called, if there are several")
	f.BoolVar(&foreground, "foreground", false, "stay in the foreground and end with Ctrl-C")
	a.labShapeFlags(cmd, &fl)
	cmd.RunE = a.do(func(ctx context.Context, args []string) error {
		fl.delayGiven = f.Changed("delay")
		opt, err := a.labOptions(args[0], fl)
		if err != nil {
			return err
		}
		// The lab's own process may be root of a user namespace: it must not look for another directory there.
		if err := os.Setenv(lab.RuntimeEnv, lab.RuntimeDir()); err != nil {
			return err
		}
		if !foreground {
			return a.labBackground(ctx, name)
		}
		return a.inLab(func() error {
			return lab.Stay(ctx, name, opt, func(s lab.Standing) { _ = a.showStanding(s) })
		})
	})
	return cmd
}

// showStanding tells what lab runs and how to enter it.
func (a *app) showStanding(s lab.Standing) error {
	return a.show(s, func() {
		state := "up"
		if !s.Alive {
			state = "its process is gone: x0t lab down --name " + s.Name + " removes what it left"
		}
		fmt.Fprintf(a.out, "lab %s (%s): %s, %d nodes, %d links, process %d\n\n", s.Name, s.Topology, state, len(s.Nodes), len(s.Links), s.PID)
		var t table
		t.head("NODE", "ADDRESS", "LINKS TO")
		for _, n := range s.Nodes {
			var to []string
			for _, l := range s.Links {
				switch n.Node {
				case l.A:
					to = append(to, l.B.String())
				case l.B:
					to = append(to, l.A.String())
				}
			}
			t.row(text(n.Node.String()), text(n.Address), text(strings.Join(to, " ")))
		}
		t.print(a)
		for _, f := range s.Faults {
			fmt.Fprintln(a.out, "fault:", f)
		}
		if s.Alive && len(s.Nodes) > 0 {
			var t table
			for _, hint := range labHints(s) {
				t.row(text(hint[0]), text(hint[1]))
			}
			fmt.Fprintln(a.out)
			t.print(a)
		}
	})
}

// labHints are what to type next, and what for.
func labHints(s lab.Standing) [][2]string {
	name := ""
	if s.Name != defaultLab {
		name = " --name " + s.Name
	}
	first := s.Nodes[0].Node.String()
	return [][2]string{
		{"x0t lab exec" + name + " " + first + " -- x0t status", "a command on a node; without one, a shell"},
		{"x0t lab inject" + name + " 'kill node:" + first + " for 5s'", "break something"},
		{"x0t lab down" + name, "the end"},
	}
}

// labName adds --name.
func labName(cmd *cobra.Command) *string {
	name := cmd.Flags().String("name", "", "which lab, if several run")
	_ = cmd.RegisterFlagCompletionFunc("name", completeLabs) // fails only if it is registered twice
	return name
}

// completeLabs offers the names of the labs.
func completeLabs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	labs, err := lab.Labs(lab.RuntimeDir())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, l := range labs {
		names = append(names, l.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) labExecCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec NODE [-- COMMAND…]",
		Short: "run a command, or a shell, on a node of a lab that stays",
		Long: "exec runs COMMAND in the network of NODE, with its daemon's socket, configuration and state in the environment:\n" +
			"x0t lab exec a -- x0t peers. Without a command it runs the shell that SHELL names. The exit code is the command's.",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeNodes,
	}
	name := labName(cmd)
	cmd.RunE = a.do(func(ctx context.Context, args []string) error {
		node, err := nodeArg(args[0])
		if err != nil {
			return err
		}
		r, err := lab.Find(*name)
		if err != nil {
			return err
		}
		argv := args[1:]
		if len(argv) == 0 {
			argv = []string{env("SHELL", "/bin/sh")}
		}
		return a.lend(func(files [3]*os.File, signals <-chan os.Signal) (int, error) {
			return r.Exec(context.WithoutCancel(ctx), node, argv, files, signals)
		})
	})
	return cmd
}

// lend gives a command this process's descriptors and signals.
func (a *app) lend(run func([3]*os.File, <-chan os.Signal) (int, error)) error {
	var files [3]*os.File
	for i, f := range []any{a.in, a.out, a.err} {
		file, ok := f.(*os.File)
		if !ok {
			return errors.New("exec hands its input and output over to the command: they must be files or terminals")
		}
		files[i] = file
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	code, err := run(files, signals)
	switch {
	case err != nil:
		return err
	case code != 0:
		return exitError(code)
	}
	return nil
}

// completeNodes offers the names of the nodes of the lab.
func (a *app) completeNodes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	info, ok := labOf(cmd)
	if len(args) > 0 || !ok {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []string
	for _, n := range info.Nodes {
		names = append(names, n.Node.String())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeHolds offers the faults that hold in the lab.
func completeHolds(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	info, ok := labOf(cmd)
	if len(args) > 0 || !ok {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return append(info.Faults, "all"), cobra.ShellCompDirectiveNoFileComp
}

// labOf asks the lab that the command line names.
func labOf(cmd *cobra.Command) (lab.Standing, bool) {
	name, _ := cmd.Flags().GetString("name")
	r, err := lab.Find(name)
	if err != nil {
		return lab.Standing{}, false
	}
	info, err := r.Info(cmd.Context())
	return info, err == nil
}

func (a *app) labInjectCmd() *cobra.Command {
	return a.labFaultCmd(&cobra.Command{
		Use:   "inject FAULT",
		Short: "break something in a lab that stays, now",
		Long: "inject makes a fault happen: KIND TARGET [PARAM] [for D], such as 'cut link:a-b', 'loss link:a-b 30% for 10s',\n" +
			"'kill node:b' or builtin:cut. Without \"for D\" it holds until x0t lab mend.",
	}, (*lab.Remote).Inject)
}

func (a *app) labMendCmd() *cobra.Command {
	return a.labFaultCmd(&cobra.Command{
		Use:               "mend FAULT|all",
		Short:             "end a fault that inject made",
		Long:              "mend ends one fault, as x0t lab status writes it, or all.",
		ValidArgsFunction: completeHolds,
	}, (*lab.Remote).Mend)
}

func (a *app) labFaultCmd(cmd *cobra.Command, do func(*lab.Remote, context.Context, string) (string, error)) *cobra.Command {
	cmd.Args = cobra.MinimumNArgs(1)
	name := labName(cmd)
	cmd.RunE = a.do(func(ctx context.Context, args []string) error {
		r, err := lab.Find(*name)
		if err != nil {
			return err
		}
		done, err := do(r, ctx, strings.Join(args, " "))
		if err != nil {
			return err
		}
		return a.show(map[string]string{"lab": r.Name(), "done": done}, func() { fmt.Fprintln(a.out, done) })
	})
	return cmd
}

func (a *app) labStatusCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "how a lab that stays is", Args: needs()}
	name := labName(cmd)
	cmd.RunE = a.do(func(ctx context.Context, _ []string) error {
		r, err := lab.Find(*name)
		if err != nil {
			return err
		}
		s, err := r.Info(ctx)
		if err != nil {
			return err
		}
		return a.showStanding(s)
	})
	return cmd
}

func (a *app) labListCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "the labs that stay", Args: needs()}
	cmd.RunE = a.do(func(context.Context, []string) error {
		labs, err := lab.Labs(lab.RuntimeDir())
		if err != nil {
			return err
		}
		return a.show(struct {
			Labs []lab.Standing `json:"labs"`
		}{append([]lab.Standing{}, labs...)}, func() {
			var t table
			t.head("NAME", "TOPOLOGY", "NODES", "PROCESS", "STATE")
			for _, l := range labs {
				state := cell{"up", green}
				if !l.Alive {
					state = cell{"gone: x0t lab down --name " + l.Name, red}
				}
				t.row(text(l.Name), text(l.Topology), textf("%d", len(l.Nodes)), textf("%d", l.PID), state)
			}
			t.print(a)
		})
	})
	return cmd
}

func (a *app) labDownCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "down",
		Short: "end a lab that stays",
		Long:  "down ends the daemons of a lab and removes everything it made, also if the lab's own process died.",
		Args:  needs(),
	}
	name := labName(cmd)
	cmd.RunE = a.do(func(ctx context.Context, _ []string) error {
		r, err := lab.Find(*name)
		if err != nil {
			return err
		}
		if err := r.Down(ctx); err != nil {
			return err
		}
		_ = os.Remove(filepath.Join(lab.RuntimeDir(), r.Name()+".log"))
		return a.show(map[string]string{"lab": r.Name(), "done": "down"}, func() { fmt.Fprintf(a.out, "lab %s is down\n", r.Name()) })
	})
	return cmd
}
