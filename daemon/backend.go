package daemon

import (
	"cmp"
	"context"
	"errors"
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
	s, err := api.Listen(api.ServerOptions{Socket: d.opt.Socket, Listen: d.opt.Config.API.Listen, Backend: d, State: d.shared, Config: d, Log: d.log, Metrics: d.metrics()})
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
		Sealing: d.identity.Sealing(), TUN: d.tun.Name(), MTU: MeshMTU, Listen: d.listening(), Names: d.nameStatus(),
	}
	c, err := d.census(ctx)
	if err != nil {
		return st, err
	}
	st.LSDBDigest, st.LSDBNodes, st.Members = c.digest, c.members, c.members
	st.LinksUp, st.LinksTotal, st.Sessions = c.up, c.total, c.sessions
	for _, o := range c.observers {
		st.SeenBy = append(st.SeenBy, observer(o))
	}
	d.mu.Lock()
	st.Refused = slices.Clone(d.refused)
	d.mu.Unlock()
	st.Protect, st.OnePath = d.protection()
	st.Overridden = d.tuned().overridden()
	st.Warnings = d.allWarnings(c)
	st.Health, st.HealthSince, st.Reasons = d.examine(d.now(), c, st.Warnings)
	return st, nil
}

// Links implements api.Backend.
func (d *Daemon) Links(ctx context.Context) ([]api.Link, error) {
	var ls []api.Link
	err := d.ask(ctx, func(c *node.Control) {
		for _, l := range c.Links() {
			ls = append(ls, api.Link{
				Flaps: d.linkLog.flaps(l.Label), Downs: d.linkLog.downs(l.Label),
				Label: l.Label, Neighbour: l.Neighbour, Remote: l.Remote, State: l.Status.State, Since: l.Status.Since,
				RTT: api.Millis(l.Status.RTT), MinRTT: api.Millis(l.Status.MinRTT), Jitter: api.Millis(l.Status.Jitter),
				LossIn: l.Status.LossIn, LossOut: l.Status.LossOut, Quality: l.Status.Quality, Cost: l.Status.Cost,
				MTU:   uint16(min(l.MTU, 65535)), // #nosec G115 -- bounded
				Error: thinness(l.Status),
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
	out := api.Paths{Node: n, Address: mesh.Addr(d.domain, n), Disjoint: disjointness(res), Protect: len(d.configured().Routing.Protect) > 0}
	out.SharedGroups, out.EndGroups = d.groupNames(res.SharedGroups), d.groupNames(res.EndGroups)
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
		p := api.PathOf(s.Path, api.PathState(s.State.String()))
		p.Share, p.Copies, p.Protected = s.Share, s.Copies, s.Protected
		if s.Measured {
			p.Loss = &s.Loss
		}
		out.Paths = append(out.Paths, p)
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
		add("link_", messageBytes(d.links[i].Messages()))
		sent, received := d.links[i].StateBytes()
		add("link_", map[string]uint64{"state_sent_bytes": sent, "state_received_bytes": received})
	}
	if s := d.names.server; s != nil {
		add("", s.Counters()) // their names begin with dns_
	}
	if d.discovery != nil {
		add("", d.discovery.Counters()) // their names begin with beacon_
	}
	add("", d.joinServer.Counters()) // their names begin with join_
	add("peer_", d.peers.Counters())
	add("peer_", messageBytes(d.peers.Messages()))
	err := d.ask(ctx, func(c *node.Control) {
		add("lsdb_", c.Database().Counters())
		add("node_", c.Counters())
	})
	return all, errors.Join(err, d.askFast(ctx, func(r *node.Reflex) { all["node_path_switches"] = r.Switches() }))
}
