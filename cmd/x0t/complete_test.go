package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// ownBinary puts this test binary into a directory of its own under the name x0t.
func ownBinary(t *testing.T) (dir string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir = shortDir(t)
	if err := os.Symlink(self, filepath.Join(dir, "x0t")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// completions asks x0t, as the scripts for the shells do, for what may follow.
func completions(t *testing.T, words ...string) []string {
	t.Helper()
	out, _, code := runArgs(t.Context(), "", append([]string{cobra.ShellCompNoDescRequestCmd}, words...)...)
	if code != 0 {
		t.Fatalf("%v: exit %d", words, code)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[:len(lines)-1] // the last is the directive
}

func TestCompletion(t *testing.T) {
	isolate(t)
	dir := shortDir(t)
	t.Setenv("X0T_SOCKET", filepath.Join(dir, "x0t.sock"))
	if got := completions(t, "ping", ""); len(got) != 0 {
		t.Errorf("without a daemon: %q", got)
	}
	serveFake(t, filepath.Join(dir, "x0t.sock"))
	for _, c := range []struct{ typed, want string }{
		{"ping |", "beta delta gamma"},
		{"trace g|", "gamma"},
		{"paths |", "beta delta gamma"},
		{"ping beta |", ""},
		{"lab run r|", "ring:"},
		{"lab demo d|", "demo diamond"},
		{"lab run ring:4 --faults builtin:bl|", "builtin:blackhole"},
		{"serv|", "service"},
		{"service |", "install show"},
		{"m|", ""}, // hidden
	} {
		words := strings.Split(strings.TrimSuffix(c.typed, "|"), " ")
		got := completions(t, words...)
		slices.Sort(got)
		if strings.Join(got, " ") != c.want && (c.want != "" || len(got) > 0) {
			t.Errorf("%s: %q, want %q", c.typed, got, c.want)
		}
	}
}

// The scripts are sourced by the shells themselves, which then complete a line with a node's name.
func TestCompletionInShells(t *testing.T) {
	isolate(t)
	dir := ownBinary(t)
	t.Setenv("X0T_SOCKET", filepath.Join(dir, "x0t.sock"))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("HOME", dir)
	serveFake(t, filepath.Join(dir, "x0t.sock"))
	for _, sh := range []struct{ name, script string }{
		{"bash", `compopt() { :; } # works while the shell itself completes only
_get_comp_words_by_ref() { cur="ga" prev="ping" words=(x0t ping ga) cword=2; }
source <(x0t completion bash)
COMP_WORDS=(x0t ping ga) COMP_CWORD=2 COMP_LINE="x0t ping ga" COMP_POINT=11 COMP_TYPE=9
__start_x0t
echo "${COMPREPLY[@]}"`},
		{"fish", `x0t completion fish | source; complete -C "x0t ping ga"`},
		{"zsh", `autoload -U compinit; compinit -u; source <(x0t completion zsh); whence -w _x0t; x0t __completeNoDesc ping ga | head -1`},
	} {
		path, err := exec.LookPath(sh.name)
		if err != nil && sh.name != "bash" {
			t.Logf("%s is not installed: its script is generated and not run", sh.name)
			path = ""
		}
		generated, errs, code := runArgs(t.Context(), "", "completion", sh.name)
		if code != 0 || len(generated) < 1000 {
			t.Errorf("%s: exit %d, %d bytes, %s", sh.name, code, len(generated), errs)
		}
		if path == "" {
			continue
		}
		out, err := exec.Command(path, "-c", sh.script).CombinedOutput() // #nosec G204 -- a shell of this machine
		if err != nil || !strings.Contains(string(out), "gamma") {
			t.Errorf("%s: %v, %q", sh.name, err, out)
		}
	}
	if generated, _, code := runArgs(t.Context(), "", "completion", "powershell"); code != 0 || !strings.Contains(generated, "Register-ArgumentCompleter") {
		t.Errorf("powershell: exit %d", code)
	}
}

func testRoot() *cobra.Command {
	root := (&app{now: noonNow}).root()
	root.InitDefaultCompletionCmd()
	return root
}

// Whoever asks for help about a command finds a line, a text and an example; the table of texts names no command that is
// gone.
func TestEveryCommandIsDocumented(t *testing.T) {
	paths := map[string]bool{}
	each(testRoot(), func(c *cobra.Command) {
		paths[c.CommandPath()] = true
		if c.Short == "" || c.Long == "" {
			t.Errorf("%s: short %q, long %q", c.CommandPath(), c.Short, c.Long)
		}
		// Those of completion are cobra's, whose long texts have examples in them.
		if c.Example == "" && !strings.HasPrefix(c.CommandPath(), "x0t completion") {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if !strings.HasPrefix(line, "  ") || !strings.Contains(line, "x0t") {
				t.Errorf("%s: the example %q is no indented command of ours", c.CommandPath(), line)
			}
		}
	})
	for path := range manual {
		if !paths[path] {
			t.Errorf("there is a text for %s, which is no command", path)
		}
	}
}

func TestManual(t *testing.T) {
	isolate(t)
	dir := filepath.Join(t.TempDir(), "man1")
	out, errs, code := runArgs(t.Context(), "", "man", "--dir", dir)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || strings.Count(out, "\n") != len(pages) {
		t.Errorf("%d pages, %v; it said\n%s", len(pages), err, out)
	}
	each(testRoot(), func(c *cobra.Command) {
		b, err := os.ReadFile(filepath.Join(dir, pageName(c)+".1"))
		if c.Hidden {
			if err == nil {
				t.Errorf("%s is hidden and has a page", c.CommandPath())
			}
			return
		}
		page := string(b)
		for _, want := range []string{".TH ", ".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n", ".SH OPTIONS\n", ".SH EXIT STATUS\n", ".SH SEE ALSO\n"} {
			if !strings.Contains(page, want) {
				t.Errorf("the page of %s lacks %s", c.CommandPath(), want)
			}
		}
	})
	lint(t, pages)
}

// lint has formatters read the pages, where there are such: they have nothing to complain about.
func lint(t *testing.T, pages []string) {
	t.Helper()
	for _, formatter := range [][]string{{"mandoc", "-T", "lint", "-W", "warning"}, {"groff", "-man", "-ww", "-z", "-K", "utf8"}} {
		path, err := exec.LookPath(formatter[0])
		if err != nil {
			t.Logf("%s is not installed", formatter[0])
			continue
		}
		for _, p := range pages {
			out, err := exec.Command(path, append(formatter[1:], p)...).CombinedOutput() // #nosec G204 -- a formatter of this machine
			if err != nil || len(out) > 0 {
				t.Errorf("%s: %v\n%s", formatter[0], err, out)
			}
		}
	}
}

// What would end a page or change its type is shown as it is.
func TestRoffEscapes(t *testing.T) {
	for in, want := range map[string]string{
		".TH of doom": `\&.TH of doom`, "'quoted'": `\&'quoted'`, `a\b`: `a\eb`, "--dir": `\-\-dir`, "a\tb": "a    b",
	} {
		if got := roff(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
