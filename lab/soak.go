package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

// Verdict is what came of one cell of a soak.
type Verdict string

// The verdicts. Only Failed makes a soak fail.
const (
	Healed    Verdict = "healed"          // traffic was back while the cause held, between nodes that a way was left to join
	Failed    Verdict = "not healed"      // it was not, although a way was left; or the step itself did not work
	NoWay     Verdict = "no way left"     // the fault parted the nodes; afterwards everything came back
	Exception Verdict = "known exception" // not healed, for a reason that Exceptions gives
	NotHere   Verdict = "not possible"    // the kind needs what the map has not, such as a relay between two nodes
)

// ReachCell is the name of the cell that checks all pairs before anything is broken.
const ReachCell = "all pairs"

// Exceptions are kinds that the mesh is known not to heal, with the reason. There are none.
var Exceptions = map[Kind]string{}

// Cell is one fault kind on one map.
type Cell struct {
	Map      string     `json:"map"`
	Engine   string     `json:"engine"` // lab or sim
	Kind     string     `json:"kind"`   // of the fault, or ReachCell
	Seed     uint64     `json:"seed"`
	Nodes    int        `json:"nodes"`
	Links    int        `json:"links"`
	Verdict  Verdict    `json:"verdict"`
	Target   string     `json:"target,omitempty"`
	Pairs    []string   `json:"pairs,omitempty"`
	Outage   api.Millis `json:"outage_ms"`
	Lost     int        `json:"lost"`
	Sent     int        `json:"sent"`
	Rejoined api.Millis `json:"rejoined_ms"` // from the end of the fault until all agreed again
	Stalled  api.Millis `json:"stalled_ms"`  // the longest time that the prober itself waited for a processor
	Tries    int        `json:"tries"`       // a cell that fails is done once more
	Note     string     `json:"note,omitempty"`
	Took     api.Millis `json:"took_ms"`

	available *Availability
}

// SoakOptions say what one map has to bear.
type SoakOptions struct {
	Lab   Options
	Kinds []Kind
	Seed  uint64
	Hold  time.Duration          // how long each fault holds; 0 = 6 s, longer where hellos are slower
	Done  func(kind Kind) bool   // kinds that need not be done again; nil = none are done
	Tell  func(Cell)             // called as soon as a cell is known
	Spare func(mesh.NodeID) bool // nodes that are not killed; nil = none are spared
	Logs  string                 // directory for what the daemons logged during a cell that failed; "" = it is not kept
}

// Times of a soak.
const (
	soakHold   = 6 * time.Second
	soakHellos = 30                     // that fit into a fault at least
	soakLead   = 500 * time.Millisecond // of probes before the fault
	soakTrail  = time.Second            // and after it
	soakThin   = 12 * time.Second       // that a thin link holds at least: links confirm their size every 5 s
	soakSettle = 50 * time.Millisecond  // a node takes about so much of the time until all agree again
)

// Soak brings one map up, checks all pairs, and injects every kind at a place that is in use, one after the other. An error
// says that the lab itself did not work; what the mesh did is in the cells.
func Soak(ctx context.Context, opt SoakOptions) error {
	opt.Lab.Faults = everywhere(opt.Kinds)
	began := time.Now()
	l, err := Up(ctx, opt.Lab)
	if err != nil {
		return err
	}
	s := &soak{SoakOptions: opt, lab: l}
	if s.Hold == 0 {
		s.Hold = holdFor(l.opt.Hello)
	}
	err = s.run(ctx, began)
	if err != nil {
		err = l.explain(err)
	}
	return errors.Join(err, l.Close())
}

// holdFor is how long a fault holds where hellos come so often.
func holdFor(hello time.Duration) time.Duration { return max(soakHold, soakHellos*hello) }

// SoakTime is about how long one cell takes on a map of so many nodes, if each fault holds that long (0 = as long as Soak
// would have it).
func SoakTime(nodes int, hold time.Duration) time.Duration {
	if hold == 0 {
		hold = holdFor(crowdedHello(nodes, runtime.NumCPU()))
	}
	return soakLead + hold + soakTrail + time.Duration(nodes)*soakSettle
}

