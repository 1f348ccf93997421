package flow

import (
	"slices"

	"x0tta6bl4/mesh"
)

// given is what Ways and Pair returned last, and of what that was made: they are asked at every turn of the fast loop.
type given struct {
	of   []carrier
	ways []mesh.Way
	legs []*route
	pair []mesh.Path
}

// carrier is what one way is made of.
type carrier struct {
	route, copyTo *route
	part          uint32
	swapped       bool
}

// Ways returns the paths that carry packets, first the preferred one, each with the one to which its packets are copied now:
// none if all are dead. Of a path in doubt and its copy the likelier one comes first: what goes once goes by that. The result is not to be modified.
func (f *Flow) Ways() []mesh.Way {
	if f.current == nil {
		return nil
	}
	g := &f.given
	if len(g.of) == 1+len(f.spread.extra) && g.of[0] == f.current.carrier() &&
		slices.EqualFunc(g.of[1:], f.spread.extra, func(c carrier, r *route) bool { return c == r.carrier() }) {
		return g.ways
	}
	g.of, g.ways = nil, nil
	for _, r := range f.ways() {
		w := mesh.Way{Path: r.path, Share: max(r.part, 1)}
		if r.copyTo != nil {
			w.Copy = r.copyTo.path
		}
		if r.swapped() {
			w.Path, w.Copy = w.Copy, w.Path
		}
		g.of, g.ways = append(g.of, r.carrier()), append(g.ways, w)
	}
	return g.ways
}

func (r *route) carrier() carrier { return carrier{r, r.copyTo, r.part, r.swapped()} }

// Pair returns the paths that protected packets go by: two, or one if there are no more, none if all are dead or nothing is
// protected. The result is not to be modified.
func (f *Flow) Pair() []mesh.Path {
	if g := &f.given; !slices.Equal(g.legs, f.pair) {
		g.legs, g.pair = slices.Clone(f.pair), nil
		for _, r := range f.pair {
			g.pair = append(g.pair, r.path)
		}
	}
	return f.given.pair
}
