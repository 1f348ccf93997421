package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"x0tta6bl4/api"
	"x0tta6bl4/daemon/config"
)

var _ api.ConfigBackend = (*Daemon)(nil)

// Config implements api.ConfigBackend.
func (d *Daemon) Config(context.Context) (api.Config, error) {
	t := d.tuned()
	c := api.Config{Node: d.self, Running: true}
	for _, key := range config.Keys() {
		k := api.ConfigKey{Key: key, Value: t.Value(key), Source: api.ConfigDefault}
		if slices.Contains(d.opt.Given, key) {
			k.Source = api.ConfigFile
		}
		if o, ok := t.keys[key]; ok {
			k.Source, k.Shared, k.Shareable = o.source, o.shared, true
		}
		c.Keys = append(c.Keys, k)
	}
	return c, nil
}

// ConfigShared implements api.ConfigBackend.
func (d *Daemon) ConfigShared(ctx context.Context) (api.ConfigShared, error) {
	r, err := d.shared.use()
	if err != nil {
		return api.ConfigShared{}, err
	}
	info, err := r.State(ctx)
	if err != nil {
		return api.ConfigShared{}, err
	}
	all, ignored, more, err := d.tuning.list(ctx, r)
	if err != nil {
		return api.ConfigShared{}, err
	}
	c := api.ConfigShared{Freshness: info.Freshness, Ignored: ignored, More: more}
	for _, name := range slices.Sorted(maps.Keys(all)) { // * comes before any node's name
		if s := d.setting(name, all[name]); len(s.Value) > 0 {
			c.Settings = append(c.Settings, s)
		}
	}
	return c, nil
}

// setting returns what a decree of any name sets, and why this version could not take it up.
func (d *Daemon) setting(name string, is *decree) api.ConfigSetting {
	key, n, ok := parseSetting(name)
	s := settingOf(key, n, is)
	if !ok {
		s.Key, s.Note = name, "not taken up: this version does not know whom it is for"
		return s
	}
	if _, err := config.Default().With(key, string(is.value)); err != nil {
		s.Note = cannot(err)
	}
	return s
}

// ConfigSet implements api.ConfigBackend.
func (d *Daemon) ConfigSet(ctx context.Context, at api.ConfigTarget, value []byte) (api.ConfigWritten, error) {
	text := strings.TrimRight(string(value), " \t\r\n")
	c, err := config.Default().With(at.Key, text)
	if err != nil {
		return api.ConfigWritten{}, refuseSetting(err)
	}
	w, err := d.decreeSetting(ctx, at, []byte(text))
	if err == nil {
		w.Note = d.unexpected(ctx, at, c.Value(at.Key))
	}
	return w, err
}

// ConfigUnset implements api.ConfigBackend. A key that this version does not know can be taken back if it is shared.
func (d *Daemon) ConfigUnset(ctx context.Context, at api.ConfigTarget) (api.ConfigWritten, error) {
	if err := config.CheckShareable(at.Key); err != nil {
		r, missing := d.shared.use()
		if missing != nil {
			return api.ConfigWritten{}, missing
		}
		is, failed := d.tuning.newest(ctx, r, settingName(at.Key, at.Node))
		if failed != nil || is == nil {
			return api.ConfigWritten{}, refuseSetting(err)
		}
	}
	return d.decreeSetting(ctx, at, nil)
}

func (d *Daemon) decreeSetting(ctx context.Context, at api.ConfigTarget, value []byte) (api.ConfigWritten, error) {
	r, err := d.shared.use()
	if err != nil {
		return api.ConfigWritten{}, err
	}
	w, err := d.tuning.put(ctx, r, d.self, settingName(at.Key, at.Node), value)
	return api.ConfigWritten{Freshness: w.Freshness, Time: w.Time}, err
}

// refuseSetting makes what is wrong with a key or value an error of the API, with its remedy.
func refuseSetting(err error) error {
	message, remedy, _ := strings.Cut(strings.ReplaceAll(err.Error(), "\n", " "), "; ")
	return api.Errorf(api.CodeBadRequest, "%s", message).With("%s", remedy)
}

// unexpected says what keeps a value that was just set from having its effect.
func (d *Daemon) unexpected(ctx context.Context, at api.ConfigTarget, value string) string {
	here := at.Node.IsZero() || at.Node == d.self
	switch {
	case here && slices.Contains(d.opt.Given, at.Key) && d.configured().Value(at.Key) != value:
		return fmt.Sprintf("the file of %s has %s: %s, which beats it there", d.self, at.Key, d.configured().Value(at.Key))
	case !here && d.known(ctx, at.Node) != nil:
		return fmt.Sprintf("no member %s is known here yet; it will take it up when it is there", at.Node)
	}
	return ""
}
