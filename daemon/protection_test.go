package daemon

import (
	"slices"
	"strings"
	"testing"

	"x0tta6bl4/core/flow"
	"x0tta6bl4/core/node"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/mesh"
)

func TestRoutingReachesTheNode(t *testing.T) {
	c, err := config.Parse("x0t.yaml", []byte("links: {capacity: {eth0: 50M}}\nrouting: {k: 5, protect: [all], spread: always}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var cfg node.Config
	route(&cfg, c)
	if cfg.Disjoint != 5 || !cfg.Protect || cfg.Spread != flow.SpreadAlways || cfg.InterfaceCapacity["eth0"] != 50e6 {
		t.Errorf("%+v", cfg)
	}
	for mode, want := range map[config.SpreadMode]flow.Spread{config.SpreadAuto: flow.SpreadAuto, config.SpreadOff: flow.SpreadOff} {
		c := config.Default()
		c.Routing.Spread = mode
		if route(&cfg, c); cfg.Spread != want || cfg.Protect {
			t.Errorf("%s: %+v", mode, cfg)
		}
	}
}

// A neighbour cannot switch protection off by what it announces, and that it tried is told.
func TestThinLinksAreTold(t *testing.T) {
	ws := thinLinks([]node.LinkView{{Label: 7, Theirs: 8, Neighbour: mesh.MustNodeID("beta"), LowCapacity: 79}})
	if len(ws) != 1 || !strings.Contains(ws[0], "beta announces that its link 8 with this node carries 79 bit/s") || !strings.Contains(ws[0], "links.capacity") {
		t.Errorf("%q", ws)
	}
	if ws := thinLinks(nil); len(ws) > 0 {
		t.Errorf("%q", ws)
	}
}

// Protected traffic that has only one path is told of where there is a session to send it by.
func TestOnePathIsTold(t *testing.T) {
	d := &Daemon{opt: Options{Config: config.Default()}}
	path := mesh.Path{Nodes: []mesh.NodeID{mesh.MustNodeID("a"), mesh.MustNodeID("b")}, Labels: []mesh.Label{1}}
	peer := func(name string, session mesh.ConnID, paths int) mesh.ForwardPeer {
		return mesh.ForwardPeer{Node: mesh.MustNodeID(name), Session: session, Pair: slices.Repeat([]mesh.Path{path}, paths)}
	}
	d.table.Store(&mesh.Forwarding{Peers: []mesh.ForwardPeer{peer("dead", 1, 0), peer("one", 2, 1), peer("opening", 0, 1), peer("two", 3, 2)}})
	if rules, one := d.protection(); len(rules) > 0 || !slices.Equal(one, []mesh.NodeID{mesh.MustNodeID("one")}) {
		t.Errorf("rules %q, one path to %v", rules, one)
	}
	d.opt.Config.Routing.Protect = []mesh.ProtectRule{{Kind: mesh.ProtectDSCP, DSCP: 46}}
	if rules, _ := d.protection(); !slices.Equal(rules, []string{"dscp:46"}) {
		t.Errorf("rules %q", rules)
	}
}
