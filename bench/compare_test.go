package bench

import (
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"x0tta6bl4/lab"
)

func TestThroughputOptions(t *testing.T) {
	o, err := ThroughputOptions{}.filled()
	if err != nil || o.Hops != 1 || o.Runs != MinRuns || o.Time != 5*time.Second || o.Streams != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	for want, o := range map[string]ThroughputOptions{
		"17 hops": {Hops: 17}, "-1 hops": {Hops: -1}, "needs 1 s": {Time: time.Millisecond}, "1 to 128 streams": {Streams: 129}, "at least one run": {Runs: -1},
		"no such peer": {Peers: []string{"x"}},
	} {
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}

// What daemons used between two looks is told apart by where they run.
func TestSpend(t *testing.T) {
	u := func(cpu time.Duration, mb int64) lab.Usage { return lab.Usage{CPU: cpu, RSS: mb * 1e6} }
	before := []lab.Usage{u(time.Second, 1), u(time.Second, 1), u(0, 1), u(time.Second, 1)}
	after := []lab.Usage{u(3*time.Second, 10), u(2*time.Second, 20), u(time.Second, 5), u(3*time.Second, 7)}
	var c Carry
	c.spend(before, after, 2*time.Second)
	if c.CPU != 3 || c.Ends != 2 || c.Relays != 1 || c.RelayCost != 0.25 || c.RSS != 20 {
		t.Errorf("%+v", c)
	}
	c = Carry{}
	c.spend(before[:2], after[:2], time.Second)
	if c.Ends != 3 || c.Relays != 0 || c.RelayCost != 0 {
		t.Errorf("without relays: %+v", c)
	}
}

func TestRatios(t *testing.T) {
	mine, theirs := []Carry{{Gbps: 4}, {Gbps: 6}, {Gbps: 8}}, []Carry{{Gbps: 2}, {}}
	if got := ratios(mine, theirs); !slices.Equal(got, []float64{2}) {
		t.Errorf("%v", got)
	}
}

// compared is a report of three contenders, of which one is missing.
func compared() *ThroughputReport {
	r := &ThroughputReport{Peers: map[string]*Carried{}, Ratio: map[string]float64{"wireguard-go": 2.5}, Hops: 3, Runs: 3, StreamTime: 5, Streams: 1,
		Tools: []string{"iperf 3"}, Machine: thisMachine(), Notes: []string{"it rained"}, order: []string{"wireguard-go", "tinc"}}
	r.Carried = Carried{Version: "v1", Command: "x0t up", MTU: 1360, Samples: []Carry{{Gbps: 5, RTT: 100, CPU: 1, Ends: 0.8, RelayCost: 0.3}, {Gbps: 7, RTT: 90, CPU: 1, RelayCost: 0.2}, {Gbps: 6, RTT: 80, CPU: 1, RelayCost: 0.1}}}
	r.sumUp(true)
	r.Peers["wireguard-go"] = &Carried{Version: "v2", Unfair: "it is | it", Samples: []Carry{{Gbps: 2, RTT: 200}}}
	r.Peers["wireguard-go"].sumUp(true)
	r.Peers["tinc"] = &Carried{Unmeasured: "tincd <is> not installed", Samples: []Carry{}}
	return r
}

func TestSumUp(t *testing.T) {
	r := compared()
	if *r.Gbps != 6 || r.Min.Gbps != 5 || r.Max.Gbps != 7 || *r.RTT != 90 || *r.RelayCost != 0.2 {
		t.Errorf("%+v", r.Carried)
	}
	if r.Peers["wireguard-go"].RelayCost != nil {
		t.Error("a relay that used nothing has a share")
	}
	if b, err := json.Marshal(r.Peers["tinc"]); err != nil || !strings.Contains(string(b), `"gbps":null`) || !strings.Contains(string(b), `"not_measured":"tincd`) {
		t.Errorf("%s, %v", b, err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gbps", "rtt_us", "rtt_load_ms", "cpu_cores", "rss_mb", "peers", "ratio", "noise", "version", "command", "mtu", "machine", "hops", "offload"} {
		if _, ok := back[name]; !ok {
			t.Errorf("no %s in the report", name)
		}
	}
}

// What cannot be measured is said, names cannot break out of tables and pages, and pages ask nobody for anything.
func TestReportsForPeople(t *testing.T) {
	for name, r := range map[string]Told{"throughput": compared(), "failover": failed()} {
		dir := filepath.Join(t.TempDir(), "deeper")
		files, err := Keep(dir, name, r)
		if err != nil || len(files) != 3 {
			t.Fatalf("%v, %v", files, err)
		}
		text, err := os.ReadFile(filepath.Join(dir, name+".md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"not measured", "it rained", "x0t", "cores"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s: no %q in\n%s", name, want, text)
			}
		}
		width := 0
		for line := range strings.Lines(string(text)) {
			if n := strings.Count(line, "|"); n == 0 {
				width = 0
			} else if width == 0 {
				width = n
			} else if n != width {
				t.Errorf("%s: a row of another width: %s", name, line)
			}
		}
		page, err := os.Open(filepath.Join(dir, name+".html"))
		if err != nil {
			t.Fatal(err)
		}
		checkPage(t, page)
		page.Close()
	}
}

func checkPage(t *testing.T, page io.Reader) {
	t.Helper()
	z := html.NewTokenizer(page)
	bars := 0
	for {
		switch z.Next() {
		case html.ErrorToken:
			if z.Err() != io.EOF || bars == 0 {
				t.Errorf("%v, %d bars", z.Err(), bars)
			}
			return
		case html.StartTagToken, html.SelfClosingTagToken:
			tag := z.Token()
			if tag.Data == "rect" {
				bars++
			}
			for _, a := range tag.Attr {
				if a.Key == "src" || a.Key == "href" || strings.Contains(a.Val, "NaN") || strings.Contains(a.Val, "Inf") {
					t.Errorf("<%s %s=%q>", tag.Data, a.Key, a.Val)
				}
			}
		}
	}
}

func TestBars(t *testing.T) {
	c := bars{Log: true, Unit: "ms", Rows: []bar{{Value: 100, Least: 50, Most: 1000}, {Value: 1e4, Least: 1e4, Most: 1e4}, {Value: math.NaN(), Note: "none"}, {Value: 0}}}
	c.draw()
	if !c.Log || c.Rows[0].Width != "123.3" || !c.Rows[0].Whiskers || c.Rows[1].Width != "370.0" || c.Rows[1].Whiskers || c.Rows[2].Shown || c.Rows[2].Text != "none" {
		t.Errorf("%+v", c)
	}
	near := bars{Log: true, Rows: []bar{{Value: 1, Most: 2}, {Value: 2, Most: 4}}}
	near.draw()
	if near.Log || near.Rows[1].Width != "185.0" {
		t.Errorf("values that lie near each other: %+v", near)
	}
	none := bars{Rows: []bar{{Value: math.NaN()}}}
	none.draw()
	if none.Rows[0].Shown {
		t.Errorf("%+v", none)
	}
}
