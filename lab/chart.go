package lab

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Sizes of the drawings, in units of the SVG.
const (
	chartWidth, chartHeight = 720.0, 220.0
	padLeft, padRight       = 52.0, 12.0
	padTop, padBottom       = 10.0, 26.0
	mapWidth, mapHeight     = 1180.0, 620.0 // at most so high
	mapLow, mapHighNode     = 200.0, 14.0   // a map of few nodes needs less
	mapPad, mapPadSide      = 26.0, 90.0    // names stand beside the outermost nodes
	stripWidth              = 1180.0
)

// chart is a drawing of lines over one axis. Numbers that the template shows are strings: they are rounded once, here.
type chart struct {
	ID     string   `json:"id"`
	Title  string   `json:"title"`
	Unit   string   `json:"unit"`
	XUnit  string   `json:"x_unit"`
	X0     float64  `json:"x0"`
	X1     float64  `json:"x1"`
	Series []series `json:"series"`

	Note           string     `json:"-"`
	XTicks, YTicks []axisMark `json:"-"`
	Bands          []band     `json:"-"`
}

type series struct {
	Name  string    `json:"name"`
	Xs    []float64 `json:"xs"`
	Ys    []float64 `json:"ys"`
	Path  string    `json:"-"`
	Class string    `json:"-"`
}

type axisMark struct{ Pos, Text string }

// band is a time in which something was broken.
type band struct{ X, W, Text string }

func coord(v float64) string { return fmt.Sprintf("%.1f", v) }

// round125 is the smallest of 1, 2, 5, 10, 20 … that is no less than v.
func round125(v float64) float64 {
	if v <= 0 {
		return 1
	}
	scale := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5, 10} {
		if f*scale >= v*(1-1e-9) {
			return f * scale
		}
	}
	return 10 * scale
}

// ticks divides a range into at most so many round steps.
func ticks(low, high float64, most int) (at []float64) {
	step := round125((high - low) / float64(most))
	for v := math.Ceil(low/step-1e-9) * step; v <= high+step*1e-9; v += step {
		at = append(at, v)
	}
	return at
}

func number(v float64) string {
	s := strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.3f", v), "0"), ".")
	if s == "-0" {
		return "0"
	}
	return s
}

// draw lays a chart out: both axes, the lines, and the bands.
func (c *chart) draw(bands [][2]float64, names []string) {
	top := 0.0
	for _, s := range c.Series {
		for _, y := range s.Ys {
			if y > top { // NaN is not
				top = y
			}
		}
	}
	top = math.Max(top*1.05, 1e-6)
	if c.X1 <= c.X0 {
		c.X1 = c.X0 + 1
	}
	x := func(v float64) float64 {
		return padLeft + (v-c.X0)/(c.X1-c.X0)*(chartWidth-padLeft-padRight)
	}
	y := func(v float64) float64 { return chartHeight - padBottom - v/top*(chartHeight-padTop-padBottom) }
	for _, v := range ticks(c.X0, c.X1, 8) {
		c.XTicks = append(c.XTicks, axisMark{coord(x(v)), number(v)})
	}
	for _, v := range ticks(0, top, 4) {
		c.YTicks = append(c.YTicks, axisMark{coord(y(v)), number(v)})
	}
	for i, b := range bands {
		from, to := max(b[0], c.X0), min(b[1], c.X1)
		if to > from {
			c.Bands = append(c.Bands, band{coord(x(from)), coord(x(to) - x(from)), names[i]})
		}
	}
	for i := range c.Series {
		s := &c.Series[i]
		s.Class = fmt.Sprintf("c%d", i%8)
		var b strings.Builder
		for k := range s.Xs {
			verb := "L"
			if k == 0 || math.IsNaN(s.Ys[k-1]) {
				verb = "M"
			}
			if !math.IsNaN(s.Ys[k]) {
				fmt.Fprintf(&b, "%s%s %s", verb, coord(x(s.Xs[k])), coord(y(s.Ys[k])))
			}
		}
		s.Path = b.String()
		s.Ys = finite(s.Ys)
	}
}

