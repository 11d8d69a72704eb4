package lab

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// A Reflector answers ICMP echo requests at an interface, whatever their address, as
// a far machine would for all that this one has to do: a program at the ingress hook
// of the interface turns each request round, and it costs a fraction of what the
// kernel's own answer does. All other frames are left to the kernel.
type Reflector struct {
	reflected *ebpf.Map
	program   *ebpf.Program
	hook      link.Link
}

// Offsets in a frame with an IPv4 header without options.
const (
	reflectType     = 12
	reflectIP       = 14
	reflectProtocol = 23
	reflectSource   = 26
	reflectICMP     = 34
	reflectEnd      = 42
)

// NewReflector starts to answer on an interface of n. It needs CAP_BPF and
// CAP_NET_ADMIN, and Linux 6.6 (tcx): where the kernel has it not, the error is
// errors.ErrUnsupported. Close must be called.
func NewReflector(n *Namespace, ifname string) (*Reflector, error) {
	index, err := n.Index(ifname)
	if err != nil {
		return nil, fmt.Errorf("make reflector: %w", err)
	}
	r := &Reflector{}
	if err := n.Do(func() error { return r.attach(index) }); err != nil {
		if errors.Is(err, ebpf.ErrNotSupported) {
			err = errors.Join(err, errors.ErrUnsupported)
		}
		return nil, fmt.Errorf("make reflector on %s: %w", ifname, errors.Join(err, r.Close()))
	}
	return r, nil
}

func (r *Reflector) attach(index int) (err error) {
	r.reflected, err = ebpf.NewMap(&ebpf.MapSpec{Name: "reflected", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return err
	}
	r.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "reflect", Type: ebpf.SchedCLS, License: "GPL", Instructions: reflecting(r.reflected.FD(), int32(index)),
	})
	if err != nil {
		return err
	}
	r.hook, err = link.AttachTCX(link.TCXOptions{Interface: index, Program: r.program, Attach: ebpf.AttachTCXIngress})
	return err
}

// reflecting is the program.
func reflecting(reflected int, index int32) asm.Instructions {
	const next = -1 // TCX_NEXT
	swap := func(a, b int16, size asm.Size) asm.Instructions {
		return asm.Instructions{
			asm.LoadMem(asm.R4, asm.R2, a, size),
			asm.LoadMem(asm.R5, asm.R2, b, size),
			asm.StoreMem(asm.R2, a, asm.R5, size),
			asm.StoreMem(asm.R2, b, asm.R4, size),
		}
	}
	unless := func(at int16, size asm.Size, want int32) asm.Instructions {
		list := asm.Instructions{asm.LoadMem(asm.R4, asm.R2, at, size)}
		if size != asm.Byte {
			list = append(list, asm.HostTo(asm.BE, asm.R4, size))
		}
		return append(list, asm.JNE.Imm(asm.R4, want, "end"))
	}
	var program asm.Instructions
	for _, part := range []asm.Instructions{
		{
			asm.LoadMem(asm.R2, asm.R1, 76, asm.Word), // __sk_buff.data
			asm.LoadMem(asm.R3, asm.R1, 80, asm.Word), // __sk_buff.data_end
			asm.Mov.Imm(asm.R0, next),
			asm.Mov.Reg(asm.R4, asm.R2),
			asm.Add.Imm(asm.R4, reflectEnd),
			asm.JGT.Reg(asm.R4, asm.R3, "end"),
		},
		unless(reflectType, asm.Half, unix.ETH_P_IP),
		unless(reflectIP, asm.Byte, 0x45),
		unless(reflectProtocol, asm.Byte, unix.IPPROTO_ICMP),
		unless(reflectICMP, asm.Half, 8<<8), // an echo request, code 0
		swap(0, 6, asm.Word),
		swap(4, 10, asm.Half),
		swap(reflectSource, reflectSource+4, asm.Word),
		{
			// The type's 8 goes, and the checksum grows by as much (RFC 1624).
			asm.StoreImm(asm.R2, reflectICMP, 0, asm.Byte),
			asm.LoadMem(asm.R4, asm.R2, reflectICMP+2, asm.Half),
			asm.HostTo(asm.BE, asm.R4, asm.Half),
			asm.Add.Imm(asm.R4, 8<<8),
			asm.Mov.Reg(asm.R5, asm.R4),
			asm.RSh.Imm(asm.R5, 16),
			asm.Add.Reg(asm.R4, asm.R5),
			asm.HostTo(asm.BE, asm.R4, asm.Half),
			asm.StoreMem(asm.R2, reflectICMP+2, asm.R4, asm.Half),

			asm.LoadMapValue(asm.R1, reflected, 0),
			asm.Mov.Imm(asm.R2, 1),
			asm.StoreXAdd(asm.R1, asm.R2, asm.DWord),
			asm.Mov.Imm(asm.R1, index),
			asm.Mov.Imm(asm.R2, 0),
			asm.FnRedirect.Call(),
			asm.Return().WithSymbol("end"),
		},
	} {
		program = append(program, part...)
	}
	return program
}

// Reflected is how many requests have been answered.
func (r *Reflector) Reflected() (int, error) {
	var count uint64
	if err := r.reflected.Lookup(uint32(0), &count); err != nil {
		return 0, fmt.Errorf("look at reflector: %w", err)
	}
	return int(count), nil
}

// Close ends it.
func (r *Reflector) Close() error {
	var err error
	if r.hook != nil {
		err = r.hook.Close()
	}
	if r.program != nil {
		err = errors.Join(err, r.program.Close())
	}
	if r.reflected != nil {
		err = errors.Join(err, r.reflected.Close())
	}
	if err != nil {
		return fmt.Errorf("close reflector: %w", err)
	}
	return nil
}
