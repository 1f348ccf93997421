package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/mesh"
)

const whole = `# every key
node:
  name: alpha
identity:
  trust_domain: example.mesh
  ttl: 20s
links:
  listen: ["0.0.0.0:7420", "[2001:db8::1]:7421"]
  neighbours:
    - 192.0.2.7:7420
    - "[fe80::1%eth0]:7420"
    - gate.example.net:7420
  advertise: ["198.51.100.1:7420"]
  hello: 10ms
routing: {k: 3, protect: [dscp:EF, all], duplicate_budget: 0.5, spread: always}
dns: {mode: hosts}
api:
  listen: "127.0.0.1:7421"
log: {level: debug, format: json}
`

func addrs4(s ...string) (out []netip.AddrPort) {
	for _, a := range s {
		out = append(out, netip.MustParseAddrPort(a))
	}
	return out
}

func wholeConfig() Config {
	return Config{
		Node:     Node{Name: mesh.MustNodeID("alpha")},
		Identity: Identity{TrustDomain: spiffeid.RequireTrustDomainFromString("example.mesh"), TTL: 20 * time.Second},
		Links: Links{
			Listen:     addrs4("0.0.0.0:7420", "[2001:db8::1]:7421"),
			Neighbours: addrs4("192.0.2.7:7420", "[fe80::1%eth0]:7420"),
			Names:      []HostPort{{"gate.example.net", 7420}},
			Advertise:  addrs4("198.51.100.1:7420"),
			Hello:      10 * time.Millisecond,
		},
		Routing: Routing{K: 3, Protect: []mesh.ProtectRule{{Kind: mesh.ProtectDSCP, DSCP: 46}, {Kind: mesh.ProtectAll}},
			DuplicateBudget: 0.5, Spread: SpreadAlways},
		DNS: DNS{Mode: DNSHosts},
		API: API{Listen: netip.MustParseAddrPort("127.0.0.1:7421")},
		Log: Log{Level: slog.LevelDebug, Format: FormatJSON},
	}
}

func TestWhole(t *testing.T) {
	c, err := Parse("x0t.yaml", []byte(whole))
	if err != nil || !reflect.DeepEqual(c, wholeConfig()) {
		t.Errorf("%+v, %v; want %+v", c, err, wholeConfig())
	}
}

