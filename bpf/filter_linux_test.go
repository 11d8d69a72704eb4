package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
)

// passes tells whether a frame gets through to a socket of a pair.
func passes(t *testing.T, in, out *socket, b []byte) bool {
	t.Helper()
	out.send(t, b)
	var ok bool
	if err := in.raw.Control(func(fd uintptr) { _, _, ok = recvNow(t, int(fd)) }); err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestNewFilter(t *testing.T) {
	if f, err := NewFilter(Match{}, Classic); err == nil || f != nil {
		t.Errorf("NewFilter of no match: %v, %v", f, err)
	}
	if f, err := NewFilter(matches[mEcho].m, Mode(3)); err == nil || f != nil {
		t.Errorf("NewFilter in mode 3: %v, %v", f, err)
	}
	eachMode(t, func(t *testing.T, mode Mode) {
		f := newFilter(t, matches[mEcho].m, mode)
		if f.Mode() != mode || f.Fallback() != nil {
			t.Errorf("mode %v, fallback %v", f.Mode(), f.Fallback())
		}
		if n, ok := f.Rejected(); n != 0 || ok != (mode == EBPF) {
			t.Errorf("rejected %d, %v", n, ok)
		}
	})
}

func TestAutoTakesEBPF(t *testing.T) {
	labtest.RequireRoot(t)
	f := newFilter(t, matches[mEcho].m, Auto)
	if f.Mode() != EBPF || f.Fallback() != nil {
		t.Errorf("mode %v, fallback %v", f.Mode(), f.Fallback())
	}
}

// One filter serves several sockets and counts for them together; a socket gets
// one filter after another; both outlive Close.
func TestAttach(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		echo, arp := newFilter(t, matches[mEcho].m, mode), newFilter(t, matches[mARP].m, mode)
		reply, foreign := newPing(), newPing(func(p *ping) { p.payload[0]++ })
		for range 2 {
			in, out := datagramPair(t)
			attach(t, echo, in)
			if !passes(t, in, out, reply) || passes(t, in, out, newARP()) || passes(t, in, out, foreign) {
				t.Error("not the filter for echo replies")
			}
			attach(t, arp, in)
			if passes(t, in, out, reply) || !passes(t, in, out, newARP()) {
				t.Error("not the filter for ARP replies in the place of the other")
			}
			attach(t, echo, in)
			if !passes(t, in, out, reply) || passes(t, in, out, newARP()) {
				t.Error("not the filter for echo replies again")
			}
		}
		if n := rejected(t, echo); mode == EBPF && n != 2 {
			t.Errorf("%d rejected on two sockets, want 2", n)
		}

		in, out := datagramPair(t)
		attach(t, echo, in)
		for range 2 {
			if err := echo.Close(); err != nil {
				t.Error(err)
			}
		}
		if !passes(t, in, out, reply) || passes(t, in, out, foreign) {
			t.Error("the filter is gone from the socket with Close")
		}
		if err := echo.Attach(in); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Attach after Close: %v", err)
		}
		if n, ok := echo.Rejected(); n != 0 || ok {
			t.Errorf("Rejected after Close: %d, %v", n, ok)
		}
	})
}

func TestAttachErrors(t *testing.T) {
	eachMode(t, func(t *testing.T, mode Mode) {
		for _, asked := range []Mode{mode, Auto} {
			if asked == Auto && mode == Classic {
				continue
			}
			f := newFilter(t, matches[mEcho].m, asked)
			unhurt := func() {
				t.Helper()
				if f.Mode() != mode || f.Fallback() != nil {
					t.Errorf("after an error that is not for want of eBPF: mode %v, fallback %v", f.Mode(), f.Fallback())
				}
			}

			closed, _ := datagramPair(t)
			closed.file.Close()
			if err := f.Attach(closed); err == nil {
				t.Error("closed socket: no error")
			}
			unhurt()

			file, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := f.Attach(file); !errors.Is(err, unix.ENOTSOCK) {
				t.Errorf("not a socket: %v", err)
			}
			unhurt()

			locked, _ := datagramPair(t)
			if err := locked.raw.Control(func(fd uintptr) {
				if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1); err != nil {
					t.Fatal(err)
				}
			}); err != nil {
				t.Fatal(err)
			}
			want := map[Mode]string{
				EBPF:    "attaching eBPF: operation not permitted",
				Classic: "attaching classic BPF: operation not permitted",
			}[mode]
			if err := f.Attach(locked); !errors.Is(err, unix.EPERM) || err.Error() != want {
				t.Errorf("locked filter: %v, want %s", err, want)
			}
			unhurt()
		}
	})
}

