package bench

import (
	"fmt"
	"math"
)

// Markdown is the report as tables.
func (r *FailoverReport) Markdown() string {
	var m markdown
	m.say("# Failover on %s, %s profile (a hello every %s ms)\n\nWhat a stream of probes, one a millisecond each way, lost of its time when something on its path broke; the worse of both directions.\n"+
		"*own* is the first link or relay of the path in use, *middle* one three hops away;\n"+
		"*there* is the direction for which that is so, the other one meets the place from its other side.\n\n", r.Topology, r.Profile, number(r.Hello))
	m.row("fault", "place", "outage p50, ms", "p95", "p99", "max", "there p50", "there p99", "trials", "not back in time", "lost p50", "max", "lost in all", "protected lost", "reference lost", "timer late p99, ms")
	for _, k := range r.kinds {
		for _, place := range places {
			if c := *r.Faults[k].at(place); c != nil && c.Trials > 0 {
				m.row(append([]string{k, placeName(place)}, c.cells()...)...)
			}
		}
	}
	r.peersTable(&m)
	r.footnotes(&m)
	return m.text()
}

func (r *FailoverReport) peersTable(m *markdown) {
	if len(r.order) == 0 {
		return
	}
	m.say("\n## Peers under the same faults\n\n")
	m.row("peer", "fault", "place", "outage p50, ms", "max", "trials", "not back in time", "timer late p99, ms")
	for _, name := range r.order {
		p := r.Peers[name]
		if p.Unmeasured != "" && len(p.Faults) == 0 {
			m.row(name, "not measured", "", "", "", "", "", "")
		}
		for _, k := range r.kinds {
			for _, place := range places {
				if f := p.Faults[k]; f != nil && *f.at(place) != nil && (*f.at(place)).Trials > 0 {
					c := *f.at(place)
					m.row(name, k, placeName(place), number(c.Outage.P50), number(c.Outage.Max), fmt.Sprint(c.Trials), fmt.Sprint(c.Unhealed), number(c.Scheduler.P99))
				}
			}
		}
	}
}

// footnotes say what was compared, and what was not measured or not fair.
func (r *FailoverReport) footnotes(m *markdown) {
	m.say("\n- x0t %s\n", cellText.Replace(r.Version))
	if r.Unprotected != "" {
		m.say("- protected traffic: not measured: %s\n", cellText.Replace(r.Unprotected))
	} else {
		m.say("- *protected lost*: of flows of the protected class beside the others, less what the reference lost in the same trial; *reference*: a flow between the relays of the surviving path\n")
	}
	for _, name := range r.order {
		p := r.Peers[name]
		if p.Command != "" {
			m.say("- %s %s: %s%s\n", name, cellText.Replace(p.Version), cellText.Replace(p.Command), unfairness(p.Unfair))
		}
		if p.Unmeasured != "" {
			m.say("- %s: not measured: %s\n", name, cellText.Replace(p.Unmeasured))
		}
	}
	for _, n := range r.Notes {
		m.say("- %s\n", cellText.Replace(n))
	}
	m.say("\n%s\n", machineLine(r.Machine, r.Noise))
}

// cells is the row of a cell behind kind and place.
func (c *Cell) cells() []string {
	count := func(n *int) string {
		if n == nil {
			return "–"
		}
		return fmt.Sprint(*n)
	}
	return []string{number(c.Outage.P50), number(c.Outage.P95), number(c.Outage.P99), number(c.Outage.Max), number(c.There.P50), number(c.There.P99),
		fmt.Sprint(c.Trials), fmt.Sprint(c.Unhealed),
		fmt.Sprint(c.Lost.P50), fmt.Sprint(c.Lost.Max), fmt.Sprint(c.Control), count(c.Protected), count(c.Reference), number(c.Scheduler.P99)}
}

// page draws the outages, a chart for each kind and place.
func (r *FailoverReport) page() page {
	p := page{Title: "x0t beside its peers: failover", Text: r.Markdown(), Report: r,
		Under: fmt.Sprintf("%s, %s profile. %s Bars are medians, lines reach from the least to the greatest.", r.Topology, r.Profile, machineLine(r.Machine, r.Noise))}
	for _, k := range r.kinds {
		for _, place := range places {
			b := bars{Title: fmt.Sprintf("Outage: %s, %s", k, placeName(place)), Unit: "ms", Log: true, Rows: []bar{r.Faults[k].bar("x0t", place)}}
			b.Rows[0].Ours = true
			for _, name := range r.order {
				if f := r.Peers[name].Faults[k]; f != nil {
					b.Rows = append(b.Rows, f.bar(name, place))
				}
			}
			p.Charts = append(p.Charts, b)
		}
	}
	return p
}

// bar shows the outages at one place; f may be nil.
func (f *Places) bar(name string, place int) bar {
	b := bar{Name: name, Value: math.NaN(), Note: "not measured"}
	if f == nil || *f.at(place) == nil || (*f.at(place)).Trials == 0 {
		return b
	}
	c := *f.at(place)
	var all []float64
	for _, t := range c.Samples {
		all = append(all, t.worse())
	}
	b.Value, b.Least, b.Most = percentile(all, 50), percentile(all, 0), percentile(all, 100)
	b.Note = fmt.Sprintf("%d trials", c.Trials)
	if c.Unhealed > 0 {
		b.Note += fmt.Sprintf(", %d not back", c.Unhealed)
	}
	return b
}
