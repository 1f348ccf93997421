// Package dataplane moves packets: from the TUN into sealed frames, from link to link, and from frames back to
// the TUN. It decides nothing. Sessions are added to it, a mesh.Forwarding is published to it, and what it cannot
// settle itself goes out through callbacks.
//
//	         RunTUN                                  HandleFrame
//	TUN ─► flows ─► own packet? ─► peer, session     parse ─► link session, MAC, replay window
//	              │none          │                     │
//	          queue, Need   cut, seal once   ┌─────────┼──────────────┐ labels left
//	                             │           │hop = n  │part          │
//	                  a copy per path        │        join          relay: swap label,
//	                             ▼           ▼                     │ MAC of the next link
//	                       link MAC ──► underlay ◄─────────────────┘
//	                                    deliver: data ► window, open, address check ► join ► TUN
//	                                             hello, challenge, handshake, error ► callbacks
//
// # Goroutines
//
// The packet path reads one immutable view behind an atomic pointer and runs to completion on the goroutine that
// read the packet. Frames wait in the kernel, and are judged when they have been read: how long they waited, and for whom
// (discipline); what came with one read leaves together (Receiver). Packets of applications here are read as long as there are
// any, and wait by flow (backlog). Every method may be called from any
// goroutine. The only locks of the path guard one replay window for some tens of
// nanoseconds, and changes of a key; none is held while Config.Send, the TUN or a callback runs, so those may call back into the plane. They must
// not block.
//
// # Ways
//
// A path of m links has m-1 labels in its frames: the source looks its own first link up itself. A relay takes the
// label at the hop index as the next link and leaves there its own label for the link the frame came in on; so
// at every node the way back is the in-link, then the consumed labels reversed. Errors and probe replies take it. A relay whose
// next link is down, or in doubt, puts the link's detour among the labels, once for each frame.
//
// # What a frame must pass
//
// Link: known session index, MAC, fresh link counter. End to end: known index, fresh counter, authentic ciphertext,
// and an inner packet whose source is the peer's own mesh address and whose destination is ours. Whatever fails is
// counted under a name of its own (see Counters) and dropped. An error frame is believed only if it quotes a packet
// that was sent on a path whose first link it came back by, and names a hop and a label of that path. Nothing is kept of
// packets for that: see match.go.
//
// # Which way
//
// A packet of the protected class goes by both paths of a pair. Any other goes by the way that its flow is on, which changes
// only when the way is gone or the flow pauses, so that a table may be published at any time without packets overtaking each
// other; see spread.go. Where a way has a copy the packet goes by that too. What is sent twice has a budget for each link.
package dataplane
