package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// Colours (ECMA-48 SGR). They repeat what the words say, so nothing is lost without them.
const (
	plain  = ""
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	dim    = "2"
)

// wantColour reports whether w is a terminal whose user did not ask for no colours (no-color.org).
func wantColour(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS) // #nosec G115 -- descriptors are small
	return err == nil
}

// cell is a piece of a table.
type cell struct{ text, colour string }

func text(s string) cell                 { return cell{orDash(s), plain} }
func textf(format string, v ...any) cell { return cell{fmt.Sprintf(format, v...), plain} }

// table prints rows in columns two spaces apart. What is printed in pieces keeps the widths that it has.
type table struct {
	rows  [][]cell
	width []int
}

func (t *table) head(names ...string) {
	row := make([]cell, len(names))
	for i, n := range names {
		row[i] = cell{n, bold}
	}
	t.rows = append(t.rows, row)
}

func (t *table) row(cells ...cell) { t.rows = append(t.rows, cells) }

func (t *table) print(a *app) {
	for _, r := range t.rows {
		for i, c := range r {
			if i == len(t.width) {
				t.width = append(t.width, 0)
			}
			t.width[i] = max(t.width[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, r := range t.rows {
		var b strings.Builder
		for i, c := range r {
			b.WriteString(a.paint(c))
			if i < len(r)-1 {
				b.WriteString(strings.Repeat(" ", t.width[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		fmt.Fprintln(a.out, b.String())
	}
	t.rows = nil
}

func (a *app) paint(c cell) string {
	if !a.colour || c.colour == plain || c.text == "" {
		return c.text
	}
	return "\x1b[" + c.colour + "m" + c.text + "\x1b[0m"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func healthCell(h api.Health) cell {
	colours := map[api.Health]string{api.HealthOK: green, api.HealthDegraded: yellow, api.HealthDown: red}
	return cell{string(h), colours[h]}
}

func linkStateCell(s mesh.LinkState) cell {
	colours := map[mesh.LinkState]string{mesh.LinkUp: green, mesh.LinkSuspect: yellow, mesh.LinkDown: red}
	return cell{s.String(), colours[s]}
}

func peerStateCell(s api.PeerState) cell {
	colours := map[api.PeerState]string{
		api.PeerConnected: green, api.PeerOpening: yellow, api.PeerStalled: red, api.PeerUnreachable: red, api.PeerNone: dim, api.PeerIdle: plain,
	}
	return cell{string(s), colours[s]}
}

func pathStateCell(s api.PathState) cell {
	colours := map[api.PathState]string{api.PathActive: green, api.PathStandby: plain, api.PathSuspect: yellow, api.PathDead: red}
	return cell{string(s), colours[s]}
}

// ms shows a round trip; 0 was not measured.
func ms(m api.Millis) cell {
	switch d := m.Duration(); {
	case d <= 0:
		return text("")
	case d < 10*time.Millisecond:
		return textf("%.2f ms", d.Seconds()*1000)
	case d < time.Second:
		return textf("%.1f ms", d.Seconds()*1000)
	default:
		return textf("%.2f s", d.Seconds())
	}
}

func percent(share float64) string {
	if share > 0 && share < 0.001 {
		return "<0.1 %"
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", share*100), ".0") + " %"
}

func size(n uint64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1000, 0
	for f >= 999.95 && i < len(units)-1 {
		f /= 1000
		i++
	}
	return fmt.Sprintf("%.1f %cB", f, units[i])
}

func cost(c mesh.Cost) string { return fmt.Sprintf("%.2f ms", float64(c)/1000) }

func names(ns []mesh.NodeID) string {
	s := make([]string, len(ns))
	for i, n := range ns {
		s[i] = n.String()
	}
	return strings.Join(s, " ")
}

// way shows nodes as the way through them.
func way(ns []mesh.NodeID) string { return strings.ReplaceAll(names(ns), " ", " → ") }

func list[T fmt.Stringer](items []T) string {
	s := make([]string, len(items))
	for i, it := range items {
		s[i] = it.String()
	}
	return strings.Join(s, " ")
}

// when shows a moment as people say it: "3m ago", "in 11h".
func (a *app) when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := a.now().Sub(t)
	if d < 0 {
		return "in " + span(-d)
	}
	return span(d) + " ago"
}

// span shows a length of time with the one or two units that matter.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	two := func(big, small int64, b, s string) string {
		if small == 0 {
			return fmt.Sprintf("%d%s", big, b)
		}
		return fmt.Sprintf("%d%s%d%s", big, b, small, s)
	}
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return two(int64(d/time.Minute), int64(d%time.Minute/time.Second), "m", "s")
	case d < day:
		return two(int64(d/time.Hour), int64(d%time.Hour/time.Minute), "h", "m")
	default:
		return two(int64(d/day), int64(d%day/time.Hour), "d", "h")
	}
}
