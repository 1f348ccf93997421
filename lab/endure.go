package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

// EndureOptions say what one mesh has to bear, and for how long.
type EndureOptions struct {
	Lab   Options
	Kinds []Kind // drawn from; none = all
	Seed  uint64
	For   time.Duration
	Load  mesh.BitsPerSecond // of a TCP connection that goes on meanwhile; 0 = none
	Tell  func(Cell)         // called as soon as a fault is over; nil = nobody
	Logs  string             // as in SoakOptions
}

// Endurance is what came of it.
type Endurance struct {
	Topology string      `json:"topology"`
	Nodes    int         `json:"nodes"`
	Links    int         `json:"links"`
	Seed     uint64      `json:"seed"`
	Took     api.Millis  `json:"took_ms"`
	Faults   []KindCount `json:"faults"` // by kind, in the order of fault.Kinds
	All      KindCount   `json:"all"`

	Availability Availability `json:"availability"`
	Load         *Load        `json:"load,omitempty"`
	Growth       []Growth     `json:"growth"`
	Failed       []Cell       `json:"failed"`     // not healed although a way was left
	Misses       []string     `json:"misses"`     // what is not as it must be; none: the mesh bore it
	Stalled      api.Millis   `json:"stalled_ms"` // the longest time that the prober itself waited for a processor
}

// KindCount is what came of the faults of one kind.
type KindCount struct {
	Kind     string     `json:"kind"`
	Injected int        `json:"injected"`
	Healed   int        `json:"healed"` // of those that a way was left for
	Could    int        `json:"could"`  // so many
	P50      api.Millis `json:"outage_p50_ms"`
	P95      api.Millis `json:"outage_p95_ms"`
	P99      api.Millis `json:"outage_p99_ms"`
	Max      api.Millis `json:"outage_max_ms"`

	outages []time.Duration
}

// Marks of an endurance.
const (
	mostRSS    = 100 << 20
	leastPause = time.Second // between two faults
	mostPause  = 4 * time.Second
	spared     = 3 // nodes that are never killed, so that growth shows
	sampled    = 120
)

// Endure brings one map up and strikes it with one fault after the other, drawn by the seed, each where a way is left if there
// is such a place, until the time is over. Meanwhile a TCP connection carries load, and what the daemons hold is sampled.
func Endure(ctx context.Context, opt EndureOptions) (*Endurance, error) {
	if len(opt.Kinds) == 0 {
		opt.Kinds = fault.Kinds()
	}
	opt.Lab.Faults = everywhere(opt.Kinds)
	l, err := Up(ctx, opt.Lab)
	if err != nil {
		return nil, err
	}
	r, err := l.endure(ctx, opt)
	if err != nil {
		err = l.explain(err)
	}
	return r, errors.Join(err, l.Close())
}

// everywhere are faults of these kinds at no place in particular, so that links get a relay where a kind needs one.
func everywhere(kinds []Kind) (fs []Fault) {
	for _, k := range kinds {
		fs = append(fs, Fault{Kind: k, Param: k.Builtin(), Target: Target{Path: true}})
	}
	return fs
}

func (l *Lab) endure(ctx context.Context, opt EndureOptions) (*Endurance, error) {
	p, err := l.Prober(ctx)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := l.reach(ctx, p, &Report{}); err != nil {
		return nil, err
	}
	p.Forget(p.all()...)
	r := &Endurance{Topology: l.m.Name, Nodes: len(l.m.Nodes), Links: len(l.m.Links), Seed: opt.Seed, Growth: []Growth{}, Failed: []Cell{}, Misses: []string{}}
	keep := l.unkilled()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var x *load
	if opt.Load > 0 {
		if x, err = l.startLoad(watching, keep[0], keep[1], opt.Load); err != nil {
			return nil, err
		}
	}
	book, done := newLedger(l.m.Nodes), make(chan struct{})
	go func() { defer close(done); book.watch(watching, l, max(time.Second, opt.For/sampled)) }()
	began := time.Now()
	s := &soak{SoakOptions: SoakOptions{Lab: opt.Lab, Logs: opt.Logs, Spare: func(n mesh.NodeID) bool { return slices.Contains(keep, n) }}, lab: l, prober: p}
	err = s.draw(ctx, opt, began, r)
	r.Took = api.Millis(time.Since(began))
	stop()
	<-done
	if x != nil {
		load := x.report()
		r.Load = &load
	}
	if err != nil {
		return nil, err
	}
	r.Growth = book.judge()
	r.judge()
	return r, nil
}

// unkilled are the nodes that are spared: the two farthest from each other, between which the load goes, and the next ones.
func (l *Lab) unkilled() []mesh.NodeID {
	keep := []mesh.NodeID{l.m.Nodes[0], l.m.Nodes[len(l.m.Nodes)-1]}
	if a, b, ok := l.m.farthest(anyPair); ok {
		keep = []mesh.NodeID{a, b}
	}
	for _, n := range l.m.Nodes {
		if len(keep) < spared && !slices.Contains(keep, n) {
			keep = append(keep, n)
		}
	}
	return keep
}

