package fault

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

var faultNodes = []mesh.NodeID{n("a"), n("b"), n("a-b"), n("c")}

func n(s string) mesh.NodeID { return mesh.MustNodeID(s) }

func link(a, b string) Target { return Target{A: n(a), B: n(b)} }

func TestParse(t *testing.T) {
	for _, c := range []struct {
		script string
		want   []Fault
	}{
		{"", nil},
		{"# nothing\n\n", nil},
		{"builtin:cut", []Fault{{Kind: Cut, Target: Target{Path: true}, At: 2 * time.Second}}},
		{"builtin:mtu", []Fault{{Kind: MTU, Target: Target{Path: true}, Param: Param{MTU: 1300}, At: 2 * time.Second}}},
		{"cut link:a-b at 1500ms", []Fault{{Kind: Cut, Target: link("a", "b"), At: 1500 * time.Millisecond}}},
		{"  blackhole\tlink:b-c at 0s for 3s # why", []Fault{{Kind: Blackhole, Target: link("b", "c"), For: 3 * time.Second}}},
		{"cut link:a-b-c at 1s", []Fault{{Kind: Cut, Target: link("a-b", "c"), At: time.Second}}},
		{"kill node:a-b at 1s", []Fault{{Kind: Kill, Target: Target{A: n("a-b")}, At: time.Second}}},
		{"freeze path:a-c at 1s", []Fault{{Kind: Freeze, Target: Target{A: n("a"), B: n("c"), Path: true}, At: time.Second}}},
		{"restart node:a at 3s\noneway link:c-b at 1s", []Fault{
			{Kind: Oneway, Target: link("c", "b"), At: time.Second}, {Kind: Restart, Target: Target{A: n("a")}, At: 3 * time.Second}}},
		{"greydrop node:b 0.5 at 1s", []Fault{{Kind: Greydrop, Target: Target{A: n("b")}, Param: Param{P: 0.5}, At: time.Second}}},
		{"loss link:a-b 10% at 1s", []Fault{{Kind: Loss, Target: link("a", "b"), Param: Param{P: 0.1}, At: time.Second}}},
		{"loss link:a-b 1 at 1s", []Fault{{Kind: Loss, Target: link("a", "b"), Param: Param{P: 1}, At: time.Second}}},
		{"reorder link:a-b 33.3% at 1s", []Fault{{Kind: Reorder, Target: link("a", "b"), Param: Param{P: 0.333}, At: time.Second}}},
		{"duplicate link:a-b 1e-3 at 1s", []Fault{{Kind: Duplicate, Target: link("a", "b"), Param: Param{P: 0.001}, At: time.Second}}},
		{"delay link:a-b 50ms at 1s for 1s", []Fault{
			{Kind: Delay, Target: link("a", "b"), Param: Param{D: 50 * time.Millisecond}, At: time.Second, For: time.Second}}},
		{"jitter link:a-b 10s at 1s", []Fault{{Kind: Jitter, Target: link("a", "b"), Param: Param{D: 10 * time.Second}, At: time.Second}}},
		{"rate link:a-b 64k at 1s", []Fault{{Kind: Rate, Target: link("a", "b"), Param: Param{Rate: 64_000}, At: time.Second}}},
		{"rate link:a-b 1500000 at 1s", []Fault{{Kind: Rate, Target: link("a", "b"), Param: Param{Rate: 1_500_000}, At: time.Second}}},
		{"mtu link:a-b 1280 at 1s", []Fault{{Kind: MTU, Target: link("a", "b"), Param: Param{MTU: 1280}, At: time.Second}}},
		{"flap link:a-b 2s/500ms at 1s", []Fault{{Kind: Flap, Target: link("a", "b"),
			Param: Param{Up: 2 * time.Second, Down: 500 * time.Millisecond}, At: time.Second}}},
		{"clock node:a -90s at 1s", []Fault{{Kind: Clock, Target: Target{A: n("a")}, Param: Param{D: -90 * time.Second}, At: time.Second}}},
		{"partition a,b|c,a-b at 2s for 5s", []Fault{{Kind: Partition, Sides: Sides{{n("a"), n("b")}, {n("c"), n("a-b")}},
			At: 2 * time.Second, For: 5 * time.Second}}},
		{"partition path:a-c at 2s", []Fault{{Kind: Partition, Target: Target{A: n("a"), B: n("c"), Path: true}, At: 2 * time.Second}}},
	} {
		got, err := Parse(c.script, faultNodes)
		if err != nil {
			t.Errorf("%q: %v", c.script, err)
			continue
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v, want %+v", c.script, got, c.want)
		}
		checkRoundTrip(t, got)
	}
}

// checkRoundTrip asserts that what String writes is read as the same, and that Check has nothing against it.
func checkRoundTrip(t *testing.T, fs []Fault) {
	t.Helper()
	for _, f := range fs {
		again, err := Parse(f.String(), faultNodes)
		if err != nil || !reflect.DeepEqual(again, []Fault{f}) {
			t.Errorf("%q does not come back: %+v, %v", f, again, err)
		}
		if err := f.Check(); err != nil {
			t.Errorf("%q: %v", f, err)
		}
	}
}

// Every kind can be had without saying more than its name, and stands in the list of kinds.
func TestBuiltins(t *testing.T) {
	if len(kinds) != len(rules) {
		t.Errorf("%d kinds are listed, %d have a rule", len(kinds), len(rules))
	}
	for _, k := range Kinds() {
		fs, err := Parse("builtin:"+string(k), faultNodes)
		if err != nil || len(fs) != 1 || !fs[0].Target.Path {
			t.Errorf("%s: %v, %v", k, fs, err)
			continue
		}
		checkRoundTrip(t, fs)
	}
}

