//go:build linux

package l2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/internal/sock"
	"github.com/l2ping/l2ping/internal/timestamping"
)

func openLink(t testing.TB, n *lab.Namespace, cfg *LinkConfig) *Link {
	t.Helper()
	return openLinkOn(t, n, "eth0", cfg)
}

func openLinkOn(t testing.TB, n *lab.Namespace, ifname string, cfg *LinkConfig) *Link {
	t.Helper()
	ifc := lookUp(t, n, ifname)
	return labtest.OpenIn(t, n, func() (*Link, error) { return OpenLink(ifc, cfg) })
}

// experimental is an EtherType that no stack answers (IEEE 802, local experiments).
const experimental = 0x88b5

// frameOf is a frame of so many bytes from the near to the far end.
func frameOf(pair *lab.Pair, length int) []byte {
	b := append(append([]byte{}, pair.FarMAC...), pair.NearMAC...)
	b = binary.BigEndian.AppendUint16(b, experimental)
	for len(b) < length {
		b = append(b, byte(len(b)))
	}
	return b[:length]
}

// eachLink runs a test on a link with ids of its own, where the kernel has
// those, and on one that counts; on each also with the NIC's stamps asked for,
// of which veth gives none.
func eachLink(t *testing.T, f func(t *testing.T, pair *lab.Pair, l *Link)) {
	for name, cfg := range map[string]*LinkConfig{
		"default": nil, "counted": {countIDs: true},
		"hardware": {Hardware: true}, "hardware, counted": {Hardware: true, countIDs: true},
	} {
		t.Run(name, func(t *testing.T) {
			pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
			l := openLink(t, pair.Near, cfg)
			t.Logf("ids are counted: %v", l.CountsIDs())
			if cfg == nil {
				cfg = &LinkConfig{}
			}
			if cfg.countIDs && !l.CountsIDs() {
				t.Error("told to count, it does not")
			}
			if l.Hardware() != cfg.Hardware {
				t.Errorf("asks for the NIC's stamps: %v, want %v", l.Hardware(), cfg.Hardware)
			}
			f(t, pair, l)
		})
	}
}

func TestLinkSend(t *testing.T) {
	eachLink(t, func(t *testing.T, pair *lab.Pair, l *Link) {
		far := newStation(t, pair.Far, "eth0")
		for _, n := range []int{15, 42, 59, 60, 61, 98, 1513, 1514} {
			sent := frameOf(pair, n)
			before := bytes.Clone(sent)
			if err := l.Send(sent, uint32(n)); err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			if got := far.receive(); !bytes.Equal(got, before) {
				t.Errorf("sent     % x\nreceived % x", before, got)
			}
			if !bytes.Equal(sent, before) {
				t.Error("the caller's frame has changed")
			}
		}
	})
}

