package node

import (
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

func (r *Reflex) probeAnswered(now time.Time, ev ProbeAnswered) {
	i, ok := r.findPeer(ev.Node)
	if !ok {
		return
	}
	p := r.peers[i]
	p.flow.ProbeReply(now, ev.ID, ev.Counts)
	if p.unknown != 0 && p.unknown == ev.Conn {
		p.unknown = 0
		r.out.Report = append(r.out.Report, Known{ev.Node, ev.Conn})
	}
}

func (r *Reflex) pathError(now time.Time, ev PathError) {
	i, ok := r.findPeer(ev.Node)
	switch {
	case ev.Code == wire.ErrorNoSession:
		r.out.Report = append(r.out.Report, Stale{ev.Node, ev.Conn})
		if ok {
			r.peers[i].noSession(now, ev)
		}
	case !ok:
	case ev.Code == wire.ErrorLinkSuspect:
		r.peers[i].flow.Doubt(now, ev.Path)
	default:
		r.peers[i].flow.Suspect(now, ev.Path)
	}
}

// noSession takes the news that the other end does not know a session.
func (p *reflexPeer) noSession(now time.Time, ev PathError) {
	if ev.Conn == 0 || ev.Conn == p.Session {
		p.unknown = p.Session
		p.flow.Unknown(now, ev.Path, now.Sub(p.began))
	}
}

// allFail reports whether packets are sent to several destinations, all paths to all of them fail, and each own link that is not down
// is the first of one: then it is those links, or this machine, sooner than relays on all paths at once.
func (r *Reflex) allFail(now time.Time) bool {
	stuck := 0
	for _, p := range r.peers {
		switch {
		case p.flow.Stuck(now):
			stuck++
		case p.flow.Sends(now):
			return false
		}
	}
	if stuck < 2 {
		return false
	}
	for _, l := range r.links {
		begins := func(x mesh.Path) bool { return x.Labels[0] == l.Label }
		fails := func(p *reflexPeer) bool { return slices.ContainsFunc(p.failing, begins) }
		if l.state != mesh.LinkDown && !slices.ContainsFunc(r.peers, fails) {
			return false
		}
	}
	return true
}
