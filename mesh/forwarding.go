package mesh

import "net/netip"

// ConnID is the handle of one control connection (and of the session whose keys were exported from it) in this
// process. The zero value is no connection. Handles are never reused.
type ConnID uint64

// Forwarding is what the data plane needs to know to move packets. It is immutable once published; the fast
// loop makes a new one at every change.
type Forwarding struct {
	Links []ForwardLink // ascending by Label
	Peers []ForwardPeer // ascending by Node
}

// ForwardLink is one link by which this node can send.
type ForwardLink struct {
	Label     Label
	Neighbour NodeID
	Session   ConnID         // the link session whose keys and index frames are sent with
	Remote    netip.AddrPort // where on the underlay the neighbour is
	MTU       uint16         // largest datagram payload the link carries whole
	Usable    bool           // false: the link is down; a frame that wants it is answered by an error
}

// ForwardPeer is one destination of this node's own packets.
type ForwardPeer struct {
	Node    NodeID
	Addr    netip.Addr // its mesh address
	Session ConnID     // the end-to-end session to encrypt with; 0 = none yet, packets wait in a bounded queue
	Paths   []Path     // the paths every packet is sent on, first the preferred one; none = unreachable now
}

// Link returns the link with label l.
func (f *Forwarding) Link(l Label) (ForwardLink, bool) {
	for i := range f.Links {
		if f.Links[i].Label == l {
			return f.Links[i], true
		}
	}
	return ForwardLink{}, false
}

// Peer returns the destination n.
func (f *Forwarding) Peer(n NodeID) (ForwardPeer, bool) {
	for i := range f.Peers {
		if f.Peers[i].Node == n {
			return f.Peers[i], true
		}
	}
	return ForwardPeer{}, false
}
