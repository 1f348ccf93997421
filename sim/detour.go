package sim

import (
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// What a relay does about a link that is down or in doubt, as the data plane does it. What bounds duplicates there, a budget
// of bytes and a limit of errors, the few packets of a simulation do not reach, and it is not modelled.

// rerouted is what a frame says that has been sent by a detour before. It takes no second one.
const rerouted = wire.FlagSuspect | wire.FlagRepaired

// repair sends a frame that wants a link which is down by a way around it, and tells the source.
func (w *World) repair(s *simNode, in mesh.Label, g *flight, f *wire.Frame, down *mesh.ForwardLink) {
	w.sendError(s, g.back(in), f, wire.ErrorFrame{Code: wire.ErrorLinkDown, Hop: f.Hop, Label: down.Label, Quote: wire.QuoteOf(f.Payload)})
	if d, ok := w.around(s, in, g.frame, down); ok {
		w.reroute(s, in, g, d, f.Flags|wire.FlagRepaired)
	}
}

// double sends a copy of a frame that is about to leave by a link in doubt by a way around it, and tells the source.
func (w *World) double(s *simNode, in mesh.Label, g *flight, f *wire.Frame, doubted *mesh.ForwardLink) {
	if f.Flags&rerouted != 0 {
		return
	}
	w.sendError(s, g.back(in), f, wire.ErrorFrame{Code: wire.ErrorLinkSuspect, Hop: f.Hop, Label: doubted.Label, Quote: wire.QuoteOf(f.Payload)})
	if d, ok := w.around(s, in, g.frame, doubted); ok {
		w.reroute(s, in, g.clone(), d, f.Flags|rerouted)
	}
}

// around returns the detour that a frame takes around a link: past the neighbour if there is one, never back by the link that
// it came in by.
func (w *World) around(s *simNode, in mesh.Label, frame []byte, l *mesh.ForwardLink) (mesh.Detour, bool) {
	if wire.FlagsOf(frame)&rerouted != 0 {
		return mesh.Detour{}, false
	}
	for _, behind := range [...]mesh.Label{wire.LabelAt(frame, int(frame[1])+1), 0} {
		for _, d := range l.Detours {
			if first := s.link(d.Labels[0]); d.Behind == behind && d.Labels[0] != in && first != nil && first.Usable {
				return d, true
			}
		}
	}
	return mesh.Detour{}, false
}

// reroute sends a frame by a detour, if that finds room in it.
func (w *World) reroute(s *simNode, in mesh.Label, g *flight, d mesh.Detour, fl wire.Flags) {
	skip := 0
	if d.Behind != 0 {
		skip = 1
	}
	var labels []byte
	for _, l := range d.Labels[1:] {
		labels = append(labels, byte(l>>8), byte(l))
	}
	b, err := wire.AppendDetour(nil, g.frame, in, labels, skip, fl)
	if err != nil {
		return
	}
	g.frame = b
	g.detours++
	w.stats.Rerouted++
	w.launch(s, d.Labels[0], g)
}
