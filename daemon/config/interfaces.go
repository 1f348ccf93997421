package config

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// AllInterfaces in Links.Interfaces stands for every interface that is fit for beacons.
const AllInterfaces = "all"

// Beacons says on which interfaces neighbours are looked for by beacons: on all that are fit, or on those named.
func (l Links) Beacons() (all bool, names []string) {
	if slices.Equal(l.Interfaces, []string{AllInterfaces}) {
		return true, nil
	}
	return false, l.Interfaces
}

// Ways returns the interfaces by each of which a neighbour is to have a link of its own; none = the kernel's routes choose.
func (l Links) Ways() []string {
	if all, names := l.Beacons(); !all && len(names) > 1 {
		return names
	}
	return nil
}

// interfaces reads names of interfaces, or AllInterfaces alone. Whether there is an interface of a name is not known
// before the node runs, nor for ever.
func interfaces(to *[]string) func(*parser, string, *yaml.Node) {
	return func(p *parser, at string, n *yaml.Node) {
		list(to, groupInterface)(p, at, n)
		switch {
		case len(*to) > maxInterfaces:
			p.complain(n.Line, at, fmt.Sprintf("%d interfaces; at most %d make sense", len(*to), maxInterfaces))
		case len(*to) > 1 && slices.Contains(*to, AllInterfaces):
			p.complain(n.Line, at, fmt.Sprintf(`%s beside names; write ["%s"], or the names only`, AllInterfaces, AllInterfaces))
		}
	}
}
