package pcapfilter

import (
	"context"
	"net"
	"strings"
)

// A protocol is a word that names one: alone, before a qualifier, or before an
// accessor such as tcp[13].
type protocol int

const (
	anyProtocol protocol = iota
	protoLink
	protoIP
	protoIP6
	protoARP
	protoRARP
	protoTCP
	protoUDP
	protoSCTP
	protoICMP
	protoICMP6
	protoIGMP
	protoIGRP
	protoPIM
	protoVRRP
	protoCARP
	protoAH
	protoESP
	protoDECnet
	protoLAT
	protoSCA
	protoMOPDL
	protoMOPRC
	protoAppleTalk
	protoAARP
	protoISO
	protoSTP
	protoIPX
	protoNetBEUI
)

var protocolWords = map[string]protocol{
	"ether": protoLink, "link": protoLink, "fddi": protoLink, "tr": protoLink, "wlan": protoLink, "ppp": protoLink, "slip": protoLink,
	"ip": protoIP, "ip6": protoIP6, "arp": protoARP, "rarp": protoRARP,
	"tcp": protoTCP, "udp": protoUDP, "sctp": protoSCTP, "icmp": protoICMP, "icmp6": protoICMP6, "igmp": protoIGMP,
	"igrp": protoIGRP, "pim": protoPIM, "vrrp": protoVRRP, "carp": protoCARP, "ah": protoAH, "esp": protoESP,
	"decnet": protoDECnet, "lat": protoLAT, "sca": protoSCA, "mopdl": protoMOPDL, "moprc": protoMOPRC,
	"atalk": protoAppleTalk, "aarp": protoAARP, "iso": protoISO, "stp": protoSTP, "ipx": protoIPX, "netbeui": protoNetBEUI,
}

// etherTypes are what a protocol of the link is known by: a type in an Ethernet
// header, or below 1536 an address (SAP) in an LLC header.
var etherTypes = map[protocol]uint32{
	protoIP: etherTypeIPv4, protoIP6: etherTypeIPv6, protoARP: etherTypeARP, protoRARP: etherTypeRARP,
	protoMOPDL: 0x6001, protoMOPRC: 0x6002, protoDECnet: 0x6003, protoLAT: 0x6004, protoSCA: 0x6007,
	protoAppleTalk: etherTypeAppleTalk, protoAARP: etherTypeAARP,
	protoISO: sapISO, protoSTP: 0x42, protoIPX: sapIPX, protoNetBEUI: sapNetBEUI,
}

// An inside is how a packet of IP says what it carries.
type inside struct {
	number   uint32
	ip4, ip6 bool
}

var insides = map[protocol]inside{
	protoTCP: {ipTCP, true, true}, protoUDP: {ipUDP, true, true}, protoSCTP: {ipSCTP, true, true},
	protoPIM: {103, true, true}, protoAH: {51, true, true}, protoESP: {50, true, true},
	protoICMP: {1, true, false}, protoIGMP: {2, true, false}, protoIGRP: {9, true, false},
	protoVRRP: {112, true, false}, protoCARP: {112, true, false},
	protoICMP6: {ipICMPv6, false, true},
}

// words are the keywords beside protocolWords.
var words = map[string]bool{
	"src": true, "dst": true, "host": true, "net": true, "mask": true, "port": true, "portrange": true, "proto": true,
	"less": true, "greater": true, "len": true, "length": true, "broadcast": true, "multicast": true, "vlan": true,
	"inbound": true, "outbound": true, "ifindex": true, "and": true, "or": true, "not": true,
}

