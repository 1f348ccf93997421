package bench

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
)

func TestChoosePeers(t *testing.T) {
	for want, names := range map[string][]string{
		"veth wireguard-go tinc nebula yggdrasil": nil,
		"tinc veth": {"tinc", "veth"},
		"":          {NoPeers},
	} {
		got, err := choosePeers(names, ThroughputPeers())
		var all []string
		for _, p := range got {
			all = append(all, p.name)
		}
		if strings.Join(all, " ") != want || err != nil {
			t.Errorf("%q: %q, %v", names, all, err)
		}
	}
	for _, names := range [][]string{{"openvpn"}, {"babeld"}, {"veth", NoPeers}} {
		if _, err := choosePeers(names, ThroughputPeers()); !errors.Is(err, errNoPeer) {
			t.Errorf("%q: %v", names, err)
		}
	}
	for _, p := range peers() {
		if p.line == nil && p.net == nil || p.net != nil && (p.slow.trials == 0 || p.slow.limit == 0 || p.slow.settle == 0) {
			t.Errorf("%s is compared nowhere, or at no pace", p.name)
		}
	}
}

// A program that scripts/peers got goes before the machine's own, with its libraries and the version of its package.
func TestPrograms(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(PeersEnv, dir)
	for name, text := range map[string]string{
		"root/usr/sbin/ip": "#!/bin/sh\necho none\n", "root/usr/lib/any-linux-gnu/lib.so": "", "versions": "iproute9 7.1\n", "bin/notes": "",
	} {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o600)
		if strings.HasPrefix(text, "#!") {
			mode = 0o700
		}
		if err := os.WriteFile(at, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	p, err := findProgram("ip")
	if err != nil || p.path != filepath.Join(dir, "root/usr/sbin/ip") || !slices.Contains(p.env, "LD_LIBRARY_PATH="+dir+"/root/usr/lib/any-linux-gnu") {
		t.Errorf("%+v, %v", p, err)
	}
	if v := p.version(t.Context(), "iproute9", "-V"); v != "7.1 (Debian)" {
		t.Errorf("version %q", v)
	}
	if v := p.version(t.Context(), "unlisted", "-V"); v != "none" {
		t.Errorf("in its own words: %q", v)
	}
	if p, err := findProgram("sh"); err != nil || p.dir != "" {
		t.Errorf("the machine's own: %+v, %v", p, err)
	}
	for _, name := range []string{"no-such-program", "notes"} {
		if _, err := findProgram(name); !errors.Is(err, ErrNoProgram) || !strings.Contains(err.Error(), "scripts/peers") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatProgramsPrint(t *testing.T) {
	const ping = "PING fd::1 56 data bytes\n64 bytes from fd::1: icmp_seq=1 ttl=64 time=0.123 ms\n64 bytes from fd::1: icmp_seq=2 ttl=64 time=12 ms (DUP!)\n" +
		"rtt min/avg/max/mdev = 0.1/0.2/0.3/0.4 ms\nx time=-1 ms\nx time= ms\nx time=4\n"
	if got := pingTimes(ping); !slices.Equal(got, []float64{0.123, 12}) {
		t.Errorf("round trips %v", got)
	}
	const addr = "7: to-n2    inet6 fe80::1:2/64 scope link \\       valid_lft forever preferred_lft forever\n"
	if got, err := linkLocal(addr); got != "fe80::1:2" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", "7: to-n2 inet6", "inet6 nonsense"} {
		if got, err := linkLocal(bad); err == nil {
			t.Errorf("%q has the address %q", bad, got)
		}
	}
	const dev = "Inter-|   Receive   |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n" +
		"    lo:     104       2    0    0    0     0          0         0      104       3    0\n to-n2: 1 2 3 4 5 6 7 8 9 10 11\nbad: 1 2\nworse: 1 2 3 4 5 6 7 8 9 x\n"
	if got := sentPackets(dev); len(got) != 2 || got["lo"] != 3 || got["to-n2"] != 10 {
		t.Errorf("packets %v", got)
	}
}

// bareSite is a map in namespaces, without any daemon.
func bareSite(t *testing.T, spec string) *site {
	t.Helper()
	if err := lab.Probe(); err != nil {
		t.Skipf("peers in namespaces are not tried: %v", err)
	}
	m, err := topology.Builtin(spec)
	if err != nil {
		t.Fatal(err)
	}
	f := &failing{m: m, opt: FailoverOptions{Progress: t.Output()}}
	l, err := lab.Bare(f.labOptions())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return &site{lab: l, m: m, dir: t.TempDir()}
}

// The kernel alone carries packets along a line, by IPv4 and IPv6 links; the counters of the interfaces show which way.
func TestBareVethCarriesPackets(t *testing.T) {
	s := bareSite(t, "line:4")
	o, err := upVeth(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	ids := s.nodes()
	if err := o.reaches(t.Context(), ids[0], ids[3]); err != nil {
		t.Fatal(err)
	}
	if times, err := s.pings(t.Context(), ids[3], o.addrs[ids[0]].String(), idlePing, 5); err != nil || len(times) != 5 {
		t.Errorf("%v, %v", times, err)
	}
	p, err := s.lab.ProberOn(o.addrs, controlPort)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	probing := t.Context()
	flows := []*lab.Flow{p.Flow(ids[0], ids[3]), p.Flow(ids[3], ids[0])}
	go p.Stream(probing, flows)
	path, err := s.walk(t.Context(), ids[0], ids[3])
	if err != nil || !slices.Equal(path, ids) {
		t.Errorf("the packets go by %v, %v; want %v", path, err, ids)
	}
	if _, err := s.walk(t.Context(), ids[1], mesh.MustNodeID("elsewhere")); !errors.Is(err, errNoWalk) {
		t.Errorf("a way to nowhere: %v", err)
	}
	if u, err := o.usage(ids[1]); err != nil || u.CPU != 0 || u.RSS != 0 {
		t.Errorf("daemons of a kernel use %+v, %v", u, err)
	}
}

// A peer whose daemon ends, or whose program is missing, says so and holds nothing up.
func TestPeersThatDoNotWork(t *testing.T) {
	s := bareSite(t, "line:2")
	ids := s.nodes()
	o := s.overlay("broken")
	o.addrs[ids[1]] = address(vethRange, 1)
	if err := o.daemon(ids[0], program{path: "/bin/sh"}, "-c", "echo I cannot >&2; exit 3"); err != nil {
		t.Fatal(err)
	}
	err := o.reaches(t.Context(), ids[0], ids[1])
	if err == nil || !strings.Contains(err.Error(), "ended; its log ends with: I cannot") {
		t.Errorf("%v", err)
	}
	o.close()
	t.Setenv(PeersEnv, t.TempDir())
	t.Setenv("PATH", t.TempDir())
	for _, p := range peers() {
		if p.kernel {
			continue // needs a kernel, not a program
		}
		up := p.line
		if up == nil {
			up = p.net
		}
		if p.name == "veth" {
			continue
		}
		o, err := up(t.Context(), s)
		if !errors.Is(err, ErrNoProgram) || o == nil {
			t.Errorf("%s: %v", p.name, err)
		}
	}
}

func TestPeersConfigurations(t *testing.T) {
	for what, tt := range map[string]struct{ text, want string }{
		"bird":   {birdConfig(4, []string{"to-a", "to-b"}), `area 0 { interface "to-a", "to-b" { type ptp; cost 10; hello 1; dead count 4; bfd yes; }; };`},
		"bfd":    {birdConfig(4, []string{"to-a"}), `protocol bfd { interface "to-a" { interval 50 ms; multiplier 3; }; }`},
		"ospf6d": {frrConfigs(4, []string{"to-a"})["ospf6d"], "interface to-a\n ipv6 ospf6 area 0\n"},
		"bfdd":   {frrConfigs(4, nil)["bfdd"], "transmit-interval 50\n  receive-interval 50\n  detect-multiplier 3\n"},
	} {
		if !strings.Contains(tt.text, tt.want) {
			t.Errorf("%s: no %q in\n%s", what, tt.want, tt.text)
		}
	}
	private, public, err := wireguardKey()
	if err != nil || len(private) != 44 || len(public) != 44 || private == public {
		t.Errorf("keys %q, %q, %v", private, public, err)
	}
}