// A link hears nothing but its stamps.
func TestLinkHearsNothing(t *testing.T) {
	eachLink(t, func(t *testing.T, pair *lab.Pair, l *Link) {
		near, far := newStation(t, pair.Near, "eth0"), newStation(t, pair.Far, "eth0")
		b := frameOf(pair, 60)
		copy(b, pair.NearMAC)
		far.send(b)
		near.receive() // so it has arrived
		if n, _, err := unix.Recvfrom(l.FD(), make([]byte, 100), unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

// A window is the time in which a frame was sent, and so was stamped: veth has no
// queue, the driver has the frame before sendmsg returns.
type window struct{ from, to int64 }

// A sender sends and keeps the windows of what was sent.
type sender struct {
	t       *testing.T
	pair    *lab.Pair
	l       *Link
	windows map[uint32]window
}

func newSender(t *testing.T, pair *lab.Pair, l *Link) *sender {
	return &sender{t: t, pair: pair, l: l, windows: map[uint32]window{}}
}

func (s *sender) send(id uint32) {
	s.t.Helper()
	s.sendLength(id, 60, nil)
}

func (s *sender) sendLength(id uint32, length int, want error) {
	s.t.Helper()
	from := time.Now().UnixNano()
	err := s.l.Send(frameOf(s.pair, length), id)
	if !errors.Is(err, want) {
		s.t.Fatalf("sending %d bytes: %v, want %v", length, err, want)
	}
	if err == nil {
		s.windows[id] = window{from, time.Now().UnixNano()}
	}
}

// check reads stamps until there are two for each of ids, at both points, each
// within its frame's window. Further stamps may be of no frame but those.
func (s *sender) check(ids ...uint32) {
	s.t.Helper()
	type key struct {
		id    uint32
		point StampPoint
	}
	got := map[key]int64{}
	stamps := make([]Stamp, MinStamps)
	for deadline := time.Now().Add(patience); len(got) < 2*len(ids); {
		n, _, err := s.l.ReadStamps(stamps)
		must(s.t, err)
		for _, st := range stamps[:n] {
			k := key{st.ID, st.Point}
			if _, twice := got[k]; twice || !slices.Contains(ids, st.ID) {
				s.t.Fatalf("a stamp of id %d at %v, which nobody asked for or which was there; have %v", st.ID, st.Point, got)
			}
			got[k] = st.Time
		}
		if n > 0 {
			continue
		}
		left := time.Until(deadline)
		if left <= 0 {
			s.t.Fatalf("of ids %v: after %v only %v", ids, patience, got)
		}
		labtest.Poll(s.t, s.l.FD(), left)
	}
	for _, id := range ids {
		sched, driver, w := got[key{id, StampSched}], got[key{id, StampDriver}], s.windows[id]
		if w.from > sched || sched > driver || driver > w.to {
			s.t.Errorf("id %d: sent from %d, sched %d, driver %d, sent to %d (in ns, from the first: %d, %d, %d)",
				id, w.from, sched, driver, w.to, sched-w.from, driver-w.from, w.to-w.from)
		}
	}
}

func TestLinkStamps(t *testing.T) {
	eachLink(t, func(t *testing.T, pair *lab.Pair, l *Link) {
		s := newSender(t, pair, l)
		// Ids are the caller's: they neither begin at 0 nor follow each other.
		ids := []uint32{7, 0, 1<<32 - 1, 3, 1 << 31, 65536, 12, 11, 10, 1, 0xdeadbeef, 65535, 2}
		for _, id := range ids {
			s.send(id)
			s.check(id)
		}
		// Many at once.
		for i := range ids {
			ids[i] += 1000
			s.send(ids[i])
		}
		s.check(ids...)
	})
}

// ReadStamps tells whether there may be more than it has given.
func TestLinkStampsMore(t *testing.T) {
	eachLink(t, func(t *testing.T, pair *lab.Pair, l *Link) {
		s := newSender(t, pair, l)
		stamps := make([]Stamp, MinStamps)
		if n, more, err := l.ReadStamps(stamps); n != 0 || more || err != nil {
			t.Errorf("before anything was sent: %d, %v, %v", n, more, err)
		}
		for id := range uint32(MinStamps/2 + 1) {
			s.send(id)
		}
		// On veth both stamps are there when Send returns.
		if n, more, err := l.ReadStamps(stamps); n != MinStamps || !more || err != nil {
			t.Errorf("of %d stamps: %d, %v, %v", MinStamps+2, n, more, err)
		}
		if n, more, err := l.ReadStamps(stamps); n != 2 || more || err != nil {
			t.Errorf("of 2 stamps: %d, %v, %v", n, more, err)
		}
	})
}

// Errors of Send take no id away from the frames after them, nor give one twice.
func TestLinkStampsAfterErrors(t *testing.T) {
	for name, fail := range map[string]func(*sender, uint32){
		"far too long": func(s *sender, id uint32) { s.sendLength(id, 3000, unix.EMSGSIZE) },
		// The kernel allows for a VLAN tag at first and looks again after it has
		// counted the frame (packet_snd).
		"too long by one":   func(s *sender, id uint32) { s.sendLength(id, 1515, unix.EMSGSIZE) },
		"too long by a tag": func(s *sender, id uint32) { s.sendLength(id, 1518, unix.EMSGSIZE) },
		"too long by more":  func(s *sender, id uint32) { s.sendLength(id, 1519, unix.EMSGSIZE) },
		"too short":         func(s *sender, id uint32) { s.sendLength(id, 5, unix.EINVAL) },
		"empty":             func(s *sender, id uint32) { s.sendLength(id, 0, unix.EINVAL) },
		"down": func(s *sender, id uint32) {
			must(s.t, s.pair.Near.SetDown("eth0"))
			s.sendLength(id, 60, unix.ENETDOWN)
			must(s.t, s.pair.SetUp())
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachLink(t, func(t *testing.T, pair *lab.Pair, l *Link) {
				s := newSender(t, pair, l)
				for round := range uint32(3) {
					first := 100 * round
					s.send(first + 1)
					s.send(first + 2)
					s.check(first+1, first+2)
					fail(s, first+3)
					fail(s, first+4)
					s.send(first + 5)
					fail(s, first+6)
					fail(s, first+7)
					s.l.drain(t)
					s.send(first + 8)
					s.send(first + 9)
					s.check(first+8, first+9)
				}
			})
		})
	}
}

// drain reads what stamps are there.
func (l *Link) drain(t *testing.T) {
	t.Helper()
	stamps := make([]Stamp, MinStamps)
	for more := true; more; {
		var err error
		_, more, err = l.ReadStamps(stamps)
		must(t, err)
	}
}

// Stamps that were not read before an error belong to the frames before it.
func TestLinkStampsUnread(t *testing.T) {
	eachLink(t, func(t *testing.T, pair *lab.Pair, l *Link) {
		s := newSender(t, pair, l)
		for id := range uint32(5) {
			s.send(id)
		}
		s.sendLength(99, 5, unix.EINVAL)
		var ids []uint32
		for id := range uint32(8) {
			ids = append(ids, 1000+id)
			s.send(1000 + id)
		}
		if !l.CountsIDs() {
			// Here the error was no reason to give up those before it.
			ids = append(ids, 0, 1, 2, 3, 4)
		}
		s.check(ids...)
	})
}

// A frame that the qdisc drops was counted.
func TestLinkStampsQueueFull(t *testing.T) {
	eachLink(t, func(t *testing.T, pair *lab.Pair, l *Link) {
		s := newSender(t, pair, l)
		s.send(1)
		s.check(1)
		dropAll(t, pair.Near)
		from := time.Now().UnixNano()
		for id := uint32(10); id < 13; id++ {
			s.sendLength(id, 60, unix.ENOBUFS)
		}
		to := time.Now().UnixNano()
		stamps := make([]Stamp, MinStamps)
		n, _, err := l.ReadStamps(stamps)
		must(t, err)
		for i, st := range stamps[:n] {
			if st.ID != uint32(10+i) || st.Point != StampSched || st.Time < from || st.Time > to {
				t.Errorf("of a frame that was dropped: %+v", st)
			}
		}
		must(t, delQdisc(pair.Near))
		s.send(20)
		s.send(21)
		s.check(20, 21)
	})
}

// qdisc sends a request about eth0's root qdisc.
func qdisc(n *lab.Namespace, typ, flags int, attrs ...*nl.RtAttr) error {
	index, err := n.Index("eth0")
	if err != nil {
		return err
	}
	return n.Do(func() error {
		req := nl.NewNetlinkRequest(typ, flags|unix.NLM_F_ACK)
		req.AddData(&nl.TcMsg{Family: unix.AF_UNSPEC, Ifindex: int32(index), Handle: 1 << 16, Parent: netlink.HANDLE_ROOT})
		for _, a := range attrs {
			req.AddData(a)
		}
		if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
			return fmt.Errorf("qdisc of eth0: %w", err)
		}
		return nil
	})
}

func delQdisc(n *lab.Namespace) error { return qdisc(n, unix.RTM_DELQDISC, 0) }

// dropAll gives eth0 a queue that is always full: a pfifo of no packets.
func dropAll(t *testing.T, n *lab.Namespace) {
	t.Helper()
	must(t, qdisc(n, unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("pfifo")), nl.NewRtAttr(nl.TCA_OPTIONS, make([]byte, 4))))
}

// A send buffer that is full refuses a frame before it is counted. What fills it is
// a qdisc that lets next to nothing through.
func TestLinkStampsBufferFull(t *testing.T) {
	eachLink(t, func(t *testing.T, pair *lab.Pair, l *Link) {
		const rate, burst = 1000, 2000 // bytes a second, bytes
		index, err := pair.Near.Index("eth0")
		must(t, err)
		must(t, pair.Near.Handle().QdiscAdd(&netlink.Tbf{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: 1 << 16, Parent: netlink.HANDLE_ROOT},
			Rate:       rate, Limit: 1 << 20, Buffer: netlink.Xmittime(rate, burst),
		}))
		must(t, unix.SetsockoptInt(l.FD(), unix.SOL_SOCKET, unix.SO_SNDBUF, 1))
		s := newSender(t, pair, l)
		sent := uint32(0)
		for ; ; sent++ {
			err := l.Send(frameOf(pair, 1514), sent)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			must(t, err)
			if sent > 1000 {
				t.Fatal("the buffer of 4.5 kB never gets full")
			}
		}
		for id := range uint32(3) {
			s.sendLength(5000+id, 1514, unix.EAGAIN)
		}
		l.drain(t)
		must(t, delQdisc(pair.Near))
		s.send(6000)
		s.send(6001)
		s.check(6000, 6001)
	})
}

