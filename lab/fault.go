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

// resolved checks that a fault says which links or node it strikes.
func resolved(f Fault) error {
	if f.Target.Path {
		return fmt.Errorf("%w: %s does not name the link or node that it strikes", fault.ErrSyntax, f)
	}
	return f.Check()
}

// middleLink is the link in the middle of a path, middleRelay the relay.
func middleLink(path []mesh.NodeID) Target {
	i := (len(path) - 2) / 2
	return Target{A: path[i], B: path[i+1]}
}

func middleRelay(path []mesh.NodeID) (Target, bool) {
	return Target{A: path[len(path)/2]}, len(path) > 2
}

// split parts a map at a link: every node goes with that end of the link which is fewer hops away, or with the first.
func (m *Map) split(t Target) fault.Sides {
	hops := func(from mesh.NodeID) map[mesh.NodeID]int {
		at := map[mesh.NodeID]int{from: 0}
		for queue := []mesh.NodeID{from}; len(queue) > 0; queue = queue[1:] {
			for _, n := range m.neighbours(queue[0], damage{}) {
				if _, seen := at[n]; !seen {
					at[n] = at[queue[0]] + 1
					queue = append(queue, n)
				}
			}
		}
		return at
	}
	a, b := hops(t.A), hops(t.B)
	var s fault.Sides
	for _, n := range m.Nodes {
		if a[n] <= b[n] {
			s[0] = append(s[0], n)
		} else {
			s[1] = append(s[1], n)
		}
	}
	return s
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

// crosses reports whether a path uses what a fault strikes.
func crosses(f Fault, path []mesh.NodeID) bool {
	if f.Sides.IsZero() {
		return onPath(f.Target, path)
	}
	for i, n := range path[1:] {
		if f.Sides.Parts(path[i], n) {
			return true
		}
	}
	return false
}
