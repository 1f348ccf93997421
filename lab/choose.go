package lab

import (
	"context"
	"fmt"
	"slices"

	"x0tta6bl4/mesh"
)

// choosePairs decides between whom each fault is judged, and lists all pairs that are to be probed. Without a fault
// that is the two farthest nodes.
func (l *Lab) choosePairs(ctx context.Context) (victims []*victim, all []pair, err error) {
	a, b, ok := l.m.farthest(anyPair)
	if !ok {
		return nil, nil, fmt.Errorf("map %s has no two nodes with a way between them", l.m.Name)
	}
	far := pair{a, b}
	var routes map[pair][][]mesh.NodeID
	for _, f := range l.opt.Faults {
		v := &victim{fault: f}
		switch {
		case f.Target.Path && f.Target.A.IsZero():
			v.fault.Target.A, v.fault.Target.B = far.a, far.b
			v.pairs = []pair{far}
		case f.Target.Path:
			v.pairs = []pair{{f.Target.A, f.Target.B}}
		default:
			if routes == nil {
				if routes, err = l.routes(ctx); err != nil {
					return nil, nil, err
				}
			}
			v.pairs = l.users(f, routes)
			if len(v.pairs) == 0 {
				l.say("no path in use crosses %s: the two farthest nodes are probed", f.Where())
				v.pairs = []pair{far}
			}
		}
		victims = append(victims, v)
		all = append(all, v.pairs...)
	}
	if len(all) == 0 {
		all = []pair{far}
	}
	return victims, unique(all), nil
}

// unique keeps the first of pairs that are equal or each other's reverse.
func unique(ps []pair) []pair {
	var out []pair
	for _, q := range ps {
		if !slices.Contains(out, q) && !slices.Contains(out, pair{q.b, q.a}) {
			out = append(out, q)
		}
	}
	return out
}

// routes asks every node for the paths that it uses. The key is an unordered pair as Map.pairs has it.
func (l *Lab) routes(ctx context.Context) (map[pair][][]mesh.NodeID, error) {
	ps := l.m.pairs()
	found := make([][][]mesh.NodeID, len(ps))
	each(len(ps), pollPaths, func(i int) {
		for _, d := range []pair{ps[i], {ps[i].b, ps[i].a}} {
			if path, err := l.pathInUse(ctx, d.a, d.b); err == nil {
				found[i] = append(found[i], path)
			}
		}
	})
	out := map[pair][][]mesh.NodeID{}
	for i, q := range ps {
		out[q] = found[i]
	}
	return out, ctx.Err()
}

// users returns the pairs whose path uses what f strikes, at most maxPairs, those with the longest paths first.
func (l *Lab) users(f Fault, routes map[pair][][]mesh.NodeID) []pair {
	type user struct {
		pair pair
		hops int
	}
	var us []user
	for _, q := range l.m.pairs() {
		for _, path := range routes[q] {
			if crosses(f, path) {
				us = append(us, user{q, len(path)})
				break
			}
		}
	}
	slices.SortStableFunc(us, func(a, b user) int { return b.hops - a.hops })
	var out []pair
	for _, u := range us[:min(len(us), maxPairs)] {
		out = append(out, u.pair)
	}
	return out
}
