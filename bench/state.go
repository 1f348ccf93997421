package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/api"
	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
)

// The marks of the shared state, and how it is measured.
const (
	visibleMark   = 300  // ms, p99 of writes, at all of nine nodes with links of 5 ms
	putOver       = 1.0  // ms, to which three times the disk's p99 comes
	idleStateMark = 2000 // bytes a second, of a node
	agreeMark     = 10   // s
	bytesMark     = 1.5  // times the bytes of keys of 1 KiB that differ
	smallMark     = 200  // bytes beside a small key
	millionMark   = 1000 // MB, of 10^6 bytes

	statePuts   = 100 // of a run
	stateValue  = 100 // bytes
	stateIdle   = 20 * time.Second
	stateSettle = 30 * time.Second
	diskWrite   = 4 << 10
)

// The names of its figures.
const (
	putVisible = "state: put seen by all of 9 nodes, p99"
	putLocal   = "state: put of a node alone, on disk and readable, p99"
	diskSync   = "state: fdatasync between these, p99"
	putExcess  = "state: what that put is over 1 ms + 3 × fdatasync"
	stateQuiet = "state: bytes a second of a node at rest"
)

// stateGrid measures the shared state on the grid, in one lab for all runs: nothing in it grows old.
func (s *spine) stateGrid(ctx context.Context) (err error) {
	m, err := topology.Builtin(gridSpec)
	if err != nil {
		return err
	}
	fs := s.figures()
	fs.mark(putVisible, "ms", visibleMark)
	fs.mark(stateQuiet, "B/s", idleStateMark)
	l, err := s.up(ctx, m, linkDelay, "state-grid")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := s.writable(ctx, l, l.Nodes()); err != nil {
		return err
	}
	for run := range s.opt.Runs {
		s.say("%d puts on %s, run %d of %d", statePuts, gridSpec, run+1, s.opt.Runs)
		if err := s.putRun(ctx, l, run); err != nil {
			return fmt.Errorf("puts on %s, run %d: %w", gridSpec, run+1, err)
		}
	}
	return s.stateAtRest(ctx, l)
}

// writable waits until all nodes take writes.
func (s *spine) writable(ctx context.Context, l *lab.Lab, ids []mesh.NodeID) error {
	ctx, cancel := context.WithTimeout(ctx, stateSettle)
	defer cancel()
	for _, id := range ids {
		for {
			info, err := l.Client(id).State(ctx)
			if err == nil && info.Settled {
				break
			}
			if sleep(ctx, statusPeriod) != nil {
				return fmt.Errorf("%s took no writes within %s: %w", id, stateSettle, err)
			}
		}
	}
	return nil
}

// putRun puts one key after the other, each at another node, and waits for watchers at all nodes to see it.
func (s *spine) putRun(ctx context.Context, l *lab.Lab, run int) error {
	w, err := watchAll(ctx, l, fmt.Sprintf("bench/%d/", run))
	if err != nil {
		return err
	}
	defer w.stop()
	var visible []float64
	value := make([]byte, stateValue)
	for i := range statePuts {
		key := fmt.Sprintf("bench/%d/%d", run, i)
		id := l.Nodes()[rand.IntN(len(l.Nodes()))] // #nosec G404 -- any will do
		began := time.Now()
		if _, err := l.Client(id).KVPut(ctx, []byte(key), value); err != nil {
			return fmt.Errorf("put at %s: %w", id, err)
		}
		last, err := w.await(ctx, key)
		if err != nil {
			return err
		}
		visible = append(visible, millis(last.Sub(began)))
	}
	s.figures().add(putVisible, "ms", percentile(visible, 99))
	return nil
}

