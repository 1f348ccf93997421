package node

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// labelBlock labels are reserved on disk at a time: a label is handed out only from a block that was reserved in an
// earlier state, or whose reservation is on its way, so that a crash cannot make one label stand for two links.
const labelBlock = 64

// maxBindings bounds what is remembered of links that are no more.
const maxBindings = 1024

// labels hands out link labels: the same one again for the same way to the same neighbour, else one that was not
// used before, until all 65,535 were.
type labels struct {
	next     mesh.Label
	reserved mesh.Label // exclusive end of what this process may hand out before it reserves more
	bindings []LabelBinding
	dirty    bool
}

func (t *labels) load(s LabelState, r *rand.Rand) {
	t.bindings = slices.Clone(s.Bindings)
	t.next = s.Next
	if t.next == 0 {
		t.next = mesh.Label(1 + r.IntN(1<<16-1)) // random start in a fresh state
	}
	t.reserved = t.next
}

// get returns the label for a way to a neighbour.
func (t *labels) get(n mesh.NodeID, remote netip.AddrPort) mesh.Label {
	for i, b := range t.bindings {
		if b.Neighbour == n && b.Remote == remote {
			// Most recently used last: the front of the list is what may be forgotten.
			t.bindings = append(slices.Delete(t.bindings, i, i+1), b)
			return b.Label
		}
	}
	for t.next == 0 || t.bound(t.next) {
		t.next++
	}
	l := t.next
	t.next++
	if l == t.reserved || t.next > t.reserved || t.next == 0 {
		t.reserved = t.next + labelBlock
	}
	t.bindings = append(t.bindings, LabelBinding{Label: l, Neighbour: n, Remote: remote})
	if len(t.bindings) > maxBindings {
		t.bindings = slices.Delete(t.bindings, 0, 1)
	}
	t.dirty = true
	return l
}

func (t *labels) bound(l mesh.Label) bool {
	return slices.ContainsFunc(t.bindings, func(b LabelBinding) bool { return b.Label == l })
}

// state is what to persist: a next process starts behind everything this one may hand out.
func (t *labels) state() LabelState {
	return LabelState{Next: t.reserved, Bindings: slices.Clone(t.bindings)}
}

// jitter draws a duration in [0, d).
func jitter(r *rand.Rand, d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(r.Int64N(int64(d)))
}
