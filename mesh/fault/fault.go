// Package fault holds the script language of faults that the lab, the simulator and the benchmarks share:
// what breaks, where, when and for how long. What breaking means is theirs.
package fault

import (
	"bufio"
	"cmp"
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

// The kinds that can be injected.
const (
	Cut       Kind = "cut"       // an interface at one end of a link is set down
	Blackhole Kind = "blackhole" // a link drops everything, both ways, while its interfaces stay up
	Oneway    Kind = "oneway"    // the same in one direction only, that of the target's name
	Kill      Kind = "kill"      // SIGKILL of a node's daemon; it is started again when the fault ends
	Freeze    Kind = "freeze"    // SIGSTOP of a node's daemon, SIGCONT when the fault ends
	Restart   Kind = "restart"   // SIGKILL of a node's daemon, and a new one at once
)

// onNode tells for every kind of the script language whether it strikes a node or a link; supported are those that
// are constants above.
var onNode = map[Kind]bool{
	Cut: false, Blackhole: false, Oneway: false, "greydrop": true, "loss": false, "delay": false, "jitter": false,
	"rate": false, "reorder": false, "duplicate": false, "mtu": false, "flap": false, Kill: true, Freeze: true,
	Restart: true, "cpu": true, "memory": true, "disk-full": true, "disk-error": true, "partition": false, "clock": true,
}

var supported = []Kind{Cut, Blackhole, Oneway, Kill, Freeze, Restart}

// OnNode reports whether the kind strikes a node's daemon rather than a link.
func (k Kind) OnNode() bool { return onNode[k] }

// Target is what a fault strikes: exactly one of a link (A and B), a node (A), and the middle of the path in use
// from A to B (Path). The zero value, only in builtin faults, is the path between the two farthest nodes.
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

// Fault is one line of a script: Kind strikes Target At after the probes have begun, For as long as that says.
type Fault struct {
	Kind   Kind
	Target Target
	At     time.Duration
	For    time.Duration // 0 = until the end of the run
}

func (f Fault) String() string {
	s := fmt.Sprintf("%s %s at %s", f.Kind, f.Target, f.At)
	if f.For > 0 {
		s += fmt.Sprintf(" for %s", f.For)
	}
	return s
}

// builtinAt is when a builtin fault strikes.
const builtinAt = 2 * time.Second

// Parse reads a script: one fault a line, # begins a comment. The result is ordered by time.
func Parse(script string, known []mesh.NodeID) ([]Fault, error) {
	var fs []Fault
	sc := bufio.NewScanner(strings.NewReader(script))
	for n := 1; sc.Scan(); n++ {
		line, _, _ := strings.Cut(sc.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		f, err := parseLine(words, known)
		if err != nil {
			return nil, fmt.Errorf("fault in line %d, %q: %w", n, strings.TrimSpace(line), err)
		}
		fs = append(fs, f)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("fault script: %w", err)
	}
	slices.SortStableFunc(fs, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return fs, nil
}

func parseLine(words []string, known []mesh.NodeID) (Fault, error) {
	if name, ok := strings.CutPrefix(words[0], "builtin:"); ok {
		if len(words) > 1 {
			return Fault{}, fmt.Errorf("%w: nothing may follow builtin:KIND", ErrSyntax)
		}
		k, err := parseKind(name)
		return Fault{Kind: k, Target: Target{Path: true}, At: builtinAt}, err
	}
	k, err := parseKind(words[0])
	if err != nil {
		return Fault{}, err
	}
	f := Fault{Kind: k}
	if len(words) < 4 {
		return f, fmt.Errorf("%w: write KIND TARGET at T [for D], for example: cut link:a-b at 2s for 5s", ErrSyntax)
	}
	if f.Target, err = parseTarget(words[1], known); err != nil {
		return f, err
	}
	if err := f.Kind.fits(f.Target); err != nil {
		return f, err
	}
	return f, f.parseTimes(words[2:])
}

func (f *Fault) parseTimes(words []string) (err error) {
	if words[0] != "at" || len(words) != 2 && (len(words) != 4 || words[2] != "for") {
		return fmt.Errorf("%w: after the target comes at T [for D] (kind %s takes no parameter)", ErrSyntax, f.Kind)
	}
	if f.At, err = time.ParseDuration(words[1]); err != nil || f.At < 0 {
		return fmt.Errorf("%w: time %q: write for example 2s or 1500ms", ErrSyntax, words[1])
	}
	if len(words) == 4 {
		if f.For, err = time.ParseDuration(words[3]); err != nil || f.For <= 0 {
			return fmt.Errorf("%w: duration %q: write for example 2s or 1500ms", ErrSyntax, words[3])
		}
	}
	return nil
}

func parseKind(s string) (Kind, error) {
	k := Kind(s)
	if slices.Contains(supported, k) {
		return k, nil
	}
	var names []string
	for _, k := range supported {
		names = append(names, string(k))
	}
	have := strings.Join(names, ", ")
	if _, ok := onNode[k]; ok {
		return k, fmt.Errorf("fault kind %q: %w; these can be: %s", s, ErrUnsupported, have)
	}
	return k, fmt.Errorf("%w: there is no kind %q; there are %s", ErrSyntax, s, have)
}

// fits checks that a kind is aimed at something that it can strike.
func (k Kind) fits(t Target) error {
	if t.Path || k.OnNode() == t.B.IsZero() {
		return nil
	}
	want := "link:A-B"
	if k.OnNode() {
		want = "node:A"
	}
	return fmt.Errorf("%w: %s strikes %s or path:A-D, not %s", ErrSyntax, k, want, t)
}

func parseTarget(s string, known []mesh.NodeID) (Target, error) {
	sort, names, _ := strings.Cut(s, ":")
	switch sort {
	case "node":
		n, err := mesh.ParseNodeID(names)
		if err != nil || !slices.Contains(known, n) {
			return Target{}, fmt.Errorf("%w: target %q: the map has no node %q", ErrSyntax, s, names)
		}
		return Target{A: n}, nil
	case "link", "path":
		a, b, ok := splitPair(names, known)
		if !ok {
			return Target{}, fmt.Errorf("%w: target %q: %q is not two nodes of the map with a hyphen between", ErrSyntax, s, names)
		}
		return Target{A: a, B: b, Path: sort == "path"}, nil
	}
	return Target{}, fmt.Errorf("%w: target %q: write link:A-B, node:A or path:A-D", ErrSyntax, s)
}

// splitPair finds the hyphen that parts two names of nodes, which may hold hyphens themselves.
func splitPair(s string, known []mesh.NodeID) (a, b mesh.NodeID, ok bool) {
	for i := range s {
		if s[i] != '-' {
			continue
		}
		x, errX := mesh.ParseNodeID(s[:i])
		y, errY := mesh.ParseNodeID(s[i+1:])
		if errX == nil && errY == nil && x != y && slices.Contains(known, x) && slices.Contains(known, y) {
			return x, y, true
		}
	}
	return a, b, false
}
