package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

// Where failover is measured: two rows of six nodes, and links that only cost what the kernel costs. From the corner to the
// far end of its row are five links; the fourth of them is three hops away, and every link has a way round it nearby.
const (
	failoverMap   = "grid:2x6"
	farIndex      = 3 // of the link three hops away, on the path in use
	DefaultFaults = "blackhole,oneway,cut,kill,greydrop 1.0"
	DefaultTrials = 30
	fastHello     = 10 * time.Millisecond
)

// FailoverOptions say what Failover measures. The zero value of every field has a meaning.
type FailoverOptions struct {
	Binary   string    // the x0t to measure; "" = this program
	Faults   string    // kinds with their parameters, separated by commas; "" = DefaultFaults
	Trials   int       // of each kind and place; 0 = DefaultTrials
	Far      int       // the same of places three hops away, where they are to be fewer; 0 = Trials
	Fast     bool      // hellos every 10 ms instead of 50 ms
	Peers    []string  // of FailoverPeers; none = all, NoPeers = nobody
	Seed     uint64    // of what is drawn: the nodes that talk, and when a fault strikes
	Keep     string    // directory for the daemons' logs; "" = they are removed
	Progress io.Writer // one line per step; nil = silence
}

// FailoverReport is what Failover found.
type FailoverReport struct {
	Faults map[string]*Places       `json:"faults"` // by kind; of x0t
	Peers  map[string]*FailoverPeer `json:"peers"`

	Topology    string    `json:"topology"`
	Profile     string    `json:"profile"`
	Hello       float64   `json:"hello_ms"`
	Trials      int       `json:"trials"`
	Version     string    `json:"version"`
	Unprotected string    `json:"protected_not_measured,omitempty"` // why protected_lost is null
	Machine     Machine   `json:"machine"`
	Noise       Noise     `json:"noise"`
	Began       time.Time `json:"began"`
	Took        float64   `json:"took_s"`
	Notes       []string  `json:"notes"`

	kinds, order []string // of faults and peers, as they were asked for
}

// FailoverPeer is what a peer did under the same faults.
type FailoverPeer struct {
	Version    string             `json:"version,omitempty"`
	Command    string             `json:"command,omitempty"`
	Unfair     string             `json:"unfair,omitempty"`
	Unmeasured string             `json:"not_measured,omitempty"` // why there is no figure, or not for all kinds
	Faults     map[string]*Places `json:"faults"`
}

// Places are those of a fault: the first link (or relay) of the path in use, and one three hops away.
type Places struct {
	Own    *Cell `json:"own"`
	Middle *Cell `json:"middle"`
}

// Cell is one kind of fault at one place.
type Cell struct {
	Trials    int       `json:"trials"`
	Outage    Quantiles `json:"outage_ms"` // the worse of both directions
	There     Quantiles `json:"outage_there_ms"`
	Back      Quantiles `json:"outage_back_ms"`
	Lost      LostRange `json:"lost"`           // probes of both directions, sent every ms
	Protected *int      `json:"protected_lost"` // in all trials, less those that the reference lost in the same trial; null = not measured
	Raw       *int      `json:"protected_lost_raw"`
	Reference *int      `json:"reference_lost"` // by a flow on the surviving path that no fault struck
	Control   int       `json:"control_lost"`   // in all trials, by the same traffic without protection
	Unhealed  int       `json:"unhealed"`       // trials in which traffic was not back in time; their outage is how long was waited
	Scheduler Lateness  `json:"scheduler_ms"`   // how late a timer of 1 ms fired meanwhile
	Samples   []Trial   `json:"samples"`
}

// Quantiles are nearest-rank ones.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Lateness is that of timers, in milliseconds.
type Lateness struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// LostRange tells how many probes one fault cost.
type LostRange struct {
	P50 int `json:"p50"`
	Max int `json:"max"`
}

// Trial is one fault.
type Trial struct {
	Target    string  `json:"target"`
	Pair      string  `json:"pair"`
	There     float64 `json:"there_ms"`
	Back      float64 `json:"back_ms"`
	Lost      int     `json:"lost"`
	Protected *int    `json:"protected_lost,omitempty"`
	Reference *int    `json:"reference_lost,omitempty"` // absent where no other pair of nodes lies on the surviving path
	Unhealed  bool    `json:"unhealed,omitempty"`
}

