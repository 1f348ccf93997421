package lab

import (
	_ "embed" // the template
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"x0tta6bl4/api"
)

// Page is what the report page shows: one file, which asks nobody for anything.
type Page struct {
	Report *Report    `json:"report"`
	Began  time.Time  `json:"began"`
	Nodes  []PageNode `json:"nodes"`
	Links  []PageLink `json:"links"`
	Events []Event    `json:"events"`
	Flows  []Delivery `json:"flows"`
	Routes []Route    `json:"routes"`
	Usage  []Use      `json:"usage"`
	First  []float64  `json:"first_packets_ms"` // ascending
}

// PageNode is a node and where it is drawn, from 0 to 1 with y downwards.
type PageNode struct {
	Name string  `json:"name"`
	X    float64 `json:"x"`
	Y    float64 `json:"y"`
}

// PageLink joins two of the page's nodes, by index.
type PageLink struct {
	A     int     `json:"a"`
	B     int     `json:"b"`
	Delay float64 `json:"delay_ms"`
	Loss  float64 `json:"loss"`
}

// pageFile returns the file for a page: what the user named, or one named after the run in the directory that he named.
func pageFile(name, topology string, began time.Time) (string, error) {
	if name == "" {
		return "", nil
	}
	if !strings.HasSuffix(name, ".html") {
		if err := os.MkdirAll(name, 0o750); err != nil {
			return "", fmt.Errorf("directory for the report page: %w", err)
		}
		plain := strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
				return r
			}
			return '-'
		}, topology)
		name = filepath.Join(name, began.UTC().Format("20060102T150405Z-")+plain+".html")
	}
	// Now and not after the run: who cannot write here should not have waited.
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o640) // #nosec G302 G304 -- the user names the file; it holds no secret
	if err != nil {
		return "", fmt.Errorf("report page: %w", err)
	}
	return name, f.Close()
}

// page puts together what a run left.
func (l *Lab) page(r *Report, began time.Time) *Page {
	p := &Page{Report: r, Began: began, Events: l.record.events, Flows: l.record.flows, Routes: l.record.routes, Usage: l.record.usage}
	at := l.m.places()
	for i, n := range l.m.Nodes {
		p.Nodes = append(p.Nodes, PageNode{n.String(), at[i].x, at[i].y})
	}
	for _, k := range l.m.Links {
		p.Links = append(p.Links, PageLink{slices.Index(l.m.Nodes, k.A), slices.Index(l.m.Nodes, k.B), millis(k.Delay), k.Loss})
	}
	for _, d := range slices.Sorted(slices.Values(r.FirstPacket.all)) {
		p.First = append(p.First, millis(d))
	}
	return p
}

func (p *Page) write(name string) error {
	var b strings.Builder
	if err := p.Render(&b); err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	return os.WriteFile(name, []byte(b.String()), 0o640) // #nosec G306 -- it holds no secret
}

//go:embed page.html.tmpl
var pageSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// pageView is the page as the template has it.
type pageView struct {
	*Page
	Tiles    []tile
	Map      drawing
	Faults   []faultRow
	Timeline timeline
	Charts   []chart
	Strips   strips
	Data     template.JS
}

type tile struct {
	Name, Value, Note, Class string
}

type faultRow struct {
	FaultReport
	From, Until, Outage, Verdict, Class string
}

// Render writes the page. It needs no network, and holds the run's data as JSON.
func (p *Page) Render(w io.Writer) error {
	v := pageView{Page: p, Tiles: p.tiles(), Map: p.drawMap(), Timeline: p.timeline(), Strips: p.strips(), Charts: p.charts()}
	for _, f := range p.Report.Faults {
		row := faultRow{FaultReport: f, From: seconds(f.At), Until: seconds(f.At + f.For), Outage: ms(f.Outage), Verdict: "healed", Class: "good"}
		switch {
		case !f.PathExisted:
			row.Verdict, row.Class = "no way was left", "dim"
		case !f.Recovered:
			row.Verdict, row.Class = "not healed", "bad"
		}
		v.Faults = append(v.Faults, row)
	}
	b, err := json.Marshal(struct {
		*Page
		Charts []chart `json:"charts"`
	}{p, v.Charts})
	if err != nil {
		return err
	}
	v.Data = template.JS(b) // #nosec G203 -- encoding/json writes <, > and & as escapes, so no name can end the script
	return pageTemplate.Execute(w, v)
}

func (p *Page) tiles() []tile {
	r := p.Report
	ts := []tile{
		{"converged", seconds(r.Converged), "all daemons started at once", ""},
		{"pairs reachable", fmt.Sprintf("%d / %d", r.PairsReachable, r.Pairs), "ordered pairs of nodes", "good"},
		{"first packet p50", ms(r.FirstPacket.P50), "to a node never spoken with", ""},
		{"first packet p99", ms(r.FirstPacket.P99), fmt.Sprintf("%d late", r.FirstPacket.Late), ""},
	}
	if r.PairsReachable < r.Pairs {
		ts[1].Class = "bad"
	}
	worst := api.Millis(-1)
	for _, f := range r.Faults {
		if f.PathExisted {
			worst = max(worst, f.Outage)
		}
	}
	if worst >= 0 {
		ts = append(ts, tile{"worst outage", ms(worst), "while a way existed", ""})
	}
	if a := r.Availability; a != nil {
		ts = append(ts, tile{"availability", fmt.Sprintf("%.3f %%", 100*a.WithPath), fmt.Sprintf("while a way existed; %.3f %% in all", 100*a.Raw), ""})
	}
	return ts
}
