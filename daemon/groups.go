package daemon

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"x0tta6bl4/daemon/config"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// riskGroups returns the shared-risk groups of all links, and of those by each interface, as they are announced.
func riskGroups(c config.Config) (all []uint32, by map[string][]uint32) {
	if c.Node.FailureDomain != "" {
		all = []uint32{mesh.RiskGroup(c.Node.FailureDomain)}
	}
	by = make(map[string][]uint32, len(c.Links.Groups))
	for iface, names := range c.Links.Groups {
		for _, n := range names {
			by[iface] = append(by[iface], mesh.RiskGroup(n))
		}
	}
	return all, by
}

// groupNames returns the names of groups, as far as this node's configuration has them, else their numbers.
func (d *Daemon) groupNames(groups []uint32) []string {
	names := map[uint32]string{}
	c := d.opt.Config
	if n := c.Node.FailureDomain; n != "" {
		names[mesh.RiskGroup(n)] = n
	}
	for _, iface := range slices.Sorted(maps.Keys(c.Links.Groups)) {
		for _, n := range c.Links.Groups[iface] {
			names[mesh.RiskGroup(n)] = n
		}
	}
	var out []string
	for _, g := range groups {
		out = append(out, cmp.Or(names[g], fmt.Sprintf("%08x", g)))
	}
	return out
}

// thinness says why a link carries nothing though its neighbour is heard, "" if that is not so.
func thinness(s mesh.LinkStatus) string {
	if !s.Thin || s.State == mesh.LinkDown {
		return ""
	}
	return fmt.Sprintf("too thin: datagrams of %d bytes do not cross it; raise the MTU of the network below to %d", wire.MinLinkMTU, wire.MinLinkMTU+48)
}
