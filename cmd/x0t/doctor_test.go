package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/api"
	"x0tta6bl4/daemon"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/host/authority"
	"x0tta6bl4/host/disk"
	"x0tta6bl4/mesh"
)

// quietMachine is one on which nothing is wrong, with its files below root.
func quietMachine(root string) *machine {
	return &machine{
		root: root, now: func() time.Time { return noon },
		synced:  func() (bool, error) { return true, nil },
		openTUN: func() error { return nil },
		device:  func(string) bool { return false },
		rules:   func() error { return nil }, segments: func() error { return nil },
		bind:   func(string, netip.AddrPort) error { return nil },
		route:  func(netip.Addr) (int, string, error) { return 1500, "eth0", nil },
		lookup: func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{addr("192.0.2.9")}, nil },
		space:  func(string) (uint64, bool, error) { return 1 << 30, false, nil },
	}
}

// healthyMachine is a quiet one whose files a test may change.
func healthyMachine(t *testing.T) machine {
	t.Helper()
	m := quietMachine(t.TempDir())
	if err := os.CopyFS(m.root, os.DirFS("testdata/machine")); err != nil {
		t.Fatal(err)
	}
	return *m
}

func write(t *testing.T, root, path, content string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// healthyPatient is a member on a healthy machine, two hours old, whose daemon does not run.
func healthyPatient(t *testing.T) *patient {
	t.Helper()
	p := &patient{
		machine: healthyMachine(t), configPath: filepath.Join(t.TempDir(), "x0t.yaml"), state: filepath.Join(t.TempDir(), "state"),
		socket: "/run/x0t.sock", now: noon, cfg: config.Default(), statusErr: api.ErrNoDaemon,
	}
	p.uid = os.Geteuid()
	dir, err := disk.Open(p.state)
	if err != nil {
		t.Fatal(err)
	}
	td := spiffeid.RequireTrustDomainFromString("example.mesh")
	if _, err := authority.Init(dir, td, alpha, 0, noon.Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, p.state, "lock", "0\n") // not this process's
	m, err := authority.LoadMembership(onlyReads(p.state))
	if err != nil {
		t.Fatal(err)
	}
	p.member = &m
	return p
}

func running(p *patient) *api.Status {
	p.status = &api.Status{Node: alpha, PID: os.Getpid(), TUN: "x0t0", Version: "v1", Health: api.HealthOK, LinksUp: 1, LinksTotal: 1,
		Members: 2, Listen: []netip.AddrPort{addrPort("[::]:7420")}}
	return p.status
}

// Of every check there is a case in which it finds its defect, says what to do, and without which it finds none.
func TestDoctorFindsEachDefect(t *testing.T) {
	inUse := fmt.Errorf("bind: %w", syscall.EADDRINUSE)
	cases := []struct {
		check  string
		defect string
		make   func(t *testing.T, p *patient)
		want   verdict
		found  string
		remedy string
	}{
		{"kernel", "no /proc", func(t *testing.T, p *patient) { _ = os.RemoveAll(filepath.Join(p.root, "proc")) }, bad, "osrelease", "mount"},
		{"kernel", "no GSO", func(_ *testing.T, p *patient) { p.segments = func() error { return syscall.ENOPROTOOPT } }, warn, "system call", "4.18"},
		{"kernel", "no rules", func(_ *testing.T, p *patient) { p.rules = func() error { return syscall.EOPNOTSUPP } }, warn, "past the mesh", "MULTIPLE_TABLES"},
		{"ipv6", "none", func(_ *testing.T, p *patient) { _ = os.Remove(filepath.Join(p.root, "proc/net/if_inet6")) }, bad, "kernel has none", "ipv6.disable"},
		{"ipv6", "off for new", func(t *testing.T, p *patient) { write(t, p.root, "proc/sys/net/ipv6/conf/default/disable_ipv6", "1\n") }, warn, "new interfaces", "sysctl"},
		{"ipv6", "off for all", func(t *testing.T, p *patient) { write(t, p.root, "proc/sys/net/ipv6/conf/all/disable_ipv6", "1\n") }, warn, "new interfaces", "sysctl"},
		{"ipv6", "off on the TUN", func(t *testing.T, p *patient) { write(t, p.root, "proc/sys/net/ipv6/conf/x0t0/disable_ipv6", "1\n") }, bad, "x0t0", "sysctl"},
		{"tun", "no device", func(_ *testing.T, p *patient) { p.openTUN = func() error { return fs.ErrNotExist } }, bad, "not there", "modprobe"},
		{"tun", "no access", func(_ *testing.T, p *patient) { p.openTUN = func() error { return fs.ErrPermission } }, bad, "permission", "root"},
		{"tun", "no driver", func(_ *testing.T, p *patient) { p.openTUN = func() error { return syscall.ENODEV } }, bad, "no such device", "modprobe"},
		{"tun", "name taken", func(_ *testing.T, p *patient) { p.device = func(n string) bool { return n == "x0t0" } }, bad, "there already", "ip link delete"},
		{"rights", "no capability", func(t *testing.T, p *patient) { write(t, p.root, "proc/self/status", "CapEff:\t0000000000000400\n") }, bad, "does not have", "root"},
		{"rights", "unknown", func(t *testing.T, p *patient) { write(t, p.root, "proc/self/status", "Name: x\n") }, warn, "does not say", "sudo"},
		{"config", "mistakes", func(t *testing.T, p *patient) {
			write(t, "", p.configPath, "links:\n  helo: 1s\n")
			_, p.cfgErr = config.Load(p.configPath)
		}, bad, "unknown key", "line 2"},
		{"config", "unreadable", func(_ *testing.T, p *patient) { p.cfgErr = fs.ErrPermission }, bad, "permission", "config check"},
		{"state", "none", func(_ *testing.T, p *patient) { p.state += "/none" }, bad, "no mesh", "x0t join"},
		{"state", "a file", func(_ *testing.T, p *patient) { p.state += "/svid.pem" }, bad, "not a directory", "X0T_STATE"},
		{"state", "newer", func(t *testing.T, p *patient) { write(t, p.state, "version", "99\n") }, bad, "format 99", "newer x0t"},
		{"state", "odd version", func(t *testing.T, p *patient) { write(t, p.state, "version", "x\n") }, bad, "no format", "restore"},
		{"state", "no version", func(_ *testing.T, p *patient) { _ = os.Remove(filepath.Join(p.state, "version")) }, warn, "not there", "restore"},
		{"state", "someone else's", func(_ *testing.T, p *patient) { p.uid = 12345 }, bad, "user 12345 is to write", "chown"},
		{"state", "open to others", func(_ *testing.T, p *patient) { _ = os.Chmod(p.state, 0o755) }, warn, "0755", "chmod 700"},
		{"state", "a key open to others", func(_ *testing.T, p *patient) { _ = os.Chmod(filepath.Join(p.state, "domain.key"), 0o644) }, warn, "0644", "chmod 600"},
		{"state", "full", func(_ *testing.T, p *patient) {
			p.space = func(string) (uint64, bool, error) { return 1000, false, nil }
		}, bad, "left", "free some"},
		{"state", "nearly full", func(_ *testing.T, p *patient) {
			p.space = func(string) (uint64, bool, error) { return 2 << 20, false, nil }
		}, warn, "left", "free some"},
		{"state", "read-only", func(_ *testing.T, p *patient) {
			p.space = func(string) (uint64, bool, error) { return 1 << 30, true, nil }
		}, bad, "read-only", "remount"},
		{"state", "held by another", func(t *testing.T, p *patient) { write(t, p.state, "lock", fmt.Sprintln(os.Getppid())) }, warn, "may hold", "ps -fp"},
		{"identity", "none", func(_ *testing.T, p *patient) { p.member, p.memberErr = nil, authority.ErrNoIdentity }, bad, "no identity", "x0t join"},
		{"identity", "damaged", func(_ *testing.T, p *patient) { p.member, p.memberErr = nil, authority.ErrCorrupt }, bad, "damaged", "restore"},
		{"identity", "hidden", func(_ *testing.T, p *patient) { p.member, p.memberErr = nil, fs.ErrPermission }, bad, "permission", "sudo"},
		{"identity", "late", func(_ *testing.T, p *patient) { p.now = noon.Add(20 * time.Hour) }, warn, "should have been renewed", "x0t status"},
		{"identity", "expired", func(_ *testing.T, p *patient) { p.now = noon.Add(48 * time.Hour) }, bad, "expired", "x0t up renews"},
		{"identity", "long expired", func(_ *testing.T, p *patient) { p.now = noon.Add(400 * time.Hour) }, bad, "too long", "--replace --node alpha"},
		{"clock", "not kept", func(_ *testing.T, p *patient) { p.synced = func() (bool, error) { return false, nil } }, warn, "nothing keeps", "set-ntp"},
		{"clock", "unknown", func(_ *testing.T, p *patient) { p.synced = func() (bool, error) { return false, syscall.EPERM } }, warn, "not permitted", "timedatectl"},
		{"clock", "before the SVID", func(_ *testing.T, p *patient) { p.now = noon.Add(-24 * time.Hour) }, bad, "begins only in", "set the clock"},
		{"clock", "before the log", func(_ *testing.T, p *patient) { p.now = noon.Add(-2*time.Hour - 30*time.Second) }, bad, "their log", "set the clock"},
		{"ports", "taken", func(_ *testing.T, p *patient) { p.bind = func(string, netip.AddrPort) error { return inUse } }, bad, "another program", "ss -lnp"},
		{"ports", "no such address", func(_ *testing.T, p *patient) {
			p.bind = func(string, netip.AddrPort) error { return syscall.EADDRNOTAVAIL }
		}, bad, "does not have the address", "links.listen"},
		{"ports", "not allowed", func(_ *testing.T, p *patient) { p.bind = func(string, netip.AddrPort) error { return syscall.EACCES } }, bad, "permission", "1023"},
		{"ports", "another configuration", func(_ *testing.T, p *patient) { running(p) }, warn, "another configuration", "restart"},
		{"neighbours", "no route", func(_ *testing.T, p *patient) {
			p.route = func(netip.Addr) (int, string, error) { return 0, "", syscall.ENETUNREACH }
		}, bad, "unreachable", "ip route get 192.0.2.9"},
		{"neighbours", "small MTU", func(_ *testing.T, p *patient) {
			p.route = func(netip.Addr) (int, string, error) { return 1279, "ppp0", nil }
		}, bad, "1279", "ip link set dev ppp0"},
		{"neighbours", "unknown name", func(_ *testing.T, p *patient) {
			p.lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") }
		}, bad, "no such host", "getent"},
		{"neighbours", "name in the mesh", func(_ *testing.T, p *patient) {
			p.cfg.Links.Names = []config.HostPort{{Host: "beta.example.mesh", Port: 7420}}
		}, bad, "own zone", "outside of example.mesh"},
		{"names", "leads elsewhere", func(_ *testing.T, p *patient) {
			p.lookup = func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{addr("192.0.2.66")}, nil }
		}, warn, "somebody else", "resolvectl"},
		{"names", "the resolver cannot be told", func(_ *testing.T, p *patient) {
			running(p).Names = api.Names{Zone: "example.mesh", Server: addrPort("[fd12::1]:53"), Resolver: api.ResolverNone, Note: "no way"}
			p.lookup = unknown
		}, warn, "no way to tell it: no way", ":53 about example.mesh"},
		{"names", "systemd-resolved does not know", func(_ *testing.T, p *patient) {
			running(p).Names.Resolver, p.lookup = api.ResolverResolved, unknown
		}, warn, "although the daemon told it (resolved)", "resolvectl status"},
		{"names", "openresolv does not know", func(_ *testing.T, p *patient) {
			running(p).Names.Resolver, p.lookup = api.ResolverResolvconf, unknown
		}, warn, "(resolvconf)", "resolvconf -l"},
		{"names", "/etc/hosts is not read", func(_ *testing.T, p *patient) {
			running(p).Names.Resolver, p.lookup = api.ResolverHosts, unknown
		}, warn, "(hosts)", "nsswitch"},
		{"names", "nobody knows any more", func(_ *testing.T, p *patient) {
			running(p).Names.Resolver, p.lookup = api.ResolverOther, unknown
		}, warn, "(other)", "getent"},
		{"names", "no DNS", func(_ *testing.T, p *patient) {
			running(p).Names.Resolver = api.ResolverHosts
		}, warn, "does not answer there", "ss -lnp"},
		{"firewall", "may drop", func(t *testing.T, p *patient) {
			st := running(p)
			st.LinksUp = 0
			write(t, p.root, "proc/net/ip6_tables_names", "filter\n")
		}, warn, "no link is up", "nft list ruleset"},
		{"firewall", "nftables may drop", func(t *testing.T, p *patient) {
			running(p).LinksUp = 0
			write(t, p.root, "proc/modules", "tun 1 0\nnf_tables 2 0\n")
		}, warn, "nf_tables", "nft list ruleset"},
		{"daemon", "does not run", func(_ *testing.T, p *patient) { p.status = nil }, warn, "no daemon", "systemctl start"},
		{"daemon", "does not answer", func(_ *testing.T, p *patient) { p.status, p.statusErr = nil, context.DeadlineExceeded }, bad, "deadline", "restart"},
		{"daemon", "degraded", func(_ *testing.T, p *patient) {
			st := running(p)
			st.Health, st.Reasons = api.HealthDegraded, []string{"1 of 2 links is down"}
		}, warn, "1 of 2 links", "x0t links"},
		{"daemon", "down", func(_ *testing.T, p *patient) { running(p).Health = api.HealthDown }, bad, "cannot pass", "x0t status"},
	}
	tested := map[string]bool{}
	for _, c := range cases {
		t.Run(c.check+"/"+c.defect, func(t *testing.T) {
			i := slices.IndexFunc(checks, func(k check) bool { return k.name == c.check })
			if i < 0 {
				t.Fatal("no such check")
			}
			tested[c.check] = true
			p := healthyPatient(t)
			prepare(c.check, p)
			for _, f := range diagnose(t.Context(), checks[i:i+1], p) {
				if f.Result != good || f.Remedy != "" || f.Found == "" || f.Looked == "" || f.Check != c.check {
					t.Errorf("without the defect: %+v", f)
				}
			}
			c.make(t, p)
			fs := diagnose(t.Context(), checks[i:i+1], p)
			hit := slices.ContainsFunc(fs, func(f finding) bool {
				return f.Result == c.want && strings.Contains(f.Found, c.found) && strings.Contains(f.Remedy, c.remedy)
			})
			if !hit {
				t.Errorf("found %+v, want %s of %q with a remedy of %q", fs, c.want, c.found, c.remedy)
			}
			for _, f := range fs {
				if (f.Result == good) != (f.Remedy == "") {
					t.Errorf("a remedy and no defect, or a defect and no remedy: %+v", f)
				}
			}
		})
	}
	for _, k := range checks {
		if !tested[k.name] {
			t.Errorf("no case for %s", k.name)
		}
	}
}

