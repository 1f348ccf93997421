package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxValue is how long the YAML of one shared value may be, in bytes: more than any key at its longest.
const MaxValue = 64 << 10

// What is wrong with a key that is to be shared, besides Problems with its value.
var (
	ErrUnknownKey = errors.New("unknown key")
	ErrNotLive    = errors.New("only in the file")
)

// Keys returns every key there is, dotted, in the order of YAML.
func Keys() []string { return keys(func(key) bool { return true }) }

// Shareable returns the keys that a running daemon takes up, dotted, in the order of YAML: those that nodes may share.
func Shareable() []string { return keys(func(k key) bool { return k.live }) }

func keys(which func(key) bool) (all []string) {
	for _, s := range schema(new(Config)) {
		for _, k := range s.keys {
			if which(k) {
				all = append(all, s.name+"."+k.name)
			}
		}
	}
	return all
}

// Value returns the value of a key in YAML, as the file would have it; empty: it is not set, or there is no such key.
func (c Config) Value(name string) string {
	if k, ok := find(&c, name); ok {
		return k.show()
	}
	return ""
}

func find(c *Config, name string) (key, bool) {
	section, leaf, _ := strings.Cut(name, ".")
	for _, s := range schema(c) {
		if s.name != section {
			continue
		}
		if i := slices.IndexFunc(s.keys, func(k key) bool { return k.name == leaf }); i >= 0 {
			return s.keys[i], true
		}
	}
	return key{}, false
}

// CheckShareable returns nil for a key that nodes may share, else ErrUnknownKey or ErrNotLive, with what to do.
func CheckShareable(name string) error {
	k, ok := find(new(Config), name)
	switch {
	case !ok:
		return fmt.Errorf("%s: %w; %s", printable(name), ErrUnknownKey, near(name))
	case name == "links.hello":
		return fmt.Errorf("%s: %w: a link keeps the interval that it was made with; set it in each node's file and restart x0t", name, ErrNotLive)
	case !k.live:
		return fmt.Errorf("%s: %w: a running daemon does not take it up; set it in the node's file and restart x0t", name, ErrNotLive)
	}
	return nil
}

// near says which key the writer of an unknown one may have meant.
func near(name string) string {
	all := Keys()
	if best, ok := nearest(name, all); ok {
		return "did you mean " + best + "?"
	}
	for _, k := range all {
		if strings.HasSuffix(k, "."+name) {
			return "did you mean " + k + "?"
		}
	}
	return "those that nodes may share are " + strings.Join(Shareable(), ", ")
}

// With returns c with a shared value in the place of a key's own: text is the YAML that would stand behind the key in the file. An
// error is Problems, ErrUnknownKey or ErrNotLive; then nothing of the value is taken.
func (c Config) With(name, text string) (Config, error) {
	if err := CheckShareable(name); err != nil {
		return c, err
	}
	p := &parser{}
	changed := c
	if n := p.one(name, text); n != nil {
		k, _ := find(&changed, name)
		if name == "identity.ttl" {
			// Were it seconds for all, every member would ask an authority all the time, and be lost as soon as none answers.
			k.read = scalar(&changed.Identity.TTL, duration(minSharedTTL, maxTTL))
		}
		k.read(p, name, n)
	}
	if len(p.problems) > 0 {
		return c, p.problems
	}
	return changed, nil
}

// one reads the YAML of one value; nil: it is none.
func (p *parser) one(name, text string) *yaml.Node {
	if len(text) > MaxValue {
		p.complain(0, name, fmt.Sprintf("the value is longer than %d bytes; is it the right one?", MaxValue))
		return nil
	}
	switch doc := p.document([]byte(text)); {
	case len(p.problems) > 0:
		for _, problem := range p.problems {
			problem.Key = name
		}
		return nil
	case doc == nil || len(doc.Content) == 0:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	default:
		return doc.Content[0]
	}
}
