package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/daemon"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/host/authority"
	"x0tta6bl4/host/disk"
)

// What the node keeps, and how it is.

func checkConfig(_ context.Context, p *patient) []finding {
	if _, err := os.Stat(p.configPath); errors.Is(err, fs.ErrNotExist) && p.cfgErr == nil {
		return one(found(good, p.configPath, "not there, all defaults hold"))
	}
	if p.cfgErr == nil {
		return one(found(good, p.configPath, "valid"))
	}
	var problems config.Problems
	if !errors.As(p.cfgErr, &problems) {
		return one(found(bad, p.configPath, "%v", p.cfgErr).remedy("x0t config check"))
	}
	var out []finding
	for _, problem := range problems {
		out = append(out, found(bad, p.configPath, "%v", problem).remedy("correct line %d, then: x0t config check", problem.Line))
	}
	return out
}

const smallDisk = 16 << 20 // bytes

func checkState(_ context.Context, p *patient) []finding {
	fi, err := os.Stat(p.state)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return one(found(bad, p.state, "not there: this machine belongs to no mesh").remedy("x0t join TOKEN, or to begin one: x0t init"))
	case err != nil:
		return one(found(bad, p.state, "%v", err).remedy("sudo x0t doctor"))
	case !fi.IsDir():
		return one(found(bad, p.state, "not a directory").remedy("name another with X0T_STATE, or move it away"))
	}
	out := []finding{checkFormat(p), checkOwner(p, fi)}
	out = append(out, checkModes(p, fi)...)
	return append(out, checkSpace(p), checkLock(p))
}

func checkFormat(p *patient) finding {
	looked := filepath.Join(p.state, "version")
	b, err := os.ReadFile(looked) // #nosec G304 -- the user's own state
	newest := daemon.StateFormat()
	v, numErr := strconv.Atoi(strings.TrimSpace(string(b)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return found(warn, looked, "not there: nothing was kept yet, or it was lost").remedy("x0t join TOKEN, or restore the state from a copy")
	case err != nil:
		return found(bad, looked, "%v", err).remedy("sudo x0t doctor")
	case numErr != nil || v < disk.First:
		return found(bad, looked, "holds %.20q, which is no format", b).remedy("restore the state from a copy")
	case v > newest:
		return found(bad, looked, "format %d, this program knows up to %d", v, newest).remedy("run the newer x0t, or restore backup-v%d", newest)
	case v < newest:
		return found(good, looked, "format %d, upgraded to %d at the next start; a copy is kept", v, newest)
	}
	return found(good, looked, "format %d", v)
}

// checkOwner compares the owner of the state with who is to write it: the daemon that runs, or who asks.
func checkOwner(p *patient, fi fs.FileInfo) finding {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return found(warn, p.state, "its owner is unknown here").remedy("ls -ld %s", p.state)
	}
	writer := p.uid
	if p.status != nil {
		if proc, err := os.Stat(fmt.Sprintf("/proc/%d", p.status.PID)); err == nil {
			if ps, ok := proc.Sys().(*syscall.Stat_t); ok {
				writer = int(ps.Uid)
			}
		}
	}
	if writer != 0 && int(st.Uid) != writer {
		return found(bad, p.state, "belongs to user %d, user %d is to write it", st.Uid, writer).remedy("chown -R %d %s", writer, p.state)
	}
	return found(good, p.state, "belongs to user %d", st.Uid)
}

func checkModes(p *patient, dir fs.FileInfo) []finding {
	var out []finding
	if dir.Mode().Perm()&0o077 != 0 {
		out = append(out, found(warn, p.state, "mode %04o lets others in", dir.Mode().Perm()).remedy("chmod 700 %s", p.state))
	}
	entries, err := os.ReadDir(p.state)
	if err != nil {
		return append(out, found(bad, p.state, "%v", err).remedy("sudo x0t doctor"))
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || fi.Mode().Perm()&0o077 == 0 {
			continue
		}
		path := filepath.Join(p.state, e.Name())
		mode := "600"
		if fi.IsDir() {
			mode = "700"
		}
		out = append(out, found(warn, path, "mode %04o: others may read what is secret", fi.Mode().Perm()).remedy("chmod %s %s", mode, path))
	}
	return out
}

func checkSpace(p *patient) finding {
	looked := "file system of " + p.state
	free, readOnly, err := p.space(p.state)
	switch {
	case err != nil:
		return found(warn, looked, "%v", err).remedy("df %s", p.state)
	case readOnly:
		return found(bad, looked, "mounted read-only: no renewal can be kept").remedy("mount -o remount,rw %s, after a look at dmesg", p.state)
	case free < 1<<20:
		return found(bad, looked, "%s left: no renewal can be kept", size(free)).remedy("df %s; free some space", p.state)
	case free < smallDisk:
		return found(warn, looked, "%s left", size(free)).remedy("df %s; free some space", p.state)
	}
	return found(good, looked, "%s left", size(free))
}

