package daemon

import (
	"fmt"
	"slices"

	"x0tta6bl4/core/flow"
	"x0tta6bl4/core/node"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/mesh"
)

// route makes the deciding half choose paths as the configuration says.
func route(cfg *node.Config, c config.Config) {
	cfg.Disjoint, cfg.Protect, cfg.InterfaceCapacity = c.Routing.K, len(c.Routing.Protect) > 0, c.Links.Capacity
	switch c.Routing.Spread {
	case config.SpreadAlways:
		cfg.Spread = flow.SpreadAlways
	case config.SpreadOff:
		cfg.Spread = flow.SpreadOff
	default:
		cfg.Spread = flow.SpreadAuto
	}
}

// thinLinks tells of links that their neighbours announce as so thin that hardly a packet could be copied.
func thinLinks(ls []node.LinkView) (ws []string) {
	for _, l := range ls {
		ws = append(ws, fmt.Sprintf("%s announces that its link %d with this node carries %d bit/s, so little that it is not believed: "+
			"if it is true say so under links.capacity here, else see what %s is configured to announce", l.Neighbour, l.Theirs, l.LowCapacity, l.Neighbour))
	}
	return ws
}

// routing is route for a node that runs.
func routing(r config.Routing) node.Routing {
	var cfg node.Config
	route(&cfg, config.Config{Routing: r})
	return node.Routing{Disjoint: cfg.Disjoint, Protect: cfg.Protect, Spread: cfg.Spread}
}

// reroute has both halves choose paths by other rules from now on.
func (d *Daemon) reroute(was, r config.Routing) {
	if !slices.Equal(was.Protect, r.Protect) || was.DuplicateBudget != r.DuplicateBudget {
		d.plane.SetRules(r.Protect, r.DuplicateBudget)
	}
	if now := routing(r); now != routing(was) {
		d.post(now)
	}
}

// protection returns what is always sent on two paths, and the destinations in use to which there is only one.
func (d *Daemon) protection() (rules []string, onePath []mesh.NodeID) {
	for _, r := range d.configured().Routing.Protect {
		rules = append(rules, r.String())
	}
	for _, p := range d.table.Load().Peers {
		if len(p.Pair) == 1 && p.Session != 0 {
			onePath = append(onePath, p.Node)
		}
	}
	return rules, onePath
}
