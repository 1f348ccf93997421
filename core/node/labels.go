package node

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// labelBlock labels are reserved on disk at a time, the next block when half of one is left. So a label that is handed
// out was reserved in an earlier step, and its first announcement comes a handshake later still: a crash, even one that
// loses the last state written, cannot make one label stand for two links.
const labelBlock = 64

// maxBindings bounds what is remembered of links that are no more.
const maxBindings = 1024

// labels hands out link labels: the same one again for the same way to the same neighbour, else one that was not
// used before, until all 65,535 were. Labels are numbers on a ring that has no 0.
//
// Invariants: at least half a block lies between next and reserved; a label is bound once.
type labels struct {
	next     mesh.Label // the next to hand out
	reserved mesh.Label // end, exclusive, of what this process may hand out; never 0
	bindings []LabelBinding
	dirty    bool // state has to be persisted
}

func (t *labels) load(s LabelState, r *rand.Rand) {
	t.bindings = slices.Clone(s.Bindings)
	t.next = s.Next
	if t.next == 0 {
		t.next = mesh.Label(1 + r.IntN(1<<16-1)) // random start in a fresh state
	}
	t.reserved = t.next
	t.reserve()
}

// reserve keeps the end of the reserved block ahead.
func (t *labels) reserve() {
	if t.reserved-t.next >= labelBlock/2 {
		return
	}
	t.reserved = t.next + labelBlock
	if t.reserved == 0 {
		t.reserved = 1 // 0 in a state means that there is none
	}
	t.dirty = true
}

// get returns the label for a way to a neighbour. inUse says which labels have a link now: however many ways come and
// go, theirs are not forgotten, or one label would come to stand for two links.
func (t *labels) get(n mesh.NodeID, remote netip.AddrPort, inUse func(mesh.Label) bool) mesh.Label {
	for i, b := range t.bindings {
		if b.Neighbour == n && b.Remote == remote {
			// Most recently used last: the front of the list is what may be forgotten.
			t.bindings = append(slices.Delete(t.bindings, i, i+1), b)
			return b.Label
		}
	}
	l := t.take()
	t.bindings = append(t.bindings, LabelBinding{Label: l, Neighbour: n, Remote: remote})
	if len(t.bindings) > maxBindings {
		if i := slices.IndexFunc(t.bindings[:len(t.bindings)-1], func(b LabelBinding) bool { return !inUse(b.Label) }); i >= 0 {
			t.bindings = slices.Delete(t.bindings, i, i+1)
		}
	}
	t.dirty = true
	return l
}

// rebind makes a label stand for another way to the same neighbour. What was remembered of that way is forgotten: its
// own label has no link, and is not handed out again before all others were.
func (t *labels) rebind(l mesh.Label, remote netip.AddrPort) {
	i := slices.IndexFunc(t.bindings, func(b LabelBinding) bool { return b.Label == l })
	if i < 0 {
		return
	}
	moved := t.bindings[i]
	moved.Remote = remote
	t.bindings = slices.DeleteFunc(t.bindings, func(b LabelBinding) bool {
		return b.Label == l || b.Neighbour == moved.Neighbour && b.Remote == remote
	})
	t.bindings = append(t.bindings, moved)
	t.dirty = true
}

// forget unbinds a label whose way is not to be gone again.
func (t *labels) forget(l mesh.Label) {
	t.bindings = slices.DeleteFunc(t.bindings, func(b LabelBinding) bool { return b.Label == l })
	t.dirty = true
}

// take returns the next label of the ring that is bound to nothing. There is one: bindings are far fewer.
func (t *labels) take() mesh.Label {
	for {
		l := t.next
		t.next++
		t.reserve()
		if l != 0 && !slices.ContainsFunc(t.bindings, func(b LabelBinding) bool { return b.Label == l }) {
			return l
		}
	}
}

// state is what to persist: a next process starts behind everything that this one may hand out before it persists more.
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
