package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
	"x0tta6bl4/daemon/replica"
)

func (a *app) stateCmd() *cobra.Command {
	cmd := a.group(&cobra.Command{
		Use:   "state",
		Short: "the shared state as a whole: how it is, copies of it",
		Long: "state tells how this node's replica of the shared state is, which x0t kv reads and writes, and copies it. A snapshot holds\n" +
			"every entry with the signature of its author; restoring one merges it, so that what is newer here stays.",
	})
	status := a.stateStatusCmd()
	unknown := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknown(cmd, args)
		}
		return status.RunE(cmd, args)
	}
	cmd.AddCommand(status, a.stateSnapshotCmd(), a.stateRestoreCmd(), a.stateVerifyCmd(), a.stateSettleCmd())
	return cmd
}

func (a *app) stateStatusCmd() *cobra.Command {
	return a.watchable("status", "how this node's replica of the shared state is", func(ctx context.Context, c *api.Client) (any, func(), error) {
		s, err := c.State(ctx)
		return s, func() { a.printState(s) }, err
	})
}

func (a *app) printState(s api.StateInfo) {
	var t table
	line := func(name string, c cell) { t.row(cell{name, bold}, c) }
	line("consistency", text(s.Consistency))
	if s.Settled {
		line("settled", cell{"yes", green})
	} else {
		line("settled", cell{"no: it has not learnt yet what others have, and does not write", yellow})
	}
	agreed := "never agreed with another yet"
	if s.Agreed != nil {
		agreed = "last agreed " + span(s.Agreed.Duration()) + " ago"
	}
	line("neighbours", textf("%d, of which %d hold the same; %s", s.Neighbours, s.Agreeing, agreed))
	line("entries", textf("%d, deletions among them", s.Entries))
	line("memory", text(size(uint64(max(s.Bytes, 0)))))
	line("digest", text(s.Digest))
	if s.Held > 0 {
		line("held", cell{fmt.Sprintf("%d from the future, until their time", s.Held), yellow})
	}
	if s.Aside > 0 {
		line("aside", cell{fmt.Sprintf("%d set aside; write those keys anew", s.Aside), yellow})
	}
	if s.Uncovered > 0 {
		line("uncovered", cell{fmt.Sprintf("%d of SVIDs that are long over; not taken until an authority covers them", s.Uncovered), yellow})
	}
	t.print(a)
	for _, w := range s.Warnings {
		fmt.Fprintln(a.out, a.paint(cell{"warning: " + w, yellow}))
	}
}

func (a *app) stateSnapshotCmd() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use:   "snapshot FILE",
		Short: "copy the shared state to a file",
		Long: "snapshot writes all entries with their signatures to a file, which is there whole or not at all, for its owner's eyes\n" +
			"only, and reads it again. The FILE - is standard output.",
		Args: needs("FILE"),
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if there is one")
	cmd.RunE = a.ask(func(ctx context.Context, c *api.Client, args []string) error {
		if args[0] == "-" {
			return a.snapshotOut(ctx, c)
		}
		return a.snapshotFile(ctx, c, args[0], force)
	})
	return cmd
}

// snapshotOut writes a snapshot to stdout, and to stderr what it holds.
func (a *app) snapshotOut(ctx context.Context, c *api.Client) error {
	if isTerminal(a.out) {
		return usagef("a snapshot is no text: name a FILE, or send standard output elsewhere")
	}
	info, err := c.StateSnapshot(ctx, a.out)
	if err != nil {
		return err
	}
	if a.json {
		return writeJSON(a.err, info)
	}
	fmt.Fprintln(a.err, a.contents(info))
	return nil
}

// snapshotMade is what a snapshot in a file holds.
type snapshotMade struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
	api.SnapshotInfo
}

func (a *app) snapshotFile(ctx context.Context, c *api.Client, path string, force bool) error {
	f, err := createWhole(path, force)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer f.discard()
	info, err := c.StateSnapshot(ctx, io.MultiWriter(f, a.progress("fetched")))
	if err != nil {
		return err
	}
	if err := f.keep(func(r io.Reader) error { return sameSnapshot(r, info) }); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return a.show(snapshotMade{path, f.n, info}, func() {
		fmt.Fprintf(a.out, "wrote %s, %s: %s\n", path, size(uint64(f.n)), a.contents(info)) // #nosec G115 -- a length
	})
}

// sameSnapshot verifies a snapshot that is to hold what the daemon said.
func sameSnapshot(r io.Reader, said api.SnapshotInfo) error {
	info, err := replica.Verify(r)
	if err == nil && (info.Digest != said.Digest || info.Entries != said.Entries) {
		err = fmt.Errorf("it has %d entries and digest %s, the daemon sent %d and %s", info.Entries, info.Digest, said.Entries, said.Digest)
	}
	return err
}

