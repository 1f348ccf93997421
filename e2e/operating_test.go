package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
)

// operation is the three machines of docs/operating.md on one network.
type operation struct {
	alpha, beta, gamma *booted
	token              string // what token create printed last
}

// The commands of docs/operating.md, exactly as they stand there, found a mesh of three machines, find neighbours, show
// what there is to see, survive backups and upgrades, and leave nothing behind.
func TestOperating(t *testing.T) {
	need(t, "unshare", "nsenter", "systemctl", "journalctl", "curl", "tar")
	p := readPage(t, "docs/operating.md")
	lan := newSegment(t, "eth0", 0)
	o := &operation{bootMachine(t, "alpha"), bootMachine(t, "beta"), bootMachine(t, "gamma"), ""}
	for i, b := range []*booted{o.alpha, o.beta, o.gamma} {
		lan.attach(t, b.machine)
		lan.unaddress(t, b.machine) // for that of the page
		b.address = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(7 + i)}), 24)
		b.readdressed(t)
	}
	p.follow(t, map[string][]step{
		"Join":                   o.joining(),
		"Find neighbours":        o.finding(p, lan),
		"Names":                  o.names(),
		"See":                    o.seeing(),
		"Health":                 o.health(),
		"Doctor":                 o.doctor(),
		"Shared risks":           o.risks(p),
		"Shared state":           o.shared(),
		"Shared configuration":   o.configuration(),
		"Service":                o.service(),
		"State, backup, upgrade": o.state(),
		"Leave":                  o.leaving(),
	})
}

// readdressed gives a machine its address on the network of the page.
func (b *booted) readdressed(t *testing.T) {
	t.Helper()
	if err := b.do(func() error { return addressUp("eth0", b.address) }); err != nil {
		t.Fatal(err)
	}
}

// on runs a line on a machine and looks for something in what it prints.
func (b *booted) on(line string, wants ...string) step {
	return step{line, func(t *testing.T, line string) { b.shows(t, line, wants...) }}
}

func (b *booted) shows(t *testing.T, line string, wants ...string) string {
	t.Helper()
	out := b.shell(t, line)
	for _, want := range wants {
		if !strings.Contains(out, want) {
			t.Errorf("on %s: %s does not say %q:\n%s", b.id, line, want, out)
		}
	}
	return out
}

// sees is on for what comes about by itself, a little later on a machine that is busy with other things.
func (b *booted) sees(line string, wants ...string) step {
	return step{line, func(t *testing.T, line string) {
		t.Helper()
		eventually(t, 20*time.Second, line, func(ctx context.Context) error {
			r, err := b.try(ctx, b.inside(line)...)
			for _, want := range wants {
				if err == nil && (r.code != 0 || !strings.Contains(r.out, want)) {
					err = fmt.Errorf("no %q: %s", want, r)
				}
			}
			return err
		})
	}}
}

// then adds to a step what is to hold after it.
func (s step) then(check func(t *testing.T)) step {
	return step{s.line, func(t *testing.T, line string) {
		t.Helper()
		s.run(t, line)
		check(t)
	}}
}

// linked waits until a machine's daemon has links up to all others.
func (b *booted) linkedTo(t *testing.T, others ...*booted) {
	t.Helper()
	eventually(t, 20*time.Second, fmt.Sprintf("%s is linked to all", b.id), func(ctx context.Context) error {
		links, err := b.client.Links(ctx)
		if err != nil {
			return err
		}
		for _, o := range others {
			if !slices.ContainsFunc(links, func(l api.Link) bool { return l.Neighbour == o.id && l.State == mesh.LinkUp }) {
				return fmt.Errorf("no link to %s among %v", o.id, links)
			}
		}
		return nil
	})
}

// started says that the service of a machine runs as the unit wants it to.
func (b *booted) started(t *testing.T) {
	t.Helper()
	b.shows(t, "systemctl show x0t --property=ActiveState,SubState,NRestarts", "ActiveState=active", "SubState=running", "NRestarts=0")
	if w := b.status(t).Warnings; len(w) > 0 {
		t.Errorf("%s warns: %q", b.id, w)
	}
	b.shows(t, "stat --format=%U /var/lib/x0t/ /proc/$(systemctl show x0t --property=MainPID --value)", "x0t\nx0t\n")
}