func TestNothingGivesDefaults(t *testing.T) {
	want := Config{
		Links:   Links{Listen: addrs4("[::]:7420"), Hello: 50 * time.Millisecond},
		Routing: Routing{K: 3, DuplicateBudget: 0.1, Spread: SpreadAuto},
		DNS:     DNS{Mode: DNSAuto},
		Log:     Log{Level: slog.LevelInfo, Format: FormatText},
	}
	if !reflect.DeepEqual(Default(), want) {
		t.Errorf("Default() = %+v", Default())
	}
	for _, in := range []string{"", "\n", "# nothing\n", "---\n", "links:\n", "links: {}\nlog:\n", "links: {neighbours: []}\n", "\ufeff# byte order mark\n"} {
		if c, err := Parse("f", []byte(in)); err != nil || !reflect.DeepEqual(c, want) {
			t.Errorf("%q: %+v, %v", in, c, err)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"links:\n  helo: 50ms\n", `x0t.yaml:2: links.helo: unknown key; did you mean hello?`},
		{"link:\n  hello: 50ms\n", `x0t.yaml:1: link: unknown key; did you mean links?`},
		{"\nhello: 50ms\n", `x0t.yaml:2: hello: unknown key; did you mean links.hello?`},
		{"policy: none\n", `x0t.yaml:1: policy: unknown key; there are api, dns, identity, links, log, node, routing`},
		{"links:\n  neighbors: []\n", `x0t.yaml:2: links.neighbors: unknown key; did you mean neighbours?`},
		{"links:\n  LISTEN: []\n", `x0t.yaml:2: links.LISTEN: unknown key; did you mean listen?`},
		{"identity:\n  trust: x\n", `x0t.yaml:2: identity.trust: unknown key; did you mean trust_domain?`},
		{"\"\\e[31m\": 1\n", `x0t.yaml:1: "\x1b[31m": unknown key; there are api, dns, identity, links, log, node, routing`},
		{"log: {level: info}\nnode:\nlog: {format: text}\n", `x0t.yaml:3: log: given twice, first in line 1; keep one`},
		{"log:\n  level: info\n  level: warn\n", `x0t.yaml:3: log.level: given twice, first in line 2; keep one`},
		{"links: 50ms\n", `x0t.yaml:1: links: the value 50ms where keys are expected; write listen, neighbours, advertise, hello, interfaces, groups, capacity with a colon, one a line`},
		{"- links\n", `x0t.yaml:1: a list where keys are expected; write node, identity, links, routing, dns, api, log with a colon, one a line`},
		{"links\n", `x0t.yaml:1: the value links where keys are expected; write node, identity, links, routing, dns, api, log with a colon, one a line`},
		{"[a]: b\n", `x0t.yaml:1: a list where a key is expected; use one of node, identity, links, routing, dns, api, log`},
		{"links:\n  hello:\n", `x0t.yaml:2: links.hello: nothing where one value is expected; write the value, or leave the key out for its default`},
		{"links:\n  hello: [1s]\n", `x0t.yaml:2: links.hello: a list where one value is expected; write the value, or leave the key out for its default`},
		{"links:\n  hello: 50\n", `x0t.yaml:2: links.hello: 50 is not a length of time; write a number and its unit: 50ms, 10s, 24h`},
		{"links:\n  hello: 0\n", `x0t.yaml:2: links.hello: 0 is not a length of time; write a number and its unit: 50ms, 10s, 24h`},
		{"links:\n  hello: -1s\n", `x0t.yaml:2: links.hello: -1s is out of range; use 10ms to 10s`},
		{"links:\n  hello: 9ms\n", `x0t.yaml:2: links.hello: 9ms is out of range; use 10ms to 10s`},
		{"identity:\n  ttl: 1s\n", `x0t.yaml:2: identity.ttl: 1s is out of range; use 2s to 2160h`},
		{"identity:\n  trust_domain: Example.Mesh\n", `x0t.yaml:2: identity.trust_domain: Example.Mesh is not a trust domain: trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores; write a name such as example.mesh`},
		{"identity:\n  trust_domain: spiffe://example.mesh\n", `x0t.yaml:2: identity.trust_domain: spiffe://example.mesh is not a trust domain: only the name, without spiffe:// and path; write a name such as example.mesh`},
		{"node:\n  name: Alpha\n", `x0t.yaml:2: node.name: not a node name: "Alpha": use lower-case letters, digits and inner hyphens`},
		{"links:\n  listen: 7420\n", `x0t.yaml:2: links.listen: the value 7420 where a list is expected; write ["A", "B"], or one item a line after a dash`},
		{"links:\n  listen:\n", `x0t.yaml:2: links.listen: nothing where a list is expected; write ["A", "B"], or one item a line after a dash`},
		{"links:\n  listen:\n  - 0.0.0.0:7420\n  - :7420\n", `x0t.yaml:4: links.listen[1]: :7420 is not an address to listen on; write ADDRESS:PORT, for instance "[::]:7420" or "192.0.2.1:7420"`},
		{"links:\n  neighbours:\n  - 0.0.0.0:7420\n", `x0t.yaml:3: links.neighbours[0]: 0.0.0.0:7420 is not an address to reach a node at; write ADDRESS:PORT, for instance "192.0.2.1:7420" or "[2001:db8::1]:7420"`},
		{"links:\n  neighbours: [192.0.2.1:0]\n", `x0t.yaml:2: links.neighbours[0]: 192.0.2.1:0 is not an address to reach a node at; write ADDRESS:PORT, for instance "192.0.2.1:7420" or "[2001:db8::1]:7420"`},
		{"links:\n  neighbours: [beta]\n", `x0t.yaml:2: links.neighbours[0]: beta is not an address to reach a node at; write ADDRESS:PORT or HOST:PORT, for instance "192.0.2.1:7420", "[2001:db8::1]:7420" or "gate.example.net:7420"`},
		{"links:\n  neighbours: [\"192.0.2:7420\"]\n", `x0t.yaml:2: links.neighbours[0]: 192.0.2:7420 is not an address to reach a node at; write ADDRESS:PORT or HOST:PORT, for instance "192.0.2.1:7420", "[2001:db8::1]:7420" or "gate.example.net:7420"`},
		{"links:\n  neighbours: [beta:7420, beta:7420]\n", `x0t.yaml:2: links.neighbours[1]: beta:7420 stands here twice; keep one`},
		{"links:\n  neighbours:\n  - \"[fd64:9143:f1ab::1]:7420\"\nidentity:\n  trust_domain: example.mesh\n", `x0t.yaml:3: links.neighbours: [fd64:9143:f1ab::1]:7420 is an address of the mesh itself, which only links make reachable; write an address of the network below`},
		{"links:\n  neighbours:\n  - Beta.Example.Mesh.:7420\nidentity:\n  trust_domain: example.mesh\n", `x0t.yaml:3: links.neighbours: Beta.Example.Mesh.:7420 is a name of the mesh itself, which nobody can look up before links are up; write an address, or a name of the network below`},
		{"links:\n  neighbours:\n  - 192.0.2.1:7420\n  - \"[::ffff:192.0.2.1]:7420\"\n", `x0t.yaml:4: links.neighbours[1]: [::ffff:192.0.2.1]:7420 stands here twice; keep one`},
		{"links:\n  advertise: [{a: b}]\n", `x0t.yaml:2: links.advertise[0]: a mapping where one value is expected; write the value, or leave the key out for its default`},
		{"links:\n  neighbours: [" + strings.Repeat("x,", 300) + "]\n", `x0t.yaml:2: links.neighbours: 300 items; at most 256 make sense`},
		{"routing:\n  k: 0\n", `x0t.yaml:2: routing.k: 0 is not a whole number from 1 to 8; write one`},
		{"routing:\n  k: two\n", `x0t.yaml:2: routing.k: two is not a whole number from 1 to 8; write one`},
		{"dns:\n  mode: on\n", `x0t.yaml:2: dns.mode: on is not a way to make names known; use auto, resolved, resolvconf, hosts or off`},
		{"dns: {resolver: hosts}\n", `x0t.yaml:1: dns.resolver: unknown key; there are mode`},
		{"dns: off\n", `x0t.yaml:1: dns: the value off where keys are expected; write mode with a colon, one a line`},
		{"api:\n  listen: 0.0.0.0:80\n", `x0t.yaml:2: api.listen: 0.0.0.0:80 is not a loopback address with port; write "127.0.0.1:PORT" or "[::1]:PORT"`},
		{"log:\n  level: loud\n", `x0t.yaml:2: log.level: loud is not a log level; use debug, info, warn or error`},
		{"log:\n  format: xml\n", `x0t.yaml:2: log.format: xml is not a log format; use text or json`},
		{"log: &l {level: info}\nnode: *l\n", `x0t.yaml:2: node: an alias where keys are expected; write name, failure_domain with a colon, one a line`},
		{"log:\n  <<: {level: info}\n", `x0t.yaml:2: log.<<: unknown key; there are format, level`},
		{"log:\n---\nnode:\n", `x0t.yaml:2: a second document begins here; keep one, without ---`},
		{"log: {level: info\n", `x0t.yaml:1: not YAML: did not find expected ',' or '}'; check indentation, quotes and brackets here and just above`},
		{"log:\n\tlevel: info\n", `x0t.yaml:2: not YAML: found character that cannot start any token; check indentation, quotes and brackets here and just above`},
		{strings.Repeat("#", maxFile+1), `x0t.yaml: the file is longer than 1048576 bytes; is it the right one?`},
		// several mistakes are told at once, in the order of the file
		{"log:\n  level: loud\nnode:\n  nam: x\n", "x0t.yaml:2: log.level: loud is not a log level; use debug, info, warn or error\nx0t.yaml:4: node.nam: unknown key; did you mean name?"},
	} {
		_, err := Parse("x0t.yaml", []byte(tc.in))
		if err == nil || err.Error() != tc.want {
			in := tc.in[:min(len(tc.in), 60)]
			t.Errorf("%q:\n got %v\nwant %s", in, err, tc.want)
		}
	}
}

