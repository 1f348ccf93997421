package resolver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// openresolv is a program that is called as openresolv is, keeps records as files, and says what openresolv 3.12 says.
const openresolv = `#!/bin/sh
dir=$(dirname "$0")
echo "$*" >>"$dir/calls"
case "$*" in
--version) echo "openresolv 3.12.0"; echo "Copyright (c) 2007-2020 Roy Marples" ;;
-V) echo "DOMAIN=''"; echo "NAMESERVERS='$(cat "$dir/local")'"; echo "LOCALNAMESERVERS=''" ;;
"-p -a x0t0.x0t") cat >"$dir/record" ;;
"-l x0t0.x0t") cat "$dir/record" 2>/dev/null || { echo "No resolv.conf for interface x0t0.x0t" >&2; exit 2; } ;;
"-f -d x0t0.x0t") rm -f "$dir/record" ;;
*) echo "unexpected: $*" >&2; exit 1 ;;
esac
`

// program puts a program called resolvconf into a folder and returns the way that finds it there.
func program(t *testing.T, text string) (dir string, r *Resolvconf) {
	t.Helper()
	dir = t.TempDir()
	if text != "" {
		if err := os.WriteFile(filepath.Join(dir, "resolvconf"), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r = NewResolvconf("x0t0")
	r.path = []string{filepath.Join(dir, "none"), dir}
	return dir, r
}

func TestResolvconf(t *testing.T) {
	dir, r := program(t, openresolv)
	if err := os.WriteFile(filepath.Join(dir, "local"), []byte("127.0.0.1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Fit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Set(t.Context(), table); err != nil {
			t.Fatal(err)
		}
	}
	says(t, filepath.Join(dir, "record"),
		"# of x0t, which removes it when it ends\nsearch example.mesh b.a.1.f.3.4.1.9.4.6.d.f.ip6.arpa\nnameserver fd64:9143:f1ab::1\n")
	// The next life, which made no record itself, finds and removes it.
	_, next := program(t, "")
	next.path = []string{dir}
	for range 2 {
		if err := next.Undo(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "record")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the record is still there: %v", err)
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil || strings.Count(string(calls), "-a ") != 1 || strings.Count(string(calls), "-d ") != 1 {
		t.Errorf("%v, called with\n%s", err, calls)
	}
}

// Where openresolv could not send one zone to one server it is not used, and the reason is told.
func TestResolvconfUnfit(t *testing.T) {
	for what, c := range map[string]struct{ program, local, why string }{
		"none":              {"", "", "no program resolvconf"},
		"Debian's":          {"#!/bin/sh\necho 1.91+nmu1\n", "", "not openresolv"},
		"that of systemd":   {"#!/bin/sh\necho 'systemd 252 (252.39-1~deb12u2)'\n", "", "not openresolv"},
		"one that fails":    {"#!/bin/sh\nexit 1\n", "", "not openresolv"},
		"no local resolver": {openresolv, "", "no local resolver"},
		"a distant one":     {openresolv, "192.0.2.53", "no local resolver"},
	} {
		dir, r := program(t, c.program)
		if err := os.WriteFile(filepath.Join(dir, "local"), []byte(c.local), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.Fit(t.Context()); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", what, err)
		}
		if err := r.Undo(t.Context()); err != nil {
			t.Errorf("%s: nothing to undo, and %v", what, err)
		}
	}
	_, r := program(t, "#!/bin/sh\necho 'no lock' >&2; exit 3\n")
	if err := r.Set(t.Context(), table); err == nil || !strings.Contains(err.Error(), "no lock") {
		t.Errorf("%v", err)
	}
}
