package daemon

import (
	"context"
	"slices"

	"x0tta6bl4/api"
	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
)

// observer shows an announcement of a link to whoever asks how a node is seen.
func observer(o node.Observation) api.Observer {
	return api.Observer{Node: o.By, Since: o.Since, Quality: o.Quality, Cost: o.Cost, Suspect: o.Suspect, Mutual: o.Mutual}
}

// Peers implements api.Backend.
func (d *Daemon) Peers(ctx context.Context) ([]api.Peer, error) {
	byNode := map[mesh.NodeID]*api.Peer{}
	if err := d.ask(ctx, func(c *node.Control) { d.knownPeers(c, byNode) }); err != nil {
		return nil, err
	}
	c, err := d.census(ctx)
	if err != nil {
		return nil, err
	}
	d.examine(d.now(), c, d.allWarnings(c))
	table, usage := d.table.Load(), d.plane.PeerUsage()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pulse.mu.Lock()
	defer d.pulse.mu.Unlock()
	ps := make([]api.Peer, 0, len(byNode))
	for n, p := range byNode {
		if f, ok := table.Peer(n); ok && len(f.Ways) > 0 {
			p.Path = f.Ways[0].Nodes
		}
		u := usage[n]
		p.RTT, p.LastSeen, p.RxBytes, p.TxBytes = api.Millis(d.rtts[n]), u.LastRx, u.RxBytes, u.TxBytes
		if t := d.pulse.tracks[n]; t != nil {
			p.State, p.StateSince, p.LastRx, p.LastTx = t.state, t.since, t.rx, t.tx
		}
		ps = append(ps, *p)
	}
	slices.SortFunc(ps, func(a, b api.Peer) int { return a.Node.Compare(b.Node) })
	return ps, nil
}

// knownPeers fills in what the slow loop knows of all other members.
func (d *Daemon) knownPeers(c *node.Control, byNode map[mesh.NodeID]*api.Peer) {
	var unused []mesh.NodeID
	for _, i := range c.Database().Nodes() {
		if i.ID != d.self {
			byNode[i.ID] = &api.Peer{
				Node: i.ID, Address: mesh.Addr(d.domain, i.ID), Session: api.SessionNone, State: api.PeerUnreachable,
			}
		}
	}
	for _, o := range c.Observations() {
		p := byNode[o.Of]
		if p == nil {
			continue
		}
		p.Observers = append(p.Observers, observer(o))
		if o.Mutual {
			p.ObservedBy = append(p.ObservedBy, o.By)
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
	for n, p := range byNode {
		if p.Path == nil {
			unused = append(unused, n)
		}
	}
	for n, path := range c.Shortest(unused) {
		byNode[n].Path = path.Nodes
	}
}
