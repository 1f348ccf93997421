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
	Capacity  BitsPerSecond  // 0 = not known
	Usable    bool           // false: the link is down; a frame that wants it is answered by an error, and takes a detour
	Suspect   bool           // usable, but in doubt: a frame that is sent by it is sent by a detour too
	Detours   []Detour       // ascending by Behind; only those whose own first link is up
}

// Detour is a way around one of a node's own links, for frames of others that want that link. Its labels take the place of
// the link's in the frame.
type Detour struct {
	// Behind is the label that the neighbour would look up next: the detour leads to the node behind the neighbour, so that
	// it serves also if the neighbour itself is dead, and takes the place of both labels. 0: it leads to the neighbour.
	Behind Label
	Labels []Label // the first is one of this node's own links
}

// Around returns the detour for a frame whose label behind the link's is behind, 0 if it has none: one that leads past the
// neighbour if there is one.
func (l *ForwardLink) Around(behind Label) (Detour, bool) {
	for _, wanted := range [...]Label{behind, 0} {
		for i := range l.Detours {
			if l.Detours[i].Behind == wanted {
				return l.Detours[i], true
			}
		}
	}
	return Detour{}, false
}

// ForwardPeer is one destination of this node's own packets.
type ForwardPeer struct {
	Node    NodeID
	Addr    netip.Addr // its mesh address
	Session ConnID     // the end-to-end session to encrypt with; 0 = none yet, packets wait in a bounded queue
	Ways    []Way      // flows are spread over them, first the preferred one; none = unreachable now

	// Pair is what every packet of the protected class goes by: two disjoint paths if there are, else one. None: as others.
	Pair []Path
}

// Way is a path that carries packets now.
type Way struct {
	Path
	Copy  Path   // valid while Path is in doubt: every packet goes by it too
	Share uint32 // of the flows, relative to those of the other ways; 0 where another has one: flows leave it when they pause
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
