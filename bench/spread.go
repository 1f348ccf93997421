package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
)

// Many flows to one destination share the disjoint ways to it. Two ways lead across a ring of four, and every link is shaped to
// spreadRate at both of its ends; sixteen TCP streams are measured by both ways together, then with spreading off.
const (
	spreadMap     = "ring:4"
	spreadRate    = "100mbit"
	spreadStreams = "16"
	spreadTime    = 12 * time.Second
	spreadWarm    = 4 * time.Second // before it: streams have found their rates and ways
	spreadOff     = "routing:\n  spread: off\n"

	spreadBoth  = "spread: 16 streams by two ways of " + spreadRate + " each"
	spreadOne   = "spread: the same by one way"
	spreadRatio = "spread: both ways over one"
	spreadMark  = 1.8
)

func (s *spine) spread(ctx context.Context) error {
	for _, tool := range []string{"iperf3", "tc"} {
		if _, err := exec.LookPath(tool); err != nil {
			s.note("no spreading was measured: %s is not installed", tool)
			return nil
		}
	}
	m, err := topology.Builtin(spreadMap)
	if err != nil {
		return err
	}
	fs := s.figures()
	fs.markLeast(spreadRatio, "", spreadMark)
	for range s.opt.Runs {
		both, err := s.spreadWith(ctx, m, "")
		if err != nil {
			return err
		}
		one, err := s.spreadWith(ctx, m, spreadOff)
		if err != nil {
			return err
		}
		s.say("%s streams: %.1f Mbit/s by both ways, %.1f by one", spreadStreams, 1000*both, 1000*one)
		fs.add(spreadBoth, "Gbit/s", both)
		fs.add(spreadOne, "Gbit/s", one)
		fs.add(spreadRatio, "", both/one)
	}
	return nil
}

// spreadWith measures the streams through a fresh mesh with further lines of configuration.
func (s *spine) spreadWith(ctx context.Context, m *topology.Map, config string) (gbps float64, err error) {
	l, err := lab.Up(ctx, lab.Options{Map: lab.FromTopology(m), Delay: lab.NoDelay, Binary: s.opt.Binary, Config: config})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for _, id := range l.Nodes() {
		if err := shape(ctx, l, id); err != nil {
			return 0, err
		}
	}
	from, to := m.Nodes[0].ID, m.Nodes[len(m.Nodes)/2].ID
	far, err := l.Status(ctx, to)
	if err != nil {
		return 0, err
	}
	seconds := func(d time.Duration) string { return fmt.Sprint(int(d.Seconds())) }
	return iperf(ctx, l, from, to, far.Address, spreadWarm+spreadTime+streamSlop, "-t", seconds(spreadTime), "-O", seconds(spreadWarm), "-P", spreadStreams)
}

// shape bounds what leaves a node by each of its links.
func shape(ctx context.Context, l *lab.Lab, id mesh.NodeID) error {
	names, err := cables(ctx, l, id)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := l.Exec(ctx, id, "tc", "qdisc", "add", "dev", name, "root", "tbf", "rate", spreadRate, "burst", "64k", "latency", "20ms"); err != nil {
			return err
		}
	}
	return nil
}
