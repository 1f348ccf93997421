package node

import (
	"slices"

	"x0tta6bl4/mesh"
)

// table makes the forwarding table of this moment.
func (r *Reflex) table() *mesh.Forwarding {
	f := &mesh.Forwarding{
		Links: make([]mesh.ForwardLink, 0, len(r.links)),
		Peers: make([]mesh.ForwardPeer, 0, len(r.peers)),
	}
	for _, l := range r.links {
		f.Links = append(f.Links, mesh.ForwardLink{
			Label: l.Label, Neighbour: l.Neighbour, Session: l.Session, Remote: l.Remote,
			MTU: uint16(l.frame), Usable: l.state != mesh.LinkDown, // #nosec G115 -- at most wire.MaxFrame
			Suspect: l.state == mesh.LinkSuspect, Capacity: l.Capacity, Detours: r.usable(l),
		})
	}
	for _, p := range r.peers {
		f.Peers = append(f.Peers, mesh.ForwardPeer{Node: p.Node, Addr: p.Addr, Session: p.Session, Ways: p.ways, Pair: p.pair})
	}
	return f
}

// usable returns the detours of a link whose own first link is up.
func (r *Reflex) usable(l *reflexLink) []mesh.Detour {
	bad := func(d mesh.Detour) bool {
		first := r.link(d.Labels[0])
		return first == nil || first == l || first.state != mesh.LinkUp
	}
	if !slices.ContainsFunc(l.detours, bad) {
		return l.detours
	}
	return slices.DeleteFunc(slices.Clone(l.detours), bad)
}

func sameWay(a, b mesh.Way) bool {
	return sameNumbered(a.Path, b.Path) && sameNumbered(a.Copy, b.Copy) && a.Share == b.Share
}

// sameNumbered: packets of one number go by one path.
func sameNumbered(a, b mesh.Path) bool { return a.Same(b) && a.Number == b.Number }
