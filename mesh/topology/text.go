package topology

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"x0tta6bl4/mesh"
)

// maxRate bounds what a map may say of a link: a petabit each second.
const maxRate = 1e15

// maxDelay bounds what a file may say of a link: half the way to the moon and back.
const maxDelay = time.Minute

// ParseText reads the format that the package comment describes.
func ParseText(b []byte) (*Map, error) {
	p := textParser{m: &Map{}, index: map[mesh.NodeID]int{}, declared: map[mesh.NodeID]bool{}}
	for i, line := range strings.Split(string(b), "\n") {
		p.line = i + 1
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if err := p.statement(f); err != nil {
			return nil, err
		}
	}
	for i := range p.m.Links {
		if l := &p.m.Links[i]; l.Delay < 0 {
			l.Delay = fibreDelay(p.m.Nodes[l.A], p.m.Nodes[l.B], wireFloor)
		}
	}
	return p.m, nil
}

type textParser struct {
	m        *Map
	line     int
	index    map[mesh.NodeID]int
	declared map[mesh.NodeID]bool
}

func (p *textParser) statement(f []string) error {
	switch f[0] {
	case "name":
		if len(f) != 2 {
			return lineError(p.line, "write: name WORD")
		}
		p.m.Name = f[1]
		return nil
	case "node":
		return p.node(f[1:])
	case "link":
		return p.link(f[1:])
	}
	return lineError(p.line, "%q: begin with name, node or link", clip(f[0]))
}

func (p *textParser) node(f []string) error {
	if len(f) != 1 && len(f) != 3 {
		return lineError(p.line, "write: node NAME, or: node NAME LATITUDE LONGITUDE")
	}
	i, err := p.named(f[0])
	if err != nil {
		return err
	}
	n := &p.m.Nodes[i]
	if p.declared[n.ID] {
		return lineError(p.line, "node %s has a line already: remove one", n.ID)
	}
	p.declared[n.ID] = true
	if len(f) == 3 {
		if n.Lat, n.Lon, n.Located = place(f[1], f[2]); !n.Located {
			return lineError(p.line, "%q, %q: write latitude and longitude in degrees", clip(f[1]), clip(f[2]))
		}
	}
	return nil
}

// named returns the index of a node, which it adds if it is new.
func (p *textParser) named(name string) (int, error) {
	id, err := mesh.ParseNodeID(name)
	if err != nil {
		return 0, lineError(p.line, "%v", err)
	}
	i, ok := p.index[id]
	if !ok {
		i = len(p.m.Nodes)
		p.index[id] = i
		p.m.Nodes = append(p.m.Nodes, Node{ID: id, Label: name})
	}
	return i, p.m.check()
}

func (p *textParser) link(f []string) error {
	if len(f) < 2 {
		return lineError(p.line, "write: link NODE NODE [delay=5ms] [quality=0.9] [rate=10M] [radio]")
	}
	a, err := p.named(f[0])
	if err != nil {
		return err
	}
	b, err := p.named(f[1])
	if err != nil {
		return err
	}
	if a == b {
		return lineError(p.line, "link from %s to itself: name two nodes", clip(f[0]))
	}
	l := Link{A: a, B: b, Delay: -1, Quality: 1}
	for _, option := range f[2:] {
		if err := p.option(&l, option); err != nil {
			return err
		}
	}
	p.m.Links = append(p.m.Links, l)
	return p.m.check()
}

func (p *textParser) option(l *Link, option string) error {
	key, value, _ := strings.Cut(option, "=")
	switch key {
	case "delay":
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 || d > maxDelay {
			return lineError(p.line, "%q: write a delay from 0 to %v, such as delay=5ms", clip(option), maxDelay)
		}
		l.Delay = d
	case "quality":
		q, err := strconv.ParseFloat(value, 64)
		if err != nil || !(q > 0 && q <= 1) {
			return lineError(p.line, "%q: write a quality above 0 and at most 1, such as quality=0.9", clip(option))
		}
		l.Quality = q
	case "rate":
		r, ok := parseRate(value)
		if !ok {
			return lineError(p.line, "%q: write a rate in bit/s, such as rate=10M", clip(option))
		}
		l.Rate = r
	case "radio":
		l.Radio = true
	default:
		return lineError(p.line, "%q: the options of a link are delay, quality, rate and radio", clip(option))
	}
	return nil
}

// parseRate reads a whole number with an optional k, M or G behind it.
func parseRate(s string) (mesh.BitsPerSecond, bool) {
	digits := strings.TrimRight(s, "kMG")
	scale, ok := map[string]uint64{"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[s[len(digits):]]
	n, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || n > maxRate/scale {
		return 0, false
	}
	return mesh.BitsPerSecond(n * scale), true
}

// Format writes a map in the format that ParseText reads. Labels are not kept.
func (m *Map) Format() []byte {
	var b bytes.Buffer
	if name := strings.Join(strings.Fields(strings.ReplaceAll(m.Name, "#", "")), "-"); name != "" {
		fmt.Fprintf(&b, "name %s\n", name)
	}
	for _, n := range m.Nodes {
		fmt.Fprintf(&b, "node %s", n.ID)
		if n.Located {
			fmt.Fprintf(&b, " %v %v", n.Lat, n.Lon)
		}
		b.WriteByte('\n')
	}
	for _, l := range m.Links {
		fmt.Fprintf(&b, "link %s %s delay=%v quality=%v", m.Nodes[l.A].ID, m.Nodes[l.B].ID, l.Delay, l.Quality)
		if l.Rate > 0 {
			fmt.Fprintf(&b, " rate=%d", l.Rate)
		}
		if l.Radio {
			b.WriteString(" radio")
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}
