// Package bench measures what docs/performance.md states, on labs of real daemons (package lab), and judges it by the
// marks that the project sets itself.
//
//	Throughput  x0t and its peers on one line of namespaces, in turn: TCP, round trips, processor, memory
//	Failover    x0t and its peers on links of one shape, struck by the same faults: outages, and what was lost
//	Spine       all figures: a 3×3 grid and nodes with four and eight neighbours (convergence, first packets, outages, idle
//	            cost), the shared state, a flood of garbage, single computations, and the two above
//	Figure      one number: its samples, its mark, and whether the mark is met
//	Report      all figures of Spine and what machine they are from
//
// Peers are put up in the namespaces of a lab (site, overlay), each in a file of its own, with the setting that their
// documentation calls best. What is not there, or does not work, is left out and said.
//
// A figure is the median of at least five runs, shown with the smallest and the largest. The machine's own noise
// stands beside them: how late a timer of one millisecond fired meanwhile. Whoever reads a figure that was taken while a
// millisecond lasted ten should take it again.
//
// The program bench/spine is what `make bench` runs.
package bench
