package sim

import (
	"time"

	"x0tta6bl4/core/path"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// hooks break the protocol or the network on purpose. Tests use them to show that a violated invariant is seen;
// nothing else sets them.
type hooks struct {
	lose     func(s *simNode, t wire.FrameType) bool               // s drops a frame that it should send
	ignore   func(s *simNode, m wire.Message) bool                 // s does not take a control message
	detour   func(f *trafficFlow, p mesh.Path) mesh.Path           // the way that a packet really goes
	claim    func(f *trafficFlow, r path.Result) path.Result       // what the source says of its paths
	publish  func(s *simNode, t *mesh.Forwarding) *mesh.Forwarding // the table that s publishes
	deadline func(s *simNode, at time.Time) time.Time              // when s wants Control to be called
	note     func(kind byte, at int64, who int, what []uint64)     // sees each line of the trace
	leak     bool                                                  // hellos cross links that drop everything else
}

// passes reports whether a frame of type t crosses a wire that is broken for everything else.
func (h *hooks) passes(t byte) bool { return h.leak && wire.FrameType(t&0x0f) == wire.TypeHello }
