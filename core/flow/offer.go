package flow

import (
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// SetPaths offers the paths that the topology has now, the primary first, and byways besides. What is known of a path stays if
// the same path is offered again; of one that is not offered any more what speaks against it is remembered.
func (f *Flow) SetPaths(now time.Time, paths []mesh.Path, byways ...mesh.Path) {
	var routes []*route
	for i, p := range slices.Concat(paths, byways) {
		if !p.Valid() || find(routes, p) != nil {
			continue
		}
		r := find(f.routes, p)
		if r == nil && f.kept != nil && f.kept.path.Same(p) {
			r, f.kept = f.kept, nil
		}
		if r == nil {
			r = f.enter(now, p, routes)
			if i >= len(paths) && f.current != nil && f.current.grade() == leaky {
				r.sound(now)
			}
		}
		p.Number = r.path.Number
		r.path, r.byway = p, i >= len(paths)
		routes = append(routes, r)
	}
	f.recall(now, routes)
	f.keep(now, routes)
	f.routes = routes
	f.given = given{}
	f.choose(now)
}

// enter returns the route of a path that was not offered before now. If one by the same nodes spoke against itself it counts
// as lossy until it was tried: labels are not what a path is, for a relay can give its links others whenever it likes. Its number
// is the next that neither the routes of before nor those of now have.
func (f *Flow) enter(now time.Time, p mesh.Path, routes []*route) *route {
	r := &route{path: p, rtt: 2 * time.Duration(p.Cost) * time.Microsecond, since: now, link: f.linkState(p.Labels[0])}
	if was := f.known(now, p); was != nil {
		r.inherit(now, was)
	}
	taken := func(r *route) bool { return r.path.Number == f.number }
	for {
		f.number = f.number%maxNumber + 1
		if !slices.ContainsFunc(routes, taken) && !slices.ContainsFunc(f.every(), taken) {
			break
		}
	}
	r.path.Number = f.number
	return r
}

func find(routes []*route, p mesh.Path) *route {
	for _, r := range routes {
		if r.path.Same(p) {
			return r
		}
	}
	return nil
}

// known returns the route that spoke against a path, or against another one by the same nodes, nil if there is none: one with
// the same labels, else one that is offered till now, else the newest of the past.
func (f *Flow) known(now time.Time, p mesh.Path) (was *route) {
	f.past = slices.DeleteFunc(f.past, func(r *route) bool { return now.Sub(r.struck) >= calm })
	for _, r := range slices.Concat(f.past, f.every()) {
		switch {
		case !slices.Equal(r.path.Nodes, p.Nodes) || !r.distrusted(now):
		case r.path.Same(p):
			return r
		default:
			was = r
		}
	}
	return was
}

// recall remembers what is not offered any more and spoke against itself, once for each row of nodes.
func (f *Flow) recall(now time.Time, offered []*route) {
	for _, r := range f.routes {
		if !r.distrusted(now) || find(offered, r.path) != nil {
			continue
		}
		f.past = slices.DeleteFunc(f.past, func(x *route) bool { return slices.Equal(x.path.Nodes, r.path.Nodes) })
		f.past = append(f.past[max(0, len(f.past)+1-maxPast):], r)
	}
}

// distrusted reports whether a path is to be tried before it is fit, should it be offered anew: it is lossy or dead, or was
// suspected more than once lately. A single error is what every path has whose link fails.
func (r *route) distrusted(now time.Time) bool {
	r.decay(now)
	return r.lossy || r.health == lost || r.strikes > 1
}

// inherit has a path that enters be tried, as one of which is known what is known of another by the same nodes.
func (r *route) inherit(now time.Time, was *route) {
	if r.path.Same(was.path) {
		r.rtt, r.dev, r.heard = was.rtt, was.dev, was.heard
	}
	r.strikes, r.struck, r.missing = was.strikes, was.struck, was.missing
	r.sound(now)
	r.pause, r.proven = max(r.pause, was.pause), was.lossy && was.proven
	r.loss.recent, r.loss.at = was.loss.recent, was.loss.at
	if r.link == mesh.LinkDown {
		r.next = time.Time{}
	}
}
