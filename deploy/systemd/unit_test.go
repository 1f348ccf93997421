package systemd

import (
	"strings"
	"testing"
)

func TestUnitStartsTheGivenBinary(t *testing.T) {
	for binary, want := range map[string]string{
		Binary:              "ExecStart=/usr/local/bin/x0t up",
		"/opt/my tools/x0t": `ExecStart="/opt/my tools/x0t" up`,
		"/opt/100%/$x0t":    "ExecStart=/opt/100%%/$$x0t up",
		`/opt/a"b\c/x0t`:    `ExecStart="/opt/a\"b\\c/x0t" up`,
	} {
		got := Unit(binary)
		if n := strings.Count(got, "\nExecStart="); n != 1 || !strings.Contains(got, "\n"+want+"\n") {
			t.Errorf("%s: %d ExecStart, want %s in\n%s", binary, n, want, got)
		}
	}
}
