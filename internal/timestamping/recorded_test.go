//go:build linux && (amd64 || arm64)

package timestamping

import (
	"encoding/hex"
	"strings"
)

// What recorded messages share, in bytes: a struct cmsghdr (length in 8 bytes,
// level, type), and a time that is none.
const (
	stampsHeader    = "40 00 00 00 00 00 00 00 01 00 00 00 25 00 00 00" // SO_TIMESTAMPING (level 1, type 0x25)
	auxdataHeader   = "24 00 00 00 00 00 00 00 07 01 00 00 08 00 00 00" // PACKET_AUXDATA (level 0x107, type 8)
	departureHeader = "20 00 00 00 00 00 00 00 07 01 00 00 10 00 00 00" // PACKET_TX_TIMESTAMP (level 0x107, type 0x10)
	zeros           = "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"
)

// recorded is the bytes that are written in hexadecimal, one message a line:
// header, data, and padding to 8.
func recorded(parts ...string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(parts, ""), " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// Control messages as recvmsg(2) gave them, on Linux 6.18 on amd64, from packet
// sockets at both ends of a veth pair, for frames of 60 bytes.
var (
	// The far end, with SO_TIMESTAMPING and PACKET_AUXDATA.
	recordedArrival = recorded(
		stampsHeader, "87 36 03 6b 00 00 00 00 1d ec 89 07 00 00 00 00", zeros, zeros,
		auxdataHeader, "01 00 00 00 3c 00 00 00 3c 00 00 00 00 00 0e 00", "00 00 00 00 00 00 00 00",
	)

	// The same of a frame with an 802.1Q tag of VLAN 5, priority 3.
	recordedVLAN = recorded(
		stampsHeader, "87 36 03 6b 00 00 00 00 b8 d8 92 07 00 00 00 00", zeros, zeros,
		auxdataHeader, "51 00 00 00 3c 00 00 00 3c 00 00 00 00 00 0e 00", "05 60 00 81 00 00 00 00",
	)

	// Of a frame with a priority tag: VLAN id 0, priority 5.
	recordedPriorityTag = recorded(
		stampsHeader, "87 36 03 6b 00 00 00 00 00 20 94 07 00 00 00 00", zeros, zeros,
		auxdataHeader, "51 00 00 00 3c 00 00 00 3c 00 00 00 00 00 0e 00", "00 a0 00 81 00 00 00 00",
	)

	// Of a frame with an 802.1ad tag (TPID 0x88a8) of VLAN 7.
	recordedServiceTag = recorded(
		stampsHeader, "87 36 03 6b 00 00 00 00 e1 83 95 07 00 00 00 00", zeros, zeros,
		auxdataHeader, "51 00 00 00 3c 00 00 00 3c 00 00 00 00 00 0e 00", "07 00 a8 88 00 00 00 00",
	)

	// A socket that asked for no arrival stamps: PACKET_AUXDATA alone.
	recordedNoStamp = recorded(
		auxdataHeader, "01 00 00 00 3c 00 00 00 3c 00 00 00 00 00 0e 00", "00 00 00 00 00 00 00 00",
	)

	// A socket that gave 50 bytes of room: cut within the stamps, MSG_CTRUNC.
	recordedCut = recorded(
		"32 00 00 00 00 00 00 00 01 00 00 00 25 00 00 00", "87 36 03 6b 00 00 00 00 d3 df 97 07 00 00 00 00", zeros, "00 00",
	)

	// A raw socket's error queue: what its fourth packet left there when it was
	// with the driver of the loopback interface, with IP_RECVERR (level 0, type
	// 0xb).
	recordedRaw = recorded(
		stampsHeader, "62 1a 04 6b 00 00 00 00 d7 4a c1 16 00 00 00 00", zeros, zeros,
		"30 00 00 00 00 00 00 00 00 00 00 00 0b 00 00 00", "2a 00 00 00 04 00 00 00 00 00 00 00 03 00 00 00", zeros,
	)

	// The near end's error queue: what the fourth frame of a socket left there
	// when it entered the qdisc (SCM_TSTAMP_SCHED), with PACKET_TX_TIMESTAMP.
	recordedSched = recorded(
		stampsHeader, "87 36 03 6b 00 00 00 00 88 e9 89 07 00 00 00 00", zeros, zeros,
		departureHeader, "2a 00 00 00 04 00 00 00 01 00 00 00 03 00 00 00",
	)

	// The same frame at the driver (SCM_TSTAMP_SND).
	recordedDriver = recorded(
		stampsHeader, "87 36 03 6b 00 00 00 00 55 eb 89 07 00 00 00 00", zeros, zeros,
		departureHeader, "2a 00 00 00 04 00 00 00 00 00 00 00 03 00 00 00",
	)

	// At the qdisc, of a frame that was sent with SCM_TS_OPT_ID 0xdeadbeef.
	recordedSchedID = recorded(
		stampsHeader, "87 36 03 6b 00 00 00 00 4e b3 40 08 00 00 00 00", zeros, zeros,
		departureHeader, "2a 00 00 00 04 00 00 00 01 00 00 00 ef be ad de",
	)

	// The same frame at the driver.
	recordedDriverID = recorded(
		stampsHeader, "87 36 03 6b 00 00 00 00 9f c1 40 08 00 00 00 00", zeros, zeros,
		departureHeader, "2a 00 00 00 04 00 00 00 00 00 00 00 ef be ad de",
	)
)

// The same on Linux 6.12 from both ends of a wire between two NICs that stamp:
// QEMU's model of an Intel 82576 (driver igb), set to tx on, rx ptpv2-event. The
// frames are PTP's Sync, of 60 bytes.
var (
	// The far end, asked for both kinds: the NIC's stamp, by its own clock, is in the third
	// time.
	recordedBoth = recorded(
		stampsHeader, "36 55 03 6b 00 00 00 00 bc d9 9d 06 00 00 00 00", zeros, "36 55 03 6b 00 00 00 00 54 88 97 06 00 00 00 00",
		auxdataHeader, "01 00 00 00 3c 00 00 00 3c 00 00 00 00 00 0e 00", "00 00 00 00 00 00 00 00",
	)

	// The same frame on a socket that asked for the NIC's stamp alone.
	recordedHardware = recorded(
		stampsHeader, zeros, zeros, "36 55 03 6b 00 00 00 00 54 88 97 06 00 00 00 00",
		auxdataHeader, "01 00 00 00 3c 00 00 00 3c 00 00 00 00 00 0e 00", "00 00 00 00 00 00 00 00",
	)

	// The near end's error queue, with SOF_TIMESTAMPING_OPT_TX_SWHW: three messages of
	// the first frame. At the qdisc:
	recordedHardwareSched = recorded(
		stampsHeader, "36 55 03 6b 00 00 00 00 19 45 8f 06 00 00 00 00", zeros, zeros,
		departureHeader, "2a 00 00 00 04 00 00 00 01 00 00 00 00 00 00 00",
	)

	// At the driver, in software:
	recordedHardwareDriver = recorded(
		stampsHeader, "36 55 03 6b 00 00 00 00 eb 1c 97 06 00 00 00 00", zeros, zeros,
		departureHeader, "2a 00 00 00 04 00 00 00 00 00 00 00 00 00 00 00",
	)

	// By the NIC, at the same point (SCM_TSTAMP_SND), last:
	recordedHardwareNIC = recorded(
		stampsHeader, zeros, zeros, "36 55 03 6b 00 00 00 00 68 f7 96 06 00 00 00 00",
		departureHeader, "2a 00 00 00 04 00 00 00 00 00 00 00 00 00 00 00",
	)
)
