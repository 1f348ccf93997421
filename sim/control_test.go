package sim

import (
	"strings"
	"testing"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/core/path"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// roundTrips makes packets circle once in a ring of four before they take their way: what a frame that loops looks like.
func roundTrips(f *trafficFlow, p mesh.Path) mesh.Path {
	edges := f.from.control.Database().Edges()
	var round mesh.Path
	at, from := f.from.id, mesh.NodeID{}
	for range 4 {
		for _, e := range edges {
			if e.From == at && e.To != from {
				round.Nodes, round.Labels = append(round.Nodes, at), append(round.Labels, e.Label)
				at, from = e.To, at
				break
			}
		}
	}
	if at != f.from.id || len(round.Labels) != 4 {
		return p // the ring is not known yet
	}
	round.Nodes, round.Labels = append(round.Nodes, p.Nodes...), append(round.Labels, p.Labels...)
	return round
}

// Each invariant is reported if protocol or network are broken on purpose, and holds in the same run without that.
func TestInvariantsAreChecked(t *testing.T) {
	relay := func(s *simNode) bool { return s.id == mesh.MustNodeID("n2") }
	for _, c := range []struct {
		name, spec, script string
		duration           time.Duration
		sabotage           func(w *World)
		want               string
	}{
		{"a lasting loop", "ring:4", "", 5 * time.Second, func(w *World) {
			w.cfg.hooks.detour = roundTrips
		}, "twice on its way"},
		{"a one-way link in use", "ring:4", "oneway link:n3-n2 at 2s", 9 * time.Second, func(w *World) {
			w.cfg.hooks.leak = true
		}, "dead in a direction"},
		{"paths that are not disjoint", "ring:4", "", 5 * time.Second, func(w *World) {
			w.cfg.hooks.claim = func(_ *trafficFlow, r path.Result) path.Result {
				if len(r.Paths) > 1 {
					r.Paths[1] = r.Paths[0]
				}
				return r
			}
		}, "share a link"},
		{"a path that is none", "ring:4", "", 5 * time.Second, func(w *World) {
			w.cfg.hooks.publish = func(_ *simNode, f *mesh.Forwarding) *mesh.Forwarding {
				for i := range f.Peers {
					for j := range f.Peers[i].Ways {
						f.Peers[i].Ways[j].Nodes = f.Peers[i].Ways[j].Nodes[1:]
					}
				}
				return f
			}
		}, "as a path to"},
		{"databases that differ", "ring:4", "cut link:n3-n4 at 3s", 30 * time.Second, func(w *World) {
			w.cfg.hooks.ignore = func(s *simNode, m wire.Message) bool {
				_, lsa := m.(wire.LSAMsg)
				return lsa && relay(s) && w.now.Sub(epoch) > 2*time.Second
			}
		}, "database of"},
		{"packets that do not arrive", "line:3", "", 30 * time.Second, func(w *World) {
			w.cfg.hooks.lose = func(s *simNode, f wire.FrameType) bool {
				return relay(s) && f == wire.TypeData && w.now.Sub(epoch) > 2*time.Second
			}
		}, "was lost although"},
		{"a session that does not come", "line:3", "", 30 * time.Second, func(w *World) {
			w.cfg.hooks.lose = func(_ *simNode, f wire.FrameType) bool { return f == wire.TypeHandshake }
		}, "has no session"},
		{"a busy loop", "ring:4", "", 5 * time.Second, func(w *World) {
			w.cfg.hooks.deadline = func(s *simNode, at time.Time) time.Time {
				if relay(s) && w.now.Sub(epoch) > 2*time.Second {
					return w.now
				}
				return at
			}
		}, "Control of n2 has a deadline that does not move on"},
		{"time that stands still", "ring:4", "", 5 * time.Second, func(w *World) {
			var again func()
			again = func() { w.after(0, again) }
			w.after(2*time.Second, again)
		}, "events at one instant"},
		{"a second node of the same name", "ring:4", "", 8 * time.Second, func(w *World) {
			w.after(6*time.Second, func() { w.control(w.nodes[0], twin(w.nodes[0], w.now)) })
		}, "raised an alarm"},
		{"a packet that its receiver cannot read", "line:3", "", 5 * time.Second, func(w *World) {
			w.after(2*time.Second, func() {
				h := w.conns[w.nodes[0].table.Links[0].Session]
				w.arrive(&flight{to: h.id, frame: []byte{0x3f, 1, 2, 3}})
			})
		}, "cannot be parsed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{Seed: 1, Duration: c.duration, Traffic: 12}
			if _, err := world(t, c.spec, c.script, cfg).Run(); err != nil {
				t.Fatalf("unbroken: %v", err)
			}
			w := world(t, c.spec, c.script, cfg)
			c.sabotage(w)
			if _, err := w.Run(); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "seed 1") {
				t.Errorf("broken on purpose: %v, want an error about %q that names the seed", err, c.want)
			}
		})
	}
}

// twin returns an announcement in the name of s that another process with its key made.
func twin(s *simNode, now time.Time) node.ControlEvent {
	lsa := wire.LSA{
		Origin: s.id, Incarnation: s.incarnation + 1, Boot: uint64(now.UnixMilli()), Seq: 1, Time: now, Lifetime: time.Minute, SVID: s.leaf,
	}
	raw := lsa.AppendSigned(nil, fakeSignature(s.chain[0], lsa.SigningInput()))
	return node.Received{Conn: s.control.Links()[0].Session, Message: wire.LSAMsg{Raw: raw}}
}
