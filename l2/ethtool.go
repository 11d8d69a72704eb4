//go:build linux

package l2

import (
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A nic is what ioctls know of an interface and its NIC, with their errors as
// they come. Tests have one of their own.
type nic interface {
	io.Closer
	// driver names the driver (ETHTOOL_GDRVINFO).
	driver() (string, error)
	// stamps says what the driver can stamp (ETHTOOL_GET_TS_INFO).
	stamps() (*unix.EthtoolTsInfo, error)
	// coalesce says how long the NIC may hold frames back (ETHTOOL_GCOALESCE).
	coalesce() (*ethtoolCoalesce, error)
	// mode says what the NIC is set to stamp (SIOCGHWTSTAMP).
	mode() (HardwareMode, error)
	// setMode sets that (SIOCSHWTSTAMP). It needs CAP_NET_ADMIN. The driver may
	// take something else.
	setMode(HardwareMode) error
}

// ethtoolCoalesce is struct ethtool_coalesce (linux/ethtool.h), which
// x/sys/unix lacks. Blank are limits for other conditions: within an interrupt,
// at low and at high rates.
type ethtoolCoalesce struct {
	cmd                    uint32
	rxUsecs, rxFrames      uint32
	_                      [2]uint32
	txUsecs, txFrames      uint32
	_                      [3]uint32
	adaptiveRx, adaptiveTx uint32
	_                      [11]uint32
}

// kernelNIC is the kernel's nic. Its socket belongs to the namespace that it
// was opened in, and so do its answers, whichever thread asks.
type kernelNIC struct {
	fd, index int
}

func openNIC(i *Interface) (nic, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return &kernelNIC{fd: fd, index: i.Index}, nil
}

func (n *kernelNIC) Close() error { return os.NewSyscallError("close", unix.Close(n.fd)) }

// name is the interface's present name, by which alone these ioctls know it.
func (n *kernelNIC) name() (string, error) {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	ifr.SetUint32(uint32(n.index))
	if err := unix.IoctlIfreq(n.fd, unix.SIOCGIFNAME, ifr); err != nil {
		return "", err
	}
	return ifr.Name(), nil
}

// ask calls one of the ioctls.
func ask[T any](n *kernelNIC, ioctl func(fd int, ifname string) (T, error)) (T, error) {
	name, err := n.name()
	if err == nil {
		var answer T
		if answer, err = ioctl(n.fd, name); err == nil {
			return answer, nil
		}
	}
	var none T
	return none, os.NewSyscallError("ioctl", err)
}

func (n *kernelNIC) driver() (string, error) {
	info, err := ask(n, unix.IoctlGetEthtoolDrvinfo)
	if err != nil {
		return "", err
	}
	return unix.ByteSliceToString(info.Driver[:]), nil
}

func (n *kernelNIC) stamps() (*unix.EthtoolTsInfo, error) { return ask(n, unix.IoctlGetEthtoolTsInfo) }

func (n *kernelNIC) mode() (HardwareMode, error) {
	c, err := ask(n, unix.IoctlGetHwTstamp)
	if err != nil {
		return HardwareMode{}, err
	}
	return HardwareMode{TransmitMode(c.Tx_type), ReceiveFilter(c.Rx_filter), c.Flags}, nil
}

func (n *kernelNIC) setMode(m HardwareMode) error {
	_, err := ask(n, func(fd int, ifname string) (struct{}, error) {
		return struct{}{}, unix.IoctlSetHwTstamp(fd, ifname, &unix.HwTstampConfig{
			Flags: m.flags, Tx_type: int32(m.Transmit), Rx_filter: int32(m.Receive),
		})
	})
	return err
}

func (n *kernelNIC) coalesce() (*ethtoolCoalesce, error) {
	return ethtool(n, &ethtoolCoalesce{cmd: unix.ETHTOOL_GCOALESCE})
}

// ethtool calls SIOCETHTOOL with one of its structs, which x/sys/unix does not
// know.
func ethtool[T any](n *kernelNIC, value *T) (*T, error) {
	return ask(n, func(fd int, ifname string) (*T, error) {
		// struct ifreq (netdevice(7)) with a pointer in its union.
		ifr := struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [24 - unsafe.Sizeof(uintptr(0))]byte
		}{data: unsafe.Pointer(value)}
		copy(ifr.name[:], ifname)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr)))
		if errno != 0 {
			return nil, errno
		}
		return value, nil
	})
}
