//go:build linux && (amd64 || arm64)

package timestamping

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// second is that in which the messages were recorded.
const second = 0x6b033687 * 1_000_000_000

// igbSecond is that of the messages with hardware stamps; igb sets its NIC's
// clock by the host's.
const igbSecond = 0x6b035536 * 1_000_000_000

// rawSecond is that of the message of a raw socket.
const rawSecond = 0x6b041a62 * 1_000_000_000

// message is a control message, padded as the kernel pads it.
func message(level, typ int32, data []byte) []byte {
	b := binary.NativeEndian.AppendUint64(nil, uint64(unix.CmsgLen(len(data))))
	b = binary.NativeEndian.AppendUint32(b, uint32(level))
	b = binary.NativeEndian.AppendUint32(b, uint32(typ))
	b = append(b, data...)
	return append(b, make([]byte, unix.CmsgSpace(len(data))-len(b))...)
}

// stamps is the data of SCM_TIMESTAMPING, long form: software, nothing, hardware.
func stamps(numbers ...uint64) []byte {
	var b []byte
	for _, n := range numbers {
		b = binary.NativeEndian.AppendUint64(b, n)
	}
	return b
}

// shortStamps is the same as a program with 32-bit longs gets it.
func shortStamps(numbers ...uint32) []byte {
	var b []byte
	for _, n := range numbers {
		b = binary.NativeEndian.AppendUint32(b, n)
	}
	return b
}

func timestampingMessage(data []byte) []byte {
	return message(unix.SOL_SOCKET, unix.SO_TIMESTAMPING, data)
}

// auxdata is PACKET_AUXDATA with a tag.
func auxdata(status uint32, tci, tpid uint16) []byte {
	b := binary.NativeEndian.AppendUint32(nil, status)
	b = append(b, make([]byte, 12)...)
	b = binary.NativeEndian.AppendUint16(b, tci)
	b = binary.NativeEndian.AppendUint16(b, tpid)
	return message(unix.SOL_PACKET, unix.PACKET_AUXDATA, b)
}

// extendedError is PACKET_TX_TIMESTAMP.
func extendedError(errno uint32, origin uint8, info, data uint32) []byte {
	b := binary.NativeEndian.AppendUint32(nil, errno)
	b = append(b, origin, 0, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, info)
	b = binary.NativeEndian.AppendUint32(b, data)
	return message(unix.SOL_PACKET, unix.PACKET_TX_TIMESTAMP, b)
}

// other is a message that nobody here asked for.
var other = message(unix.SOL_SOCKET, unix.SCM_CREDENTIALS, make([]byte, 12))

