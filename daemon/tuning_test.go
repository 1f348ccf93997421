package daemon

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/flow"
	"x0tta6bl4/core/node"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/host/authority"
	"x0tta6bl4/mesh"
)

// The file beats what is shared for the node, that beats what is shared for all, and that the default. What is taken back, or cannot be
// taken up, is as if it was not there.
func TestWhatBeatsWhat(t *testing.T) {
	const file, all, one = "routing: {k: 5}\n", "routing.k/*", "routing.k/beta"
	now := time.Unix(1000, 0)
	for _, tc := range []struct {
		file   string
		shared map[string]string
		value  string
		source api.ConfigSource
		known  string // of what is shared
		bad    int
	}{
		{"", nil, "3", api.ConfigDefault, "", 0},
		{"", map[string]string{all: "1"}, "1", api.ConfigForAll, "1", 0},
		{"", map[string]string{all: "1", one: "2"}, "2", api.ConfigForNode, "2", 0},
		{"", map[string]string{one: "2"}, "2", api.ConfigForNode, "2", 0},
		{"", map[string]string{all: "1", one: ""}, "1", api.ConfigForAll, "1", 0},
		{"", map[string]string{all: "", one: "2"}, "2", api.ConfigForNode, "2", 0},
		{"", map[string]string{all: ""}, "3", api.ConfigDefault, "", 0},
		{"", map[string]string{all: "9"}, "3", api.ConfigDefault, "", 1},
		{"", map[string]string{all: "1", one: "[2]"}, "1", api.ConfigForAll, "1", 1},
		{"", map[string]string{all: "\xff\x00", one: "- 1"}, "3", api.ConfigDefault, "", 2},
		{"", map[string]string{"routing.k/gamma": "1", "routing.spread/*": "off"}, "3", api.ConfigDefault, "", 0},
		{file, nil, "5", api.ConfigFile, "", 0},
		{file, map[string]string{all: "1"}, "5", api.ConfigFile, "1", 0},
		{file, map[string]string{all: "1", one: "2"}, "5", api.ConfigFile, "2", 0},
		{file, map[string]string{all: "5"}, "5", api.ConfigFile, "5", 0},
		{file, map[string]string{one: "nine"}, "5", api.ConfigFile, "", 1},
	} {
		c, given, err := config.ParseGiven("x0t.yaml", []byte(tc.file))
		if err != nil {
			t.Fatal(err)
		}
		shared := map[string]*decree{}
		for name, v := range tc.shared {
			shared[name] = &decree{[]byte(v), testAlpha, mesh.HybridAt(now)}
		}
		got := tune(testBeta, c, given, shared)
		o := got.keys["routing.k"]
		known := ""
		if o.shared != nil {
			known = string(o.shared.Value)
		}
		if got.Value("routing.k") != tc.value || o.source != tc.source || known != tc.known || len(got.bad) != tc.bad {
			t.Errorf("%q and %q: %s from %s, shared is %q, %d bad; want %s from %s, %q, %d",
				tc.file, tc.shared, got.Value("routing.k"), o.source, known, len(got.bad), tc.value, tc.source, tc.known, tc.bad)
		}
		overridden := slices.Equal(got.overridden(), []string{"routing.k"})
		if want := tc.file != "" && known != "" && known != "5"; overridden != want {
			t.Errorf("%q and %q: overridden %t", tc.file, tc.shared, overridden)
		}
		_, toAll := tc.shared[all]
		_, toOne := tc.shared[one]
		if (o.last == testAlpha) != (toAll || toOne) {
			t.Errorf("%q: the last to write was %q", tc.shared, o.last)
		}
	}
}

// The name of a decree says one key and one target, or nothing; what a member puts there breaks nothing.
func FuzzParseSetting(f *testing.F) {
	for _, name := range []string{"routing.k/*", "routing.k/beta", "/*", "a/b/c", "a", "", "x/\xff"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		key, n, ok := parseSetting(name)
		if ok && (key == "" || strings.Contains(key, "/") || settingName(key, n) != name) {
			t.Errorf("%q reads as %q for %q, which is written %q", name, key, n, settingName(key, n))
		}
	})
}

