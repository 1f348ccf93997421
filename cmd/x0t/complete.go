package main

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

// completer says what may stand at a place of the command line, for the shell. It prints nothing and fails silently: a
// shell that completes is no place for errors.
type completer = func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective)

// complete gives the commands below root what their arguments and flags are completed with.
func (a *app) complete(root *cobra.Command) {
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml") // fails for flags that do not exist only
	_ = root.MarkPersistentFlagDirname("state")
	_ = root.MarkPersistentFlagFilename("socket")
	each(root, func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		if strings.HasSuffix(cmd.Use, " NODE") {
			cmd.ValidArgsFunction = first(a.nodeNames)
		}
		if strings.Contains(cmd.Use, " TOPOLOGY") || strings.Contains(cmd.Use, " [TOPOLOGY]") {
			cmd.ValidArgsFunction = first(topologies)
		}
		if strings.HasSuffix(cmd.Use, " FAULT") {
			cmd.ValidArgsFunction = first(faultKinds)
		}
		if strings.Contains(cmd.Use, " KEY") || strings.Contains(cmd.Use, " [PREFIX]") {
			cmd.ValidArgsFunction = first(a.keyNames)
		}
		if path == "x0t config set" || path == "x0t config unset" {
			cmd.ValidArgsFunction = first(settingNames)
			_ = cmd.RegisterFlagCompletionFunc("node", a.nodeNames)
		}
		if path == "x0t config check" || strings.HasSuffix(cmd.Use, " FILE") {
			cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
				return nil, cobra.ShellCompDirectiveDefault // files
			}
		}
		if f := cmd.Flags().Lookup("faults"); f != nil {
			_ = cmd.RegisterFlagCompletionFunc("faults", faultKinds)
		}
		for _, name := range []string{"token-file", "keep", "dir", "file"} {
			if cmd.Flags().Lookup(name) != nil {
				_ = cmd.MarkFlagFilename(name)
			}
		}
	})
}

// each calls f with cmd and all commands below it.
func each(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, c := range cmd.Commands() {
		each(c, f)
	}
}

// first completes the first argument and no other.
func first(f completer) completer {
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, args, typed)
	}
}

// ofDaemon completes with what ask learns of the daemon.
func (a *app) ofDaemon(cmd *cobra.Command, typed string, ask func(context.Context, *api.Client) ([]cobra.Completion, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second) // who pressed Tab does not wait longer
	defer cancel()
	c := api.NewClient(a.socket)
	defer c.Close()
	names, err := ask(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return begin(names, typed), cobra.ShellCompDirectiveNoFileComp
}

// nodeNames asks the daemon for the members it knows.
func (a *app) nodeNames(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.ofDaemon(cmd, typed, func(ctx context.Context, c *api.Client) (names []cobra.Completion, err error) {
		peers, err := c.Peers(ctx)
		for _, p := range peers {
			names = append(names, p.Node.String())
		}
		return names, err
	})
}

// maxKeys is how many keys a completion offers; more is no help.
const maxKeys = 200

// keyNames asks the daemon for keys that begin so. Those that a shell would split or that are shown escaped are left out.
func (a *app) keyNames(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if f := cmd.Flags().Lookup("key-format"); f != nil && f.Value.String() != string(keyText) {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.ofDaemon(cmd, typed, func(ctx context.Context, c *api.Client) (names []cobra.Completion, err error) {
		page, err := c.KVList(ctx, api.KVListRequest{Prefix: []byte(typed), Limit: maxKeys, Keys: true})
		for _, e := range page.Entries {
			if key := string(e.Key); escaped(e.Key) == key && !strings.ContainsFunc(key, unicode.IsSpace) {
				names = append(names, key)
			}
		}
		return names, err
	})
}

// settingNames completes the keys that nodes may share.
func settingNames(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return begin(config.Shareable(), typed), cobra.ShellCompDirectiveNoFileComp
}

// topologies completes the built-in shapes up to their numbers, and files.
func topologies(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var shapes []cobra.Completion
	for s := range strings.SplitSeq(topology.Specs, ", ") {
		name, _, numbered := strings.Cut(s, ":")
		if numbered {
			name += ":"
		}
		shapes = append(shapes, name)
	}
	// No space after "line:", whose number follows; files are offered where no shape fits.
	shapes = begin(shapes, typed)
	if len(shapes) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return shapes, cobra.ShellCompDirectiveNoSpace
}

// faultKinds completes "builtin:KIND" and files.
func faultKinds(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var kinds []cobra.Completion
	for _, k := range fault.Kinds() {
		kinds = append(kinds, "builtin:"+string(k))
	}
	kinds = begin(kinds, typed)
	if len(kinds) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return kinds, cobra.ShellCompDirectiveDefault
}

func begin(all []string, typed string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return !strings.HasPrefix(s, typed) })
}
