package topology

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// valid checks the invariants of Map.
func (m *Map) valid() error {
	seen := map[mesh.NodeID]bool{}
	for _, n := range m.Nodes {
		if n.ID.IsZero() || seen[n.ID] {
			return fmt.Errorf("node %q twice or without a name", n.ID)
		}
		seen[n.ID] = true
	}
	for i, l := range m.Links {
		if l.A == l.B || min(l.A, l.B) < 0 || max(l.A, l.B) >= len(m.Nodes) || !(l.Quality > 0 && l.Quality <= 1) || l.Delay < 0 {
			return fmt.Errorf("link %d: %+v", i, l)
		}
	}
	return nil
}

func builtin(t *testing.T, spec string) *Map {
	t.Helper()
	m, err := Builtin(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.valid(); err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	return m
}

func file(t *testing.T, name string) *Map {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse("some/where/"+name, b)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.valid(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return m
}

func TestBuiltin(t *testing.T) {
	for _, c := range []struct {
		spec               string
		nodes, links, hops int
		far                string // the farthest pair
	}{
		{"line:2", 2, 1, 1, "n1 n2"},
		{"line:5", 5, 4, 4, "n1 n5"},
		{"ring:3", 3, 3, 1, "n1 n2"},
		{"ring:8", 8, 8, 4, "n1 n5"},
		{"diamond", 4, 4, 2, "n1 n4"},
		{"demo", 6, 6, 3, "alpha zeta"},
		{"grid:3x4", 12, 17, 5, "r1c1 r3c4"},
		{"grid:1x2", 2, 1, 1, "r1c1 r1c2"},
	} {
		m := builtin(t, c.spec)
		a, b, hops := m.FarthestPair()
		far := m.Nodes[a].ID.String() + " " + m.Nodes[b].ID.String()
		if len(m.Nodes) != c.nodes || len(m.Links) != c.links || hops != c.hops || far != c.far || m.Name != c.spec {
			t.Errorf("%s: %d nodes, %d links, %q %d hops apart; want %d, %d, %q, %d", c.spec, len(m.Nodes), len(m.Links), far, hops, c.nodes, c.links, c.far, c.hops)
		}
		if !m.Connected(Broken{}) || m.Links[0].Delay != DefaultDelay {
			t.Errorf("%s: not connected, or delay %v", c.spec, m.Links[0].Delay)
		}
	}
}

func TestGeometricIsConnectedAndRepeats(t *testing.T) {
	for _, spec := range []string{"geometric:2", "geometric:50", "geometric:300"} {
		m := builtin(t, spec)
		if !m.Connected(Broken{}) || !reflect.DeepEqual(m, builtin(t, spec)) || len(m.Links) > 3*len(m.Nodes) {
			t.Errorf("%s: connected %v, %d links", spec, m.Connected(Broken{}), len(m.Links))
		}
	}
}

func TestBuiltinErrors(t *testing.T) {
	for _, spec := range []string{"", "line", "line:", "line:1", "line:x", "ring:2", "ring:-5", "ring:999999999", "geo", "geo:1:1", "geo:5:x", "geo:5:-1", "geo:5:1:1", "geo:99999:1", "grid:3", "grid:0x5", "grid:1x1",
		"grid:99999x99999", "diamond:4", "demo:1", "star:4", "geometric:99999", "line:4 "} {
		m, err := Builtin(spec)
		if !errors.Is(err, ErrSpec) || m != nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", spec)) {
			t.Errorf("%q: %v", spec, err)
		}
	}
}

// The two ways of demo share no relay.
func TestDemoHasTwoDisjointWays(t *testing.T) {
	m := builtin(t, "demo")
	for n := 1; n < 5; n++ {
		if hops, ok := m.ShortestHops(0, 5, Broken{Nodes: []int{n}}); !ok || hops != 3 {
			t.Errorf("without %v: %d hops, %v", m.Nodes[n].ID, hops, ok)
		}
	}
	if m.Reachable(0, 5, Broken{Nodes: []int{1, 3}}) {
		t.Error("reachable without both ways")
	}
}

func TestZoo(t *testing.T) {
	m := file(t, "Abilene.tsv")
	if len(m.Nodes) != 11 || len(m.Links) != 14 || m.Name != "Abilene.tsv" || m.Nodes[2].ID.String() != "washington-dc" {
		t.Fatalf("%+v", m)
	}
	// New York - Chicago, 1,145 km: 5.7 ms of glass.
	if d := m.Links[0].Delay; d < 5500*time.Microsecond || d > 6*time.Millisecond {
		t.Errorf("New York - Chicago takes %v", d)
	}
	m = file(t, "Heanet.tsv")
	if len(m.Links) != 13 || m.Nodes[4].ID.String() != "dcu-dublin-city-university" || len(m.LinksBetween(3, 6)) != 2 {
		t.Fatalf("%+v", m)
	}
	if d := m.Links[6].Delay; d != wireFloor {
		t.Errorf("two nodes in one place: %v, want %v", d, wireFloor)
	}
	if s := m.Simple(); len(s.Links) != 11 || s.valid() != nil {
		t.Errorf("%d links without parallel ones, want 11", len(s.Links))
	}
}

func TestTSVDetails(t *testing.T) {
	m, err := Parse("x.tsv", []byte("# c\r\nN\ta\tÅre 1\t\t\r\nN\tb\tÅre 1\nN\tc\t!!\t1\t2\nE\ta\tb\t< 2.5 Gbps\nE\tb\tc\tfibre\nE\tc\tc\n\n"))
	if err != nil || m.valid() != nil || m.Skipped != 1 {
		t.Fatal(m, err)
	}
	var ids []string
	for _, n := range m.Nodes {
		ids = append(ids, n.ID.String())
	}
	if !slices.Equal(ids, []string{"are-1", "are-1-2", "node"}) {
		t.Errorf("names %v", ids)
	}
	if m.Links[0].Rate != 2_500_000_000 || m.Links[0].Delay != DefaultDelay || m.Links[1].Rate != 0 {
		t.Errorf("links %+v", m.Links)
	}
}

func TestLooseRate(t *testing.T) {
	for in, want := range map[string]mesh.BitsPerSecond{
		"": 0, "45 Mbps DS-3": 45e6, "1000000000.0": 1e9, "< 10Gbps": 10e9, "64Kbps": 64e3, "OC-192c": 0, "2": 0, "7 red": 0, "9e9": 0, "99999999 Gbps": 0,
		"2x10Gb/s": 0, ".": 0,
	} {
		if got := looseRate(in); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
}

func TestJSON(t *testing.T) {
	m, err := Parse("town.json", []byte(`{"nodes":[{"id":0,"name":"Haus A","x":52,"y":13},{"id":1,"name":"Haus A","x":52.001,"y":13},
		{"id":"k"},{"id":1,"name":"again"},{"id":5,"name":"no place","x":999,"y":1}],
		"links":[{"source":0,"target":1,"source_tq":0.9,"target_tq":0.5,"type":"wifi"},{"source":1,"target":"k","type":"vpn"},
		{"source":0,"target":77},{"source":0,"target":0},{"source":0,"target":5,"source_tq":0,"target_tq":1}], "version": 3}`))
	if err != nil || m.valid() != nil {
		t.Fatal(m, err)
	}
	if len(m.Nodes) != 4 || len(m.Links) != 2 || m.Skipped != 4 || m.Nodes[1].ID.String() != "haus-a-2" || m.Nodes[3].Located {
		t.Errorf("%+v", m)
	}
	// Half of the sendings fail: 1/16 of the frames, after 1.875 sendings of 1 ms on average.
	if l := m.Links[0]; l.Quality != 0.9375 || !l.Radio || l.Delay != 1875*time.Microsecond {
		t.Errorf("wifi link %+v", l)
	}
	if l := m.Links[1]; l.Quality != 1 || l.Radio || l.Delay != accessDelay {
		t.Errorf("vpn link %+v", l)
	}
	if big := m.Largest(); len(big.Nodes) != 3 || len(big.Links) != 2 || big.valid() != nil {
		t.Errorf("largest part %+v", big)
	}
}

func TestText(t *testing.T) {
	in := "name two-sites # that is all\nnode a 52.52 13.40\nlink a b\nnode b 48.14 11.58\nlink b c delay=2ms quality=0.9 rate=10M radio\nlink a c\nnode c\n"
	m, err := Parse("x.map", []byte(in))
	if err != nil || m.valid() != nil || m.Name != "two-sites" || len(m.Nodes) != 3 {
		t.Fatal(m, err)
	}
	want := []Link{{A: 0, B: 1, Delay: m.Links[0].Delay, Quality: 1},
		{A: 1, B: 2, Delay: 2 * time.Millisecond, Quality: 0.9, Rate: 10e6, Radio: true}, {A: 0, B: 2, Delay: DefaultDelay, Quality: 1}}
	if !reflect.DeepEqual(m.Links, want) || m.Links[0].Delay < 2*time.Millisecond || m.Links[0].Delay > 3*time.Millisecond {
		t.Errorf("links %+v", m.Links)
	}
	again, err := ParseText(m.Format())
	if err != nil || !reflect.DeepEqual(again, m) {
		t.Errorf("%v: %+v, want %+v", err, again, m)
	}
}

// Every error names the line and what to write.
func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"x", "nodes a\n", "line 1"}, {"x", "\nname a b", "line 2"}, {"x", "node", "line 1"}, {"x", "node A", "lower-case"},
		{"x", "node a\nnode a", "line 2"}, {"x", "node a 91 0", "degrees"}, {"x", "node a NaN 0", "degrees"}, {"x", "node a 1", "LATITUDE"},
		{"x", "link a", "line 1"}, {"x", "link a a", "two nodes"}, {"x", "link a B", "lower-case"}, {"x", "link -a b", "lower-case"},
		{"x", "link a b delay=5", "delay=5ms"}, {"x", "link a b delay=-1s", "delay"}, {"x", "link a b quality=0", "quality=0.9"},
		{"x", "link a b quality=NaN", "quality"}, {"x", "link a b rate=fast", "rate=10M"}, {"x", "link a b rate=1MM", "rate"}, {"x", "link a b colour=red", "options"},
		{"x.tsv", "N\t1", "line 1"}, {"x.tsv", "N\t1\ta\nN\t1\tb", "line 2"}, {"x.tsv", "N\t1\ta\tx\ty", "degrees"}, {"x.tsv", "E\t1", "line 1"},
		{"x.tsv", "N\t1\ta\n\nE\t1\t2", "line 3"}, {"x.tsv", "N 1 a", "tabs"}, {"x.json", "{\n\"nodes\": [\n}", "line 3"}, {"x.json", "{\n\"nodes\": 7}", "line 2"},
		{"x.json", `{"nodes":[{"name":"a"}]}`, "node 0"}, {"x.json", "", "line 1"},
	} {
		m, err := Parse(c.name, []byte(c.in))
		if !errors.Is(err, ErrFormat) || m != nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), c.name+":") {
			t.Errorf("%s %q: %v; want it to say %q", c.name, c.in, err, c.want)
		}
	}
}