// draw strikes until the time is over.
func (s *soak) draw(ctx context.Context, opt EndureOptions, began time.Time, r *Endurance) error {
	random := rand.New(rand.NewPCG(opt.Seed, 0)) // #nosec G404 -- drawn by the seed, so that a run can be repeated
	var deck []Kind
	for s.Seed = opt.Seed; time.Since(began) < opt.For; s.Seed++ {
		if len(deck) == 0 {
			deck = slices.Clone(opt.Kinds)
			random.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		k := deck[0]
		deck = deck[1:]
		s.Hold = holdFor(s.lab.opt.Hello)
		mark := s.lab.logSizes()
		c, err := s.kind(ctx, k)
		s.prober.Forget(s.prober.all()...)
		if err != nil {
			return err
		}
		if c.Verdict == Failed {
			if err := s.keepLogs(c, mark); err != nil {
				return err
			}
		}
		r.add(c)
		if opt.Tell != nil {
			opt.Tell(c)
		}
		if err := sleep(ctx, leastPause+time.Duration(random.Int64N(int64(mostPause-leastPause)))); err != nil {
			return err
		}
	}
	return nil
}

func (r *Endurance) add(c Cell) {
	if c.Verdict == NotHere {
		return
	}
	i := slices.IndexFunc(r.Faults, func(k KindCount) bool { return k.Kind == c.Kind })
	if i < 0 {
		i = len(r.Faults)
		r.Faults = append(r.Faults, KindCount{Kind: c.Kind})
	}
	for _, k := range []*KindCount{&r.Faults[i], &r.All} {
		k.Injected++
		if c.Verdict == NoWay {
			continue
		}
		k.Could++
		k.outages = append(k.outages, c.Outage.Duration())
		if c.Verdict == Healed {
			k.Healed++
		}
	}
	if c.Verdict == Failed {
		r.Failed = append(r.Failed, c)
	}
	if c.available != nil {
		r.Availability.add(c.available)
	}
	r.Stalled = max(r.Stalled, c.Stalled)
}

// judge works out percentiles and says what is not as it must be.
func (r *Endurance) judge() {
	r.All.Kind = "all"
	r.Availability.share()
	slices.SortFunc(r.Faults, func(a, b KindCount) int {
		return slices.Index(fault.Kinds(), Kind(a.Kind)) - slices.Index(fault.Kinds(), Kind(b.Kind))
	})
	for i := range r.Faults {
		r.Faults[i].judge()
	}
	r.All.judge()
	for _, c := range r.Failed {
		r.Misses = append(r.Misses, fmt.Sprintf("%s at %s was not left: %s", c.Kind, c.Target, c.Note))
	}
	for _, g := range r.Growth {
		if len(g.Grown) > 0 {
			r.Misses = append(r.Misses, fmt.Sprintf("%s grew: %s", g.Node, strings.Join(g.Grown, ", ")))
		}
		if g.Most.RSS > mostRSS {
			r.Misses = append(r.Misses, fmt.Sprintf("%s held %d MiB of memory, %d at most are allowed", g.Node, g.Most.RSS>>20, mostRSS>>20))
		}
	}
	if len(r.Growth) == 0 {
		r.Misses = append(r.Misses, "no daemon ran long enough to tell growth")
	}
	if r.All.Injected == 0 {
		r.Misses = append(r.Misses, "no fault was injected")
	}
}

func (k *KindCount) judge() {
	k.P50, k.P95 = api.Millis(percentile(k.outages, 50)), api.Millis(percentile(k.outages, 95))
	k.P99, k.Max = api.Millis(percentile(k.outages, 99)), api.Millis(percentile(k.outages, 100))
}

// Text writes the report for people.
func (r *Endurance) Text(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "fault\t| injected\t| healed\t| outage p50\t| p95\t| p99\t| max")
	for _, k := range append(slices.Clone(r.Faults), r.All) {
		fmt.Fprintf(t, "%s\t| %d\t| %d of %d\t| %s\t| %s\t| %s\t| %s\n", k.Kind, k.Injected, k.Healed, k.Could, ms(k.P50), ms(k.P95), ms(k.P99), ms(k.Max))
	}
	fmt.Fprintf(t, "\navailability\t%.5f (%.5f while a way existed) over %s\n", r.Availability.Raw, r.Availability.WithPath, r.Took.Duration().Round(time.Second))
	if x := r.Load; x != nil {
		fmt.Fprintf(t, "load\t%.1f of %.1f Mbit/s from %s to %s, %d connections broke, longest stall %d ms\n", x.Goodput/1e6, x.Wanted/1e6, x.From, x.To, x.Broken, x.Stall)
	}
	for _, g := range r.Growth {
		fmt.Fprintf(t, "%s\tmemory %.1f → %.1f MiB (most %.1f), goroutines %d → %d, descriptors %d → %d\n", g.Node, mib(g.Early.RSS), mib(g.Late.RSS), mib(g.Most.RSS),
			g.Early.Goroutines, g.Late.Goroutines, g.Early.Descriptors, g.Late.Descriptors)
	}
	for _, m := range r.Misses {
		fmt.Fprintf(t, "MISSED\t%s\n", m)
	}
	return t.Flush()
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
