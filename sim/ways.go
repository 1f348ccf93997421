package sim

import "x0tta6bl4/mesh"

// When a flow takes another way although the one that it is on still carries packets: at a gap in which what is under way
// arrives, or after a time if there is none.
const (
	flowGap  = 20 * int64(1e6) // ns
	flowStay = int64(1e9)
)

// route says by which paths the next packet of a flow goes, as the data plane does: of the protected class by all of the pair,
// else by the flow's way and, while that is in doubt, its copy. None if there is no way.
func (f *trafficFlow) route(w *World, p *mesh.ForwardPeer, k *packet) {
	switch {
	case f.protected && len(p.Pair) > 0:
		copy(k.paths[:], p.Pair)
	case len(p.Ways) > 0:
		way := f.pick(p.Ways, w.at)
		k.paths = [2]mesh.Path{way.Path, way.Copy}
		f.way = way.Path
	default:
		return
	}
	f.sent = w.at
	if h := w.cfg.hooks.detour; h != nil {
		k.paths[0] = h(f, k.paths[0])
	}
}

// pick returns the way of a flow's next packet: that which the shares give it, or that of its last one until it may move
// without overtaking itself.
func (f *trafficFlow) pick(ways []mesh.Way, now int64) *mesh.Way {
	want := shared(ways, f.index)
	if len(ways) == 1 {
		f.moveAt = 0
		return want
	}
	for i := range ways {
		have := &ways[i]
		if have == want || !have.Same(f.way) || now-f.sent >= flowGap || f.moveAt != 0 && now >= f.moveAt {
			continue
		}
		if f.moveAt == 0 {
			f.moveAt = now + flowStay
		}
		return have
	}
	f.moveAt = 0
	return want
}

// buckets is how many parts the flows to one destination are dealt in.
const buckets = 256

// shared returns the way that the shares give to a flow.
func shared(ways []mesh.Way, flow int) *mesh.Way {
	total := uint64(0)
	for i := range ways {
		total += uint64(max(ways[i].Share, 1))
	}
	at := uint64(uint32(flow)*0x9e3779b1>>24) * total / buckets // #nosec G115 -- an index
	for i := range ways {
		share := uint64(max(ways[i].Share, 1))
		if at < share {
			return &ways[i]
		}
		at -= share
	}
	return &ways[0]
}
