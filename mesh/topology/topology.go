// Package topology holds maps of networks as values: nodes, links, and what each link is like. The lab builds them
// of network namespaces, the simulator of memory, and both ask them what is physically possible when something is broken.
//
// A map is built in (Builtin), or parsed from the bytes of a file (Parse): a network of the Internet Topology Zoo as
// tab-separated values, a Freifunk community as JSON, or the format of this package:
//
//	# a comment
//	name two-sites
//	node a 52.52 13.40         # optional: latitude and longitude, degrees
//	node b 48.14 11.58
//	link a b                   # delay: that of light in fibre if both ends have a place, else 5 ms
//	link b c delay=2ms quality=0.9 rate=10M
//
// Nodes that only links name need no line of their own.
package topology

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"x0tta6bl4/mesh"
)

// Map is a network. Invariant: the ends of every link are two different indices of Nodes, and the IDs of nodes differ.
type Map struct {
	Name    string
	Nodes   []Node
	Links   []Link
	Skipped int // links and nodes of the file that cannot be: loops, unknown ends, no delivery at all
}

// Node is one place of a map.
type Node struct {
	ID       mesh.NodeID
	Label    string // as the source of the map has it
	Lat, Lon float64
	Located  bool // Lat and Lon are known
}

// Link joins two nodes.
type Link struct {
	A, B    int                // indices of Nodes
	Delay   time.Duration      // one way
	Quality float64            // share of frames that arrive in the worse direction, above 0 and at most 1
	Rate    mesh.BitsPerSecond // 0 = not known, not limited
	Radio   bool
}

// DefaultDelay is the one-way delay of a link of which nothing better is known.
const DefaultDelay = 5 * time.Millisecond

// MaxNodes and MaxLinks bound what is parsed or generated.
const (
	MaxNodes = 100_000
	MaxLinks = 1_000_000
)

// Errors that every error of this package wraps one of.
var (
	ErrSpec   = errors.New("not a topology")
	ErrFormat = errors.New("topology file cannot be read")
	ErrSize   = errors.New("topology is too large")
)

// Specs lists what Builtin accepts, for help texts.
const Specs = "line:N, ring:N, diamond, demo, grid:RxC, geo:N:SEED"

