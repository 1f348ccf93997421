package lab

import (
	"math"
	"unicode/utf8"
)

// Sizes of names on the map, in units of the drawing.
const (
	letterWide = 6.4
	letterHigh = 12.0
	nameGap    = 3.0
	nameMost   = 22 // letters; the rest is in the title
)

// box is a rectangle of the drawing.
type box struct{ x0, y0, x1, y1 float64 }

func (b box) meets(o box) bool { return b.x0 < o.x1 && o.x0 < b.x1 && b.y0 < o.y1 && o.y0 < b.y1 }

// segment is a link of the drawing.
type segment struct{ a, b place }

// crosses reports whether a segment passes through the box, by clipping it (Liang and Barsky, 1984).
func (b box) crosses(s segment) bool {
	from, to := 0.0, 1.0
	dx, dy := s.b.x-s.a.x, s.b.y-s.a.y
	for _, side := range [][2]float64{{-dx, s.a.x - b.x0}, {dx, b.x1 - s.a.x}, {-dy, s.a.y - b.y0}, {dy, b.y1 - s.a.y}} {
		switch p, q := side[0], side[1]; {
		case p == 0 && q < 0:
			return false
		case p < 0:
			from = max(from, q/p)
		case p > 0:
			to = min(to, q/p)
		}
	}
	return from <= to
}

// captions are the names of a drawing's nodes where there is room for them.
type captions struct {
	area  box
	nodes []box
	links []segment
	taken []box
}

// caption is where a name stands: what is at x is its start, middle or end.
type caption struct {
	x, y   float64
	anchor string
}

// put finds the best place for the name of a node of that size at p: clear of names, nodes and the edge, and of links as far as
// possible. ok is false if there is none.
func (c *captions) put(name string, p place, size float64) (at caption, ok bool) {
	wide := letterWide * float64(utf8.RuneCountInString(name))
	least := math.Inf(1)
	var best box
	for i, d := range []place{{1, 0}, {-1, 0}, {0, -1}, {0, 1}, {1, -1}, {1, 1}, {-1, -1}, {-1, 1}} {
		away := size + nameGap
		if d.x != 0 && d.y != 0 {
			away *= 0.75
		}
		x := p.x + d.x*away - (1-d.x)/2*wide
		y := p.y + d.y*(away+letterHigh/2)
		b := box{x, y - letterHigh/2, x + wide, y + letterHigh/2}
		cost, free := c.cost(b)
		if cost += float64(i) / 10; free && cost < least {
			least, best, ok = cost, b, true
			at = caption{p.x + d.x*away, b.y1 - 3, []string{"end", "middle", "start"}[int(d.x)+1]}
		}
	}
	if ok {
		c.taken = append(c.taken, best)
	}
	return at, ok
}

// cost is how many links pass behind a name; free is false if it cannot stand there at all.
func (c *captions) cost(b box) (cost float64, free bool) {
	if b.x0 < c.area.x0 || b.y0 < c.area.y0 || b.x1 > c.area.x1 || b.y1 > c.area.y1 {
		return 0, false
	}
	for _, list := range [][]box{c.nodes, c.taken} {
		for _, o := range list {
			if b.meets(o) {
				return 0, false
			}
		}
	}
	for _, l := range c.links {
		if b.crosses(l) {
			cost++
		}
	}
	return cost, true
}

// shortName takes the middle out of a name for which the map has no room: names of one place differ at their ends.
func shortName(name string) string {
	r := []rune(name)
	if len(r) <= nameMost {
		return name
	}
	return string(r[:nameMost/2]) + "…" + string(r[len(r)-nameMost/2+1:])
}
