// Package probe sends probes and pairs what comes back: schedule, outstanding
// probes, their states, the budget of their time, and statistics.
//
// A Pinger sends ICMP echo requests to one host or many, by one interface. It works in
// the network namespace of the thread that called New, needs CAP_NET_RAW, and
// CAP_BPF besides for the eBPF filter; without that it takes the classic one. A
// probe's RTT is the time between two stamps of the kernel, at the driver on the
// way out and in, wherever the driver gives them; each reply names its source.
// Finding out who the next hop is happens before the first probe, or beside the
// later ones, and never counts into an RTT.
//
// An Exchanger sends any frames, made by hand or by a library, and tells what came
// back for each: what a Pinger does with echo requests, in its general form. Exchange
// does it for a list. Answer is the other side.
package probe
