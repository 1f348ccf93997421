package fault

import (
	"errors"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

var faultNodes = []mesh.NodeID{mesh.MustNodeID("a"), mesh.MustNodeID("b"), mesh.MustNodeID("a-b"), mesh.MustNodeID("c")}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		script string
		want   []Fault
	}{
		{"", nil},
		{"# nothing\n\n", nil},
		{"builtin:cut", []Fault{{Cut, Target{Path: true}, 2 * time.Second, 0}}},
		{"cut link:a-b at 1500ms", []Fault{{Cut, Target{A: mesh.MustNodeID("a"), B: mesh.MustNodeID("b")}, 1500 * time.Millisecond, 0}}},
		{"  blackhole\tlink:b-c at 0s for 3s # why", []Fault{{Blackhole, Target{A: mesh.MustNodeID("b"), B: mesh.MustNodeID("c")}, 0, 3 * time.Second}}},
		{"cut link:a-b-c at 1s", []Fault{{Cut, Target{A: mesh.MustNodeID("a-b"), B: mesh.MustNodeID("c")}, time.Second, 0}}},
		{"kill node:a-b at 1s", []Fault{{Kill, Target{A: mesh.MustNodeID("a-b")}, time.Second, 0}}},
		{"freeze path:a-c at 1s", []Fault{{Freeze, Target{A: mesh.MustNodeID("a"), B: mesh.MustNodeID("c"), Path: true}, time.Second, 0}}},
		{"restart node:a at 3s\noneway link:c-b at 1s", []Fault{
			{Oneway, Target{A: mesh.MustNodeID("c"), B: mesh.MustNodeID("b")}, time.Second, 0}, {Restart, Target{A: mesh.MustNodeID("a")}, 3 * time.Second, 0}}},
	} {
		got, err := Parse(c.script, faultNodes)
		if err != nil {
			t.Errorf("%q: %v", c.script, err)
			continue
		}
		if len(got) != len(c.want) {
			t.Errorf("%q: %v, want %v", c.script, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%q: %+v, want %+v", c.script, got[i], c.want[i])
			}
			if got[i].Target.A.IsZero() {
				continue
			}
			again, err := Parse(got[i].String(), faultNodes)
			if err != nil || again[0] != got[i] {
				t.Errorf("%q does not come back: %v, %v", got[i], again, err)
			}
		}
	}
}

func TestParseFaultsRefuses(t *testing.T) {
	for script, want := range map[string]error{
		"cut":                              ErrSyntax,
		"cut link:a-b":                     ErrSyntax,
		"cut link:a-b at":                  ErrSyntax,
		"cut link:a-b at soon":             ErrSyntax,
		"cut link:a-b at -1s":              ErrSyntax,
		"cut link:a-b at 1s for":           ErrSyntax,
		"cut link:a-b at 1s for 0s":        ErrSyntax,
		"cut link:a-b at 1s until 2s":      ErrSyntax,
		"cut link:a-b 0.5 at 1s":           ErrSyntax,
		"cut link:a-a at 1s":               ErrSyntax,
		"cut link:a-z at 1s":               ErrSyntax,
		"cut node:a at 1s":                 ErrSyntax,
		"kill link:a-b at 1s":              ErrSyntax,
		"kill node:z at 1s":                ErrSyntax,
		"kill host:a at 1s":                ErrSyntax,
		"explode node:a at 1s":             ErrSyntax,
		"builtin:explode":                  ErrSyntax,
		"builtin:cut at 3s":                ErrSyntax,
		"builtin:":                         ErrSyntax,
		"loss link:a-b 0.1 at 1s":          ErrUnsupported,
		"builtin:greydrop":                 ErrUnsupported,
		"partition a|b at 1s":              ErrUnsupported,
		"cut link:a-b at 1s\nclock node:a": ErrUnsupported,
	} {
		_, err := Parse(script, faultNodes)
		if !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", script, err, want)
			continue
		}
		if errors.Is(want, ErrUnsupported) && !strings.Contains(err.Error(), "cut, blackhole, oneway, kill, freeze, restart") {
			t.Errorf("%q: %v does not list what is supported", script, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("cut link:a-b at 1s for 2s")
	f.Add("builtin:kill")
	f.Add("kill node:a-b at 1s # x\n\nfreeze path:a-c at 0s")
	f.Fuzz(func(t *testing.T, script string) {
		fs, err := Parse(script, faultNodes)
		if err != nil {
			return
		}
		for i, f := range fs {
			if i > 0 && fs[i-1].At > f.At {
				t.Errorf("%q: not in order of time", script)
			}
			if err := f.Kind.fits(f.Target); err != nil {
				t.Errorf("%q: accepted but: %v", script, err)
			}
		}
	})
}
