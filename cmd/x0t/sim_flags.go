package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
	"x0tta6bl4/sim"
)

// simFlags is the command line of x0t sim.
type simFlags struct {
	nodes, seed, flows uint64
	file, faults       string
	churn              string
	duration, packet   time.Duration
	stepwise           bool
	between, liars     []string
	slander            float64
	protect, promises  bool
}

// register adds the flags to the command.
func (fl *simFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Uint64Var(&fl.nodes, "nodes", simNodes, "how many nodes, if there is no topology")
	f.Uint64Var(&fl.seed, "seed", 1, "seed of everything that is random")
	f.StringVar(&fl.file, "topology", "", "file with the topology")
	f.StringVar(&fl.faults, "faults", "", "what to break, and when")
	f.DurationVar(&fl.duration, "duration", simDuration, "simulated time")
	f.StringVar(&fl.churn, "churn", "", "what changes at random all the time, such as links=1,nodes=0.1")
	f.DurationVar(&fl.packet, "packet", simPacket, "interval of the packets of a stream")
	f.BoolVar(&fl.stepwise, "stepwise", false, "without short cuts: slower, and the same to the bit")
	f.Uint64Var(&fl.flows, "flows", 0, "streams of packets between random nodes (default one for each node, at most 32)")
	f.StringSliceVar(&fl.between, "between", nil, "the streams, FROM:TO each, if they are not to be between random nodes")
	f.BoolVar(&fl.protect, "protect", false, "a twin for each stream whose packets are of the protected class")
	f.StringSliceVar(&fl.liars, "liars", nil, "nodes that announce their links as the best there are, and links that they do not have")
	f.Float64Var(&fl.slander, "slander", 0, "share of the packets that liars forward about which they invent an error")
	f.BoolVar(&fl.promises, "promises", false, "check what streams are promised, too")
}

// topology returns the name of the map: a file or a specification.
func (fl simFlags) topology(args []string, nodesGiven bool) (string, error) {
	ways := args
	if fl.file != "" {
		ways = append(ways, fl.file)
	}
	if nodesGiven {
		ways = append(ways, fmt.Sprintf("geometric:%d", fl.nodes))
	}
	switch len(ways) {
	case 0:
		return fmt.Sprintf("geometric:%d", fl.nodes), nil
	case 1:
		return ways[0], nil
	}
	return "", usagef("TOPOLOGY, --topology and --nodes each say what the mesh is: give one of them")
}

func (a *app) simConfig(name string, fl simFlags) (sim.Config, error) {
	cfg := sim.Config{Seed: fl.seed, Duration: fl.duration, Traffic: int(min(fl.flows, 10_000)), Packet: fl.packet, Stepwise: fl.stepwise} // #nosec G115 -- bounded
	if fl.duration <= 0 {
		return cfg, usagef("--duration %v: there is nothing to simulate", fl.duration)
	}
	if fl.packet <= 0 {
		return cfg, usagef("--packet %v: a stream needs some time between its packets", fl.packet)
	}
	var err error
	if fl.churn != "" {
		if cfg.Churn, err = sim.ParseChurn(fl.churn); err != nil {
			return cfg, usageError{fmt.Errorf("--churn: %w", err)}
		}
	}
	if err := fl.members(&cfg); err != nil {
		return cfg, usageError{err}
	}
	if cfg.Map, err = a.loadMap(name); err != nil {
		return cfg, err
	}
	if cfg.Faults, err = loadFaults(fl.faults, cfg.Map); err != nil {
		return cfg, usageError{err}
	}
	return cfg, nil
}

// members reads the flags that name nodes.
func (fl simFlags) members(cfg *sim.Config) error {
	cfg.Protect, cfg.Promises, cfg.Slander = fl.protect, fl.promises, fl.slander
	if !(fl.slander >= 0 && fl.slander <= 1) {
		return fmt.Errorf("--slander %v: a share from 0 to 1", fl.slander)
	}
	for _, s := range fl.between {
		p, err := sim.ParsePair(s)
		if err != nil {
			return fmt.Errorf("--between: %w", err)
		}
		cfg.Between = append(cfg.Between, p)
	}
	for _, s := range fl.liars {
		n, err := mesh.ParseNodeID(s)
		if err != nil {
			return fmt.Errorf("--liars: %w", err)
		}
		cfg.Liars = append(cfg.Liars, n)
	}
	return nil
}

// loadFaults reads what --faults says: a file, or the script itself with semicolons for line ends.
func loadFaults(arg string, m *topology.Map) ([]fault.Fault, error) {
	script := strings.ReplaceAll(arg, ";", "\n")
	if b, err := os.ReadFile(arg); arg != "" && err == nil { // #nosec G304 -- the user names the file
		script = string(b)
	}
	names := make([]mesh.NodeID, len(m.Nodes))
	for i, n := range m.Nodes {
		names[i] = n.ID
	}
	fs, err := fault.Parse(script, names)
	if err != nil {
		return nil, fmt.Errorf("--faults: %w", err)
	}
	return fs, nil
}

// replay returns the command line that does the same again.
func (fl simFlags) replay(name string) string {
	cmd := fmt.Sprintf("x0t sim %s --seed %d --duration %v", shellWord(name), fl.seed, fl.duration)
	if fl.flows > 0 {
		cmd += fmt.Sprintf(" --flows %d", fl.flows)
	}
	if fl.packet != 0 && fl.packet != simPacket {
		cmd += fmt.Sprintf(" --packet %v", fl.packet)
	}
	if fl.churn != "" {
		cmd += " --churn " + shellWord(fl.churn)
	}
	if fl.faults != "" {
		cmd += " --faults " + shellWord(fl.faults)
	}
	if len(fl.between) > 0 {
		cmd += " --between " + strings.Join(fl.between, ",")
	}
	if fl.protect {
		cmd += " --protect"
	}
	if len(fl.liars) > 0 {
		cmd += " --liars " + strings.Join(fl.liars, ",")
	}
	if fl.slander > 0 {
		cmd += fmt.Sprintf(" --slander %v", fl.slander)
	}
	if fl.promises {
		cmd += " --promises"
	}
	return cmd
}

// shellWord quotes s for a shell if it needs that.
func shellWord(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(shellSafe, r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

const shellSafe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@=+"
