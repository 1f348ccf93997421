package node

import (
	"slices"
	"time"

	"x0tta6bl4/core/link"
	"x0tta6bl4/mesh"
)

// Links that fall silent together hint at this machine: that it did not run, or what came lies in a queue. So nothing is
// suspected for a while, and nothing that is suspect is given up; if it is the links, they say so after it
// (docs/protocol.md, Liveness).
const (
	stallShare      = 30 // more of the links in use, in percent
	stallNeighbours = 2  // to so many neighbours at least: parallel links fail with the one that they lead to
	stallAgain      = time.Second
)

// stall looks whether links to several neighbours have turned suspect within one hello interval; one of them just did.
func (r *Reflex) stall(now time.Time) {
	if now.Sub(r.stalled) < stallAgain {
		return
	}
	used, doubted := 0, 0
	var silent []mesh.NodeID
	for _, l := range r.links {
		st := l.live.Status()
		used += btoi(st.State != mesh.LinkDown)
		if st.State == mesh.LinkSuspect && now.Sub(st.Since) <= r.cfg.Hello {
			doubted++
			if !slices.Contains(silent, l.Neighbour) {
				silent = append(silent, l.Neighbour)
			}
		}
	}
	if len(silent) < stallNeighbours || 100*doubted <= stallShare*used {
		return
	}
	r.stalled = now
	for _, l := range r.links {
		l.live.Late(now, link.MaxHello)
	}
}
