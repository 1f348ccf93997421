// Package e2e holds the tests that need whole machines: real x0t binaries, as root, in network namespaces that each
// test makes itself. Nothing here knows the inside of the daemon; what an operator, an application or an attacker on
// the wire can see and do is all there is.
//
//	readme_test.go     the commands of README.md for real machines, word for word
//	apps_test.go       iperf3, curl and tracepath across three hops
//	relay_test.go      what a relay can see of what it carries
//	restart_test.go    kill -9 of every node in turn
//	renewal_test.go    no packet lost by the renewal of certificates; no packet carried after their end
//	underlay_test.go   links with an MTU of 1280, links with IPv6 only
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
