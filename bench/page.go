package bench

import (
	_ "embed" // the template
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"math"
	"strconv"
)

// page is what a report looks like in a browser: one file, which asks nobody for anything.
type page struct {
	Title, Under string
	Charts       []bars
	Text         string // the report's Markdown
	Report       any
	Data         template.JS
}

// bars is a chart of horizontal bars with their least and greatest.
type bars struct {
	Title, Unit string
	Log         bool // logarithmic, where the values are far apart
	Rows        []bar
	High        int // of the drawing

	Ticks []tick
}

// bar is one row. NaN as a value is drawn as text alone.
type bar struct {
	Name, Note         string
	Value, Least, Most float64
	Ours               bool

	Y, TextY        int
	Width, From, To string
	Text            string
	Shown, Whiskers bool
}

type tick struct{ X, Text string }

// Sizes of the drawing, in units of the SVG.
const (
	barLeft, barRight = 190.0, 560.0
	barPitch          = 26
	barTop            = 8
)

// draw fills in where everything is.
func (c *bars) draw() {
	most, least := 0.0, math.Inf(1)
	for _, r := range c.Rows {
		if !math.IsNaN(r.Value) {
			most = max(most, r.Value, r.Most)
			for _, v := range []float64{r.Value, r.Least} {
				if v > 0 {
					least = min(least, v)
				}
			}
		}
	}
	if most == 0 {
		most = 1
	}
	floor := 0.0
	if c.Log = c.Log && most > 20*least; c.Log {
		floor = math.Pow(10, math.Floor(math.Log10(least/2))) // so that the least of all is still a bar
	}
	x := func(v float64) float64 {
		if !c.Log {
			return barLeft + (barRight-barLeft)*max(0, v)/most
		}
		return barLeft + (barRight-barLeft)*math.Log(max(v, floor)/floor)/math.Log(most/floor)
	}
	at := func(v float64) string { return fmt.Sprintf("%.1f", v) }
	for i := range c.Rows {
		r := &c.Rows[i]
		r.Y, r.TextY = barTop+i*barPitch, barTop+i*barPitch+13
		if r.Shown = !math.IsNaN(r.Value); !r.Shown {
			r.Text = r.Note
			continue
		}
		r.Width, r.From, r.To = at(max(1, x(r.Value)-barLeft)), at(x(r.Least)), at(x(r.Most))
		r.Whiskers = r.Most > r.Least
		r.Text = number(r.Value) + " " + c.Unit
		if r.Note != "" {
			r.Text += ", " + r.Note
		}
	}
	c.High = barTop + len(c.Rows)*barPitch + 22
	for _, v := range c.marks(floor, most) {
		c.Ticks = append(c.Ticks, tick{at(x(v)), strconv.FormatFloat(v, 'f', -1, 64)})
	}
}

// marks are the numbers below the axis.
func (c *bars) marks(floor, most float64) (out []float64) {
	if c.Log {
		for v := floor; v <= most; v *= 10 {
			out = append(out, v)
		}
		return out
	}
	step := math.Pow(10, math.Floor(math.Log10(most)))
	for most/step < 4 {
		step /= 2
	}
	for v := 0.0; v <= most; v += step {
		out = append(out, v)
	}
	return out
}

//go:embed page.html.tmpl
var pageSource string

var pageTemplate = template.Must(template.New("bench").Parse(pageSource))

// render writes the page. It holds the report as JSON.
func (p page) render(w io.Writer) error {
	b, err := json.Marshal(p.Report)
	if err != nil {
		return err
	}
	p.Data = template.JS(b) // #nosec G203 -- encoding/json writes <, > and & as escapes, so no name can end the script
	for i := range p.Charts {
		p.Charts[i].draw()
	}
	return pageTemplate.Execute(w, p)
}

// page draws the comparison.
func (r *ThroughputReport) page() page {
	names, all := r.contenders()
	p := page{Title: "x0t beside its peers: throughput", Under: r.setting() + ". " + machineLine(r.Machine, r.Noise), Text: r.Markdown(), Report: r}
	for _, chart := range []struct {
		title, unit string
		log         bool
		of          func(*Carry) float64
	}{
		{"TCP delivered", "Gbit/s", false, func(c *Carry) float64 { return c.Gbps }},
		{"Round trip, idle", "µs", true, func(c *Carry) float64 { return c.RTT }},
		{"Round trip beside the TCP stream", "ms", true, func(c *Carry) float64 { return c.RTTLoad }},
		{"Processor of all daemons, under load", "cores", false, func(c *Carry) float64 { return c.CPU }},
		{"Memory of the largest daemon, after the load", "MB", true, func(c *Carry) float64 { return c.RSS }},
	} {
		b := bars{Title: chart.title, Unit: chart.unit, Log: chart.log}
		for i, c := range all {
			row := bar{Name: names[i], Value: math.NaN(), Ours: i == 0, Note: "not measured"}
			if c.Min != nil {
				var values []float64
				for k := range c.Samples {
					values = append(values, chart.of(&c.Samples[k]))
				}
				row.Value, row.Least, row.Most, row.Note = percentile(values, 50), percentile(values, 0), percentile(values, 100), ""
			}
			b.Rows = append(b.Rows, row)
		}
		p.Charts = append(p.Charts, b)
	}
	return p
}
