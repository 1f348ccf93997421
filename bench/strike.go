package bench

import (
	"fmt"
	"slices"
	"strings"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

// strike is a kind of fault with its parameter.
type strike struct {
	name  string // as it was asked for
	kind  fault.Kind
	param fault.Param
}

// parseStrikes reads a list of kinds: "blackhole,greydrop 1.0".
func parseStrikes(list string) (out []strike, err error) {
	if list == "" {
		list = DefaultFaults
	}
	a, b := mesh.MustNodeID("a"), mesh.MustNodeID("b")
	for item := range strings.SplitSeq(list, ",") {
		words := strings.Fields(item)
		if len(words) == 0 {
			return nil, fmt.Errorf("%w: an empty place in the list %q", fault.ErrSyntax, list)
		}
		k := fault.Kind(words[0])
		if !slices.Contains(strikeKinds, k) {
			return nil, fmt.Errorf("%w: %q; failover is measured for %v", fault.ErrSyntax, words[0], strikeKinds)
		}
		target := "link:a-b"
		if k.OnNode() {
			target = "node:a"
		}
		s := strike{name: strings.Join(words, " "), kind: k, param: k.Builtin()}
		if len(words) > 1 {
			f, err := fault.ParseNow(strings.Join(append([]string{words[0], target}, words[1:]...), " "), []mesh.NodeID{a, b})
			if err != nil {
				return nil, err
			}
			s.param = f.Param
		}
		if slices.ContainsFunc(out, func(o strike) bool { return o.name == s.name }) {
			return nil, fmt.Errorf("%w: %s stands twice in the list", fault.ErrSyntax, s.name)
		}
		out = append(out, s)
	}
	return out, nil
}

// strikeKinds are those that a flow can be cut off by, or nearly.
var strikeKinds = []fault.Kind{fault.Blackhole, fault.Oneway, fault.Cut, fault.Kill, fault.Freeze, fault.Greydrop, fault.Loss}
