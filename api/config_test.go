package api

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"x0tta6bl4/mesh"
)

// fakeConfig keeps what is shared in memory.
type fakeConfig struct {
	shared map[ConfigTarget]Bytes
	err    error
}

func (f *fakeConfig) Config(context.Context) (Config, error) {
	return Config{Node: alpha, Keys: []ConfigKey{{Key: "routing.k", Value: "3", Source: ConfigDefault, Shareable: true}}}, f.err
}

func (f *fakeConfig) ConfigShared(context.Context) (ConfigShared, error) {
	c := ConfigShared{Freshness: fresh(), Ignored: 2}
	for at, v := range f.shared {
		c.Settings = append(c.Settings, ConfigSetting{Key: at.Key, Node: at.Node, Value: v, Author: beta, Time: noon})
	}
	return c, f.err
}

func (f *fakeConfig) ConfigSet(_ context.Context, at ConfigTarget, value []byte) (ConfigWritten, error) {
	if f.shared == nil {
		f.shared = map[ConfigTarget]Bytes{}
	}
	f.shared[at] = value
	return ConfigWritten{Freshness: fresh(), Time: noon, Note: "noted"}, f.err
}

func (f *fakeConfig) ConfigUnset(_ context.Context, at ConfigTarget) (ConfigWritten, error) {
	delete(f.shared, at)
	return ConfigWritten{Freshness: fresh(), Time: noon}, f.err
}

func TestConfigOverTheSocket(t *testing.T) {
	f := &fakeConfig{}
	c, _ := serveOptions(t, ServerOptions{Backend: &fake{}, Config: f})
	ctx := t.Context()
	got, err := c.Config(ctx)
	if err != nil || got.Node != alpha || len(got.Keys) != 1 || got.Keys[0].Source != ConfigDefault {
		t.Errorf("%+v, %v", got, err)
	}
	if s, err := c.ConfigShared(ctx); err != nil || s.Settings == nil || len(s.Settings) != 0 || s.Ignored != 2 {
		t.Errorf("nothing is shared: %+v, %v", s, err)
	}
	at := ConfigTarget{"routing.protect & more", beta}
	wrote, err := c.ConfigSet(ctx, at, everyByte)
	if err != nil || !reflect.DeepEqual(wrote, ConfigWritten{fresh(), noon, "noted"}) || !bytes.Equal(f.shared[at], everyByte) {
		t.Errorf("%+v, %v", wrote, err)
	}
	want := ConfigSetting{Key: at.Key, Node: beta, Value: everyByte, Author: beta, Time: noon}
	if s, err := c.ConfigShared(ctx); err != nil || len(s.Settings) != 1 || !reflect.DeepEqual(s.Settings[0], want) {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := c.ConfigSet(ctx, ConfigTarget{Key: "log.level"}, []byte("debug")); err != nil || string(f.shared[ConfigTarget{Key: "log.level"}]) != "debug" {
		t.Errorf("for all: %v, %q", err, f.shared)
	}
	if _, err := c.ConfigUnset(ctx, at); err != nil || len(f.shared) != 1 {
		t.Errorf("%v, %q", err, f.shared)
	}
	if _, err := c.ConfigSet(ctx, at, make([]byte, MaxValue+1)); !errors.Is(err, &Error{Code: CodeTooLarge}) {
		t.Errorf("too large: %v", err)
	}
	f.err = Errorf(CodeNotAuthority, "beta is no authority").With("ask alpha")
	if _, err := c.ConfigUnset(ctx, at); !errors.Is(err, &Error{Code: CodeNotAuthority}) || err.Error() != "beta is no authority; ask alpha" {
		t.Errorf("refused: %v", err)
	}
}

func TestConfigRequestsThatMakeNoSense(t *testing.T) {
	ask := func(c ConfigBackend, method, target, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		NewHandler(&fake{}, nil, c, nil).ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
		return w
	}
	for _, tc := range []struct {
		method, target, body, want string
		code                       int
	}{
		{"GET", "/v1/config?x=1", "", "unknown parameter", 400},
		{"GET", "/v1/config/shared?key=a", "", "unknown parameter", 400},
		{"PUT", "/v1/config/shared", "1", `parameter \"key\" is missing`, 400},
		{"PUT", "/v1/config/shared?key=a&node=", "1", "not a node name", 400},
		{"PUT", "/v1/config/shared?key=a&node=Beta", "1", "not a node name", 400},
		{"PUT", "/v1/config/shared?key=a&key=b", "1", "given 2 times", 400},
		{"PUT", "/v1/config/shared?key=a", strings.Repeat("x", MaxValue+1), "longer than", 413},
		{"DELETE", "/v1/config/shared?node=beta", "", `parameter \"key\" is missing`, 400},
		{"POST", "/v1/config/shared?key=a", "", "there is no POST", 404},
	} {
		f := &fakeConfig{}
		w := ask(f, tc.method, tc.target, tc.body)
		if w.Code != tc.code || !strings.Contains(w.Body.String(), tc.want) || len(f.shared) > 0 {
			t.Errorf("%s %s: %d %s", tc.method, tc.target, w.Code, w.Body)
		}
	}
	if w := ask(nil, "GET", "/v1/config", ""); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "does not tell") {
		t.Errorf("without a backend: %d %s", w.Code, w.Body)
	}
	w := httptest.NewRecorder()
	NewPublicHandler(&fake{}, nil).ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/v1/config", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("monitoring reads the configuration: %d", w.Code)
	}
}

// Fields that are left out read as what they stand for.
func TestConfigForAllHasNoNode(t *testing.T) {
	b, err := (List[ConfigSetting]{{Key: "k", Value: Bytes("v"), Author: alpha, Time: noon}}).MarshalJSON()
	if want := `[{"key":"k","value":"v","author":"alpha","time":"2026-03-01T12:00:00Z"}]`; err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
	if at := (ConfigTarget{Key: "k"}); at.path() != "/v1/config/shared?key=k" || at.Node != (mesh.NodeID{}) {
		t.Error(at.path())
	}
}
