package config

import (
	"reflect"
	"strings"
	"testing"

	"x0tta6bl4/mesh"
)

func TestRouting(t *testing.T) {
	c, err := Parse("x0t.yaml", []byte(`links:
  capacity: {eth0: 50M, wlan0: 640k, wan: 2.5G, odd: 1.234567k}
routing:
  protect: [dscp:EF, udp/5060, tcp/22, "node:gamma", all]
  duplicate_budget: 0.25
  spread: off
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Routing{K: 3, DuplicateBudget: 0.25, Spread: SpreadOff, Protect: []mesh.ProtectRule{
		{Kind: mesh.ProtectDSCP, DSCP: 46}, {Kind: mesh.ProtectPort, Protocol: 17, Port: 5060},
		{Kind: mesh.ProtectPort, Protocol: 6, Port: 22}, {Kind: mesh.ProtectNode, Node: mesh.MustNodeID("gamma")}, {Kind: mesh.ProtectAll},
	}}
	capacity := map[string]mesh.BitsPerSecond{"eth0": 50e6, "wlan0": 640e3, "wan": 2.5e9, "odd": 1235}
	if !reflect.DeepEqual(c.Routing, want) || !reflect.DeepEqual(c.Links.Capacity, capacity) {
		t.Errorf("%+v, %v", c.Routing, c.Links.Capacity)
	}
	if again, err := Parse("shown", []byte(c.YAML())); err != nil || !reflect.DeepEqual(again, c) {
		t.Errorf("%s\nreads as %+v, %v", c.YAML(), again, err)
	}
	none, err := Parse("x0t.yaml", []byte("routing: {duplicate_budget: 0.0, spread: always, protect: []}\n"))
	if err != nil || none.Routing.DuplicateBudget != NoDuplicates || len(none.Routing.Protect) > 0 || none.Routing.Spread != SpreadAlways ||
		!strings.Contains(none.YAML(), "duplicate_budget: 0\n") {
		t.Errorf("%v: %s", err, none.YAML())
	}
	if again, err := Parse("shown", []byte(none.YAML())); err != nil || !reflect.DeepEqual(again, none) {
		t.Errorf("%s\nreads as %+v, %v", none.YAML(), again, err)
	}
}

func TestRoutingMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"routing:\n  protect: udp/5060\n": `x0t.yaml:2: routing.protect: the value udp/5060 where a list is expected; write ["A", "B"], or one item a line after a dash`,
		"routing:\n  protect:\n    - tcp/22\n    - sip\n": `x0t.yaml:4: routing.protect[1]: not a rule of what is protected: "sip"; ` +
			`write all, dscp:46, dscp:EF, tcp/22, udp/5060 or node:gamma`,
		"routing:\n  protect: [\"dscp:64\"]\n": `x0t.yaml:2: routing.protect[0]: not a rule of what is protected: "dscp:64"; ` +
			`write a code point from 0 to 63, or its name: dscp:46, dscp:EF`,
		"routing:\n  protect: [dscp:EF, dscp:46]\n": `x0t.yaml:2: routing.protect[1]: dscp:46 stands here twice; keep one`,
		"routing:\n  duplicate_budget: 10%\n": `x0t.yaml:2: routing.duplicate_budget: 10% is not a share from 0 to 1; ` +
			`write 0.1 for a tenth of what each link carries, 0 for no copies`,
		"routing:\n  duplicate_budget: 1.01\n": `x0t.yaml:2: routing.duplicate_budget: 1.01 is not a share from 0 to 1; ` +
			`write 0.1 for a tenth of what each link carries, 0 for no copies`,
		"routing:\n  duplicate_budget: nan\n": `x0t.yaml:2: routing.duplicate_budget: nan is not a share from 0 to 1; ` +
			`write 0.1 for a tenth of what each link carries, 0 for no copies`,
		"routing:\n  spread: on\n":    `x0t.yaml:2: routing.spread: on is not a way to spread flows; use auto, always or off`,
		"routing:\n  protects: all\n": `x0t.yaml:2: routing.protects: unknown key; did you mean protect?`,
		"links:\n  capacity: 50M\n":   `x0t.yaml:2: links.capacity: the value 50M where interfaces are expected; write INTERFACE: RATE, one a line`,
		"links:\n  capacity: {eth0: 50}\n": `x0t.yaml:2: links.capacity.eth0: 50 is not a data rate from 1k to 1000G; ` +
			`write bits per second with k, M or G: 640k, 50M, 2.5G`,
		"links:\n  capacity: {eth0: 1e9G}\n": `x0t.yaml:2: links.capacity.eth0: 1e9G is not a data rate from 1k to 1000G; ` +
			`write bits per second with k, M or G: 640k, 50M, 2.5G`,
		"links:\n  capacity: {eth0: 0.5k}\n": `x0t.yaml:2: links.capacity.eth0: 0.5k is not a data rate from 1k to 1000G; ` +
			`write bits per second with k, M or G: 640k, 50M, 2.5G`,
		"links:\n  capacity:\n    eth0: 1M\n    eth0: 2M\n": `x0t.yaml:4: links.capacity.eth0: given twice; keep one`,
	} {
		if _, err := Parse("x0t.yaml", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}
