package bench

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestModuleOrder(t *testing.T) {
	const dep = "kernel/a/tun.ko:\nkernel/b/bat.ko: kernel/c/bridge.ko kernel/d/ipv6.ko\nkernel/e/other-bat.ko: kernel/x.ko\n"
	want := []string{"/m/kernel/d/ipv6.ko", "/m/kernel/c/bridge.ko", "/m/kernel/b/bat.ko", "/m/kernel/a/tun.ko"}
	if got := moduleOrder(dep, "/m", "bat.ko", "tun.ko", "none.ko"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got, err := guestModules(program{path: filepath.Join(t.TempDir(), "bin/linux.uml")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%q, %v", got, err)
	}
}

// The script is one for a shell, whatever the names are.
func TestGuestInit(t *testing.T) {
	script := guestInit("/tmp/it's here", "/opt/x 0t", "/peers", []string{"/m/tun.ko"})
	for _, want := range []string{`mount -t hostfs out '/tmp/it'\''s here' -o '/tmp/it'\''s here'`, "insmod '/m/tun.ko'", "X0T_BENCH_GUEST='/tmp/it'\\''s here/job.json'", "\n'/opt/x 0t'\n", "X0T_PEERS='/peers'"} {
		if !strings.Contains(script, want) {
			t.Errorf("no %q in\n%s", want, script)
		}
	}
	check := exec.Command("sh", "-n")
	check.Stdin = strings.NewReader(script)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A guest that says nothing useful is an error with what it said, and a job that cannot be read is one.
func TestGuestsThatFail(t *testing.T) {
	dir := t.TempDir()
	fake := filepath.Join(dir, "bin", "linux.uml")
	for name, text := range map[string]string{fake: "#!/bin/sh\necho no memory\n", filepath.Join(dir, "lib/uml/modules/6/modules.dep"): "k/tun.ko:\n"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(PeersEnv, dir)
	f := &failing{opt: FailoverOptions{Progress: t.Output()}}
	if err := f.inGuest(t.Context(), peer{name: "batman-adv"}, &FailoverPeer{}); err == nil || !strings.Contains(err.Error(), "left no report") || !strings.Contains(err.Error(), "no memory") {
		t.Errorf("%v", err)
	}
	if err := guest(context.Background(), filepath.Join(dir, "nothing.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	job := filepath.Join(dir, "job.json")
	if err := os.WriteFile(job, []byte(`{"Trials":-1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := guest(context.Background(), job); err == nil || !strings.Contains(err.Error(), "-1 trials") {
		t.Errorf("%v", err)
	}
	if _, ok := Helper(); ok {
		t.Error("this process is a guest")
	}
	t.Setenv(guestEnv, job)
	if code, ok := Helper(); code != 1 || !ok {
		t.Errorf("a guest with a bad job ends with %d, %t", code, ok)
	}
}
