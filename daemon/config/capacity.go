package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"x0tta6bl4/mesh"
)

const (
	minCapacity mesh.BitsPerSecond = 1e3
	maxCapacity mesh.BitsPerSecond = 1e12
)

// units of data rates, the largest first.
var units = [...]struct {
	letter string
	value  mesh.BitsPerSecond
}{{"G", 1e9}, {"M", 1e6}, {"k", 1e3}}

// rate reads bits per second: 50M, 2.5G, 640k.
func rate(s string) (mesh.BitsPerSecond, error) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.letter)
		if !ok {
			continue
		}
		if v, err := strconv.ParseFloat(digits, 64); err == nil && strings.Trim(digits, "0123456789.") == "" {
			if r := mesh.BitsPerSecond(v*float64(u.value) + 0.5); v*float64(u.value) <= float64(maxCapacity) && r >= minCapacity {
				return r, nil
			}
		}
	}
	return 0, fmt.Errorf("%s is not a data rate from 1k to 1000G; write bits per second with k, M or G: 640k, 50M, 2.5G", printable(s))
}

// rateYAML writes what rate reads.
func rateYAML(r mesh.BitsPerSecond) string {
	for _, u := range units {
		if r%u.value == 0 {
			return strconv.FormatUint(uint64(r/u.value), 10) + u.letter
		}
	}
	return strconv.FormatFloat(float64(r)/1e3, 'f', -1, 64) + "k"
}

// interfaceCapacity reads a mapping of interfaces to data rates.
func interfaceCapacity(to *map[string]mesh.BitsPerSecond) func(*parser, string, *yaml.Node) {
	return func(p *parser, at string, n *yaml.Node) {
		all := map[string]mesh.BitsPerSecond{}
		p.interfaces(at, n, "RATE", func(name string, v *yaml.Node) {
			if r, ok := value(p, join(at, name), v, rate); ok {
				all[name] = r
			}
		})
		if len(all) > 0 {
			*to = all
		}
	}
}

// capacityYAML writes the mapping in flow style, interfaces ascending.
func capacityYAML(capacity map[string]mesh.BitsPerSecond) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(capacity)) {
		all = append(all, quoteIf(name)+": "+rateYAML(capacity[name]))
	}
	return "{" + strings.Join(all, ", ") + "}"
}