func (o *operation) joining() []step {
	install := func(b *booted) []step {
		return []step{
			b.on("x0t service install", "wrote /etc/systemd/system/x0t.service"), b.on("systemctl daemon-reload"),
			b.on("systemctl enable --now x0t").then(b.started),
		}
	}
	gamma := func(t *testing.T) {
		o.gamma.write(t, o.gamma.dir+"/token.txt", o.alpha.shell(t, "x0t token create --node gamma"))
	}
	return slices.Concat(
		[]step{o.alpha.on("x0t init --trust-domain example.mesh --name alpha", "spiffe://example.mesh/node/alpha")},
		install(o.alpha),
		[]step{{"x0t token create --node beta", func(t *testing.T, line string) { o.token = o.alpha.shows(t, line, "x0t join x0t1-") }}},
		[]step{{"x0t join x0t1-…", func(t *testing.T, _ string) {
			o.beta.shows(t, strings.TrimSpace(o.token), "spiffe://example.mesh/node/beta")
		}}},
		append(install(o.beta)[:2], o.beta.on("systemctl enable --now x0t").then(o.beta.started).then(func(t *testing.T) {
			o.beta.linkedTo(t, o.alpha)
			gamma(t)
		})),
		[]step{o.gamma.on("x0t join --via 192.0.2.8:7420 --token-file token.txt", "spiffe://example.mesh/node/gamma").then(func(t *testing.T) {
			for _, s := range install(o.gamma) {
				s.run(t, s.line)
			}
			o.gamma.linkedTo(t, o.beta)
		})},
	)
}

const configFile = "/etc/x0t/x0t.yaml"

func (o *operation) finding(p *page, lan *segment) []step {
	return []step{
		{"x0t config check", func(t *testing.T, line string) {
			o.gamma.shell(t, "echo 192.0.2.7 gateway.example.org >> /etc/hosts")
			o.gamma.write(t, configFile, p.block(t, "neighbours:"))
			o.gamma.shows(t, line, "gateway.example.org:7420", "192.0.2.7:7420")
		}},
		o.gamma.on("systemctl restart x0t").then(func(t *testing.T) {
			o.gamma.linkedTo(t, o.alpha, o.beta)
			// And by beacons: without any address but what every interface has.
			lan.unaddress(t, o.gamma.machine)
			o.alpha.write(t, configFile, p.block(t, "interfaces:"))
			o.alpha.shell(t, "systemctl restart x0t")
			o.gamma.write(t, configFile, p.block(t, "interfaces:"))
			o.gamma.shell(t, "systemctl restart x0t")
			o.gamma.started(t)
			o.gamma.linked(t, 20*time.Second, byLinkLocal("eth0"), o.alpha.machine)
			o.gamma.readdressed(t)
			o.gamma.linkedTo(t, o.alpha, o.beta)
		}),
	}
}

func (o *operation) names() []step {
	b := o.beta
	return []step{
		b.on("groupadd --system x0t-hosts"), b.on("chgrp x0t-hosts /etc/hosts"), b.on("chmod g+w /etc/hosts"),
		b.on("mkdir -p /etc/systemd/system/x0t.service.d"),
		b.on(`printf '[Service]\nSupplementaryGroups=x0t-hosts\nReadWritePaths=/etc/hosts\n' > /etc/systemd/system/x0t.service.d/hosts.conf`),
		b.on("systemctl daemon-reload"), b.on("systemctl restart x0t"),
		{"getent hosts alpha.example.mesh", func(t *testing.T, line string) {
			eventually(t, 20*time.Second, "know the name", func(ctx context.Context) error {
				r, err := b.try(ctx, b.inside(line)...)
				if err == nil && r.out != fmt.Sprintf("%-15s %s\n", o.alpha.status(t).Address, "alpha.example.mesh") {
					err = fmt.Errorf("%s", r)
				}
				return err
			})
			b.shows(t, "x0t status", "beta.example.mesh, resolver: /etc/hosts")
			b.started(t)
			b.linkedTo(t, o.alpha)
		}},
	}
}

func (o *operation) seeing() []step {
	// A packet first, so that there is a session to be seen.
	peers := func(t *testing.T) {
		eventually(t, 20*time.Second, "ping beta", func(ctx context.Context) error {
			r, err := o.alpha.try(ctx, o.alpha.inside("x0t ping beta -c 1")...)
			if err == nil && r.code != 0 {
				err = fmt.Errorf("%s", r)
			}
			return err
		})
	}
	return []step{
		o.alpha.sees("x0t status", "spiffe://example.mesh/node/alpha", "policy", "none", "seen by"),
		o.alpha.sees("x0t links", "beta", "up", "excellent").then(peers),
		o.alpha.sees("x0t peers", "beta", "gamma"), o.alpha.sees("x0t paths beta", "alpha → beta", "active"),
		o.alpha.on("x0t ping beta", "4 sent"), o.alpha.sees("x0t trace beta", "beta", "link excellent"),
		o.alpha.sees("x0t identity", "alpha", "active"),
		{"x0t peers -w", func(t *testing.T, line string) {
			r := o.alpha.run(t, o.alpha.inside("timeout --signal=INT 3 "+line)...) // Ctrl-C
			if n := strings.Count(r.out, "LAST RX"); n < 2 {
				t.Errorf("%s showed %d tables in 3 s: %s", line, n, r)
			}
		}},
	}
}

