package config

import (
	"bytes"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// What nodes may share is what the tests of the daemon show to be taken up; a key more here is a promise more.
func TestShareable(t *testing.T) {
	want := []string{"identity.ttl", "routing.k", "routing.protect", "routing.duplicate_budget", "routing.spread", "log.level", "log.format"}
	if got := Shareable(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if all := Keys(); len(all) != 19 || !slices.Contains(all, "links.listen") {
		t.Errorf("%q", all)
	}
}

func TestWith(t *testing.T) {
	base, err := Parse("x0t.yaml", []byte("routing: {protect: [all], duplicate_budget: 0.5}\nlog: {level: warn}\n"))
	if err != nil {
		t.Fatal(err)
	}
	before := base.YAML()
	ef := mesh.ProtectRule{Kind: mesh.ProtectDSCP, DSCP: 46}
	for _, tc := range []struct {
		key, text string
		change    func(*Config)
		shown     string
	}{
		{"routing.k", "2", func(c *Config) { c.Routing.K = 2 }, "2"},
		{"routing.k", " 2 # of three\n", func(c *Config) { c.Routing.K = 2 }, "2"},
		{"routing.protect", "[dscp:EF]", func(c *Config) { c.Routing.Protect = []mesh.ProtectRule{ef} }, `["dscp:46"]`},
		{"routing.protect", "- dscp:EF\n- tcp/22\n", func(c *Config) {
			c.Routing.Protect = []mesh.ProtectRule{ef, {Kind: mesh.ProtectPort, Protocol: 6, Port: 22}}
		}, `["dscp:46", "tcp/22"]`},
		{"routing.protect", "[]", func(c *Config) { c.Routing.Protect = nil }, "[]"},
		{"routing.duplicate_budget", "0", func(c *Config) { c.Routing.DuplicateBudget = NoDuplicates }, "0"},
		{"routing.spread", "off", func(c *Config) { c.Routing.Spread = SpreadOff }, "off"},
		{"log.level", `"debug"`, func(c *Config) { c.Log.Level = slog.LevelDebug }, "debug"},
		{"log.format", "json", func(c *Config) { c.Log.Format = FormatJSON }, "json"},
		{"identity.ttl", "12h", func(c *Config) { c.Identity.TTL = 12 * time.Hour }, "12h"},
		{"identity.ttl", "10m", func(c *Config) { c.Identity.TTL = 10 * time.Minute }, "10m"},
	} {
		want := base
		tc.change(&want)
		got, err := base.With(tc.key, tc.text)
		if err != nil || !reflect.DeepEqual(got, want) || got.Value(tc.key) != tc.shown {
			t.Errorf("%s: %s: %+v, shown %q, %v", tc.key, tc.text, got, got.Value(tc.key), err)
		}
		if base.YAML() != before {
			t.Fatalf("%s: %s changed what it was made of", tc.key, tc.text)
		}
	}
	if v := base.Value("no.key") + base.Value("node.name") + base.Value("routing"); v != "" {
		t.Errorf("what is not there has the value %q", v)
	}
}

// Of a value that is wrong nothing is taken, and the error names the key and what to write.
func TestWithMistakes(t *testing.T) {
	for _, tc := range []struct{ key, text, want string }{
		{"identity.ttl", "2s", `identity.ttl: 2s is out of range; use 10m to 2160h`},
		{"identity.ttl", "9m59s", `identity.ttl: 9m59s is out of range; use 10m to 2160h`},
		{"identity.ttl", "2161h", `identity.ttl: 2161h is out of range; use 10m to 2160h`},
		{"routing.k", "0", `routing.k: 0 is not a whole number from 1 to 8; write one`},
		{"routing.k", "", `routing.k: nothing where one value is expected; write the value, or leave the key out for its default`},
		{"routing.k", "{a: b}", `routing.k: a mapping where one value is expected; write the value, or leave the key out for its default`},
		{"routing.k", "*a", `routing.k: not YAML: unknown anchor 'a' referenced; check indentation, quotes and brackets here and just above`},
		{"routing.k", "2\n---\n3\n", `routing.k: a second document begins here; keep one, without ---`},
		{"routing.k", "[", `routing.k: not YAML: did not find expected node content; check indentation, quotes and brackets here and just above`},
		{"routing.protect", "dscp:EF", `routing.protect: the value dscp:EF where a list is expected; write ["A", "B"], or one item a line after a dash`},
		{"routing.protect", "[dscp:EF, sip]", `routing.protect[1]: not a rule of what is protected: "sip"; write all, dscp:46, dscp:EF, tcp/22, udp/5060 or node:gamma`},
		{"log.level", "loud", `log.level: loud is not a log level; use debug, info, warn or error`},
		{"log.level", strings.Repeat("x", MaxValue+1), `log.level: the value is longer than 65536 bytes; is it the right one?`},
		{"log.levle", "info", `log.levle: unknown key; did you mean log.level?`},
		{"protect", "[all]", `protect: unknown key; did you mean routing.protect?`},
		{"\x1b[31m", "1", `"\x1b[31m": unknown key; those that nodes may share are identity.ttl, routing.k, routing.protect, routing.duplicate_budget, routing.spread, log.level, log.format`},
		{"links.listen", "[]", `links.listen: only in the file: a running daemon does not take it up; set it in the node's file and restart x0t`},
		{"links.hello", "20ms", `links.hello: only in the file: a link keeps the interval that it was made with; set it in each node's file and restart x0t`},
	} {
		base := wholeConfig()
		got, err := base.With(tc.key, tc.text)
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s: %.40q:\n got %v\nwant %s", tc.key, tc.text, err, tc.want)
		}
		if !reflect.DeepEqual(got, wholeConfig()) {
			t.Errorf("%s: %.40q was taken in part: %+v", tc.key, tc.text, got)
		}
	}
	if _, err := Default().With("x.y", "1"); !errors.Is(err, ErrUnknownKey) {
		t.Error(err)
	}
	if _, err := Default().With("node.name", "a"); !errors.Is(err, ErrNotLive) {
		t.Error(err)
	}
}

func TestGiven(t *testing.T) {
	_, given, err := ParseGiven("f", []byte("log: {level: info}\nlinks:\nrouting:\n  protect: []\n"))
	if want := []string{"log.level", "routing.protect"}; err != nil || !slices.Equal(given, want) {
		t.Errorf("%q, %v", given, err)
	}
	if _, given, err := ParseGiven("f", []byte("log: {level: loud}\n")); err == nil || given != nil {
		t.Errorf("of a file with a mistake: %q", given)
	}
}

// A logger's level and format change under the loggers that were made of it.
func TestLoggerSet(t *testing.T) {
	var b bytes.Buffer
	g := Log{Level: slog.LevelWarn}.Logger(&b)
	child := g.With("who", "child").WithGroup("g")
	child.Info("one")
	g.Set(Log{Level: slog.LevelDebug, Format: FormatJSON})
	child.Debug("two", "n", 2)
	g.Set(Log{Level: slog.LevelInfo})
	child.Debug("three")
	child.Info("four", "n", 4)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"msg":"two","who":"child","g":{"n":2}`) || !strings.Contains(lines[1], "msg=four who=child g.n=4") {
		t.Errorf("%q", lines)
	}
}

// Whatever is shared, it is taken as a whole or not at all, and what is taken reads back.
func FuzzWith(f *testing.F) {
	f.Add("routing.protect", `["dscp:EF", udp/5060]`)
	f.Add("routing.k", "3")
	f.Add("identity.ttl", "&a [*a]")
	f.Add("log.level", "!!binary x")
	f.Fuzz(func(t *testing.T, name, text string) {
		c, err := Default().With(name, text)
		if err != nil {
			if !reflect.DeepEqual(c, Default()) || err.Error() == "" {
				t.Fatalf("%q %q: %v left %+v", name, text, err, c)
			}
			return
		}
		again, err := Default().With(name, c.Value(name))
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("%q %q is shown as %q, which reads as %+v, %v", name, text, c.Value(name), again, err)
		}
	})
}
