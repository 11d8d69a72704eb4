//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
)

// answerer is a host that exists only as a packet socket. It answers ARP
// requests for its address at once, and ICMP echo requests from another thread
// a fixed time after they came in: with the precision of the kernel's
// high-resolution timers, which Go's timers do not have.
type answerer struct {
	file  *os.File
	mac   net.HardwareAddr
	ip    [4]byte
	delay time.Duration

	due chan reply
	wg  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	fault  error // the first one
}

// reply is a frame and when it is to leave, of CLOCK_REALTIME.
type reply struct {
	frame []byte
	at    time.Time
}

// startAnswerer starts an answerer on an interface of n that has no address
// and is silent. It hears every frame that arrives once it has returned. Close
// must be called. It needs CAP_NET_RAW.
func startAnswerer(n *lab.Namespace, ifname string, ip netip.Addr, delay time.Duration) (*answerer, error) {
	a := &answerer{ip: ip.As4(), delay: delay, due: make(chan reply, 1024)}
	index, err := n.Index(ifname)
	if err == nil {
		a.mac, err = n.MAC(ifname)
	}
	if err == nil {
		err = n.Do(func() error { return a.open(index) })
	}
	if err != nil {
		return nil, fmt.Errorf("start answerer on %s: %w", ifname, err)
	}
	a.wg.Go(a.receive)
	a.wg.Go(a.send)
	return a, nil
}

func (a *answerer) open(index int) error {
	// Protocol 0 hears nothing until bind (packet(7)).
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
	)
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("set packet socket option: %w", err)
	}
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err != nil {
		unix.Close(fd)
		return fmt.Errorf("bind packet socket: %w", err)
	}
	a.file = os.NewFile(uintptr(fd), "packet socket")
	return nil
}

// Close ends it and waits until it has ended. It returns the first thing that
// went wrong.
func (a *answerer) Close() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	err := a.file.Close()
	a.wg.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return errors.Join(a.fault, err)
}

// failed notes a fault. What Close provokes is none.
func (a *answerer) failed(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fault == nil && !a.closed {
		a.fault = fmt.Errorf("answerer: %w", err)
	}
}

// receive runs until the socket is closed.
func (a *answerer) receive() {
	defer close(a.due)
	conn, err := a.file.SyscallConn()
	if err != nil {
		a.failed(err)
		return
	}
	frame, oob := make([]byte, math.MaxUint16), make([]byte, 128)
	for {
		var n, oobn int
		var errno error // of the last call
		err := conn.Read(func(fd uintptr) bool {
			n, oobn, _, _, errno = unix.Recvmsg(int(fd), frame, oob, 0)
			return errno != unix.EAGAIN && errno != unix.EINTR
		})
		if err == nil {
			err = errno
		}
		if err != nil {
			a.failed(fmt.Errorf("receive: %w", err))
			return
		}
		answer := bytes.Clone(frame[:n])
		switch {
		case answerARP(answer, a.mac, a.ip):
			if _, err := a.file.Write(answer); err != nil {
				a.failed(fmt.Errorf("send: %w", err))
				return
			}
		case answerEcho(answer, a.mac, a.ip):
			a.due <- reply{answer, arrivedAt(oob[:oobn]).Add(a.delay)}
		}
	}
}

// send sends each answer in its time, until there are no more.
func (a *answerer) send() {
	// Never unlocked: the thread, whose timers are made exact here, ends
	// with this function.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		a.failed(fmt.Errorf("set timer slack: %w", err))
	}
	for r := range a.due {
		// Bounded, whatever the clock does.
		if wait := min(time.Until(r.at), a.delay); wait > 0 {
			left := unix.NsecToTimespec(wait.Nanoseconds())
			for errors.Is(unix.Nanosleep(&left, &left), unix.EINTR) {
			}
		}
		if _, err := a.file.Write(r.frame); err != nil {
			a.failed(fmt.Errorf("send: %w", err))
		}
	}
}

// arrivedAt is the kernel's stamp of a frame, or now if it has none: stamping is
// switched on with a delay after the first socket has asked for it.
func arrivedAt(oob []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		// struct timespec of two 64-bit words, on every 64-bit system.
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Now()
}

const (
	ethernetLen = 14
	arpLen      = 28
	ipv4Len     = 20 // without options, which no tool here sends
	icmpLen     = 8
)

// answerARP makes an ARP request for ip the reply to it (RFC 826), in place, and
// says whether it is one.
func answerARP(frame []byte, mac net.HardwareAddr, ip [4]byte) bool {
	if len(frame) < ethernetLen+arpLen {
		return false
	}
	arp := frame[ethernetLen:]
	// Ethernet addresses for IPv4 addresses, a request.
	if binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_ARP ||
		!bytes.Equal(arp[:8], []byte{0, 1, 8, 0, 6, 4, 0, 1}) || [4]byte(arp[24:28]) != ip {
		return false
	}
	arp[7] = 2
	copy(arp[18:28], arp[8:18]) // the sender becomes the target
	copy(arp[8:14], mac)
	copy(arp[14:18], ip[:])
	copy(frame, arp[18:24])
	copy(frame[6:], mac)
	return true
}

// answerEcho makes an ICMP echo request to ip the reply to it (RFC 792), in
// place, and says whether it is one.
func answerEcho(frame []byte, mac net.HardwareAddr, ip [4]byte) bool {
	if len(frame) < ethernetLen+ipv4Len+icmpLen {
		return false
	}
	packet := frame[ethernetLen:]
	icmp := packet[ipv4Len:]
	if !bytes.Equal(frame[:6], mac) || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IP ||
		packet[0] != 4<<4|ipv4Len/4 || packet[9] != unix.IPPROTO_ICMP || [4]byte(packet[16:20]) != ip ||
		binary.BigEndian.Uint16(packet[6:])&0x3fff != 0 || // a fragment
		icmp[0] != 8 || icmp[1] != 0 {
		return false
	}
	copy(frame[:6], frame[6:12])
	copy(frame[6:12], mac)
	// The IP header's checksum stays: its words only change places.
	copy(packet[16:20], packet[12:16])
	copy(packet[12:16], ip[:])
	icmp[0] = 0
	// HC' = ~(~HC + ~m + m'), of one's complement, with m = 0x0800 and m' = 0
	// (RFC 1624).
	sum := uint32(^binary.BigEndian.Uint16(icmp[2:])) + 0xf7ff
	binary.BigEndian.PutUint16(icmp[2:], ^uint16(sum+sum>>16))
	return true
}