// putAlone puts keys at a node that has no neighbour, one after the other, and between them has the disk of the labs keep a page.
func (s *spine) putAlone(ctx context.Context, l *lab.Lab, id mesh.NodeID) (err error) {
	f, err := os.CreateTemp("", "x0t-bench-sync-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	var local, disk []float64
	page := make([]byte, diskWrite)
	for i := range 2 * statePuts {
		began := time.Now()
		if _, err := l.Client(id).KVPut(ctx, fmt.Appendf(nil, "alone/%d", i), page[:stateValue]); err != nil {
			return err
		}
		local = append(local, millis(time.Since(began)))
		began = time.Now()
		if _, err := f.Write(page); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil { // #nosec G115 -- a descriptor
			return err
		}
		disk = append(disk, millis(time.Since(began)))
	}
	fs := s.figures()
	put, sync := percentile(local, 99), percentile(disk, 99)
	fs.add(putLocal, "ms", put)
	fs.add(diskSync, "ms", sync)
	fs.add(putExcess, "ms", put-putOver-3*sync)
	return nil
}

// watchers watch the same keys at all nodes.
type watchers struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	nodes  int

	mu   sync.Mutex
	more chan struct{}
	seen map[string]int
	last map[string]time.Time
	err  error
}

func watchAll(ctx context.Context, l *lab.Lab, prefix string) (*watchers, error) {
	w := &watchers{nodes: len(l.Nodes()), more: make(chan struct{}, 1), seen: map[string]int{}, last: map[string]time.Time{}}
	ctx, w.cancel = context.WithCancel(ctx)
	var opened sync.WaitGroup
	for _, id := range l.Nodes() {
		opened.Add(1)
		once := sync.OnceFunc(opened.Done)
		w.wg.Go(func() {
			defer once()
			err := l.Client(id).KVWatch(ctx, api.KVWatchRequest{Prefix: []byte(prefix)}, func(api.Freshness) { once() }, w.saw)
			if err != nil && ctx.Err() == nil {
				w.fail(fmt.Errorf("watch at %s: %w", id, err))
			}
		})
	}
	opened.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w, w.err
}

func (w *watchers) stop() {
	w.cancel()
	w.wg.Wait()
}

func (w *watchers) saw(c api.KVChange) error {
	w.mu.Lock()
	w.seen[string(c.Key)]++
	w.last[string(c.Key)] = time.Now()
	w.mu.Unlock()
	w.tell()
	return nil
}

func (w *watchers) fail(err error) {
	w.mu.Lock()
	w.err = errors.Join(w.err, err)
	w.mu.Unlock()
	w.tell()
}

func (w *watchers) tell() {
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// await returns when the last node saw a key.
func (w *watchers) await(ctx context.Context, key string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, stateSettle)
	defer cancel()
	for {
		w.mu.Lock()
		seen, last, err := w.seen[key], w.last[key], w.err
		w.mu.Unlock()
		if err != nil || seen == w.nodes {
			return last, err
		}
		select {
		case <-w.more:
		case <-ctx.Done():
			return last, fmt.Errorf("%d of %d nodes saw %s within %s", seen, w.nodes, key, stateSettle)
		}
	}
}

// stateAtRest measures what every node sends of the shared state while nobody writes.
func (s *spine) stateAtRest(ctx context.Context, l *lab.Lab) error {
	if err := sleep(ctx, stateSettle/3); err != nil {
		return err
	}
	for run := range s.opt.Runs {
		before, err := stateSent(ctx, l)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := sleep(ctx, stateIdle/2); err != nil {
			return err
		}
		after, err := stateSent(ctx, l)
		if err != nil {
			return err
		}
		worst, took := 0.0, time.Since(began).Seconds()
		for id, n := range after {
			worst = max(worst, float64(n-before[id])/took)
		}
		s.say("at rest, run %d: the node that sent most sent %.0f B/s of state", run+1, worst)
		s.figures().add(stateQuiet, "B/s", worst)
	}
	return nil
}

// stateSent returns what each node has written to its state streams.
func stateSent(ctx context.Context, l *lab.Lab) (map[mesh.NodeID]uint64, error) {
	sent := map[mesh.NodeID]uint64{}
	for _, id := range l.Nodes() {
		c, err := l.Client(id).Counters(ctx)
		if err != nil {
			return nil, err
		}
		sent[id] = c["link_state_sent_bytes"]
	}
	return sent, nil
}
