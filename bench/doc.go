// Package bench measures what docs/performance.md states, on labs of real daemons (package lab), and judges it by the
// marks that the project sets itself.
//
//	Spine    a 3×3 grid and a node with four neighbours: convergence, first packets, outages, idle cost, throughput,
//	         and what a flood of garbage costs
//	Figure   one number: its samples, its mark, and whether the mark is met
//	Report   all figures and what machine they are from
//
// A figure is the median of at least five runs, shown with the smallest and the largest. The machine's own noise
// stands beside them: how late a timer of one millisecond fired meanwhile. Whoever reads a figure that was taken while a
// millisecond lasted ten should take it again.
//
// The program bench/spine is what `make bench` runs.
package bench
