// Package lab runs real daemons in network namespaces of this machine, breaks what lies between them, and measures
// what applications on top notice.
//
//	          lab process (x0t lab run)
//	┌──────────┬──────────┬───────────┬──────────────┐
//	│ space    │ relay    │ injector  │ observer     │
//	│ one      │ child    │ netlink,  │ API sockets, │
//	│ thread   │ process, │ signals;  │ UDP probes;  │
//	│ per      │ delays   │ never     │ reads,       │
//	│ netns    │ frames   │ asks x0t  │ never writes │
//	└────┬─────┴────┬─────┴─────┬─────┴──────┬───────┘
//	 [alpha]──TAP──relay──TAP──[beta]──veth──[gamma]
//
// A namespace has no name and no holder process: a locked thread of the lab lives in it, and descriptors keep it
// alive. When the lab ends in whatever way, the kernel takes back namespaces, interfaces and, through the parent
// death signal, every child. What is left on disk after a crash is removed by the next lab (see workspace).
//
// A link with a delay is a pair of TAP devices between which one relay process carries frames; a link without delay
// is a veth pair. Links take turns in using IPv4 and IPv6, so that both families are used in every lab.
//
// Nodes are provisioned as a user would do it: x0t init on the first, x0t token create and x0t join for the others,
// each through a neighbour that is a member already.
package lab