// A socket that refuses the program: in Auto it gets the classic filter.
func TestAttachFallsBack(t *testing.T) {
	labtest.RequireRoot(t)

	// A descriptor that is no program's stands for a kernel, or a sandbox, that
	// knows SO_ATTACH_FILTER alone.
	spoil := func(t *testing.T, f *Filter) {
		t.Helper()
		if err := f.objects.L2pingMatch.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("ebpf", func(t *testing.T) {
		f := newFilter(t, matches[mEcho].m, EBPF)
		spoil(t, f)
		in, _ := datagramPair(t)
		if err := f.Attach(in); !errors.Is(err, unix.EBADF) {
			t.Errorf("error %v, want %v", err, unix.EBADF)
		}
		if f.Mode() != EBPF || f.Fallback() != nil {
			t.Errorf("mode %v, fallback %v", f.Mode(), f.Fallback())
		}
	})
	t.Run("auto", func(t *testing.T) {
		f := newFilter(t, matches[mEcho].m, Auto)
		spoil(t, f)
		for range 2 {
			in, out := datagramPair(t)
			attach(t, f, in)
			const want = "attaching eBPF: bad file descriptor"
			if err := f.Fallback(); f.Mode() != Classic || !errors.Is(err, unix.EBADF) || err.Error() != want {
				t.Errorf("mode %v, fallback %v, want classic, %s", f.Mode(), err, want)
			}
			if _, ok := f.Rejected(); ok {
				t.Error("the classic filter counts")
			}
			if !passes(t, in, out, newPing()) || passes(t, in, out, newARP()) {
				t.Error("no classic filter on the socket")
			}
		}
	})
}

// Linux charges a socket for its filter (sk_filter_charge). The classic program,
// which the kernel translates, is no shorter to speak of, so that in Auto it is
// no help.
func TestAttachMemory(t *testing.T) {
	labtest.RequireRoot(t)
	const name = "net.core.optmem_max"
	ns := labtest.NewNamespace(t)
	try := func(f *Filter, limit int) error {
		t.Helper()
		switch err := ns.Sysctl(name, strconv.Itoa(limit)); {
		case errors.Is(err, os.ErrNotExist):
			t.Skipf("needs %s in a network namespace (try Linux 6.8)", name)
		case err != nil:
			t.Fatal(err)
		}
		var in *socket
		if err := ns.Do(func() error { in, _ = datagramPair(t); return nil }); err != nil {
			t.Fatal(err)
		}
		return f.Attach(in)
	}
	longest := Match{Kind: EchoReply, CookieLen: 7, Fragments: true, MAC: localMAC}
	for _, mm := range append(matches[:], struct {
		name string
		m    Match
	}{"longest", longest}) {
		for _, mode := range []Mode{Auto, EBPF, Classic} {
			f := newFilter(t, mm.m, mode)
			live := f.Mode()
			enough := 5 << 10
			if live == Classic {
				enough = 6 << 10
			}
			if err := try(f, enough); err != nil {
				t.Errorf("%s, mode %v, %d bytes: %v", mm.name, mode, enough, err)
			}
			if err := try(f, 512); !errors.Is(err, unix.ENOMEM) {
				t.Errorf("%s, mode %v, 512 bytes: error %v, want %v", mm.name, mode, err, unix.ENOMEM)
			}
			if f.Mode() != live || f.Fallback() != nil {
				t.Errorf("%s: mode %v after %v, fallback %v", mm.name, f.Mode(), live, f.Fallback())
			}
		}
	}
}

// What cilium/ebpf says becomes our own errors: in one line, with the errno.
func TestLoadError(t *testing.T) {
	for _, tt := range []struct {
		err  error
		is   error
		want string
	}{
		{fmt.Errorf("map .bss: create: %w (MEMLOCK may be too low)", unix.EPERM), unix.EPERM, "loading eBPF: operation not permitted ("},
		{fmt.Errorf("program: %w", unix.ENOSYS), unix.ENOSYS, "loading eBPF: program: function not implemented"},
		{fmt.Errorf("program: %w", unix.ENOSYS), errors.ErrUnsupported, "loading eBPF: "},
		{fmt.Errorf("map: %w", ebpf.ErrNotSupported), errors.ErrUnsupported, "loading eBPF: map: not supported"},
		{
			fmt.Errorf("program: %w", &ebpf.VerifierError{Cause: unix.EACCES, Log: []string{"0: r1", "1: R1 invalid"}}),
			unix.EACCES, "loading eBPF: program: : permission denied: 1: R1 invalid",
		},
		{errors.New("the\n\tELF is bad"), nil, "loading eBPF: the ELF is bad"},
	} {
		err := loadError(tt.err)
		if tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%v: not %v", err, tt.is)
		}
		if !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q, want %q", err, tt.want)
		}
		if v := (*ebpf.VerifierError)(nil); errors.As(err, &v) {
			t.Errorf("%v has an error of cilium/ebpf in it", err)
		}
	}
}

// childVar has a test binary do one thing in a process of its own, which may
// give its capabilities away.
const childVar = "L2PING_BPF_TEST_CHILD"

