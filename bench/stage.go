package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
)

// scene is who talks in a trial, and what is broken.
type scene struct {
	a, b  mesh.NodeID
	fault lab.Fault
	c, d  mesh.NodeID // the ends of the surviving path without a and b; zero = none such
}

// stage finds a pair whose path in use is long enough, and of several that whose link was struck longest ago: a link that
// falls again and again is held down for longer each time, which is another matter than failover.
func (o *oursUp) stage(ctx context.Context, s strike, place int) (best scene, err error) {
	const candidates = 4
	var found int
	var oldest time.Time
	for range placeTries {
		i, j := o.random.IntN(len(o.m.Nodes)), o.random.IntN(len(o.m.Nodes))
		hops, _ := o.m.ShortestHops(i, j, topology.Broken{})
		if hops <= place || hops < 2 {
			continue
		}
		sc := scene{a: o.m.Nodes[i].ID, b: o.m.Nodes[j].ID}
		paths, err := o.lab.Client(sc.a).Paths(ctx, sc.b)
		if err != nil {
			return sc, err
		}
		path := inUse(paths)
		if len(path) < place+3 { // behind the place there is another node on the way
			continue
		}
		sc.fault = lab.Fault{Kind: s.kind, Param: s.param, Target: lab.Target{A: path[place], B: path[place+1]}}
		if s.kind.OnNode() {
			sc.fault.Target = lab.Target{A: path[max(1, place)]}
		}
		sc.c, sc.d = survivors(paths, path)
		if at := o.struck[placeKey(sc.fault)]; found == 0 || at.Before(oldest) {
			best, oldest = sc, at
		}
		if found++; found == candidates {
			break
		}
	}
	if found == 0 {
		return best, fmt.Errorf("no two nodes have a path in use with a place %d hops away", place)
	}
	o.struck[placeKey(best.fault)] = time.Now()
	return best, o.unstruck(ctx, &best)
}

// unstruck drops the reference from a scene if it would be struck too.
func (o *oursUp) unstruck(ctx context.Context, sc *scene) error {
	if sc.c.IsZero() {
		return nil
	}
	for _, q := range [][2]mesh.NodeID{{sc.c, sc.d}, {sc.d, sc.c}} {
		paths, err := o.lab.Client(q[0]).Paths(ctx, q[1])
		if err != nil {
			return err
		}
		if path := inUse(paths); path != nil && !meets(path, sc.fault.Target) {
			continue
		}
		sc.c, sc.d = mesh.NodeID{}, mesh.NodeID{}
		return nil
	}
	return nil
}

// meets reports whether a path has to do with a node, or with a link in either direction.
func meets(path []mesh.NodeID, t lab.Target) bool {
	if t.B.IsZero() {
		return slices.Contains(path, t.A)
	}
	return on(path, t) || on(path, lab.Target{A: t.B, B: t.A})
}

// placeKey is the same for both directions of a link.
func placeKey(f lab.Fault) string {
	a, b := f.Target.A.String(), f.Target.B.String()
	return min(a, b) + "-" + max(a, b)
}

// inUse returns the path that packets go by.
func inUse(p api.Paths) []mesh.NodeID {
	for _, q := range p.Paths {
		if q.State == api.PathActive {
			return q.Nodes
		}
	}
	return nil
}

// survivors returns the first and the last relay of another path than the one in use, zero if it has not two.
func survivors(p api.Paths, used []mesh.NodeID) (c, d mesh.NodeID) {
	for _, q := range p.Paths {
		if n := len(q.Nodes); n >= 4 && q.State == api.PathStandby && !shares(q.Nodes, used) {
			return q.Nodes[1], q.Nodes[n-2]
		}
	}
	return c, d
}

// shares reports whether two paths between the same ends have a relay in common.
func shares(a, b []mesh.NodeID) bool {
	for _, x := range a[1 : len(a)-1] {
		for _, y := range b[1 : len(b)-1] {
			if x == y {
				return true
			}
		}
	}
	return false
}

// on reports whether a link, in its direction, or a relay lies on a path.
func on(path []mesh.NodeID, t lab.Target) bool {
	for i := range max(0, len(path)-1) {
		if path[i] == t.A && (t.B.IsZero() || path[i+1] == t.B) {
			return true
		}
	}
	return false
}
