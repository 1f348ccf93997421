package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/api"
)

// fakeConfig is what alpha and beta share, as alpha sees it; gamma is no authority.
type fakeConfig struct{ none bool }

var (
	protectAll = api.ConfigSetting{Key: "routing.protect", Value: api.Bytes("[dscp:EF, udp/5060]"), Author: beta, Time: noon.Add(-90 * time.Second)}
	levelBeta  = api.ConfigSetting{Key: "log.level", Value: api.Bytes("debug"), Node: beta, Author: alpha, Time: noon.Add(-26 * time.Hour)}
	kAlpha     = api.ConfigSetting{Key: "routing.k", Value: api.Bytes("2"), Node: alpha, Author: alpha, Time: noon.Add(-time.Hour)}
	warp       = api.ConfigSetting{Key: "routing.warp", Value: api.Bytes("9\x1b[2J"), Author: beta, Time: noon, Note: "not taken up: routing.warp: unknown key; did you mean routing.k?"}
)

func (fakeConfig) Config(context.Context) (api.Config, error) {
	return api.Config{Node: alpha, Running: true, Keys: []api.ConfigKey{
		{Key: "node.name", Source: api.ConfigDefault},
		{Key: "links.listen", Value: `["[::]:7420"]`, Source: api.ConfigFile},
		{Key: "routing.k", Value: "3", Source: api.ConfigFile, Shareable: true, Shared: &kAlpha},
		{Key: "routing.protect", Value: `["dscp:46", "udp/5060"]`, Source: api.ConfigForAll, Shareable: true, Shared: &protectAll},
		{Key: "log.level", Value: "info", Source: api.ConfigDefault, Shareable: true},
	}}, nil
}

func (f fakeConfig) ConfigShared(context.Context) (api.ConfigShared, error) {
	s := api.ConfigShared{Freshness: new(fakeShared).freshness()}
	if !f.none {
		s.Settings, s.Ignored, s.More = []api.ConfigSetting{levelBeta, kAlpha, protectAll, warp}, 2, true
	}
	return s, nil
}

func (f fakeConfig) ConfigSet(_ context.Context, at api.ConfigTarget, value []byte) (api.ConfigWritten, error) {
	switch {
	case at.Key == "routing.kk":
		return api.ConfigWritten{}, api.Errorf(api.CodeBadRequest, "routing.kk: unknown key").With("did you mean routing.k?")
	case at.Node == gamma:
		return api.ConfigWritten{}, api.Errorf(api.CodeNotAuthority, "gamma is no authority of the domain, so what it writes would count nowhere").With("do it on alpha or beta")
	}
	w, err := f.ConfigUnset(context.Background(), at)
	if string(value) == "2" {
		w.Note = "the file of alpha has routing.k: 3, which beats it there"
	}
	return w, err
}

func (fakeConfig) ConfigUnset(context.Context, api.ConfigTarget) (api.ConfigWritten, error) {
	return api.ConfigWritten{Freshness: new(fakeShared).freshness(), Time: noon}, nil
}

func TestNothingIsShared(t *testing.T) {
	isolate(t)
	socket := shortDir(t) + "/s"
	t.Setenv("X0T_SOCKET", socket)
	serveOptions(t, api.ServerOptions{Socket: socket, Backend: fake{}, Config: fakeConfig{none: true}})
	out, errs, code := runArgs(t.Context(), "", "config", "shared")
	if code != 0 || out != "nothing is shared; share a value with: x0t config set KEY VALUE\n" || !strings.HasPrefix(errs, "consistency: eventual") {
		t.Errorf("%d %q %q", code, out, errs)
	}
}

// A value of several words or lines goes to the daemon as it was given.
func TestConfigSetTakesAnyValue(t *testing.T) {
	isolate(t)
	socket := shortDir(t) + "/s"
	t.Setenv("X0T_SOCKET", socket)
	got := make(chan string, 1)
	serveOptions(t, api.ServerOptions{Socket: socket, Backend: fake{}, Config: recorder{fakeConfig{}, got}})
	for _, value := range []string{`["dscp:EF", udp/5060]`, "- all\n- tcp/22\n", ""} {
		if _, errs, code := runArgs(t.Context(), "", "config", "set", "--node", "beta.example.mesh", "--", "routing.protect", value); code != 0 {
			t.Fatalf("%q: %d %s", value, code, errs)
		}
		if heard := <-got; heard != "routing.protect for beta: "+value {
			t.Errorf("%q arrived as %q", value, heard)
		}
	}
}

type recorder struct {
	fakeConfig
	got chan string
}

func (r recorder) ConfigSet(_ context.Context, at api.ConfigTarget, value []byte) (api.ConfigWritten, error) {
	r.got <- at.Key + " for " + at.Node.String() + ": " + string(value)
	return api.ConfigWritten{}, nil
}

func TestConfigCompletion(t *testing.T) {
	isolate(t)
	dir := shortDir(t)
	t.Setenv("X0T_SOCKET", dir+"/s")
	serveFake(t, dir+"/s")
	for _, c := range []struct{ typed, want string }{
		{"config set r|", "routing.duplicate_budget routing.k routing.protect routing.spread"},
		{"config unset l|", "log.format log.level"},
		{"config set links|", ""},
		{"config set log.level |", ""},
		{"config set log.level debug --node |", "beta delta gamma"},
		{"config s|", "set shared show"},
	} {
		got := completions(t, strings.Split(strings.TrimSuffix(c.typed, "|"), " ")...)
		slices.Sort(got)
		if strings.Join(got, " ") != c.want && (c.want != "" || len(got) > 0) {
			t.Errorf("%s: %q, want %q", c.typed, got, c.want)
		}
	}
}

func TestStatusTellsWhatTheFileOverrides(t *testing.T) {
	isolate(t)
	socket := shortDir(t) + "/s"
	t.Setenv("X0T_SOCKET", socket)
	serveBackend(t, socket, overriding{})
	out, _, code := runArgs(t.Context(), "", "status")
	if code != 0 || !strings.Contains(out, "config     the file overrides what nodes share: log.level, routing.k; see x0t config show\n") {
		t.Errorf("%d %s", code, out)
	}
}

type overriding struct{ fake }

func (overriding) Status(ctx context.Context) (api.Status, error) {
	s, err := fake{}.Status(ctx)
	s.Overridden = []string{"log.level", "routing.k"}
	return s, err
}