func TestParseArrival(t *testing.T) {
	const tagged, tpidValid = unix.TP_STATUS_VLAN_VALID, unix.TP_STATUS_VLAN_TPID_VALID
	for _, tt := range []struct {
		name    string
		control []byte
		want    Arrival
	}{
		{"recorded", recordedArrival, Arrival{Length: 60, Software: second + 0x0789ec1d}},
		{"recorded, VLAN 5", recordedVLAN, Arrival{Length: 60, Software: second + 0x0792d8b8, VLAN: true, TCI: 3<<13 | 5, TPID: 0x8100}},
		{"recorded, priority tag", recordedPriorityTag, Arrival{Length: 60, Software: second + 0x07942000, VLAN: true, TCI: 5 << 13, TPID: 0x8100}},
		{"recorded, 802.1ad", recordedServiceTag, Arrival{Length: 60, Software: second + 0x079583e1, VLAN: true, TCI: 7, TPID: 0x88a8}},
		{"recorded, no stamp", recordedNoStamp, Arrival{Length: 60}},
		{"recorded, software and hardware", recordedBoth, Arrival{Length: 60, Software: igbSecond + 0x069dd9bc, Hardware: igbSecond + 0x06978854}},
		{"recorded, hardware alone", recordedHardware, Arrival{Length: 60, Hardware: igbSecond + 0x06978854}},
		{"recorded, cut in the stamps", recordedCut, Arrival{}},
		{"nothing", nil, Arrival{}},
		{"a zero stamp", timestampingMessage(stamps(0, 0, 0, 0, 0, 0)), Arrival{}},
		{"hardware", timestampingMessage(stamps(1, 2, 9, 9, 3, 4)), Arrival{Software: 1e9 + 2, Hardware: 3e9 + 4}},
		{"hardware alone", timestampingMessage(stamps(0, 0, 0, 0, 3, 4)), Arrival{Hardware: 3e9 + 4}},
		{"longer than known", timestampingMessage(stamps(1, 2, 0, 0, 3, 4, 5, 6)), Arrival{Software: 1e9 + 2, Hardware: 3e9 + 4}},
		{"short form", timestampingMessage(shortStamps(1, 2, 9, 9, 3, 4)), Arrival{Software: 1e9 + 2, Hardware: 3e9 + 4}},
		{"one byte short of the long form", timestampingMessage(stamps(1, 2, 0, 0, 3, 4)[:47]), Arrival{}},
		{"one byte more than the short form", timestampingMessage(stamps(1, 2, 0, 0, 3, 4)[:25]), Arrival{}},
		{"one byte short of the short form", timestampingMessage(shortStamps(1, 2, 9, 9, 3, 4)[:23]), Arrival{}},
		{"no data", timestampingMessage(nil), Arrival{}},
		{"behind others", slices.Concat(other, auxdata(tagged|tpidValid, 5, 0x8100), other, timestampingMessage(stamps(1, 2, 0, 0, 0, 0)), other),
			Arrival{Software: 1e9 + 2, VLAN: true, TCI: 5, TPID: 0x8100}},
		{"the same type of another level", slices.Concat(message(unix.SOL_PACKET, unix.SO_TIMESTAMPING, stamps(1, 2, 0, 0, 0, 0)),
			message(unix.SOL_SOCKET, unix.PACKET_AUXDATA, auxdata(tagged, 5, 0x8100)[16:36])), Arrival{}},
		{"no tag, but a TCI", auxdata(tpidValid, 5, 0x8100), Arrival{}},
		{"a kernel that does not tell the TPID", auxdata(tagged, 5, 0), Arrival{VLAN: true, TCI: 5, TPID: 0x8100}},
		{"auxdata one byte short", message(unix.SOL_PACKET, unix.PACKET_AUXDATA, auxdata(tagged, 5, 0x8100)[16:35]), Arrival{}},
		{"a length of 0", make([]byte, 64), Arrival{}},
		{"a length past the end", binary.NativeEndian.AppendUint64(nil, 1<<40), Arrival{}},
		{"a length past the end, after a good one", slices.Concat(timestampingMessage(stamps(1, 2, 0, 0, 0, 0)), bytes.Repeat([]byte{0xff}, 40)),
			Arrival{Software: 1e9 + 2}},
	} {
		a := Arrival{Software: 1, Hardware: 2, VLAN: true, TCI: 3, TPID: 4} // of the frame before
		ParseArrival(tt.control, &a)
		if a != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, a, tt.want)
		}
	}
}

// Cut anywhere, a message tells either the truth or nothing.
func TestParseArrivalCut(t *testing.T) {
	for _, recorded := range [][]byte{recordedVLAN, recordedBoth, recordedHardware} {
		var whole Arrival
		ParseArrival(recorded, &whole)
		for n := range recorded {
			// The kernel puts what fits and sets the length of the cut message to that
			// (put_cmsg in net/core/scm.c).
			for at, length := range map[int]int{0: 64, 64: 36} {
				control := bytes.Clone(recorded[:n])
				if n >= at+16 && n < at+length {
					binary.NativeEndian.PutUint64(control[at:], uint64(n-at))
				}
				var a Arrival
				ParseArrival(control, &a)
				if n == 16+24 && at == 0 {
					continue // looks like the short form; only MSG_CTRUNC tells
				}
				if a.Software != 0 && a.Software != whole.Software || a.Hardware != 0 && a.Hardware != whole.Hardware ||
					a.VLAN && (!whole.VLAN || a.TCI != whole.TCI || a.TPID != whole.TPID) {
					t.Errorf("%d bytes: %+v, whole %+v", n, a, whole)
				}
			}
		}
	}
}

