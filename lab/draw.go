package lab

import (
	"fmt"
)

// strips are the deliveries: a row for each direction of a pair, a cell for each bucket; above them a row for each fault.
type strips struct {
	Rows   []strip
	Lanes  []lane
	XTicks []axisMark
	Bands  []band
	Height string
	Low    string // end of the rows
	Hidden int    // directions that are not shown
}

// lane is the time of one fault, with its name.
type lane struct{ X, W, Y, TX, TY, Anchor, Class, Text string }

type strip struct {
	Name, Y, Middle, Text string
	Cells                 []stripCell
}

type stripCell struct{ X, W, Class, Title string }

const (
	stripHeight = 18.0
	laneHeight  = 20.0
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
	s.lanes(p, from, to, x)
	top := laneHeight * float64(len(s.Lanes))
	for i, f := range p.Flows[:min(len(p.Flows), maxStrips)] {
		s.Rows = append(s.Rows, f.strip(top+float64(i)*stripHeight, x))
	}
	s.Hidden = len(p.Flows) - len(s.Rows)
	low := top + stripHeight*float64(len(s.Rows)) + 3
	s.Low, s.Height = coord(low), coord(low+padBottom)
	for _, v := range ticks(from, to, 8) {
		s.XTicks = append(s.XTicks, axisMark{coord(x(v)), number(v)})
	}
	return s
}

// lanes lays out the faults.
func (s *strips) lanes(p *Page, from, to float64, x func(float64) float64) {
	bands, names := p.bands()
	for i, b := range bands {
		x0, x1 := x(max(b[0], from)), x(min(b[1], to))
		y := laneHeight * float64(i)
		l := lane{X: coord(x0), W: coord(max(2, x1-x0)), Y: coord(y + 2), TX: coord(x0 + 6), TY: coord(y + 14), Text: names[i]}
		switch wide := stripLetter * float64(len(names[i])); {
		case x1-x0 >= wide+12:
			l.Class = "inside"
		case x1+wide+12 < stripWidth:
			l.TX = coord(x1 + 6)
		default:
			l.TX, l.Anchor = coord(x0-6), "end"
		}
		s.Lanes = append(s.Lanes, l)
		s.Bands = append(s.Bands, band{l.X, l.W, names[i]})
	}
}

// strip joins neighbouring buckets that look the same.
func (f Delivery) strip(y float64, x func(float64) float64) strip {
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
	x := func(v float64) float64 { return padRight + v/end*(stripWidth-2*padRight) }
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
