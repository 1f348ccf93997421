package lab

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"x0tta6bl4/mesh"
)

func TestLoadFaults(t *testing.T) {
	nodes := []mesh.NodeID{id("a"), id("b"), id("c")}
	name := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(name, []byte("cut link:a-b at 1s\nkill node:c at 2s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string]int{name: 2, "cut link:a-b at 1s; kill node:c at 2s": 2, "builtin:kill": 1, "": 0} {
		if got, err := LoadFaults(arg, nodes); err != nil || len(got) != want {
			t.Errorf("%q: %v, %v; want %d faults", arg, got, err, want)
		}
	}
	if _, err := LoadFaults(name+".missing", nodes); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}
