package topology

import (
	"math"
	"strconv"
	"strings"

	"x0tta6bl4/mesh"
)

// ParseTSV reads a network of the Internet Topology Zoo: lines "N id label latitude longitude" and "E source
// target speed", separated by tabs; '#' begins a comment line. Latitude, longitude and speed may be missing. Parallel
// links are kept.
func ParseTSV(b []byte) (*Map, error) {
	m := &Map{}
	names := newNamer()
	index := map[string]int{}
	for i, line := range strings.Split(string(b), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "\t")
		var err error
		switch f[0] {
		case "N":
			err = m.tsvNode(i+1, f, names, index)
		case "E":
			err = m.tsvLink(i+1, f, index)
		default:
			err = lineError(i+1, "%q: begin a node's line with N and a link's with E, and separate fields by tabs", clip(f[0]))
		}
		if err != nil {
			return nil, err
		}
	}
	return m, m.check()
}

func (m *Map) tsvNode(line int, f []string, names *namer, index map[string]int) error {
	if len(f) < 3 {
		return lineError(line, "%d fields: a node has at least N, id and label", len(f))
	}
	if _, ok := index[f[1]]; ok {
		return lineError(line, "node id %q is there twice: give each node its own", clip(f[1]))
	}
	n := Node{Label: f[2]}
	if len(f) > 4 && strings.TrimSpace(f[3]) != "" && strings.TrimSpace(f[4]) != "" {
		var ok bool
		if n.Lat, n.Lon, ok = place(f[3], f[4]); !ok {
			return lineError(line, "%q, %q: write latitude and longitude in degrees, or leave both empty", clip(f[3]), clip(f[4]))
		}
		n.Located = true
	}
	index[f[1]] = len(m.Nodes)
	n.ID = names.name(f[2])
	m.Nodes = append(m.Nodes, n)
	return m.check()
}

func (m *Map) tsvLink(line int, f []string, index map[string]int) error {
	if len(f) < 3 {
		return lineError(line, "%d fields: a link has at least E, source and target", len(f))
	}
	var ends [2]int
	for i, id := range f[1:3] {
		n, ok := index[id]
		if !ok {
			return lineError(line, "link to node id %q, which no line before defines: add its N line", clip(id))
		}
		ends[i] = n
	}
	if ends[0] == ends[1] {
		m.Skipped++
		return nil
	}
	l := Link{A: ends[0], B: ends[1], Quality: 1, Delay: fibreDelay(m.Nodes[ends[0]], m.Nodes[ends[1]], wireFloor)}
	if len(f) > 3 {
		l.Rate = looseRate(f[3])
	}
	m.Links = append(m.Links, l)
	return m.check()
}

// check reports a map that has grown too large.
func (m *Map) check() error {
	if len(m.Nodes) > MaxNodes || len(m.Links) > MaxLinks {
		return tooLarge()
	}
	return nil
}

func place(lat, lon string) (float64, float64, bool) {
	a, err1 := strconv.ParseFloat(strings.TrimSpace(lat), 64)
	o, err2 := strconv.ParseFloat(strings.TrimSpace(lon), 64)
	return a, o, err1 == nil && err2 == nil && onEarth(a, o)
}

func onEarth(lat, lon float64) bool { return math.Abs(lat) <= 90 && math.Abs(lon) <= 360 }

// looseRate reads what the zoo's authors wrote about speed, such as "< 2.5 Gbps", "45Mbps" or "1000000000.0"; 0 if
// it is no speed.
func looseRate(s string) mesh.BitsPerSecond {
	s = strings.TrimLeft(strings.TrimSpace(s), "<>=~ ")
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || s[end] == '.') {
		end++
	}
	v, err := strconv.ParseFloat(s[:end], 64)
	if err != nil {
		return 0
	}
	unit := strings.ToLower(strings.TrimSpace(s[end:]))
	scale := 0.0
	switch {
	case unit == "" && v >= 1000:
		scale = 1
	case strings.HasPrefix(unit, "kb"):
		scale = 1e3
	case strings.HasPrefix(unit, "mb"):
		scale = 1e6
	case strings.HasPrefix(unit, "gb"):
		scale = 1e9
	}
	if rate := v * scale; rate < maxRate {
		return mesh.BitsPerSecond(rate)
	}
	return 0
}
