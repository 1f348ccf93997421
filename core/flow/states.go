package flow

import (
	"fmt"
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// State is what a Flow believes of a path.
type State uint8

// The states.
const (
	Dead State = iota
	Suspect
	Standby
	Active
)

func (s State) String() string {
	switch s {
	case Dead:
		return "dead"
	case Suspect:
		return "suspect"
	case Standby:
		return "standby"
	case Active:
		return "active"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// MarshalText makes a State its name in JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// PathState is one path as the CLI shows it. InUse is true of a path that carries packets, also where that is a
// suspect one for want of better. A lossy path is active where it carries packets, else suspect.
type PathState struct {
	Path  mesh.Path
	State State
	InUse bool
	RTT   time.Duration // smoothed over probe replies; before the first one, twice the path's cost
	Since time.Time     // of the last change of State

	Answered bool // a probe by it was: RTT is measured

	Share     float64 // of the flows, that goes by it; 0 to 1
	Copies    bool    // packets that go by a path in doubt are copied to it
	Protected bool    // it is one of those that every protected packet goes by

	// Loss is the share of this node's frames that the other end did not get, in about the last seconds of traffic by this
	// path. Measured is false where nothing was counted.
	Loss     float64
	Measured bool
}

// States returns all paths offered, the primary first.
func (f *Flow) States() []PathState {
	out := make([]PathState, len(f.routes))
	ways, parts := f.ways(), uint32(0)
	for _, r := range ways {
		parts += max(r.part, 1)
	}
	for i, r := range f.routes {
		out[i] = PathState{
			Path: r.path, State: r.shown, InUse: slices.Contains(ways, r), RTT: r.rtt, Since: r.since, Answered: r.heard,
			Loss: r.loss.recent.share(), Measured: r.loss.recent.sent >= 1,
			Protected: slices.Contains(f.pair, r),
			Copies:    slices.ContainsFunc(ways, func(w *route) bool { return w.copyTo == r }),
		}
		if out[i].InUse {
			out[i].Share = float64(max(r.part, 1)) / float64(parts)
		}
	}
	return out
}