func checkLock(p *patient) finding {
	looked := filepath.Join(p.state, "lock")
	b, err := os.ReadFile(looked) // #nosec G304 -- the user's own state
	pid := strings.TrimSpace(string(b))
	switch {
	case err != nil || !alive(pid):
		return found(good, looked, "no process holds the state")
	case p.status != nil && pid == strconv.Itoa(p.status.PID):
		return found(good, looked, "held by the daemon, process %s", pid)
	}
	return found(warn, looked, "process %s may hold the state, and it is not the daemon that answers on %s", pid, p.socket).
		remedy("ps -fp %s; point --socket (X0T_SOCKET) at its socket, or end it", pid)
}

func checkIdentity(_ context.Context, p *patient) []finding {
	if p.member == nil {
		f := found(bad, filepath.Join(p.state, "svid.pem"), "%v", p.memberErr)
		switch {
		case errors.Is(p.memberErr, authority.ErrNoIdentity):
			f = f.remedy("x0t join TOKEN, or to begin a mesh: x0t init")
		case errors.Is(p.memberErr, fs.ErrPermission):
			f = f.remedy("sudo x0t doctor")
		default:
			f = f.remedy("restore %s from a copy, or join anew with a token made by: x0t token create --replace --node NAME", p.state)
		}
		return one(f)
	}
	s := p.member.SVID
	looked, left := "SVID of "+s.Node.String(), s.NotAfter().Sub(p.now)
	late := p.now.Sub(s.RenewAt())
	switch {
	case left < -authority.RenewGrace:
		return one(found(bad, looked, "expired %s ago, too long to be renewed", span(-left)).
			remedy("on an authority: x0t token create --replace --node %s, then here, in an empty state directory: x0t join TOKEN", s.Node))
	case left < 0:
		return one(found(bad, looked, "expired %s ago", span(-left)).remedy("x0t up renews it within %s of its end, if an authority can be reached", span(authority.RenewGrace)))
	case late > left/2:
		return one(found(warn, looked, "expires in %s and should have been renewed %s ago", span(left), span(late)).remedy("x0t status says why it was not"))
	}
	return one(found(good, looked, "valid for %s more, renewal %s", span(left), whenAt(p.now, s.RenewAt())))
}

func checkClock(_ context.Context, p *patient) []finding {
	var out []finding
	switch synced, err := p.synced(); {
	case err != nil:
		out = one(found(warn, "time service", "%v", err).remedy("timedatectl status"))
	case !synced:
		out = one(found(warn, "time service", "nothing keeps this clock right; certificates count by it").remedy("timedatectl set-ntp true, or run chronyd or ntpd"))
	default:
		out = one(found(good, "time service", "keeps the clock right"))
	}
	if p.member == nil {
		return out
	}
	now := p.now.UTC().Format(time.RFC3339)
	if begin := p.member.SVID.Chain[0].NotBefore; p.now.Before(begin) {
		return append(out, found(bad, "clock", "it says %s, and this node's SVID begins only in %s", now, span(begin.Sub(p.now))).remedy("set the clock: timedatectl set-time, or date -s"))
	}
	if last := p.member.Log.Time(); p.now.Before(last) {
		return append(out, found(bad, "clock", "it says %s, and the authorities wrote into their log %s later", now, span(last.Sub(p.now))).
			remedy("set the clock: timedatectl set-time, or date -s"))
	}
	return append(out, found(good, "clock", "%s, after all that the authorities signed", now))
}

func checkDaemon(_ context.Context, p *patient) []finding {
	if p.status == nil {
		if !errors.Is(p.statusErr, api.ErrNoDaemon) {
			return one(found(bad, p.socket, "%v", p.statusErr).remedy("sudo x0t doctor; if it stays so: systemctl restart x0t"))
		}
		return one(found(warn, p.socket, "no daemon answers").remedy("x0t up, or as a service: systemctl start x0t; journalctl -u x0t says why it ended"))
	}
	looked := fmt.Sprintf("daemon %s, process %d", p.status.Version, p.status.PID)
	var out []finding
	switch p.status.Health {
	case api.HealthOK:
		return one(found(good, looked, "well: %d of %d links up, %d members", p.status.LinksUp, p.status.LinksTotal, p.status.Members))
	case api.HealthDown:
		out = one(found(bad, looked, "traffic cannot pass").remedy("x0t status; x0t links"))
	default:
		out = one(found(warn, looked, "degraded").remedy("x0t status; x0t links"))
	}
	for _, r := range p.status.Reasons {
		out[0].Found += "; " + r
	}
	return out
}

// whenAt is when without an app: "in 3h", "3h ago".
func whenAt(now, t time.Time) string {
	if d := t.Sub(now); d > 0 {
		return "in " + span(d)
	}
	return span(now.Sub(t)) + " ago"
}
