package node

import "x0tta6bl4/mesh"

// capacityOf returns what a link carries as far as either end was told: the smaller, 0 if neither was.
func (c *Control) capacityOf(l *neighbourLink) mesh.BitsPerSecond {
	l.lookedAt = c.db.Version()
	own := c.cfg.InterfaceCapacity[l.iface]
	for _, a := range c.db.Links(l.neighbour) {
		if a.Neighbour != c.cfg.Self || a.Label != l.theirs || a.Capacity == 0 {
			continue
		}
		if own == 0 || a.Capacity < own {
			return a.Capacity
		}
	}
	return own
}

// settleCapacity tells the fast loop what the neighbour has announced of a link since it was told of it.
func (c *Control) settleCapacity(l *neighbourLink) {
	if l.via == 0 || l.lookedAt == c.db.Version() {
		return
	}
	if c.capacityOf(l) != l.capacity {
		c.tellLink(l)
	}
}
