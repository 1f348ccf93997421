package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"time"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh/topology"
)

// While other work wants all processors, daemons get their turns late. That is no reason to leave a path. A TCP stream between
// the farthest nodes of a ring, to which two equal ways lead, is measured beside processes that do nothing but compute, one a
// processor; then again with one path a destination, which has no other to go to.
const (
	busyMap     = "ring:6"
	busyTime    = 2 * time.Minute // in each run: ten minutes in MinRuns
	busyAlone   = "routing:\n  k: 1\n"
	busySteady  = "busy: switches of paths a minute, of all nodes"
	busyGoodput = "busy: TCP while other work wants all processors"
	busyOff     = "busy: the same with one path a destination"
	busyRatio   = "busy: share of that with failover"

	busySwitches = 1    // a minute, at most
	busyLeast    = 0.95 // of the goodput with failover off
)

func (s *spine) busy(ctx context.Context) error {
	if _, err := exec.LookPath("iperf3"); err != nil {
		s.note("nothing was measured beside other work: iperf3 is not installed")
		return nil
	}
	m, err := topology.Builtin(busyMap)
	if err != nil {
		return err
	}
	fs := s.figures()
	fs.mark(busySteady, "/min", busySwitches)
	fs.markLeast(busyRatio, "", busyLeast)
	for range s.opt.Runs {
		on, switches, err := s.besideWork(ctx, m, "")
		if err != nil {
			return err
		}
		off, _, err := s.besideWork(ctx, m, busyAlone)
		if err != nil {
			return err
		}
		s.say("beside other work: %.3f Gbit/s and %d switches in %s; %.3f Gbit/s with one path", on, switches, busyTime, off)
		fs.add(busySteady, "/min", float64(switches)/busyTime.Minutes())
		fs.add(busyGoodput, "Gbit/s", on)
		fs.add(busyOff, "Gbit/s", off)
		fs.add(busyRatio, "", on/off)
	}
	return nil
}

// besideWork makes a mesh and measures a stream through it while other processes want all processors.
func (s *spine) besideWork(ctx context.Context, m *topology.Map, config string) (gbps float64, switches uint64, err error) {
	l, err := lab.Up(ctx, lab.Options{Map: lab.FromTopology(m), Delay: lab.NoDelay, Binary: s.opt.Binary, Config: config})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	from, to := m.Nodes[0].ID, m.Nodes[len(m.Nodes)/2].ID
	far, err := l.Status(ctx, to)
	if err != nil {
		return 0, 0, err
	}
	if _, err := l.Exec(ctx, from, "ping", "-n", "-c", "5", "-i", "0.2", far.Address.String()); err != nil { // sessions and paths are there
		return 0, 0, err
	}
	stop, err := work(runtime.NumCPU())
	if err != nil {
		return 0, 0, err
	}
	defer stop()
	before, err := allSwitches(ctx, l)
	if err != nil {
		return 0, 0, err
	}
	gbps, err = iperf(ctx, l, from, to, far.Address, busyTime+streamSlop, "-t", fmt.Sprint(int(busyTime.Seconds())))
	if err != nil {
		return 0, 0, err
	}
	after, err := allSwitches(ctx, l)
	return gbps, after - before, err
}

// allSwitches adds up how often the nodes of a lab took another path.
func allSwitches(ctx context.Context, l *lab.Lab) (n uint64, err error) {
	for _, id := range l.Nodes() {
		counts, err := l.Client(id).Counters(ctx)
		if err != nil {
			return 0, err
		}
		n += counts["node_path_switches"]
	}
	return n, nil
}

// work starts processes that compute until stop is called.
func work(processes int) (stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	var started []*exec.Cmd
	stop = func() {
		cancel()
		for _, c := range started {
			_ = c.Wait() // it was killed
		}
	}
	for range processes {
		c := exec.CommandContext(ctx, "sh", "-c", "while kill -0 $PPID; do :; done") // no longer than this program lives
		if err := c.Start(); err != nil {
			stop()
			return nil, err
		}
		started = append(started, c)
	}
	return stop, nil
}
