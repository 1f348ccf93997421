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
			cfg, given, err := a.loadGiven()
			if err != nil {
				return err
			}
			manager, err := systemd.FromEnv(os.Getenv, os.Getpid())
			if err != nil {
				return err
			}
			release, _ := build()
			log := cfg.Log.Logger(a.err)
			return daemon.Run(ctx, daemon.Options{
				Config: cfg, Given: given, State: a.state, Socket: a.socket, Log: log.Logger, Relog: log.Set, Version: release, Manager: manager,
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
			return a.show(map[string]string{"unit": text, "rules": unit.Rules()}, func() { fmt.Fprint(a.out, text) })
		}),
	}
}

func (a *app) serviceInstallCmd() *cobra.Command {
	var dir, polkit string
	cmd := &cobra.Command{
		Use:   "install",
		Short: "write the unit file",
		Long: "install writes the unit file for this binary, where it is now, and says which commands start the service. A file that\n" +
			"is there is replaced; what you change about the service belongs into x0t.service.d (systemctl edit x0t).\n\n" +
			"Where the machine has polkit it also writes rules that let the service, which is not root, tell systemd-resolved which\n" +
			"zone to ask the mesh about. With --dir both files go there.",
		Example: "  sudo x0t service install\n  x0t service install --dir ./out",
		Args:    needs(),
	}
	cmd.Flags().StringVar(&dir, "dir", "/etc/systemd/system", "directory to write the unit to")
	cmd.Flags().StringVar(&polkit, "polkit", "/etc/polkit-1/rules.d", "directory to write the rules for polkit to")
	cmd.RunE = a.do(func(context.Context, []string) error {
		if cmd.Flags().Changed("dir") && !cmd.Flags().Changed("polkit") {
			polkit = dir
		}
		return a.installService(dir, polkit)
	})
	return cmd
}

// installService writes the unit, and the rules for polkit if there is a folder for them.
func (a *app) installService(dir, polkit string) error {
	text, err := ownUnit()
	if err != nil {
		return err
	}
	path, rules := filepath.Join(dir, unit.Name), ""
	if err := writePublic(path, text); err != nil {
		return fmt.Errorf("unit file: %w; run as root, or choose another directory with --dir", err)
	}
	if fi, err := os.Stat(polkit); err == nil && fi.IsDir() {
		rules = filepath.Join(polkit, unit.RulesName)
		if err := writePublic(rules, unit.Rules()); err != nil {
			return fmt.Errorf("rules for polkit: %w; run as root, or choose another directory with --polkit", err)
		}
	}
	next := []string{"systemctl daemon-reload", "systemctl enable --now x0t"}
	return a.show(map[string]any{"file": path, "rules": rules, "next": next}, func() {
		fmt.Fprintln(a.out, "wrote", path)
		if rules != "" {
			fmt.Fprintln(a.out, "wrote", rules)
		} else {
			fmt.Fprintf(a.out, "no polkit here (%s): systemd-resolved takes nothing from the service\n", polkit)
		}
		fmt.Fprintf(a.out, "next: %s\n      %s\n", next[0], next[1])
	})
}

func writePublic(path, text string) error {
	return os.WriteFile(path, []byte(text), 0o644) // #nosec G306 -- units and rules are for all to read
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
