package dataplane

import (
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// rerouted is what a frame says that has been sent by a detour before. It takes no second one: so a list of labels costs
// the relays no more than its own length and that of one detour.
const rerouted = wire.FlagSuspect | wire.FlagRepaired

// repair sends a frame that wants a link which is down by a way around it, and tells the source to find another path.
func (p *Plane) repair(a *arrival, down *outLink) {
	p.report(a, wire.ErrorLinkDown, down.label, 0)
	d, none := a.around(down)
	if d == nil {
		p.count.inc(none)
		return
	}
	p.detour(a, d, a.f.Flags|wire.FlagRepaired)
}

// double sends a copy of a frame that is about to leave by a link in doubt by a way around it, and tells the source. The
// destination takes the copy that comes first.
func (p *Plane) double(a *arrival, doubted *outLink) {
	if a.f.Flags&rerouted != 0 {
		return
	}
	p.report(a, wire.ErrorLinkSuspect, doubted.label, 0)
	d, _ := a.around(doubted)
	switch {
	case d == nil:
		p.count.inc(relayCopyNone)
	case !d.out.state.copies.take(a.now, d.length(len(a.b)), d.out.copyRate):
		p.count.inc(relayCopyLimited)
	default:
		p.detour(a, d, a.f.Flags|rerouted)
	}
}

// around returns the detour that the frame takes around a link, past the neighbour if there is such a one. If it is nil, none
// is what the frame is counted under that is dropped for want of it.
func (a *arrival) around(o *outLink) (d *detour, none counter) {
	if a.f.Flags&rerouted != 0 {
		return nil, relayRepairTwice
	}
	none = relayLinkDown
	for _, behind := range [...]mesh.Label{wire.LabelAt(a.b, int(a.f.Hop)+1), 0} {
		for i := range o.detours {
			d := &o.detours[i]
			switch {
			case d.behind != behind || !d.out.ready():
			case d.out.label == a.in.label:
				none = relayRepairUTurn
			case !d.fits(a):
				none = relayRepairTooBig
			default:
				return d, 0
			}
		}
	}
	return nil, none
}

// detour sends a frame by a detour that it fits.
func (p *Plane) detour(a *arrival, d *detour, fl wire.Flags) {
	r := a.to
	if r == nil {
		r = p.receivers.Get().(*Receiver)
		defer p.receivers.Put(r)
		defer r.Flush()
	}
	r.detour(a, d, fl)
}

// detourRun is frames that leave by a detour together. Their labels need another room than where they lie.
type detourRun struct {
	relayRun
	copies bool   // of frames that were sent
	buf    []byte // made when the first needs it
}

// detour takes a frame that leaves by a detour which it fits.
func (r *Receiver) detour(a *arrival, d *detour, fl wire.Flags) {
	run, n, copies := &r.around, d.length(len(a.b)), fl&wire.FlagSuspect != 0
	if run.copies != copies || !run.takes(d.out, a.in.state, n, fl.ECN()) {
		r.flushDetour()
		if run.buf == nil {
			run.buf = make([]byte, 0, maxRunBytes)
		}
		run.relayRun, run.copies = relayRun{d.out, a.in.state, run.buf, n}, copies
	}
	b, err := wire.AppendDetour(run.b, a.b, a.in.label, d.labels, d.skip(), fl)
	if err != nil { // it fits
		r.p.count.inc(relayNoLabel)
		return
	}
	run.b = b
}

func (r *Receiver) flushDetour() {
	run := r.around.relayRun
	r.around.relayRun = relayRun{}
	if len(run.b) == 0 || !r.p.emitRun(run.out, run.b, run.size) {
		return
	}
	n := frames(run.b, run.size)
	if r.around.copies {
		r.p.count.add(relayCopied, n)
		return
	}
	r.p.count.add(relayForwarded, n)
	r.p.count.add(relayRepaired, n)
	run.in.forwarded.addAll(n, len(run.b))
}
