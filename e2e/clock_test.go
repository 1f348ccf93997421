package e2e

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// setClock makes the clock of a machine's daemon, which was started with clockAt, wrong.
func (m *machine) setClock(t *testing.T, ahead time.Duration) {
	t.Helper()
	c, err := net.Dial("unix", m.clockAt())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "{\"offset_ms\": %d}\n", ahead.Milliseconds()); err != nil {
		t.Fatal(err)
	}
	if answer, err := bufio.NewReader(c).ReadString('\n'); err != nil || answer != fmt.Sprintf("{\"offset_ms\":%d}\n", ahead.Milliseconds()) {
		t.Fatalf("%q, %v", answer, err)
	}
}

func (m *machine) clockAt() string { return filepath.Join(m.dir, "clock.sock") }

// A clock that is three minutes ahead cuts a node off, for others refuse what it announces. Both ends say so with the
// difference, and which of them is ahead; when it is right again they are well.
func TestWrongClockIsTold(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta"))
	alpha, beta := n.at("alpha"), n.at("beta")
	beta.stop(t)
	beta.env = append(beta.env, "X0T_LAB_CLOCK="+beta.clockAt())
	beta.up(t)
	n.converged(alpha, beta)
	beta.setClock(t, 3*time.Minute)
	alpha.stop(t) // so that it holds nothing that beta announced before
	alpha.up(t)
	alpha.healthy(t, 30*time.Second, 503, "this node's clock is about 3m0s behind that of beta")
	if c := alpha.counters(t); c["lsdb_future"] == 0 {
		t.Errorf("counters %v", c)
	}
	beta.healthy(t, 60*time.Second, 200, "this node's clock is about 3m0s ahead of that of alpha")
	beta.setClock(t, 0) // it announces itself anew, which shows that its clock was set back
	alpha.healthy(t, 20*time.Second, 200, `"health":"ok"`)
	beta.healthy(t, 20*time.Second, 200, `"health":"ok"`)
}
