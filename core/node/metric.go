package node

import (
	"slices"
	"time"
)

// frame returns how many bytes of UDP payload cross the link in one frame: what was measured, or else what kernel and
// neighbour say.
func (l *neighbourLink) frame() uint16 {
	if l.status.MTU > 0 {
		return l.status.MTU
	}
	return uint16(min(l.mtu, 65535)) // #nosec G115 -- bounded
}

// groupsOf returns the shared-risk groups of a link: those of this node, and of the interface that leads to the neighbour.
func (c *Control) groupsOf(l *neighbourLink) []uint32 {
	if len(c.cfg.Groups)+len(c.cfg.InterfaceGroups) == 0 {
		return nil
	}
	all := slices.Concat(c.cfg.Groups, c.cfg.InterfaceGroups[l.iface])
	slices.Sort(all)
	return slices.Compact(all)
}

// A node that has just started, or is alone, cannot say of an address that nobody has it.
const bootGrace = 5 * time.Second

func (c *Control) knowsMesh(now time.Time) bool {
	return len(c.addrs) > 1 && now.Sub(c.started) >= bootGrace
}
