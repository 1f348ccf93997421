// Package fault holds the script language of faults that the lab, the simulator and the benchmarks share:
// what breaks, where, when and for how long. What breaking means is theirs.
//
//	KIND TARGET [PARAM] at T [for D]      one a line, # begins a comment
//	builtin:KIND                          that kind in the middle of the longest path, with the kind's own parameter
//
//	cut link:a-b at 2s for 5s
//	loss link:a-b 10% at 2s
//	flap path:a-d 2s/500ms at 2s
//	partition a,b|c,d at 2s for 5s
package fault

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"x0tta6bl4/mesh"
)

// Errors of fault scripts.
var (
	ErrSyntax      = errors.New("not a fault")
	ErrUnsupported = errors.New("cannot be injected here")
)

// Kind is what a fault does.
type Kind string

// The kinds. Those on a link take effect in both directions unless they say otherwise.
const (
	Cut       Kind = "cut"       // an interface at one end of a link is set down
	Blackhole Kind = "blackhole" // a link drops everything while its interfaces stay up
	Oneway    Kind = "oneway"    // the same in one direction only, that of the target's name
	Greydrop  Kind = "greydrop"  // a node drops others' data that it forwards, with probability P; all else passes
	Loss      Kind = "loss"      // a link loses each packet with probability P
	Delay     Kind = "delay"     // a link takes D longer
	Jitter    Kind = "jitter"    // a link takes up to D longer, now more and now less; packets keep their order
	Rate      Kind = "rate"      // a link carries no more than Rate; a short queue fills, then it drops
	Reorder   Kind = "reorder"   // a packet is overtaken by those behind it, with probability P
	Duplicate Kind = "duplicate" // a packet arrives twice, with probability P
	MTU       Kind = "mtu"       // IP packets larger than MTU bytes vanish, and nobody is told
	Flap      Kind = "flap"      // a link is cut for Down, back for Up, and so on; it begins with Down
	Kill      Kind = "kill"      // SIGKILL of a node's daemon; it is started again when the fault ends
	Freeze    Kind = "freeze"    // SIGSTOP of a node's daemon, SIGCONT when the fault ends
	Restart   Kind = "restart"   // SIGKILL of a node's daemon, and a new one at once
	Partition Kind = "partition" // a blackhole of every link between two sets of nodes
	Clock     Kind = "clock"     // a node's wall clock is wrong by D; its timers go on as before
)

// OnNode reports whether the kind strikes a node's daemon rather than links.
func (k Kind) OnNode() bool { return rules[k].node }

// Kinds lists all kinds that can be injected, in the order of the documentation.
func Kinds() []Kind { return slices.Clone(kinds) }

// Target is what a fault strikes: exactly one of a link (A and B), a node (A), and the middle of the path in use
// from A to B (Path). The zero value with Path, only in builtin faults, is the path between the two farthest nodes.
// Without Path it belongs to a partition, which has Sides instead.
type Target struct {
	A, B mesh.NodeID
	Path bool
}

func (t Target) String() string {
	switch {
	case t.A.IsZero():
		return "builtin"
	case t.Path:
		return "path:" + t.A.String() + "-" + t.B.String()
	case t.B.IsZero():
		return "node:" + t.A.String()
	}
	return "link:" + t.A.String() + "-" + t.B.String()
}

// Sides are the two sets of nodes that a partition keeps apart. Nodes in neither keep all their links.
type Sides [2][]mesh.NodeID

// IsZero reports whether no sets are named.
func (s Sides) IsZero() bool { return len(s[0]) == 0 && len(s[1]) == 0 }

// Parts reports whether one of two nodes is in each set.
func (s Sides) Parts(a, b mesh.NodeID) bool {
	return slices.Contains(s[0], a) && slices.Contains(s[1], b) || slices.Contains(s[1], a) && slices.Contains(s[0], b)
}

// String is for example a,b|c,d.
func (s Sides) String() string {
	var sets [2]string
	for i, set := range s {
		var names []string
		for _, n := range set {
			names = append(names, n.String())
		}
		sets[i] = strings.Join(names, ",")
	}
	return sets[0] + "|" + sets[1]
}

// Fault is one line of a script: Kind strikes Target At after the probes have begun, For as long as that says.
type Fault struct {
	Kind   Kind
	Target Target
	Sides  Sides // of a partition whose Target is the zero value
	Param  Param
	At     time.Duration
	For    time.Duration // 0 = until the end of the run
}

// Where is the target, or the sides of a partition.
func (f Fault) Where() string {
	if !f.Sides.IsZero() {
		return f.Sides.String()
	}
	return f.Target.String()
}

// String is the line that Parse reads.
func (f Fault) String() string {
	if f.Target == (Target{Path: true}) {
		return "builtin:" + string(f.Kind)
	}
	words := []string{string(f.Kind), f.Where()}
	if r := rules[f.Kind]; r.format != nil {
		words = append(words, r.format(f.Param))
	}
	words = append(words, "at", f.At.String())
	if f.For > 0 {
		words = append(words, "for", f.For.String())
	}
	return strings.Join(words, " ")
}

// Check reports what keeps a fault that was not made by Parse from being one.
func (f Fault) Check() error {
	r, ok := rules[f.Kind]
	if !ok {
		return fmt.Errorf("%w: there is no kind %q", ErrSyntax, f.Kind)
	}
	if r.parse != nil {
		if p, err := r.parse(r.format(f.Param)); err != nil || p != f.Param {
			return fmt.Errorf("%w: %s takes %s, not %+v", ErrSyntax, f.Kind, r.usage, f.Param)
		}
	} else if f.Param != (Param{}) {
		return fmt.Errorf("%w: %s takes no parameter", ErrSyntax, f.Kind)
	}
	if (f.Kind == Partition && !f.Target.Path) == f.Sides.IsZero() {
		return fmt.Errorf("%w: two sets of nodes belong to a partition, and to nothing else", ErrSyntax)
	}
	if !f.Sides.IsZero() {
		return nil
	}
	return f.Kind.fits(f.Target)
}

// fits checks that a kind is aimed at something that it can strike.
func (k Kind) fits(t Target) error {
	switch {
	case t.Path:
		return nil
	case k == Partition:
		return fmt.Errorf("%w: %s strikes two sets of nodes, such as a,b|c,d, or path:A-D, not %s", ErrSyntax, k, t)
	case k.OnNode() == t.B.IsZero():
		return nil
	}
	want := "link:A-B"
	if k.OnNode() {
		want = "node:A"
	}
	return fmt.Errorf("%w: %s strikes %s or path:A-D, not %s", ErrSyntax, k, want, t)
}
