package fault

import (
	"errors"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

func TestNow(t *testing.T) {
	known := []mesh.NodeID{mesh.MustNodeID("a"), mesh.MustNodeID("b")}
	for line, want := range map[string]string{
		"cut link:a-b":           "cut link:a-b",
		" loss  link:a-b 30% ":   "loss link:a-b 0.3",
		"kill node:b for 3s":     "kill node:b",
		"partition a|b for 1s":   "partition a|b",
		"builtin:cut":            "builtin:cut",
		"flap link:a-b 2s/100ms": "flap link:a-b 2s/100ms",
	} {
		f, err := ParseNow(line, known)
		if err != nil || f.At != 0 || f.Now() != want {
			t.Errorf("%q: %q at %v, %v; want %q", line, f.Now(), f.At, err, want)
		}
	}
	if f, _ := ParseNow("kill node:b for 3s", known); f.For != 3*time.Second {
		t.Errorf("for %v", f.For)
	}
	for _, line := range []string{"", "cut", "cut link:a-z", "cut link:a-b at 2s", "loss link:a-b", "cut link:a-b for", "cut link:a-b for ever", "# cut link:a-b"} {
		if _, err := ParseNow(line, known); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v", line, err)
		}
	}
	// What the user did not write is not in what he is told.
	for line, want := range map[string]string{"cut link:a-b at 2s": "leave out at T", "quake link:a-b": "no kind", "cut link:a-b for": "for"} {
		if _, err := ParseNow(line, known); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "0s") || strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v", line, err)
		}
	}
}
