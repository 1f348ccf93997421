package daemon

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/flow"
	"x0tta6bl4/core/node"
	"x0tta6bl4/core/path"
	"x0tta6bl4/mesh"
)

// serveAPI answers on the unix socket, and on TCP if the configuration says so.
func (d *Daemon) serveAPI(ctx context.Context) error {
	s, err := api.Listen(api.ServerOptions{Socket: d.opt.Socket, Listen: d.opt.Config.API.Listen, Backend: d, Log: d.log})
	if err != nil {
		return err
	}
	if d.opt.Ready != nil {
		d.opt.Ready()
	}
	return s.Serve(ctx)
}

// Status implements api.Backend.
func (d *Daemon) Status(ctx context.Context) (api.Status, error) {
	st := api.Status{
		Node: d.self, SPIFFEID: d.self.SPIFFEID(d.domain).String(), TrustDomain: d.domain.Name(), Address: d.addr,
		Version: d.opt.Version, PID: os.Getpid(), Started: d.started, Uptime: api.Millis(time.Since(d.started)),
		Policy: api.PolicyNone, SVID: d.identity.svid(), Authority: d.identity.Authority != nil,
		Sealing: d.identity.Sealing(), TUN: d.tun.Name(), MTU: MeshMTU, Listen: d.listening(),
	}
	waiting := 0
	err := d.ask(ctx, func(c *node.Control) {
		db := c.Database()
		digest := db.Digest()
		st.LSDBDigest = hex.EncodeToString(digest[:])
		nodes := db.Nodes()
		st.LSDBNodes, st.Members = len(nodes), len(nodes)
		waiting = len(c.Waiting())
		for _, l := range c.Links() {
			st.LinksTotal++
			if l.Status.State != mesh.LinkDown {
				st.LinksUp++
			}
		}
		for _, p := range c.Peers() {
			if p.Session != 0 {
				st.Sessions++
			}
		}
	})
	if err != nil {
		return st, err
	}
	st.LinksTotal += waiting
	d.mu.Lock()
	st.Refused = slices.Clone(d.refused)
	st.Warnings = slices.Clone(d.warnings)
	if d.renewError != "" {
		st.Warnings = append(st.Warnings, "the SVID was not renewed: "+d.renewError)
	}
	d.mu.Unlock()
	st.Health, st.Reasons = d.health(st)
	return st, nil
}

// health says whether traffic can pass, and what needs care.
func (d *Daemon) health(st api.Status) (api.Health, []string) {
	var down, care []string
	if now := time.Now(); now.After(st.SVID.NotAfter) {
		down = append(down, "the node's SVID expired at "+st.SVID.NotAfter.Format(time.RFC3339)+"; no authority renewed it")
	} else if !st.SVID.RenewAt.IsZero() && now.Sub(st.SVID.RenewAt) > st.SVID.NotAfter.Sub(st.SVID.RenewAt)/4 {
		care = append(care, "the SVID should have been renewed at "+st.SVID.RenewAt.Format(time.RFC3339))
	}
	switch {
	case st.LinksTotal > 0 && st.LinksUp == 0:
		down = append(down, "no link is up")
	case st.LinksUp < st.LinksTotal:
		care = append(care, fmt.Sprintf("%d of %d links are not up", st.LinksTotal-st.LinksUp, st.LinksTotal))
	}
	care = append(care, st.Warnings...)
	switch {
	case len(down) > 0:
		return api.HealthDown, append(down, care...)
	case len(care) > 0:
		return api.HealthDegraded, care
	}
	return api.HealthOK, nil
}

// Links implements api.Backend.
func (d *Daemon) Links(ctx context.Context) ([]api.Link, error) {
	var ls []api.Link
	err := d.ask(ctx, func(c *node.Control) {
		for _, l := range c.Links() {
			ls = append(ls, api.Link{
				Label: l.Label, Neighbour: l.Neighbour, Remote: l.Remote, State: l.Status.State, Since: l.Status.Since,
				RTT: api.Millis(l.Status.RTT), MinRTT: api.Millis(l.Status.MinRTT), Jitter: api.Millis(l.Status.Jitter),
				LossIn: l.Status.LossIn, LossOut: l.Status.LossOut, Quality: l.Status.Quality, Cost: l.Status.Cost,
				MTU: uint16(min(l.MTU, 65535)), // #nosec G115 -- bounded
			})
		}
		for _, a := range c.Waiting() {
			ls = append(ls, api.Link{Remote: a, State: mesh.LinkDown})
		}
	})
	if err != nil {
		return nil, err
	}
	counts := d.plane.LinkCounters()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range ls {
		l := &ls[i]
		if l.Label == 0 {
			l.Error = d.failures[l.Remote]
			continue
		}
		n := counts[l.Label]
		l.RxBytes, l.TxBytes, l.RxFrames, l.TxFrames = n.RxBytes, n.TxBytes, n.RxFrames, n.TxFrames
		l.LastHeard = d.plane.LastHeard(l.Label)
	}
	return ls, nil
}

