package daemon

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/node"
	"x0tta6bl4/host/tun"
	"x0tta6bl4/mesh"
)

// wellVitals are those of a node with which nothing is wrong.
func wellVitals() vitals {
	return vitals{
		now: dawn, svid: api.SVID{NotBefore: dawn.Add(-time.Hour), NotAfter: dawn.Add(time.Hour), RenewAt: dawn.Add(time.Minute)},
		up: 2, total: 2, members: 3, of: 1, used: 1,
		clocks: []node.ClockView{{Neighbour: beta, Ahead: -time.Second}, {Neighbour: gamma}},
	}
}

var (
	beta  = mesh.MustNodeID("beta")
	gamma = mesh.MustNodeID("gamma")
	delta = mesh.MustNodeID("delta")
)

// Every single defect turns a node that is well to what it deserves, and says why and what to do.
func TestJudgement(t *testing.T) {
	minutes := func(n mesh.NodeID, m int) node.ClockView {
		return node.ClockView{Neighbour: n, Ahead: time.Duration(m) * time.Minute}
	}
	for _, tc := range []struct {
		name  string
		harm  func(*vitals)
		want  api.Health
		first string // part of the first reason
	}{
		{"nothing", func(*vitals) {}, api.HealthOK, ""},
		{"alone in the world", func(v *vitals) { *v = vitals{now: v.now, svid: v.svid, members: 1, of: 1} }, api.HealthOK, ""},
		{"SVID expired", func(v *vitals) { v.now = v.svid.NotAfter.Add(1) }, api.HealthDown, "SVID expired at 2026-03-01T07:00:00Z"},
		{"SVID of tomorrow", func(v *vitals) { v.svid.NotBefore = v.now.Add(1) }, api.HealthDown, "set this node's clock"},
		{"renewal late", func(v *vitals) { v.now = at(60 * 30) }, api.HealthDegraded, "should have been renewed at 2026-03-01T06:01:00Z"},
		{"renewal not late yet", func(v *vitals) { v.now = at(60 * 10) }, api.HealthOK, ""},
		{"no link", func(v *vitals) { v.up = 0 }, api.HealthDown, "no link is up; see x0t links"},
		{"neighbours gone", func(v *vitals) { v.up, v.total = 0, 0 }, api.HealthDown, "no link is up"},
		{"one link", func(v *vitals) { v.up = 1 }, api.HealthDegraded, "1 of 2 links are not up"},
		{"unseen", func(v *vitals) { v.unseen = unseenFor }, api.HealthDown, "for 10s no neighbour has announced one"},
		{"not seen yet", func(v *vitals) { v.unseen = unseenFor - 1 }, api.HealthOK, ""},
		{"TUN down", func(v *vitals) { v.tun = fmt.Errorf("x: %w", tun.ErrDown) }, api.HealthDown, "ip link set dev x0t0 up"},
		{"TUN bare", func(v *vitals) { v.tun = fmt.Errorf("x: %w", tun.ErrBare) }, api.HealthDown, "x0t restores it"},
		{"TUN gone", func(v *vitals) { v.tun = tun.ErrNoTun }, api.HealthDown, "restart x0t"},
		{"socket dead", func(v *vitals) { v.sockets = []string{"s: dead"} }, api.HealthDown, "s: dead; check the interfaces"},
		{"one socket dead", func(v *vitals) { v.sockets, v.of = []string{"s: dead"}, 2 }, api.HealthDegraded, "a UDP socket: s: dead"},
		{"all stalled", func(v *vitals) { v.used, v.stalled = 2, []mesh.NodeID{beta, gamma} }, api.HealthDown, "try x0t trace beta"},
		{"the only one in use stalled", func(v *vitals) { v.stalled = []mesh.NodeID{beta} }, api.HealthDegraded, "packets to beta get no answer"},
		{"the only other member stalled", func(v *vitals) { v.members, v.stalled = 2, []mesh.NodeID{beta} }, api.HealthDown, "try x0t trace beta"},
		{"one stalled", func(v *vitals) { v.stalled, v.used = []mesh.NodeID{beta}, 2 }, api.HealthDegraded, "packets to beta get no answer"},
		{"clock behind, isolated", func(v *vitals) {
			v.unseen, v.clocks = time.Hour, []node.ClockView{minutes(beta, 3), minutes(gamma, 3)}
		}, api.HealthDown, "this node's clock is about 3m0s behind that of beta, gamma"},
		{"clock ahead, not isolated yet", func(v *vitals) { v.clocks = []node.ClockView{minutes(beta, -3), minutes(gamma, -3)} },
			api.HealthDegraded, "clock is about 3m0s ahead of that of beta, gamma"},
		{"clock of one neighbour, isolated by something else", func(v *vitals) {
			v.unseen, v.clocks = time.Hour, []node.ClockView{minutes(beta, -3), minutes(gamma, 0), minutes(delta, 0)}
		}, api.HealthDown, "no neighbour has announced one"},
		{"the only neighbour says another date", func(v *vitals) { v.clocks = []node.ClockView{minutes(beta, -3)} },
			api.HealthDegraded, "ahead of that of beta"},
		{"warning", func(v *vitals) { v.warnings = []string{"careful"} }, api.HealthDegraded, "careful"},
	} {
		v := wellVitals()
		tc.harm(&v)
		got, reasons := v.judge()
		if got != tc.want || (tc.first == "") != (len(reasons) == 0) || len(reasons) > 0 && !strings.Contains(reasons[0], tc.first) {
			t.Errorf("%s: %s %q; want %s and first %q", tc.name, got, reasons, tc.want, tc.first)
		}
	}
}

// What is worst comes first, and nothing that is known is left out.
func TestJudgementKeepsEverything(t *testing.T) {
	v := wellVitals()
	v.up, v.warnings, v.tun = 1, []string{"careful"}, tun.ErrDown
	h, reasons := v.judge()
	if h != api.HealthDown || len(reasons) != 3 || !strings.Contains(reasons[0], "set down") || reasons[2] != "careful" {
		t.Errorf("%s %q", h, reasons)
	}
	many := []mesh.NodeID{beta, gamma, delta, beta, gamma, delta, beta}
	if got := nodes(many); got != "beta, gamma, delta, beta, gamma and 2 more" {
		t.Error(got)
	}
}