// Every key that may be shared reaches what it is about in a daemon that runs, and goes back when it is unset.
func TestConfigurationIsTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRealm(t, "alpha")
		alpha := m.node("alpha", "", nil)
		d := alpha.Daemon
		synctest.Wait()
		if len(d.events) > 0 || len(alpha.logged) != 1 || alpha.text.String() != "" {
			t.Fatalf("something changed at the start: %d events, %+v, %s", len(d.events), alpha.logged, alpha.text)
		}
		set := func(key, value string) {
			t.Helper()
			if w, err := d.ConfigSet(t.Context(), api.ConfigTarget{Key: key}, []byte(value)); err != nil || w.Note != "" || w.Consistency != api.ConsistencyEventual {
				t.Fatalf("set %s: %+v, %v", key, w, err)
			}
			synctest.Wait()
		}
		unset := func(key string) {
			t.Helper()
			if _, err := d.ConfigUnset(t.Context(), api.ConfigTarget{Key: key}); err != nil {
				t.Fatalf("unset %s: %v", key, err)
			}
			synctest.Wait()
		}
		routed := func(want node.Routing) {
			t.Helper()
			select {
			case ev := <-d.events:
				if ev != want {
					t.Errorf("the loops were told %+v, want %+v", ev, want)
				}
			default:
				t.Errorf("the loops were not told %+v", want)
			}
		}
		set("routing.k", "2")
		routed(node.Routing{Disjoint: 2})
		set("routing.protect", "[dscp:EF]")
		routed(node.Routing{Disjoint: 2, Protect: true})
		if rules, _ := d.protection(); !slices.Equal(rules, []string{"dscp:46"}) {
			t.Errorf("it says that it protects %q", rules)
		}
		set("routing.spread", "off")
		routed(node.Routing{Disjoint: 2, Protect: true, Spread: flow.SpreadOff})
		set("routing.duplicate_budget", "0.5")
		if len(d.events) > 0 {
			t.Error("the budget is told to the loops, which know nothing of it")
		}
		set("log.level", "debug")
		set("log.format", "json")
		if got := alpha.logged[len(alpha.logged)-1]; got != (config.Log{Level: slog.LevelDebug, Format: config.FormatJSON}) {
			t.Errorf("it logs %+v", got)
		}
		unset("routing.protect")
		routed(node.Routing{Disjoint: 2, Spread: flow.SpreadOff})
		unset("routing.k")
		routed(node.Routing{Disjoint: 3, Spread: flow.SpreadOff})
		alpha.has("routing.k", "3", "default")
		want := []string{
			"key=routing.k from=3 to=2 source=shared by=alpha", `key=routing.protect from=[] to="[\"dscp:46\"]" source=shared by=alpha`,
			"key=log.level from=info to=debug", "key=routing.k from=2 to=3 source=default by=alpha",
		}
		for _, line := range want {
			if !strings.Contains(alpha.text.String(), line) {
				t.Errorf("the log lacks %s:\n%s", line, alpha.text)
			}
		}
		if n := d.tuning.changes.Load(); n != 8 || strings.Count(alpha.text.String(), "the configuration changed") != 8 {
			t.Errorf("%d changes", n)
		}
	})
}

