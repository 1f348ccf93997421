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

// Figure is one number that was measured several times. Where there is a mark, less is better unless AtLeast says otherwise.
type Figure struct {
	Name    string    `json:"name"`
	Unit    string    `json:"unit"`
	Mark    *float64  `json:"mark"`               // what is judged may be at most so much; nil = none, the figure is only told
	AtLeast bool      `json:"at_least,omitempty"` // … must be at least so much
	Rank    float64   `json:"rank,omitempty"`     // which percentile of the samples is judged; 0 = the median
	Needs   int       `json:"needs,omitempty"`    // samples before it is judged; 0 = MinRuns
	Samples []float64 `json:"samples"`
}

// Value is what is judged: the median, or the percentile that Rank names; NaN without samples.
func (f *Figure) Value() float64 {
	if f.Rank > 0 {
		return percentile(f.Samples, f.Rank)
	}
	return f.Median()
}

// Median, Min and Max are those of the samples; NaN without any.
func (f *Figure) Median() float64 { return percentile(f.Samples, 50) }
func (f *Figure) Min() float64    { return percentile(f.Samples, 0) }
func (f *Figure) Max() float64    { return percentile(f.Samples, 100) }

// Within counts the samples that meet the mark.
func (f *Figure) Within() (n int) {
	for _, v := range f.Samples {
		if f.meets(v) {
			n++
		}
	}
	return n
}

// meets reports whether a value is on the right side of the mark.
func (f *Figure) meets(v float64) bool {
	return f.Mark != nil && (v <= *f.Mark && !f.AtLeast || v >= *f.Mark && f.AtLeast)
}

// enough is how many samples the figure needs before it is judged.
func (f *Figure) enough() int { return orElse(f.Needs, MinRuns) }

// Met reports whether the figure has no mark, or was measured often enough with a value that meets it.
func (f *Figure) Met() bool {
	return f.Mark == nil || len(f.Samples) >= f.enough() && f.meets(f.Value())
}

// verdict is the last column of the table: whether the mark is met, and by how many of the runs if not by all.
func (f *Figure) verdict() string {
	n := len(f.Samples)
	switch {
	case f.Mark == nil:
		return "–"
	case n < f.enough():
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
		Value  *float64 `json:"value"` // that is judged; null without samples, as the next three
		Median *float64 `json:"median"`
		Min    *float64 `json:"min"`
		Max    *float64 `json:"max"`
		Met    bool     `json:"met"`
	}{plain: (*plain)(f), Met: f.Met()}
	if len(f.Samples) > 0 {
		value, median, least, most := f.Value(), f.Median(), f.Min(), f.Max()
		out.Value, out.Median, out.Min, out.Max = &value, &median, &least, &most
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

// mark names a figure with a mark that it may reach at most, markLeast one that it must reach; add gives it, or one without a
// mark, another sample.
func (fs *Figures) mark(name, unit string, most float64) { fs.find(name, unit).Mark = &most }
func (fs *Figures) markLeast(name, unit string, least float64) {
	f := fs.find(name, unit)
	f.Mark, f.AtLeast = &least, true
}
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
	fmt.Fprintln(t, "figure\t| mark\t| value\t| min\t| max\t| runs\t| met?")
	for _, f := range fs {
		most := "–"
		if f.Mark != nil {
			most = map[bool]string{false: "≤ ", true: "≥ "}[f.AtLeast] + number(*f.Mark) + " " + f.Unit
		}
		fmt.Fprintf(t, "%s\t| %s\t| %s %s\t| %s\t| %s\t| %d\t| %s\n", f.Name, most, number(f.Value()), f.Unit, number(f.Min()), number(f.Max()),
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
