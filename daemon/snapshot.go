package daemon

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/node"
	"x0tta6bl4/host/dataplane"
	"x0tta6bl4/host/quic"
	"x0tta6bl4/mesh"
)

// snapshot is all that the metrics are made of, at one moment.
type snapshot struct {
	version   string
	started   time.Time
	health    api.Health
	svid      api.SVID
	renewals  uint64
	census    census
	tracks    map[mesh.NodeID]api.PeerState
	links     []node.LinkView
	flaps     map[mesh.Label]uint64
	heard     map[mesh.Label]time.Time
	usage     map[mesh.Label]dataplane.LinkUsage
	peers     map[mesh.NodeID]dataplane.PeerUsage
	rtts      map[mesh.NodeID]time.Duration
	edges     int // directed
	accepted  [2]uint64
	rejected  map[string]uint64
	plane     map[string]uint64
	udp       map[string]uint64
	quic      map[string]map[string]uint64 // by carrier
	messages  map[string][]quicconn.MessageTraffic
	mesh      map[string]uint64
	dns       map[string]uint64
	loopDrops map[string]uint64
	queues    map[string]int
	shared    sharedSnapshot
}

func (d *Daemon) snapshot(ctx context.Context) (snapshot, error) {
	s := snapshot{
		version: d.opt.Version, started: d.started, svid: d.identity.svid(), renewals: d.renewals.Load(),
		flaps: map[mesh.Label]uint64{}, heard: map[mesh.Label]time.Time{}, rtts: map[mesh.NodeID]time.Duration{},
		tracks: map[mesh.NodeID]api.PeerState{}, udp: map[string]uint64{}, dns: map[string]uint64{},
		quic: map[string]map[string]uint64{}, messages: map[string][]quicconn.MessageTraffic{},
	}
	var err error
	if s.census, err = d.census(ctx); err != nil {
		return s, err
	}
	if err := d.ask(ctx, func(c *node.Control) {
		s.links, s.edges, s.rejected, s.mesh = c.Links(), len(c.Database().Edges()), c.Database().Counters(), c.Counters()
		s.accepted[0], s.accepted[1] = c.Accepted()
		for _, l := range s.links {
			s.flaps[l.Label] = d.linkLog.flaps(l.Label)
		}
	}); err != nil {
		return s, err
	}
	if err := d.askFast(ctx, func(r *node.Reflex) { s.mesh["path_switches"] = r.Switches() }); err != nil {
		return s, err
	}
	s.health, _, _ = d.examine(d.now(), s.census, d.allWarnings(s.census))
	for _, l := range s.links {
		s.heard[l.Label] = d.plane.LastHeard(l.Label)
	}
	s.usage, s.peers, s.plane = d.plane.LinkCounters(), d.plane.PeerUsage(), d.plane.Counters()
	d.mu.Lock()
	for n, t := range d.rtts {
		s.rtts[n] = t
	}
	d.mu.Unlock()
	d.pulse.mu.Lock()
	for n, t := range d.pulse.tracks {
		s.tracks[n] = t.state
	}
	d.pulse.mu.Unlock()
	d.snapTransports(&s)
	s.shared = d.snapShared(ctx)
	if d.names.server != nil {
		for name, n := range d.names.server.Counters() {
			s.dns[strings.TrimPrefix(name, "dns_")] = n
		}
	}
	s.loopDrops = map[string]uint64{
		"frames": d.framesDropped.Load(), "control_messages": d.sendsDropped.Load(), "refusals": d.refusalsUntold.Load(),
	}
	s.queues = map[string]int{"events": len(d.events), "frames": len(d.frames), "calm": len(d.calm)}
	return s, nil
}

func (d *Daemon) snapTransports(s *snapshot) {
	for _, k := range d.sockets {
		for name, n := range k.Counters() {
			s.udp[strings.TrimPrefix(name, "udp_")] += n
		}
	}
	take := func(carrier string, t *quicconn.Transport) {
		if s.quic[carrier] == nil {
			s.quic[carrier] = map[string]uint64{}
		}
		for name, n := range t.Counters() {
			s.quic[carrier][strings.TrimPrefix(name, "quic_")] += n
		}
		s.messages[carrier] = addMessages(s.messages[carrier], t.Messages())
	}
	for _, t := range d.links {
		take("link", t)
	}
	take("peer", d.peers)
}

