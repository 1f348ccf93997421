package bench

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// measured is a benchmark of the source whose time has a mark.
type measured struct {
	pkg, bench, figure, unit string
	scale                    float64 // nanoseconds of a unit
	mark                     float64 // 0 = none
	allocs                   bool    // it may allocate nothing
}

// codeMarks are those that need no mesh: what one of its computations costs.
var codeMarks = []measured{
	{"./core/path", "BenchmarkDisjoint/1000/cold", "k = 3 disjoint paths to one destination, 1,000 nodes of degree 6", "ms", 1e6, 2, false},
	{"./core/path", "BenchmarkDisjoint/10000/cold", "k = 3 disjoint paths to one destination, 10,000 nodes of degree 6", "ms", 1e6, 20, false},
	{"./core/path", "BenchmarkShortest/1000", "shortest-path tree after a link change, 1,000 nodes (all of it anew)", "ms", 1e6, 1, true},
	{"./core/path", "BenchmarkShortest/10000", "shortest-path tree after a link change, 10,000 nodes (all of it anew)", "ms", 1e6, 10, true},
	{"./wire", "BenchmarkRelay", "relay: one frame, label swap and MAC", "ns", 1, 150, true},
	{"./host/dataplane", "BenchmarkRelay", "relay: one frame, with session, window and table", "ns", 1, 0, true},
}

// code runs the benchmarks of the source tree that it is started in.
func (s *spine) code(ctx context.Context) error {
	for _, m := range codeMarks {
		if m.mark > 0 {
			s.figures().mark(m.figure, m.unit, m.mark)
		}
		if m.allocs {
			s.figures().mark(m.figure+": allocations", "", 0)
		}
	}
	for _, m := range codeMarks {
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", benchPattern(m.bench), "-benchtime", "300ms", "-benchmem", // #nosec G204 -- the table above
			"-count", strconv.Itoa(s.opt.Runs), m.pkg)
		out, err := cmd.CombinedOutput()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.note("%s was not measured: go test %s: %v: %s", m.figure, m.pkg, err, lastLines(out, 2))
			continue
		}
		for _, r := range benchResults(string(out), m.bench) {
			s.figures().add(m.figure, m.unit, r.ns/m.scale)
			if m.allocs {
				s.figures().add(m.figure+": allocations", "", r.allocs)
			}
		}
		s.say("%s: %s %s", m.figure, number(s.figures().find(m.figure, m.unit).Median()), m.unit)
	}
	return nil
}

// benchPattern matches one benchmark and no other: each part of its name is matched by itself.
func benchPattern(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

type benchResult struct{ ns, allocs float64 }

// benchResults reads what go test -bench -benchmem prints of one benchmark: "BenchmarkX/1-2  100  123 ns/op  0 B/op  0 allocs/op".
func benchResults(out, name string) (all []benchResult) {
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 4 || f[0] != name && !isRun(f[0], name) {
			continue
		}
		var r benchResult
		for i := 3; i < len(f); i++ {
			v, err := strconv.ParseFloat(f[i-1], 64)
			switch {
			case err != nil:
			case f[i] == "ns/op":
				r.ns = v
			case f[i] == "allocs/op":
				r.allocs = v
			}
		}
		if r.ns > 0 {
			all = append(all, r)
		}
	}
	return all
}

// isRun reports whether got is name with the number of processors behind it.
func isRun(got, name string) bool {
	n, ok := strings.CutPrefix(got, name+"-")
	var procs int
	_, err := fmt.Sscanf(n, "%d", &procs)
	return ok && err == nil
}
