package replica

import (
	"log/slog"
	"maps"
	"slices"
	"time"
)

// remember is how long a warning is shown that nothing clears.
const remember = time.Hour

// notes are what happened: counters, and what an operator is to know.
type notes struct {
	log      *slog.Logger
	counts   map[string]uint64
	warnings map[string]note // by what they are about: so there are few
}

type note struct {
	text string
	at   time.Time
	stay bool
}

func newNotes(log *slog.Logger) notes {
	return notes{log, map[string]uint64{}, map[string]note{}}
}

func (n *notes) count(name string) { n.counts[name]++ }

// warn says something to the log when it is new, and shows it for an hour after it was said last.
func (n *notes) warn(now time.Time, about, text string) {
	if old, ok := n.warnings[about]; !ok || old.text != text {
		n.log.Warn("shared state: " + text)
	}
	n.warnings[about] = note{text: text, at: now}
}

// keep says something that is shown until the process ends.
func (n *notes) keep(about, text string) {
	n.log.Warn("shared state: " + text)
	n.warnings[about] = note{text: text, stay: true}
}

func (n *notes) clear(about string) { delete(n.warnings, about) }

// texts returns the warnings that still hold, by what they are about.
func (n *notes) texts(now time.Time) (ts []string) {
	for _, about := range slices.Sorted(maps.Keys(n.warnings)) {
		switch w := n.warnings[about]; {
		case w.stay || now.Sub(w.at) < remember:
			ts = append(ts, w.text)
		default:
			delete(n.warnings, about)
		}
	}
	return ts
}
