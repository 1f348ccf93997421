package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker (-X main.version=…); empty means a build from a checkout.
var version string

// build says what this binary was made from.
func build() (release, commit string) {
	release = version
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return orDev(release), ""
	}
	if v := info.Main.Version; release == "" && v != "(devel)" {
		release = v
	}
	dirty := ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+changes"
			}
		}
	}
	if commit != "" {
		commit += dirty
	}
	return orDev(release), commit
}

func orDev(s string) string {
	if s == "" {
		return "devel"
	}
	return s
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "what this binary is",
		Args:  needs(),
		RunE: a.do(func(context.Context, []string) error {
			release, commit := build()
			v := map[string]string{
				"version": release, "commit": commit, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
			}
			return a.show(v, func() {
				fmt.Fprintf(a.out, "x0t %s (%s, %s/%s)\n", release, runtime.Version(), runtime.GOOS, runtime.GOARCH)
				if commit != "" {
					fmt.Fprintln(a.out, "commit", commit)
				}
			})
		}),
	}
}
