package bench

import (
	"encoding/json"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/mesh/topology"
)

func TestPercentileIsTheNearestRank(t *testing.T) {
	v := []float64{5, 1, 4, 2, 3}
	for p, want := range map[float64]float64{0: 1, 20: 1, 21: 2, 50: 3, 99: 5, 100: 5} {
		if got := percentile(v, p); got != want {
			t.Errorf("p%v of %v is %v, want %v", p, v, got, want)
		}
	}
	if !math.IsNaN(percentile(nil, 50)) || v[0] != 5 {
		t.Error("no values have a median, or the values were sorted in place")
	}
}

func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		samples []float64
		met     bool
		verdict string
	}{
		{[]float64{1, 1, 1, 1, 10}, true, "yes"},
		{[]float64{1, 1, 1, 11, 12}, true, "yes: 3 of 5 runs"},
		{[]float64{1, 1, 11, 12, 13}, false, "NO: 2 of 5 runs"},
		{[]float64{1, 1, 1, 1}, false, "NO: 4 runs are too few"},
		{nil, false, "NO: 0 runs are too few"},
	} {
		var fs Figures
		fs.mark("delay", "ms", 10)
		for _, v := range tt.samples {
			fs.add("delay", "ms", v)
			fs.add("side figure", "ms", 1e9)
		}
		if f := fs[0]; f.Met() != tt.met || f.verdict() != tt.verdict {
			t.Errorf("%v: met %t, %q; want %t, %q", tt.samples, f.Met(), f.verdict(), tt.met, tt.verdict)
		}
		if missed := fs.Missed(); (len(missed) == 0) != tt.met || !tt.met && missed[0] != "delay" {
			t.Errorf("%v: missed %q", tt.samples, missed)
		}
	}
}

// What must be reached is told from what may be reached, and other percentiles than the median are judged.
func TestOtherMarks(t *testing.T) {
	var fs Figures
	fs.markLeast("factor", "×", 2)
	for _, v := range []float64{1, 2, 2, 3, 3} {
		fs.add("factor", "×", v)
	}
	if f := fs[0]; !f.Met() || f.verdict() != "yes: 4 of 5 runs" {
		t.Errorf("%t, %q", f.Met(), f.verdict())
	}
	f := &Figure{Mark: fs[0].Mark, Rank: 99, Needs: 6, Samples: fs[0].Samples}
	if f.Met() || f.verdict() != "NO: 5 runs are too few" || f.Value() != 3 {
		t.Errorf("%t, %q, %v", f.Met(), f.verdict(), f.Value())
	}
	if f.Needs = 5; f.Met() || f.verdict() != "NO: 3 of 5 runs" {
		t.Errorf("%t, %q", f.Met(), f.verdict())
	}
	if f.Rank = 50; !f.Met() {
		t.Errorf("a median of %v misses %v", f.Value(), *f.Mark)
	}
	var text strings.Builder
	if err := fs.Text(&text); err != nil || !strings.Contains(text.String(), "≥ 2 ×") {
		t.Errorf("%s, %v", &text, err)
	}
}

func TestReport(t *testing.T) {
	noise := listen()
	r := Report{Machine: thisMachine(), Noise: noise.stop(), Notes: []string{"it rained"}}
	r.Figures.mark("never measured", "ms", 5)
	r.Figures.add("rate", "Gbit/s", 1.2345)
	var text strings.Builder
	if err := r.Text(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"never measured | ≤ 5 ms | ? ms", "| 1.23 Gbit/s |", "cores", "note: it rained"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	b, err := json.Marshal(r.Figures)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"name":"never measured","unit":"ms","mark":5,"samples":[],"value":null,"median":null,"min":null,"max":null,"met":false},` +
		`{"name":"rate","unit":"Gbit/s","mark":null,"samples":[1.2345],"value":1.2345,"median":1.2345,"min":1.2345,"max":1.2345,"met":true}]`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	if err := r.Save(filepath.Join(t.TempDir(), "deeper", "r.json")); err != nil {
		t.Error(err)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{3: "3", 1234.5: "1234", 99.95: "100.0", 12.34: "12.3", 0.0567: "0.06", -7.34: "-7.34", math.NaN(): "?"} {
		if got := number(v); got != want {
			t.Errorf("%v is shown as %q, want %q", v, got, want)
		}
	}
}

// The figures are of daemons with four and eight neighbours, and of a bound that grows with the path.
func TestWhatIsMeasured(t *testing.T) {
	for centre, text := range map[int][]byte{4: plusMap, 8: starMap} {
		m, err := topology.Parse("idle.txt", text)
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range m.Neighbours(topology.Broken{}) {
			if want := map[bool]int{true: centre, false: 1}[m.Nodes[i].ID.String() == idleNode]; len(n) != want {
				t.Errorf("%s has %d neighbours, want %d", m.Nodes[i].ID, len(n), want)
			}
		}
	}
	if got := firstBound(40 * time.Millisecond); got != 120*time.Millisecond {
		t.Errorf("first packet over 40 ms: %s", got)
	}
	if got := strings.Join(Parts(), " "); got != "grid idle state state-heal state-million throughput flood spread busy code failover" {
		t.Errorf("parts %q", got)
	}
}

func TestIperfReport(t *testing.T) {
	for _, tt := range []struct {
		out     string
		failed  error
		gbps    float64
		refused bool
		err     bool
	}{
		{out: `{"end":{"sum_received":{"bits_per_second":2.5e9}}}`, gbps: 2.5},
		{out: `{"end":{},"error":"unable to connect to server: Connection refused"}`, refused: true},
		{out: `{"end":{},"error":"unable to connect to server"}`, failed: errors.New("exit status 1"), refused: true},
		{out: `{"end":{},"error":"the server is busy"}`, err: true},
		{out: `{"end":{}}`, err: true},
		{failed: errors.New("killed"), err: true},
	} {
		gbps, refused, err := received([]byte(tt.out), tt.failed)
		if gbps != tt.gbps || refused != tt.refused || (err != nil) != tt.err {
			t.Errorf("%q, %v: %v Gbit/s, refused %t, %v", tt.out, tt.failed, gbps, refused, err)
		}
	}
}
