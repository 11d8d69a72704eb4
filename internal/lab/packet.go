package lab

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A SocketOption is an option of setsockopt(2) whose value is an int.
type SocketOption struct{ Level, Name, Value int }

// OpenPacket opens a packet socket that hears every frame that arrives on an
// interface of n once OpenPacket has returned, and none that leaves by it unless
// an option says so. The options are set before it hears anything. Reads of the file wait without a
// thread; one fails once with ENETDOWN when the interface goes down. The caller
// closes it. It needs CAP_NET_RAW.
func (n *Namespace) OpenPacket(ifname string, options ...SocketOption) (file *os.File, err error) {
	err = n.onLink(ifname, "listen on", func(_ *netlink.Handle, l netlink.Link) error {
		file, err = n.openPacket(l.Attrs().Index, options...)
		return err
	})
	return file, err
}

func (n *Namespace) openPacket(index int, options ...SocketOption) (file *os.File, err error) {
	err = n.Do(func() error {
		// Protocol 0 hears nothing until bind (packet(7)).
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		for _, o := range append([]SocketOption{{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1}}, options...) {
			if err := unix.SetsockoptInt(fd, o.Level, o.Name, o.Value); err != nil {
				unix.Close(fd)
				return fmt.Errorf("set packet socket option: %w", err)
			}
		}
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err != nil {
			unix.Close(fd)
			return fmt.Errorf("bind packet socket: %w", err)
		}
		file = os.NewFile(uintptr(fd), "packet socket")
		return nil
	})
	return file, err
}
