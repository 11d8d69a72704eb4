package bpf

import "fmt"

// A Mode says which compilation of a Match runs in the kernel.
type Mode uint8

const (
	// Auto takes eBPF if the kernel lets this process load it, else classic BPF.
	Auto Mode = iota

	// EBPF counts what it rejects (Filter.Rejected), and is seen by bpftool as
	// the program l2ping_match.
	EBPF

	// Classic accepts the same frames and counts nothing.
	Classic
)

// Capabilities lists what NewFilter and Filter.Attach need in each Mode, in the
// notation of capabilities(7). They have to be effective in the initial user
// namespace, whatever namespace the process is in. Opening a packet socket to
// attach to needs CAP_NET_RAW besides.
//
// Loading needs no capability where the sysctl kernel.unprivileged_bpf_disabled
// is 0; distributions have it at 1 or 2. Before Linux 5.8 CAP_SYS_ADMIN stood in
// the place of CAP_BPF.
var Capabilities = map[Mode][]string{
	Auto:    {},
	EBPF:    {"CAP_BPF"},
	Classic: {},
}

var modeNames = [...]string{Auto: "auto", EBPF: "ebpf", Classic: "classic"}

// ParseMode reads "auto", "ebpf" or "classic".
func ParseMode(s string) (Mode, error) {
	for m, name := range modeNames {
		if s == name {
			return Mode(m), nil
		}
	}
	return Auto, fmt.Errorf("filter mode %q: not one of auto, ebpf and classic", s)
}

// String returns what ParseMode reads.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}
