package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"x0tta6bl4/daemon"
	unit "x0tta6bl4/deploy/systemd"
	"x0tta6bl4/host/systemd"
)

func (a *app) upCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "run this node until it is told to end",
		Long: "up runs the daemon in the foreground and logs to standard error. It needs an identity (x0t init or x0t join) and the\n" +
			"right to make a network device, which root has. Started by systemd with Type=notify it says when it is ready, how it\n" +
			"is, and, if there is a watchdog, that it lives.",
		Example: "  x0t up\n  X0T_STATE=/srv/x0t x0t up --config /srv/x0t.yaml",
		Args:    needs(),
		RunE: a.do(func(ctx context.Context, _ []string) error {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			manager, err := systemd.FromEnv(os.Getenv, os.Getpid())
			if err != nil {
				return err
			}
			release, _ := build()
			return daemon.Run(ctx, daemon.Options{
				Config: cfg, State: a.state, Socket: a.socket, Log: cfg.Log.Logger(a.err), Version: release, Manager: manager,
			})
		}),
	}
}

func (a *app) serviceCmd() *cobra.Command {
	cmd := a.group(&cobra.Command{
		Use:   "service",
		Short: "this node as a service of systemd",
		Long: "service shows or installs the unit file with which systemd runs x0t up: as a user of its own, with no right but that\n" +
			"over the network, started again when it fails or hangs.",
		Example: "  x0t service show\n  sudo x0t service install",
	})
	cmd.AddCommand(a.serviceShowCmd(), a.serviceInstallCmd())
	return cmd
}

func (a *app) serviceShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "print the unit file",
		Long:    "show prints the unit file that install would write.",
		Example: "  x0t service show | less",
		Args:    needs(),
		RunE: a.do(func(context.Context, []string) error {
			text, err := ownUnit()
			if err != nil {
				return err
			}
			return a.show(map[string]string{"unit": text}, func() { fmt.Fprint(a.out, text) })
		}),
	}
}

func (a *app) serviceInstallCmd() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "install",
		Short: "write the unit file",
		Long: "install writes the unit file for this binary, where it is now, and says which commands start the service. A file that\n" +
			"is there is replaced; what you change about the service belongs into x0t.service.d (systemctl edit x0t).",
		Example: "  sudo x0t service install\n  x0t service install --dir ./out",
		Args:    needs(),
	}
	cmd.Flags().StringVar(&dir, "dir", "/etc/systemd/system", "directory to write it to")
	cmd.RunE = a.do(func(context.Context, []string) error {
		text, err := ownUnit()
		if err != nil {
			return err
		}
		path := filepath.Join(dir, unit.Name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { // #nosec G306 -- units are for all to read
			return fmt.Errorf("unit file: %w; run as root, or choose another directory with --dir", err)
		}
		next := []string{"systemctl daemon-reload", "systemctl enable --now x0t"}
		return a.show(map[string]any{"file": path, "next": next}, func() {
			fmt.Fprintf(a.out, "wrote %s\nnext: %s\n      %s\n", path, next[0], next[1])
		})
	})
	return cmd
}

// ownUnit returns the unit file for the binary that runs.
func ownUnit() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the path of this program: %w", err)
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	return unit.Unit(self), nil
}
