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
	"strings"
	"time"

	"x0tta6bl4/lab"
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
	Progress io.Writer `json:"-"` // one line per step; nil = silence

	guest bool // this process runs in a kernel that was started for the peers: x0t was measured outside
}

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
	if !opt.guest {
		err = f.ours(ctx)
	}
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

// ours measures x0t, in labs that stay up for some trials.
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
	o := &oursUp{failing: f, options: opt}
	defer func() { err = errors.Join(err, o.close()) }()
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
