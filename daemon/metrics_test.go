package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"x0tta6bl4/api"
	"x0tta6bl4/core/node"
	"x0tta6bl4/host/dataplane"
	"x0tta6bl4/host/quic"
	"x0tta6bl4/mesh"
)

// fullSnapshot has something of everything, so that every metric is there.
func fullSnapshot() snapshot {
	s := snapshot{
		version: `v"1\`, started: dawn, health: api.HealthDegraded, svid: api.SVID{NotAfter: dawn.Add(time.Hour), RenewAt: dawn},
		census: census{
			members: 3, total: 3, up: 1, sessions: 1, observers: []node.Observation{{By: beta, Mutual: true}, {By: gamma}},
			clocks: []node.ClockView{{Neighbour: beta, Ahead: -time.Second}},
		},
		tracks: map[mesh.NodeID]api.PeerState{beta: api.PeerConnected, gamma: api.PeerNone},
		links: []node.LinkView{
			{Label: 7, Neighbour: beta, MTU: 1452, Status: mesh.LinkStatus{State: mesh.LinkUp, Since: dawn, RTT: 1500 * time.Microsecond, Cost: 640}},
			{Label: 8, Neighbour: beta, Status: mesh.LinkStatus{State: mesh.LinkSuspect, LossIn: 0.25}},
		},
		usage:    map[mesh.Label]dataplane.LinkUsage{7: {RxBytes: 1 << 60, TxBytes: 5}},
		peers:    map[mesh.NodeID]dataplane.PeerUsage{},
		rtts:     map[mesh.NodeID]time.Duration{},
		accepted: [2]uint64{1, 2}, rejected: map[string]uint64{"future": 3}, edges: 4,
		plane: map[string]uint64{"link_bad_mac": 9, "delivered": 10, "hello_sent": 11, "hello_sent_bytes": 12, "hello_received": 13, "hello_received_bytes": 14},
		udp:   map[string]uint64{"sent": 1}, quic: map[string]map[string]uint64{"link": {"dials": 1}}, mesh: map[string]uint64{"moves": 1}, dns: map[string]uint64{"answered": 1},
		messages:  map[string][]quicconn.MessageTraffic{"link": {{Kind: "lsa", Sent: 1, SentBytes: 100, Received: 2, ReceivedBytes: 200}}},
		loopDrops: map[string]uint64{"frames": 1}, queues: map[string]int{"events": 1},
		shared: sharedSnapshot{
			open: true, info: api.StateInfo{Freshness: api.Freshness{Neighbours: 3, Agreeing: 2}, Entries: 5},
			counts: map[string]uint64{"future": 6, "sessions": 7, "chains": 8}, writes: 9, took: 1500 * time.Millisecond, sent: 10,
			configChanges: 11, configIgnored: 12,
		},
	}
	for i := range 100 {
		n := mesh.MustNodeID(fmt.Sprintf("n%03d", i))
		s.peers[n] = dataplane.PeerUsage{RxBytes: uint64(i)}
		s.rtts[n] = time.Millisecond
	}
	return s
}

// scrape asks for the metrics of a snapshot as Prometheus does.
func scrape(t *testing.T, take func(context.Context) (snapshot, error), accept string) *httptest.ResponseRecorder {
	t.Helper()
	h := promhttp.HandlerFor(newMetrics(collector{take}), promhttp.HandlerOpts{EnableOpenMetrics: true})
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const openMetrics = "application/openmetrics-text; version=1.0.0"

func full(context.Context) (snapshot, error) { return fullSnapshot(), nil }

func TestMetricsAreOpenMetrics(t *testing.T) {
	w := scrape(t, full, openMetrics)
	if ct := w.Header().Get("Content-Type"); w.Code != http.StatusOK || !strings.HasPrefix(ct, openMetrics) {
		t.Fatalf("%d %s", w.Code, ct)
	}
	body := w.Body.String()
	if err := checkOpenMetrics(body); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`x0t_health{state="degraded"} 1.0`, `x0t_health{state="ok"} 0.0`, `x0t_seen_by 1.0`,
		`x0t_links{state="missing"} 1.0`, `x0t_link_state{link="8",neighbour="beta",state="suspect"} 1.0`,
		`x0t_link_rtt_seconds{link="7",neighbour="beta"} 0.0015`, `x0t_link_cost_seconds{link="7",neighbour="beta"} 0.00064`,
		`x0t_link_loss_ratio{direction="in",link="8",neighbour="beta"} 0.25`,
		`x0t_link_bytes_total{direction="in",link="7",neighbour="beta"} 1.152921504606847e+18`,
		`x0t_peers{state="connected"} 1.0`, `x0t_lsdb_rejected_total{reason="future"} 3.0`, `x0t_lsdb_accepted_total{kind="lsa"} 2.0`,
		`x0t_dropped_total{reason="link_bad_mac"} 9.0`, `x0t_dataplane_events_total{event="delivered"} 10.0`,
		`x0t_hello_bytes_total{direction="out"} 12.0`, `x0t_control_bytes_total{carrier="link",direction="in",kind="lsa"} 200.0`,
		`x0t_shared_open 1.0`, `x0t_shared_settled 0.0`, `x0t_shared_entries 5.0`, `x0t_shared_neighbours{state="differing"} 1.0`,
		`x0t_shared_refused_total{reason="future"} 6.0`, `x0t_shared_events_total{event="sessions"} 7.0`,
		`x0t_config_changes_total 11.0`, `x0t_config_ignored_total 12.0`, `x0t_shared_writes_total 9.0`, `x0t_shared_write_seconds_total 1.5`, `x0t_shared_stream_bytes_total{direction="out"} 10.0`,
		`x0t_clock_ahead_seconds{neighbour="beta"} -1.0`, `x0t_svid_expiry_timestamp_seconds 1.7723484e+09`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
	if n := strings.Count(body, "\nx0t_peer_bytes_total{"); n != 2*maxPeerSeries {
		t.Errorf("%d series of peers, not %d", n, 2*maxPeerSeries)
	}
	if !strings.Contains(body, `peer="n099"`) || strings.Contains(body, `peer="n000"`) {
		t.Error("the series are not those of the peers with the most traffic")
	}
	if t.Failed() {
		t.Log(body)
	}
}

// Who does not ask for OpenMetrics gets the older text format, and a node that cannot answer says so.
func TestMetricsNegotiation(t *testing.T) {
	w := scrape(t, full, "text/plain")
	if ct := w.Header().Get("Content-Type"); w.Code != 200 || !strings.HasPrefix(ct, "text/plain; version=0.0.4") || strings.Contains(w.Body.String(), "# EOF") {
		t.Errorf("%d %s", w.Code, ct)
	}
	w = scrape(t, func(context.Context) (snapshot, error) { return snapshot{}, errors.New("going down") }, openMetrics)
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "going down") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// docs/metrics.md and the code name the same metrics with the same types.
func TestMetricsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_*]+)`[^|]* \\| ([a-z]+) \\|").FindAllStringSubmatch(string(b), -1) {
		documented[m[1]] = m[2]
	}
	families, err := newMetrics(collector{full}).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		name, kind := f.GetName(), strings.ToLower(f.GetType().String())
		for _, prefix := range []string{"go_", "process_"} {
			if strings.HasPrefix(name, prefix) {
				name, kind = prefix+"*", "mixed"
			}
		}
		if got, ok := documented[name]; !ok || got != kind {
			t.Errorf("docs/metrics.md says of %s, a %s: %q", name, kind, got)
		}
	}
	for name := range documented {
		prefix, all := strings.CutSuffix(name, "*")
		there := false
		for _, f := range families {
			there = there || f.GetName() == name || all && strings.HasPrefix(f.GetName(), prefix)
		}
		if !there {
			t.Errorf("docs/metrics.md has %s, which there is not", name)
		}
	}
}

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^ ]*\})? (\S+)$`)
	labelPairs = regexp.MustCompile(`^\{([a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)+\}$`)
	suffixes   = map[string][]string{
		"counter": {"_total", "_created"}, "gauge": {""}, "unknown": {""}, "info": {"_info"},
		"summary": {"", "_sum", "_count", "_created"}, "histogram": {"_bucket", "_sum", "_count", "_created"},
	}
)

// checkOpenMetrics checks text by the rules of OpenMetrics 1.0.0 that a producer can break: one block for each family, its
// type before its samples, the suffixes of its type and no other, no series twice, an end that is marked.
func checkOpenMetrics(text string) error {
	body, ok := strings.CutSuffix(text, "# EOF\n")
	if !ok || strings.Contains(body, "# EOF") {
		return errors.New("does not end in one # EOF")
	}
	family, kind := "", ""
	families, series := map[string]bool{}, map[string]bool{}
	for i, line := range strings.Split(strings.TrimSuffix(body, "\n"), "\n") {
		at := func(why string) error { return fmt.Errorf("line %d: %s: %s", i+1, why, line) }
		if rest, ok := strings.CutPrefix(line, "# "); ok {
			word, rest, _ := strings.Cut(rest, " ")
			name, value, _ := strings.Cut(rest, " ")
			if name != family && families[name] {
				return at("a family in two places")
			}
			if name != family {
				family, kind = name, ""
				families[name] = true
			}
			switch {
			case word == "TYPE" && kind == "" && suffixes[value] != nil:
				kind = value
				if strings.HasSuffix(name, "_total") {
					return at("a family whose name ends in _total")
				}
			case word == "HELP" && value != "":
			case word == "UNIT" && value != "" && strings.HasSuffix(name, "_"+value):
			default:
				return at("not TYPE, HELP or UNIT as they may be")
			}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil || m[2] != "" && !labelPairs.MatchString(m[2]) {
			return at("no sample")
		}
		suffix, ok := strings.CutPrefix(m[1], family)
		if !ok || kind == "" || !slices.Contains(suffixes[kind], suffix) {
			return at("a sample that its family, a " + kind + ", cannot have")
		}
		if series[m[1]+m[2]] {
			return at("a series twice")
		}
		series[m[1]+m[2]] = true
		if strings.TrimLeft(m[3], "-+.0123456789eNaInf") != "" {
			return at("no number")
		}
	}
	return nil
}

// The checker itself refuses what it is there for.
func TestCheckOpenMetrics(t *testing.T) {
	const good = "# HELP a A.\n# TYPE a counter\na_total{x=\"1\"} 1.0\n"
	for text, ok := range map[string]bool{
		good + "# EOF\n":                             true,
		good:                                         false,
		good + good + "# EOF\n":                      false,
		"# TYPE a counter\na 1.0\n# EOF\n":           false,
		"# TYPE a_total counter\n# EOF\n":            false,
		"# UNIT a_seconds bytes\n# EOF\n":            false,
		"a 1.0\n# EOF\n":                             false,
		"# TYPE a gauge\na 1.0\na 2.0\n# EOF\n":      false,
		"# TYPE a gauge\na{x=\"\"\"} 1.0\n# EOF\n":   false,
		"# TYPE a gauge\na one\n# EOF\n":             false,
		"# TYPE a gauge\na{x=\"\\\"\"} 1.0\n# EOF\n": true,
	} {
		if err := checkOpenMetrics(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
