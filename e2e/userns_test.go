package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// nobody is a user without any rights.
const nobody = 65534

// An ordinary user runs a lab: it makes itself a user namespace. Where /dev/net/tun is for root only, as on machines
// that udev has not prepared, the test gives the user one of his own.
func TestLabAsOrdinaryUser(t *testing.T) {
	need(t)
	m := machineIn(t, "desk")
	if err := m.do(func() error {
		if err := unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("tmpfs over /dev/net: %w", err)
		}
		if err := unix.Mknod("/dev/net/tun", unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))); err != nil {
			return fmt.Errorf("make /dev/net/tun: %w", err)
		}
		return os.Chmod("/dev/net/tun", 0o666)
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	run := func(argv ...string) result {
		cmd := m.command(ctx, argv...)
		cmd.Dir = "/"
		cmd.Env = append(withoutX0T(cmd.Env), "HOME=/", "GOCOVERDIR=")
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody, NoSetGroups: false}
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		p, err := m.start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		<-p.done
		return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
	}
	if r := run("unshare", "-Urn", "true"); r.code != 0 {
		t.Skipf("an ordinary user may make no user namespace here: %s", r)
	}
	r := run("x0t", "lab", "run", "line:2", "--json")
	var report struct {
		Nodes, Links, Pairs int
		Reachable           int `json:"pairs_reachable"`
	}
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != 0 {
		t.Fatalf("%v: %s", err, r)
	}
	if report.Nodes != 2 || report.Pairs != 2 || report.Reachable != 2 {
		t.Errorf("the report is %s", r.out)
	}
	// The control: this user cannot do by himself what the lab did for him, and is told what is missing.
	state, err := os.MkdirTemp("", "x0t-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(state)
	if err := os.Chown(state, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if r := run("x0t", "--state", state, "init", "--trust-domain", "e2e.mesh", "--name", "desk"); r.code != 0 {
		t.Fatal(r)
	}
	if r := run("x0t", "--state", state, "up"); r.code != 1 || !strings.Contains(r.err, "root") {
		t.Errorf("x0t up as an ordinary user: %s", r)
	}
}