func quantiles(v []float64) Quantiles {
	if len(v) == 0 {
		return Quantiles{}
	}
	return Quantiles{percentile(v, 50), percentile(v, 95), percentile(v, 99), percentile(v, 100)}
}

// sumUp makes the figures of a cell from its trials.
func (c *Cell) sumUp(n Noise) {
	var outage, there, back, lost []float64
	protected, raw, reference, measured := 0, 0, 0, false
	for _, t := range c.Samples {
		outage, there, back = append(outage, max(t.There, t.Back)), append(there, t.There), append(back, t.Back)
		lost = append(lost, float64(t.Lost))
		c.Control += t.Lost
		if t.Unhealed {
			c.Unhealed++
		}
		if t.Protected == nil {
			continue
		}
		measured = true
		raw += *t.Protected
		if t.Reference != nil {
			reference += *t.Reference
		}
		net, _ := t.guarded()
		protected += net
	}
	c.Trials, c.Outage, c.There, c.Back = len(c.Samples), quantiles(outage), quantiles(there), quantiles(back)
	if len(lost) > 0 {
		c.Lost = LostRange{int(percentile(lost, 50)), int(percentile(lost, 100))}
	}
	if measured {
		c.Protected, c.Raw, c.Reference = &protected, &raw, &reference
	}
	c.Scheduler = Lateness{n.P50, n.P99}
}

// strike is a kind of fault with its parameter.
type strike struct {
	name  string // as it was asked for
	kind  fault.Kind
	param fault.Param
}

// parseStrikes reads a list of kinds: "blackhole,greydrop 1.0".
func parseStrikes(list string) (out []strike, err error) {
	if list == "" {
		list = DefaultFaults
	}
	a, b := mesh.MustNodeID("a"), mesh.MustNodeID("b")
	for item := range strings.SplitSeq(list, ",") {
		words := strings.Fields(item)
		if len(words) == 0 {
			return nil, fmt.Errorf("%w: an empty place in the list %q", fault.ErrSyntax, list)
		}
		k := fault.Kind(words[0])
		if !slices.Contains(strikeKinds, k) {
			return nil, fmt.Errorf("%w: %q; failover is measured for %v", fault.ErrSyntax, words[0], strikeKinds)
		}
		target := "link:a-b"
		if k.OnNode() {
			target = "node:a"
		}
		s := strike{name: strings.Join(words, " "), kind: k, param: k.Builtin()}
		if len(words) > 1 {
			f, err := fault.ParseNow(strings.Join(append([]string{words[0], target}, words[1:]...), " "), []mesh.NodeID{a, b})
			if err != nil {
				return nil, err
			}
			s.param = f.Param
		}
		if slices.ContainsFunc(out, func(o strike) bool { return o.name == s.name }) {
			return nil, fmt.Errorf("%w: %s stands twice in the list", fault.ErrSyntax, s.name)
		}
		out = append(out, s)
	}
	return out, nil
}

// strikeKinds are those that a flow can be cut off by, or nearly.
var strikeKinds = []fault.Kind{fault.Blackhole, fault.Oneway, fault.Cut, fault.Kill, fault.Freeze, fault.Greydrop, fault.Loss}

func (o FailoverOptions) filled() (FailoverOptions, error) {
	o.Trials = orElse(o.Trials, DefaultTrials)
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if min(o.Trials, o.trials(farIndex)) < 1 || o.Trials > 100_000 {
		return o, fmt.Errorf("%d trials: use 1 to 100000", o.Trials)
	}
	if _, err := parseStrikes(o.Faults); err != nil {
		return o, err
	}
	_, err := choosePeers(o.Peers, FailoverPeers())
	return o, err
}

// trials of a kind at a place.
func (o FailoverOptions) trials(place int) int {
	if place == 0 {
		return o.Trials
	}
	return orElse(o.Far, o.Trials)
}

// Check reports what makes no sense in the options.
func (o FailoverOptions) Check() error {
	_, err := o.filled()
	return err
}

