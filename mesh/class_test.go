package mesh

import (
	"errors"
	"strings"
	"testing"
)

func TestParseProtect(t *testing.T) {
	gamma := MustNodeID("gamma")
	for _, tc := range []struct {
		in   string
		want ProtectRule
		out  string
	}{
		{"all", ProtectRule{Kind: ProtectAll}, "all"},
		{"dscp:0", ProtectRule{Kind: ProtectDSCP}, "dscp:0"},
		{"dscp:63", ProtectRule{Kind: ProtectDSCP, DSCP: 63}, "dscp:63"},
		{"dscp:EF", ProtectRule{Kind: ProtectDSCP, DSCP: 46}, "dscp:46"},
		{"dscp:af41", ProtectRule{Kind: ProtectDSCP, DSCP: 34}, "dscp:34"},
		{"udp/5060", ProtectRule{Kind: ProtectPort, Protocol: 17, Port: 5060}, "udp/5060"},
		{"tcp/22", ProtectRule{Kind: ProtectPort, Protocol: 6, Port: 22}, "tcp/22"},
		{"node:gamma", ProtectRule{Kind: ProtectNode, Node: gamma}, "node:gamma"},
	} {
		r, err := ParseProtect(tc.in)
		if err != nil || r != tc.want || r.String() != tc.out {
			t.Errorf("%s: %+v %q, %v", tc.in, r, r, err)
		}
		if again, err := ParseProtect(r.String()); err != nil || again != r {
			t.Errorf("%s: %q reads back as %+v, %v", tc.in, r, again, err)
		}
	}
}

// The names of code points are as the RFCs have them: class selectors are eights, AFxy is 8x + 2y.
func TestCodePointNames(t *testing.T) {
	for _, c := range codePoints {
		want := -1
		switch {
		case strings.HasPrefix(c.name, "CS"):
			want = 8 * int(c.name[2]-'0')
		case strings.HasPrefix(c.name, "AF"):
			want = 8*int(c.name[2]-'0') + 2*int(c.name[3]-'0')
		case c.name == "EF":
			want = 0b101110
		case c.name == "VA":
			want = 0b101100
		case c.name == "LE":
			want = 0b000001
		}
		if int(c.value) != want {
			t.Errorf("%s is %d, want %d", c.name, c.value, want)
		}
	}
}

func TestParseProtectRefuses(t *testing.T) {
	for in, remedy := range map[string]string{
		"": "write all,", "ALL": "write all,", "sctp/5": "write all,", "22": "write all,", "tcp": "write all,", "udp:53": "write all,",
		"dscp:64": "0 to 63", "dscp:": "0 to 63", "dscp:-1": "0 to 63", "dscp:XX": "0 to 63", "dscp:302": "0 to 63",
		"tcp/0": "1 to 65535", "udp/65536": "1 to 65535", "udp/": "1 to 65535", "tcp/ssh": "1 to 65535", "tcp/+5": "1 to 65535",
		"node:": "name of a node", "node:Gamma": "name of a node", "node:" + strings.Repeat("x", 9999): "name of a node",
	} {
		r, err := ParseProtect(in)
		if !errors.Is(err, ErrProtect) || r != (ProtectRule{}) || !strings.Contains(err.Error(), remedy) || len(err.Error()) > 300 {
			t.Errorf("%.20q: %+v, %v", in, r, err)
		}
	}
	if s := (ProtectRule{}).String(); s != "" {
		t.Errorf("no rule is %q", s)
	}
}

func TestClass(t *testing.T) {
	class := func(rules ...string) Class {
		var all []ProtectRule
		for _, s := range rules {
			r, err := ParseProtect(s)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
		return NewClass(all)
	}
	gamma, zeta := MustNodeID("gamma"), MustNodeID("zeta")
	c := class("udp/5060", "tcp/22", "dscp:EF", "dscp:0", "node:gamma")
	for _, x := range []struct {
		what      string
		got, want bool
	}{
		{"empty", c.Empty(), false}, {"nothing", class().Empty(), true}, {"all", class("all").Empty(), false},
		{"all to zeta", class("all").AllTo(zeta), true}, {"to gamma", c.AllTo(gamma), true}, {"to zeta", c.AllTo(zeta), false},
		{"EF", c.HasDSCP(46), true}, {"default", c.HasDSCP(0), true}, {"47", c.HasDSCP(47), false}, {"no class", Class{}.HasDSCP(0), false},
		{"by port", c.ByPort(), true}, {"not by port", class("dscp:1").ByPort(), false},
		{"to 5060", c.HasPorts(17, 9, 5060), true}, {"from 5060", c.HasPorts(17, 5060, 9), true},
		{"tcp 5060", c.HasPorts(6, 9, 5060), false}, {"tcp 22", c.HasPorts(6, 9, 22), true}, {"other", c.HasPorts(17, 9, 10), false},
	} {
		if x.got != x.want {
			t.Errorf("%s: %v", x.what, x.got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { c.HasPorts(17, 1, 2); c.HasDSCP(3); c.AllTo(zeta) }); n != 0 {
		t.Errorf("asking allocates %v times", n)
	}
}

func FuzzParseProtect(f *testing.F) {
	for _, s := range []string{"all", "dscp:EF", "udp/5060", "node:gamma", "tcp/022"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseProtect(s)
		if err != nil {
			if !errors.Is(err, ErrProtect) {
				t.Fatal(err)
			}
			return
		}
		if again, err := ParseProtect(r.String()); err != nil || again != r {
			t.Fatalf("%q is %q, which reads as %+v, %v", s, r, again, err)
		}
	})
}
