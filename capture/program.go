//go:build linux

package capture

import (
	cbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Of classic BPF (include/uapi/linux/filter.h).
const (
	opReturn   = 0x06 // BPF_RET | BPF_K
	opLoad     = 0x20 // BPF_LD | BPF_W | BPF_ABS
	opLoadNext = 0x00 // BPF_LD | BPF_IMM
	opEqual    = 0x15 // BPF_JMP | BPF_JEQ | BPF_K
	auxPktType = 0xfffff004
)

// program is what a capture runs in the kernel: the caller's instructions, or
// none, which take everything. The kernel keeps as much of a frame as they
// return: not more than snapLen, where that is a constant.
func program(instructions []cbpf.RawInstruction, snapLen int, outgoing bool) []cbpf.RawInstruction {
	var p []cbpf.RawInstruction
	if outgoing {
		// A has to be 0 again for what comes then.
		p = append(p,
			cbpf.RawInstruction{Op: opLoad, K: auxPktType},
			cbpf.RawInstruction{Op: opEqual, Jt: 1, K: unix.PACKET_OUTGOING},
			cbpf.RawInstruction{Op: opReturn},
			cbpf.RawInstruction{Op: opLoadNext})
	}
	if len(instructions) == 0 {
		return append(p, cbpf.RawInstruction{Op: opReturn, K: uint32(snapLen)})
	}
	for _, in := range instructions {
		if in.Op == opReturn {
			in.K = min(in.K, uint32(snapLen))
		}
		p = append(p, in)
	}
	return p
}
