package lab

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

// The language of faults is shared with the simulator.
type (
	Fault  = fault.Fault
	Target = fault.Target
	Kind   = fault.Kind
)

// LoadFaults reads what --faults was given: a script itself (lines may be separated by semicolons), or the name of a
// file that holds one. known are the nodes that targets may name.
func LoadFaults(arg string, known []mesh.NodeID) ([]Fault, error) {
	if arg == "" || strings.HasPrefix(arg, "builtin:") || strings.ContainsAny(strings.TrimSpace(arg), " \n;") {
		return fault.Parse(strings.ReplaceAll(arg, ";", "\n"), known)
	}
	b, err := os.ReadFile(arg) // #nosec G304 -- the user names the file
	if err != nil {
		return nil, fmt.Errorf("--faults %q: %w (a script looks like %q or %q)", arg, err, "builtin:cut", "cut link:a-b at 2s")
	}
	return fault.Parse(string(b), known)
}

// resolved checks that a fault says which link or node it strikes.
func resolved(f Fault) error {
	if f.Target.Path || f.Target.A.IsZero() || f.Kind.OnNode() != f.Target.B.IsZero() {
		return fmt.Errorf("%w: %s does not name the link or node that it strikes", fault.ErrSyntax, f)
	}
	return nil
}

// middleLink is the link in the middle of a path, middleRelay the relay.
func middleLink(path []mesh.NodeID) Target {
	i := (len(path) - 2) / 2
	return Target{A: path[i], B: path[i+1]}
}

func middleRelay(path []mesh.NodeID) (Target, bool) {
	return Target{A: path[len(path)/2]}, len(path) > 2
}

// onPath reports whether a link or, as a relay, a node is on a path.
func onPath(t Target, path []mesh.NodeID) bool {
	if t.B.IsZero() {
		return slices.Contains(path[1:len(path)-1], t.A)
	}
	for i, n := range path[1:] {
		if p := path[i]; p == t.A && n == t.B || p == t.B && n == t.A {
			return true
		}
	}
	return false
}
