package flow

import (
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// leaveTime is how long a way that is left for a better one, and not because anything speaks against it, has no share but stays
// a way: a flow by it changes over when it pauses, so that its packets keep their order.
const leaveTime = time.Second

// left is a way that is left.
type left struct {
	route *route
	until time.Time
}

// leave has flows by a path change over when they pause.
func (f *Flow) leave(now time.Time, r *route) {
	if r.grade() == fit {
		f.left = append(f.left, left{r, now.Add(leaveTime)})
	}
}

// forsake ends the time of ways that were left: it is over, they carry again, or something speaks against them.
func (f *Flow) forsake(now time.Time) {
	f.left = slices.DeleteFunc(f.left, func(l left) bool {
		return !now.Before(l.until) || f.carries(l.route) || !slices.Contains(f.routes, l.route) || l.route.grade() != fit
	})
}

// given is what Ways, Pair and Failing returned last, and of what that was made: they are asked at every turn of the fast loop.
type given struct {
	of   []carrier
	left []*route
	ways []mesh.Way
	legs []*route
	pair []mesh.Path

	fails   []*route
	failing []mesh.Path
}

// carrier is what one way is made of.
type carrier struct {
	route, copyTo *route
	part          uint32
	swapped       bool
}

// Ways returns the paths that carry packets, first the preferred one, each with the one to which its packets are copied now:
// none if all are dead. Of a path in doubt and its copy the likelier one comes first: what goes once goes by that. Ways that are
// being left come last and have no share. The result is not to be modified.
func (f *Flow) Ways() []mesh.Way {
	if f.current == nil {
		return nil
	}
	g := &f.given
	if len(g.of) == 1+len(f.spread.extra) && g.of[0] == f.carrier(f.current) &&
		slices.EqualFunc(g.of[1:], f.spread.extra, func(c carrier, r *route) bool { return c == f.carrier(r) }) &&
		slices.EqualFunc(g.left, f.left, func(r *route, l left) bool { return r == l.route }) {
		return g.ways
	}
	g.of, g.left, g.ways = nil, nil, nil
	for _, r := range f.ways() {
		w := mesh.Way{Path: r.path, Share: max(r.part, 1)}
		if r.copyTo != nil {
			w.Copy = r.copyTo.path
		}
		if f.swapped(r) {
			w.Path, w.Copy = w.Copy, w.Path
		}
		g.of, g.ways = append(g.of, f.carrier(r)), append(g.ways, w)
	}
	for _, l := range f.left {
		g.left = append(g.left, l.route)
		if !slices.ContainsFunc(g.ways, func(w mesh.Way) bool { return w.Number == l.route.path.Number }) {
			g.ways = append(g.ways, mesh.Way{Path: l.route.path})
		}
	}
	return g.ways
}

func (f *Flow) carrier(r *route) carrier { return carrier{r, r.copyTo, r.part, f.swapped(r)} }

// swapped reports whether the path that packets are copied to is the likelier one to deliver them. If it is a way already it is
// not two.
func (f *Flow) swapped(r *route) bool {
	if !r.leans || r.copyTo == nil || f.carries(r.copyTo) {
		return false
	}
	held := f.held && r == f.current && r.copyTo.grade() < r.grade()
	return held || r.grade() == undecided && r.copyTo.grade() < undecided
}

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

// Stuck reports whether packets are being sent and all paths offered fail.
func (f *Flow) Stuck(now time.Time) bool {
	return f.Sends(now) && len(f.routes) > 0 && len(f.Failing()) == len(f.routes)
}

// Sends reports whether packets are being sent.
func (f *Flow) Sends(now time.Time) bool { return now.Sub(f.sent) < dearBackoff }

// Failing returns the paths offered that fail though the links that this node sees are up: they lose packets or probes, or all
// of them. The result is not to be modified.
func (f *Flow) Failing() []mesh.Path {
	g, same := &f.given, 0
	for _, r := range f.routes {
		switch {
		case !r.failing():
		case same < len(g.fails) && g.fails[same] == r:
			same++
		default:
			same = len(g.fails) + 1
		}
	}
	if same == len(g.fails) {
		return g.failing
	}
	g.fails, g.failing = nil, nil
	for _, r := range f.routes {
		if r.failing() {
			g.fails, g.failing = append(g.fails, r), append(g.failing, r.path)
		}
	}
	return g.failing
}
