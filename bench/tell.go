package bench

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Told is a report that people can read: as Markdown, and as a page of charts.
type Told interface {
	Markdown() string
	page() page
}

// Keep writes a report into a directory, as NAME.json, NAME.md and NAME.html, and returns the names of the files.
func Keep(dir, name string, r Told) ([]string, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("directory for the report: %w", err)
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	var html strings.Builder
	if err := r.page().render(&html); err != nil {
		return nil, fmt.Errorf("report page: %w", err)
	}
	var names []string
	for _, f := range []struct{ ending, text string }{{".json", string(b) + "\n"}, {".md", r.Markdown()}, {".html", html.String()}} {
		at := filepath.Join(dir, name+f.ending)
		if err := os.WriteFile(at, []byte(f.text), 0o600); err != nil {
			return names, err
		}
		names = append(names, at)
	}
	return names, nil
}

// markdown is text with tables in the making. What would end a cell is taken out of what stands in it.
type markdown struct {
	b    strings.Builder
	rows [][]string // of the table that is not written yet; the first one is its head
}

var cellText = strings.NewReplacer("|", "/", "\n", " ", "<", "(", ">", ")")

// row adds a row to the table.
func (m *markdown) row(cells ...string) {
	for i := range cells {
		cells[i] = cellText.Replace(cells[i])
	}
	m.rows = append(m.rows, cells)
}

// say writes the table, if there is one, and text.
func (m *markdown) say(format string, args ...any) {
	m.flush()
	fmt.Fprintf(&m.b, format, args...)
}

// flush writes the table in columns that can be read as they are.
func (m *markdown) flush() {
	var width []int
	for _, r := range m.rows {
		for i, c := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	for n, r := range m.rows {
		for i, c := range r {
			fmt.Fprintf(&m.b, "| %s%s ", c, strings.Repeat(" ", width[i]-utf8.RuneCountInString(c)))
		}
		m.b.WriteString("|\n")
		if n > 0 {
			continue
		}
		for i := range r {
			m.b.WriteString("|" + strings.Repeat("-", width[i]+2))
		}
		m.b.WriteString("|\n")
	}
	m.rows = nil
}

// text is all of it.
func (m *markdown) text() string {
	m.flush()
	return m.b.String()
}

// spread shows a median with the least and the greatest.
func spread(mid, least, most float64) string {
	if math.IsNaN(mid) {
		return "–"
	}
	return fmt.Sprintf("%s (%s–%s)", number(mid), number(least), number(most))
}

// machineLine says where figures are from.
func machineLine(m Machine, n Noise) string {
	return fmt.Sprintf("Linux %s on %s, %d cores, %s; a timer of 1 ms fired late by p50 %s, p99 %s, at most %s ms.", m.Kernel, m.Arch, m.Cores, m.Go,
		number(n.P50), number(n.P99), number(n.Max))
}

// contenders are x0t and its peers, in the order of the tables.
func (r *ThroughputReport) contenders() (names []string, all []*Carried) {
	names, all = []string{"x0t"}, []*Carried{&r.Carried}
	for _, n := range r.order {
		names, all = append(names, n), append(all, r.Peers[n])
	}
	return names, all
}

// setting says in a few words over what was measured.
func (r *ThroughputReport) setting() string {
	hops := "direct"
	if r.Hops > 1 {
		hops = fmt.Sprintf("%d hops", r.Hops)
	}
	offload := "links carry segments whole (offload on)"
	if !r.Offload {
		offload = "links carry packets of 1500 bytes (offload off)"
	}
	return fmt.Sprintf("%s, %s, TCP streams: %d, %d runs of %s s", hops, offload, r.Streams, r.Runs, number(r.StreamTime))
}

// Markdown is the comparison as a table.
func (r *ThroughputReport) Markdown() string {
	var m markdown
	m.say("# Throughput: %s\n\nMedian (least–greatest) of the runs, which went round all contenders in turn.\n\n", r.setting())
	m.row("", "Gbit/s", "x0t is so many times that", "RTT idle, µs", "RTT loaded, ms", "daemons, cores", "one relay / both ends", "largest daemon, MB")
	names, all := r.contenders()
	for i, c := range all {
		if c.Unmeasured != "" || c.Min == nil {
			m.row(names[i], "not measured", "", "", "", "", "", "")
			continue
		}
		ratio := ""
		if q, ok := r.Ratio[names[i]]; ok {
			ratio = number(q) + " ×"
		}
		relay := ""
		if c.RelayCost != nil {
			relay = spread(*c.RelayCost, c.Min.RelayCost, c.Max.RelayCost)
		}
		m.row(names[i], spread(value(c.Gbps), c.Min.Gbps, c.Max.Gbps), ratio, spread(value(c.RTT), c.Min.RTT, c.Max.RTT),
			spread(value(c.RTTLoad), c.Min.RTTLoad, c.Max.RTTLoad), spread(value(c.CPU), c.Min.CPU, c.Max.CPU), relay, spread(value(c.RSS), c.Min.RSS, c.Max.RSS))
	}
	m.say("\n")
	for i, c := range all {
		switch {
		case c.Unmeasured != "":
			m.say("- %s: not measured: %s\n", names[i], cellText.Replace(c.Unmeasured))
		default:
			m.say("- %s %s: MTU %d (%s); %s%s\n", names[i], cellText.Replace(c.Version), c.MTU, c.Device, cellText.Replace(c.Command), unfairness(c.Unfair))
		}
	}
	for _, n := range r.Notes {
		m.say("- %s\n", cellText.Replace(n))
	}
	m.say("\n%s\nMeasured with %s; TCP: %s.\n", machineLine(r.Machine, r.Noise), strings.Join(r.Tools, "; "), r.TCP)
	return m.text()
}

func unfairness(why string) string {
	if why == "" {
		return ""
	}
	return "; not fair: " + cellText.Replace(why)
}
