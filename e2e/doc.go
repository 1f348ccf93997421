// Package e2e holds the tests that need whole machines: real x0t binaries, as root, in network namespaces that each
// test makes itself. Nothing here knows the inside of the daemon; what an operator, an application or an attacker on
// the wire can see and do is all there is.
//
//	docs_test.go       what the tests of pages share; every piece of configuration in the documentation
//	readme_test.go     the commands of README.md, word for word
//	operating_test.go  those of docs/operating.md, on machines with a systemd of their own (booted_test.go)
//	labpage_test.go    those of docs/lab.md
//	apps_test.go       iperf3, curl and tracepath across three hops
//	relay_test.go      what a relay can see of what it carries
//	restart_test.go    kill -9 of every node in turn
//	renewal_test.go    no packet lost by the renewal of certificates; no packet carried after their end
//	underlay_test.go   links with an MTU of 1280, links with IPv6 only
//	roaming_test.go    addresses that change, mappings that are forgotten, daemons that stand still, host names
//	discovery_test.go  neighbours found by beacons, several ways to one neighbour
//	names_test.go      names of members: DNS, the machine's resolver, what is left after a crash
//	mtu_test.go        a path whose MTU shrinks and grows without a word
//	health_test.go     what /healthz, /metrics and peers say when traffic cannot pass
//	clock_test.go      clocks that are wrong, and who says so
//	identity_test.go   identities that are refused, each for its own reason
//	cli_test.go        tokens, state directories and configurations that are refused
//	hostile_test.go    garbage, truncated, flipped and replayed datagrams from the wire
//	liar_test.go       a member that announces what is not true
//	userns_test.go     x0t lab run by an ordinary user
//	state_test.go      state of the previous release, full and read-only disks, kill -9 in the middle of writes
//	service_test.go    the daemon with the rights, files and system calls that its systemd unit gives it
//
// The binary is built once with the race detector if the tests run with it, or taken from X0T_TEST_BINARY. Daemons end
// by SIGTERM, so that a binary built for coverage writes what it saw to GOCOVERDIR.
package e2e
