package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"x0tta6bl4/api"
)

// Table is what a soak found so far. It is kept on disk after every cell, so that a soak that was interrupted goes on.
type Table struct {
	Seed  uint64 `json:"seed"`
	Cells []Cell `json:"cells"`

	dir string
}

// OpenTable reads what an earlier soak with the same seed left in dir, or begins a new table there.
func OpenTable(dir string, seed uint64) (*Table, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("directory for the table: %w", err)
	}
	t := &Table{Seed: seed, Cells: []Cell{}, dir: dir}
	b, err := os.ReadFile(t.file("soak.json"))
	if errors.Is(err, os.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	var was Table
	if err := json.Unmarshal(b, &was); err != nil {
		return nil, fmt.Errorf("%s: %w: remove it to begin anew", t.file("soak.json"), err)
	}
	if was.Seed == seed {
		t.Cells = was.Cells
	}
	return t, nil
}

func (t *Table) file(name string) string { return filepath.Join(t.dir, name) }

// Done reports whether a cell is known and need not be done again. One that failed is.
func (t *Table) Done(engine, m, kind string) bool {
	i := t.find(engine, m, kind)
	return i >= 0 && t.Cells[i].Verdict != Failed
}

func (t *Table) find(engine, m, kind string) int {
	return slices.IndexFunc(t.Cells, func(c Cell) bool { return c.Engine == engine && c.Map == m && c.Kind == kind })
}

// Drop forgets a cell, if there is one: what it says is no longer so.
func (t *Table) Drop(engine, m, kind string) {
	if i := t.find(engine, m, kind); i >= 0 {
		t.Cells = slices.Delete(t.Cells, i, i+1)
	}
}