// finite writes gaps as -1, which JSON has a word for.
func finite(ys []float64) []float64 {
	out := slices.Clone(ys)
	for i, y := range out {
		if math.IsNaN(y) {
			out[i] = -1
		}
	}
	return out
}

// bands are the times of the faults, in seconds of the page.
func (p *Page) bands() (at [][2]float64, names []string) {
	for _, f := range p.Report.Faults {
		from := (p.probesAt() + millis(f.At.Duration())) / 1000
		at = append(at, [2]float64{from, from + f.For.Duration().Seconds()})
		names = append(names, string(f.Kind)+" "+f.Target)
	}
	return at, names
}

// probesAt is when the probes began, in milliseconds of the page.
func (p *Page) probesAt() float64 {
	for _, f := range p.Flows {
		return f.Begin
	}
	return 0
}

// end is the last moment that the page knows of, in seconds.
func (p *Page) end() float64 {
	end := 1.0
	for _, e := range p.Events {
		end = max(end, e.At/1000)
	}
	for _, u := range p.Usage {
		end = max(end, u.At/1000)
	}
	for _, f := range p.Flows {
		end = max(end, (f.Begin+f.Step*float64(len(f.Sent)))/1000)
	}
	return end
}

// maxLines is how many lines one chart can show and still be read.
const maxLines = 8

func (p *Page) charts() (cs []chart) {
	bands, names := p.bands()
	if len(p.Flows) > 0 {
		c := chart{ID: "delay", Title: "One-way time of probes", Unit: "ms", XUnit: "s", X0: p.probesAt() / 1000, X1: p.end(),
			Note: "median of each 100 ms; a gap means that none arrived"}
		for _, f := range p.Flows[:min(len(p.Flows), maxLines)] {
			s := series{Name: f.From.String() + " → " + f.To.String()}
			for i, d := range f.Delay {
				if f.Arrived[i] == 0 {
					d = math.NaN()
				}
				s.Xs, s.Ys = append(s.Xs, (f.Begin+f.Step*(float64(i)+0.5))/1000), append(s.Ys, d)
			}
			c.Series = append(c.Series, s)
		}
		c.draw(bands, names)
		cs = append(cs, c)
	}
	if len(p.First) > 0 {
		cs = append(cs, p.firstChart())
	}
	if len(p.Usage) > 1 {
		cpu := chart{ID: "cpu", Title: "Processor, all daemons", Unit: "cores", XUnit: "s", X0: p.Usage[0].At / 1000, X1: p.end()}
		rss := chart{ID: "rss", Title: "Memory, all daemons", Unit: "MiB", XUnit: "s", X0: p.Usage[0].At / 1000, X1: p.end()}
		c, r := series{Name: "cores"}, series{Name: "resident"}
		for _, u := range p.Usage {
			c.Xs, c.Ys = append(c.Xs, u.At/1000), append(c.Ys, u.CPU)
			r.Xs, r.Ys = append(r.Xs, u.At/1000), append(r.Ys, float64(u.RSS)/(1<<20))
		}
		cpu.Series, rss.Series = []series{c}, []series{r}
		cpu.draw(bands, names)
		rss.draw(bands, names)
		cs = append(cs, cpu, rss)
	}
	return cs
}

// firstChart is the distribution of the first packets.
func (p *Page) firstChart() chart {
	c := chart{ID: "first", Title: "First packet to a node never spoken with", Unit: "%", XUnit: "ms", X1: p.First[len(p.First)-1],
		Note: "share of the pairs that were reached within so many milliseconds"}
	s := series{Name: "pairs", Xs: []float64{0}, Ys: []float64{0}}
	for i, d := range p.First {
		share := 100 * float64(i) / float64(len(p.First))
		s.Xs, s.Ys = append(s.Xs, d, d), append(s.Ys, share, share+100/float64(len(p.First)))
	}
	c.Series = []series{s}
	c.draw(nil, nil)
	return c
}
