package sim

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// ErrLiar is in every error about a liar that cannot be.
var ErrLiar = errors.New("not a liar")

// invented is how many links a liar makes up, and firstInvented the label of the first.
const (
	invented      = 6
	firstInvented = 65000
)

func (w *World) addLiars() error {
	for _, id := range w.cfg.Liars {
		s := w.byID[id]
		if s == nil {
			return fmt.Errorf("%w: %s is not a node of the map", ErrLiar, id)
		}
		s.lies = true
	}
	return nil
}

// lie makes of what a node says of its links what draws most traffic to it: they cost next to nothing, and there are some to
// the first nodes of the map, which nobody else knows of.
func (w *World) lie(s *simNode, l wire.LSA) wire.LSA {
	l.Links = slices.Clone(l.Links)
	for i := range l.Links {
		l.Links[i].Cost, l.Links[i].MTU, l.Links[i].Quality, l.Links[i].Capacity = 1, 65535, mesh.Excellent, 1<<50
	}
	for i, n := range w.nodes[:min(invented, len(w.nodes))] {
		label := mesh.Label(firstInvented + i) // #nosec G115 -- small
		if n == s || slices.ContainsFunc(l.Links, func(x mesh.Adjacency) bool { return x.Label == label }) {
			continue
		}
		l.Links = append(l.Links, mesh.Adjacency{Neighbour: n.id, Label: label, Remote: 1, Cost: 1, Quality: mesh.Excellent})
	}
	slices.SortFunc(l.Links, func(x, y mesh.Adjacency) int { return cmp.Compare(x.Label, y.Label) })
	return l
}

// slander has a liar answer a packet that it forwards with an error of some kind that a relay sends.
func (w *World) slander(s *simNode, in mesh.Label, g *flight, f *wire.Frame, out mesh.Label) {
	if !s.lies || f.Type != wire.TypeData || !w.chance(w.cfg.Slander) {
		return
	}
	codes := [...]wire.ErrorCode{wire.ErrorLinkDown, wire.ErrorNoLabel, wire.ErrorLinkSuspect}
	w.stats.Slandered++
	w.sendError(s, g.back(in), f, wire.ErrorFrame{Code: codes[w.rng.IntN(len(codes))], Hop: f.Hop, Label: out, Quote: wire.QuoteOf(f.Payload)})
}