// Add puts a cell in, in place of an earlier one, and writes the table.
func (t *Table) Add(c Cell) error {
	if i := t.find(c.Engine, c.Map, c.Kind); i >= 0 {
		t.Cells[i] = c
	} else {
		t.Cells = append(t.Cells, c)
	}
	b, err := json.MarshalIndent(t, "", " ")
	if err != nil {
		return err
	}
	next := t.file("soak.json.new")
	if err := os.WriteFile(next, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(next, t.file("soak.json"))
}

// Count tells how many cells have each verdict.
func (t *Table) Count() map[Verdict]int {
	n := map[Verdict]int{}
	for _, c := range t.Cells {
		n[c.Verdict]++
	}
	return n
}

// Failures lists the cells that failed.
func (t *Table) Failures() (out []Cell) {
	for _, c := range t.Cells {
		if c.Verdict == Failed {
			out = append(out, c)
		}
	}
	return out
}

// Write writes the table for people: soak.md and soak.html.
func (t *Table) Write() error {
	if err := os.WriteFile(t.file("soak.md"), []byte(t.Markdown()), 0o600); err != nil {
		return err
	}
	var b strings.Builder
	if err := soakPage.Execute(&b, t.grid()); err != nil {
		return err
	}
	return os.WriteFile(t.file("soak.html"), []byte(b.String()), 0o600)
}

// grid is the table by map and kind.
type grid struct {
	Seed   uint64
	Kinds  []string
	Rows   []gridRow
	Counts []string
	Notes  []Cell
}

type gridRow struct {
	Engine, Map  string
	Nodes, Links int
	Cells        []gridCell
}

type gridCell struct {
	Class, Text, Title string
}

func (t *Table) grid() grid {
	g := grid{Seed: t.Seed}
	for _, c := range t.Cells {
		if !slices.Contains(g.Kinds, c.Kind) {
			g.Kinds = append(g.Kinds, c.Kind)
		}
	}
	for _, c := range t.Cells {
		i := slices.IndexFunc(g.Rows, func(r gridRow) bool { return r.Engine == c.Engine && r.Map == c.Map })
		if i < 0 {
			i = len(g.Rows)
			g.Rows = append(g.Rows, gridRow{c.Engine, c.Map, c.Nodes, c.Links, make([]gridCell, len(g.Kinds))})
		}
		g.Rows[i].Cells[slices.Index(g.Kinds, c.Kind)] = c.show()
		if c.Verdict == Failed || c.Verdict == Exception || c.Tries > 1 {
			g.Notes = append(g.Notes, c)
		}
	}
	n := t.Count()
	for _, v := range []Verdict{Healed, Failed, Exception, NoWay, NotHere} {
		g.Counts = append(g.Counts, fmt.Sprintf("%d %s", n[v], v))
	}
	return g
}

func (c Cell) show() gridCell {
	g := gridCell{Title: strings.Join(append([]string{c.Target}, c.Pairs...), " ") + " " + c.Note}
	switch {
	case c.Verdict == Healed && c.Kind == ReachCell:
		g.Class, g.Text = "ok", "all"
	case c.Verdict == Healed:
		g.Class, g.Text = "ok", seconds(c.Outage)
		if c.Tries > 1 {
			g.Text += fmt.Sprintf(" (try %d)", c.Tries)
		}
	case c.Verdict == Failed:
		g.Class, g.Text = "bad", "FAILED"
	case c.Verdict == Exception:
		g.Class, g.Text = "known", "not healed*"
	case c.Verdict == NoWay:
		g.Class, g.Text = "none", "no way left"
	default:
		g.Class, g.Text = "none", "–"
	}
	return g
}

func seconds(m api.Millis) string {
	if d := m.Duration(); d >= time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return ms(m)
}

// Markdown is the table as text. Names come from files: what would end a cell is taken out.
func (t *Table) Markdown() string {
	g := t.grid()
	clean := strings.NewReplacer("|", "/", "\n", " ", "`", "'", "<", "(", ">", ")")
	var b strings.Builder
	fmt.Fprintf(&b, "# Soak, seed %d\n\nLongest gap of traffic for each fault kind; %s.\n\n| map | by | nodes | links |", g.Seed, strings.Join(g.Counts, ", "))
	for _, k := range g.Kinds {
		fmt.Fprintf(&b, " %s |", clean.Replace(k))
	}
	b.WriteString("\n|" + strings.Repeat("---|", 4+len(g.Kinds)) + "\n")
	for _, r := range g.Rows {
		fmt.Fprintf(&b, "| %s | %s | %d | %d |", clean.Replace(r.Map), r.Engine, r.Nodes, r.Links)
		for i := range g.Kinds {
			text := ""
			if i < len(r.Cells) {
				text = r.Cells[i].Text
			}
			fmt.Fprintf(&b, " %s |", text)
		}
		b.WriteByte('\n')
	}
	if len(g.Notes) > 0 {
		b.WriteString("\nNot healed, or not at once:\n\n")
	}
	for _, c := range g.Notes {
		fmt.Fprintf(&b, "- %s: %s on %s, %s %s: %d of %d probes lost. %s\n", c.Verdict, c.Kind, clean.Replace(c.Map),
			clean.Replace(c.Target), clean.Replace(strings.Join(c.Pairs, " ")), c.Lost, c.Sent, clean.Replace(c.Note))
	}
	return b.String()
}

var soakPage = template.Must(template.New("soak").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Soak, seed {{.Seed}}</title><style>
:root{color-scheme:light dark;--fg:#1b1f24;--bg:#fff;--line:#d0d7de;--ok:#dafbe1;--bad:#ffc1bc;--known:#fff1c2}
@media(prefers-color-scheme:dark){:root{--fg:#e6edf3;--bg:#0d1117;--line:#30363d;--ok:#12361f;--bad:#67150f;--known:#4a3a08}}
body{font:14px/1.45 system-ui,sans-serif;color:var(--fg);background:var(--bg);margin:2rem}
div{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{border:1px solid var(--line);padding:.3rem .6rem;text-align:left;white-space:nowrap}
.ok{background:var(--ok)}.bad{background:var(--bad);font-weight:700}.known{background:var(--known)}
</style></head><body><h1>Soak, seed {{.Seed}}</h1>
<p>Longest gap of traffic for each fault kind, between nodes that a way was left to join: {{range $i, $c := .Counts}}{{if $i}}, {{end}}{{$c}}{{end}}.</p>
<div><table><thead><tr><th>map</th><th>by</th><th>nodes</th><th>links</th>{{range .Kinds}}<th>{{.}}</th>{{end}}</tr></thead><tbody>
{{range .Rows}}<tr><th>{{.Map}}</th><td>{{.Engine}}</td><td>{{.Nodes}}</td><td>{{.Links}}</td>{{range .Cells}}<td class="{{.Class}}" title="{{.Title}}">{{.Text}}</td>{{end}}</tr>
{{end}}</tbody></table></div>
{{if .Notes}}<h2>Not healed, or not at once</h2><ul>{{range .Notes}}<li>{{.Verdict}}: {{.Kind}} on {{.Map}}, {{.Target}} {{range .Pairs}}{{.}} {{end}}: {{.Lost}} of {{.Sent}} probes lost. {{.Note}}</li>{{end}}</ul>{{end}}
</body></html>
`))