// One defect at a time in a file that is otherwise right: each is found, in its line.
func TestOneDefectInAWholeFile(t *testing.T) {
	for i, line := range strings.Split(strings.TrimSpace(whole), "\n") {
		name, _, ok := strings.Cut(line, ":")
		if !ok || strings.ContainsAny(name, "-#") {
			continue
		}
		broken := strings.Replace(whole, line, strings.Replace(line, strings.TrimSpace(name), "zz"+strings.TrimSpace(name), 1), 1)
		_, err := Parse("f", []byte(broken))
		var ps Problems
		if !errors.As(err, &ps) || len(ps) != 1 || ps[0].Line != i+1 {
			t.Errorf("line %d %q broken: %v", i+1, line, err)
		}
	}
}

func TestShownConfigReadsBack(t *testing.T) {
	for _, c := range []Config{Default(), wholeConfig()} {
		back, err := Parse("shown", []byte(c.YAML()))
		if err != nil || !reflect.DeepEqual(back, c) {
			t.Errorf("%s\nreads as %+v, %v; want %+v", c.YAML(), back, err, c)
		}
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x0t.yaml")
	if _, err := Load(path); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(path); err != nil || !reflect.DeepEqual(c, wholeConfig()) {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Load(filepath.Dir(path)); err == nil {
		t.Error("a directory was read as a file")
	}
}

func TestLogger(t *testing.T) {
	for format, want := range map[Format]string{FormatText: "level=WARN msg=hot", FormatJSON: `"level":"WARN","msg":"hot"`} {
		var b bytes.Buffer
		l := Log{Level: slog.LevelWarn, Format: format}.Logger(&b)
		l.Info("cold")
		l.Warn("hot")
		if !strings.Contains(b.String(), want) || strings.Contains(b.String(), "cold") {
			t.Errorf("%s: %s", format, b.String())
		}
	}
}

func TestProblemJSON(t *testing.T) {
	_, err := Parse("f", []byte("node:\n  nam: x\n"))
	b, _ := json.Marshal(err)
	if want := `[{"file":"f","line":2,"key":"node.nam","message":"unknown key","remedy":"did you mean name?"}]`; string(b) != want {
		t.Errorf("%s, want %s", b, want)
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "abc", 3}, {"hello", "hello", 0}, {"helo", "hello", 1}, {"ehllo", "hello", 1}, {"neighbors", "neighbours", 1}, {"kitten", "sitting", 3}} {
		if d := distance(tc.a, tc.b); d != tc.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tc.a, tc.b, d, tc.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("links:\n  hello: 50\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("--- !!binary x\n...\n%YAML 1.1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse("f", b)
		if err != nil {
			var ps Problems
			if !errors.As(err, &ps) || len(ps) == 0 {
				t.Fatalf("an error that is no Problems: %v", err)
			}
			return
		}
		back, err := Parse("shown", []byte(c.YAML()))
		if err != nil || !reflect.DeepEqual(back, c) {
			t.Fatalf("%+v is shown as\n%s\nwhich reads as %+v, %v", c, c.YAML(), back, err)
		}
	})
}
