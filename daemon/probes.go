package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/flow"
	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// How long an operator's probe may take.
const (
	sessionWait = 10 * time.Second // for a session to a node that was never contacted
	probeWait   = 2 * time.Second
)

// sendProbe sends a probe of the fast loop.
func (d *Daemon) sendProbe(p node.SendProbe) {
	_ = d.plane.SendProbe(p.Node, p.Path, wire.Probe{ID: p.ID, SentAt: int64(time.Since(d.started))}, p.Full)
}

// ping is a probe that an operator waits for.
type ping struct {
	node   mesh.NodeID
	answer chan time.Time
}

// probeAnswered gives an answer, which came by a session, to whoever asked: the fast loop or an operator.
func (d *Daemon) probeAnswered(n mesh.NodeID, conn mesh.ConnID, p wire.Probe, at time.Time) {
	d.mu.Lock()
	waiting := d.pings[p.ID]
	if waiting.node != n {
		waiting = ping{} // numbers can be guessed: only who was asked answers
	} else {
		delete(d.pings, p.ID)
	}
	if rtt := at.Sub(d.started) - time.Duration(p.SentAt); rtt > 0 && rtt < time.Minute {
		d.rtts[n] = rtt
	}
	d.answers[n] = at
	d.mu.Unlock()
	if waiting.answer != nil {
		waiting.answer <- at // has room for one, and gets one
		return
	}
	answered := node.ProbeAnswered{Node: n, Conn: conn, ID: p.ID}
	if c := p.Counts; c != nil {
		answered.Counts = flow.Counts{Known: true, Series: c.Index, Sent: c.Sent, Received: c.Received}
	}
	d.tell(answered)
}

var errNoAnswer = errors.New("no answer within " + probeWait.String())

// probe sends one probe over a path and waits for its answer.
func (d *Daemon) probe(ctx context.Context, n mesh.NodeID, p mesh.Path) (time.Duration, error) {
	id := d.nextProbe.Add(1)
	answer := make(chan time.Time, 1)
	d.mu.Lock()
	d.pings[id] = ping{n, answer}
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.pings, id)
		d.mu.Unlock()
	}()
	sent := time.Now()
	if err := d.plane.SendProbe(n, p, wire.Probe{ID: id, SentAt: int64(sent.Sub(d.started))}, false); err != nil {
		return 0, err
	}
	timer := time.NewTimer(probeWait)
	defer timer.Stop()
	select {
	case at := <-answer:
		return at.Sub(sent), nil
	case <-timer.C:
		return 0, errNoAnswer
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// reach makes sure that there is a session with a node and returns the path that its packets take.
func (d *Daemon) reach(ctx context.Context, n mesh.NodeID) (mesh.Path, error) {
	deadline := time.Now().Add(sessionWait)
	for {
		if p, ok := d.table.Load().Peer(n); ok && p.Session != 0 && len(p.Ways) > 0 {
			return p.Ways[0].Path, nil
		}
		d.need(mesh.Addr(d.domain, n))
		if time.Now().After(deadline) {
			return mesh.Path{}, api.Errorf(api.CodeUnreachable, "no session with %s within %s", n, sessionWait).
				With("see x0t peers and x0t links for what is up")
		}
		select {
		case <-ctx.Done():
			return mesh.Path{}, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// known returns an error unless n is a member that this node has heard of.
func (d *Daemon) known(ctx context.Context, n mesh.NodeID) error {
	found := false
	err := d.ask(ctx, func(c *node.Control) {
		for _, i := range c.Database().Nodes() {
			found = found || i.ID == n
		}
	})
	switch {
	case err != nil:
		return err
	case n == d.self:
		return api.Errorf(api.CodeBadRequest, "%s is this node", n).With("name another node")
	case !found:
		return api.Errorf(api.CodeUnknownNode, "no member %q is known here", n).With("x0t peers lists the members")
	}
	return nil
}

// Ping implements api.Backend.
func (d *Daemon) Ping(ctx context.Context, req api.PingRequest, emit func(api.PingReply) error) error {
	if err := d.known(ctx, req.Node); err != nil {
		return err
	}
	tick := time.NewTicker(req.Interval)
	defer tick.Stop()
	for seq := 1; req.Count == 0 || seq <= req.Count; seq++ {
		r := api.PingReply{Seq: seq}
		path, err := d.reach(ctx, req.Node)
		if err == nil {
			r.Path = path.Nodes
			var rtt time.Duration
			rtt, err = d.probe(ctx, req.Node, path)
			r.RTT = api.Millis(rtt)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			r.Lost, r.Error = true, err.Error()
		}
		if err := emit(r); err != nil {
			return err
		}
		if seq == req.Count {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// Trace implements api.Backend: an end-to-end probe to each node of the path, by the path's own first part.
func (d *Daemon) Trace(ctx context.Context, n mesh.NodeID, emit func(api.TraceHop) error) error {
	if err := d.known(ctx, n); err != nil {
		return err
	}
	path, err := d.reach(ctx, n)
	if err != nil {
		return err
	}
	quality := map[mesh.Label]map[mesh.NodeID]mesh.Quality{}
	if err := d.ask(ctx, func(c *node.Control) {
		for _, e := range c.Database().Edges() {
			if quality[e.Label] == nil {
				quality[e.Label] = map[mesh.NodeID]mesh.Quality{}
			}
			quality[e.Label][e.From] = e.Quality
		}
	}); err != nil {
		return err
	}
	for i := 1; i < len(path.Nodes); i++ {
		hop := mesh.Path{Nodes: path.Nodes[:i+1], Labels: path.Labels[:i], MTU: path.MTU}
		to := path.Nodes[i]
		h := api.TraceHop{
			Hop: i, Node: to, Address: mesh.Addr(d.domain, to),
			Label: path.Labels[i-1], Quality: quality[path.Labels[i-1]][path.Nodes[i-1]],
		}
		if _, err := d.reach(ctx, to); err != nil {
			h.Lost, h.Error = true, err.Error()
		} else if rtt, err := d.probe(ctx, to, hop); err != nil {
			h.Lost, h.Error = true, fmt.Sprint(err)
		} else {
			h.RTT = api.Millis(rtt)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err := emit(h); err != nil {
			return err
		}
	}
	return nil
}
