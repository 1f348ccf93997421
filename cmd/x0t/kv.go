package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"x0tta6bl4/api"
)

func (a *app) kvCmd() *cobra.Command {
	cmd := a.group(&cobra.Command{
		Use:   "kv",
		Short: "keys and values that all nodes share",
		Long: "kv reads and writes what all nodes of the domain share. Each may write at any time, also while the mesh is cut in two;\n" +
			"of what was written to one key the newest counts, everywhere, once nodes that are cut off are back. So every answer is\n" +
			"what this node knows, and a line on standard error says how fresh that is.\n\n" +
			"Keys have 1 to 1024 bytes of any kind, values up to 1 MiB. --key-format hex or base64 is for keys that a command line\n" +
			"cannot hold; keys are then printed so, too.",
	})
	format := keyText
	cmd.PersistentFlags().Var(&format, "key-format", "how keys are given and printed: text, hex or base64")
	_ = cmd.RegisterFlagCompletionFunc("key-format", cobra.FixedCompletions(keyFormats, cobra.ShellCompDirectiveNoFileComp))
	cmd.AddCommand(a.kvPutCmd(&format), a.kvGetCmd(&format), a.kvDeleteCmd(&format), a.kvListCmd(&format), a.kvWatchCmd(&format), a.kvLogCmd(&format))
	return cmd
}

func (a *app) kvPutCmd(format *keyFormat) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "put KEY [VALUE]",
		Short: "write a value",
		Long: "put writes a value and returns once it is on this node's disk; neighbours get it at once. The VALUE - is read from\n" +
			"standard input, byte for byte. What begins with a hyphen is given after --.",
		Args: takes(1, "KEY", "VALUE"),
	}
	cmd.Flags().StringVar(&file, "file", "", "write what is in this file")
	cmd.RunE = a.ask(func(ctx context.Context, c *api.Client, args []string) error {
		key, err := format.key(args[0])
		if err != nil {
			return err
		}
		value, err := a.readValue(args[1:], file, cmd.Flags().Changed("file"))
		if err != nil {
			return err
		}
		w, err := c.KVPut(ctx, key, value)
		if err != nil {
			return err
		}
		return a.showWritten("put", format.show(key), w)
	})
	return cmd
}

// readValue takes a value from where the command line says: the argument, standard input or a file.
func (a *app) readValue(args []string, file string, byFile bool) ([]byte, error) {
	switch {
	case len(args) == 1 && byFile:
		return nil, usagef("give a VALUE or --file, not both")
	case len(args) == 1 && args[0] != "-":
		return []byte(args[0]), nil
	case len(args) == 1:
		return readMost(a.in, "standard input")
	case !byFile:
		return nil, usagef("VALUE is missing: give it, - for standard input, or --file")
	}
	f, err := os.Open(file) // #nosec G304 -- the user names the file
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	defer f.Close()
	return readMost(f, file)
}

// readMost reads one byte more than a value may have, at which the client refuses it.
func readMost(r io.Reader, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, api.MaxValue+1))
	if err != nil {
		return nil, fmt.Errorf("read the value from %s: %w", name, err)
	}
	return b, nil
}

func (a *app) showWritten(what, key string, w api.KVWritten) error {
	return a.show(w, func() {
		fmt.Fprintf(a.out, "%s %s, revision %s\n", what, key, w.Revision)
		a.sayFresh(w.Freshness)
	})
}

func (a *app) kvGetCmd(format *keyFormat) *cobra.Command {
	raw := false
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "print a value",
		Long: "get prints a value and fails if there is none. Values with unprintable bytes are shown escaped; --raw writes a value byte\n" +
			"for byte, with a newline behind it only on a terminal.",
		Args: needs("KEY"),
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "write the value byte for byte")
	cmd.RunE = a.ask(func(ctx context.Context, c *api.Client, args []string) error {
		if raw && a.json {
			return usagef("--raw and --json: give one of them")
		}
		key, err := format.key(args[0])
		if err != nil {
			return err
		}
		got, err := c.KVGet(ctx, key)
		if err != nil {
			return err
		}
		if got.Entry == nil {
			return a.noValue(format.show(key), got)
		}
		if raw {
			err = a.writeRaw(got.Entry.Value)
		} else {
			err = a.show(got, func() { a.printValue(got.Entry.Value) })
		}
		if err == nil {
			a.sayFresh(got.Freshness)
		}
		return err
	})
	return cmd
}

// noValue fails; JSON is the same as with a value, only without the entry.
func (a *app) noValue(key string, got api.KVGet) error {
	if !a.json {
		return api.Errorf(api.CodeNotFound, "no value at %s here", key).With("%s", freshness(got.Freshness))
	}
	if err := writeJSON(a.out, got); err != nil {
		return err
	}
	return errQuiet
}

func (a *app) printValue(v api.Bytes) {
	line := string(v)
	if !v.Printable() {
		line = escaped(v)
		a.aside("the value has unprintable bytes, which are shown escaped; --raw writes them")
	}
	fmt.Fprintln(a.out, strings.TrimSuffix(line, "\n"))
}

// writeRaw fails where not all of a value is written, which who reads it might not notice.
func (a *app) writeRaw(v []byte) error {
	if isTerminal(a.out) && !bytes.HasSuffix(v, []byte("\n")) {
		v = append(v, '\n')
	}
	if _, err := a.out.Write(v); err != nil {
		return fmt.Errorf("write the value: %w", err)
	}
	return nil
}

func (a *app) kvDeleteCmd(format *keyFormat) *cobra.Command {
	return &cobra.Command{
		Use:   "delete KEY",
		Short: "take a value away",
		Long:  "delete takes a value away, on every node. It succeeds if there is none, too: another node may know of one.",
		Args:  needs("KEY"),
		RunE: a.ask(func(ctx context.Context, c *api.Client, args []string) error {
			key, err := format.key(args[0])
			if err != nil {
				return err
			}
			w, err := c.KVDelete(ctx, key)
			if err != nil {
				return err
			}
			return a.showWritten("deleted", format.show(key), w)
		}),
	}
}
