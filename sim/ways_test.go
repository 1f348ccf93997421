package sim

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
	"x0tta6bl4/wire"
)

// publishAlso has every node publish, beside what it decides itself, what change makes of its table.
func (w *World) publishAlso(change func(s *simNode, t *mesh.Forwarding)) {
	w.cfg.hooks.publish = func(s *simNode, t *mesh.Forwarding) *mesh.Forwarding {
		change(s, t)
		return t
	}
}

// only makes one flow the only one.
func (w *World) only(from, to string) *trafficFlow {
	w.flows = w.flows[:0]
	w.addFlow(w.byID[mesh.MustNodeID(from)], w.byID[mesh.MustNodeID(to)])
	return w.flows[0]
}

// other returns a path of a node to another that is not p, none if it knows none.
func (s *simNode) other(to mesh.NodeID, p mesh.Path) (mesh.Path, bool) {
	for _, q := range s.control.PathsTo(to).Paths {
		if !q.Same(p) {
			return q, true
		}
	}
	return mesh.Path{}, false
}

// A packet that goes by two paths arrives if one of them carries it, and once; one that goes by the first alone does not.
func TestTwoPathsLoseNothing(t *testing.T) {
	for _, c := range []struct {
		name      string
		protected bool
		change    func(*mesh.ForwardPeer, mesh.Path)
	}{
		{"a pair", true, func(p *mesh.ForwardPeer, other mesh.Path) { p.Pair = []mesh.Path{p.Ways[0].Path, other} }},
		{"a copy", false, func(p *mesh.ForwardPeer, other mesh.Path) { p.Ways[0].Copy = other }},
	} {
		t.Run(c.name, func(t *testing.T) {
			lost := func(two bool) uint64 {
				w := world(t, "ring:6", "kill path:n1-n4 at 5s for 1s", Config{Seed: 3, Duration: 9 * time.Second, Packet: 5 * time.Millisecond})
				f := w.only("n1", "n4")
				f.protected = c.protected
				if two {
					w.publishAlso(func(s *simNode, t *mesh.Forwarding) {
						for i := range t.Peers {
							if p := &t.Peers[i]; s == f.from && len(p.Ways) > 0 {
								if other, ok := s.other(p.Node, p.Ways[0].Path); ok {
									c.change(p, other)
								}
							}
						}
					})
				}
				r, err := w.Run()
				if err != nil {
					t.Fatal(err)
				}
				if r.Sent < 1500 || r.Delivered+r.Lost+uint64(len(f.pending)) != r.Sent {
					t.Errorf("%d packets sent, %d delivered, %d lost, %d under way", r.Sent, r.Delivered, r.Lost, len(f.pending))
				}
				return r.Lost
			}
			if n := lost(true); n != 0 {
				t.Errorf("%d packets lost although they went by two paths", n)
			}
			if lost(false) == 0 {
				t.Error("nothing was lost by one path: the fault proves nothing")
			}
		})
	}
}

// corner is a way a-b-c-d, and a node e with links to b, c and d, by which b gets around its link to c, and around c.
const corner = "link a b\nlink b c\nlink c d\nlink b e\nlink e c delay=20ms\nlink e d delay=20ms\n"