func TestParseDeparture(t *testing.T) {
	some := timestampingMessage(stamps(1, 2, 0, 0, 0, 0))
	const enomsg, origin = uint32(unix.ENOMSG), 4
	for _, tt := range []struct {
		name    string
		control []byte
		want    Departure
		ok      bool
	}{
		{"recorded, sched", recordedSched, Departure{ID: 3, Point: Sched, Software: second + 0x0789e988}, true},
		{"recorded, driver", recordedDriver, Departure{ID: 3, Point: Driver, Software: second + 0x0789eb55}, true},
		{"recorded, sched, id given", recordedSchedID, Departure{ID: 0xdeadbeef, Point: Sched, Software: second + 0x0840b34e}, true},
		{"recorded, driver, id given", recordedDriverID, Departure{ID: 0xdeadbeef, Point: Driver, Software: second + 0x0840c19f}, true},
		{"recorded, three a frame: sched", recordedHardwareSched, Departure{Point: Sched, Software: igbSecond + 0x068f4519}, true},
		{"recorded, three a frame: driver", recordedHardwareDriver, Departure{Point: Driver, Software: igbSecond + 0x06971ceb}, true},
		{"recorded, three a frame: NIC", recordedHardwareNIC, Departure{Point: Driver, Hardware: igbSecond + 0x0696f768}, true},
		{"recorded, of a raw socket", recordedRaw, Departure{ID: 3, Point: Driver, Software: rawSecond + 0x16c14ad7}, true},
		{"the other way round", slices.Concat(extendedError(enomsg, origin, 1, 7), other, some), Departure{ID: 7, Point: Sched, Software: 1e9 + 2}, true},
		{"hardware", slices.Concat(timestampingMessage(stamps(0, 0, 0, 0, 3, 4)), extendedError(enomsg, origin, 0, 7)),
			Departure{ID: 7, Point: Driver, Hardware: 3e9 + 4}, true},
		{"short form", slices.Concat(timestampingMessage(shortStamps(1, 2, 0, 0, 0, 0)), extendedError(enomsg, origin, 0, 7)),
			Departure{ID: 7, Point: Driver, Software: 1e9 + 2}, true},
		{"a point that is not known", slices.Concat(some, extendedError(enomsg, origin, 2, 7)), Departure{ID: 7, Point: 2, Software: 1e9 + 2}, true},
		{"a zero stamp", slices.Concat(timestampingMessage(stamps(0, 0, 0, 0, 0, 0)), extendedError(enomsg, origin, 0, 7)), Departure{ID: 7}, false},
		{"no stamp", extendedError(enomsg, origin, 0, 7), Departure{ID: 7}, false},
		{"no id", some, Departure{Software: 1e9 + 2}, false},
		{"another error", slices.Concat(some, extendedError(uint32(unix.ENETDOWN), origin, 0, 7)), Departure{Software: 1e9 + 2}, false},
		{"another origin", slices.Concat(some, extendedError(enomsg, 5, 0, 7)), Departure{Software: 1e9 + 2}, false},
		{"an extended error one byte short", slices.Concat(some, message(unix.SOL_PACKET, unix.PACKET_TX_TIMESTAMP, extendedError(enomsg, origin, 0, 7)[16:31])),
			Departure{Software: 1e9 + 2}, false},
		{"garbage behind", slices.Concat(recordedSched, bytes.Repeat([]byte{0xff}, 24)), Departure{ID: 3, Point: Sched, Software: second + 0x0789e988}, false},
		{"nothing", nil, Departure{}, false},
		{"an arrival", recordedArrival, Departure{Software: second + 0x0789ec1d}, false},
	} {
		d := Departure{ID: 1, Point: 1, Software: 1, Hardware: 1} // of the message before
		if ok := ParseDeparture(tt.control, &d); ok != tt.ok || d != tt.want {
			t.Errorf("%s: %v, %+v, want %v, %+v", tt.name, ok, d, tt.ok, tt.want)
		}
	}
}

