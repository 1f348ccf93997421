package lab

import (
	"fmt"
	"net"
	"net/netip"

	"x0tta6bl4/mesh"
)

// Bare makes the namespaces and links of opt.Map without any daemon of ours: for programs that are to be compared with it on
// the same ground. Faults strike its links as they do those of any lab. Close it.
func Bare(opt Options) (*Lab, error) { return build(opt) }

// Interface is what a node's interface towards its neighbour is called.
func (l *Lab) Interface(id, neighbour mesh.NodeID) (string, bool) {
	for _, w := range l.wires {
		if w.joins(id, neighbour) {
			here, _ := w.at(id)
			return here.iface, true
		}
	}
	return "", false
}

// ProberOn opens probe sockets that are bound to one address on each of some nodes, and to a port.
func (l *Lab) ProberOn(addrs map[mesh.NodeID]netip.Addr, port uint16) (*Prober, error) {
	spaces := map[mesh.NodeID]*space{}
	for id := range addrs {
		n, err := l.node(id)
		if err != nil {
			return nil, fmt.Errorf("probe socket: %w", err)
		}
		spaces[id] = n.space
	}
	return openProber(spaces, addrs, port, func(id mesh.NodeID) net.IP { return addrs[id].AsSlice() })
}
