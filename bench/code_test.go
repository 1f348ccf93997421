package bench

import (
	"io"
	"strings"
	"testing"
)

func TestBenchResults(t *testing.T) {
	const out = "goos: linux\nBenchmarkRelay-2   \t  9999\t   123.5 ns/op\t 512.00 MB/s\t      16 B/op\t       2 allocs/op\n" +
		"BenchmarkRelay-2\t 9 \t 120 ns/op\t 0 B/op\t 0 allocs/op\nBenchmarkRelayed-2\t9\t1 ns/op\nBenchmarkRelay\t9\t7 ns/op\nBenchmarkRelay-2\t9\tx ns/op\nPASS\n"
	got := benchResults(out, "BenchmarkRelay")
	if len(got) != 3 || got[0] != (benchResult{123.5, 2}) || got[1] != (benchResult{120, 0}) || got[2].ns != 7 {
		t.Errorf("%+v", got)
	}
	if got := benchPattern("BenchmarkDisjoint/1000/cold"); got != "^BenchmarkDisjoint$/^1000$/^cold$" {
		t.Errorf("%q", got)
	}
}

// Where the source is not, nothing is measured, the marks are missed, and a note says why.
func TestCodeWithoutSource(t *testing.T) {
	t.Chdir(t.TempDir())
	s := &spine{report: &Report{}, opt: Options{Runs: 1, Progress: io.Discard}}
	if err := s.code(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(s.report.Figures.Missed()); n == 0 || n != len(s.report.Figures) || len(s.report.Notes) != len(codeMarks) || !strings.Contains(s.report.Notes[0], "was not measured") {
		t.Errorf("%d of %d figures missed, notes %q", n, len(s.report.Figures), s.report.Notes)
	}
}