// addMessages adds the traffic of two transports, kind by kind.
func addMessages(sum, more []quicconn.MessageTraffic) []quicconn.MessageTraffic {
	if sum == nil {
		return more
	}
	for i, m := range more {
		sum[i].Sent += m.Sent
		sum[i].SentBytes += m.SentBytes
		sum[i].Received += m.Received
		sum[i].ReceivedBytes += m.ReceivedBytes
	}
	return sum
}

// messageBytes are the bytes of control messages by kind and direction, such as lsa_sent_bytes.
func messageBytes(all []quicconn.MessageTraffic) map[string]uint64 {
	m := make(map[string]uint64, 2*len(all))
	for _, t := range all {
		m[t.Kind+"_sent_bytes"] = t.SentBytes
		m[t.Kind+"_received_bytes"] = t.ReceivedBytes
	}
	return m
}

// emitter takes one value of a metric.
type emitter func(m metric, v float64, labels ...string)

// set emits one series for each possible value of the last label: 1 for the one that is, 0 for the others.
func set[T ~string](e emitter, m metric, is T, all []T, labels ...string) {
	for _, s := range all {
		v := 0.0
		if s == is {
			v = 1
		}
		e(m, v, append(slices.Clone(labels), string(s))...)
	}
}

// each emits one series for each entry.
func each(e emitter, m metric, values map[string]uint64, labels ...string) {
	for k, v := range values {
		e(m, float64(v), append(slices.Clone(labels), k)...)
	}
}

func stamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func (s *snapshot) emit(e emitter) {
	e(mBuild, 1, s.version, runtime.Version())
	e(mStart, stamp(s.started))
	set(e, mHealth, s.health, []api.Health{api.HealthOK, api.HealthDegraded, api.HealthDown})
	seen := 0
	for _, o := range s.census.observers {
		if o.Mutual {
			seen++
		}
	}
	e(mSeenBy, float64(seen))
	e(mSVIDEnd, stamp(s.svid.NotAfter))
	e(mSVIDDue, stamp(s.svid.RenewAt))
	e(mRenewal, float64(s.renewals))
	for _, c := range s.census.clocks[:min(len(s.census.clocks), maxLinkSeries)] {
		e(mClock, c.Ahead.Seconds(), c.Neighbour.String())
	}
	s.emitLinks(e)
	s.emitPeers(e)
	e(mNodes, float64(s.census.members))
	e(mEdges, float64(s.edges)/2)
	e(mAccepted, float64(s.accepted[0]), "record")
	e(mAccepted, float64(s.accepted[1]), "lsa")
	each(e, mRejected, s.rejected)
	s.emitPlane(e)
	s.shared.emit(e)
	each(e, mUDP, s.udp)
	each(e, mMesh, s.mesh)
	each(e, mDNS, s.dns)
	each(e, mLoops, s.loopDrops)
	for q, n := range s.queues {
		e(mQueue, float64(n), q)
	}
	for carrier, events := range s.quic {
		each(e, mQUIC, events, carrier)
	}
	for carrier, all := range s.messages {
		for _, m := range all {
			e(mMessages, float64(m.Sent), carrier, m.Kind, "out")
			e(mMessages, float64(m.Received), carrier, m.Kind, "in")
			e(mMsgBytes, float64(m.SentBytes), carrier, m.Kind, "out")
			e(mMsgBytes, float64(m.ReceivedBytes), carrier, m.Kind, "in")
		}
	}
}