// Builtin makes a map from a specification: line:N, ring:N (N ≥ 3), diamond (two ways of two hops), demo (two disjoint ways of
// three hops), grid:RxC, or geo:N:SEED (N random places in a square of 1,000 km, each joined to its four nearest; the
// seed may be left out). geometric:N is an older form: places within 200 km, three nearest, no seed. The same
// specification always makes the same map.
func Builtin(spec string) (*Map, error) {
	kind, arg, _ := strings.Cut(spec, ":")
	m := &Map{Name: spec}
	switch {
	case kind == "line" || kind == "ring" || kind == "geometric":
		least := map[string]int{"line": 2, "ring": 3, "geometric": 2}[kind]
		n, err := strconv.Atoi(arg)
		most := MaxNodes
		if kind == "geometric" {
			most = maxScatter
		}
		if err != nil || n < least || n > most {
			return nil, fmt.Errorf("%w: %q: write %s:N with N from %d to %d", ErrSpec, spec, kind, least, most)
		}
		m.generate(kind, n)
	case kind == "geo":
		n, seed, err := parseGeo(spec, arg)
		if err != nil {
			return nil, err
		}
		m.numbered(n)
		m.scatter(region, rand.NewPCG(seed, 0x67656f))
	case kind == "grid":
		r, c, _ := strings.Cut(arg, "x")
		rows, err1 := strconv.Atoi(r)
		cols, err2 := strconv.Atoi(c)
		if err1 != nil || err2 != nil || rows < 1 || cols < 1 || rows > MaxNodes || cols > MaxNodes || rows*cols < 2 || rows*cols > MaxNodes {
			return nil, fmt.Errorf("%w: %q: write grid:RxC with 2 to %d nodes, such as grid:3x4", ErrSpec, spec, MaxNodes)
		}
		m.grid(rows, cols)
	case spec == "diamond":
		m.numbered(4)
		m.join(0, 1, 1, 3, 0, 2, 2, 3)
	case spec == "demo":
		m.named("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
		m.join(0, 1, 1, 2, 2, 5, 0, 3, 3, 4, 4, 5)
	default:
		return nil, fmt.Errorf("%w: %q: use one of %s, or the name of a file", ErrSpec, spec, Specs)
	}
	return m, nil
}

func (m *Map) generate(kind string, n int) {
	m.numbered(n)
	if kind == "geometric" {
		m.scatter(county, rand.NewPCG(uint64(n), 0x78307467656f)) // #nosec G115 -- positive
		return
	}
	for i := range n - 1 {
		m.join(i, i+1)
	}
	if kind == "ring" {
		m.join(n-1, 0)
	}
}

// numbered adds the nodes n1 to nN.
func (m *Map) numbered(n int) {
	for i := range n {
		m.named("n" + strconv.Itoa(i+1))
	}
}

func (m *Map) named(names ...string) {
	for _, name := range names {
		m.Nodes = append(m.Nodes, Node{ID: mesh.MustNodeID(name), Label: name})
	}
}

// join adds links between pairs of indices.
func (m *Map) join(ends ...int) {
	for i := 0; i+1 < len(ends); i += 2 {
		m.Links = append(m.Links, Link{A: ends[i], B: ends[i+1], Delay: DefaultDelay, Quality: 1})
	}
}

// grid adds the nodes r1c1 to rRcC, each joined to its right and lower neighbour.
func (m *Map) grid(rows, cols int) {
	for r := range rows {
		for c := range cols {
			name := fmt.Sprintf("r%dc%d", r+1, c+1)
			m.Nodes = append(m.Nodes, Node{ID: mesh.MustNodeID(name), Label: name})
			if i := r*cols + c; c > 0 {
				m.join(i-1, i)
			}
			if i := r*cols + c; r > 0 {
				m.join(i-cols, i)
			}
		}
	}
}

// fibreDelay is the time of light in glass, two thirds of that in vacuum, along the great circle; at least floor.
func fibreDelay(a, b Node, floor time.Duration) time.Duration {
	if !a.Located || !b.Located {
		return DefaultDelay
	}
	const earth, lightInGlass = 6_371_000.0, 299_792_458.0 * 2 / 3 // m, m/s
	rad := math.Pi / 180
	sinLat := math.Sin((b.Lat - a.Lat) * rad / 2)
	sinLon := math.Sin((b.Lon - a.Lon) * rad / 2)
	h := sinLat*sinLat + math.Cos(a.Lat*rad)*math.Cos(b.Lat*rad)*sinLon*sinLon
	d := 2 * earth * math.Asin(math.Sqrt(min(max(h, 0), 1)))
	return max(time.Duration(d/lightInGlass*float64(time.Second)).Truncate(time.Microsecond), floor)
}

// wireFloor and radioFloor are the least delays of links between places: equipment takes time too.
const (
	wireFloor  = 100 * time.Microsecond
	radioFloor = time.Millisecond
)

// Parse reads a map. The ending of name says which format b has: .tsv, .json, else this package's own. name itself is
// only shown.
func Parse(name string, b []byte) (*Map, error) {
	base := name[strings.LastIndexByte(name, '/')+1:]
	var m *Map
	var err error
	switch {
	case strings.HasSuffix(base, ".tsv"):
		m, err = ParseTSV(b)
	case strings.HasSuffix(base, ".json"):
		m, err = ParseJSON(b)
	default:
		m, err = ParseText(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", base, err)
	}
	if m.Name == "" {
		m.Name = base
	}
	return m, nil
}

func lineError(line int, format string, args ...any) error {
	return fmt.Errorf("%w: line %d: %s", ErrFormat, line, fmt.Sprintf(format, args...))
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
