package flow

import (
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// SetPaths offers the paths that the topology has now, the primary first, and byways besides. What is known of a path stays if
// the same path is offered again; a path not offered any more is forgotten.
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
	for _, r := range f.routes {
		if r.lossy && find(routes, r.path) == nil {
			f.past = append(f.past[max(0, len(f.past)+1-maxPast):], r)
		}
	}
	f.keep(now, routes)
	f.routes = routes
	f.given = given{}
	f.choose(now)
}

// enter returns the route of a path that was not offered before now: the one of the past if it was lossy then. Its
// number is the next that neither the routes of before nor those of now have.
func (f *Flow) enter(now time.Time, p mesh.Path, routes []*route) *route {
	f.past = slices.DeleteFunc(f.past, func(r *route) bool { return now.Sub(r.struck) >= calm })
	r := find(f.past, p)
	if r == nil {
		r = &route{rtt: 2 * time.Duration(p.Cost) * time.Microsecond, since: now, link: f.linkState(p.Labels[0])}
	} else {
		f.past = slices.DeleteFunc(f.past, func(x *route) bool { return x == r })
		r.forget()
		r.loss.last = Counts{}
		r.setLink(now, f.linkState(p.Labels[0]))
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
