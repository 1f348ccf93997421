// Command x0t is a node of a mesh: its daemon, and the tool by which people talk to it.
//
// A verb that asks a running daemon is one call of api.Client. The others (init, join, up, config, lab, version) work
// on this machine alone. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no daemon answers.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"x0tta6bl4/bench"
	"x0tta6bl4/lab"
)

func main() {
	for _, helper := range []func() (int, bool){lab.Helper, bench.Helper} {
		if code, ok := helper(); ok {
			os.Exit(code)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	os.Exit(Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
