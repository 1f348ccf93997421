// Package systemd holds the unit file with which systemd runs x0t as a service, and the rules with which polkit lets that
// service tell systemd-resolved about the mesh's names.
package systemd

import (
	_ "embed"
	"strings"
)

// Name is what the unit is called.
const Name = "x0t.service"

// Binary is where the unit expects the program unless it is told otherwise.
const Binary = "/usr/local/bin/x0t"

// RulesName is what the rules for polkit are called. Without them systemd-resolved listens to root only, which the service
// is not.
const RulesName = "50-x0t.rules"

//go:embed x0t.service
var unit string

//go:embed 50-x0t.rules
var rules string

// Rules returns the rules for polkit.
func Rules() string { return rules }

// Unit returns the unit file for a program at a path, which must be absolute. The characters that mean something to
// systemd in a command line are escaped (systemd.service(5), COMMAND LINES).
func Unit(binary string) string {
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(binary)
	if strings.ContainsAny(quoted, " \t'\"\\;") {
		quoted = `"` + quoted + `"`
	}
	return strings.Replace(unit, "ExecStart="+Binary, "ExecStart="+quoted, 1)
}
