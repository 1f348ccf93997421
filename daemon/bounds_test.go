package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
)

// A neighbour that makes ever new links has the label table written, but not more often than the disk keeps up with: what
// waits is one write, of the newest.
func TestLabelWritesAreJoined(t *testing.T) {
	k, _ := openKeeper(t, filepath.Join(t.TempDir(), "state"))
	defer k.Close()
	d := &Daemon{store: k, log: k.log, jobs: newMailbox[func()]()}
	for round := range 2 {
		for i := range 1000 {
			d.persistLabels(node.LabelState{Next: mesh.Label(1 + 1000*round + i)})
		}
		jobs := d.jobs.take()
		if len(jobs) != 1 {
			t.Fatalf("%d writes wait", len(jobs))
		}
		jobs[0]()
		want := fmt.Sprintf(`"next":%d,`, 1000*(round+1))
		if b, err := k.Read(labelsFile); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("written: %s, %v, want %s", b, err, want)
		}
	}
}

// Of very many addresses that cannot be reached some are forgotten, but never the newest: it may be a configured one.
func TestFailuresAreBounded(t *testing.T) {
	d := bareDaemon()
	d.failures = map[netip.AddrPort]string{}
	for i := range 3 * maxFailures {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 7420)
		d.noteFailure(a, errors.New("timeout"))
		if len(d.failures) > maxFailures || d.failures[a] != "timeout" {
			t.Fatalf("after %d: %d remembered, the newest as %q", i+1, len(d.failures), d.failures[a])
		}
	}
}
