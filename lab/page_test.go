package lab

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

// samplePage has one of everything, and names that would break out of a page that does not escape them.
func samplePage() *Page {
	const evil = `</script><img src=x onerror=alert(1)>"'`
	return &Page{
		Report: &Report{Topology: evil, Nodes: 3, Links: 2, Pairs: 6, PairsReachable: 5, Converged: api.Millis(700 * time.Millisecond),
			Hello:        api.Millis(200 * time.Millisecond),
			FirstPacket:  FirstHand{P50: api.Millis(20 * time.Millisecond), P99: api.Millis(40 * time.Millisecond), Late: 1},
			Availability: &Availability{Raw: 0.9, WithPath: 0.99},
			Faults: []FaultReport{
				{Kind: fault.Cut, Target: "link:a-b", At: api.Millis(time.Second), For: api.Millis(2 * time.Second), Pairs: []string{"a-c"}, Sent: 100, Lost: 10,
					Outage: api.Millis(150 * time.Millisecond), PathExisted: true, Recovered: true},
				{Kind: fault.Kill, Target: "node:c", At: api.Millis(2 * time.Second), For: api.Millis(time.Second), Pairs: []string{evil}, PathExisted: true},
				{Kind: fault.Partition, Target: "a|b,c", Pairs: []string{}},
			}},
		Began:  time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Nodes:  []PageNode{{"a", 0, 0.2}, {"b", 1, 0.8}, {evil, 0.5, 0.5}},
		Links:  []PageLink{{0, 1, 5, 0}, {1, 2, 1.5, 0.3}},
		Events: []Event{{0, "start", "all start"}, {700, "converged", "done"}, {2000, "fault", evil}},
		Flows: []Delivery{{From: id("a"), To: id("c"), Begin: 1000, Step: 100, Sent: []int{100, 100, 100, 100, 100}, Arrived: []int{100, 95, 50, 1, 0},
			Delay: []float64{5, 6, 7, 8, 0}}, {From: id("c"), To: id("a"), Begin: 1000, Step: 100, Sent: []int{1}, Arrived: []int{1}, Delay: []float64{5}}},
		Routes: []Route{{id("a"), id("b"), 900, beforeAll, []mesh.NodeID{id("a"), id("b")}}, {id("a"), id("b"), 900, "while " + evil, []mesh.NodeID{id("a"), id("c"), id("b")}},
			{id("b"), id("a"), 900, beforeAll, []mesh.NodeID{id("b"), id("a")}}},
		Usage: []Use{{800, 1, 1 << 20}, {1100, 1.5, 2 << 20}},
		First: []float64{10, 20, 30},
	}
}

// attributes that make a browser load something.
var loading = map[string]bool{"src": true, "href": true, "xlink:href": true, "data": true, "action": true, "srcset": true, "poster": true}