func unknown(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") }

// prepare makes of a healthy patient one at which a check has something to look at.
func prepare(check string, p *patient) {
	switch check {
	case "neighbours":
		p.cfg.Links.Neighbours = []netip.AddrPort{addrPort("192.0.2.9:7420")}
		p.cfg.Links.Names = []config.HostPort{{Host: "gate.example.org", Port: 7420}}
	case "names":
		own := mesh.Addr(spiffeid.RequireTrustDomainFromString("example.mesh"), alpha)
		p.lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
			if host != "alpha.example.mesh" {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{own}, nil
		}
	case "daemon":
		running(p)
	}
}

// What a daemon that runs holds is no defect.
func TestDoctorKnowsWhatTheDaemonHolds(t *testing.T) {
	p := healthyPatient(t)
	running(p)
	write(t, p.state, "lock", fmt.Sprintln(os.Getpid()))
	write(t, p.root, "proc/self/status", "CapEff:\t0\n")
	p.bind = func(string, netip.AddrPort) error { return syscall.EADDRINUSE }
	p.openTUN = func() error { return fs.ErrPermission }
	p.device = func(string) bool { return true }
	p.lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") }
	for _, f := range diagnose(t.Context(), checks, p) {
		if f.Result != good {
			t.Errorf("%+v", f)
		}
	}
}

// The real probes, on whatever machine this is: they answer, and what they say of loopback is known.
func TestDoctorProbesTheSystem(t *testing.T) {
	m := systemMachine()
	if s, err := m.read("proc/sys/kernel/osrelease"); err != nil || s == "" {
		t.Errorf("%q, %v", s, err)
	}
	if mtu, dev, err := m.route(netip.IPv6Loopback()); err != nil || dev != "lo" || mtu < 1280 {
		t.Errorf("%d, %q, %v", mtu, dev, err)
	}
	if _, _, err := m.route(addr("ff02::1%nothing")); err == nil {
		t.Error("a way over an interface that is not there")
	}
	if !m.device("lo") || m.device("nothing0") {
		t.Error("devices")
	}
	if free, _, err := m.space(t.TempDir()); err != nil || free == 0 {
		t.Errorf("%d, %v", free, err)
	}
	if _, _, err := m.space("/nowhere"); err == nil {
		t.Error("space nowhere")
	}
	if _, err := m.synced(); err != nil {
		t.Error(err)
	}
	for _, network := range []string{"udp", "tcp"} {
		if err := m.bind(network, addrPort("[::1]:0")); err != nil {
			t.Errorf("%s: %v", network, err)
		}
		if err := m.bind(network, addrPort("[2001:db8::1]:0")); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("%s: %v", network, err)
		}
	}
	if as, err := m.lookup(t.Context(), "127.0.0.1"); err != nil || len(as) != 1 {
		t.Errorf("%v, %v", as, err)
	}
	if alive("0") || alive("x") || !alive(fmt.Sprint(os.Getpid())) {
		t.Error("processes")
	}
	_ = m.rules()
	_ = m.segments()
	_ = m.openTUN()
	if onlyReads(t.TempDir()).Write("a", nil) == nil {
		t.Error("the doctor wrote")
	}
}

func TestDoctorKnowsTheFormat(t *testing.T) {
	p := healthyPatient(t)
	if f := checkFormat(p); f.Found != fmt.Sprintf("format %d", daemon.StateFormat()) {
		t.Errorf("%+v", f)
	}
}
