package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
)

// watchEvery is how often a watched answer is asked for anew.
const watchEvery = 2 * time.Second

// watchable makes a verb that shows one answer of the daemon, once or, with --watch, again and again until it is
// interrupted. ask returns what --json prints, and what prints it for people.
func (a *app) watchable(use, short string, ask func(context.Context, *api.Client) (any, func(), error)) *cobra.Command {
	watch := false
	show := func(ctx context.Context, c *api.Client) error {
		v, human, err := ask(ctx, c)
		if err != nil {
			return err
		}
		return a.show(v, human)
	}
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  needs(),
		RunE: a.ask(func(ctx context.Context, c *api.Client, _ []string) error {
			if watch {
				return a.again(ctx, watchEvery, func() error { return show(ctx, c) })
			}
			return show(ctx, c)
		}),
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, fmt.Sprintf("show it anew every %s until interrupted; with --json, one line each time", watchEvery))
	return cmd
}

// again calls show at once and then at every interval until ctx ends. If the first call fails so does it; later
// failures, as while the daemon restarts, are shown and tried again.
func (a *app) again(ctx context.Context, every time.Duration, show func() error) error {
	a.clear()
	if err := show(); err != nil {
		return err
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		a.clear()
		if err := show(); err != nil && ctx.Err() == nil {
			a.report(err)
		}
	}
}

// clear empties the screen, if the output goes to one.
func (a *app) clear() {
	if isTerminal(a.out) && os.Getenv("TERM") != "dumb" {
		fmt.Fprint(a.out, "\x1b[H\x1b[2J") // ECMA-48 CUP, ED
	}
}
