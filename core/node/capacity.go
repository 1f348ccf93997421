package node

import "x0tta6bl4/mesh"

// What a neighbour announces of a link rules how many copies of packets leave by it, and nobody checks it: it may be what its cable
// could carry, or a lie. So it counts within bounds.
const (
	// leastCapacity is what a link is taken for that is announced as less: the copies of a stream of speech still fit. Who is behind
	// less says so in his own configuration.
	leastCapacity mesh.BitsPerSecond = 1e6

	// mostUnknown is what a link is taken for at most whose capacity this node was not told: as much as one of which nothing is known.
	mostUnknown mesh.BitsPerSecond = 100e6
)

// capacityOf returns what a link carries as far as either end was told, within bounds, 0 if neither was; and what the neighbour
// announces, if that is too little to be counted.
func (c *Control) capacityOf(l *neighbourLink) (is, low mesh.BitsPerSecond) {
	l.lookedAt = c.db.Version()
	own := c.cfg.InterfaceCapacity[l.iface]
	for _, a := range c.db.Links(l.neighbour) {
		if a.Neighbour != c.cfg.Self || a.Label != l.theirs || a.Capacity == 0 {
			continue
		}
		most := own
		if own == 0 {
			most = mostUnknown
		}
		if a.Capacity < min(leastCapacity, most) {
			low = a.Capacity
		}
		return min(max(a.Capacity, leastCapacity), most), low
	}
	return own, 0
}

// settleCapacity tells the fast loop what the neighbour has announced of a link since it was told of it.
func (c *Control) settleCapacity(l *neighbourLink) {
	if l.via == 0 || l.lookedAt == c.db.Version() {
		return
	}
	was := l.capacity
	if l.capacity, l.low = c.capacityOf(l); l.capacity != was {
		c.tellLink(l)
	}
}
