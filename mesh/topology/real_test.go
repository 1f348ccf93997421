package topology

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// A seed stands for one map, on every machine and in every version: reports and saved runs name it. The digests were
// taken once and never change.
func TestGeoSeedsAreForEver(t *testing.T) {
	for spec, want := range map[string]string{"geo:40:1": "fa54d00c6acd63e2", "geo:40:2": "6d8ef07ec8bb9347", "geo:500:7": "d37b6598e7ae48ef"} {
		m := builtin(t, spec)
		sum := sha256.Sum256(m.Format())
		if got := hex.EncodeToString(sum[:8]); got != want {
			t.Errorf("%s: digest %s, want %s", spec, got, want)
		}
	}
	if a, b := builtin(t, "geo:40"), builtin(t, "geo:40:1"); !slices.Equal(a.Links, b.Links) {
		t.Error("geo:40 is not geo:40:1")
	}
}

func TestGeoShape(t *testing.T) {
	for _, spec := range []string{"geo:2:1", "geo:5:1", "geo:40:1", "geo:60:9", "geo:300:3", "geo:1000:18446744073709551615"} {
		m := builtin(t, spec)
		degree := 2 * float64(len(m.Links)) / float64(len(m.Nodes))
		if !m.Connected(Broken{}) || len(m.Simple().Links) != len(m.Links) {
			t.Errorf("%s: in parts, or with parallel links", spec)
		}
		if len(m.Nodes) >= 40 && (degree < 4 || degree > 6) {
			t.Errorf("%s: %.1f links at a node, want 4 to 6", spec, degree)
		}
		for _, l := range m.Links {
			if l.Delay < wireFloor || l.Delay > 6*time.Millisecond {
				t.Errorf("%s: delay %v in a square of 1,000 km", spec, l.Delay)
			}
		}
	}
}

// The maps that ship with the project are whole: each can be read, and cut to what a lab runs.
func TestRealMaps(t *testing.T) {
	zoo, _ := filepath.Glob("testdata/zoo/*.tsv")
	freifunk, _ := filepath.Glob("testdata/freifunk/*.json")
	if len(zoo) < 10 || len(freifunk) < 5 {
		t.Fatalf("%d and %d maps", len(zoo), len(freifunk))
	}
	for _, name := range append(zoo, freifunk...) {
		m := file(t, strings.TrimPrefix(name, "testdata/"))
		p, err := m.Simple().Piece("60")
		if err != nil || p.valid() != nil || !p.Connected(Broken{}) || len(p.Nodes) > 60 || len(p.Nodes) < min(60, len(m.Largest().Nodes)) {
			t.Errorf("%s#60: %v, %d nodes", name, err, len(p.Nodes))
		}
		again, _ := m.Simple().Piece("60")
		if !reflect.DeepEqual(p, again) || !strings.HasSuffix(p.Name, "#60") {
			t.Errorf("%s#60 is not the same twice, or is called %q", name, p.Name)
		}
		if strings.HasSuffix(name, ".json") && len(p.Links) < len(p.Nodes)+5 {
			t.Errorf("%s#60 has %d links: hardly a way round anything", name, len(p.Links))
		}
		text, err := ParseText(p.Format())
		if err != nil || !slices.Equal(text.Links, p.Links) {
			t.Errorf("%s#60: does not survive being written down: %v", name, err)
		}
	}
}

func TestPieces(t *testing.T) {
	// Two parts: a star around c with a tail, and a pair that has more links but fewer neighbours.
	m, err := ParseText([]byte("link x y\nlink x y\nlink a b\nlink c b\nlink c d\nlink c e\nlink e f\nlink f g\n"))
	if err != nil {
		t.Fatal(err)
	}
	m.Name = "m"
	names := func(m *Map) (s string) {
		for _, n := range m.Nodes {
			s += n.ID.String()
		}
		return s
	}
	for piece, want := range map[string]string{"": "xyabcdefg", "largest": "abcdefg", "part1": "abcdefg", "part2": "xy", "2": "bc", "4": "bcef", "5": "abcef", "6": "abcdef", "7": "abcdefg", "100": "abcdefg"} {
		p, err := m.Piece(piece)
		if err != nil || names(p) != want || p.valid() != nil {
			t.Errorf("#%s: %s, %v; want %s", piece, names(p), err, want)
		}
	}
	for _, piece := range []string{"0", "1", "-3", "part", "part0", "part3", "part-1", "partx", "all", "60x", "99999999999999999999"} {
		if p, err := m.Piece(piece); !errors.Is(err, ErrSpec) || p != nil {
			t.Errorf("#%s: %v, %v", piece, p, err)
		}
	}
	if base, piece := Split("a/b.json#60"); base != "a/b.json" || piece != "60" {
		t.Errorf("%q %q", base, piece)
	}
	if base, piece := Split("ring:4"); base != "ring:4" || piece != "" {
		t.Errorf("%q %q", base, piece)
	}
}

// What community maps hold that no mesh can have: every oddity is mapped, left out and counted, or refused by name.
func TestOddMaps(t *testing.T) {
	m, err := Parse("odd.json", []byte(`{"nodes":[{"id":0,"name":"<b>a&b</b>","x":0,"y":0},{"id":"0","name":"Ünde_r.score!"},
		{"id":1.5,"name":"<b>a&b</b>","x":91,"y":0},{"id":null,"name":""},{"id":2,"x":null,"y":3}],
		"links":[{"source":0,"target":"0","source_tq":7,"target_tq":0.04},{"source":0,"target":"0","source_tq":7},
		{"source":0,"target":1.5,"type":"wifi","source_tq":-1},{"source":0,"target":0},{"source":0},
		{"source":"0","target":2,"type":"wifi"},{"source":2,"target":"0","type":"vpn"}]}`))
	if err != nil || m.valid() != nil {
		t.Fatal(err, m)
	}
	var ids []string
	for _, n := range m.Nodes {
		ids = append(ids, n.ID.String())
		if n.Located {
			t.Errorf("%s has a place", n.ID)
		}
	}
	if want := []string{"b-a-b-b", "uende-r-score", "b-a-b-b-2", "node", "node-2"}; !slices.Equal(ids, want) {
		t.Errorf("%q, want %q", ids, want)
	}
	if len(m.Links) != 3 || m.Skipped != 4 || m.Links[0].Quality != 1 || m.Links[1].Delay != radioFloor || m.Links[2].Delay != accessDelay {
		t.Errorf("links %+v, %d left out", m.Links, m.Skipped)
	}
	for _, c := range [][3]string{
		{"x.json", `{"nodes":[{"id":0,"x":1e999,"y":0}]}`, "line 1"},
		{"x.json", `{"nodes":[{"id":0}],"links":[{"source":0,"target":1,"source_tq":"good"}]}`, "source_tq"},
		{"x.tsv", "N\t1\ta\tNaN\t0", "degrees"}, {"x.tsv", "N\t1\ta\tInf\t0", "degrees"}, {"x", "node a NaN 1", "degrees"},
	} {
		if _, err := Parse(c[0], []byte(c[1])); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c[2]) {
			t.Errorf("%s: %v, want it to say %q", c[1], err, c[2])
		}
	}
}