func TestPage(t *testing.T) {
	var b strings.Builder
	if err := samplePage().Render(&b); err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	count, texts, data := map[string]int{}, "", ""
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.ElementNode {
			count[n.Data]++
			for _, a := range n.Attr {
				if loading[a.Key] || strings.HasPrefix(a.Key, "on") {
					t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
				}
				if a.Key == "class" {
					count["."+a.Val]++
				}
				if a.Key == "id" && a.Val == "data" {
					data = n.FirstChild.Data
				}
			}
		}
		if n.Type == html.TextNode && n.Parent.Data != "script" && n.Parent.Data != "style" {
			texts += n.Data + "\n"
		}
		for c := range n.ChildNodes() {
			walk(c)
		}
	}
	walk(doc)
	for what, want := range map[string]int{"script": 2, "style": 1, "img": 0, "link": 0, "iframe": 0, ".node": 2, ".node end": 2, ".lane": 4, ".route before": 3, ".route while": 2, ".held": 3, ".link struck": 2, ".link poor": 2,
		".s c0": 5, ".s0": 3, ".s1": 2, ".s2": 2, ".s3": 2, ".s4": 2, ".verdict nw good": 1, ".verdict nw bad": 1, ".verdict nw dim": 1, ".mark e-fault": 1} {
		if count[what] != want {
			t.Errorf("%d of %s, want %d", count[what], what, want)
		}
	}
	for _, want := range []string{"5 / 6", "99.000 %", "150 ms", "10 of 100", "a → c", "no way was left", "not healed", "<img src=x onerror=alert(1)>", "a hello every 200ms"} {
		if !strings.Contains(texts, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, outside := range []string{"http://", "https://", "url(", "@import", "NaN", "%!"} {
		if strings.Contains(b.String(), outside) {
			t.Errorf("%q is in the page", outside)
		}
	}
	var again struct {
		Report Report  `json:"report"`
		Charts []chart `json:"charts"`
		Flows  []Delivery
	}
	if err := json.Unmarshal([]byte(data), &again); err != nil || again.Report.Pairs != 6 || len(again.Charts) != 4 || len(again.Flows) != 2 {
		t.Errorf("the data in the page: %v, %+v", err, again)
	}
}

// A page of a run that measured next to nothing is still a page.
func TestEmptyPage(t *testing.T) {
	p := &Page{Report: &Report{}, Nodes: []PageNode{{"a", 0.5, 0.5}}}
	var b strings.Builder
	if err := p.Render(&b); err != nil || strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestPageOfARun(t *testing.T) {
	opt := fakeOptions(t, "blackhole link:a-b at 300ms for 300ms")
	opt.Duration, opt.Page = time.Second, filepath.Join(t.TempDir(), "pages")
	r, err := Run(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(r.Page)
	if err != nil || filepath.Dir(r.Page) != opt.Page {
		t.Fatal(r.Page, err)
	}
	for _, want := range []string{"blackhole link:a-b", "all nodes hold the same topology", `class="s4"`, `data-chart="cpu"`, `data-chart="delay"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	opt.Page = filepath.Join(t.TempDir(), "no", "such", "r.html")
	if _, err := Run(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "report page") {
		t.Errorf("a page that cannot be written: %v", err)
	}
}

func TestPlaces(t *testing.T) {
	m := mapOf("a-b", "b-c", "c-d", "d-a", "d-e")
	inside := func(at []place) {
		t.Helper()
		for i, p := range at {
			if !(p.x >= 0 && p.x <= 1 && p.y >= 0 && p.y <= 1) {
				t.Errorf("%s is at %v", m.Nodes[i], p)
			}
			for j := range i {
				if math.Hypot(p.x-at[j].x, p.y-at[j].y) < 0.1 {
					t.Errorf("%s and %s lie on each other", m.Nodes[i], m.Nodes[j])
				}
			}
		}
	}
	inside(m.places())
	m.Places = map[mesh.NodeID][2]float64{}
	for i, n := range m.Nodes {
		m.Places[n] = [2]float64{float64(40 + 5*i), float64(i * i)}
	}
	at := m.places()
	inside(at)
	if at[0].y < at[4].y || at[0].x > at[4].x {
		t.Errorf("north is up and east is right: %v", at)
	}
	delete(m.Places, m.Nodes[0]) // one that is unknown: all are arranged by springs
	inside(m.places())
	m.Places[m.Nodes[0]] = [2]float64{90, 0} // the pole is nowhere on this projection
	for _, p := range m.places() {
		if math.IsNaN(p.x) || math.IsInf(p.y, 0) {
			t.Errorf("%v", p)
		}
	}
}

func TestRoundSteps(t *testing.T) {
	for in, want := range map[float64]float64{0.3: 0.5, 1: 1, 1.1: 2, 4.9: 5, 5.1: 10, 70: 100, 0: 1} {
		if got := round125(in); math.Abs(got-want) > 1e-12 {
			t.Errorf("%v: %v, want %v", in, got, want)
		}
	}
	if got := ticks(0.4, 2.1, 4); len(got) != 4 || got[0] != 0.5 {
		t.Errorf("%v", got)
	}
	if number(math.Copysign(0, -1)) != "0" || number(1.50) != "1.5" {
		t.Error("numbers")
	}
}
