package lab

import (
	"fmt"
	"testing"
	"time"
	"unicode/utf8"

	"x0tta6bl4/mesh/topology"
)

// Names of a map of many nodes lie on no node, on no other name and inside the drawing, and few have no room.
func TestNamesOnTheMap(t *testing.T) {
	for _, spec := range []string{"geo:40:1", "geo:60:3", "grid:6x9", "ring:3"} {
		m, err := topology.Builtin(spec)
		if err != nil {
			t.Fatal(err)
		}
		l := &Lab{m: FromTopology(m), record: &recorder{}}
		d := l.page(&Report{}, time.Time{}).drawMap()
		if d.Hidden > len(m.Nodes)/10 || len(d.Names)+d.Hidden != len(m.Nodes) {
			t.Errorf("%s: %d of %d names have no room", spec, d.Hidden, len(m.Nodes))
		}
		var boxes []box
		for _, n := range d.Names {
			var x, y float64
			if _, err := fmt.Sscan(n.X, &x); err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Sscan(n.Y, &y); err != nil {
				t.Fatal(err)
			}
			wide := 0.9 * letterWide * float64(utf8.RuneCountInString(n.Text))
			x -= map[string]float64{"start": 0, "middle": wide / 2, "end": wide}[n.Anchor]
			b := box{x, y - 7, x + wide, y}
			for _, o := range boxes {
				if b.meets(o) {
					t.Errorf("%s: %s lies on another name", spec, n.Text)
				}
			}
			for _, c := range d.Nodes {
				var cx, cy float64
				_, _ = fmt.Sscan(c.X, &cx)
				_, _ = fmt.Sscan(c.Y, &cy)
				if b.meets(box{cx - 4, cy - 4, cx + 4, cy + 4}) {
					t.Errorf("%s: %s lies on node %s", spec, n.Text, c.Title)
				}
			}
			boxes = append(boxes, b)
		}
	}
}

func TestCrosses(t *testing.T) {
	b := box{10, 10, 20, 20}
	for s, want := range map[segment]bool{
		{place{0, 0}, place{30, 30}}:   true,
		{place{15, 12}, place{16, 13}}: true,
		{place{0, 15}, place{30, 15}}:  true,
		{place{0, 5}, place{30, 5}}:    false,
		{place{0, 25}, place{5, 30}}:   false,
		{place{0, 22}, place{22, 0}}:   true,
		{place{0, 9}, place{9, 0}}:     false,
	} {
		if b.crosses(s) != want || b.crosses(segment{s.b, s.a}) != want {
			t.Errorf("%v: %v", s, !want)
		}
	}
}

func TestShortNames(t *testing.T) {
	for in, want := range map[string]string{"n1": "n1", "abcdefghijklmnopqrstuv": "abcdefghijklmnopqrstuv", "71522-hohenheimer-strasse-12": "71522-hohen…strasse-12"} {
		if got := shortName(in); got != want || utf8.RuneCountInString(got) > nameMost {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// A grid is drawn as one: no two of its links cross.
func TestGridLiesFlat(t *testing.T) {
	for _, spec := range []string{"grid:3x3", "grid:4x6", "ring:8"} {
		m, err := topology.Builtin(spec)
		if err != nil {
			t.Fatal(err)
		}
		lm := FromTopology(m)
		at := lm.places()
		for i, l := range m.Links {
			for _, o := range m.Links[:i] {
				if l.A != o.A && l.A != o.B && l.B != o.A && l.B != o.B && meet(at[l.A], at[l.B], at[o.A], at[o.B]) {
					t.Errorf("%s: %d-%d crosses %d-%d", spec, l.A, l.B, o.A, o.B)
				}
			}
		}
	}
}

// meet reports whether the segments a-b and c-d cross.
func meet(a, b, c, d place) bool {
	side := func(p, q, r place) bool { return (q.x-p.x)*(r.y-p.y)-(q.y-p.y)*(r.x-p.x) > 0 }
	return side(a, b, c) != side(a, b, d) && side(c, d, a) != side(c, d, b)
}
