package fault

import (
	"fmt"
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
	fs, err := Parse(strings.Join(words, " "), known)
	if err != nil {
		return Fault{}, fmt.Errorf("%q: %w", clip(line), err)
	}
	if len(fs) != 1 {
		return Fault{}, fmt.Errorf("%w: %q: write one, such as: cut link:a-b for 10s", ErrSyntax, clip(line))
	}
	fs[0].At = 0
	return fs[0], nil
}

// Now is the line without its times, as ParseNow reads it.
func (f Fault) Now() string {
	f.At, f.For = 0, 0
	return strings.TrimSuffix(f.String(), " at 0s")
}