func (o *operation) health() []step {
	curl := "curl -s --unix-socket /run/x0t/x0t.sock http://x0t/"
	return []step{
		o.alpha.sees(curl+"healthz", `{"health":"ok","reasons":[]}`), o.alpha.sees(curl+"livez", `{"live":true}`),
		o.alpha.sees(curl+"metrics", `x0t_health{state="ok"} 1`),
	}
}

func (o *operation) doctor() []step {
	return []step{
		o.alpha.sees("x0t doctor", "ok", "held by the daemon", "udp port"),
		{"x0t doctor --json", func(t *testing.T, line string) {
			var findings []struct{ Check, Result, Looked, Found string }
			if err := json.Unmarshal([]byte(o.alpha.shell(t, line)), &findings); err != nil || len(findings) < 13 {
				t.Fatalf("%d findings: %v", len(findings), err)
			}
			for _, f := range findings {
				if f.Result == "fail" {
					t.Errorf("%+v", f)
				}
			}
		}},
	}
}

func (o *operation) risks(p *page) []step {
	return []step{{"x0t paths gamma", func(t *testing.T, line string) {
		o.alpha.write(t, configFile, strings.Replace(p.block(t, "failure_domain:"), "links:\n", p.block(t, "interfaces:"), 1))
		o.alpha.shell(t, "systemctl restart x0t")
		o.alpha.linkedTo(t, o.beta, o.gamma)
		eventually(t, 20*time.Second, "know the risks", func(ctx context.Context) error {
			r, err := o.alpha.try(ctx, o.alpha.inside(line)...)
			for _, name := range []string{"every link of one end is in", "duct-a", "pole-12", "rack-7"} {
				if err == nil && !strings.Contains(r.out, name) {
					err = fmt.Errorf("%s", r)
				}
			}
			return err
		})
	}}}
}

func (o *operation) shared() []step {
	a, b := o.alpha, o.beta
	gone := func(t *testing.T) {
		eventually(t, 20*time.Second, "lose the key", func(ctx context.Context) error {
			r, err := b.try(ctx, b.inside("x0t kv get app/colour")...)
			if err == nil && (r.code != 1 || !strings.Contains(r.err, "no value at app/colour here")) {
				err = fmt.Errorf("%s", r)
			}
			return err
		})
	}
	return []step{
		a.sees("x0t kv put app/colour blue", "put app/colour, revision "), // it may have to learn what others have first
		b.sees("x0t kv get app/colour", "blue"), b.on("x0t kv list app/", "app/colour", "alpha", "blue"),
		b.on("x0t kv log app/", "alpha  put     app/colour  blue"),
		{"x0t kv watch app/ --current", func(t *testing.T, line string) {
			r := b.run(t, b.inside("timeout --signal=INT 3 "+line)...) // Ctrl-C
			if !strings.Contains(r.out, "alpha  stands  app/colour  blue") || !strings.Contains(r.err, "consistency: eventual") {
				t.Errorf("%s: %s", line, r)
			}
		}},
		a.on("x0t kv delete app/colour", "deleted app/colour").then(gone),
		a.sees("x0t state", "eventual", "settled      yes", "2, of which 2 hold the same"),
		a.on("x0t state snapshot mesh.snapshot", "wrote mesh.snapshot", "of example.mesh by alpha"),
		a.on("x0t state verify mesh.snapshot", "mesh.snapshot is whole"),
		a.on("x0t state restore mesh.snapshot", "entries: 0 taken", "0 refused"),
		a.on("x0t state settle", "settled      yes"),
		a.on("curl -s --unix-socket /run/x0t/x0t.sock -T mesh.snapshot 'http://x0t/v1/kv?key=app/copy'", `"consistency":"eventual"`),
		a.on("curl -s --unix-socket /run/x0t/x0t.sock -H 'Accept: application/octet-stream' 'http://x0t/v1/kv?key=app/copy' -o copy").then(func(t *testing.T) {
			a.shell(t, "cmp copy mesh.snapshot")
			a.shell(t, "x0t kv delete app/copy && rm copy mesh.snapshot")
		}),
	}
}

