package main

import (
	"context"

	"github.com/spf13/cobra"

	"x0tta6bl4/daemon"
)

func (a *app) upCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "run this node until it is told to end",
		Long: "up runs the daemon in the foreground and logs to standard error. It needs an identity (x0t init or x0t join) and the\n" +
			"right to make a network device, which root has.",
		Args: needs(),
		RunE: a.do(func(ctx context.Context, _ []string) error {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			release, _ := build()
			return daemon.Run(ctx, daemon.Options{
				Config: cfg, State: a.state, Socket: a.socket, Log: cfg.Log.Logger(a.err), Version: release,
			})
		}),
	}
}
