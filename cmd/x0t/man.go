package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manCmd writes a page of the manual for every command. It is for packagers, so the help does not list it.
func (a *app) manCmd() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "man --dir DIR",
		Short:   "write the pages of the manual",
		Long:    "man writes one page for every command, in the format man(7).",
		Example: "  x0t man --dir /usr/local/share/man/man1",
		Hidden:  true,
		Args:    needs(),
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory to write them to; made if it is not there")
	cmd.RunE = a.do(func(context.Context, []string) error {
		if dir == "" {
			return usagef("--dir is missing: name the directory to write the pages to")
		}
		if err := os.MkdirAll(dir, 0o755); err != nil { // #nosec G301 -- manuals are for all to read
			return fmt.Errorf("manual: %w", err)
		}
		var err error
		root := cmd.Root()
		root.InitDefaultCompletionCmd()
		each(root, func(c *cobra.Command) {
			if c.Hidden || c.Name() == "help" || err != nil {
				return
			}
			path := filepath.Join(dir, pageName(c)+".1")
			if err = os.WriteFile(path, []byte(page(c, buildDay(a.now()))), 0o644); err == nil && !a.json { // #nosec G306 -- as above
				fmt.Fprintln(a.out, path)
			}
		})
		return err
	})
	return cmd
}

// pageName is how the manual calls a command: x0t-token-create.
func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// buildDay returns the day of the commit that the binary was built from, of which the manual speaks; today if that is not
// known.
func buildDay(today time.Time) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" && len(s.Value) >= len(time.DateOnly) {
				return s.Value[:len(time.DateOnly)]
			}
		}
	}
	return today.Format(time.DateOnly)
}

// page returns the manual's page for a command, in the macros of man(7).
func page(cmd *cobra.Command, day string) string {
	cmd.InitDefaultHelpFlag()
	var b strings.Builder
	release, _ := build()
	fmt.Fprintf(&b, ".TH %s 1 %s \"x0t %s\" \"x0t manual\"\n", strings.ToUpper(roff(pageName(cmd))), day, roff(release))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(pageName(cmd)), roff(cmd.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(cmd.CommandPath()))
	if _, args, ok := strings.Cut(cmd.UseLine(), cmd.CommandPath()+" "); ok {
		b.WriteString(roff(args) + "\n")
	}
	b.WriteString(".SH DESCRIPTION\n" + paragraphs(cmd.Long))
	if subs := listed(cmd); len(subs) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range subs {
			fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s\n", roff(pageName(c)), roff(c.Short))
		}
	}
	options(&b, "OPTIONS", cmd.NonInheritedFlags())
	options(&b, "GLOBAL OPTIONS", cmd.InheritedFlags())
	if cmd.Example != "" {
		b.WriteString(".SH EXAMPLES\n.nf\n" + literal(cmd.Example) + ".fi\n")
	}
	b.WriteString(".SH EXIT STATUS\n0 done, 1 failed, 2 wrong usage, 3 no daemon answers.\n")
	b.WriteString(".SH SEE ALSO\n" + seeAlso(cmd))
	return b.String()
}

// listed returns the subcommands that the help shows.
func listed(cmd *cobra.Command) []*cobra.Command {
	var subs []*cobra.Command
	for _, c := range cmd.Commands() {
		if !c.Hidden && c.Name() != "help" {
			subs = append(subs, c)
		}
	}
	return subs
}

func options(b *strings.Builder, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		value, usage := pflag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" && f.DefValue != "0s" {
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(b, ".TP\n\\fB%s\\fR \\fI%s\\fR\n%s\n", roff(name), roff(value), roff(usage))
	})
}

func seeAlso(cmd *cobra.Command) string {
	if !cmd.HasParent() {
		return ".BR systemd.service (5)\n"
	}
	return fmt.Sprintf(".BR %s (1)\n", roff(pageName(cmd.Parent())))
}

// paragraphs keeps blank lines as breaks and lets man fill the rest.
func paragraphs(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line == "" {
			b.WriteString(".PP\n")
			continue
		}
		b.WriteString(roff(line) + "\n")
	}
	return b.String()
}

func literal(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(roff(strings.TrimRight(line, "\n")) + "\n")
	}
	return b.String()
}

// roff escapes what means something to the formatter: backslashes, hyphens, which it would make typographic, and a dot or
// a quote at the beginning of a line.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\t", "    ").Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
