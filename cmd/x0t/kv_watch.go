package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
)

// rewatchEvery is how often a watch that lost its daemon asks for it.
const rewatchEvery = time.Second

// stamp is RFC 3339 to the millisecond.
const stamp = "2006-01-02T15:04:05.000Z07:00"

func (a *app) kvWatchCmd(format *keyFormat) *cobra.Command {
	var from string
	current := false
	cmd := &cobra.Command{
		Use:   "watch [PREFIX]",
		Short: "print changes as they come, until Ctrl-C",
		Long: "watch prints every change of a key, or of keys with a prefix, in the order in which this node takes them: its time,\n" +
			"revision, author, what was done, key and the beginning of the value. When the daemon restarts, the watch waits for it and\n" +
			"goes on behind the last revision it printed; --from does the same for a later run. If the journal no longer reaches back\n" +
			"so far, a line says \"reset\": what was known is void, keys may have been deleted; all that stands follows, as \"stands\".",
		Args: takes(0, "PREFIX"),
	}
	cmd.Flags().StringVar(&from, "from", "", "go on behind this revision of this node")
	cmd.Flags().BoolVar(&current, "current", false, "print what stands now first")
	cmd.RunE = a.ask(func(ctx context.Context, c *api.Client, args []string) error {
		prefix, err := format.prefix(args)
		if err != nil {
			return err
		}
		req := api.KVWatchRequest{Prefix: prefix, From: api.Revision(from), Current: current}
		if from == "" && !current {
			// From a revision, not from "now", so that nothing is missed if the daemon goes before the first change.
			l, err := c.KVList(ctx, api.KVListRequest{Prefix: prefix, Limit: 1, Keys: true})
			if err != nil {
				return err
			}
			req.From = l.Revision
		}
		return a.follow(ctx, format, req, c.KVWatch)
	})
	return cmd
}

// follow prints what watch tells until ctx ends. It outlives a daemon that goes away, unless that was never there.
func (a *app) follow(ctx context.Context, format *keyFormat, req api.KVWatchRequest,
	watch func(context.Context, api.KVWatchRequest, func(api.Freshness), func(api.KVChange) error) error) error {
	var opened, away bool
	for {
		var failed error
		err := watch(ctx, req, func(f api.Freshness) {
			failed = a.watchStands(f, req, away)
			opened, away = true, false
		}, func(c api.KVChange) error {
			// What stands now is told in no order of revisions: who was told a part of it has to be told all again.
			req.From, req.Current = c.Revision, c.Current || c.Reset
			failed = errors.Join(failed, a.printChange(format, c))
			return failed
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case failed != nil:
			return failed
		case !opened || !goneForNow(err):
			return err
		case err == nil:
			err = api.Errorf(api.CodeUnavailable, "the daemon ended the watch")
		}
		if !away {
			away = true
			a.report(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rewatchEvery):
		}
	}
}

// goneForNow reports whether a watch ended with its daemon, and not because of what was asked.
func goneForNow(err error) bool {
	var told *api.Error
	var broken *net.OpError
	if errors.As(err, &told) {
		return told.Code == api.CodeUnavailable || told.Code == api.CodeTimeout
	}
	return err == nil || errors.Is(err, api.ErrNoDaemon) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &broken)
}

// watchStands says that the watch goes on, where it had been broken, and how fresh it is.
func (a *app) watchStands(f api.Freshness, req api.KVWatchRequest, again bool) error {
	switch {
	case !again || a.json: // JSON begins anew with its head
	case req.Current:
		fmt.Fprintln(a.err, "the daemon answers again; what stands is told anew")
	default:
		fmt.Fprintf(a.err, "the daemon answers again; going on behind revision %s\n", req.From)
	}
	return a.showHead(f)
}

// showHead begins a stream of changes.
func (a *app) showHead(f api.Freshness) error {
	if a.json {
		return writeJSON(a.out, map[string]api.Freshness{"freshness": f})
	}
	a.sayFresh(f)
	return nil
}

func (a *app) printChange(format *keyFormat, c api.KVChange) error {
	if a.json {
		return writeJSON(a.out, c)
	}
	if c.Reset {
		_, err := fmt.Fprintf(a.out, "%s  %s  -  reset   what was known is void; what stands follows\n", c.Taken.Format(stamp), c.Revision)
		return err
	}
	what, value := "put", "  "+glance(c.Value)
	switch {
	case c.Deleted:
		what, value = "delete", ""
	case c.Current:
		what = "stands"
	}
	_, err := fmt.Fprintf(a.out, "%s  %s  %s  %-6s  %s%s\n", c.Taken.Format(stamp), c.Revision, c.Author, what, format.show(c.Key), value)
	return err
}

func (a *app) kvLogCmd(format *keyFormat) *cobra.Command {
	limit := 0
	cmd := &cobra.Command{
		Use:   "log [PREFIX]",
		Short: "print the latest changes",
		Long:  "log prints the latest changes that this node took and its journal still has, the oldest first, as watch does.",
		Args:  takes(0, "PREFIX"),
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "changes to print at most")
	cmd.RunE = a.ask(func(ctx context.Context, c *api.Client, args []string) error {
		if limit < 1 {
			return usagef("--limit %d: a log has at least 1 change", limit)
		}
		prefix, err := format.prefix(args)
		if err != nil {
			return err
		}
		var failed error
		err = c.KVLog(ctx, api.KVLogRequest{Prefix: prefix, Limit: limit}, func(f api.Freshness) { failed = a.showHead(f) },
			func(c api.KVChange) error { return a.printChange(format, c) })
		return errors.Join(failed, err)
	})
	return cmd
}
