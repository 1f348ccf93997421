package flow

import (
	"cmp"
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// hotLife is how long after the last protected packet both paths of the pair are still watched.
const hotLife = time.Second

// keptLife is how long a path of the pair that is not offered any more may stay in it, until another one has answered.
const keptLife = 2 * time.Second

// fitness orders pairs of paths: fewer that something speaks against, fewer shared links, fewer shared relays, fewer that are
// lossy or in doubt. What a pair costs is no reason to change it.
type fitness struct{ bad, links, relays, weak int }

func (a fitness) compare(b fitness) int {
	return cmp.Or(cmp.Compare(a.bad, b.bad), cmp.Compare(a.links, b.links), cmp.Compare(a.relays, b.relays), cmp.Compare(a.weak, b.weak))
}

func fitnessOf(legs []*route) (x fitness) {
	for _, r := range legs {
		switch g := r.grade(); {
		case g >= accused:
			x.bad++
		case g > fit:
			x.weak++
		}
	}
	if len(legs) == 2 {
		x.links, x.relays = overlap(legs[0].path, legs[1].path)
	}
	return x
}

// overlap counts the links and the relays that two paths of one node share.
func overlap(a, b mesh.Path) (links, relays int) {
	for i, l := range a.Labels {
		if j := slices.Index(b.Nodes[:len(b.Labels)], a.Nodes[i]); j >= 0 && b.Labels[j] == l {
			links++
		}
		if i > 0 && slices.Contains(b.Nodes[1:len(b.Labels)], a.Nodes[i]) {
			relays++
		}
	}
	return links, relays
}

// pairUp keeps the two paths that protected packets go by: those that are fittest. While such packets are sent only one of them
// changes at a time, and not before the other has answered, unless something speaks against it: so one that works is always left.
func (f *Flow) pairUp(now time.Time) {
	if !f.cfg.Protect {
		return
	}
	f.hot = now.Before(f.hotUntil)
	if f.keeps(now) {
		return
	}
	f.pair = slices.DeleteFunc(f.pair, func(r *route) bool { return !slices.Contains(f.routes, r) || r.grade() == dead })
	if apart := f.pairable(); slices.ContainsFunc(f.pair, func(r *route) bool { return slices.Contains(apart, r) }) {
		f.pair = slices.DeleteFunc(f.pair, func(r *route) bool { return !slices.Contains(apart, r) })
	}
	best := f.fittest(f.pair)
	if len(best) == len(f.pair) && fitnessOf(best).compare(fitnessOf(f.pair)) >= 0 {
		return
	}
	kept := slices.DeleteFunc(slices.Clone(f.pair), func(r *route) bool { return !slices.Contains(best, r) })
	if f.hot && len(kept) < len(f.pair) {
		if kept = f.keepOne(kept); kept == nil {
			return
		}
		best = f.fittest(kept)
		if !slices.Contains(best, kept[0]) {
			best = f.joined(kept[0])
		}
	}
	for _, r := range best {
		if !slices.Contains(f.pair, r) {
			r.fresh = true
			f.join(r)
		}
	}
	f.pair = best
}

// keep has the healthiest path of the pair stay in it for now if none of them is offered any more: nobody knows yet that those
// that are will work.
func (f *Flow) keep(now time.Time, offered []*route) {
	if !f.hot || !now.Before(f.hotUntil) || len(f.pair) == 0 || slices.ContainsFunc(f.pair, func(r *route) bool { return slices.Contains(offered, r) }) {
		return
	}
	if r := slices.MinFunc(f.pair, func(a, b *route) int { return cmp.Compare(a.grade(), b.grade()) }); r.grade() == fit {
		f.kept, f.keptUntil = r, now.Add(keptLife)
	}
}

// keeps reports whether the pair is the path that was kept and one of those that are offered, which it brings about.
func (f *Flow) keeps(now time.Time) bool {
	if f.kept == nil {
		return false
	}
	legs := f.joined(f.kept)
	if !f.hot || !now.Before(f.keptUntil) || f.kept.grade() != fit || len(legs) == 2 && slices.Contains(f.pair, legs[1]) && !legs[1].fresh {
		f.kept = nil
		return false
	}
	if len(legs) == 2 && !slices.Contains(f.pair, legs[1]) {
		legs[1].fresh = true
		f.join(legs[1])
	}
	f.pair = legs
	return true
}

// keepOne returns the path of the pair that stays while the other one changes, nil if none may change yet.
func (f *Flow) keepOne(kept []*route) []*route {
	if len(kept) == 0 {
		kept = []*route{slices.MinFunc(f.pair, func(a, b *route) int { return cmp.Compare(a.grade(), b.grade()) })}
	}
	leaves := func(r *route) bool { return r != kept[0] && r.grade() < accused }
	if kept[0].fresh && slices.ContainsFunc(f.pair, leaves) {
		return nil
	}
	return kept
}

// fittest returns the fittest pair, of those that are equally fit one that has most of some paths, and then the first in order;
// one path if there is only one, none if all are dead.
func (f *Flow) fittest(stay []*route) (best []*route) {
	var most fitness
	stays := 0
	offer := func(legs ...*route) {
		n := 0
		for _, r := range legs {
			if slices.Contains(stay, r) {
				n++
			}
		}
		x := fitnessOf(legs)
		if c := x.compare(most); len(legs) > len(best) || len(legs) == len(best) && (c < 0 || c == 0 && n > stays) {
			best, most, stays = legs, x, n
		}
	}
	all := f.pairable()
	for i, a := range all {
		if a.grade() == dead {
			continue
		}
		offer(a)
		for _, b := range all[i+1:] {
			if b.grade() != dead {
				offer(a, b)
			}
		}
	}
	return best
}

// pairable returns the paths that may be of the pair. While one of the set delivers, if not all, and there is another, none of the
// byways, which share links and relays with others: a path that delivers is worth more beside one that is apart from it, and may be
// back any moment, than beside one that fails with it.
func (f *Flow) pairable() []*route {
	living, delivers, byways := 0, false, false
	for _, r := range f.routes {
		byways = byways || r.byway
		if g := r.grade(); !r.byway && g != dead {
			living++
			delivers = delivers || g < accused
		}
	}
	if !byways || !delivers || living < 2 {
		return f.routes
	}
	return slices.DeleteFunc(slices.Clone(f.routes), func(r *route) bool { return r.byway })
}

// joined returns the fittest pair that a path is in.
func (f *Flow) joined(leg *route) []*route {
	best := []*route{leg}
	for _, r := range f.pairable() {
		if r == leg || r.grade() == dead {
			continue
		}
		if legs := []*route{leg, r}; len(best) < 2 || fitnessOf(legs).compare(fitnessOf(best)) < 0 {
			best = legs
		}
	}
	return best
}
