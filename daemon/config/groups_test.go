package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestSharedRiskGroups(t *testing.T) {
	c, err := Parse("x0t.yaml", []byte("node:\n  failure_domain: rack-7\nlinks:\n  groups:\n    eth0: [duct-a, \"8\"]\n    wlan0: [mast-north]\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"eth0": {"duct-a", "8"}, "wlan0": {"mast-north"}}
	if c.Node.FailureDomain != "rack-7" || !reflect.DeepEqual(c.Links.Groups, want) {
		t.Errorf("%+v, %+v", c.Node, c.Links.Groups)
	}
	again, err := Parse("shown", []byte(c.YAML()))
	if err != nil || !reflect.DeepEqual(again, c) {
		t.Errorf("%v: %s reads as %+v", err, c.YAML(), again)
	}
	if d := Default().YAML(); !strings.Contains(d, "groups: {}") || !strings.Contains(d, "# failure_domain: not set") {
		t.Error(d)
	}
}

func TestSharedRiskGroupMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"node:\n  failure_domain: two words\n": "x0t.yaml:2: node.failure_domain: two words is not a name for what may fail as one; " +
			"write up to 64 characters without spaces, such as rack-7 or duct-a",
		"links:\n  groups: [duct-a]\n": "x0t.yaml:2: links.groups: a list where interfaces are expected; write INTERFACE: [GROUP], one a line",
		"links:\n  groups:\n    eth0: duct-a\n": "x0t.yaml:3: links.groups.eth0: the value duct-a where a list is expected; " +
			"write [\"A\", \"B\"], or one item a line after a dash",
		"links:\n  groups:\n    eth/0: [a]\n":                              "x0t.yaml:3: links.groups: eth/0 is not the name of an interface; write one that `ip link` shows, such as eth0",
		"links:\n  groups:\n    eth0: [a]\n    eth0: [b]\n":                "x0t.yaml:4: links.groups.eth0: given twice; keep one",
		"links:\n  groups:\n    eth0: [a, a]\n":                            "x0t.yaml:3: links.groups.eth0[1]: a stands here twice; keep one",
		"links:\n  groups:\n    eth0: [a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p]\n": "x0t.yaml:3: links.groups.eth0: 16 groups; at most 15 can be announced",
	} {
		if _, err := Parse("x0t.yaml", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}