// The error queue is bounded; what it has no room for is lost, and nothing else.
func TestLinkQueueBytes(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	for _, countIDs := range []bool{false, true} {
		l := openLink(t, pair.Near, &LinkConfig{QueueBytes: 1, countIDs: countIDs})
		s := newSender(t, pair, l)
		for id := range uint32(100) {
			s.send(100 + id)
		}
		stamps := make([]Stamp, MinStamps)
		n, more, err := l.ReadStamps(stamps)
		if n == 0 || more || err != nil {
			t.Errorf("%d stamps, %v, %v, want some", n, more, err)
		}
		for _, st := range stamps[:n] {
			if w := s.windows[st.ID]; st.Time < w.from || st.Time > w.to {
				t.Errorf("%+v, sent in %+v", st, w)
			}
		}
		s.send(1)
		s.check(1)
	}
}

func TestLinkNoStamps(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	l := openLink(t, pair.Near, &LinkConfig{NoStamps: true, Hardware: true})
	far := newStation(t, pair.Far, "eth0")
	must(t, l.Send(frameOf(pair, 60), 1))
	far.receive()
	if n, more, err := l.ReadStamps(nil); n != 0 || more || err != nil || l.Hardware() {
		t.Errorf("%d, %v, %v, hardware %v", n, more, err, l.Hardware())
	}
	// Nor are there any in the kernel.
	if _, _, err := unix.Recvfrom(l.FD(), nil, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("error queue: %v", err)
	}
}

