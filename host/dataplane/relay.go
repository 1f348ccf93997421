package dataplane

import (
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// relay sends a frame on by its next label.
func (p *Plane) relay(a *arrival) {
	hop := int(a.f.Hop)
	label := wire.LabelAt(a.b, hop)
	out := a.v.links[label]
	switch {
	case label == 0 || out == nil:
		p.count.inc(relayNoLabel)
		p.report(a, wire.ErrorNoLabel, label, 0)
		return
	case label == a.in.label && !p.lastHopOfError(a):
		// A list of labels that bounces between two relays would cost them more than its sender.
		p.count.inc(relayUTurn)
		return
	case !out.ready():
		p.repair(a, out)
		return
	case len(a.b) > out.mtu && !fitsParts(len(a.b), out.mtu):
		p.count.inc(sendTooBig)
		p.report(a, wire.ErrorTooBig, label, uint16(min(out.mtu, wire.MaxFrame)))
		return
	}
	if out.suspect {
		p.double(a, out)
	}
	n := len(a.b)
	if _, err := wire.SwapLabel(a.b, a.in.label); err != nil {
		p.count.inc(relayNoLabel)
		return
	}
	if a.to != nil {
		a.to.forward(out, a.in.state, a.b)
		return
	}
	if p.emit(out, a.b) {
		p.count.inc(relayForwarded)
		a.in.state.forwarded.add(n)
	}
}

// lastHopOfError: an error may leave by the link it came in on where its next hop is its destination.
func (p *Plane) lastHopOfError(a *arrival) bool {
	return a.f.Type == wire.TypeError && int(a.f.Hop)+1 == len(a.f.Labels)/2
}

// fitsParts reports whether a frame of n bytes crosses a link in two parts.
func fitsParts(n, mtu int) bool {
	return (n-wire.HeaderLen+1)/2+partFront <= mtu
}

// partFront is what a part frame has in front of its bytes.
const partFront = wire.HeaderLen + 10

// report sends the source of a frame an error about it, by the way the frame came. Nothing is reported about errors,
// and nothing longer than its cause is sent (as RFC 4443 §2.4 (e) has it for ICMPv6): a forged source gains
// nothing.
func (p *Plane) report(a *arrival, code wire.ErrorCode, label mesh.Label, mtu uint16) {
	first := a.v.links[a.in.label]
	short := wire.HeaderLen+2*int(a.f.Hop)+wire.ErrorLen > len(a.b)
	if a.f.Type == wire.TypeError || short || first == nil || len(a.f.Payload) < wire.QuoteLen {
		p.count.inc(errorNone)
		return
	}
	if !a.in.state.errors.take(label, a.now) {
		p.count.inc(errorLimited)
		return
	}
	s := p.sealers.Get().(*sealer)
	defer p.sealers.Put(s)
	e := wire.ErrorFrame{Code: code, Label: label, MTU: mtu, Quote: wire.QuoteOf(a.f.Payload), Hop: a.f.Hop}
	payload := e.Append(s.payload())
	var room [wire.MaxLabels]mesh.Label
	labels := appendLabels(s.buf[len(s.buf)-2*wire.MaxLabels:][:0], wire.ReversedPrefix(a.b, room[:0])) // far behind the payload
	back := outPath{first: first, labels: labels}
	if p.sendCopy(s, wire.TypeError, 0, &back, payload, nil) {
		p.count.inc(errorSent)
	}
}