func TestSizeIsBounded(t *testing.T) {
	tsv, text, js := new(strings.Builder), new(strings.Builder), new(strings.Builder)
	js.WriteString(`{"nodes":[`)
	for i := range MaxNodes + 1 {
		fmt.Fprintf(tsv, "N\t%d\ta%d\n", i, i)
		fmt.Fprintf(text, "node a%d\n", i)
		fmt.Fprintf(js, `{"id":%d},`, i)
	}
	for name, in := range map[string]string{"x.tsv": tsv.String(), "x": text.String(), "x.json": strings.TrimSuffix(js.String(), ",") + "]}"} {
		if _, err := Parse(name, []byte(in)); !errors.Is(err, ErrSize) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSlug(t *testing.T) {
	long := strings.Repeat("a", 62) + "-b"
	n := newNamer()
	for _, c := range [][2]string{
		{"Zürich  (HB)", "zuerich-hb"}, {"--", "node"}, {"日本", "node-2"}, {"a6:2b:b0", "a6-2b-b0"}, {"x-", "x"}, {"X", "x-2"}, {"x-2", "x-2-2"},
		{long, strings.Repeat("a", 62)}, {long, strings.Repeat("a", 61) + "-2"},
	} {
		if got := n.name(c[0]); got.String() != c[1] {
			t.Errorf("%q: %q, want %q", c[0], got, c[1])
		}
	}
}

func TestGraphQuestions(t *testing.T) {
	m, err := ParseText([]byte("link a b\nlink b c\nlink c a\nlink c d\nlink e f\nlink e f\nnode g\n"))
	if err != nil {
		t.Fatal(err)
	}
	if m.Connected(Broken{}) || m.ReachablePairs(Broken{}) != 4*3+2 || !m.Reachable(0, 3, Broken{}) || m.Reachable(0, 4, Broken{}) {
		t.Error("whole map")
	}
	if got := m.Components(Broken{Nodes: []int{2}}); !slices.Equal(got, []int{0, 0, -1, 1, 2, 2, 3}) {
		t.Errorf("parts without c: %v", got)
	}
	if got := m.Hops(0, Broken{Links: []int{2}}); !slices.Equal(got, []int{0, 1, 2, 3, -1, -1, -1}) {
		t.Errorf("hops without a-c: %v", got)
	}
	if got := m.Hops(0, Broken{Nodes: []int{0}}); slices.Max(got) >= 0 {
		t.Errorf("hops from a broken node: %v", got)
	}
	if got := m.ShortestPath(3, 0, Broken{}); !slices.Equal(got, []int{3, 2, 0}) {
		t.Errorf("d to a: %v", got)
	}
	if m.ShortestPath(0, 6, Broken{}) != nil || m.ShortestPath(0, 0, Broken{Nodes: []int{0}}) != nil {
		t.Error("a path where there is none")
	}
	if !m.Reachable(4, 5, Broken{Links: []int{4}}) || m.Reachable(4, 5, Broken{Links: []int{4, 5}}) {
		t.Error("parallel links e-f")
	}
	if i, ok := m.Find(mesh.MustNodeID("d")); !ok || i != 3 {
		t.Error("find d")
	}
	if _, ok := m.Find(mesh.MustNodeID("z")); ok {
		t.Error("find z")
	}
	if got := m.Neighbours(Broken{})[4]; !slices.Equal(got, []int{5}) {
		t.Errorf("neighbours of e: %v", got)
	}
	empty := &Map{}
	if a, b, h := empty.FarthestPair(); a != -1 || b != -1 || h != 0 || !empty.Connected(Broken{}) || len(empty.Largest().Nodes) != 0 {
		t.Error("the empty map")
	}
}

func fuzz(f *testing.F, name string, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(name, b)
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrSize) {
				t.Fatal(err)
			}
			return
		}
		if err := m.valid(); err != nil {
			t.Fatal(err)
		}
		again, err := ParseText(m.Format())
		if err != nil || len(again.Nodes) != len(m.Nodes) || !slices.Equal(again.Links, m.Links) {
			t.Fatalf("%v\n%s", err, m.Format())
		}
		if err := m.Largest().Simple().valid(); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzText(f *testing.F) {
	fuzz(f, "x", "name x\nnode a 1 2\nlink a b delay=1ms quality=0.5 rate=1k radio\n", "link a b # c")
}

func FuzzTSV(f *testing.F) { fuzz(f, "x.tsv", "N\t1\tA\t1\t2\nN\t2\tB\nE\t1\t2\t1 Mbps\n", "#") }

func FuzzJSON(f *testing.F) {
	fuzz(f, "x.json", `{"nodes":[{"id":1,"name":"a","x":1,"y":2},{"id":2}],"links":[{"source":1,"target":2,"source_tq":0.5,"type":"wifi"}]}`, "{}")
}
