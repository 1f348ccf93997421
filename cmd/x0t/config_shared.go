package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
	"x0tta6bl4/daemon/config"
)

func (a *app) configSetCmd() *cobra.Command {
	node := ""
	cmd := &cobra.Command{
		Use:   "set KEY VALUE",
		Short: "share a value with all nodes",
		Long: "set shares a value of the configuration with all nodes, or with the one that --node names, and returns once it is on this\n" +
			"node's disk. Nodes take it up while they run, as soon as it reaches them. KEY and VALUE are as in the file. A node's own\n" +
			"file beats what is shared. Only nodes of authorities may do this. What begins with a hyphen is given after --.",
		Args: needs("KEY", "VALUE"),
	}
	cmd.Flags().StringVar(&node, "node", "", "for this node only")
	cmd.RunE = a.ask(func(ctx context.Context, c *api.Client, args []string) error {
		at, err := target(ctx, c, args[0], node, cmd.Flags().Changed("node"))
		if err != nil {
			return err
		}
		w, err := c.ConfigSet(ctx, at, []byte(args[1]))
		return a.showSetting(fmt.Sprintf("%s: %s", args[0], args[1]), at, w, err)
	})
	return cmd
}

func (a *app) configUnsetCmd() *cobra.Command {
	node := ""
	cmd := &cobra.Command{
		Use:   "unset KEY",
		Short: "take back what was shared",
		Long: "unset takes back what was shared with all nodes, or with the one that --node names: each goes back to what is shared for\n" +
			"all, or to the default. It succeeds if nothing is shared, too: another node may know of something.",
		Args: needs("KEY"),
	}
	cmd.Flags().StringVar(&node, "node", "", "what was shared with this node")
	cmd.RunE = a.ask(func(ctx context.Context, c *api.Client, args []string) error {
		at, err := target(ctx, c, args[0], node, cmd.Flags().Changed("node"))
		if err != nil {
			return err
		}
		w, err := c.ConfigUnset(ctx, at)
		return a.showSetting(args[0]+" is not shared any more", at, w, err)
	})
	return cmd
}

// target reads which key is meant, and for whom.
func target(ctx context.Context, c *api.Client, key, node string, one bool) (api.ConfigTarget, error) {
	at := api.ConfigTarget{Key: key}
	if !one {
		return at, nil
	}
	var err error
	at.Node, err = memberArg(ctx, c, node)
	return at, err
}

func (a *app) showSetting(what string, at api.ConfigTarget, w api.ConfigWritten, err error) error {
	if err != nil {
		return err
	}
	return a.show(w, func() {
		fmt.Fprintf(a.out, "%s (%s)\n", what, forWhom(api.ConfigSetting{Node: at.Node}))
		if w.Note != "" {
			fmt.Fprintln(a.out, a.paint(cell{"but " + w.Note, yellow}))
		}
		a.sayFresh(w.Freshness)
	})
}

func forWhom(s api.ConfigSetting) string {
	if s.Node.IsZero() {
		return "all nodes"
	}
	return s.Node.String()
}

func (a *app) configSharedCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "shared",
		Short: "print what nodes share of the configuration",
		Long: "shared prints what nodes share of the configuration: for whom, by whom, since when. What this version cannot take up has\n" +
			"a note. Whether a node has it in effect says x0t config show there.",
		Args: needs(),
		RunE: a.ask(func(ctx context.Context, c *api.Client, _ []string) error {
			s, err := c.ConfigShared(ctx)
			if err != nil {
				return err
			}
			return a.show(s, func() { a.printShared(s) })
		}),
	}
}

func (a *app) printShared(s api.ConfigShared) {
	if len(s.Settings) == 0 {
		fmt.Fprintln(a.out, "nothing is shared; share a value with: x0t config set KEY VALUE")
	} else {
		var t table
		t.head("KEY", "VALUE", "FOR", "BY", "SINCE")
		for _, one := range s.Settings {
			t.row(cell{escaped([]byte(one.Key)), plain}, cell{glance(one.Value), plain}, text(forWhom(one)), text(one.Author.String()), text(a.when(one.Time)))
		}
		t.print(a)
	}
	for _, one := range s.Settings {
		if one.Note != "" {
			fmt.Fprintln(a.out, a.paint(cell{fmt.Sprintf("%s for %s: %s", escaped([]byte(one.Key)), forWhom(one), one.Note), yellow}))
		}
	}
	if s.Ignored > 0 {
		fmt.Fprintln(a.out, a.paint(cell{fmt.Sprintf("%d values by members that are no authorities count nowhere; see x0t kv list x0t/config/", s.Ignored), yellow}))
	}
	if s.More {
		fmt.Fprintln(a.err, "there are more; see x0t kv list x0t/config/")
	}
	a.sayFresh(s.Freshness)
}

func (a *app) configShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "print what is in effect, and where it comes from",
		Long: "show prints for each key which value is in effect at this node, and whether it comes from the node's file, from what nodes\n" +
			"share, or is the default. Without a daemon it prints what the file says.",
		Args: needs(),
		RunE: a.ask(func(ctx context.Context, c *api.Client, _ []string) error {
			running, err := c.Config(ctx)
			if errors.Is(err, api.ErrNoDaemon) {
				running, err = a.ownConfig()
			}
			if err != nil {
				return err
			}
			return a.show(running, func() { a.printConfig(running) })
		}),
	}
}

// ownConfig is what a daemon would say that knows of nothing shared.
func (a *app) ownConfig() (api.Config, error) {
	c, given, err := a.loadGiven()
	if err != nil {
		return api.Config{}, err
	}
	own := api.Config{Node: c.Node.Name}
	shareable := config.Shareable()
	for _, key := range config.Keys() {
		k := api.ConfigKey{Key: key, Value: c.Value(key), Source: api.ConfigDefault, Shareable: slices.Contains(shareable, key)}
		if slices.Contains(given, key) {
			k.Source = api.ConfigFile
		}
		own.Keys = append(own.Keys, k)
	}
	if !a.json {
		a.aside("no daemon answers: what nodes share is not known")
	}
	return own, nil
}

func (a *app) printConfig(c api.Config) {
	var t table
	t.head("KEY", "VALUE", "FROM")
	for _, k := range c.Keys {
		from := text(a.sourceOf(k))
		if k.Source == api.ConfigFile && k.Shared != nil {
			from.colour = yellow
		}
		t.row(text(k.Key), text(k.Value), from)
	}
	t.print(a)
}

// sourceOf says where a value comes from.
func (a *app) sourceOf(k api.ConfigKey) string {
	shared := ""
	if s := k.Shared; s != nil {
		shared = fmt.Sprintf("shared for %s by %s, %s", forWhom(*s), s.Author, a.when(s.Time))
	}
	switch {
	case k.Source == api.ConfigFile && shared != "":
		return fmt.Sprintf("file; beats %s, %s", glance(k.Shared.Value), shared)
	case shared != "":
		return shared
	}
	return string(k.Source)
}
