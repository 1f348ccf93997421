package dataplane

import "sync/atomic"

// counter names one thing the plane counts. Nothing is dropped without being counted under one of these.
type counter int

// The counters, in the order of counterNames, which documents each.
const (
	frameTruncated counter = iota
	frameMalformed
	frameBadType
	linkUnknownSession
	linkBadMAC
	linkReplay
	linkOnlyRouted
	partMalformed
	partJoined
	partSent

	relayForwarded
	relayNoLabel
	relayUTurn
	relayLinkDown
	relayRepaired
	relayRepairTwice
	relayRepairUTurn
	relayRepairTooBig
	relayCopied
	relayCopyNone
	relayCopyLimited
	overShare
	congestionMarked
	congestionHeard
	congestionDropped

	peerUnknownSession
	peerReplay
	peerBadSeal
	peerBadEpoch
	peerMalformed
	peerBadPacket
	peerBadSource
	peerBadDestination
	peerCongestionDrop
	peerKeyUsedUp
	peerNoWayBack
	peerProbeLimited
	delivered
	tunWriteFailed

	tunRead
	tunMalformed
	tunNotIPv6
	tunOutside
	tunBadSource
	tunTooBig
	tunSent
	tunNoLink
	queueAdded
	queueOverflow
	queueExpired
	queueRefused
	icmpSent
	icmpNone
	icmpLimited

	protectedSent
	protectedSingle
	copySent
	copyLimited

	errorSent
	errorLimited
	errorNone
	errorReceived
	errorMalformed
	errorUnmatched
	errorFlood

	helloSent
	helloSentBytes
	helloReceived
	helloReceivedBytes
	helloMalformed
	helloLimited
	challengeMalformed
	challengeLimited
	helloNoLink
	handshakeMalformed
	handshakeLimited
	sendNoSession
	sendLinkDown
	sendTooBig
	sendFailed
	pathInvalid

	numCounters
)