// The error queue has room for a third stamp a frame, as far as the kernel lets it.
func TestLinkQueueBytesHardware(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	for _, tt := range []struct {
		cfg  LinkConfig
		want int
	}{
		{LinkConfig{}, 1 << 20},
		{LinkConfig{Hardware: true}, 3 << 19},
		{LinkConfig{Hardware: true, QueueBytes: 100_000}, 100_000},
	} {
		plain := openLink(t, pair.Near, &LinkConfig{NoStamps: true})
		must(t, unix.SetsockoptInt(plain.FD(), unix.SOL_SOCKET, unix.SO_RCVBUF, tt.want))
		want, err := unix.GetsockoptInt(plain.FD(), unix.SOL_SOCKET, unix.SO_RCVBUF)
		must(t, err)
		l := openLink(t, pair.Near, &tt.cfg)
		if got, err := unix.GetsockoptInt(l.FD(), unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil || got != want {
			t.Errorf("%+v: SO_RCVBUF is %d (%v), want %d as %d gives", tt.cfg, got, err, want, tt.want)
		}
	}
}

// A kernel that does not know a flag refuses all of them; another error is one.
func TestLinkAskForStamps(t *testing.T) {
	for _, tt := range []struct {
		name     string
		hardware bool
		refuses  map[int]error
		want     []int // flags that were tried
		err      error
	}{
		{"software", false, nil, []int{timestamping.Transmit}, nil},
		{"hardware", true, nil, []int{timestamping.HardwareTransmit}, nil},
		{"hardware, not known", true, map[int]error{timestamping.HardwareTransmit: unix.EINVAL},
			[]int{timestamping.HardwareTransmit, timestamping.Transmit}, nil},
		{"no stamps at all", true, map[int]error{timestamping.HardwareTransmit: unix.EINVAL, timestamping.Transmit: unix.EINVAL},
			[]int{timestamping.HardwareTransmit, timestamping.Transmit}, unix.EINVAL},
		{"another error", true, map[int]error{timestamping.HardwareTransmit: unix.EBADF}, []int{timestamping.HardwareTransmit}, unix.EBADF},
	} {
		for _, sched := range []int{unix.SOF_TIMESTAMPING_TX_SCHED, 0} {
			l := &Link{out: &outlet{conn: &sock.Conn{}}}
			var tried []int
			err := l.out.askForStamps(&LinkConfig{Hardware: tt.hardware, NoSched: sched == 0}, func(_, flags int) error {
				if flags&unix.SOF_TIMESTAMPING_TX_SCHED != sched {
					t.Errorf("%s: %#x, want SOF_TIMESTAMPING_TX_SCHED to be %d", tt.name, flags, sched)
				}
				flags |= unix.SOF_TIMESTAMPING_TX_SCHED
				tried = append(tried, flags)
				return tt.refuses[flags]
			})
			if !errors.Is(err, tt.err) || !slices.Equal(tried, tt.want) {
				t.Errorf("%s: %v after %#x, want %v after %#x", tt.name, err, tried, tt.err, tt.want)
			}
			if l.stamps = l.out.stamping; err == nil && l.Hardware() != (len(tt.want) == 1 && tt.hardware) {
				t.Errorf("%s: asks for the NIC's stamps: %v", tt.name, l.Hardware())
			}
		}
	}
}

// controlMessage is a control message as recvmsg gives it.
func controlMessage(level, typ int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// departed is what the error queue has of a frame: stamps in software and by the
// NIC, of which one is 0, at a point.
func departed(software, hardware int64, info, id uint32) []byte {
	var stamps []byte
	for _, ns := range []int64{software, 0, hardware} {
		stamps = binary.NativeEndian.AppendUint64(stamps, uint64(ns/1e9))
		stamps = binary.NativeEndian.AppendUint64(stamps, uint64(ns%1e9))
	}
	extended := binary.NativeEndian.AppendUint32(nil, uint32(unix.ENOMSG))
	extended = append(extended, 4, 0, 0, 0) // SO_EE_ORIGIN_TIMESTAMPING
	extended = binary.NativeEndian.AppendUint32(extended, info)
	extended = binary.NativeEndian.AppendUint32(extended, id)
	return append(controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPING, stamps),
		controlMessage(unix.SOL_PACKET, unix.PACKET_TX_TIMESTAMP, extended)...)
}

// Points of departure in ee_info (linux/errqueue.h).
const (
	atDriver = 0 // or by the NIC
	atSched  = 1
	atAck    = 2 // of TCP: not ours
)

func TestLinkStampPoints(t *testing.T) {
	o := &outlet{}
	for _, tt := range []struct {
		name    string
		control []byte
		want    Stamp
	}{
		{"sched", departed(5, 0, atSched, 7), Stamp{7, StampSched, 5}},
		{"driver", departed(6, 0, atDriver, 7), Stamp{7, StampDriver, 6}},
		{"NIC", departed(0, 9, atDriver, 7), Stamp{7, StampHardware, 9}},
		// The kernel puts one stamp into a message, and the software one where it
		// has both (net/socket.c, skb_is_swtx_tstamp).
		{"driver and NIC", departed(6, 9, atDriver, 7), Stamp{7, StampDriver, 6}},
		{"neither", departed(0, 0, atDriver, 7), Stamp{}},
		{"by hardware, ahead of the qdisc", departed(0, 9, atSched, 7), Stamp{}},
		{"another point", departed(5, 0, atAck, 7), Stamp{}},
		{"another point, by hardware", departed(0, 9, atAck, 7), Stamp{}},
		{"nothing", nil, Stamp{}},
		{"cut", departed(0, 9, atDriver, 7)[:80], Stamp{}},
	} {
		if got, ok := o.read(tt.control); got != tt.want || ok != (tt.want != Stamp{}) {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, got, ok, tt.want)
		}
	}
}

