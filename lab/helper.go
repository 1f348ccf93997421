package lab

import (
	"fmt"
	"os"
)

// helperEnv names the part that a process plays which the lab started from this same program.
const helperEnv = "X0T_LAB_HELPER"

// Helper does the work of a helper process and returns its exit code, if this process was started as one by a lab:
// the delay relay, or the file server of the demo. A program that runs labs calls it first thing in main, or in
// TestMain, and ends with the code when ok is true.
func Helper() (code int, ok bool) {
	part := os.Getenv(helperEnv)
	if part == "" {
		return 0, false
	}
	run, known := map[string]func() error{"relay": relayMain, "serve": serveMain}[part]
	if !known {
		fmt.Fprintf(os.Stderr, "%s=%q is not a part that this program plays\n", helperEnv, part)
		return 2, true
	}
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "lab %s: %v\n", part, err)
		return 1, true
	}
	return 0, true
}
