package main

import (
	"strings"
	"testing"
)

func TestEndureRefusesNonsense(t *testing.T) {
	for want, args := range map[string][]string{
		"TOPOLOGY":               nil,
		"--duration 1ms is":      {"ring:4", "--duration", "1ms"},
		"is not a rate in bit/s": {"ring:4", "--load", "fast"},
		"no kind \"quake\"":      {"ring:4", "--kinds", "quake"},
		"use one of line:N":      {"nowhere"},
	} {
		if _, errs, code := runArgs(t.Context(), "", append([]string{"lab", "endure"}, args...)...); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%v: code %d, %s; want %q", args, code, errs, want)
		}
	}
}
