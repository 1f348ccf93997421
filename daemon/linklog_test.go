package daemon

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
)

// lines reads what was logged as JSON and returns it without its times.
func lines(t *testing.T, b *bytes.Buffer) (all []map[string]any) {
	t.Helper()
	for line := range bytes.Lines(b.Bytes()) {
		m := map[string]any{}
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		delete(m, "time")
		all = append(all, m)
	}
	b.Reset()
	return all
}

func TestLinkLog(t *testing.T) {
	var b bytes.Buffer
	l := newLinkLog(slog.New(slog.NewJSONHandler(&b, nil)))
	links := []node.LinkView{{Label: 7, Neighbour: beta}}
	asked := 0
	views := func() []node.LinkView { asked++; return links }
	report := func(s int, st mesh.LinkState) {
		links[0].Status = mesh.LinkStatus{State: st}
		l.after(at(s), node.LinkReport{Label: 7, Status: links[0].Status}, views)
	}
	report(0, mesh.LinkUp)
	report(1, mesh.LinkUp)
	report(60, mesh.LinkSuspect)
	report(61, mesh.LinkUp)
	links[0].Status.State = mesh.LinkDown
	l.after(at(90), node.Received{}, views) // no event that tells of links
	l.after(at(90), node.ConnDown{Reason: "closed by the peer: bye"}, views)
	if asked != 4 {
		t.Errorf("the links were looked at %d times, not 4", asked)
	}
	got := lines(t, &b)
	if len(got) != 4 {
		t.Fatalf("%d lines: %v", len(got), got)
	}
	for i, want := range []map[string]any{
		{"msg": "link up", "was": "down", "cause": "frames pass both ways", "lasted": nil},
		{"msg": "link suspect", "was": "up", "cause": "nothing came for longer than a hello may take", "lasted": "1m0s"},
		{"msg": "link up", "was": "suspect", "lasted": "1s"},
		{"msg": "link down", "was": "up", "cause": "closed by the peer: bye", "lasted": "29s"},
	} {
		for k, v := range want {
			if got[i][k] != v {
				t.Errorf("line %d: %s is %v, not %v", i, k, got[i][k], v)
			}
		}
		keys := slices.DeleteFunc(slices.Sorted(maps.Keys(got[i])), func(k string) bool { return k == "lasted" })
		if s := strings.Join(keys, " "); s != "cause level link msg neighbour remote state was" || got[i]["neighbour"] != "beta" || got[i]["link"] != 7.0 {
			t.Errorf("line %d: %v", i, got[i])
		}
	}
	if l.flaps(7) != 2 || l.flaps(8) != 0 {
		t.Errorf("%d flaps", l.flaps(7))
	}
	links = nil
	l.note(at(100), nil, "")
	if len(lines(t, &b)) != 0 {
		t.Error("a link that was down went, and that was told")
	}
}

// A link that flaps all the time gets a line now and then, which says how many were left out.
func TestLinkLogIsRateLimited(t *testing.T) {
	var b bytes.Buffer
	l := newLinkLog(slog.New(slog.NewJSONHandler(&b, nil)))
	now := dawn
	for i := range 1000 { // 100 s
		now = now.Add(100 * time.Millisecond)
		st := mesh.LinkStatus{State: mesh.LinkSuspect + mesh.LinkState(i%2)}
		l.note(now, []node.LinkView{{Label: 7, Neighbour: beta, Status: st}}, "")
	}
	got := lines(t, &b)
	told := len(got)
	for _, m := range got {
		if n, ok := m["omitted"].(float64); ok {
			told += int(n)
		}
	}
	if len(got) < 10 || len(got) > lineBurst+11 || told < 900 {
		t.Errorf("%d lines that stand for %d", len(got), told)
	}
	if l.flaps(7) != 499 {
		t.Errorf("%d flaps", l.flaps(7))
	}
}

// What is remembered of links that are gone is bounded.
func TestLinkLogForgets(t *testing.T) {
	l := newLinkLog(slog.New(slog.DiscardHandler))
	for i := range 5 * maxHistory {
		l.note(at(i), []node.LinkView{{Label: mesh.Label(i + 1), Neighbour: beta, Status: mesh.LinkStatus{State: mesh.LinkUp}}}, "")
	}
	if len(l.known) > maxHistory+1 {
		t.Errorf("%d links remembered", len(l.known))
	}
}