var counterNames = [numCounters]string{
	frameTruncated:     "frame_truncated",      // shorter than its header or its labels
	frameMalformed:     "frame_malformed",      // hop index or number of labels that cannot be, or too long
	frameBadType:       "frame_bad_type",       // first byte is of no known frame type
	linkUnknownSession: "link_unknown_session", // link session index that is not ours
	linkBadMAC:         "link_bad_mac",         // link MAC does not verify
	linkReplay:         "link_replay",          // link counter seen before or too old
	linkOnlyRouted:     "link_only_routed",     // hello, challenge or part with labels: those never leave a link
	partMalformed:      "part_malformed",       // part that cannot be joined
	partJoined:         "part_joined",          // frames rejoined from two parts
	partSent:           "part_sent",            // frames sent in two parts

	relayForwarded:    "relay_forwarded",      // frames sent on for others
	relayNoLabel:      "relay_no_label",       // next label names no link here
	relayUTurn:        "relay_u_turn",         // would leave by the link it came in on
	relayLinkDown:     "relay_link_down",      // next link is down or has no session, and no detour leads around it
	relayRepaired:     "relay_repaired",       // of those sent on: by a detour, as their next link is down
	relayRepairTwice:  "relay_repair_twice",   // next link is down, and the frame has taken a detour before
	relayRepairUTurn:  "relay_repair_u_turn",  // next link is down, and the detour begins with the link it came in on
	relayRepairTooBig: "relay_repair_too_big", // next link is down, and the frame or the detour's link has no room
	relayCopied:       "relay_copied",         // copies sent by a detour, as the next link is in doubt
	relayCopyNone:     "relay_copy_none",      // copies not sent: no detour that the frame may take
	relayCopyLimited:  "relay_copy_limited",   // copies not sent: over the budget of the detour's link
	overShare:         "over_share",           // frames of a neighbour that brings more than its share, while the queue stands
	congestionMarked:  "congestion_marked",    // data, or packets of applications here, that waited too long, marked congestion-experienced
	congestionHeard:   "congestion_heard",     // data that the network between a neighbour and this node marked
	congestionDropped: "congestion_dropped",   // and such as cannot be marked

	peerUnknownSession: "peer_unknown_session", // end-to-end index that is not ours
	peerReplay:         "peer_replay",          // end-to-end counter seen before (also the second copy of a duplicate) or too old
	peerBadSeal:        "peer_bad_seal",        // ciphertext does not authenticate
	peerBadEpoch:       "peer_bad_epoch",       // counter of a key that is forgotten, or so far away that it is not tried
	peerMalformed:      "peer_malformed",       // payload too short, or of an unknown inner kind, or a probe that does not parse
	peerBadPacket:      "peer_bad_packet",      // inner packet is not one whole IPv6 packet
	peerBadSource:      "peer_bad_source",      // inner source is not the address of the peer it came from
	peerBadDestination: "peer_bad_destination", // inner destination is not this node
	peerCongestionDrop: "peer_congestion_drop", // congestion marked on a packet that cannot carry the mark (RFC 6040 §4.2)
	peerKeyUsedUp:      "peer_key_used_up",     // session has sealed as much as it may
	peerNoWayBack:      "peer_no_way_back",     // probe that could not be answered
	peerProbeLimited:   "peer_probe_limited",   // probes and answers not looked at: over the rate of 1,000 a second for each peer
	delivered:          "delivered",            // packets written to the TUN
	tunWriteFailed:     "tun_write_failed",     // packets the TUN refused

	tunRead:       "tun_read",       // packets read from the TUN, large ones counted once
	tunMalformed:  "tun_malformed",  // headers that contradict each other: no kernel writes them
	tunNotIPv6:    "tun_not_ipv6",   // not IPv6, or shorter than its header
	tunOutside:    "tun_outside",    // destination outside the mesh prefix, or this node itself
	tunBadSource:  "tun_bad_source", // source is not this node's mesh address
	tunTooBig:     "tun_too_big",    // does not fit a frame
	tunSent:       "tun_sent",       // packets sealed and sent on at least one path
	tunNoLink:     "tun_no_link",    // packets that none of their paths' first links could send
	queueAdded:    "queue_added",    // packets that waited for a session
	queueOverflow: "queue_overflow", // packets dropped because the queue was full
	queueExpired:  "queue_expired",  // packets dropped because no session came in time
	queueRefused:  "queue_refused",  // packets dropped because no node has their address
	icmpSent:      "icmp_sent",      // ICMPv6 errors written to the TUN
	icmpNone:      "icmp_none",      // not written: about an ICMPv6 error, a later fragment or what is not sent to one
	icmpLimited:   "icmp_limited",   // not written: over the rate

	protectedSent:   "protected_sent",   // of the packets sent: those of the protected class
	protectedSingle: "protected_single", // of these: those that left by one path only
	copySent:        "copy_sent",        // frames of packets that had left by another path already
	copyLimited:     "copy_limited",     // such frames that were not sent: over the budget of their first link

	errorSent:      "error_sent",      // error frames made here
	errorLimited:   "error_limited",   // error frames not made: over the rate
	errorNone:      "error_none",      // error frames not made: about an error, longer than the cause, or no way back
	errorReceived:  "error_received",  // error frames for this node that matched something it sent
	errorMalformed: "error_malformed", // error frames that do not parse
	errorUnmatched: "error_unmatched", // error frames that quote nothing this node sent that way
	errorFlood:     "error_flood",     // error frames not handed up: over the rate of 1,000 a second for each link

	helloSent:          "hello_sent",       // hellos sent
	helloSentBytes:     "hello_sent_bytes", // and their UDP payload
	helloReceived:      "hello_received",   // authentic hellos of neighbours
	helloReceivedBytes: "hello_received_bytes",
	helloMalformed:     "hello_malformed",     // hellos that do not parse
	helloLimited:       "hello_limited",       // hellos not handed up: over the rate of 1,000 a second for each link
	challengeMalformed: "challenge_malformed", // challenges and replies that do not parse
	challengeLimited:   "challenge_limited",   // challenges not handed up: over the rate of one in 100 ms for each link
	helloNoLink:        "hello_no_link",       // hellos and challenges not sent: no such link or no session
	handshakeMalformed: "handshake_malformed", // handshake frames that do not parse
	handshakeLimited:   "handshake_limited",   // handshake frames not handed up: over the rate of their link
	sendNoSession:      "send_no_session",     // frames not sent: the link has no session with a transmit index
	sendLinkDown:       "send_link_down",      // frames not sent: the first link of their path is down or gone
	sendTooBig:         "send_too_big",        // frames not sent: they do not fit the link even in two parts
	sendFailed:         "send_failed",         // frames the underlay refused
	pathInvalid:        "path_invalid",        // published paths that are no paths
}

// counters is all of the plane's, each its own atomic.
type counters [numCounters]atomic.Uint64

func (c *counters) inc(k counter) { c[k].Add(1) }

func (c *counters) add(k counter, n int) { c[k].Add(uint64(n)) } // #nosec G115 -- a length

// sized counts one thing under k and its n bytes under the counter that follows.
func (c *counters) sized(k counter, n int) {
	c[k].Add(1)
	c[k+1].Add(uint64(n)) // #nosec G115 -- a length
}

// Counters returns every counter by name, zeros included. The names are documented at counterNames.
func (p *Plane) Counters() map[string]uint64 {
	m := make(map[string]uint64, numCounters)
	for k, name := range counterNames {
		m[name] = p.count[k].Load()
	}
	return m
}