// An authority issues SVIDs of the life that is shared, and of that which x0t init was told when it is not any more.
func TestLifeOfSVIDsIsShared(t *testing.T) {
	d, _, err := started(copyState(t, "alpha"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.identity.Close()
	issued := func() time.Duration {
		t.Helper()
		if err := d.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := d.identity.Source.Current()
		return s.NotAfter().Sub(s.Issued()).Round(time.Minute)
	}
	before := issued()
	at := &decree{[]byte("2h"), testAlpha, mesh.HybridAt(time.Now())}
	d.takeUp(tune(d.self, d.opt.Config, nil, map[string]*decree{"identity.ttl/*": at}))
	if got := issued(); got != 2*time.Hour {
		t.Errorf("an SVID lives %s", got)
	}
	d.takeUp(tune(d.self, d.opt.Config, nil, nil))
	if got := issued(); got != before || before == 2*time.Hour || before > authority.MaxTTL {
		t.Errorf("an SVID lives %s, before it was %s", got, before)
	}
}

// Both sides of a cut take up what is decreed there; when it heals, the newest holds everywhere, also if it takes something back.
func TestConfigurationDuringACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRealm(t, "alpha", "gamma")
		alpha, beta, gamma := m.node("alpha", "", nil), m.node("beta", "", nil), m.node("gamma", "", nil)
		m.link(alpha, beta)
		cut := m.link(beta, gamma)
		set := func(n *resident, key string, value string) {
			t.Helper()
			if _, err := n.ConfigSet(t.Context(), api.ConfigTarget{Key: key}, []byte(value)); err != nil {
				t.Fatal(err)
			}
			m.rest()
		}
		set(alpha, "routing.spread", "always")
		gamma.has("routing.spread", "always", "shared")
		cut()
		set(gamma, "routing.k", "2")
		set(alpha, "routing.k", "4")
		set(alpha, "routing.spread", "off")
		if _, err := gamma.ConfigUnset(t.Context(), api.ConfigTarget{Key: "routing.spread"}); err != nil {
			t.Fatal(err)
		}
		m.rest()
		for n, want := range map[*resident][2]string{alpha: {"4", "off"}, beta: {"4", "off"}} {
			n.has("routing.k", want[0], "shared")
			n.has("routing.spread", want[1], "shared")
		}
		gamma.has("routing.k", "2", "shared")
		gamma.has("routing.spread", "auto", "default")
		m.link(beta, gamma)
		for _, n := range m.nodes {
			n.has("routing.k", "4", "shared")
			n.has("routing.spread", "auto", "default")
		}
		if s, err := beta.ConfigShared(t.Context()); err != nil || len(s.Settings) != 1 || s.Settings[0].Author != alpha.self || string(s.Settings[0].Value) != "4" {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// A daemon that starts again has what is shared as soon as its replica is open, and its file's word against it.
func TestConfigurationIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRealm(t, "alpha")
		alpha, beta := m.node("alpha", "", nil), m.node("beta", "", nil)
		m.link(alpha, beta)
		alpha.decree("routing.k/*", "1")
		alpha.decree("routing.k/beta", "2")
		alpha.decree("log.level/*", "error")
		m.rest()
		beta.has("routing.k", "2", "shared_node")
		beta.end()
		beta.start("beta", "log: {level: debug}\n")
		beta.has("routing.k", "2", "shared_node")
		beta.has("log.level", "debug", "file")
		if got := beta.tuned().overridden(); !slices.Equal(got, []string{"log.level"}) {
			t.Errorf("overridden: %q", got)
		}
		if got := beta.logged[len(beta.logged)-1].Level; got != slog.LevelDebug {
			t.Errorf("it logs from %s", got)
		}
	})
}

