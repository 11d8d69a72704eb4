package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PPPoE says what a ppp interface is like: it is one end of a session of PPPoE
// (RFC 2516), whose other end has the same by this one's MAC. No program
// negotiates anything: both ends take IPv4 and IPv6 as they come.
type PPPoE struct {
	Parent  string           // an Ethernet interface, up
	Remote  net.HardwareAddr // the other end's
	Session uint16           // neither 0 nor 65535 (section 4)
}

// pppoeOverhead is what PPPoE's header and PPP's protocol take of the parent's
// MTU (RFC 2516, section 7).
const pppoeOverhead = 6 + 2

// PPP holds a ppp interface, which is there until it is closed.
type PPP struct {
	ifname string
	// session is the socket of PPPoE. A unit of /dev/ppp is the interface, and a
	// channel joins the two (Documentation/networking/ppp_generic.rst).
	session, channel, unit *os.File
}

// AddPPP makes a ppp interface, down. It has no link layer (ARPHRD_PPP), is point
// to point and without ARP, and its MTU is 8 bytes below the parent's. It carries
// nothing any more once its parent was down (pppoe_device_event). The kernel needs
// pppoe, and /dev/ppp may be opened by this user.
func (n *Namespace) AddPPP(ifname string, cfg PPPoE) (*PPP, error) {
	p := &PPP{ifname: ifname}
	var made string // the kernel's name for it
	err := n.Do(func() (err error) {
		// Sessions and units are those of the thread's namespace
		// (pppoe_create, ppp_unattached_ioctl).
		made, err = p.open(cfg)
		return err
	})
	if err == nil {
		err = n.Rename(made, ifname)
	}
	if err == nil {
		err = n.fitPPPoE(ifname, cfg.Parent)
	}
	if err == nil {
		err = n.quiet(ifname, false)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make ppp %s: %w", ifname, err), p.Close())
	}
	return p, nil
}

// open makes the interface, and returns its name.
func (p *PPP) open(cfg PPPoE) (string, error) {
	fd, err := unix.Socket(unix.AF_PPPOX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", lacks("ppp", fmt.Errorf("open socket: %w", err), unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT)
	}
	p.session = os.NewFile(uintptr(fd), "PPPoE session")
	if err := unix.Connect(fd, &unix.SockaddrPPPoE{SID: cfg.Session, Remote: cfg.Remote, Dev: cfg.Parent}); err != nil {
		return "", fmt.Errorf("begin session by %s: %w", cfg.Parent, err)
	}
	index, err := unix.IoctlGetUint32(fd, unix.PPPIOCGCHAN)
	if err != nil {
		return "", fmt.Errorf("ask for the session's channel: %w", err)
	}
	for _, file := range []**os.File{&p.channel, &p.unit} {
		if *file, err = os.OpenFile("/dev/ppp", os.O_RDWR, 0); err != nil {
			return "", lacks("ppp", err, unix.ENOENT, unix.ENODEV, unix.ENXIO)
		}
	}
	if err := unix.IoctlSetPointerInt(int(p.channel.Fd()), unix.PPPIOCATTCHAN, int(index)); err != nil {
		return "", fmt.Errorf("attach /dev/ppp to the session's channel: %w", err)
	}
	number, err := p.newUnit()
	if err != nil {
		return "", err
	}
	if err := unix.IoctlSetPointerInt(int(p.channel.Fd()), unix.PPPIOCCONNECT, number); err != nil {
		return "", fmt.Errorf("connect the session's channel with unit %d: %w", number, err)
	}
	return fmt.Sprintf("ppp%d", number), nil
}

// newUnit makes a unit with the next free number, and so the interface.
func (p *PPP) newUnit() (int, error) {
	number := int32(-1)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, p.unit.Fd(), unix.PPPIOCNEWUNIT, uintptr(unsafe.Pointer(&number)))
	if errno != 0 {
		return 0, fmt.Errorf("make unit of /dev/ppp: %w", errno)
	}
	return int(number), nil
}

// fitPPPoE leaves room for PPPoE's header in the parent's frames.
func (n *Namespace) fitPPPoE(ifname, parent string) error {
	link, err := n.link(parent)
	if err != nil {
		return err
	}
	return n.SetMTU(ifname, link.Attrs().MTU-pppoeOverhead)
}

// Close removes the interface and ends its session.
func (p *PPP) Close() error {
	var errs []error
	for _, file := range []*os.File{p.unit, p.channel, p.session} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close ppp %s: %w", p.ifname, err)
	}
	return nil
}
