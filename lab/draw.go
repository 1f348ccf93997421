package lab

import (
	"fmt"
)

// strips are the deliveries: a row for each direction of a pair, a cell for each bucket.
type strips struct {
	Rows   []strip
	XTicks []axisMark
	Bands  []band
	Height string
	Hidden int // directions that are not shown
}

type strip struct {
	Name, Y, Middle, Text string
	Cells                 []stripCell
}

type stripCell struct{ X, W, Class, Title string }

const (
	stripHeight = 18.0
	stripLeft   = 480.0 // at most for the names
	stripLetter = 6.0
	maxStrips   = 24
)

func (p *Page) strips() (s strips) {
	if len(p.Flows) == 0 {
		return s
	}
	from, to := p.probesAt()/1000, p.end()
	left := 0.0
	for _, f := range p.Flows {
		left = max(left, 20+stripLetter*float64(len(f.From.String())+len(f.To.String())+3))
	}
	left = min(left, stripLeft)
	x := func(v float64) float64 { return left + (v-from)/(to-from)*(stripWidth-left-padRight) }
	for i, f := range p.Flows[:min(len(p.Flows), maxStrips)] {
		s.Rows = append(s.Rows, f.strip(i, x))
	}
	s.Hidden = len(p.Flows) - len(s.Rows)
	height := stripHeight * float64(len(s.Rows))
	s.Height = coord(height + padBottom + 4)
	for _, v := range ticks(from, to, 8) {
		s.XTicks = append(s.XTicks, axisMark{coord(x(v)), number(v)})
	}
	bands, names := p.bands()
	for i, b := range bands {
		s.Bands = append(s.Bands, band{coord(x(max(b[0], from))), coord(x(min(b[1], to)) - x(max(b[0], from))), names[i]})
	}
	return s
}

// strip joins neighbouring buckets that look the same.
func (f Delivery) strip(row int, x func(float64) float64) strip {
	y := float64(row) * stripHeight
	s := strip{Name: f.From.String() + " → " + f.To.String(), Y: coord(y + 2), Middle: coord(y + 13)}
	class := func(i int) string {
		switch share := float64(f.Arrived[i]) / float64(max(1, f.Sent[i])); {
		case f.Arrived[i] >= f.Sent[i]:
			return "s0"
		case share >= 0.9:
			return "s1"
		case share >= 0.5:
			return "s2"
		case share > 0:
			return "s3"
		}
		return "s4"
	}
	var sent, arrived int
	for i := 0; i < len(f.Sent); {
		k, lost, all := i, 0, 0
		for ; k < len(f.Sent) && class(k) == class(i); k++ {
			lost, all = lost+f.Sent[k]-f.Arrived[k], all+f.Sent[k]
		}
		at, until := (f.Begin+f.Step*float64(i))/1000, (f.Begin+f.Step*float64(k))/1000
		s.Cells = append(s.Cells, stripCell{coord(x(at)), coord(x(until) - x(at)), class(i),
			fmt.Sprintf("%.1f to %.1f s: %d of %d lost", at, until, lost, all)})
		sent, arrived, i = sent+all, arrived+all-lost, k
	}
	s.Text = fmt.Sprintf("%d of %d lost", sent-arrived, sent)
	return s
}

// drawing is the map.
type drawing struct {
	Nodes []drawnNode
	Links []drawnLink
	Size  string // of a node
	High  string
	Names bool // every node has room for its name
}

type drawnNode struct{ X, Y, TX, Name, Class, Title, Anchor string }

type drawnLink struct{ X1, Y1, X2, Y2, Class, Title string }

// struckClass tells which links and nodes faults struck.
func (p *Page) struckClass(target string) string {
	for _, f := range p.Report.Faults {
		if f.Target == target {
			return " struck"
		}
	}
	return ""
}

func (p *Page) drawMap() drawing {
	d := drawing{Size: "6", Names: len(p.Nodes) <= 60}
	if len(p.Nodes) > 30 {
		d.Size = "4.5"
	}
	low, high, top, bottom := 1.0, 0.0, 1.0, 0.0
	for _, n := range p.Nodes {
		low, high, top, bottom = min(low, n.X), max(high, n.X), min(top, n.Y), max(bottom, n.Y)
	}
	// One scale for both directions; the drawing is only as high as it needs to be.
	scale := min((mapWidth-2*mapPad)/max(high-low, 1e-9), (mapHeight-2*mapPad)/max(bottom-top, 1e-9))
	tall := max((bottom-top)*scale+2*mapPad, 160)
	d.High = coord(tall)
	at := func(n PageNode) (float64, float64) {
		return mapWidth/2 + (n.X-(low+high)/2)*scale, tall/2 + (n.Y-(top+bottom)/2)*scale
	}
	for _, l := range p.Links {
		a, b := p.Nodes[l.A], p.Nodes[l.B]
		x1, y1 := at(a)
		x2, y2 := at(b)
		class := "link" + p.struckClass("link:"+a.Name+"-"+b.Name) + p.struckClass("link:"+b.Name+"-"+a.Name)
		if l.Loss > 0.05 {
			class += " poor"
		}
		title := fmt.Sprintf("%s – %s: %s ms", a.Name, b.Name, number(l.Delay))
		if l.Loss > 0 {
			title += fmt.Sprintf(", loses %.1f %%", 100*l.Loss)
		}
		d.Links = append(d.Links, drawnLink{coord(x1), coord(y1), coord(x2), coord(y2), class, title})
	}
	for _, n := range p.Nodes {
		x, y := at(n)
		drawn := drawnNode{coord(x), coord(y), coord(x + 9), n.Name, "node" + p.struckClass("node:"+n.Name), n.Name, "start"}
		if x > mapWidth*0.8 {
			drawn.TX, drawn.Anchor = coord(x-9), "end"
		}
		d.Nodes = append(d.Nodes, drawn)
	}
	return d
}

// timeline is the list of events with their place on a line of time.
type timeline struct {
	XTicks []axisMark
	Bands  []band
	Marks  []mark
	Rows   []eventRow
}

type mark struct{ X, Class, Title string }

type eventRow struct{ At, What, Text string }

func (p *Page) timeline() (t timeline) {
	end := p.end()
	x := func(v float64) float64 { return padRight + v/end*(chartWidth-2*padRight) }
	for _, v := range ticks(0, end, 10) {
		t.XTicks = append(t.XTicks, axisMark{coord(x(v)), number(v)})
	}
	bands, names := p.bands()
	for i, b := range bands {
		t.Bands = append(t.Bands, band{coord(x(b[0])), coord(x(min(b[1], end)) - x(b[0])), names[i]})
	}
	for _, e := range p.Events {
		t.Marks = append(t.Marks, mark{coord(x(e.At / 1000)), "e-" + e.What, fmt.Sprintf("%.2f s: %s", e.At/1000, e.Text)})
		t.Rows = append(t.Rows, eventRow{fmt.Sprintf("%.2f", e.At/1000), e.What, e.Text})
	}
	return t
}