// A NIC's stamp may come after the count has started anew, and its clock does not
// tell that it is of a frame from before: such a count is not believed.
func TestLinkStampsCountedHardware(t *testing.T) {
	pair := labtest.NewPair(t, &lab.PairConfig{Silent: true})
	l := openLink(t, pair.Near, &LinkConfig{Hardware: true, countIDs: true})
	s := newSender(t, pair, l)
	want := func(id, count uint32, believed bool) {
		t.Helper()
		wanted := Stamp{}
		if believed {
			wanted = Stamp{id, StampHardware, 9}
		}
		if got, ok := l.out.read(departed(0, 9, atDriver, count)); got != wanted || ok != believed {
			t.Errorf("hardware stamp of count %d: %+v, %v, want %+v", count, got, ok, wanted)
		}
	}
	want(0, 0, false) // nothing was sent
	for id := range uint32(3) {
		s.send(100 + id)
	}
	want(100, 0, true)
	want(102, 2, true)
	want(0, 3, false)
	s.sendLength(1, 5, unix.EINVAL) // the count starts anew
	want(0, 0, false)
	for id := range uint32(5) {
		s.send(200 + id)
	}
	for count := range uint32(3) {
		want(0, count, false) // of 100, or of 200?
	}
	want(203, 3, true)
	want(204, 4, true)
	s.sendLength(1, 5, unix.EINVAL)
	s.send(300)
	s.sendLength(1, 5, unix.EINVAL)
	for id := range uint32(7) {
		s.send(400 + id)
	}
	for count := range uint32(5) {
		want(0, count, false)
	}
	want(405, 5, true)
	if got, err := unix.GetsockoptInt(l.FD(), unix.SOL_SOCKET, unix.SO_TIMESTAMPING); err != nil || got != timestamping.HardwareTransmit {
		t.Errorf("after new starts: SO_TIMESTAMPING is %#x, %v, want %#x", got, err, timestamping.HardwareTransmit)
	}
	// The kernel's clock tells, all the while.
	s.l.drain(t)
	s.send(500)
	s.check(500)
	// Once all counts were given there are no doubts left.
	l.out.count = 1<<32 - 1
	s.send(600)
	if l.out.count != 0 || l.out.unsure != 0 {
		t.Errorf("after the last count: count %d, unsure below %d", l.out.count, l.out.unsure)
	}
}

