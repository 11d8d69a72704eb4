package lab

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Tun is the program's end of a tun interface: what the kernel sends by the
// interface is read here, and what is written here arrives there. Packets begin
// with the IP header; there is no link layer. It is safe for concurrent use.
type Tun struct {
	file   *os.File
	ns     *Namespace
	ifname string
}

// AddTun makes a tun interface, down. It has no link layer (ARPHRD_NONE), is
// point to point and without ARP, and has a carrier until the Tun is closed,
// which removes it. The kernel needs tun, and /dev/net/tun must be there and may
// be opened by this user.
func (n *Namespace) AddTun(ifname string) (*Tun, error) {
	var t *Tun
	err := n.Do(func() (err error) {
		// The interface is made in the namespace of the thread (tun_chr_open).
		t, err = openTun(ifname)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make tun %s: %w", ifname, err)
	}
	t.ns = n
	if err := n.quiet(ifname, false); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func openTun(ifname string) (*Tun, error) {
	request, err := unix.NewIfreq(ifname)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, lacks("tun", fmt.Errorf("open /dev/net/tun: %w", err), unix.ENOENT, unix.ENODEV, unix.ENXIO)
	}
	// The descriptor is of no use to the runtime's poller before it has an
	// interface (tun_chr_poll).
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("attach /dev/net/tun: %w", err)
	}
	return &Tun{file: os.NewFile(uintptr(fd), "/dev/net/tun"), ifname: ifname}, nil
}

// Read waits for the next packet that the kernel sends. A longer one than b is
// cut. What is sent while the interface is down, or finds 500 packets waiting,
// is dropped by the kernel (tun_net_xmit).
func (t *Tun) Read(b []byte) (int, error) { return t.file.Read(b) }

// Write has a packet arrive at the interface. It fails with EIO while that is
// down, and with EINVAL if the packet is not IP by its first byte.
func (t *Tun) Write(packet []byte) (int, error) { return t.file.Write(packet) }

// SetReadDeadline bounds Read, also one that waits already: it fails with
// os.ErrDeadlineExceeded. The zero time is no bound.
func (t *Tun) SetReadDeadline(d time.Time) error { return t.file.SetReadDeadline(d) }

// Close removes the interface.
func (t *Tun) Close() error {
	if err := t.file.Close(); err != nil {
		return fmt.Errorf("close tun %s: %w", t.ifname, err)
	}
	return nil
}