// What a later version shares is left alone, told of once, and shown; it stops nothing else.
func TestValuesOfALaterVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRealm(t, "alpha")
		alpha := m.node("alpha", "", nil)
		for _, s := range [][2]string{
			{"routing.warp/*", "9"}, {"routing.k/*", "as many as there are"}, {"routing.k/alpha", "2"}, {"links.hello/*", "20ms"},
			{"log.level/rack:7", "debug"}, {"loglevel", "debug"}, {"routing.warp/beta", "8"}, {"log.level/*", strings.Repeat("debug", 50_000)},
		} {
			alpha.decree(s[0], s[1])
			synctest.Wait() // or what is for all is outdone before it is looked at
		}
		m.rest()
		alpha.tuning.news()
		alpha.has("routing.k", "2", "shared_node")
		alpha.has("log.level", "info", "default")
		for key, times := range map[string]int{"routing.warp": 1, "routing.k": 1, "links.hello": 1, "log.level": 1, "loglevel": 0} {
			if n := strings.Count(alpha.text.String(), "is ignored\" key="+key+" by=alpha"); n != times {
				t.Errorf("%s is named %d times, want %d:\n%.2000s", key, n, times, alpha.text)
			}
		}
		s, err := alpha.ConfigShared(t.Context())
		if err != nil || len(s.Settings) != 8 {
			t.Fatalf("%+v, %v", s, err)
		}
		noted := 0
		for _, one := range s.Settings {
			if one.Note != "" {
				noted++
			} else if one.Key != "routing.k" || one.Node != alpha.self {
				t.Errorf("no note on %+v", one)
			}
		}
		if noted != 7 {
			t.Errorf("%d notes", noted)
		}
		// It can be taken back all the same, by its name.
		if _, err := alpha.ConfigUnset(t.Context(), api.ConfigTarget{Key: "routing.warp"}); err != nil {
			t.Error(err)
		}
		if s, err := alpha.ConfigShared(t.Context()); err != nil || len(s.Settings) != 7 {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// What cannot be shared is refused with what to do, and what will not have its effect is said.
func TestSettingIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRealm(t, "alpha")
		alpha := m.node("alpha", "routing: {k: 5}\n", nil)
		gamma := mesh.MustNodeID("gamma")
		for _, tc := range []struct{ key, value, want, remedy string }{
			{"routing.kk", "1", "routing.kk: unknown key", "did you mean routing.k?"},
			{"links.listen", "[]", "links.listen: only in the file: a running daemon does not take it up", "set it in the node's file and restart x0t"},
			{"routing.k", "9", "routing.k: 9 is not a whole number from 1 to 8", "write one"},
			{"routing.k", " ", "routing.k: nothing where one value is expected", "write the value, or leave the key out for its default"},
			{"routing.protect", "[a, b]", "routing.protect[0]: not a rule of what is protected: \"a\"", ""},
		} {
			_, err := alpha.ConfigSet(t.Context(), api.ConfigTarget{Key: tc.key}, []byte(tc.value))
			if codeOf(err) != api.CodeBadRequest || !strings.HasPrefix(err.Error(), tc.want+"; "+tc.remedy) {
				t.Errorf("%s %q: %v", tc.key, tc.value, err)
			}
		}
		for _, key := range []string{"routing.warp", "node.name", "a/b", "", strings.Repeat("x", 2000)} {
			if _, err := alpha.ConfigUnset(t.Context(), api.ConfigTarget{Key: key}); codeOf(err) != api.CodeBadRequest {
				t.Errorf("unset %.20q: %v", key, err)
			}
		}
		if s, err := alpha.ConfigShared(t.Context()); err != nil || len(s.Settings) != 0 {
			t.Errorf("%+v, %v", s, err)
		}
		w, err := alpha.ConfigSet(t.Context(), api.ConfigTarget{Key: "routing.k"}, []byte("2"))
		if err != nil || w.Note != "the file of alpha has routing.k: 5, which beats it there" {
			t.Errorf("%+v, %v", w, err)
		}
		if w, err := alpha.ConfigSet(t.Context(), api.ConfigTarget{Key: "routing.k"}, []byte("5\n")); err != nil || w.Note != "" {
			t.Errorf("%+v, %v", w, err)
		}
		w, err = alpha.ConfigSet(t.Context(), api.ConfigTarget{Key: "routing.k", Node: gamma}, []byte("2"))
		if err != nil || w.Note != "no member gamma is known here yet; it will take it up when it is there" {
			t.Errorf("%+v, %v", w, err)
		}
		alpha.has("routing.k", "5", "file")
	})
}