func (s *snapshot) emitLinks(e emitter) {
	states := map[mesh.LinkState]int{}
	for _, l := range s.links {
		states[l.Status.State]++
	}
	names := []string{mesh.LinkDown.String(), mesh.LinkSuspect.String(), mesh.LinkUp.String()}
	for st := mesh.LinkDown; st <= mesh.LinkUp; st++ {
		e(mLinks, float64(states[st]), st.String())
	}
	e(mLinks, float64(max(0, s.census.total-len(s.links))), "missing")
	for _, l := range s.links[:min(len(s.links), maxLinkSeries)] {
		n, label := l.Neighbour.String(), strconv.Itoa(int(l.Label))
		st, u := l.Status, s.usage[l.Label]
		set(e, mLinkState, st.State.String(), names, n, label)
		e(mLinkSince, stamp(st.Since), n, label)
		e(mLinkRTT, st.RTT.Seconds(), n, label)
		e(mLinkMin, st.MinRTT.Seconds(), n, label)
		e(mLinkJit, st.Jitter.Seconds(), n, label)
		e(mLinkLoss, st.LossIn, n, label, "in")
		e(mLinkLoss, st.LossOut, n, label, "out")
		e(mLinkCost, float64(st.Cost)/1e6, n, label)
		e(mLinkMTU, float64(l.MTU), n, label)
		e(mLinkHeard, stamp(s.heard[l.Label]), n, label)
		e(mLinkBytes, float64(u.RxBytes), n, label, "in")
		e(mLinkBytes, float64(u.TxBytes), n, label, "out")
		e(mLinkFrame, float64(u.RxFrames), n, label, "in")
		e(mLinkFrame, float64(u.TxFrames), n, label, "out")
		e(mLinkFwd, float64(u.ForwardedBytes), n, label)
		e(mLinkSent, float64(u.ExpectedFrames), n, label)
		e(mLinkFlaps, float64(s.flaps[l.Label]), n, label)
	}
}

func (s *snapshot) emitPeers(e emitter) {
	count := map[api.PeerState]int{}
	for _, st := range s.tracks {
		count[st]++
	}
	for _, st := range []api.PeerState{
		api.PeerUnreachable, api.PeerNone, api.PeerOpening, api.PeerStalled, api.PeerConnected, api.PeerIdle,
	} {
		e(mPeers, float64(count[st]), string(st))
	}
	e(mSessions, float64(s.census.sessions))
	var busiest []mesh.NodeID
	for n := range s.peers {
		busiest = append(busiest, n)
	}
	bytes := func(n mesh.NodeID) uint64 { return s.peers[n].RxBytes + s.peers[n].TxBytes }
	slices.SortFunc(busiest, func(a, b mesh.NodeID) int { return cmp.Or(cmp.Compare(bytes(b), bytes(a)), a.Compare(b)) })
	for _, n := range busiest[:min(len(busiest), maxPeerSeries)] {
		e(mPeerBytes, float64(s.peers[n].RxBytes), n.String(), "in")
		e(mPeerBytes, float64(s.peers[n].TxBytes), n.String(), "out")
		if rtt := s.rtts[n]; rtt > 0 {
			e(mPeerRTT, rtt.Seconds(), n.String())
		}
	}
}

// drops are the counters of the data plane that count what was dropped. One packet may be among several: a frame that no
// link could send, and the packet in it that no path could take.
var drops = strings.Fields(`
	frame_truncated frame_malformed frame_bad_type link_unknown_session link_bad_mac link_replay link_only_routed part_malformed
	relay_no_label relay_u_turn relay_link_down relay_repair_twice relay_repair_u_turn relay_repair_too_big
	over_share congestion_dropped
	peer_unknown_session peer_replay peer_bad_seal peer_malformed peer_bad_packet
	peer_bad_source peer_bad_destination peer_congestion_drop peer_key_used_up peer_no_way_back tun_write_failed tun_not_ipv6
	tun_outside tun_bad_source tun_too_big tun_no_link queue_overflow queue_expired error_malformed error_unmatched
	hello_malformed hello_no_link challenge_malformed handshake_malformed send_no_session send_link_down send_too_big send_failed
	peer_bad_epoch`)

func (s *snapshot) emitPlane(e emitter) {
	sized := map[string]func(float64){
		"hello_sent":           func(v float64) { e(mHellos, v, "out") },
		"hello_received":       func(v float64) { e(mHellos, v, "in") },
		"hello_sent_bytes":     func(v float64) { e(mHelloBytes, v, "out") },
		"hello_received_bytes": func(v float64) { e(mHelloBytes, v, "in") },
	}
	for name, n := range s.plane {
		switch {
		case sized[name] != nil:
			sized[name](float64(n))
		case slices.Contains(drops, name):
			e(mDropped, float64(n), name)
		default:
			e(mPlane, float64(n), name)
		}
	}
}
