package node

import (
	"cmp"
	"slices"
	"time"

	"x0tta6bl4/core/link"
	"x0tta6bl4/mesh"
)

// reflexLink is one link of the fast machine.
type reflexLink struct {
	LinkSet
	live  *link.Machine
	state mesh.LinkState // as paths and table see it
	frame int            // largest frame

	detours []mesh.Detour

	rest *link.Steady // takes the place of live while the link is at rest; nil = it is not
	side int          // of rest
}

// report tells the slow loop, and the paths and the table as far as it concerns them. A link too thin for frames counts
// as down there.
func (r *Reflex) report(now time.Time, l *reflexLink) {
	st := l.live.Status()
	r.out.Report = append(r.out.Report, LinkReport{l.Label, st})
	if !st.Usable() {
		st.State = mesh.LinkDown
	}
	r.dirty = r.dirty || st.State != l.state || l.live.FrameMTU() != l.frame
	l.frame = l.live.FrameMTU()
	if st.State == l.state {
		return
	}
	l.state = st.State
	for _, p := range r.peers {
		p.flow.Link(now, l.Label, st.State)
	}
}

func (r *Reflex) linkSet(now time.Time, ev LinkSet) {
	r.dirty = true
	if l := r.link(ev.Label); l != nil {
		if l.Remote != ev.Remote {
			l.live.NewPath()
		}
		l.live.SetMaxMTU(ev.MTU)
		l.LinkSet = ev // a new session of the same link: its liveness goes on
		return
	}
	l := &reflexLink{LinkSet: ev, live: link.New(link.Config{Hello: ev.Hello, MaxMTU: ev.MTU, Beat: r.beat}, r.cfg.Rand, now)}
	if r.cfg.Shared != nil {
		l.live.Remember()
	}
	l.frame = l.live.FrameMTU()
	r.links = append(r.links, l)
	slices.SortFunc(r.links, func(a, b *reflexLink) int { return cmp.Compare(a.Label, b.Label) })
}

func (r *Reflex) linkGone(now time.Time, label mesh.Label) {
	r.links = slices.DeleteFunc(r.links, func(l *reflexLink) bool { return l.Label == label })
	r.dirty = true
	for _, p := range r.peers {
		p.flow.Link(now, label, mesh.LinkDown)
	}
}

func (r *Reflex) link(label mesh.Label) *reflexLink {
	if i, ok := slices.BinarySearchFunc(r.links, label, func(l *reflexLink, x mesh.Label) int { return cmp.Compare(l.Label, x) }); ok {
		return r.links[i]
	}
	return nil
}