func (o *operation) configuration() []step {
	a, b, g := o.alpha, o.beta, o.gamma
	say := func(m *booted, line string, wants ...string) func(t *testing.T) {
		return func(t *testing.T) { m.sees(line, wants...).run(t, line) }
	}
	return []step{
		a.on(`x0t config set routing.protect '["dscp:EF", udp/5060]'`, "(all nodes)").then(say(g, "x0t status", "dscp:46, udp/5060")),
		a.on("x0t config set log.level debug --node beta", "log.level: debug (beta)").then(say(b, "journalctl -u x0t --no-pager", "key=log.level from=info to=debug")),
		g.on("x0t config shared", "routing.protect", "udp/5060", "all nodes", "log.level", "debug", "beta", "alpha"),
		b.sees("x0t config show", "shared for all nodes by alpha", "shared for beta by alpha", "default"),
		a.on("x0t config unset routing.protect", "not shared any more (all nodes)").then(func(t *testing.T) {
			eventually(t, 20*time.Second, "protect nothing", func(context.Context) error {
				if rules := g.status(t).Protect; len(rules) > 0 {
					return fmt.Errorf("it protects %s", rules)
				}
				return nil
			})
		}),
		a.on("x0t config unset log.level --node beta", "not shared any more (beta)").then(say(g, "x0t config shared", "nothing is shared")),
	}
}

func (o *operation) service() []step {
	return []step{
		o.alpha.sees("systemctl status x0t", "Active: active (running)", "Status: \"alpha of example.mesh: ok"),
		o.alpha.sees("journalctl -u x0t -n 50 --no-pager", "msg=\"link up\"").then(o.alpha.hangs),
		o.alpha.on("x0t completion bash > /etc/bash_completion.d/x0t").then(func(t *testing.T) {
			o.alpha.shell(t, "bash -n /etc/bash_completion.d/x0t && grep -q __start_x0t /etc/bash_completion.d/x0t")
		}),
	}
}

// hangs stops the daemon in its tracks: with a watchdog that waits less long than the unit's, systemd starts another.
func (b *booted) hangs(t *testing.T) {
	t.Helper()
	b.write(t, "/etc/systemd/system/x0t.service.d/quick.conf", "[Service]\nWatchdogSec=2s\nTimeoutStopSec=1s")
	b.shell(t, "systemctl daemon-reload && systemctl restart x0t && kill -STOP $(systemctl show x0t --property=MainPID --value)")
	eventually(t, 30*time.Second, "be started again", func(ctx context.Context) error {
		r, err := b.try(ctx, b.inside("systemctl show x0t --property=ActiveState,NRestarts")...)
		if err == nil && r.out != "NRestarts=1\nActiveState=active\n" {
			err = fmt.Errorf("%s", r)
		}
		return err
	})
	b.shows(t, "journalctl -u x0t --no-pager", "Watchdog timeout (limit 2s)!")
	b.shell(t, "rm -r /etc/systemd/system/x0t.service.d && systemctl daemon-reload && systemctl restart x0t")
	b.started(t)
}

func (o *operation) state() []step {
	a := o.alpha
	identity := ""
	return []step{
		a.on("systemctl stop x0t"), a.on("tar -C /var/lib/x0t --exclude=./shared -czf x0t-alpha.tar.gz ."),
		a.on("systemctl start x0t").then(func(t *testing.T) {
			identity = a.shell(t, "x0t status --json | head -c 200")
		}),
		a.on("systemctl stop x0t").then(func(t *testing.T) {
			a.shell(t, "rm -rf /var/lib/x0t/* && ! ls /var/lib/x0t/svid.pem 2>/dev/null")
		}),
		a.on("tar -C /var/lib/x0t -xzf x0t-alpha.tar.gz"),
		a.on("systemctl start x0t").then(func(t *testing.T) {
			a.started(t)
			if _, address, _ := strings.Cut(identity, `"address":`); address == "" || !strings.Contains(a.shell(t, "x0t status --json"), address[:20]) {
				t.Errorf("not the node that it was: %s", identity)
			}
			a.linkedTo(t, o.beta, o.gamma)
			a.shows(t, "x0t token create --node delta", "x0t join x0t1-") // still the authority
		}),
		a.on("install -m 0755 x0t /usr/local/bin/x0t"),
		a.on("systemctl restart x0t").then(func(t *testing.T) {
			a.started(t)
			a.linkedTo(t, o.beta, o.gamma)
		}),
		a.on("x0t version", "go1."),
	}
}

func (o *operation) leaving() []step {
	return []step{
		o.gamma.on("systemctl disable --now x0t"),
		o.gamma.on("rm -rf /etc/systemd/system/x0t.service* /etc/polkit-1/rules.d/50-x0t.rules /var/lib/x0t/*").then(func(t *testing.T) {
			r := o.gamma.run(t, o.gamma.inside("systemctl start x0t")...)
			if r.code == 0 || !strings.Contains(r.err, "not found") {
				t.Errorf("the service is still there: %s", r)
			}
			o.gamma.shell(t, "! ip link show x0t0 2>/dev/null")
		}),
	}
}
