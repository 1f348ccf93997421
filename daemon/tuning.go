package daemon

import (
	"slices"
	"strings"

	"x0tta6bl4/api"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/daemon/replica"
	"x0tta6bl4/mesh"
)

// The configuration that nodes share is decrees on the topic "config". The name of one is KEY/FOR, where FOR is a node or *, for all;
// the value is YAML, and an empty one takes back what was shared. A node's own file beats what is shared for it, that beats what is
// shared for all, and that the default: who stands at a machine can undo whatever was shared for it. Of identity.ttl only what an
// authority has counts.

const (
	configTopic  = "config"
	configPrefix = replica.OwnPrefix + configTopic + "/"
	forAll       = "*"
)

// tuned is a configuration with where the keys that may be shared have their values from.
type tuned struct {
	config.Config
	keys map[string]origin
	bad  []api.ConfigSetting // what is shared for this node and cannot be taken up; each has its Note
}

// origin is where a key has its value from.
type origin struct {
	source api.ConfigSource
	shared *api.ConfigSetting // the newest that could be taken up, or was; nil: none is
	last   mesh.NodeID        // who wrote last of those who wrote for this node or all; zero: nobody did
}

// settingName is the name of the decree on a key; the zero node is all.
func settingName(key string, n mesh.NodeID) string {
	if n.IsZero() {
		return key + "/" + forAll
	}
	return key + "/" + n.String()
}

// parseSetting reads what settingName wrote.
func parseSetting(name string) (key string, n mesh.NodeID, ok bool) {
	key, target, ok := strings.Cut(name, "/")
	if !ok || key == "" || target == forAll {
		return key, n, ok && key != ""
	}
	n, err := mesh.ParseNodeID(target)
	return key, n, err == nil
}

// settingOf returns what a decree sets.
func settingOf(key string, n mesh.NodeID, d *decree) api.ConfigSetting {
	return api.ConfigSetting{Key: key, Value: d.value, Node: n, Author: d.author, Time: d.at.Time()}
}

// tune returns the configuration of a node whose file says base, and gives values to the keys given, when the newest decrees by name are
// these. A value that cannot be taken up is passed over as if it was not there.
func tune(self mesh.NodeID, base config.Config, given []string, shared map[string]*decree) *tuned {
	t := &tuned{Config: base, keys: map[string]origin{}}
	for _, key := range config.Shareable() {
		o := origin{source: api.ConfigDefault}
		var last *decree
		value := t.Config
		for _, n := range []mesh.NodeID{self, {}} {
			d := shared[settingName(key, n)]
			if d == nil {
				continue
			}
			last = newer(last, d)
			if len(d.value) == 0 || o.shared != nil {
				continue
			}
			s := settingOf(key, n, d)
			c, err := t.With(key, string(d.value))
			if err != nil {
				s.Note = cannot(err)
				t.bad = append(t.bad, s)
				continue
			}
			value, o.shared, o.source = c, &s, api.ConfigForNode
			if n.IsZero() {
				o.source = api.ConfigForAll
			}
		}
		if last != nil {
			o.last = last.author
		}
		if slices.Contains(given, key) {
			o.source = api.ConfigFile
		} else {
			t.Config = value
		}
		t.keys[key] = o
	}
	return t
}

// cannot says on one line why a shared value is not taken up.
func cannot(err error) string { return strings.ReplaceAll("not taken up: "+err.Error(), "\n", " ") }

// overridden returns the keys that are shared and that the file has otherwise.
func (t *tuned) overridden() (keys []string) {
	for _, key := range config.Shareable() {
		o := t.keys[key]
		if o.source != api.ConfigFile || o.shared == nil {
			continue
		}
		if c, err := t.With(key, string(o.shared.Value)); err == nil && c.Value(key) != t.Value(key) {
			keys = append(keys, key)
		}
	}
	return keys
}