func TestLinkGone(t *testing.T) {
	eachLink(t, func(t *testing.T, pair *lab.Pair, l *Link) {
		must(t, pair.Near.DeleteLink("eth0"))
		if err := l.Send(frameOf(pair, 60), 1); err != unix.ENXIO {
			t.Errorf("%v, want ENXIO, bare", err)
		}
		if n, _, err := l.ReadStamps(make([]Stamp, MinStamps)); n != 0 || err != nil {
			t.Errorf("%d stamps, %v", n, err)
		}
	})
}

func TestOpenLinkErrors(t *testing.T) {
	ns := labtest.NewNamespace(t)
	inside(t, ns, func() {
		l, err := OpenLink(&Interface{Index: 4711, Name: "gone0"}, nil)
		if l != nil || !errors.Is(err, unix.ENODEV) || err.Error() != "open packet socket on gone0: no such device" {
			t.Errorf("%v, %v", l, err)
		}
	})
}

func TestLinkClose(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	l := openLink(t, pair.Near, nil)
	for i := range 2 {
		if err := l.Close(); err != nil {
			t.Errorf("Close %d: %v", i+1, err)
		}
	}
	if err := l.Send(frameOf(pair, 60), 1); err != unix.EBADF {
		t.Errorf("Send after Close: %v", err)
	}
}

func TestLinkAllocates(t *testing.T) {
	eachLink(t, func(t *testing.T, pair *lab.Pair, l *Link) { checkAllocates(t, l, frameOf(pair, 98)) })
}

// checkAllocates sends frames and reads their stamps, and sends what is none.
func checkAllocates(t *testing.T, l *Link, b []byte) {
	t.Helper()
	stamps := make([]Stamp, MinStamps)
	var id uint32
	if allocs := testing.AllocsPerRun(500, func() {
		id++
		if err := l.Send(b, id); err != nil {
			panic(err)
		}
		if n, _, err := l.ReadStamps(stamps); n != 2 || err != nil || stamps[0].ID != id {
			panic(fmt.Sprint(n, err, stamps[:n]))
		}
		_ = l.Send(nil, id)
	}); allocs != 0 {
		t.Errorf("%v allocations a frame, want 0", allocs)
	}
}

func BenchmarkLinkSend(b *testing.B) {
	for _, countIDs := range []bool{false, true} {
		b.Run(fmt.Sprintf("counted=%v", countIDs), func(b *testing.B) {
			pair := labtest.NewPair(b, &lab.PairConfig{Silent: true})
			l := openLink(b, pair.Near, &LinkConfig{countIDs: countIDs})
			f := frameOf(pair, 98)
			stamps := make([]Stamp, MinStamps)
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Send(f, 1); err != nil {
					b.Fatal(err)
				}
				if _, _, err := l.ReadStamps(stamps); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
