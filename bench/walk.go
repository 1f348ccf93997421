package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"x0tta6bl4/mesh"
)

// walkTime is how long packets are counted to see which way they go.
const walkTime = 300 * time.Millisecond

// errNoWalk says that the counters of interfaces show no way.
var errNoWalk = errors.New("no interface shows which way the probes go")

// walk returns the way that a stream of probes takes from a to b, both ways at 1 kHz, as the counters of the interfaces tell it:
// so it does not matter what carries them.
func (s *site) walk(ctx context.Context, a, b mesh.NodeID) ([]mesh.NodeID, error) {
	before, err := s.sent(ctx)
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, walkTime); err != nil {
		return nil, err
	}
	after, err := s.sent(ctx)
	if err != nil {
		return nil, err
	}
	path := []mesh.NodeID{a}
	var came mesh.NodeID
	for at := a; at != b; {
		i, _ := s.m.Find(at)
		var next mesh.NodeID
		most := uint64(walkTime / time.Millisecond / 2)
		for _, n := range s.neighbours(i) {
			name, _ := s.lab.Interface(at, n)
			if grown := after[at][name] - before[at][name]; n != came && grown > most {
				next, most = n, grown
			}
		}
		if next.IsZero() || len(path) > len(s.m.Nodes) {
			return nil, fmt.Errorf("%w from %s: got as far as %s", errNoWalk, a, at)
		}
		came, at = at, next
		path = append(path, next)
	}
	return path, nil
}

// sent reads how many packets every interface of every node has sent.
func (s *site) sent(ctx context.Context) (map[mesh.NodeID]map[string]uint64, error) {
	all := map[mesh.NodeID]map[string]uint64{}
	for _, id := range s.nodes() {
		out, err := s.lab.Exec(ctx, id, "cat", "/proc/net/dev")
		if err != nil {
			return nil, err
		}
		all[id] = sentPackets(string(out))
	}
	return all, nil
}

// sentPackets reads /proc/net/dev: the tenth number of an interface (proc(5)).
func sentPackets(text string) map[string]uint64 {
	out := map[string]uint64{}
	for line := range strings.Lines(text) {
		name, numbers, ok := strings.Cut(line, ":")
		if f := strings.Fields(numbers); ok && len(f) >= 10 {
			if n, err := strconv.ParseUint(f[9], 10, 64); err == nil {
				out[strings.TrimSpace(name)] = n
			}
		}
	}
	return out
}