// failing is a Failover in the making.
type failing struct {
	opt     FailoverOptions
	report  *FailoverReport
	strikes []strike
	m       *topology.Map
	random  *rand.Rand
}

// Failover breaks what lies on the path in use, again and again, and tells how long applications noticed: x0t first, then its
// peers on links of the same shape.
func Failover(ctx context.Context, opt FailoverOptions) (*FailoverReport, error) {
	opt, err := opt.filled()
	if err != nil {
		return nil, err
	}
	f := &failing{opt: opt, random: rand.New(rand.NewPCG(opt.Seed, 0))} // #nosec G404 -- drawn by the seed
	f.report = &FailoverReport{Faults: map[string]*Places{}, Peers: map[string]*FailoverPeer{}, Topology: failoverMap, Profile: "default",
		Trials: opt.Trials, Machine: thisMachine(), Began: time.Now(), Notes: []string{}}
	if opt.Fast {
		f.report.Profile = "fast"
	}
	if f.strikes, err = parseStrikes(opt.Faults); err != nil {
		return nil, err
	}
	if f.m, err = topology.Builtin(failoverMap); err != nil {
		return nil, err
	}
	for _, s := range f.strikes {
		f.report.kinds = append(f.report.kinds, s.name)
	}
	noise := listen()
	err = f.ours(ctx)
	if err == nil {
		err = f.theirs(ctx)
	}
	f.report.Noise = noise.stop()
	f.report.Took = time.Since(f.report.Began).Seconds()
	return f.report, err
}

func (f *failing) say(format string, args ...any) {
	fmt.Fprintf(f.opt.Progress, "bench: "+format+"\n", args...)
}

// labOptions are those of a lab of the shape that all contenders are measured on.
func (f *failing) labOptions() lab.Options {
	opt := lab.Options{Map: lab.FromTopology(f.m), Delay: lab.NoDelay, Binary: f.opt.Binary, Progress: f.opt.Progress}
	for i := range opt.Map.Links {
		opt.Map.Links[i].Delay = 0 // as Options say
	}
	return opt
}

// protectPort is that of the protected probes; protectConfig makes their class.
const (
	protectPort   = 7423
	controlPort   = 7422
	protectConfig = "routing:\n  protect: [udp/7423]\n"
)

// canProtect asks the program whether it knows the protected class.
func (f *failing) canProtect(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "x0t-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "x0t.yaml")
	if err := os.WriteFile(file, []byte(protectConfig), 0o600); err != nil {
		return err
	}
	binary := f.opt.Binary
	if binary == "" {
		if binary, err = os.Executable(); err != nil {
			return err
		}
	}
	out, err := exec.CommandContext(ctx, binary, "config", "check", file).CombinedOutput() // #nosec G204 -- the x0t to measure
	if err != nil {
		return fmt.Errorf("this x0t refuses routing.protect: %s", strings.ReplaceAll(strings.TrimSpace(string(out)), file, "x0t.yaml"))
	}
	return nil
}

// ours measures x0t, in one lab that stays up.
func (f *failing) ours(ctx context.Context) (err error) {
	opt := f.labOptions()
	opt.Keep = f.opt.Keep
	f.report.Hello = 50
	if f.opt.Fast {
		opt.Hello, f.report.Hello = fastHello, millis(fastHello)
	}
	if err := f.canProtect(ctx); err != nil {
		f.report.Unprotected = err.Error()
		f.say("protected traffic is not measured: %v", err)
	} else {
		opt.Config = protectConfig
	}
	l, err := lab.Up(ctx, opt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	o := &oursUp{failing: f, lab: l, struck: map[string]time.Time{}}
	if err := o.open(ctx); err != nil {
		return err
	}
	defer o.close()
	for _, s := range f.strikes {
		f.report.Faults[s.name] = &Places{}
		for _, place := range places {
			cell, err := o.cell(ctx, s, place)
			*f.report.Faults[s.name].at(place) = cell
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// places of a fault on the path in use.
var places = []int{0, farIndex}

func (p *Places) at(place int) **Cell {
	if place == 0 {
		return &p.Own
	}
	return &p.Middle
}

func placeName(place int) string { return map[bool]string{true: "own", false: "middle"}[place == 0] }
