package dataplane

import (
	"fmt"
	"net/netip"
	"slices"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// SendHello sends a hello by the published link with that label, usable or not. One without a session that can
// send is counted (hello_no_link) and dropped. The frame is padded to size bytes of UDP payload, at most wire.MaxFrame,
// whatever the link's MTU is now: that is how a larger one is found.
func (p *Plane) SendHello(label mesh.Label, h wire.Hello, size int) {
	s := p.sealers.Get().(*sealer)
	defer p.sealers.Put(s)
	payload := h.Append(s.payload())
	if n := min(size, wire.MaxFrame) - wire.HeaderLen; n > len(payload) {
		clear(payload[len(payload):n])
		payload = payload[:n]
	}
	if p.sendOnLink(label, netip.AddrPort{}, wire.TypeHello, s, payload) != nil {
		p.count.inc(helloNoLink)
	}
}

// SendChallenge sends a challenge, or its reply, with the keys of the link to an address that need not be the published
// one.
func (p *Plane) SendChallenge(label mesh.Label, to netip.AddrPort, reply bool, c wire.Challenge) error {
	t := wire.TypeChallenge
	if reply {
		t = wire.TypeChallengeReply
	}
	s := p.sealers.Get().(*sealer)
	defer p.sealers.Put(s)
	return p.sendOnLink(label, to, t, s, c.Append(s.payload()))
}

func (p *Plane) sendOnLink(label mesh.Label, to netip.AddrPort, t wire.FrameType, s *sealer, payload []byte) error {
	o := p.view.Load().links[label]
	if o == nil || o.session == nil || !o.session.tx.known() {
		return fmt.Errorf("send a %v on link %d: %w", t, label, ErrNoLink)
	}
	if to.IsValid() {
		elsewhere := *o
		elsewhere.remote = to
		o = &elsewhere
	}
	f := s.frame(t, 0, nil, len(payload))
	if p.emitWhole(o, f) && t == wire.TypeHello { // what stays on one link has no parts
		p.count.sized(helloSent, len(f))
	}
	return nil
}

// SendHandshake sends a handshake frame out by the link first and on by labels: a path of this node's own, or the
// way back that Callbacks.Handshake gave. An error about it comes back through Callbacks.Error.
func (p *Plane) SendHandshake(first mesh.Label, labels []mesh.Label, h wire.Handshake) error {
	if len(labels) > wire.MaxLabels {
		return fmt.Errorf("send a handshake: %w: %d labels, at most %d", ErrPath, len(labels), wire.MaxLabels)
	}
	if len(h.Datagram) == 0 || len(h.Datagram) > wire.MaxDatagram {
		return fmt.Errorf("send a handshake: %w: datagram of %d bytes", ErrTooBig, len(h.Datagram))
	}
	o := p.view.Load().links[first]
	if o == nil || !o.ready() {
		return fmt.Errorf("send a handshake on link %d: %w", first, ErrNoLink)
	}
	path := outPath{
		first: o, labels: appendLabels(nil, labels),
		path: &mesh.Path{Labels: append([]mesh.Label{first}, labels...)},
	}
	s := p.sealers.Get().(*sealer)
	defer p.sealers.Put(s)
	p.sendCopy(s, wire.TypeHandshake, 0, &path, h.Append(s.payload()), &p.shakes)
	return nil
}

// namePath completes a match that knows only labels with the published path that has them.
func (v *view) namePath(m *SentMatch) {
	for n, o := range v.byNode {
		for _, w := range o.ways {
			for _, c := range w.paths {
				if slices.Equal(c.path.Labels, m.Path.Labels) {
					m.Node, m.Path = n, *c.path
					return
				}
			}
		}
	}
}

// fullProbe is how long a full probe is where the path has room: as a packet of the largest size that a mesh's interface
// carries.
const fullProbe = 1360

// SendProbe sends a probe to node over path, which need not be one that is in use. It says what was sent by the path of
// that number; to a relay it looks like any packet, and if it is full it is as long as the longest. The answer comes
// through Callbacks.ProbeReply.
func (p *Plane) SendProbe(node mesh.NodeID, path mesh.Path, pr wire.Probe, full bool) error {
	v := p.view.Load()
	out := v.byNode[node]
	if out == nil || out.session == nil || !out.session.tx.known() {
		return fmt.Errorf("probe %v: %w", node, ErrNoSession)
	}
	way, ok := v.outPath(&path)
	if !ok || path.Nodes[len(path.Nodes)-1] != node {
		return fmt.Errorf("probe %v: %w: %d labels", node, ErrPath, len(path.Labels))
	}
	if way.first == nil || !way.first.ready() {
		return fmt.Errorf("probe %v on link %d: %w", node, path.Labels[0], ErrNoLink)
	}
	s := p.sealers.Get().(*sealer)
	defer p.sealers.Put(s)
	pr.Path = path.Number % wire.PathNumbers
	pr.Counts = &wire.ProbeCounts{Sent: out.session.out[pr.Path].Load() + 1}
	out.state.recall.probe(way.path, p.now()) // before the send: the error may be back before it returns
	n := len(pr.Append(s.packet()[:0]))
	if room := min(way.room(), fullProbe); full && room > n {
		clear(s.packet()[n:room])
		n = room
	}
	if _, ok := p.sealAndSend(s, out.session, wire.Inner{Kind: wire.InnerProbe, Path: pr.Path}, n, 0, []outPath{way}); !ok {
		return fmt.Errorf("probe %v: %w: the key of the last one is used up", node, ErrNoSession)
	}
	return nil
}