// A departure cut anywhere is none.
func TestParseDepartureCut(t *testing.T) {
	for _, whole := range [][]byte{recordedSched, recordedDriver, recordedHardwareNIC, recordedRaw} {
		for n := range whole {
			var d Departure
			if ParseDeparture(whole[:n], &d) {
				t.Errorf("%d of %d bytes: %+v", n, len(whole), d)
			}
		}
	}
}

func TestParseAllocates(t *testing.T) {
	var a Arrival
	var d Departure
	if allocs := testing.AllocsPerRun(1000, func() {
		ParseArrival(recordedVLAN, &a)
		ParseArrival(recordedVLAN[:70], &a) // an error
		ParseDeparture(recordedSched, &d)
		ParseDeparture(recordedSched[:70], &d)
		ParseArrival(recordedBoth, &a)
		ParseDeparture(recordedHardwareNIC, &d)
	}); allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

func TestEnable(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, flags := range []int{Receive, 0, Transmit, 0, HardwareReceive, Receive, HardwareTransmit, 0} {
		if err := Enable(fd, flags); err != nil {
			t.Fatal(err)
		}
		if got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING); err != nil || got != flags {
			t.Errorf("SO_TIMESTAMPING is %#x, want %#x (%v)", got, flags, err)
		}
	}
	if err := Enable(fd, 1<<30); !errors.Is(err, unix.EINVAL) {
		t.Errorf("flags that nobody knows: %v, want EINVAL", err)
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	if err := Enable(-1, Receive); !errors.Is(err, unix.EBADF) {
		t.Errorf("no descriptor: %v, want EBADF", err)
	}
}

func FuzzParseArrival(f *testing.F) {
	for _, b := range [][]byte{recordedArrival, recordedVLAN, recordedCut, recordedNoStamp, recordedBoth, recordedHardware} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, control []byte) {
		before := bytes.Clone(control)
		var a, again Arrival
		again.TPID = 1
		ParseArrival(control, &a)
		ParseArrival(control, &again)
		if a != again {
			t.Errorf("twice the same: %+v, %+v", a, again)
		}
		if !a.VLAN && (a.TCI != 0 || a.TPID != 0) {
			t.Errorf("no tag, but its fields: %+v", a)
		}
		if !bytes.Equal(before, control) {
			t.Error("the caller's bytes have changed")
		}
		if len(control) < unix.CmsgLen(20) && a != (Arrival{}) {
			t.Errorf("%d bytes are no message that tells anything: %+v", len(control), a)
		}
	})
}

func FuzzParseDeparture(f *testing.F) {
	for _, b := range [][]byte{recordedSched, recordedDriver, recordedArrival, recordedHardwareNIC, recordedRaw} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, control []byte) {
		var d, again Departure
		again.ID = 1
		ok := ParseDeparture(control, &d)
		if ok != ParseDeparture(control, &again) || d != again {
			t.Errorf("twice the same: %+v, %+v", d, again)
		}
		if ok && d.Software == 0 && d.Hardware == 0 {
			t.Errorf("a departure without a stamp: %+v", d)
		}
		// Both messages have to be there.
		if ok && len(control) < unix.CmsgSpace(24)+unix.CmsgLen(16) {
			t.Errorf("%d bytes are no departure: %+v", len(control), d)
		}
	})
}
