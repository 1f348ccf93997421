// Testreport reads the stream of `go test -json` and prints what a person wants to see of it: a line per package,
// the whole output of what failed, every skip, and at the end how many tests passed and failed. It exits with 1 if
// a test or a package failed, or if a test was skipped whose skip is not on the allow-list.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is one line of `go test -json`, as `go doc test2json` describes it.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
}

type tally struct {
	passed, failed int
	skipped        []string
	output         map[string][]string
	broken         bool // a package failed without a failed test: it did not build, or it crashed
}

func main() {
	allow := flag.String("allow", "", "file with the tests that may be skipped, one `package.Test` a line, # begins a comment")
	flag.Parse()
	allowed, err := readAllowList(*allow)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(2)
	}
	ok, err := report(os.Stdin, os.Stdout, allowed)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func readAllowList(name string) ([]string, error) {
	if name == "" {
		return nil, nil
	}
	b, err := os.ReadFile(name) // #nosec G304 -- the caller names the file
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			names = append(names, line)
		}
	}
	return names, nil
}

func report(in io.Reader, out io.Writer, allowed []string) (bool, error) {
	t := tally{output: map[string][]string{}}
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, 1<<24)
	for sc.Scan() {
		var e event
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			fmt.Fprintln(out, sc.Text()) // what the compiler says comes as plain text
			continue
		}
		t.take(e, out)
	}
	if err := sc.Err(); err != nil {
		return false, err
	}
	bad := 0
	for _, s := range t.skipped {
		if slices.Contains(allowed, s) {
			fmt.Fprintln(out, "skipped, as allowed:", s)
			continue
		}
		bad++
		fmt.Fprintln(out, "skipped, which is not on the allow-list and so a failure:", s)
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", t.passed, t.failed+bad)
	return t.failed+bad == 0 && !t.broken, nil
}

func (t *tally) take(e event, out io.Writer) {
	key := e.Package + "." + e.Test
	switch e.Action {
	case "output", "build-output":
		t.output[key] = append(t.output[key], e.Output)
	case "pass":
		if e.Test != "" {
			t.passed++
		} else {
			fmt.Fprintf(out, "ok    %-40s %7.1f s\n", e.Package, e.Elapsed)
		}
		delete(t.output, key)
	case "skip":
		if e.Test != "" {
			t.skipped = append(t.skipped, key)
			fmt.Fprint(out, strings.Join(t.output[key], ""))
		}
		delete(t.output, key)
	case "fail", "build-fail":
		if e.Test != "" {
			t.failed++
		} else {
			t.broken = true
			fmt.Fprintf(out, "FAIL  %-40s %7.1f s\n", e.Package, e.Elapsed)
		}
		fmt.Fprint(out, strings.Join(t.output[key], ""))
	}
}