func TestParseRefuses(t *testing.T) {
	for script, want := range map[string]string{
		"cut":                                 "KIND TARGET [PARAM] at T",
		"cut link:a-b":                        "KIND TARGET [PARAM] at T",
		"cut link:a-b at":                     "KIND TARGET [PARAM] at T",
		"cut link:a-b at soon":                "write for example 2s",
		"cut link:a-b at -1s":                 "write for example 2s",
		"cut link:a-b at 1s for":              "at T [for D]",
		"cut link:a-b at 1s for 0s":           "write for example 2s",
		"cut link:a-b at 1s until 2s":         "at T [for D]",
		"cut link:a-b 0.5 at 1s":              "takes no parameter",
		"cut link:a-a at 1s":                  "two nodes of the map",
		"cut link:a-z at 1s":                  "two nodes of the map",
		"cut node:a at 1s":                    "link:A-B or path:A-D",
		"kill link:a-b at 1s":                 "node:A or path:A-D",
		"kill node:z at 1s":                   `no node "z"`,
		"kill host:a at 1s":                   "write link:A-B",
		"explode node:a at 1s":                "there are cut,",
		"builtin:explode":                     "there are cut,",
		"builtin:cut at 3s":                   "nothing may follow",
		"builtin:":                            "there are cut,",
		"loss link:a-b at 1s":                 "a probability",
		"loss link:a-b 0 at 1s":               "a probability",
		"loss link:a-b 101% at 1s":            "a probability",
		"loss link:a-b NaN at 1s":             "a probability",
		"loss link:a-b -0.1 at 1s":            "a probability",
		"loss node:a 0.1 at 1s":               "link:A-B or path:A-D",
		"loss link:a-b 0.1 0.2 at 1s":         "at T [for D]",
		"greydrop link:a-b 0.1 at 1s":         "node:A or path:A-D",
		"delay link:a-b 0s at 1s":             "a time of up to 10s",
		"delay link:a-b 11s at 1s":            "a time of up to 10s",
		"jitter link:a-b -1ms at 1s":          "a time of up to 10s",
		"rate link:a-b 10MM at 1s":            "a rate in bit/s",
		"rate link:a-b 999 at 1s":             "a rate in bit/s",
		"rate link:a-b 1.5M at 1s":            "a rate in bit/s",
		"mtu link:a-b 67 at 1s":               "a size in bytes",
		"mtu link:a-b 65536 at 1s":            "a size in bytes",
		"flap link:a-b 2s at 1s":              "times UP/DOWN",
		"flap link:a-b 2s/9ms at 1s":          "times UP/DOWN",
		"clock node:a 0s at 1s":               "how far it is ahead",
		"clock node:a 24001h at 1s":           "how far it is ahead",
		"partition a at 1s":                   "two sets of nodes",
		"partition a|b|c at 1s":               "two sets of nodes",
		"partition a|a at 1s":                 "names a twice",
		"partition a,|b at 1s":                `no node ""`,
		"partition |b at 1s":                  `no node ""`,
		"partition a|z at 1s":                 `no node "z"`,
		"partition link:a-b at 1s":            "two sets of nodes",
		"\ncut link:a-b at 1s\nclock node:a":  "line 3",
		strings.Repeat("#", maxScript) + "\n": "at most",
	} {
		_, err := Parse(script, faultNodes)
		if !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want one that says %q", script, err, want)
		}
	}
	for _, k := range later {
		_, err := Parse(string(k)+" node:a at 1s", faultNodes)
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "cut, blackhole, oneway, greydrop") {
			t.Errorf("%s: %v", k, err)
		}
	}
}

// Faults that a program makes are held to what a script may say.
func TestCheck(t *testing.T) {
	for _, f := range []Fault{
		{Kind: "explode", Target: link("a", "b")},
		{Kind: Cut, Target: link("a", "b"), Param: Param{P: 1}},
		{Kind: Cut, Target: Target{A: n("a")}},
		{Kind: Cut, Target: link("a", "b"), Sides: Sides{{n("a")}, {n("b")}}},
		{Kind: Loss, Target: link("a", "b")},
		{Kind: Loss, Target: link("a", "b"), Param: Param{P: math.NaN()}},
		{Kind: Loss, Target: link("a", "b"), Param: Param{P: 0.1, D: 1}},
		{Kind: Partition},
		{Kind: Partition, Target: Target{A: n("a"), B: n("b"), Path: true}, Sides: Sides{{n("a")}, {n("b")}}},
	} {
		if err := f.Check(); !errors.Is(err, ErrSyntax) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestSidesPart(t *testing.T) {
	s := Sides{{n("a")}, {n("b"), n("c")}}
	for pair, want := range map[[2]string]bool{{"a", "b"}: true, {"c", "a"}: true, {"b", "c"}: false, {"a", "a-b"}: false} {
		if got := s.Parts(n(pair[0]), n(pair[1])); got != want {
			t.Errorf("%v: %v", pair, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("cut link:a-b at 1s for 2s")
	f.Add("kill node:a-b at 1s # x\n\nfreeze path:a-c at 0s")
	f.Add("partition a,b|c,a-b at 2s for 5s")
	f.Add("flap link:a-b 2s/500ms at 1s\nrate link:a-b 64k at 1s")
	f.Add("loss link:a-b 33.3% at 1s\nclock node:a -90s at 1s")
	for _, k := range kinds {
		f.Add("builtin:" + string(k))
	}
	f.Fuzz(func(t *testing.T, script string) {
		fs, err := Parse(script, faultNodes)
		if err != nil {
			return
		}
		for i, f := range fs {
			if i > 0 && fs[i-1].At > f.At {
				t.Errorf("%q: not in order of time", script)
			}
		}
		checkRoundTrip(t, fs)
	})
}