// foreignWords are the keywords of pcap-filter(7) that this compiler does not
// have, and what is to be said of them.
var foreignWords = func() map[string]string {
	list := map[string]string{
		"protochain": "is not supported: classic BPF has no loops (proto tests the first header)",
		"gateway":    "is not supported: write ether host MAC and not host ADDRESS",
		"byte":       "is not supported: write ether[OFFSET]",
		"llc":        "is not supported: write ether[12:2] <= 1500, and offsets with ether[...]",
		"mpls":       "is not supported: write ether proto 0x8847, and offsets with ether[...]",
		"pppoed":     "is not supported: write ether proto 0x8863",
		"pppoes":     "is not supported: write ether proto 0x8864, and offsets with ether[...]",
		"geneve":     "is not supported: write udp port 6081",
		"vxlan":      "is not supported: write udp port 4789",
	}
	for w := range strings.FieldsSeq(`radio type subtype direction dir ra ta address1 addr1 address2 addr2 address3 addr3 address4 addr4
		clnp esis es-is isis is-is l1 l2 iih lsp snp csnp psnp on ifname rset ruleset rnr rulenum srnr subrulenum reason action
		lane metac bcc oam oamf4 oamf4ec oamf4sc sc ilmic vpi vci connectmsg metaconnect
		fisu lssu lsu msu hfisu hlssu hmsu sio opc dpc sls hsio hopc hdpc hsls`) {
		list[w] = "is not supported"
	}
	return list
}()

// constants are the words that stand for numbers.
var constants = map[string]uint32{
	"icmptype": 0, "icmpcode": 1, "icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4, "icmp-redirect": 5,
	"icmp-echo": 8, "icmp-routeradvert": 9, "icmp-routersolicit": 10, "icmp-timxceed": 11, "icmp-paramprob": 12,
	"icmp-tstamp": 13, "icmp-tstampreply": 14, "icmp-ireq": 15, "icmp-ireqreply": 16, "icmp-maskreq": 17, "icmp-maskreply": 18,
	"icmp6type": 0, "icmp6code": 1, "icmp6-destinationunreach": 1, "icmp6-packettoobig": 2, "icmp6-timeexceeded": 3,
	"icmp6-parameterproblem": 4, "icmp6-echo": 128, "icmp6-echoreply": 129, "icmp6-multicastlistenerquery": 130,
	"icmp6-multicastlistenerreportv1": 131, "icmp6-multicastlistenerdone": 132, "icmp6-routersolicit": 133,
	"icmp6-routeradvert": 134, "icmp6-neighborsolicit": 135, "icmp6-neighboradvert": 136, "icmp6-redirect": 137,
	"icmp6-routerrenum": 138, "icmp6-nodeinformationquery": 139, "icmp6-nodeinformationresponse": 140,
	"icmp6-ineighbordiscoverysolicit": 141, "icmp6-ineighbordiscoveryadvert": 142, "icmp6-multicastlistenerreportv2": 143,
	"icmp6-homeagentdiscoveryrequest": 144, "icmp6-homeagentdiscoveryreply": 145, "icmp6-mobileprefixsolicit": 146,
	"icmp6-mobileprefixadvert": 147, "icmp6-certpathsolicit": 148, "icmp6-certpathadvert": 149,
	"icmp6-multicastrouteradvert": 151, "icmp6-multicastroutersolicit": 152, "icmp6-multicastrouterterm": 153,
	"tcpflags": 13, "tcp-fin": 0x01, "tcp-syn": 0x02, "tcp-rst": 0x04, "tcp-push": 0x08, "tcp-ack": 0x10, "tcp-urg": 0x20,
	"tcp-ece": 0x40, "tcp-cwr": 0x80,
}

// etherNames are the names that ether proto takes.
var etherNames = map[string]protocol{
	"ip": protoIP, "ip6": protoIP6, "arp": protoARP, "rarp": protoRARP, "aarp": protoAARP, "atalk": protoAppleTalk,
	"decnet": protoDECnet, "lat": protoLAT, "mopdl": protoMOPDL, "moprc": protoMOPRC, "sca": protoSCA,
	"iso": protoISO, "stp": protoSTP, "ipx": protoIPX, "netbeui": protoNetBEUI,
}

// etherTypeLoopback is the type that ether proto calls loopback.
const etherTypeLoopback = 0x9000

