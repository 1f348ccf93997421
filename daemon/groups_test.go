package daemon

import (
	"slices"
	"strings"
	"testing"

	"x0tta6bl4/daemon/config"
	"x0tta6bl4/mesh"
)

// The numbers are the first four bytes of `printf NAME | sha256sum`.
func TestRiskGroups(t *testing.T) {
	c := config.Default()
	c.Node.FailureDomain = "rack-7"
	c.Links.Groups = map[string][]string{"eth0": {"duct-a", "8"}}
	all, by := riskGroups(c)
	if !slices.Equal(all, []uint32{0xe60c434a}) || !slices.Equal(by["eth0"], []uint32{0xaee40782, 0x2c624232}) || len(by) != 1 {
		t.Errorf("%x %x", all, by)
	}
	d := &Daemon{opt: Options{Config: c}}
	if got := d.groupNames([]uint32{0xaee40782, 0xab, 0xe60c434a}); !slices.Equal(got, []string{"duct-a", "000000ab", "rack-7"}) {
		t.Error(got)
	}
	if all, by := riskGroups(config.Default()); len(all)+len(by) != 0 {
		t.Errorf("%x %x of nothing", all, by)
	}
}

func TestThinLinkNamesItsRemedy(t *testing.T) {
	got := thinness(mesh.LinkStatus{State: mesh.LinkUp, Thin: true})
	if !strings.Contains(got, "1232") || !strings.Contains(got, "to 1280") {
		t.Error(got)
	}
	if thinness(mesh.LinkStatus{State: mesh.LinkUp})+thinness(mesh.LinkStatus{Thin: true}) != "" {
		t.Error("said of a link that is not thin, or is down")
	}
}
