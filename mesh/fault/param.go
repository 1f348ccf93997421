package fault

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"x0tta6bl4/mesh"
)

// Param is what a kind takes besides its target; each kind uses the fields that it names.
type Param struct {
	P    float64            // probability, more than 0 and at most 1: greydrop, loss, reorder, duplicate
	D    time.Duration      // delay and jitter: more than 0; clock: by how much it is ahead, negative if behind
	Rate mesh.BitsPerSecond // rate
	MTU  int                // mtu: the largest IP packet that passes, in bytes
	Up   time.Duration      // flap: how long the link works, …
	Down time.Duration      // … and how long it does not
}

// Limits of parameters.
const (
	maxDelay = 10 * time.Second
	minRate  = 1000 // bit/s
	maxClock = 1000 * 24 * time.Hour
	minFlap  = 10 * time.Millisecond
	minMTU   = 68    // RFC 791: every IPv4 link carries that
	maxMTU   = 65535 // of an IPv4 packet
)

// rule is what the language knows about a kind.
type rule struct {
	node    bool                        // it strikes a node
	usage   string                      // of the parameter
	parse   func(string) (Param, error) // nil = there is no parameter
	format  func(Param) string
	builtin Param // of builtin:KIND: what a mesh must notice
}

// kinds is the order of the documentation.
var kinds = []Kind{Cut, Blackhole, Oneway, Greydrop, Loss, Delay, Jitter, Rate, Reorder, Duplicate, MTU, Flap, Kill,
	Freeze, Restart, Partition, Clock}

// later are kinds of the language that nothing injects.
var later = []Kind{"cpu", "memory", "disk-full", "disk-error"}

var rules = map[Kind]rule{
	Cut: {}, Blackhole: {}, Oneway: {}, Partition: {},
	Kill: {node: true}, Freeze: {node: true}, Restart: {node: true},
	Greydrop:  probability(rule{node: true, builtin: Param{P: 0.5}}),
	Loss:      probability(rule{builtin: Param{P: 0.3}}),
	Reorder:   probability(rule{builtin: Param{P: 0.25}}),
	Duplicate: probability(rule{builtin: Param{P: 0.25}}),
	Delay:     duration(rule{builtin: Param{D: 200 * time.Millisecond}}),
	Jitter:    duration(rule{builtin: Param{D: 50 * time.Millisecond}}),
	Rate: {usage: "a rate in bit/s, such as 64k, 10M or 1G", parse: parseRate,
		format: func(p Param) string { return formatRate(p.Rate) }, builtin: Param{Rate: 1e6}},
	MTU: {usage: "a size in bytes from 68 to 65535, such as 1300", parse: parseMTU,
		format: func(p Param) string { return strconv.Itoa(p.MTU) }, builtin: Param{MTU: 1300}},
	Flap: {usage: "times UP/DOWN of at least 10ms, such as 2s/500ms", parse: parseFlap,
		format:  func(p Param) string { return p.Up.String() + "/" + p.Down.String() },
		builtin: Param{Up: time.Second, Down: 500 * time.Millisecond}},
	Clock: {node: true, usage: "how far it is ahead, such as 1h, or -90s if behind", parse: parseClock,
		format: func(p Param) string { return p.D.String() }, builtin: Param{D: time.Hour}},
}

// Builtin is the parameter that builtin:KIND gives a kind.
func (k Kind) Builtin() Param { return rules[k].builtin }

func probability(r rule) rule {
	r.usage = "a probability more than 0 and at most 1, such as 0.1 or 10%"
	r.parse = func(s string) (Param, error) {
		if digits, percent := strings.CutSuffix(s, "%"); percent {
			s = digits + "e-2" // so that 33.3% is 0.333 to the last bit
		}
		p, err := strconv.ParseFloat(s, 64)
		if err != nil || !(p > 0 && p <= 1) { // written so that it refuses NaN
			return Param{}, errParam
		}
		return Param{P: p}, nil
	}
	r.format = func(p Param) string { return strconv.FormatFloat(p.P, 'g', -1, 64) }
	return r
}

func duration(r rule) rule {
	r.usage = "a time of up to 10s, such as 200ms"
	r.parse = func(s string) (Param, error) {
		d, err := time.ParseDuration(s)
		if err != nil || d <= 0 || d > maxDelay {
			return Param{}, errParam
		}
		return Param{D: d}, nil
	}
	r.format = func(p Param) string { return p.D.String() }
	return r
}

// errParam never leaves the package: the rule's usage says more.
var errParam = fmt.Errorf("%w: parameter", ErrSyntax)

// ParseRate reads a rate in bit/s, such as 64k, 10M or 1G.
func ParseRate(s string) (mesh.BitsPerSecond, error) {
	p, err := parseRate(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not %s", s, rules[Rate].usage)
	}
	return p.Rate, nil
}

func parseRate(s string) (Param, error) {
	digits := strings.TrimRight(s, "kMG")
	scale, ok := map[string]uint64{"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[s[len(digits):]]
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || n*scale < minRate {
		return Param{}, errParam
	}
	return Param{Rate: mesh.BitsPerSecond(n * scale)}, nil
}

func formatRate(r mesh.BitsPerSecond) string {
	for _, u := range []struct {
		scale mesh.BitsPerSecond
		name  string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if r >= u.scale && r%u.scale == 0 {
			return strconv.FormatUint(uint64(r/u.scale), 10) + u.name
		}
	}
	return strconv.FormatUint(uint64(r), 10)
}

func parseMTU(s string) (Param, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < minMTU || n > maxMTU {
		return Param{}, errParam
	}
	return Param{MTU: n}, nil
}

func parseFlap(s string) (Param, error) {
	up, down, ok := strings.Cut(s, "/")
	u, errUp := time.ParseDuration(up)
	d, errDown := time.ParseDuration(down)
	if !ok || errUp != nil || errDown != nil || u < minFlap || d < minFlap {
		return Param{}, errParam
	}
	return Param{Up: u, Down: d}, nil
}

func parseClock(s string) (Param, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d == 0 || d < -maxClock || d > maxClock {
		return Param{}, errParam
	}
	return Param{D: d}, nil
}
