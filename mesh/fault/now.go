package fault

import (
	"fmt"
	"slices"
	"strings"

	"x0tta6bl4/mesh"
)

// ParseNow reads a fault that is to happen now: KIND TARGET [PARAM] [for D], or builtin:KIND.
func ParseNow(line string, known []mesh.NodeID) (Fault, error) {
	words := strings.Fields(line)
	switch n := len(words); {
	case n == 1 && strings.HasPrefix(words[0], "builtin:"):
	case n >= 4 && words[n-2] == "for":
		words = append(append(append([]string{}, words[:n-2]...), "at", "0s"), words[n-2:]...)
	default:
		words = append(words, "at", "0s")
	}
	switch {
	case len(words) == 2 || strings.ContainsAny(line, ";#\n"): // nothing but "at 0s", or not one line
		return Fault{}, fmt.Errorf("%w: %q: write one, such as: cut link:a-b for 10s", ErrSyntax, clip(line))
	case slices.Contains(strings.Fields(line), "at"):
		return Fault{}, fmt.Errorf("%w: %q: it is to happen now, so leave out at T", ErrSyntax, clip(line))
	}
	f, err := parseLine(words, known)
	if err != nil {
		return Fault{}, fmt.Errorf("%q: %w", clip(line), err)
	}
	f.At = 0
	return f, nil
}

// Now is the line without its times, as ParseNow reads it.
func (f Fault) Now() string {
	f.At, f.For = 0, 0
	return strings.TrimSuffix(f.String(), " at 0s")
}
