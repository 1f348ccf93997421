package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
)

// listPage is how many entries are asked for at a time.
const listPage = 1000

// listing is what list was told to print.
type listing struct {
	format *keyFormat
	after  string
	limit  int
	keys   bool
}

func (a *app) kvListCmd(format *keyFormat) *cobra.Command {
	l := listing{format: format}
	cmd := &cobra.Command{
		Use:   "list [PREFIX]",
		Short: "print keys and values",
		Long: "list prints all keys, or those with a prefix, in the order of their bytes, and the beginnings of their values. With\n" +
			"--json it prints a line for each page of up to 1000 entries, values whole.",
		Args: takes(0, "PREFIX"),
	}
	f := cmd.Flags()
	f.BoolVar(&l.keys, "keys", false, "print keys alone, one a line")
	f.IntVar(&l.limit, "limit", 0, "entries to print at most; 0 = all")
	f.StringVar(&l.after, "after", "", "begin behind this key")
	cmd.RunE = a.ask(func(ctx context.Context, c *api.Client, args []string) error {
		if l.limit < 0 {
			return usagef("--limit %d is negative; 0 prints all", l.limit)
		}
		prefix, err := format.prefix(args)
		if err != nil {
			return err
		}
		after, err := format.bytes("--after", l.after)
		if err != nil {
			return err
		}
		return a.list(ctx, c, l, api.KVListRequest{Prefix: prefix, After: after, Keys: l.keys})
	})
	return cmd
}

// list prints page after page, so that it needs no more memory for many.
func (a *app) list(ctx context.Context, c *api.Client, l listing, req api.KVListRequest) error {
	var t table
	for left := l.limit; ; {
		req.Limit = listPage
		if l.limit > 0 {
			req.Limit = min(left, listPage)
		}
		page, err := c.KVList(ctx, req)
		if err != nil {
			return err
		}
		if a.json {
			if err := writeJSON(a.out, page); err != nil {
				return err
			}
		} else {
			a.printPage(&t, l, page)
		}
		left -= len(page.Entries)
		if page.After == nil || l.limit > 0 && left <= 0 {
			a.endList(l, page)
			return nil
		}
		req.After = page.After
	}
}

func (a *app) printPage(t *table, l listing, page api.KVList) {
	if l.keys {
		for _, e := range page.Entries {
			fmt.Fprintln(a.out, l.format.show(e.Key))
		}
		return
	}
	if len(page.Entries) == 0 {
		return
	}
	if t.width == nil {
		t.head("KEY", "SIZE", "WRITTEN", "AUTHOR", "VALUE")
	}
	for _, e := range page.Entries {
		t.row(cell{l.format.show(e.Key), plain}, text(size(uint64(len(e.Value)))), text(a.when(e.Time)), text(e.Author.String()), cell{glance(e.Value), plain})
	}
	t.print(a)
}

// endList says what stdout has no place for.
func (a *app) endList(l listing, last api.KVList) {
	if a.json {
		return
	}
	if last.After != nil {
		fmt.Fprintf(a.err, "there are more; go on with --after %s\n", l.format.show(last.After))
	}
	a.sayFresh(last.Freshness)
}
