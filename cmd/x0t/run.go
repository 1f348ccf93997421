package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/mesh"
)

// Exit codes.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNoDaemon = 3
)

// Where things are unless flags or the environment say otherwise.
const (
	defaultConfig = "/etc/x0t/x0t.yaml"
	defaultState  = "/var/lib/x0t"
	defaultSocket = "/run/x0t/x0t.sock"
)

// errQuiet makes the exit code 1 when everything has been said already.
var errQuiet = errors.New("failed")

// exitError is the exit code of another process that did the work and said what went wrong.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("ended with code %d", int(e)) }

// usageError is a command line that makes no sense.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// app is one run of the command: where it reads and writes, and the global flags.
type app struct {
	in       io.Reader
	out, err io.Writer
	now      func() time.Time
	colour   bool
	machine  *machine // what the doctor looks at; nil = the one this runs on
	began    bool     // the verb's own code runs: errors from here on are no longer cobra's about usage

	config, state, socket string
	json                  bool
	configGiven           bool // by flag or environment: then the file must exist
}

// Run runs one command line and returns the exit code.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, out: stdout, err: stderr, now: time.Now, colour: wantColour(stdout)}
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	return a.report(root.ExecuteContext(ctx))
}

// report tells an error and returns the exit code for it.
func (a *app) report(err error) int {
	if err == nil {
		return exitDone
	}
	code, kind, remedy := exitFailed, "failed", ""
	msg := err.Error()
	var usage usageError
	var told *api.Error
	var exit exitError
	switch {
	case errors.As(err, &exit):
		return int(exit)
	case errors.Is(err, errQuiet):
		return exitFailed
	case errors.Is(err, api.ErrNoDaemon):
		code, kind = exitNoDaemon, "no_daemon"
	case errors.As(err, &usage) || !a.began:
		code, kind, remedy = exitUsage, "usage", "see x0t --help"
	case errors.As(err, &told):
		kind, msg, remedy = string(told.Code), told.Message, told.Remedy
	}
	if a.json {
		_ = writeJSON(a.err, map[string]any{"error": api.Error{Code: api.Code(kind), Message: msg, Remedy: remedy}})
		return code
	}
	fmt.Fprintln(a.err, "x0t:", msg)
	if remedy != "" {
		fmt.Fprintln(a.err, "     "+remedy)
	}
	return code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "x0t",
		Short: "a mesh that proves who it talks to and heals itself",
		Long: "x0t joins machines into a mesh: every node has a SPIFFE identity, every packet is encrypted end to end,\n" +
			"and a link that dies is left by itself.\n\n" +
			"Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no daemon answers.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	a.group(root)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	f := root.PersistentFlags()
	f.StringVar(&a.config, "config", env("X0T_CONFIG", defaultConfig), "configuration file (X0T_CONFIG)")
	f.StringVar(&a.state, "state", env("X0T_STATE", defaultState), "state directory (X0T_STATE)")
	f.StringVar(&a.socket, "socket", env("X0T_SOCKET", defaultSocket), "API socket of the daemon (X0T_SOCKET)")
	f.BoolVar(&a.json, "json", false, "print JSON")
	root.AddCommand(a.verbs()...)
	a.complete(root)
	document(root)
	return root
}

func (a *app) verbs() []*cobra.Command {
	return []*cobra.Command{
		a.statusCmd(), a.peersCmd(), a.linksCmd(), a.pathsCmd(), a.pingCmd(), a.traceCmd(), a.tokenCmd(), a.identityCmd(), a.kvCmd(), a.stateCmd(),
		a.initCmd(), a.joinCmd(), a.upCmd(), a.serviceCmd(), a.doctorCmd(), a.labCmd(), a.simCmd(), a.benchCmd(), a.configCmd(), a.versionCmd(),
		a.manCmd(),
	}
}

// do wraps the code of a verb, so that report can tell its errors from those of the command line.
func (a *app) do(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.began = true
		a.configGiven = cmd.Flags().Changed("config") || os.Getenv("X0T_CONFIG") != ""
		return f(cmd.Context(), args)
	}
}

// ask wraps the code of a verb that talks to the daemon.
func (a *app) ask(f func(ctx context.Context, c *api.Client, args []string) error) func(*cobra.Command, []string) error {
	return a.do(func(ctx context.Context, args []string) error {
		c := api.NewClient(a.socket)
		defer c.Close()
		return f(ctx, c, args)
	})
}

// group makes cmd one that only holds others: alone it is wrong usage.
func (a *app) group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			msg := fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0])
			cmd.SuggestionsMinimumDistance = 2
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				msg += "; did you mean " + strings.Join(near, " or ") + "?"
			}
			return errors.New(msg)
		}
		cmd.SetOut(a.err)
		_ = cmd.Help()
		return usagef("which command?")
	}
	return cmd
}

// loadConfig reads the configuration. Without the file at its default place all defaults hold.
func (a *app) loadConfig() (config.Config, error) {
	c, _, err := a.loadGiven()
	return c, err
}

// loadGiven is loadConfig and returns too which keys the file gives a value.
func (a *app) loadGiven() (config.Config, []string, error) {
	c, given, err := config.LoadGiven(a.config)
	if err != nil && !a.configGiven && errors.Is(err, os.ErrNotExist) {
		return config.Default(), nil, nil
	}
	return c, given, err
}

// show prints v as JSON if that was asked for, else what human prints.
func (a *app) show(v any, human func()) error {
	if a.json {
		return writeJSON(a.out, v)
	}
	human()
	return nil
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// needs accepts exactly the named arguments.
func needs(names ...string) cobra.PositionalArgs { return takes(len(names), names...) }

// takes accepts the named arguments, of which the last may be left out, down to least.
func takes(least int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least {
			return usagef("%s: %s is missing", cmd.CommandPath(), names[len(args)])
		}
		if len(args) > len(names) {
			return usagef("%s: %q is one argument too many", cmd.CommandPath(), args[len(names)])
		}
		return nil
	}
}

func nodeArg(s string) (mesh.NodeID, error) {
	n, err := mesh.ParseNodeID(s)
	if err != nil {
		return n, usageError{err}
	}
	return n, nil
}

// memberArg reads a node's name, alone or in the mesh's zone as the DNS has it: beta, beta.example.mesh.
func memberArg(ctx context.Context, c *api.Client, s string) (mesh.NodeID, error) {
	label, zone, whole := strings.Cut(strings.TrimSuffix(s, "."), ".")
	node, err := mesh.ParseNodeID(strings.ToLower(label))
	if !whole || err != nil {
		return nodeArg(s)
	}
	st, err := c.Status(ctx)
	if err != nil {
		return mesh.NodeID{}, err
	}
	if !strings.EqualFold(zone, st.TrustDomain) {
		return mesh.NodeID{}, usagef("%s lies in another zone than the mesh's; write NODE or NODE.%s", s, st.TrustDomain)
	}
	return node, nil
}

func env(name, def string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return def
}
