package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"x0tta6bl4/mesh"
)

// Hold is what one daemon holds of the machine at a moment.
type Hold struct {
	RSS         int64 `json:"rss_bytes"`
	Goroutines  int64 `json:"goroutines"`
	Descriptors int64 `json:"descriptors"`
}

// Growth compares what one daemon held at the beginning of a run with what it held at the end.
type Growth struct {
	Node   mesh.NodeID `json:"node"`
	Early  Hold        `json:"early"` // the median of the second quarter of its time: in the first it warms up
	Late   Hold        `json:"late"`  // the median of the last quarter
	Most   Hold        `json:"most"`
	Grown  []string    `json:"grown"` // what grew by more than it may
	sample []Hold
	pid    int
}

// What may grow by how much: a share, and so much besides.
const (
	growShare       = 0.10
	growRSS         = 4 << 20
	growGoroutines  = 5
	growDescriptors = 3
)

// hold asks what a node's daemon holds.
func (l *Lab) hold(ctx context.Context, id mesh.NodeID) (h Hold, pid int, err error) {
	n, err := l.node(id)
	if err != nil {
		return h, 0, err
	}
	p := n.running()
	if p == nil {
		return h, 0, fmt.Errorf("no daemon runs on %s", id)
	}
	u, err := p.usage()
	if err != nil {
		return h, 0, err
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid()))
	if err != nil {
		return h, 0, fmt.Errorf("descriptors of %s: %w", id, err)
	}
	text, err := n.client.Metrics(ctx)
	if err != nil {
		return h, 0, fmt.Errorf("metrics of %s: %w", id, err)
	}
	goroutines, err := gauge(text, "go_goroutines")
	return Hold{u.RSS, goroutines, int64(len(files))}, p.pid(), err
}

var errNoGauge = errors.New("no such metric")

// gauge finds a metric without labels in OpenMetrics text.
func gauge(text []byte, name string) (int64, error) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(strings.Fields(value + " ?")[0], 64)
			return int64(v), err
		}
	}
	return 0, fmt.Errorf("%s: %w", name, errNoGauge)
}

// ledger collects what daemons hold, and forgets what it has of one that was started anew.
type ledger struct {
	of []*Growth
}

func newLedger(nodes []mesh.NodeID) *ledger {
	h := &ledger{}
	for _, id := range nodes {
		h.of = append(h.of, &Growth{Node: id, Grown: []string{}})
	}
	return h
}

// watch samples until ctx ends. A daemon that does not answer, such as one that stands still, is asked again next time.
func (h *ledger) watch(ctx context.Context, l *Lab, every time.Duration) {
	for sleep(ctx, every) == nil {
		for _, g := range h.of {
			if s, pid, err := l.hold(ctx, g.Node); err == nil {
				g.add(s, pid)
			}
		}
	}
}

func (g *Growth) add(s Hold, pid int) {
	if pid != g.pid {
		g.pid, g.sample = pid, nil
	}
	g.sample = append(g.sample, s)
}

// leastSamples are needed to tell growth from chance.
const leastSamples = 16

// judge returns those daemons that ran long enough, with what grew.
func (h *ledger) judge() []Growth {
	most := 0
	for _, g := range h.of {
		most = max(most, len(g.sample))
	}
	out := []Growth{}
	for _, g := range h.of {
		if n := len(g.sample); n >= leastSamples && n >= most*9/10 {
			g.judge()
			out = append(out, *g)
		}
	}
	return out
}

func (g *Growth) judge() {
	n := len(g.sample)
	for _, v := range []struct {
		name              string
		early, late, most *int64
		of                func(Hold) int64
		least             int64
	}{
		{"memory", &g.Early.RSS, &g.Late.RSS, &g.Most.RSS, func(h Hold) int64 { return h.RSS }, growRSS},
		{"goroutines", &g.Early.Goroutines, &g.Late.Goroutines, &g.Most.Goroutines, func(h Hold) int64 { return h.Goroutines }, growGoroutines},
		{"descriptors", &g.Early.Descriptors, &g.Late.Descriptors, &g.Most.Descriptors, func(h Hold) int64 { return h.Descriptors }, growDescriptors},
	} {
		*v.early, *v.late, *v.most = middle(g.sample[n/4:n/2], v.of), middle(g.sample[n*3/4:], v.of), v.of(slices.MaxFunc(g.sample, func(a, b Hold) int {
			return int(v.of(a) - v.of(b))
		}))
		if *v.late > *v.early+int64(growShare*float64(*v.early))+v.least {
			g.Grown = append(g.Grown, v.name)
		}
	}
}

func middle(hs []Hold, of func(Hold) int64) int64 {
	vs := make([]int64, len(hs))
	for i, h := range hs {
		vs[i] = of(h)
	}
	slices.Sort(vs)
	return vs[len(vs)/2]
}