func cornered(t *testing.T) *World {
	t.Helper()
	m, err := topology.ParseText([]byte(corner))
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(Config{Map: m, Seed: 1, Duration: 9 * time.Second, Packet: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	w.only("a", "d")
	return w
}

// leads returns the label of the link from one node to another.
func (w *World) leads(from, to string) mesh.Label {
	s := w.byID[mesh.MustNodeID(from)]
	for _, e := range s.ends {
		if e.other().node.id == mesh.MustNodeID(to) {
			return s.labelOf(e)
		}
	}
	return 0
}

// detours are those of b around its link to c.
func (w *World) detours() []mesh.Detour {
	return []mesh.Detour{
		{Labels: []mesh.Label{w.leads("b", "e"), w.leads("e", "c")}},
		{Behind: w.leads("c", "d"), Labels: []mesh.Label{w.leads("b", "e"), w.leads("e", "d")}},
	}
}

// A relay whose link is down repairs a frame once by its detour, and tells the source; without a detour it is lost.
func TestRelayRepairs(t *testing.T) {
	for _, behind := range []bool{false, true} {
		run := func(detours bool) (*Report, int) {
			w, told := cornered(t), 0
			w.cfg.hooks.note = func(kind byte, _ int64, who int, what []uint64) {
				if kind == 'f' && w.nodes[who].id == mesh.MustNodeID("a") && wire.FrameType(what[0]) == wire.TypeError {
					told++
				}
			}
			w.after(5*time.Second, func() {
				b := w.byID[mesh.MustNodeID("b")]
				t := *b.table
				t.Links = append([]mesh.ForwardLink(nil), t.Links...)
				for i := range t.Links {
					l := &t.Links[i]
					l.Detours = nil
					if l.Label == w.leads("b", "c") {
						l.Usable = false
						if detours {
							l.Detours = w.detours()[btoi(behind):][:1]
						}
					}
				}
				w.publish(b, &t)
			})
			r, err := w.Run()
			if err != nil {
				t.Fatal(err)
			}
			return r, told
		}
		if r, told := run(true); r.Lost != 0 || r.Rerouted == 0 || told == 0 {
			t.Errorf("past the neighbour %v: %d lost, %d repaired, %d errors came to the source", behind, r.Lost, r.Rerouted, told)
		}
		if r, _ := run(false); r.Lost == 0 || r.Rerouted != 0 {
			t.Errorf("without a detour %d packets were lost, %d repaired", r.Lost, r.Rerouted)
		}
	}
}

// A relay whose link is in doubt sends a copy by its detour, and tells the source: nothing is lost if the link is dead, and
// nothing arrives twice if it is not.
func TestRelayDoubles(t *testing.T) {
	for _, dead := range []bool{true, false} {
		w, told := cornered(t), 0
		w.cfg.hooks.note = func(kind byte, _ int64, who int, what []uint64) {
			if kind == 'f' && w.nodes[who].id == mesh.MustNodeID("a") && wire.FrameType(what[0]) == wire.TypeError {
				told++
			}
		}
		w.after(5*time.Second, func() {
			b := w.byID[mesh.MustNodeID("b")]
			w.publishAlso(func(s *simNode, t *mesh.Forwarding) {
				for i := range t.Links {
					if l := &t.Links[i]; s == b && l.Label == w.leads("b", "c") && w.at < int64(6*time.Second) {
						l.Suspect, l.Detours = true, w.detours()
					} else {
						l.Detours = nil
					}
				}
			})
			t := *b.table
			t.Links = append([]mesh.ForwardLink(nil), t.Links...)
			w.publish(b, &t)
			if l, _ := w.between(mesh.MustNodeID("b"), mesh.MustNodeID("c")); dead {
				l.links[0].down++
			}
		})
		r, err := w.Run()
		if err != nil {
			t.Fatal(err)
		}
		if r.Lost > 1 || r.Rerouted == 0 || told == 0 { // one may be on the link when it dies
			t.Errorf("dead %v: %d lost, %d copies, %d errors came to the source", dead, r.Lost, r.Rerouted, told)
		}
		if r.Delivered > r.Sent {
			t.Errorf("%d packets delivered of %d", r.Delivered, r.Sent)
		}
	}
}

// Which detour a frame takes: past the neighbour before to it, never back, never by a link that is down, never a second one.
func TestAround(t *testing.T) {
	link := mesh.ForwardLink{Label: 1, Detours: []mesh.Detour{{Labels: []mesh.Label{2, 9}}, {Behind: 7, Labels: []mesh.Label{3, 8}}}}
	for _, c := range []struct {
		name   string
		in     mesh.Label
		flags  wire.Flags
		behind mesh.Label
		down   mesh.Label
		want   mesh.Label // the first of the detour, 0 = none
	}{
		{"past the neighbour", 4, 0, 7, 0, 3},
		{"to the neighbour", 4, 0, 6, 0, 2},
		{"the neighbour is the destination", 4, 0, 0, 0, 2},
		{"it came that way", 3, 0, 7, 0, 2},
		{"it came that way and there is no other", 2, 0, 6, 0, 0},
		{"its first link is down", 4, 0, 7, 3, 2},
		{"repaired before", 4, wire.FlagRepaired, 7, 0, 0},
		{"a copy", 4, wire.FlagSuspect, 7, 0, 0},
		{"protected", 4, wire.FlagProtected, 7, 0, 3},
	} {
		s := &simNode{table: &mesh.Forwarding{}}
		for l := mesh.Label(1); l <= 4; l++ {
			s.table.Links = append(s.table.Links, mesh.ForwardLink{Label: l, Usable: l != c.down})
		}
		labels := []mesh.Label{1}
		if c.behind != 0 {
			labels = append(labels, c.behind)
		}
		frame := wire.AppendFrame(nil, wire.TypeData, c.flags, labels, make([]byte, dataLen))
		d, ok := (&World{}).around(s, c.in, frame, &link)
		if ok != (c.want != 0) || ok && d.Labels[0] != c.want {
			t.Errorf("%s: detour %v, want one by %d", c.name, d.Labels, c.want)
		}
	}
}

// Flows are dealt by shares, stay where they are as long as that way is there, and move at a gap, or after a second.
func TestFlowsStayOnTheirWay(t *testing.T) {
	path := func(l mesh.Label) mesh.Path { return mesh.Path{Labels: []mesh.Label{l}} }
	ways := []mesh.Way{{Path: path(1), Share: 1}, {Path: path(2), Share: 3}}
	const flows = 1000
	count := 0
	var moved *trafficFlow // that another share moves
	for i := range flows {
		f := &trafficFlow{index: i}
		f.way = f.pick(ways, 0).Path
		count += int(f.way.Labels[0]) - 1
		if f.way.Labels[0] == 2 && shared([]mesh.Way{ways[0], ways[0]}, i) != nil && moved == nil {
			moved = f
		}
	}
	if count < flows*70/100 || count > flows*80/100 {
		t.Errorf("%d of %d flows are on the way with three quarters of the shares", count, flows)
	}
	other := []mesh.Way{{Path: path(1), Share: 1 << 20}, {Path: path(2), Share: 1}}
	steps := []struct {
		at   int64
		want mesh.Label
	}{{1, 2}, {1 + flowStay/2, 2}, {1 + flowStay, 1}}
	for _, s := range steps {
		moved.sent = s.at - 1 // a burst
		if moved.way = moved.pick(other, s.at).Path; moved.way.Labels[0] != s.want {
			t.Errorf("after %d ns the flow is on way %v, want %d", s.at, moved.way.Labels, s.want)
		}
	}
	moved.way, moved.moveAt, moved.sent = path(2), 0, 0
	if got := moved.pick(other, flowGap); got.Labels[0] != 1 {
		t.Errorf("at a gap the flow stays on way %v", got.Labels)
	}
	moved.way = path(7)
	if got := moved.pick(ways[:1], 1); got.Labels[0] != 1 {
		t.Errorf("a flow whose way has gone is on %v", got.Labels)
	}
}

// An error is about the path that it came back by and whose place it names.
func TestErrorsMatchTheirPath(t *testing.T) {
	f := &trafficFlow{pending: map[uint64]*packet{1: {paths: [2]mesh.Path{{Labels: []mesh.Label{1, 5, 6}}, {Labels: []mesh.Label{2, 5, 7}}}}}}
	for _, c := range []struct {
		number uint64
		in     mesh.Label
		e      wire.ErrorFrame
		want   mesh.Label // first of the path, 0 = none
	}{
		{1, 1, wire.ErrorFrame{Code: wire.ErrorLinkDown, Hop: 0, Label: 5}, 1},
		{1, 2, wire.ErrorFrame{Code: wire.ErrorLinkSuspect, Hop: 1, Label: 7}, 2},
		{1, 2, wire.ErrorFrame{Code: wire.ErrorLinkDown, Hop: 1, Label: 6}, 0},
		{1, 3, wire.ErrorFrame{Code: wire.ErrorLinkDown, Hop: 0, Label: 5}, 0},
		{1, 1, wire.ErrorFrame{Code: wire.ErrorLinkDown, Hop: 2}, 0},
		{1, 1, wire.ErrorFrame{Code: wire.ErrorNoSession, Hop: 2}, 1},
		{1, 1, wire.ErrorFrame{Code: wire.ErrorNoSession, Hop: 1}, 0},
		{1, 1, wire.ErrorFrame{Code: wire.ErrorLinkDown, Hop: 30, Label: 5}, 0},
		{2, 1, wire.ErrorFrame{Code: wire.ErrorLinkDown, Hop: 0, Label: 5}, 0},
	} {
		p, ok := f.sentBy(c.number, c.in, &c.e)
		if ok != (c.want != 0) || ok && p.Labels[0] != c.want {
			t.Errorf("packet %d, %+v by link %d: path %v, want %d", c.number, c.e, c.in, p.Labels, c.want)
		}
	}
}
