package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"x0tta6bl4/daemon/config"
)

func (a *app) configCmd() *cobra.Command {
	cmd := a.group(&cobra.Command{Use: "config", Short: "the configuration: of this node, and what nodes share"})
	cmd.AddCommand(a.configCheckCmd(), a.configShowCmd(), a.configSetCmd(), a.configUnsetCmd(), a.configSharedCmd())
	return cmd
}

func (a *app) configCheckCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "check the configuration and show what is in effect",
		Long: "check reads the configuration as the daemon would, names every mistake with file and line, and prints what is in\n" +
			"effect, defaults included. What it prints is itself a valid configuration.",
		Args: cobra.MaximumNArgs(1),
		RunE: a.do(func(_ context.Context, args []string) error {
			if len(args) == 1 {
				a.config, a.configGiven = args[0], true
			}
			c, err := a.loadConfig()
			return a.printCheck(c, err)
		}),
	}
}

func (a *app) printCheck(c config.Config, err error) error {
	var ps config.Problems
	if err != nil && !errors.As(err, &ps) {
		return err
	}
	if a.json {
		err := writeJSON(a.out, struct {
			File   string            `json:"file"`
			OK     bool              `json:"ok"`
			Errors []*config.Problem `json:"errors"`
			YAML   string            `json:"effective,omitempty"`
		}{a.config, len(ps) == 0, append([]*config.Problem{}, ps...), effective(c, ps)})
		if err == nil && len(ps) > 0 {
			err = errQuiet
		}
		return err
	}
	if len(ps) > 0 {
		for _, p := range ps {
			fmt.Fprintln(a.err, p)
		}
		return errQuiet
	}
	what := "is valid"
	if _, err := os.Stat(a.config); errors.Is(err, os.ErrNotExist) {
		what = "does not exist, all defaults hold"
	}
	fmt.Fprintf(a.out, "# %s %s; in effect:\n%s", a.config, what, c.YAML())
	return nil
}

func effective(c config.Config, ps config.Problems) string {
	if len(ps) > 0 {
		return ""
	}
	return c.YAML()
}