// TestCapabilities proves the lists of Capabilities: with what is listed it
// works, and all that is not listed does not help.
func TestCapabilities(t *testing.T) {
	labtest.RequireRoot(t)
	b, err := os.ReadFile("/proc/sys/kernel/unprivileged_bpf_disabled")
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.TrimSpace(string(b)); s == "0" {
		t.Skip("anybody may load eBPF here (try sysctl kernel.unprivileged_bpf_disabled=2)")
	}
	for _, name := range []string{"listed", "none", "all others", "user namespace"} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), childVar+"="+name)
			if name == "user namespace" {
				lab.EnterUserNamespace(cmd)
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func child(name string) error {
	var want []cap.Value
	for _, s := range Capabilities[EBPF] {
		v, err := cap.FromName(strings.ToLower(s))
		if err != nil {
			return err
		}
		want = append(want, v)
	}
	hint := "needs CAP_BPF"
	switch name {
	case "listed":
		if err := keepOnly(want...); err != nil {
			return err
		}
		return errors.Join(checkLoads(), checkExpected(), checkWorks(EBPF, EBPF), checkWorks(Auto, EBPF), checkWorks(Classic, Classic))
	case "unmapped":
		return checkUnmapped()
	case "none":
		if err := keepOnly(); err != nil {
			return err
		}
	case "all others":
		// CAP_SYS_ADMIN implies CAP_BPF (bpf_capable in linux/capability.h).
		want = append(want, cap.SYS_ADMIN)
		var others []cap.Value
		for v := range cap.MaxBits() {
			if have, err := cap.GetProc().GetFlag(cap.Permitted, v); err == nil && have && !slices.Contains(want, v) {
				others = append(others, v)
			}
		}
		if err := keepOnly(others...); err != nil {
			return err
		}
	case "user namespace":
		hint = "CAP_BPF counts only outside of user namespaces, and where no policy forbids eBPF"
	default:
		return fmt.Errorf("no child %q", name)
	}

	text := "loading eBPF: operation not permitted (" + hint + ")"
	m := matches[mEcho].m
	if f, err := NewFilter(m, EBPF); f != nil || !errors.Is(err, unix.EPERM) || err.Error() != text {
		return fmt.Errorf("mode ebpf: %v, error %v", f, err)
	}
	f, err := NewFilter(m, Auto)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Fallback(); f.Mode() != Classic || !errors.Is(err, unix.EPERM) || err.Error() != text {
		return fmt.Errorf("mode auto: mode %v, fallback %v", f.Mode(), err)
	}
	return errors.Join(checkWorks(Auto, Classic), checkWorks(Classic, Classic))
}

// keepOnly gives all capabilities away but these.
func keepOnly(values ...cap.Value) error {
	set := cap.NewSet()
	for _, flag := range []cap.Flag{cap.Permitted, cap.Effective} {
		if err := set.SetFlag(flag, true, values...); err != nil {
			return err
		}
	}
	if err := set.SetProc(); err != nil {
		return fmt.Errorf("keeping %v: %w", values, err)
	}
	return nil
}

// checkLoads loads the program for many a Match. The verifier looks at other
// parts of it for each, and is stricter without CAP_PERFMON.
func checkLoads() error {
	var list []Match
	for _, mm := range matches {
		list = append(list, mm.m)
	}
	for i, m := range fields() {
		if i%7 == 0 {
			list = append(list, m)
		}
	}
	var errs []error
	for _, m := range list {
		f, err := NewFilter(m, EBPF)
		if err != nil {
			errs = append(errs, fmt.Errorf("%+v: %w", m, err))
			continue
		}
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// checkWorks checks that a mode asked for becomes the mode want, and that the filter
// works on a socket.
func checkWorks(asked, want Mode) error {
	f, err := NewFilter(matches[mEcho].m, asked)
	if err != nil {
		return fmt.Errorf("mode %v: %w", asked, err)
	}
	defer f.Close()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	in, out := os.NewFile(uintptr(fds[0]), "in"), os.NewFile(uintptr(fds[1]), "out")
	defer in.Close()
	defer out.Close()
	if err := f.Attach(in); err != nil {
		return fmt.Errorf("mode %v: %w", asked, err)
	}
	if f.Mode() != want {
		return fmt.Errorf("mode %v: got %v (%v), want %v", asked, f.Mode(), f.Fallback(), want)
	}
	reply := newPing()
	for _, b := range [][]byte{newARP(), reply} {
		if _, err := out.Write(b); err != nil {
			return err
		}
	}
	buf := make([]byte, 2048)
	if n, err := in.Read(buf); err != nil || string(buf[:n]) != string(reply) {
		return fmt.Errorf("mode %v: the first that passes is % x, %v", asked, buf[:n], err)
	}
	return nil
}

func BenchmarkNewFilter(b *testing.B) {
	m := Match{Kind: EchoReply, Local: netip.MustParseAddr("192.0.2.1"), ID: 1, CookieLen: 8}
	for _, mode := range []Mode{Classic, EBPF} {
		b.Run(mode.String(), func(b *testing.B) {
			if mode == EBPF {
				labtest.RequireRoot(b)
			}
			b.ReportAllocs()
			for b.Loop() {
				f, err := NewFilter(m, mode)
				if err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
		})
	}
}