type soak struct {
	SoakOptions
	lab    *Lab
	prober *Prober
}

func (s *soak) run(ctx context.Context, began time.Time) (err error) {
	if s.prober, err = s.lab.Prober(ctx); err != nil {
		return err
	}
	defer func() { s.prober.Close() }()
	c := s.cell(ReachCell)
	r := &Report{Pairs: len(s.lab.m.Nodes) * (len(s.lab.m.Nodes) - 1)}
	if err := s.lab.reach(ctx, s.prober, r); err != nil {
		return err
	}
	c.Note = fmt.Sprintf("%d of %d pairs, converged in %d ms, first packet p50 %s, p99 %s", r.PairsReachable, r.Pairs,
		s.lab.Converged.Milliseconds(), ms(r.FirstPacket.P50), ms(r.FirstPacket.P99))
	if c.Verdict = Healed; r.PairsReachable < r.Pairs {
		c.Verdict = Failed
		c.Note += fmt.Sprintf("; without %v", r.Unreachable[:min(5, len(r.Unreachable))])
	}
	c.Took = api.Millis(time.Since(began))
	s.Tell(c)
	for _, k := range s.Kinds {
		if s.Done != nil && s.Done(k) {
			continue
		}
		began := time.Now()
		c, err := s.tries(ctx, k)
		if err != nil {
			return err
		}
		c.Took = api.Millis(time.Since(began))
		s.Tell(c)
	}
	return nil
}

// soakTries is how often a cell is done that fails: on a machine that had other things to do the first failure says
// little, a second one at the same place does.
const soakTries = 2

// tries does one cell until it does not fail, or too often. The note keeps what went wrong before.
func (s *soak) tries(ctx context.Context, k Kind) (c Cell, err error) {
	var before []string
	for try := 1; try <= soakTries; try++ {
		mark := s.lab.logSizes()
		if c, err = s.kind(ctx, k); err != nil {
			return c, err
		}
		c.Tries = try
		if c.Verdict != Failed {
			break
		}
		if err := s.keepLogs(c, mark); err != nil {
			return c, err
		}
		if try < soakTries {
			before = append(before, fmt.Sprintf("try %d: %s", try, c.Note))
		}
	}
	c.Note = strings.Join(append(before, c.Note), "; ")
	return c, nil
}

