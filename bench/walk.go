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

// How long packets are counted to see which way they go, and how often again if that does not show.
const (
	walkTime  = 300 * time.Millisecond
	walkTries = 5
)

// errNoWalk says that the counters of interfaces show no way.
var errNoWalk = errors.New("no interface shows which way the probes go")

// walk returns the way that a stream of probes takes from a to b, both ways at 1 kHz, as the counters of the interfaces tell it:
// so it does not matter what carries them. It counts again where too few were sent, as on a machine that had no time for it.
func (s *site) walk(ctx context.Context, a, b mesh.NodeID) ([]mesh.NodeID, error) {
	before, err := s.sent(ctx)
	for try := 0; err == nil; try++ {
		if err := sleep(ctx, walkTime); err != nil {
			return nil, err
		}
		var after map[mesh.NodeID]map[string]uint64
		if after, err = s.sent(ctx); err != nil {
			break
		}
		path, err := s.trail(a, b, before, after)
		if err == nil || try == walkTries {
			return path, err
		}
		before = after
	}
	return nil, err
}

// trail follows the packets sent between two counts.
func (s *site) trail(a, b mesh.NodeID, before, after map[mesh.NodeID]map[string]uint64) ([]mesh.NodeID, error) {
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