// Peers implements api.Backend.
func (d *Daemon) Peers(ctx context.Context) ([]api.Peer, error) {
	byNode := map[mesh.NodeID]*api.Peer{}
	err := d.ask(ctx, func(c *node.Control) {
		for _, i := range c.Database().Nodes() {
			if i.ID != d.self {
				byNode[i.ID] = &api.Peer{Node: i.ID, Address: mesh.Addr(d.domain, i.ID), Session: api.SessionNone}
			}
		}
		for _, e := range c.Database().Edges() {
			if p := byNode[e.To]; p != nil && !slices.Contains(p.ObservedBy, e.From) {
				p.ObservedBy = append(p.ObservedBy, e.From)
			}
		}
		for _, v := range c.Peers() {
			p := byNode[v.Node]
			if p == nil {
				continue
			}
			switch {
			case v.Session != 0:
				p.Session, p.Since = api.SessionUp, v.Established
			case v.Opening:
				p.Session = api.SessionOpening
			}
			if len(v.Paths) > 0 {
				p.Path = v.Paths[0].Nodes
			}
		}
		for _, p := range byNode {
			if p.Path == nil {
				if ps := c.PathsTo(p.Node).Paths; len(ps) > 0 {
					p.Path = ps[0].Nodes
				}
			}
		}
	})
	if err != nil {
		return nil, err
	}
	table, usage := d.table.Load(), d.plane.PeerUsage()
	d.mu.Lock()
	defer d.mu.Unlock()
	ps := make([]api.Peer, 0, len(byNode))
	for n, p := range byNode {
		if f, ok := table.Peer(n); ok && len(f.Paths) > 0 {
			p.Path = f.Paths[0].Nodes
		}
		u := usage[n]
		p.RTT, p.LastSeen, p.RxBytes, p.TxBytes = api.Millis(d.rtts[n]), u.LastRx, u.RxBytes, u.TxBytes
		ps = append(ps, *p)
	}
	slices.SortFunc(ps, func(a, b api.Peer) int { return a.Node.Compare(b.Node) })
	return ps, nil
}

// Paths implements api.Backend.
func (d *Daemon) Paths(ctx context.Context, n mesh.NodeID) (api.Paths, error) {
	if err := d.known(ctx, n); err != nil {
		return api.Paths{}, err
	}
	var res path.Result
	if err := d.ask(ctx, func(c *node.Control) { res = c.PathsTo(n) }); err != nil {
		return api.Paths{}, err
	}
	var states []flow.PathState
	if err := d.askFast(ctx, func(r *node.Reflex) { states = r.States(n) }); err != nil {
		return api.Paths{}, err
	}
	out := api.Paths{Node: n, Address: mesh.Addr(d.domain, n), Disjoint: disjointness(res)}
	if len(states) == 0 {
		// Not in use: what would be taken.
		for i, p := range res.Paths {
			s := api.PathStandby
			if i == 0 {
				s = api.PathActive
			}
			out.Paths = append(out.Paths, api.PathOf(p, s))
		}
		return out, nil
	}
	for _, s := range states {
		out.Paths = append(out.Paths, api.PathOf(s.Path, api.PathState(s.State.String())))
	}
	slices.SortStableFunc(out.Paths, func(a, b api.Path) int {
		return cmp.Compare(rank(a.State), rank(b.State))
	})
	return out, nil
}

func rank(s api.PathState) int {
	return slices.Index([]api.PathState{api.PathActive, api.PathStandby, api.PathSuspect, api.PathDead}, s)
}

func disjointness(r path.Result) api.Disjointness {
	if len(r.Paths) < 2 {
		return api.DisjointNone
	}
	switch r.Disjoint {
	case path.NodeDisjoint:
		return api.DisjointNode
	case path.LinkDisjoint:
		return api.DisjointLink
	}
	return api.DisjointMaximal
}

// Counters implements api.Backend.
func (d *Daemon) Counters(ctx context.Context) (api.Counters, error) {
	all := api.Counters{"loop_frames_dropped": d.framesDropped.Load(), "control_messages_dropped": d.sendsDropped.Load(),
		"refusals_untold": d.refusalsUntold.Load()}
	add := func(prefix string, m map[string]uint64) {
		for k, v := range m {
			all[prefix+k] += v
		}
	}
	add("", d.plane.Counters())
	for i, s := range d.sockets { // their names begin with udp_ and quic_
		add("", s.Counters())
		add("link_", d.links[i].Counters())
	}
	add("peer_", d.peers.Counters())
	err := d.ask(ctx, func(c *node.Control) { add("lsdb_", c.Database().Counters()) })
	return all, err
}