// ipNames are the names that proto, ip proto and ip6 proto take: of IANA's
// protocol numbers those in Debian's /etc/protocols, and icmp6.
var ipNames = map[string]uint32{
	"ip": 0, "hopopt": 0, "icmp": 1, "igmp": 2, "ggp": 3, "ipencap": 4, "st": 5, "tcp": ipTCP, "egp": 8, "igp": 9, "pup": 12,
	"udp": ipUDP, "hmp": 20, "xns-idp": 22, "rdp": 27, "iso-tp4": 29, "dccp": 33, "xtp": 36, "ddp": 37, "idpr-cmtp": 38,
	"ipv6": 41, "ipv6-route": 43, "ipv6-frag": ip6Fragment, "idrp": 45, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "skip": 57,
	"ipv6-icmp": ipICMPv6, "icmp6": ipICMPv6, "ipv6-nonxt": 59, "ipv6-opts": 60, "rspf": 73, "vmtp": 81, "eigrp": 88,
	"ospf": 89, "ax.25": 93, "ipip": 94, "etherip": 97, "encap": 98, "pim": 103, "ipcomp": 108, "vrrp": 112, "l2tp": 115,
	"isis": 124, "sctp": ipSCTP, "fc": 133, "mobility-header": 135, "udplite": 136, "mpls-in-ip": 137, "manet": 138,
	"hip": 139, "shim6": 140, "wesp": 141, "rohc": 142, "ethernet": 143,
}

// A service is a port by name, and who has it.
type service struct {
	port     uint16
	tcp, udp bool
}

// services stand in where the host has no list of its own, as a bare container.
var services = map[string]service{
	"ftp-data": {20, true, false}, "ftp": {21, true, false}, "ssh": {22, true, false}, "telnet": {23, true, false},
	"smtp": {25, true, false}, "domain": {53, true, true}, "bootps": {67, false, true}, "bootpc": {68, false, true},
	"tftp": {69, false, true}, "http": {80, true, false}, "kerberos": {88, true, true}, "pop3": {110, true, false},
	"sunrpc": {111, true, true}, "ntp": {123, false, true}, "imap2": {143, true, false}, "snmp": {161, true, true},
	"snmp-trap": {162, true, true}, "bgp": {179, true, false}, "ldap": {389, true, true}, "https": {443, true, true},
	"isakmp": {500, false, true}, "syslog": {514, false, true}, "submission": {587, true, false}, "ldaps": {636, true, true},
	"imaps": {993, true, false}, "radius": {1812, true, true}, "nfs": {2049, true, true}, "mysql": {3306, true, false},
	"postgresql": {5432, true, false}, "mdns": {5353, false, true},
}

// lookupService finds a port by its name: as the host says (/etc/services), else
// in services. A name that is of both TCP and UDP counts for both only if the
// port is the same, and for TCP otherwise.
func lookupService(name string) (service, bool) {
	r := net.Resolver{PreferGo: true} // which asks nobody
	tcp, tcpErr := r.LookupPort(context.Background(), "tcp", name)
	udp, udpErr := r.LookupPort(context.Background(), "udp", name)
	switch {
	case tcpErr == nil:
		return service{uint16(tcp), true, udpErr == nil && udp == tcp}, true
	case udpErr == nil:
		return service{uint16(udp), false, true}, true
	}
	s, ok := services[name]
	return s, ok
}

// similar returns the keyword that a word was probably meant to be, or "".
func similar(word string) string {
	best, least := "", min(2, (len(word)+1)/3)+1
	try := func(w string) {
		if d := distance(word, w); d < least || d == least && best != "" && w < best {
			best, least = w, d
		}
	}
	for w := range words {
		try(w)
	}
	for w := range protocolWords {
		try(w)
	}
	for w := range constants {
		try(w)
	}
	return best
}

// distance counts the letters to put in, leave out, change or swap with a
// neighbor that make b of a.
func distance(a, b string) int {
	if diff := len(a) - len(b); diff > 3 || diff < -3 {
		return 4
	}
	two, one, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			change := one[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, one[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], two[j-1]+1)
			}
		}
		two, one, row = one, row, two
	}
	return one[len(b)]
}
