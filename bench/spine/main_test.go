package main

import (
	"strings"
	"testing"
)

func TestUsage(t *testing.T) {
	for args, want := range map[string]int{"-h": 0, "-runs x": 2, "-nonsense": 2, "-parts nonsense": 2} {
		var out, errs strings.Builder
		if got := run(t.Context(), strings.Fields(args), &out, &errs); got != want || errs.Len() == 0 {
			t.Errorf("spine %s: exit code %d, want %d; it said %q", args, got, want, errs.String())
		}
	}
}
