package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func noonNow() time.Time { return noon }

// installed writes the unit for this binary and returns its path.
func installed(t *testing.T) string {
	t.Helper()
	isolate(t)
	dir := shortDir(t)
	if _, errs, code := runArgs(t.Context(), "", "service", "install", "--dir", dir); code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	return filepath.Join(dir, "x0t.service")
}

func TestServiceInstall(t *testing.T) {
	path := installed(t)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "\nExecStart="+self+" up\n") {
		t.Errorf("the unit does not start this binary:\n%s", b)
	}
	shown, _, code := runArgs(t.Context(), "", "service", "show")
	if code != 0 || shown != string(b) {
		t.Errorf("show and install differ:\n%s", shown)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", fi, err)
	}
}

// The rules for polkit go where polkit looks for them if that is there, and beside the unit if a folder was chosen.
func TestServiceInstallsRules(t *testing.T) {
	unitPath := installed(t)
	beside := filepath.Join(filepath.Dir(unitPath), "50-x0t.rules")
	b, err := os.ReadFile(beside)
	if err != nil || !strings.Contains(string(b), `subject.user == "x0t"`) {
		t.Errorf("%v\n%s", err, b)
	}
	dir, polkit := shortDir(t), shortDir(t)
	out, errs, code := runArgs(t.Context(), "", "service", "install", "--dir", dir, "--polkit", polkit)
	rules := filepath.Join(polkit, "50-x0t.rules")
	if fi, err := os.Stat(rules); code != 0 || err != nil || fi.Mode().Perm() != 0o644 || !strings.Contains(out, "wrote "+rules) {
		t.Errorf("exit %d, %v: %s%s", code, err, out, errs)
	}
	out, errs, code = runArgs(t.Context(), "", "service", "install", "--dir", dir, "--polkit", filepath.Join(polkit, "none"))
	if code != 0 || !strings.Contains(out, "no polkit here") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if err := os.MkdirAll(filepath.Join(polkit, "full", "50-x0t.rules"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, errs, code = runArgs(t.Context(), "", "service", "install", "--dir", dir, "--polkit", filepath.Join(polkit, "full")); code != 1 || !strings.Contains(errs, "rules for polkit") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// worstExposure is the most that `systemd-analyze security` may say of the unit, of 10. What is left is what a node of a
// network must have: sockets, routes, one device.
const worstExposure = 2.0

// systemd itself reads the unit: it knows every key, and finds little that the service could do beyond its work.
func TestUnitAsSystemdSeesIt(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatalf("%v; install the package systemd (make deps)", err)
	}
	path := installed(t)
	// Unknown keys are a line of output, not an exit code.
	if out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput(); err != nil || len(out) > 0 { // #nosec G204
		t.Errorf("verify: %v\n%s", err, out)
	}
	out, err := exec.Command(analyze, "security", "--offline=yes", "--no-pager", path).CombinedOutput() // #nosec G204
	if err != nil {
		t.Fatalf("security: %v\n%s", err, out)
	}
	m := regexp.MustCompile(`Overall exposure level for x0t\.service: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("no score in\n%s", out)
	}
	score, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil || score > worstExposure {
		t.Errorf("exposure %s, at most %.1f is allowed\n%s", m[1], worstExposure, out)
	}
	t.Logf("exposure %.1f", score)
}

// A unit that systemd does not understand is found out: the test above can fail.
func TestUnitWithAnUnknownKeyIsFound(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatalf("%v; install the package systemd (make deps)", err)
	}
	path := installed(t)
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, []byte(strings.Replace(string(b), "NoNewPrivileges=", "NoNewPriviledges=", 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, _ := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput(); !strings.Contains(string(out), "NoNewPriviledges") { // #nosec G204
		t.Errorf("verify says %q", out)
	}
}
