package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// Figure is one measured number. The smaller the better, where there is a mark.
type Figure struct {
	Name    string
	Unit    string
	Mark    float64 // what the worst... median may be at most; only if Marked
	Marked  bool
	Samples []float64 // one for each run, in order
}

// MinRuns is how many samples a figure must have to be judged.
const MinRuns = 5

func (f *Figure) add(v float64) { f.Samples = append(f.Samples, v) }
