package dataplane

import (
	"maps"
	"net/netip"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// registry is everything the plane was told. Plane.mu guards it; packets never look at it.
type registry struct {
	protect    *mesh.Class // is not changed, but replaced
	copyRate   uint64      // bytes a second by a link without a capacity that may be copies
	forwarding *mesh.Forwarding
	links      map[mesh.ConnID]*linkSession
	peers      map[mesh.ConnID]*peerSession
	linkStates map[mesh.Label]*linkState
	peerStates map[mesh.NodeID]*peerState
}

func newRegistry() registry {
	return registry{
		forwarding: &mesh.Forwarding{},
		links:      make(map[mesh.ConnID]*linkSession),
		peers:      make(map[mesh.ConnID]*peerSession),
		linkStates: make(map[mesh.Label]*linkState),
		peerStates: make(map[mesh.NodeID]*peerState),
	}
}

// rule takes what Config says of copies.
func (r *registry) rule(protect []mesh.ProtectRule, duplicates float64) {
	class := mesh.NewClass(protect)
	r.protect, r.copyRate = &class, duplicateRate(duplicates)
}

// linkState returns what outlives the sessions of a link.
func (r *registry) linkState(l mesh.Label) *linkState {
	if r.linkStates[l] == nil {
		r.linkStates[l] = &linkState{label: l}
	}
	return r.linkStates[l]
}

// rxIndices returns what the frames of all link sessions are known by, in no order.
func (r *registry) rxIndices() []uint32 {
	all := make([]uint32, 0, len(r.links))
	for _, s := range r.links {
		all = append(all, s.rxIndex)
	}
	return all
}

// peerState returns what outlives the sessions with a node.
func (r *registry) peerState(n mesh.NodeID, addr netip.Addr) *peerState {
	if r.peerStates[n] == nil {
		r.peerStates[n] = &peerState{node: n, addr: addr}
	}
	return r.peerStates[n]
}

// view is what packets look at: the registry resolved into the lookups they need. Immutable but for the atomics
// and small locks inside sessions and states.
type view struct {
	linkRx     map[uint32]*linkSession
	peerRx     map[uint32]*peerSession
	links      map[mesh.Label]*outLink
	byAddr     map[[16]byte]*outPeer
	byNode     map[mesh.NodeID]*outPeer
	sessions   []*peerSession
	linkStates map[mesh.Label]*linkState
	peerStates map[mesh.NodeID]*peerState
}

// outLink is a link to send by.
type outLink struct {
	copyRate uint64 // bytes a second that may be copies

	label   mesh.Label
	remote  netip.AddrPort
	mtu     int
	usable  bool
	session *linkSession // nil: none of the published name
	state   *linkState
	suspect bool     // frames that go by it go by a detour too
	detours []detour // around it
}

// ready reports whether frames for others may go out by this link.
func (o *outLink) ready() bool { return o.usable && o.session != nil && o.session.tx.known() }

// outPeer is a destination of own packets.
type outPeer struct {
	node      mesh.NodeID
	session   *peerSession // nil: none of the published name
	ways      []outWay     // what flows are spread over
	state     *peerState
	of        *[spreadBuckets]uint8 // by its place in ways, the way that each bucket of flows is to take; nil: the first
	gap       time.Duration         // a bucket that paused so long may change over
	pair      []outPath             // what every protected packet goes by; none: as others
	class     *mesh.Class           // the protected one
	protected bool                  // every packet for this destination is of it
	pause     time.Duration         // between two calls of Callbacks.Sending of one kind
}

// ready reports whether packets for this destination can be sealed and have somewhere to go. A nil peer is not.
func (o *outPeer) ready() bool {
	return o != nil && o.session != nil && o.session.tx.known() && len(o.ways) > 0
}

// maxWays is how many ways of one destination are used: more than a node asks for paths.
const maxWays = 16

// outWay is a mesh.Way ready for use.
type outWay struct {
	paths []outPath // the path, and that of the copy if there is one
	share uint32
	name  wayName
	left  time.Duration // since when it is being left, 0 = it is not
}

// outPath is one path, ready to be put in front of a payload.
type outPath struct {
	first  *outLink // nil: no such link
	labels []byte   // all but the first, as in the frame
	path   *mesh.Path
}

// room returns how long a packet by this path may be.
func (o *outPath) room() int {
	return wire.MaxFrame - wire.HeaderLen - len(o.labels) - sealFront - sealTag
}

// frameLen returns how long a frame by this path is with n bytes of plaintext.
func (o *outPath) frameLen(n int) int {
	return wire.HeaderLen + len(o.labels) + wire.SealOverhead + n
}

func (r *registry) compile(count *counters, now time.Duration) *view {
	v := &view{
		linkRx:     make(map[uint32]*linkSession, len(r.links)),
		peerRx:     make(map[uint32]*peerSession, len(r.peers)),
		links:      make(map[mesh.Label]*outLink, len(r.forwarding.Links)),
		byAddr:     make(map[[16]byte]*outPeer, len(r.forwarding.Peers)),
		byNode:     make(map[mesh.NodeID]*outPeer, len(r.forwarding.Peers)),
		linkStates: make(map[mesh.Label]*linkState, len(r.linkStates)),
		peerStates: make(map[mesh.NodeID]*peerState, len(r.peerStates)),
	}
	for _, s := range r.links {
		v.linkRx[s.rxIndex] = s
		v.linkStates[s.label] = s.state
	}
	for _, s := range r.peers {
		v.peerRx[s.rxIndex] = s
		v.sessions = append(v.sessions, s)
		v.peerStates[s.node] = s.peer
	}
	for i := range r.forwarding.Links {
		l := r.outLink(&r.forwarding.Links[i])
		v.links[l.label] = l
		v.linkStates[l.label] = l.state
	}
	v.addDetours(r.forwarding.Links, count)
	v.joinShares(r.forwarding.Links)
	pause := sendingPause(len(r.forwarding.Peers))
	for i := range r.forwarding.Peers {
		f := &r.forwarding.Peers[i]
		o := v.outPeer(f, r.peerState(f.Node, f.Addr), now, count)
		o.session, o.class, o.protected, o.pause = r.peers[f.Session], r.protect, r.protect.AllTo(f.Node), pause
		if o.session != nil && o.session.node != f.Node {
			o.session = nil // keys of one peer never serve another
		}
		v.byAddr[f.Addr.As16()] = o
		v.byNode[f.Node] = o
		v.peerStates[f.Node] = o.state
	}
	// What neither a session nor the table names any more is forgotten.
	maps.DeleteFunc(r.linkStates, func(l mesh.Label, _ *linkState) bool { return v.linkStates[l] == nil })
	maps.DeleteFunc(r.peerStates, func(n mesh.NodeID, _ *peerState) bool { return v.peerStates[n] == nil })
	return v
}

// Bounds of Callbacks.Sending: for one destination, and for all together while they are not very many.
const (
	minSending = 50 * time.Millisecond
	maxSending = 250 * time.Millisecond
	allSending = 400 // a second
)

func sendingPause(peers int) time.Duration {
	return min(max(minSending, time.Duration(peers)*time.Second/allSending), maxSending)
}

func (r *registry) outLink(f *mesh.ForwardLink) *outLink {
	o := &outLink{
		label: f.Label, remote: f.Remote, mtu: int(f.MTU), usable: f.Usable, copyRate: r.copyRateOf(f.Capacity),
		session: r.links[f.Session], state: r.linkState(f.Label),
	}
	if o.session != nil && o.session.label != o.label {
		o.session = nil // keys of one link never serve another
	}
	if o.mtu == 0 && o.session != nil {
		o.mtu = o.session.mtu
	}
	if o.mtu == 0 {
		o.mtu = wire.MinLinkMTU
	}
	return o
}

func (v *view) outPeer(f *mesh.ForwardPeer, state *peerState, now time.Duration, count *counters) *outPeer {
	var pair []*mesh.Path
	for i := range f.Pair[:min(len(f.Pair), 2)] {
		pair = append(pair, &f.Pair[i])
	}
	o := &outPeer{
		node: f.Node, state: state, ways: v.outWays(f.Ways, count), pair: v.outPaths(pair, count), gap: spreadGap,
	}
	o.of = state.spread.take(o.ways, now)
	state.recall.take(o, now)
	for i := range o.ways {
		for j := range o.ways {
			later := int64(o.ways[i].paths[0].path.Cost) - int64(o.ways[j].paths[0].path.Cost)
			o.gap = max(o.gap, time.Duration(later)*time.Microsecond)
		}
	}
	return o
}

func (v *view) outWays(ways []mesh.Way, count *counters) []outWay {
	out := make([]outWay, 0, len(ways))
	for i := range ways[:min(len(ways), maxWays)] {
		paths := []*mesh.Path{&ways[i].Path, &ways[i].Copy}
		if len(ways[i].Copy.Labels) == 0 {
			paths = paths[:1]
		}
		w := outWay{paths: v.outPaths(paths, count), share: ways[i].Share}
		if len(w.paths) > 0 {
			out = append(out, w)
		}
	}
	return out
}

func (v *view) outPaths(paths []*mesh.Path, count *counters) []outPath {
	out := make([]outPath, 0, len(paths))
	for _, p := range paths {
		o, ok := v.outPath(p)
		if !ok {
			count.inc(pathInvalid)
			continue
		}
		out = append(out, o)
	}
	return out
}

func (v *view) outPath(p *mesh.Path) (outPath, bool) {
	if !p.Valid() || len(p.Labels)-1 > wire.MaxLabels {
		return outPath{}, false
	}
	return outPath{first: v.links[p.Labels[0]], labels: appendLabels(nil, p.Labels[1:]), path: p}, true
}
