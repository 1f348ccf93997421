package lab

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// statusPeriod is how often daemons are asked how they are; many daemons are asked less often, so that being asked
// does not become their main work.
func statusPeriod(nodes int) time.Duration {
	return max(50*time.Millisecond, time.Duration(nodes)*2500*time.Microsecond)
}

// settle waits until members, whose daemons all run, agree on a topology of exactly these nodes and every link
// between two of them is up.
func (l *Lab) settle(ctx context.Context, members []mesh.NodeID) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime+time.Duration(len(members))*time.Second)
	defer cancel()
	tick := time.NewTicker(statusPeriod(len(members)))
	defer tick.Stop()
	for {
		missing := l.disagree(ctx, members)
		if missing == "" {
			return nil
		}
		if err := l.lost(members); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("nodes did not converge: %s: %w\n%s", missing, context.Cause(ctx), l.logs(members))
		}
	}
}

// disagree says what keeps members from having converged, "" if nothing does.
func (l *Lab) disagree(ctx context.Context, members []mesh.NodeID) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	answers := make([]api.Status, len(members))
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, id := range members {
		wg.Go(func() { answers[i], errs[i] = l.nodes[id].client.Status(ctx) })
	}
	wg.Wait()
	var why []string
	for i, id := range members {
		want := 0
		for _, o := range l.m.neighbours(id, damage{}) {
			if slices.Contains(members, o) {
				want++
			}
		}
		s := answers[i]
		switch {
		case errs[i] != nil:
			why = append(why, fmt.Sprintf("%s: %v", id, errs[i]))
		case s.LinksUp < want:
			why = append(why, fmt.Sprintf("%s has %d of %d links up", id, s.LinksUp, want))
		case s.LSDBNodes != len(members):
			why = append(why, fmt.Sprintf("%s knows %d of %d nodes", id, s.LSDBNodes, len(members)))
		case s.LSDBDigest == "" || s.LSDBDigest != answers[0].LSDBDigest:
			why = append(why, fmt.Sprintf("%s and %s hold different topologies", id, members[0]))
		}
	}
	return strings.Join(why, "; ")
}

// lost is an error if a daemon ended that nobody ended, or a relay did.
func (l *Lab) lost(members []mesh.NodeID) error {
	for _, p := range l.relays {
		if ended, _ := p.ended(); ended {
			return fmt.Errorf("the lab's delay relay ended: %w", p.failure())
		}
	}
	for _, id := range members {
		n := l.nodes[id]
		n.mu.Lock()
		p := n.daemon
		n.mu.Unlock()
		if p == nil {
			continue
		}
		if ended, wanted := p.ended(); ended && !wanted {
			return fmt.Errorf("the daemon of %s ended: %w", id, p.failure())
		}
	}
	return nil
}

// logs returns the end of the logs of members, for an error.
func (l *Lab) logs(members []mesh.NodeID) string {
	var b strings.Builder
	for _, id := range members {
		log, err := os.ReadFile(l.nodes[id].logPath)
		if err == nil && len(log) > 0 {
			fmt.Fprintf(&b, "--- end of the log of %s:\n%s\n", id, tail(log, 5))
		}
	}
	return b.String()
}

// pathInUse returns the nodes of the path on which from now sends to to.
func (l *Lab) pathInUse(ctx context.Context, from, to mesh.NodeID) ([]mesh.NodeID, error) {
	n, err := l.node(from)
	if err != nil {
		return nil, err
	}
	ps, err := n.client.Paths(ctx, to)
	if err != nil {
		return nil, err
	}
	for _, p := range ps.Paths {
		if p.State == api.PathActive && len(p.Nodes) >= 2 {
			return p.Nodes, nil
		}
	}
	return nil, fmt.Errorf("%s has no active path to %s", from, to)
}
