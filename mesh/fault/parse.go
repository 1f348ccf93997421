package fault

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"x0tta6bl4/mesh"
)

// builtinAt is when a builtin fault strikes.
const builtinAt = 2 * time.Second

// maxScript bounds a script, in bytes.
const maxScript = 1 << 20

// Parse reads a script: one fault a line, # begins a comment. The result is ordered by time. known are the nodes that
// targets may name.
func Parse(script string, known []mesh.NodeID) ([]Fault, error) {
	if len(script) > maxScript {
		return nil, fmt.Errorf("%w: a script of %d bytes; at most %d are read", ErrSyntax, len(script), maxScript)
	}
	var fs []Fault
	n := 0
	for line := range strings.Lines(script) {
		n++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		f, err := parseLine(words, known)
		if err != nil {
			return nil, fmt.Errorf("fault in line %d, %q: %w", n, clip(strings.Join(words, " ")), err)
		}
		fs = append(fs, f)
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
		return Fault{Kind: k, Target: Target{Path: true}, Param: k.Builtin(), At: builtinAt}, err
	}
	k, err := parseKind(words[0])
	if err != nil {
		return Fault{}, err
	}
	f := Fault{Kind: k}
	if len(words) < 4 {
		return f, fmt.Errorf("%w: write KIND TARGET [PARAM] at T [for D], for example: cut link:a-b at 2s for 5s", ErrSyntax)
	}
	if err := f.aim(words[1], known); err != nil {
		return f, err
	}
	rest := words[2:]
	if r := rules[k]; r.parse != nil {
		if f.Param, err = r.parse(rest[0]); err != nil {
			return f, fmt.Errorf("%w: after the target of %s comes %s, not %q", ErrSyntax, k, r.usage, clip(rest[0]))
		}
		rest = rest[1:]
	}
	return f, f.parseTimes(rest)
}

// aim reads the target.
func (f *Fault) aim(s string, known []mesh.NodeID) (err error) {
	if f.Kind == Partition && !strings.HasPrefix(s, "path:") {
		f.Sides, err = parseSides(s, known)
		return err
	}
	if f.Target, err = parseTarget(s, known); err != nil {
		return err
	}
	return f.Kind.fits(f.Target)
}

func (f *Fault) parseTimes(words []string) (err error) {
	if len(words) != 2 && len(words) != 4 || words[0] != "at" || len(words) == 4 && words[2] != "for" {
		param := "no parameter"
		if r := rules[f.Kind]; r.parse != nil {
			param = r.usage
		}
		return fmt.Errorf("%w: it must end with at T [for D] (kind %s takes %s)", ErrSyntax, f.Kind, param)
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
	if _, ok := rules[k]; ok {
		return k, nil
	}
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	have := strings.Join(names, ", ")
	if slices.Contains(later, k) {
		return k, fmt.Errorf("fault kind %q: %w; these can be: %s", s, ErrUnsupported, have)
	}
	return k, fmt.Errorf("%w: there is no kind %q; there are %s", ErrSyntax, clip(s), have)
}

func parseTarget(s string, known []mesh.NodeID) (Target, error) {
	sort, names, _ := strings.Cut(s, ":")
	switch sort {
	case "node":
		n, err := mesh.ParseNodeID(names)
		if err != nil || !slices.Contains(known, n) {
			return Target{}, fmt.Errorf("%w: target %q: the map has no node %q", ErrSyntax, clip(s), clip(names))
		}
		return Target{A: n}, nil
	case "link", "path":
		a, b, ok := splitPair(names, known)
		if !ok {
			return Target{}, fmt.Errorf("%w: target %q: %q is not two nodes of the map with a hyphen between", ErrSyntax,
				clip(s), clip(names))
		}
		return Target{A: a, B: b, Path: sort == "path"}, nil
	}
	return Target{}, fmt.Errorf("%w: target %q: write link:A-B, node:A or path:A-D", ErrSyntax, clip(s))
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

func parseSides(s string, known []mesh.NodeID) (Sides, error) {
	var sides Sides
	sets := strings.Split(s, "|")
	if len(sets) != 2 {
		return sides, fmt.Errorf("%w: target %q: a partition strikes two sets of nodes: write a,b|c,d", ErrSyntax, clip(s))
	}
	seen := map[mesh.NodeID]bool{}
	for i, set := range sets {
		for name := range strings.SplitSeq(set, ",") {
			n, err := mesh.ParseNodeID(name)
			switch {
			case err != nil || !slices.Contains(known, n):
				return sides, fmt.Errorf("%w: target %q: the map has no node %q", ErrSyntax, clip(s), clip(name))
			case seen[n]:
				return sides, fmt.Errorf("%w: target %q names %s twice", ErrSyntax, clip(s), n)
			}
			seen[n] = true
			sides[i] = append(sides[i], n)
		}
	}
	return sides, nil
}

// clip keeps a quotation short.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
