package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestInterfaces(t *testing.T) {
	for _, tc := range []struct {
		in          string
		all         bool
		names, ways []string
	}{
		{"links: {}", false, nil, nil},
		{"links: {interfaces: []}", false, nil, nil},
		{"links: {interfaces: [eth0]}", false, []string{"eth0"}, nil},
		{"links: {interfaces: [wlan0, eth0]}", false, []string{"wlan0", "eth0"}, []string{"wlan0", "eth0"}},
		{"links: {interfaces: [all]}", true, nil, nil},
	} {
		c, err := Parse("x0t.yaml", []byte(tc.in))
		if err != nil {
			t.Errorf("%s: %v", tc.in, err)
			continue
		}
		all, names := c.Links.Beacons()
		if all != tc.all || !slices.Equal(names, tc.names) || !slices.Equal(c.Links.Ways(), tc.ways) {
			t.Errorf("%s: all %v, names %v, ways %v", tc.in, all, names, c.Links.Ways())
		}
		if again, err := Parse("shown", []byte(c.YAML())); err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%s: shown as\n%s\nwhich reads as %+v, %v", tc.in, c.YAML(), again, err)
		}
	}
}

func TestInterfaceMistakes(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"links:\n  interfaces: eth0\n", `x0t.yaml:2: links.interfaces: the value eth0 where a list is expected; write ["A", "B"], or one item a line after a dash`},
		{"links:\n  interfaces: [eth0/1]\n", "x0t.yaml:2: links.interfaces[0]: eth0/1 is not the name of an interface; write one that `ip link` shows, such as eth0"},
		{"links:\n  interfaces: [eth0, eth0]\n", `x0t.yaml:2: links.interfaces[1]: eth0 stands here twice; keep one`},
		{"links:\n  interfaces: [eth0, all]\n", `x0t.yaml:2: links.interfaces: all beside names; write ["all"], or the names only`},
		{"links:\n  interfaces: [" + manyNames(65) + "]\n", `x0t.yaml:2: links.interfaces: 65 interfaces; at most 64 make sense`},
	} {
		if _, err := Parse("x0t.yaml", []byte(tc.in)); err == nil || err.Error() != tc.want {
			t.Errorf("%q:\n got %v\nwant %s", tc.in, err, tc.want)
		}
	}
}

func manyNames(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = "eth" + strings.Repeat("1", i%10) + string(rune('a'+i/10))
	}
	return strings.Join(names, ", ")
}
