package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A peer that lives in the kernel, which this machine's kernel has not, is measured in a User-Mode Linux: a kernel that is a
// process, with one processor, whose root is this machine's own file system, read only. This same program does the work in it.
//
//	x0t ── linux.uml ── init script ── x0t as guest: the map in namespaces, the peer, probes, faults ── report.json

// guestEnv makes this program a guest: the name of the file that says what to measure.
const guestEnv = "X0T_BENCH_GUEST"

// Helper does the work of a guest and returns its exit code, if this process was started as one. A program that calls
// Failover calls it first thing in main.
func Helper() (code int, ok bool) {
	job := os.Getenv(guestEnv)
	if job == "" {
		return 0, false
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := guest(ctx, job); err != nil {
		fmt.Fprintln(os.Stderr, "bench guest:", err)
		return 1, true
	}
	return 0, true
}

// guest measures what a job says, and writes the report beside it.
func guest(ctx context.Context, job string) error {
	b, err := os.ReadFile(job) // #nosec G304 G703 -- made by the process that started this one
	if err != nil {
		return err
	}
	var opt FailoverOptions
	if err := json.Unmarshal(b, &opt); err != nil {
		return err
	}
	opt.Progress, opt.guest = os.Stderr, true
	r, err := Failover(ctx, opt)
	if err != nil {
		return err
	}
	if b, err = json.Marshal(r); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(filepath.Dir(job), guestReport), b, 0o600) // #nosec G703 -- beside the job
}

const (
	guestReport = "report.json"
	guestMemory = "mem=1G"
)

// inGuest measures a peer in a User-Mode Linux.
func (f *failing) inGuest(ctx context.Context, p peer, r *FailoverPeer) error {
	uml, err := findProgram("linux.uml")
	if err != nil {
		return err
	}
	modules, err := guestModules(uml)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "x0t-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := f.guestFiles(dir, p.name, modules); err != nil {
		return err
	}
	f.say("%s is measured in a User-Mode Linux", p.name)
	said, err := runGuest(ctx, uml, dir)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b, readErr := os.ReadFile(filepath.Join(dir, guestReport)) // #nosec G304 -- a directory of our own
	if readErr != nil {
		return fmt.Errorf("the User-Mode Linux left no report (%w); it said: %s", errors.Join(err, readErr), lastLines(said, 5))
	}
	var report FailoverReport
	if err := json.Unmarshal(b, &report); err != nil {
		return fmt.Errorf("report of the User-Mode Linux: %w", err)
	}
	if got := report.Peers[p.name]; got != nil {
		*r = *got
		r.Unfair = strings.TrimPrefix(r.Unfair+"; all of its network shares one processor of a User-Mode Linux", "; ")
	}
	if r.Unmeasured != "" {
		return errors.New(r.Unmeasured)
	}
	f.tellAll(p.name, r)
	return nil
}

// guestFiles writes what the guest is to measure and how it starts.
func (f *failing) guestFiles(dir, peer string, modules []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	job, err := json.Marshal(FailoverOptions{Faults: f.opt.Faults, Trials: f.opt.Trials, Far: f.opt.Far, Peers: []string{peer}, Seed: f.opt.Seed})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "job.json"), job, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "init"), []byte(guestInit(dir, self, peersDir(), modules)), 0o700) // #nosec G306 -- it is run
}

// tellAll says what a guest found.
func (f *failing) tellAll(peer string, r *FailoverPeer) {
	for _, s := range f.strikes {
		for _, place := range places {
			if at := r.Faults[s.name]; at != nil && *at.at(place) != nil {
				f.tellPeer(peer, s, place, *at.at(place))
			}
		}
	}
}

// guestModules returns the kernel modules that a guest needs, each after those that it depends on.
func guestModules(uml program) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(filepath.Dir(uml.path), "../lib/uml/modules/*/modules.dep"))
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("the modules of %s are not there: %w", uml.path, errors.Join(err, os.ErrNotExist))
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		return nil, err
	}
	return moduleOrder(string(text), filepath.Dir(found[0]), "tun.ko", "veth.ko", "batman-adv.ko"), nil
}

// moduleOrder reads modules.dep, in which what a module needs stands behind it, the deepest last.
func moduleOrder(dep, dir string, wanted ...string) (out []string) {
	for _, w := range wanted {
		for line := range strings.Lines(dep) {
			name, needs, _ := strings.Cut(strings.TrimSpace(line), ":")
			if filepath.Base(name) != w {
				continue
			}
			order := append([]string{name}, strings.Fields(needs)...)
			for i := len(order) - 1; i >= 0; i-- {
				out = append(out, filepath.Join(dir, order[i]))
			}
		}
	}
	return out
}

// guestInit is what the guest's kernel starts. Only dir can be written to, and what lies in memory.
func guestInit(dir, self, peers string, modules []string) string {
	var b strings.Builder
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	b.WriteString("#!/bin/sh\nmount -t proc proc /proc\nmount -t sysfs sys /sys\nmount -t tmpfs run /run\nmount -t devtmpfs dev /dev\n")
	fmt.Fprintf(&b, "mount -t hostfs out %[1]s -o %[1]s\n", quote(dir))
	for _, m := range modules {
		fmt.Fprintf(&b, "insmod %s\n", quote(m))
	}
	b.WriteString("mkdir -p /dev/net\n[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200\nip link set lo up\n")
	fmt.Fprintf(&b, "export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run %s=%s %s=%s\n", PeersEnv, quote(peers), guestEnv, quote(dir+"/job.json"))
	fmt.Fprintf(&b, "%s\necho \"guest ended with $?\"\nsync\npoweroff -f\necho o >/proc/sysrq-trigger\nsleep 60\n", quote(self))
	return b.String()
}

// runGuest runs the User-Mode Linux and returns what its console said.
func runGuest(ctx context.Context, uml program, dir string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, uml.path, guestMemory, "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", // #nosec G204 -- found by name
		"con=null", "con0=null,fd:1", "umid="+filepath.Base(dir), "init="+filepath.Join(dir, "init"))
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	return cmd.CombinedOutput()
}
