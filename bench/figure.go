package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// MinRuns is how many samples a figure needs before it is judged.
const MinRuns = 5

// Figure is one number that was measured several times. Where there is a mark, less is better.
type Figure struct {
	Name    string    `json:"name"`
	Unit    string    `json:"unit"`
	Mark    *float64  `json:"mark"` // what the median may be at most; nil = none, the figure is only told
	Samples []float64 `json:"samples"`
}

// Median, Min and Max are those of the samples; NaN without any.
func (f *Figure) Median() float64 { return percentile(f.Samples, 50) }
func (f *Figure) Min() float64    { return percentile(f.Samples, 0) }
func (f *Figure) Max() float64    { return percentile(f.Samples, 100) }

// Within counts the samples that meet the mark.
func (f *Figure) Within() (n int) {
	for _, v := range f.Samples {
		if f.Mark != nil && v <= *f.Mark {
			n++
		}
	}
	return n
}

// Met reports whether the figure has no mark, or was measured MinRuns times with a median that meets it.
func (f *Figure) Met() bool {
	return f.Mark == nil || len(f.Samples) >= MinRuns && f.Median() <= *f.Mark
}

// verdict is the last column of the table: whether the mark is met, and by how many of the runs if not by all.
func (f *Figure) verdict() string {
	n := len(f.Samples)
	switch {
	case f.Mark == nil:
		return "–"
	case n < MinRuns:
		return fmt.Sprintf("NO: %d runs are too few", n)
	case !f.Met():
		return fmt.Sprintf("NO: %d of %d runs", f.Within(), n)
	case f.Within() < n:
		return fmt.Sprintf("yes: %d of %d runs", f.Within(), n)
	}
	return "yes"
}

// MarshalJSON adds to the samples what the table shows of them.
func (f *Figure) MarshalJSON() ([]byte, error) {
	type plain Figure
	out := struct {
		*plain
		Median *float64 `json:"median"` // null without samples, as the next two
		Min    *float64 `json:"min"`
		Max    *float64 `json:"max"`
		Met    bool     `json:"met"`
	}{plain: (*plain)(f), Met: f.Met()}
	if len(f.Samples) > 0 {
		median, least, most := f.Median(), f.Min(), f.Max()
		out.Median, out.Min, out.Max = &median, &least, &most
	}
	return json.Marshal(out)
}

// percentile is the nearest-rank one, p from 0 to 100.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return s[max(0, int(math.Ceil(p/100*float64(len(s))))-1)]
}

// Figures is a table in the making: figures in the order in which they were first named.
type Figures []*Figure

// mark names a figure with a mark, add gives it, or one without a mark, another sample.
func (fs *Figures) mark(name, unit string, most float64) { fs.find(name, unit).Mark = &most }
func (fs *Figures) add(name, unit string, v float64) {
	f := fs.find(name, unit)
	f.Samples = append(f.Samples, v)
}

func (fs *Figures) find(name, unit string) *Figure {
	for _, f := range *fs {
		if f.Name == name {
			return f
		}
	}
	f := &Figure{Name: name, Unit: unit, Samples: []float64{}}
	*fs = append(*fs, f)
	return f
}

// Missed returns the names of the figures that miss their marks.
func (fs Figures) Missed() (names []string) {
	for _, f := range fs {
		if !f.Met() {
			names = append(names, f.Name)
		}
	}
	return names
}

// Text writes the table.
func (fs Figures) Text(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "figure\t| mark\t| median\t| min\t| max\t| runs\t| met?")
	for _, f := range fs {
		most := "–"
		if f.Mark != nil {
			most = "≤ " + number(*f.Mark) + " " + f.Unit
		}
		fmt.Fprintf(t, "%s\t| %s\t| %s %s\t| %s\t| %s\t| %d\t| %s\n", f.Name, most, number(f.Median()), f.Unit, number(f.Min()), number(f.Max()),
			len(f.Samples), f.verdict())
	}
	return t.Flush()
}

// number shows three digits, which is more than any of the figures is worth.
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "?"
	case math.Abs(v) >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
