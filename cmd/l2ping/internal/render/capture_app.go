//go:build linux

package render

import (
	"errors"
	"strconv"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Ports that DNS is spoken at (RFC 1035, 6762, 4795). Of the latter two gopacket
// does not know.
const (
	portDNS   = 53
	portMDNS  = 5353
	portLLMNR = 5355
)

func (w *words) udp(l *layers.UDP, ls []gopacket.Layer, length int) {
	length -= len(l.Contents)
	if l.Length >= 8 { // a first fragment has the length of the whole
		length = int(l.Length) - 8
	}
	at := func(port layers.UDPPort) bool { return l.SrcPort == port || l.DstPort == port }
	switch {
	case at(portDNS), at(portMDNS), at(portLLMNR):
		if w.dns(l.Payload, length, at(portMDNS)) {
			return
		}
	case undecoded(ls):
	default:
		if w.application(ls, length) {
			return
		}
	}
	w.add("UDP")
	w.length(length)
}

// application words what gopacket has found behind UDP. It is false if there is no
// more to it than bytes.
func (w *words) application(ls []gopacket.Layer, length int) bool {
	switch l := ls[0].(type) {
	case *layers.DHCPv4:
		w.dhcp(l, length)
	case *layers.DHCPv6:
		w.addf("dhcp6 %s", strings.ToLower(l.MsgType.String()))
		w.length(length)
	case *layers.NTP:
		modes := [...]string{"Reserved", "symmetric active", "symmetric passive", "Client", "Server", "Broadcast", "Control Message", "Reserved"}
		w.addf("NTPv%d, %s", l.Version, modes[l.Mode&7])
		w.length(length)
	case *layers.VXLAN:
		flags := "."
		if l.ValidIDFlag {
			flags = "I"
		}
		w.addf("VXLAN, flags [%s] (0x%02x), vni %d: ", flags, l.Contents[0], l.VNI)
		w.network(ls[1:], length-len(l.Contents), layers.EthernetTypeTransparentEthernetBridging)
	case *layers.Geneve:
		flags := "none"
		switch {
		case l.OAMPacket && l.CriticalOption:
			flags = "OC"
		case l.OAMPacket:
			flags = "O"
		case l.CriticalOption:
			flags = "C"
		}
		w.addf("Geneve, Flags [%s], vni 0x%x: ", flags, l.VNI)
		w.network(ls[1:], length-len(l.Contents), l.Protocol)
	case *gopacket.Payload, *gopacket.Fragment:
		return false
	default:
		w.add(l.LayerType().String())
		w.length(length)
	}
	return true
}

func (w *words) dhcp(l *layers.DHCPv4, length int) {
	w.add("BOOTP/DHCP, ")
	switch l.Operation {
	case layers.DHCPOpRequest:
		w.add("Request from ")
		w.mac(l.ClientHWAddr[:min(len(l.ClientHWAddr), 6)])
	case layers.DHCPOpReply:
		w.add("Reply")
	default:
		w.addf("unknown (0x%02x)", uint8(l.Operation))
	}
	for _, o := range l.Options {
		if o.Type == layers.DHCPOptMessageType && len(o.Data) == 1 {
			w.add(", ")
			w.add(layers.DHCPMsgType(o.Data[0]).String())
		}
	}
	w.length(length)
}

// mostRecords is how many questions or answers a line tells.
const mostRecords = 8

var opNames = map[layers.DNSOpCode]string{1: " inv_q", 2: " stat", 4: " notify", 5: " update"}

var rcodeNames = map[layers.DNSResponseCode]string{
	1: " FormErr", 2: " ServFail", 3: " NXDomain", 4: " NotImp", 5: " Refused", 6: " YXDomain", 7: " YXRRSet", 8: " NXRRSet",
	9: " NotAuth", 10: " NotZone",
}

// dns words a DNS message, of multicast or not. It is false if it is none. gopacket's
// own layer is not there where the message is cut.
func (w *words) dns(payload []byte, length int, multicast bool) bool {
	var d layers.DNS
	err := decodeDNS(&d, payload)
	if err != nil && len(payload) < 12 {
		return false
	}
	w.number(uint64(d.ID))
	w.add(opNames[d.OpCode])
	if d.QR {
		w.answer(&d)
	} else {
		w.question(&d, multicast)
	}
	if err != nil {
		w.add(" [|domain]")
	}
	w.addf(" (%d)", max(length, 0))
	return true
}

var errDNS = errors.New("not to be decoded")

// decodeDNS decodes a message, and takes a panic for an error, as gopacket does
// itself of a whole frame.
func decodeDNS(d *layers.DNS, payload []byte) (err error) {
	defer func() {
		if recover() != nil {
			err = errDNS
		}
	}()
	return d.DecodeFromBytes(payload, gopacket.NilDecodeFeedback)
}

func (w *words) question(d *layers.DNS, multicast bool) {
	if d.RD {
		w.add("+")
	}
	if d.Z&1 != 0 {
		w.add("%")
	}
	for _, c := range [...]struct {
		n    uint16
		name string
	}{{d.ANCount, "a"}, {d.NSCount, "n"}, {d.ARCount, "au"}} {
		if c.n > 0 {
			w.addf(" [%d%s]", c.n, c.name)
		}
	}
	if d.QDCount != 1 {
		w.addf(" [%dq]", d.QDCount)
	}
	for i, q := range d.Questions {
		if i == mostRecords {
			w.add(" ...")
			break
		}
		w.addf(" %s", recordType(q.Type))
		if q.Class&0x7fff != layers.DNSClassIN {
			w.addf(" (Class %d)", uint16(q.Class))
		}
		switch { // what kind of answer is wanted
		case multicast && q.Class&0x8000 != 0:
			w.add(" (QU)")
		case multicast:
			w.add(" (QM)")
		}
		w.add("? ")
		w.name(q.Name)
	}
}

func (w *words) answer(d *layers.DNS) {
	w.add(rcodeNames[d.ResponseCode])
	if d.AA {
		w.add("*")
	}
	if !d.RA {
		w.add("-")
	}
	if d.TC {
		w.add("|")
	}
	if d.Z&2 != 0 {
		w.add("$")
	}
	if d.QDCount != 1 {
		w.addf(" [%dq]", d.QDCount)
	}
	w.addf(" %d/%d/%d", d.ANCount, d.NSCount, d.ARCount)
	for i := range d.Answers {
		switch {
		case i == mostRecords:
			w.add(", ...")
			return
		case i > 0:
			w.add(",")
		}
		w.record(&d.Answers[i])
	}
}

func recordType(t layers.DNSType) string {
	switch name := t.String(); {
	case t == 255:
		return "ANY"
	case t == 65:
		return "HTTPS"
	case name == "Unknown":
		return "Type" + strconv.Itoa(int(t))
	default:
		return name
	}
}

func (w *words) record(r *layers.DNSResourceRecord) {
	w.add(" ")
	w.add(recordType(r.Type))
	switch r.Type {
	case layers.DNSTypeA, layers.DNSTypeAAAA:
		w.add(" ")
		w.ip(r.IP)
	case layers.DNSTypeNS:
		w.add(" ")
		w.name(r.NS)
	case layers.DNSTypeCNAME:
		w.add(" ")
		w.name(r.CNAME)
	case layers.DNSTypePTR:
		w.add(" ")
		w.name(r.PTR)
	case layers.DNSTypeMX:
		w.add(" ")
		w.name(r.MX.Name)
		w.addf(" %d", r.MX.Preference)
	case layers.DNSTypeSRV:
		w.add(" ")
		w.name(r.SRV.Name)
		w.addf(":%d %d %d", r.SRV.Port, r.SRV.Priority, r.SRV.Weight)
	case layers.DNSTypeTXT:
		for _, t := range r.TXTs {
			w.add(` "`)
			w.text(t)
			w.add(`"`)
		}
	}
}

func (w *words) name(n []byte) {
	w.text(n)
	w.add(".")
}
