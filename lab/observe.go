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
	return max(50*time.Millisecond, time.Duration(nodes*nodes)*100*time.Microsecond)
}

// settle waits until members, whose daemons all run, agree on a topology of exactly these nodes and every link
// between two of them is up.
func (l *Lab) settle(ctx context.Context, members []mesh.NodeID) error {
	return l.await(ctx, members, l.disagree)
}

// await waits until nothing is missing any more.
func (l *Lab) await(ctx context.Context, members []mesh.NodeID, missing func(context.Context, []mesh.NodeID) string) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime+time.Duration(len(members))*time.Second)
	defer cancel()
	tick := time.NewTicker(statusPeriod(len(members)))
	defer tick.Stop()
	for {
		missing := missing(ctx, members)
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

// askAll asks members how they are.
func (l *Lab) askAll(ctx context.Context, members []mesh.NodeID) ([]api.Status, []error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	answers := make([]api.Status, len(members))
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, id := range members {
		wg.Go(func() { answers[i], errs[i] = l.nodes[id].client.Status(ctx) })
	}
	wg.Wait()
	return answers, errs
}

// strangers says which members do not know of all others yet, "" if all do: enough to let the next ones join, also where
// links lose so much that they come and go.
func (l *Lab) strangers(ctx context.Context, members []mesh.NodeID) string {
	answers, errs := l.askAll(ctx, members)
	var why []string
	for i, id := range members {
		switch {
		case errs[i] != nil:
			why = append(why, fmt.Sprintf("%s: %v", id, errs[i]))
		case answers[i].LSDBNodes != len(members):
			why = append(why, fmt.Sprintf("%s knows %d of %d nodes", id, answers[i].LSDBNodes, len(members)))
		}
	}
	return strings.Join(why, "; ")
}

// pathsTime is how long all nodes together may take to tell their paths.
const pathsTime = 5 * time.Second

// pathless says which members have no path to another one yet, "" if all have: a node knows the topology some moments
// before it has computed its paths.
func (l *Lab) pathless(ctx context.Context, members []mesh.NodeID) string {
	ctx, cancel := context.WithTimeout(ctx, pathsTime)
	defer cancel()
	why := make([]string, len(members))
	each(len(members), pollPaths, func(i int) {
		ps, err := l.nodes[members[i]].client.Peers(ctx)
		if err != nil {
			why[i] = fmt.Sprintf("%s: %v", members[i], err)
			return
		}
		reached := 0
		for _, p := range ps {
			if len(p.Path) >= 2 {
				reached++
			}
		}
		if reached < len(members)-1 {
			why[i] = fmt.Sprintf("%s has paths to %d of %d nodes", members[i], reached, len(members)-1)
		}
	})
	return strings.Join(slices.DeleteFunc(why, func(s string) bool { return s == "" }), "; ")
}

// comesAndGoes is the share of packets from which on a link that loses them by nature is not waited for: there may be no
// moment at which all such links of a map are up.
const comesAndGoes = 0.25

// disagree says what keeps members from having converged, "" if nothing does.
func (l *Lab) disagree(ctx context.Context, members []mesh.NodeID) string {
	answers, errs := l.askAll(ctx, members)
	var why []string
	for i, id := range members {
		want := 0
		for k, o := range l.m.neighbours(id, damage{}) {
			if slices.Contains(members, o) && l.m.Links[k].Loss < comesAndGoes {
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

// pathInUse returns the nodes of the path on which from now sends to to: the active one, or a suspect one if it has doubts
// of all for a moment.
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
		if (p.State == api.PathActive || p.State == api.PathSuspect) && len(p.Nodes) >= 2 { // active ones come first
			return p.Nodes, nil
		}
	}
	return nil, fmt.Errorf("%s has no active path to %s", from, to)
}

// firstLine is the first line of an error.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