// contents says what a snapshot holds.
func (a *app) contents(s api.SnapshotInfo) string {
	return fmt.Sprintf("%d entries of %s by %s, %s, digest %s", s.Entries, s.Domain, s.Node, s.Time.Format(time.RFC3339), s.Digest)
}

func (a *app) stateSettleCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "settle",
		Short: "have this node write though no other has told it the shared state",
		Long: "settle has this node write, with what it holds now as all that there is. A node that is new, or lost its replica, waits for\n" +
			"one that knows the state; settle is for when there is none any more: x0t state says \"settled\" at no node of the domain.\n" +
			"What another node knows after all is merged when they meet; what was written here meanwhile counts by its time.",
		Args: needs(),
		RunE: a.ask(func(ctx context.Context, c *api.Client, _ []string) error {
			s, err := c.StateSettle(ctx)
			if err != nil {
				return err
			}
			return a.show(s, func() { a.printState(s) })
		}),
	}
}

func (a *app) stateRestoreCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "merge a snapshot into the shared state",
		Long: "restore gives a snapshot to the daemon, which verifies it and takes from it what it lacks and what is newer than what it\n" +
			"has. What is newer here stays, also deletions that it remembers. Of a snapshot that is torn, or of another domain,\n" +
			"nothing is taken. It fails if entries that may be valid are left out. The FILE - is standard input.",
		Args: needs("FILE"),
		RunE: a.ask(func(ctx context.Context, c *api.Client, args []string) error {
			in, err := a.openSnapshot(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			if f, ok := in.(*os.File); ok {
				if err := a.lookAhead(f); err != nil {
					return err
				}
			}
			r, err := c.StateRestore(ctx, io.TeeReader(in, a.progress("sent")))
			if err != nil {
				return err
			}
			if err := a.show(r, func() { a.printRestored(r) }); err != nil {
				return err
			}
			if n := r.LeftOut(); n > 0 {
				return fmt.Errorf("%d of %d entries were left out", n, r.Snapshot.Entries)
			}
			return nil
		}),
	}
}

// openSnapshot opens a file, or standard input for "-".
func (a *app) openSnapshot(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(a.in), nil
	}
	f, err := os.Open(path) // #nosec G304 -- the user names the file
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if st, err := f.Stat(); err == nil && st.IsDir() {
		_ = f.Close()
		return nil, fmt.Errorf("snapshot: %s is a directory", path)
	}
	return f, nil
}

// lookAhead verifies a snapshot before it is sent and says what it holds, where it can be read twice.
func (a *app) lookAhead(f *os.File) error {
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return err
	}
	info, err := replica.Verify(f)
	if err != nil {
		return fmt.Errorf("%s: %w; nothing is restored", f.Name(), err)
	}
	if !a.json {
		a.aside(fmt.Sprintf("restoring %d entries of %s from %s; what is newer here stays", info.Entries, f.Name(), a.when(info.Time)))
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

func (a *app) stateVerifyCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "verify FILE",
		Short: "check that a snapshot is whole, without a daemon",
		Long: "verify reads a snapshot to its end and fails if anything is missing, changed or too much. Whether the signatures in it are\n" +
			"of members is for the node to say that restores it. The FILE - is standard input.",
		Args: needs("FILE"),
		RunE: a.do(func(_ context.Context, args []string) error {
			in, err := a.openSnapshot(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			info, err := replica.Verify(io.TeeReader(in, a.progress("read")))
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return a.show(info, func() { fmt.Fprintf(a.out, "%s is whole: %s\n", args[0], a.contents(info)) })
		}),
	}
}

func (a *app) printRestored(r api.RestoreResult) {
	fmt.Fprintln(a.out, "snapshot:", a.contents(r.Snapshot))
	fmt.Fprintf(a.out, "entries: %d taken, %d known here or outdone by newer ones\n", r.Taken, r.Known)
	for _, l := range [...]struct {
		n    int
		what string
	}{
		{r.Future, "wait for their time: they are dated in the future; check the clocks"},
		{r.Refused, "refused: their signatures do not match, or their authors may not write there"},
		{r.Unvouched, "left out: this node cannot vouch for their authors' certificates; restore again when it knows the authority"},
		{r.Uncovered, "left out: signed with SVIDs that are long over, and covered by no checkpoint of an authority; restore it at an authority"},
		{r.Older, "left out: older than deletions are remembered; they are set aside, write those keys anew"},
		{r.Full, "left out: their author's quota, or this node's memory, is full; delete something and restore again"},
	} {
		if l.n > 0 {
			fmt.Fprintln(a.out, a.paint(cell{fmt.Sprintf("warning: %d %s", l.n, l.what), yellow}))
		}
	}
}