// keepLogs writes down what the daemons logged since mark.
func (s *soak) keepLogs(c Cell, mark map[mesh.NodeID]int64) error {
	if s.Logs == "" {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s: %s %v: %s\n", c.Kind, c.Map, c.Target, c.Pairs, c.Note)
	for _, id := range s.lab.m.Nodes {
		log, err := os.ReadFile(s.lab.nodes[id].logPath)
		if err == nil && int64(len(log)) > mark[id] {
			fmt.Fprintf(&b, "--- %s\n%s", id, log[mark[id]:])
		}
	}
	name := strings.NewReplacer("/", "-", "#", "-").Replace(c.Map) + "-" + c.Kind + ".log"
	return os.WriteFile(filepath.Join(s.Logs, name), []byte(b.String()), 0o600)
}

// logSizes is how much each daemon has logged.
func (l *Lab) logSizes() map[mesh.NodeID]int64 {
	sizes := map[mesh.NodeID]int64{}
	for id, n := range l.nodes {
		if info, err := os.Stat(n.logPath); err == nil {
			sizes[id] = info.Size()
		}
	}
	return sizes
}

func (s *soak) cell(kind string) Cell {
	return Cell{Map: s.lab.m.Name, Engine: "lab", Kind: kind, Seed: s.Seed, Nodes: len(s.lab.m.Nodes), Links: len(s.lab.m.Links)}
}

// kind is one cell. Its error means that the lab cannot go on.
func (s *soak) kind(ctx context.Context, k Kind) (Cell, error) {
	c := s.cell(string(k))
	q, ok := s.place(ctx, k)
	if !ok {
		c.Verdict, c.Note = NotHere, "no path in use has a relay"
		return c, ctx.Err()
	}
	hold := s.Hold
	if k == fault.MTU {
		hold = max(hold, soakThin)
	}
	s.lab.opt.Faults = []Fault{{Kind: k, Param: k.Builtin(), Target: Target{A: q.a, B: q.b, Path: true}, At: soakLead, For: hold}}
	s.lab.opt.Duration = soakLead + hold + soakTrail
	var r Report
	err := s.lab.strike(ctx, s.prober, &r)
	c.Stalled = api.Millis(s.prober.stalled())
	if err != nil {
		if ctx.Err() != nil {
			return c, err
		}
		c.Verdict, c.Note = Failed, firstLine(err)
		return c, errors.Join(s.lab.mendAll(), s.lab.lost(s.lab.m.Nodes))
	}
	c.available = r.Availability
	f := r.Faults[0]
	c.Target, c.Pairs, c.Outage, c.Lost, c.Sent = f.Target, f.Pairs, f.Outage, f.Lost, f.Sent
	c.judge(f)
	ended := time.Now()
	if err := s.lab.settle(ctx, s.lab.m.Nodes); err != nil {
		if ctx.Err() != nil {
			return c, err
		}
		c.Verdict, c.Note = Failed, "after the end of the fault: "+firstLine(err)
	}
	c.Rejoined = api.Millis(time.Since(ended))
	return c, nil
}

func (c *Cell) judge(f FaultReport) {
	reason, known := Exceptions[f.Kind]
	switch {
	case f.Recovered:
		c.Verdict = Healed
	case !f.PathExisted:
		c.Verdict = NoWay
	case known:
		c.Verdict, c.Note = Exception, reason
	default:
		c.Verdict = Failed
		c.Note = fmt.Sprintf("%.0f %% arrive at the end, %.0f %% before; the best way left delivers %.0f %%", 100*f.End, 100*f.Before, 100*f.Best)
	}
}

// place chooses two nodes whose path in use is to be struck: drawn by the seed from those that no single link or relay
// parts and that talk by way of a relay, else the farthest of all.
func (s *soak) place(ctx context.Context, k Kind) (pair, bool) {
	h := fnv.New64a()
	h.Write([]byte(s.lab.m.Name + "/" + string(k)))
	r := rand.New(rand.NewPCG(s.Seed, h.Sum64())) // #nosec G404 -- drawn by the seed, so that a run can be repeated
	ps := s.lab.m.pairs()
	r.Shuffle(len(ps), func(i, j int) { ps[i], ps[j] = ps[j], ps[i] })
	far := map[mesh.NodeID]map[mesh.NodeID]distance{}
	hops := func(q pair) int {
		if far[q.a] == nil {
			far[q.a] = s.lab.m.distances(q.a, damage{})
		}
		return far[q.a][q.b].hops
	}
	tries := 256 // survives is slow on large maps
	for _, q := range ps {
		if tries == 0 || hops(q) < 2 {
			continue
		}
		if tries--; s.lab.m.survives(q.a, q.b) && s.suits(ctx, q, k) {
			return q, true
		}
	}
	slices.SortStableFunc(ps, func(a, b pair) int { return cmp.Compare(hops(b), hops(a)) })
	if len(ps) > 0 && (!k.OnNode() || s.suits(ctx, ps[0], k)) {
		return ps[0], true
	}
	return pair{}, false
}

// suits reports whether the path in use from a to b has a relay, one that may be killed if the kind kills.
func (s *soak) suits(ctx context.Context, q pair, k Kind) bool {
	path, err := s.lab.pathInUse(ctx, q.a, q.b)
	if err != nil {
		return false
	}
	t, ok := middleRelay(path)
	return ok && (s.Spare == nil || k != fault.Kill && k != fault.Restart || !s.Spare(t.A))
}
