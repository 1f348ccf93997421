package dataplane

import (
	"slices"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// detour is a way around a link, ready to be put into frames.
type detour struct {
	out    *outLink
	labels []byte     // all but the first, as in the frame
	behind mesh.Label // that of the neighbour's which it leads past, 0 = it leads to the neighbour
}

// skip returns how many labels of a frame it leads past, besides that of the link.
func (d *detour) skip() int {
	if d.behind != 0 {
		return 1
	}
	return 0
}

// length returns how long a frame of n bytes is that takes it.
func (d *detour) length(n int) int { return n + len(d.labels) - 2*d.skip() }

// fits reports whether a frame has room for its labels, and the link for the frame.
func (d *detour) fits(a *arrival) bool {
	n := d.length(len(a.b))
	return len(a.f.Labels)+len(d.labels)-2*d.skip() <= 2*wire.MaxLabels && n <= wire.MaxFrame &&
		(n <= d.out.mtu || fitsParts(n, d.out.mtu))
}

// joinShares has all links of one neighbour counted under the lowest of their labels.
func (v *view) joinShares(links []mesh.ForwardLink) {
	lowest := make(map[mesh.NodeID]mesh.Label, len(links))
	for i := range links { // ascending by label
		l := &links[i]
		if _, known := lowest[l.Neighbour]; !known {
			lowest[l.Neighbour] = l.Label
		}
		v.links[l.Label].state.share.Store(uint32(lowest[l.Neighbour]))
	}
}

// addDetours gives the links of the view the ways around them.
func (v *view) addDetours(links []mesh.ForwardLink, count *counters) {
	for i := range links {
		f := &links[i]
		o := v.links[f.Label]
		o.suspect = f.Suspect
		for _, d := range f.Detours {
			if len(d.Labels) == 0 || d.Labels[0] == f.Label || v.links[d.Labels[0]] == nil || slices.Contains(d.Labels, 0) {
				count.inc(pathInvalid)
				continue
			}
			o.detours = append(o.detours, detour{
				out: v.links[d.Labels[0]], labels: appendLabels(nil, d.Labels[1:]), behind: d.Behind,
			})
		}
	}
}
