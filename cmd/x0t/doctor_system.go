package main

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"x0tta6bl4/daemon"
)

// What a kernel and its administrator give or keep back.

func checkKernel(_ context.Context, p *patient) []finding {
	release, err := p.read("proc/sys/kernel/osrelease")
	if err != nil {
		return one(found(bad, "/proc", "%v", err).remedy("mount -t proc proc /proc"))
	}
	fs := one(found(good, "Linux", "%s", release))
	if err := p.segments(); err != nil {
		fs = append(fs, found(warn, "UDP segmentation (GSO)", "%v; every datagram costs a system call", err).remedy("use a kernel of 4.18 or later"))
	} else {
		fs = append(fs, found(good, "UDP segmentation (GSO)", "available"))
	}
	if err := p.rules(); err != nil {
		fs = append(fs, found(warn, "IPv6 routing rules", "%v; the mesh address can be reached past the mesh", err).
			remedy("use a kernel with CONFIG_IPV6_MULTIPLE_TABLES"))
	} else {
		fs = append(fs, found(good, "IPv6 routing rules", "available"))
	}
	return fs
}

func checkIPv6(_ context.Context, p *patient) []finding {
	const looked = "IPv6"
	if _, err := p.read("proc/net/if_inet6"); err != nil {
		return one(found(bad, looked, "the kernel has none, and the mesh is made of it").
			remedy("remove ipv6.disable=1 from the kernel's command line and start the machine anew"))
	}
	off := func(which string) bool {
		s, err := p.read("proc/sys/net/ipv6/conf/" + which + "/disable_ipv6")
		return err == nil && s == "1"
	}
	switch {
	case off(daemon.TunName):
		return one(found(bad, looked, "disabled on %s", daemon.TunName).remedy("sysctl -w net.ipv6.conf.%s.disable_ipv6=0", daemon.TunName))
	case off("default"), off("all"):
		return one(found(warn, looked, "disabled on new interfaces; x0t enables it on %s if it may write to /proc/sys, which the service may not", daemon.TunName).
			remedy("sysctl -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0"))
	}
	return one(found(good, looked, "enabled"))
}

func checkTUN(_ context.Context, p *patient) []finding {
	const looked = "/dev/net/tun"
	var out []finding
	switch err := p.openTUN(); {
	case err == nil:
		out = one(found(good, looked, "can be opened"))
	case p.status != nil:
		out = one(found(good, looked, "the daemon has it open as %s", p.status.TUN))
	case errors.Is(err, fs.ErrNotExist):
		out = one(found(bad, looked, "not there").remedy("modprobe tun; in a container give it the device /dev/net/tun"))
	case errors.Is(err, fs.ErrPermission):
		out = one(found(bad, looked, "%v", err).remedy("run as root, or as the service: systemctl start x0t"))
	default:
		out = one(found(bad, looked, "%v", err).remedy("modprobe tun"))
	}
	if p.status == nil && p.device(daemon.TunName) {
		out = append(out, found(bad, "interface "+daemon.TunName, "there already, and no daemon answers on %s", p.socket).
			remedy("end the program that holds it, or if none does: ip link delete %s", daemon.TunName))
	}
	return out
}

const capNetAdmin = 12 // capabilities(7)

func checkRights(_ context.Context, p *patient) []finding {
	const looked = "CAP_NET_ADMIN"
	if p.status != nil {
		return one(found(good, looked, "the daemon has it: it runs"))
	}
	status, err := p.read("proc/self/status")
	if err != nil {
		return one(found(bad, looked, "%v", err).remedy("mount -t proc proc /proc"))
	}
	_, after, _ := strings.Cut(status, "CapEff:")
	line, _, _ := strings.Cut(after, "\n")
	caps, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	switch {
	case err != nil:
		return one(found(warn, looked, "/proc/self/status does not say").remedy("run as root: sudo x0t doctor"))
	case caps&(1<<capNetAdmin) == 0:
		return one(found(bad, looked, "user %d does not have it", p.uid).remedy("run as root, or as the service: systemctl start x0t"))
	}
	return one(found(good, looked, "user %d has it", p.uid))
}

func checkFirewall(_ context.Context, p *patient) []finding {
	const looked = "packet filter"
	var active []string
	for _, table := range []string{"ip_tables_names", "ip6_tables_names"} {
		if s, err := p.read("proc/net/" + table); err == nil && strings.Contains(s, "filter") {
			active = append(active, strings.TrimSuffix(table, "_names"))
		}
	}
	if s, err := p.read("proc/modules"); err == nil && strings.Contains("\n"+s, "\nnf_tables ") {
		active = append(active, "nf_tables")
	}
	if len(active) == 0 {
		return one(found(good, looked, "none on this machine that doctor can see"))
	}
	f := found(good, looked, "%s in use", strings.Join(active, ", "))
	if p.status != nil && p.status.LinksTotal > 0 && p.status.LinksUp == 0 {
		f.Result = warn
		f.Found += ", and no link is up: it may drop them"
		f.Remedy = "let UDP and TCP to the ports of links.listen in; see: nft list ruleset; ip6tables -S; iptables -S"
	}
	return one(f)
}
