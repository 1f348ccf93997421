package node

import (
	"time"

	"x0tta6bl4/core/flow"
)

type (
	// Routing says how paths are chosen from now on; the fields are those of Config.
	Routing struct {
		Disjoint int
		Protect  bool
		Spread   flow.Spread
	}
	// Steering is the part of Routing that the fast loop has.
	Steering struct {
		Protect bool
		Spread  flow.Spread
	}
)

func (Routing) controlEvent() {}
func (Steering) reflexEvent() {}

// route looks for as many paths to every peer as are wanted now.
func (c *Control) route(ev Routing) {
	c.cfg.Disjoint, c.cfg.Protect, c.cfg.Spread = ev.Disjoint, ev.Protect, ev.Spread
	c.cfg.defaults()
	for _, p := range c.peers {
		c.findPaths(p)
	}
	c.out.Reflex = append(c.out.Reflex, Steering{ev.Protect, ev.Spread})
}

func (r *Reflex) steer(now time.Time, ev Steering) {
	r.cfg.Protect, r.cfg.Spread = ev.Protect, ev.Spread
	for _, p := range r.peers {
		p.flow.Configure(now, r.flows())
	}
}

// flows is what every flow is to do.
func (r *Reflex) flows() flow.Config {
	return flow.Config{Protect: r.cfg.Protect, Spread: r.cfg.Spread}
}
