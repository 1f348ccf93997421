package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"x0tta6bl4/lab"
)

// labBackground runs this same command line again in a session of its own and waits until the lab is up.
func (a *app) labBackground(ctx context.Context, name string) error {
	if err := os.MkdirAll(lab.RuntimeDir(), 0o700); err != nil {
		return fmt.Errorf("directory for labs: %w; set %s to one that you may write to", err, lab.RuntimeEnv)
	}
	if s, err := lab.Find(name); err == nil {
		if info, err := s.Info(ctx); err == nil {
			return fmt.Errorf("%w: %s (%s); take it down with x0t lab down --name %s, or choose another --name", lab.ErrTaken, name, info.Topology, name)
		}
	}
	logName := filepath.Join(lab.RuntimeDir(), name+".log")
	log, err := os.OpenFile(logName, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600) // #nosec G304 -- a directory of our own
	if err != nil {
		return fmt.Errorf("log of the lab: %w", err)
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", append(os.Args[1:], "--foreground")...) // #nosec G204 G702 -- this same program
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the lab: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return a.labAwait(ctx, name, logName, cmd.Process, ended)
}

// labAwait shows what the lab says until it is up, and takes it down again if ctx ends before.
func (a *app) labAwait(ctx context.Context, name, logName string, p *os.Process, ended <-chan error) error {
	log, err := os.Open(logName) // #nosec G304 -- a directory of our own
	if err != nil {
		return err
	}
	defer log.Close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		said := new(strings.Builder)
		_, _ = io.Copy(said, log)
		shown := said.String()
		a.relayLog(shown)
		select {
		case err := <-ended:
			_, _ = io.Copy(said, log)
			a.relayLog(strings.TrimPrefix(said.String(), shown))
			if all, _ := os.ReadFile(logName); strings.Contains(string(all), "x0t: ") || strings.Contains(string(all), `{"error"`) { // #nosec G304 -- a directory of our own
				return errQuiet // it said why
			}
			return fmt.Errorf("the lab's process ended before the lab was up (%w) and could not say why: look at %s, and whether that disk is full", err, logName)
		case <-ctx.Done():
			_ = p.Signal(syscall.SIGTERM)
			<-ended
			return fmt.Errorf("interrupted, the lab %s is taken down again: %w", name, ctx.Err())
		case <-tick.C:
		}
		r, err := lab.Find(name)
		if err != nil {
			continue
		}
		if info, err := r.Info(ctx); err == nil {
			return a.showStanding(info)
		}
	}
}

// relayLog passes on what the lab's process says: progress and errors, not its report that it is up.
func (a *app) relayLog(s string) {
	for line := range strings.Lines(s) {
		if strings.HasPrefix(line, "lab: ") || strings.HasPrefix(line, "x0t: ") || strings.HasPrefix(line, `{"error"`) {
			fmt.Fprint(a.err, line)
		}
	}
}
