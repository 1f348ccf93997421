package main

import "github.com/spf13/cobra"

// manual is what a command's help and its page of the manual say beside its one line: at length, and by example. Commands
// that say it where they are made are not in here.
var manual = map[string]struct{ long, example string }{
	"x0t":                  {"", "  sudo x0t init --trust-domain example.mesh --name alpha\n  sudo x0t service install\n  sudo x0t status"},
	"x0t bench":            {"bench measures x0t beside other programs, in network namespaces of this machine.", "  x0t bench throughput\n  x0t bench failover"},
	"x0t bench failover":   {"", "  x0t bench failover --faults blackhole,kill --trials 100 --peer none\n  x0t bench failover --profile fast --peer babeld-100ms,bird-bfd"},
	"x0t bench throughput": {"", "  x0t bench throughput\n  x0t bench throughput --hops 3 --offload off --peer wireguard-go --json"},
	"x0t completion": {"", "  x0t completion bash > /etc/bash_completion.d/x0t\n  x0t completion zsh > \"${fpath[1]}/_x0t\"\n" +
		"  x0t completion fish > ~/.config/fish/completions/x0t.fish"},
	"x0t config":        {"config looks at this node's configuration, and changes what nodes share of theirs.", "  x0t config check\n  x0t config show\n  x0t config set routing.k 2"},
	"x0t config check":  {"", "  x0t config check\n  x0t config check ./x0t.yaml --json"},
	"x0t config set":    {"", "  x0t config set routing.protect '[\"dscp:EF\", udp/5060]'\n  x0t config set log.level debug --node beta"},
	"x0t config shared": {"", "  x0t config shared\n  x0t config shared --json"},
	"x0t config show":   {"", "  x0t config show\n  x0t config show --json"},
	"x0t config unset":  {"", "  x0t config unset routing.protect\n  x0t config unset log.level --node beta"},
	"x0t identity": {"identity prints the node's SVID, which proves who it is, and the authorities whose signatures it believes.",
		"  x0t identity\n  x0t identity --json"},
	"x0t init":      {"", "  sudo x0t init --trust-domain example.mesh --name alpha\n  sudo x0t init --trust-domain example.mesh --name alpha --ttl 12h"},
	"x0t join":      {"", "  sudo x0t join x0t1-…\n  sudo x0t join --token-file token.txt --via 192.0.2.7:7420"},
	"x0t kv":        {"", "  x0t kv put app/colour blue\n  x0t kv get app/colour\n  x0t kv list app/"},
	"x0t kv delete": {"", "  x0t kv delete app/colour\n  x0t kv delete --key-format hex ff00"},
	"x0t kv get":    {"", "  x0t kv get app/colour\n  x0t kv get app/logo --raw > logo.png"},
	"x0t kv list":   {"", "  x0t kv list\n  x0t kv list app/ --keys\n  x0t kv list --limit 100 --after app/colour --json"},
	"x0t kv log":    {"", "  x0t kv log app/ --limit 20"},
	"x0t kv put": {"", "  x0t kv put app/colour blue\n  x0t kv put app/logo --file logo.png\n  date | x0t kv put app/day -\n" +
		"  x0t kv put app/offset -- -5\n  x0t kv put --key-format hex ff00 zero"},
	"x0t kv watch": {"", "  x0t kv watch app/\n  x0t kv watch app/ --current --json"},
	"x0t lab":      {"lab makes meshes of real daemons on this machine, each in a network namespace of its own.", "  x0t lab demo\n  x0t lab run ring:6"},
	"x0t lab demo": {"demo shows a mesh that leaves a link which is cut, in the terminal.",
		"  x0t lab demo\n  x0t lab demo grid:3x3"},
	"x0t lab down":       {"", "  x0t lab down"},
	"x0t lab endure":     {"", "  x0t lab endure geo:12:1 --duration 1h --out out/endure"},
	"x0t lab exec":       {"", "  x0t lab exec n1 -- x0t peers\n  x0t lab exec n1"},
	"x0t lab inject":     {"", "  x0t lab inject 'cut link:n1-n2'\n  x0t lab inject 'kill node:n2 for 5s'"},
	"x0t lab list":       {"list prints the labs of this machine that stay until x0t lab down ends them.", "  x0t lab list"},
	"x0t lab mend":       {"", "  x0t lab mend 'cut link:n1-n2'\n  x0t lab mend all"},
	"x0t lab soak":       {"", "  x0t lab soak --maps ring:6,diamond"},
	"x0t lab status":     {"status prints the nodes of a lab that stays and the faults that are in force.", "  x0t lab status\n  x0t lab status --json"},
	"x0t lab up":         {"", "  x0t lab up ring:6"},
	"x0t lab run":        {"", "  x0t lab run ring:6 --faults builtin:cut\n  x0t lab run grid:3x3 --faults 'kill node:n5 at 2s for 3s' --json"},
	"x0t links":          {"links prints each link to a neighbour: whether it lives, and what was measured on it.", "  x0t links\n  x0t links --json"},
	"x0t paths":          {"paths prints the ways to a node, which share as little as the topology allows, and which of them is in use.", "  x0t paths beta"},
	"x0t peers":          {"peers prints the members of the mesh that this node knows, and by which way it reaches them.", "  x0t peers\n  x0t peers --json"},
	"x0t ping":           {"", "  x0t ping beta\n  x0t ping beta -c 1 -i 20ms --json"},
	"x0t sim":            {"", "  x0t sim grid:5x5\n  x0t sim --help"},
	"x0t sim campaign":   {"", "  x0t sim campaign --seeds 100\n  x0t sim campaign --seed 7 --nodes 6-8"},
	"x0t sim scale":      {"", "  x0t sim scale\n  x0t sim scale --nodes 10,100 --duration 20s --json"},
	"x0t sim paths":      {"", "  x0t sim paths\n  x0t sim paths --nodes 5000 --json"},
	"x0t state":          {"", "  x0t state\n  x0t state snapshot mesh.snapshot\n  x0t state restore mesh.snapshot"},
	"x0t state settle":   {"", "  x0t state restore mesh.snapshot && x0t state settle"},
	"x0t state restore":  {"", "  x0t state restore mesh.snapshot\n  ssh alpha x0t state snapshot - | x0t state restore -"},
	"x0t state snapshot": {"", "  x0t state snapshot mesh.snapshot\n  x0t state snapshot - | gzip > mesh.snapshot.gz"},
	"x0t state verify":   {"", "  x0t state verify mesh.snapshot\n  zcat mesh.snapshot.gz | x0t state verify -"},
	"x0t state status": {"status prints how this node's replica is: whether it may write, how many neighbours hold the same, and its size.",
		"  x0t state status\n  x0t state status -w"},
	"x0t status":       {"status prints who this node is, how it is, and what needs care.", "  x0t status\n  x0t status --json"},
	"x0t token":        {"token makes join tokens.", "  x0t token create --node beta"},
	"x0t token create": {"", "  x0t token create --node beta\n  x0t token create --node beta --ttl 1h --address 192.0.2.1:7420"},
	"x0t trace":        {"trace asks every node on the way to another for its round trip, and fails if the last one does not answer.", "  x0t trace gamma"},
	"x0t version":      {"version prints the release, and of which commit and by which Go it was built.", "  x0t version\n  x0t version --json"},
}

// document fills in what the commands below root do not say themselves.
func document(root *cobra.Command) {
	each(root, func(cmd *cobra.Command) {
		m := manual[cmd.CommandPath()]
		if cmd.Long == "" {
			cmd.Long = m.long
		}
		if cmd.Example == "" {
			cmd.Example = m.example
		}
	})
}
