package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

const (
	maxGroups     = 15 // for an interface: with the failure domain as many as an announcement has room for
	maxInterfaces = 64
	maxIfaceName  = 15 // IFNAMSIZ of Linux, less the final zero
)

// groupName reads the name of a shared-risk group. All nodes that name it alike mean the same one.
func groupName(s string) (string, error) {
	if s == "" || len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }) {
		return "", fmt.Errorf("%s is not a name for what may fail as one; write up to 64 characters without spaces, such as rack-7 or duct-a", printable(s))
	}
	return s, nil
}

// interfaceGroups reads a mapping of interfaces to lists of groups.
func interfaceGroups(to *map[string][]string) func(*parser, string, *yaml.Node) {
	return func(p *parser, at string, n *yaml.Node) {
		all := map[string][]string{}
		p.interfaces(at, n, "[GROUP]", func(name string, v *yaml.Node) {
			var groups []string
			list(&groups, groupName)(p, join(at, name), v)
			if len(groups) > maxGroups {
				p.complain(v.Line, join(at, name), fmt.Sprintf("%d groups; at most %d can be announced", len(groups), maxGroups))
				return
			}
			all[name] = groups
		})
		if len(all) > 0 {
			*to = all
		}
	}
}

// interfaces calls each with every interface that a mapping names, and what is said of it; example is what may be.
func (p *parser) interfaces(at string, n *yaml.Node, example string, each func(string, *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		p.complain(n.Line, at, kindOf(n)+" where interfaces are expected; write INTERFACE: "+example+", one a line")
		return
	}
	if len(n.Content)/2 > maxInterfaces {
		p.complain(n.Line, at, fmt.Sprintf("%d interfaces; at most %d make sense", len(n.Content)/2, maxInterfaces))
		return
	}
	var seen []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		name, ok := value(p, at, k, groupInterface)
		if !ok {
			continue
		}
		if slices.Contains(seen, name) {
			p.complain(k.Line, join(at, name), "given twice; keep one")
			continue
		}
		seen = append(seen, name)
		each(name, v)
	}
}

func groupInterface(s string) (string, error) {
	if s == "" || len(s) > maxIfaceName || s == "." || s == ".." || strings.ContainsFunc(s, func(r rune) bool { return r == '/' || r == ':' || unicode.IsSpace(r) }) {
		return "", fmt.Errorf("%s is not the name of an interface; write one that `ip link` shows, such as eth0", printable(s))
	}
	return s, nil
}

// groupsYAML writes the mapping in flow style, interfaces ascending.
func groupsYAML(groups map[string][]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		q := make([]string, len(groups[name]))
		for i, g := range groups[name] {
			q[i] = quoteIf(g)
		}
		all = append(all, quoteIf(name)+": ["+strings.Join(q, ", ")+"]")
	}
	return "{" + strings.Join(all, ", ") + "}"
}
