package pcapfilter

// Expressions that tcpdump takes, by what they are for. What it makes of them is
// recorded in testdata.

var etherExpressions = []string{
	"",

	// Words for protocols.
	"ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "igrp", "pim", "vrrp", "carp", "ah", "esp",
	"decnet", "lat", "sca", "mopdl", "moprc", "atalk", "aarp", "iso", "stp", "ipx", "netbeui",
	"tcp or udp", "not ip", "ip or arp", "not (ip or ip6)", "ip and not tcp and not udp", "icmp or icmp6",

	// Protocols by number or name.
	"ip proto 1", `ip proto \tcp`, `ip proto ospf`, "ip6 proto 17", `ip6 proto \ipv6-icmp`, "ip6 proto 44", "proto 47", `proto \udp`, "proto (6 or 17)",
	"ether proto 0x88b5", `ether proto \ip`, `ether proto \arp or \ip6`, "ether proto 0x88cc", "ether proto 0x42", "ether proto 6", "ether proto 0xe0",
	"ether proto loopback", "ether proto 1500", "ether proto 1501", "ether proto 0xfe", "ether proto 0x8137", "link proto 0x809b",
	`ether proto \stp`, `ether proto not \ip`,

	// Hosts.
	"host 198.51.100.1", "src host 198.51.100.1", "dst host 198.51.100.2", "src 198.51.100.1", "dst 198.51.100.2",
	"src or dst 198.51.100.2", "dst or src host 198.51.100.1", "src and dst host 10.0.0.1", "dst and src 198.51.100.1",
	"ip host 198.51.100.1", "arp host 198.51.100.1", "rarp dst host 198.51.100.2", "arp src 198.51.100.1", "ip src 10.1.0.0",
	"host 10.1", "host 10.1.2", "host 10", "host 2001:db8::1", "ip6 host 2001:db8::2", "src host fe80::1", "dst ff02::fb",
	"src and dst host 2001:db8::1", "host ::ffff:192.0.2.1", "host 2001:db8::1/128",
	"host 198.51.100.1 and host 198.51.100.2", "host 198.51.100.1 or 198.51.100.9 or 10.1.2.3", "host (198.51.100.9 or 203.0.113.5)",
	"host 198.51.100.1 and not 198.51.100.2", "not host 198.51.100.1 and 198.51.100.9", "host not 198.51.100.1",
	"src 198.51.100.1 and dst 198.51.100.2", "host 198.51.100.1 or host 2001:db8::1", "host 198.51.100.1 or 2001:db8::1",
	"not src host 198.51.100.1 and not dst host 198.51.100.1",

	// Networks.
	"net 198.51.100.0/24", "src net 198.51.100.0/24", "dst net 10.0.0.0/8", "net 198.51.100", "net 10", "net 10.1", "net 10.1.2.3", "net 0",
	"net 198.51.100.0 mask 255.255.255.0", "net 198.51 mask 255.255.0.0", "net 198.51.100.0/25", "net 224.0.0.0/4", "net 198.51.100.2/31", "net 10.1.2.3/32",
	"net 2001:db8::/32", "src net fe80::/10", "dst net 2001:db8:2:3::/64", "net 2001:db8::1", "ip net 10.0.0.0/8", "arp net 198.51.100.0/24",
	"net 2001:db8::/33", "src and dst net 198.51.100.0/24", "net 10.0.0.0/8 or 192.168.0.0/16 or 203.0.113.0/24",
	"net 0.0.0.0/0", "net ::/0",

	// Ports.
	"port 80", "src port 80", "dst port 80", "tcp port 80", "udp port 53", "sctp port 80", "tcp src port 80", "udp dst port 67", "src and dst port 80", "src or dst port 53",
	"port 80 or 443", "port (80 or 443 or 22)", "tcp port 80 or 443 or 22", "not port 80", "port not 80", "port 80 and 40000", "port http", "port domain", "tcp port ssh",
	"udp port ntp", "port bootps or bootpc", "port 0", "port 65535", "tcp dst port 80 and src port 40000",
	"portrange 6000-6008", "tcp portrange 20-25", "udp dst portrange 50-100", "portrange 80-53", "portrange 80", "portrange 80-80", "portrange ssh-http",
	"portrange 6000-6008 or 20-22", "portrange 0-65535", "portrange ftp-80", "src and dst portrange 0-1024",
	"host 198.51.100.1 and port 80", "host 198.51.100.1 and (port 80 or port 443)", "tcp port 80 and host 10.1.2.3 or udp port 53",
	"port 80 or port 443 or port 22", "not port 22 and not port 443", "not (port 22 or port 443)", "tcp and port 80", "ip and port 80", "ip6 and tcp port 80",
	"tcp and not port 80", "port 80 or arp or icmp", "udp port 53 or tcp port 53",

	// The link.
	"ether host 02:00:5e:00:53:01", "ether src 02:00:5e:00:53:01", "ether dst 2:0:5e:0:53:2", "ether src and dst 02-00-5e-00-53-01",
	"ether host 0200.5e00.5302", "ether host 02.00.5e.00.53.01", "ether host 02005e005301 or 02005e005302", "not ether host 02:00:5e:00:53:02",
	"broadcast", "ether broadcast", "multicast", "ether multicast", "ether multicast and not ether broadcast", "ip multicast", "ip6 multicast", "ip broadcast",
	"less 60", "greater 60", "less 60 or greater 100", "len >= 60 and len <= 100", "length = 14", "len > 1500", "less 0",

	// Numbers of the frame.
	"ip[0] = 0x45", "ip[0] & 0xf != 5", "ip[8] < 2", "ip[2:2] > 100", "ip[6:2] & 0x1fff = 0", "ip[12:4] = 0xc6336401", "ip[9] == 6", "ip[-2:2] = 0x800",
	"ether[0] & 1 != 0", "ether[0] & 1 = 0 and ip[16] >= 224", "ether[12:2] > 0x5dc", "link[0] = 2", "ether[6:4] = 0x02005e00", "ether[1000] = 0", "ether[0x7fffffff] = 1",
	"not ether[1000] = 0", "ether[13] = 6 or ether[70] = 0",
	"tcp[13] & 2 != 0", "tcp[tcpflags] & tcp-syn != 0", "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "tcp[tcpflags] & (tcp-syn|tcp-ack) == (tcp-syn|tcp-ack)",
	"tcp[tcpflags] & tcp-syn != 0 and tcp[tcpflags] & tcp-ack = 0", "tcp[13] = 2 or tcp[13] = 18", "tcp[tcpflags] & tcp-push != 0", "tcp[0:2] = 80",
	"tcp[12] >> 4 > 5", "(tcp[12] >> 4) * 4 = 20", "tcp[-1] = 2", "not tcp[13] & 16 != 0", "tcp[tcpflags] & (tcp-ece|tcp-cwr|tcp-urg|tcp-rst) != 0",
	"udp[4:2] > 12", "udp[8] = 0x71", "icmp[icmptype] = icmp-echo", "icmp[icmptype] != icmp-echo and icmp[icmptype] != icmp-echoreply", "icmp[icmpcode] = 1",
	"icmp6[icmp6type] = icmp6-echo", "icmp6[icmp6type] = icmp6-neighborsolicit or icmp6[0] = 136", "icmp6[icmp6code] = 1", "ip6[6] = 58", "ip6[7] = 255 or ip6[40] = 6",
	"ip6[0] & 0xf0 = 0x60", "sctp[0:2] = 80", "igmp[0] = 0x11", "igrp[1] = 0x22", "pim[0] = 0x11", "vrrp[0] = 0x11", "carp[3] = 0x44", "arp[6:2] = 1", "arp[7] = 2", "rarp[7] = 3",
	"decnet[0] = 0x77", "atalk[0] = 0x77", "lat[2] = 3", "sca[0] = 1", "mopdl[0] = 0x77", "moprc[1] = 0x68",
	"icmp[8:4] = 0x70696e67", "udp port 53 and udp[10] & 0x80 = 0",

	// Arithmetic.
	"len - 14 = 40", "ip[2:2] + 14 = len", "ip[2:2] - ((ip[0] & 0xf) << 2) = 20", "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)",
	"ip[ip[0] & 0xf] = 1", "ip[(ip[0] & 0xf) * 4 : 2] = 40000", "ip[ip[0] - 20] = 3", "ether[ether[13]] = 0x45", "ether[ip[2:2]] = 0", "tcp[(tcp[12] >> 4) << 2] != 0",
	"ip[2:2] / 2 = 20", "ip[2:2] % 3 = 1", "ip[2:2] * 2 = 80", "ip[2:2] ^ 0xff = 0xd7", "ip[8] | 1 = 65", "1 << 3 = 8", "ip[8] << 26 != 0", "ip[8] << 1 << 1 = 256",
	"-ip[8] = 0xffffffc0", "- 1 > 5", "ip[8] - 65 > 0x7fffffff", "len / ip[8] = 0", "len / icmp[1] > 30", "len % icmp[5] = 0", "1 << ip[8] = 0", "ip[4:2] << (icmp[1] & 3) = 14", "0xff00 >> ip[5] = 0x1fe",
	"ip[0] = ip[0]", "ip[12] = ip[16]", "udp[0:2] = udp[2:2]", "tcp[0:2] > tcp[2:2]", "ip[12:4] < ip[16:4]", "ip[12:4] >= ip[16:4]", "tcp[0:2] <= ip[2:2]", "ip[8] != ip[9]",
	"len - 1 % 3 + 2 = 53", "ip[2:2] * 2 % 7 + 1 = 80", "ip[8] & 0xf0 | 3 = 67", "ip[8] + 1 * 2 = 66", "ip[8] >> 1 + 1 = 16", "ip[8] | 3 & 1 = 65", "ip[8] ^ 3 ^ 3 = 64",
	"1 + tcp[13] = 3", "tcp[13] + udp[0] = 3", "80 = tcp[2:2]", "5 < ip[8]", "100 > ip[2:2]", "64 >= ip[8]", "64 <= ip[8]", "64 != ip[8]",
	"((ip[8] + 1) * (ip[9] + 2)) - ((ip[0] - 3) * (ip[1] + 4)) > 7", "(ip[12:2] + ip[14:2]) ^ (ip[16:2] + ip[18:2]) = 1", "tcp[tcp[13]] = 0", "icmp[icmp[0]] = 0x70",
	"5 = 5", "(5) = 5", "(len) > 20 and (ip[8] + 1) = 65", "len > 0x10 and len < 077", "ether[2 + 3] = 2", "ether[len - 1] = 0x79", "ether[len] = 0", "ip[8] * 0 = 0", "ip[8] & 0 = 0",
	"len - 100 > 0x80000000", "ip[0] >> 4 = 4 and ip[0] & 15 > 5",

	// Tags.
	"vlan", "vlan 5", "vlan 100 and ip", "vlan and tcp port 80", "vlan 5 and vlan 7", "vlan and vlan", "vlan 5 and vlan 7 and udp port 53", "vlan 100 and vlan 200 and arp",
	"vlan or ip", "ip or vlan", "(vlan and ip) or arp", "not vlan", "not vlan 5", "vlan 5 or vlan 7", "vlan and ip6", "vlan and host 198.51.100.1", "vlan 5 and (port 80 or port 53)",
	"vlan and ether host 02:00:5e:00:53:01", "vlan and ether proto 0x88b5", "vlan and vlan and vlan", "vlan and ip[8] = 64", "vlan and tcp[13] & 2 != 0", "vlan and icmp6", "vlan and ether[0] = 2",
	"arp or (vlan and arp)", "vlan (5)", "vlan 0", "tcp port 80 or (vlan and tcp port 80)",

	// Of all things some.
	"tcp or udp and port 53", "tcp or (udp and port 53)", "not not ip", "! ip && ! arp || icmp", "! (tcp)", "((tcp))", "tcp and tcp", "tcp or tcp", "tcp and (udp or tcp)",
	"host 198.51.100.1 and (10.1.2.3 or 198.51.100.2) and port 80", "port 80 and (host 10.1.2.3 or 198.51.100.1)", "host 198.51.100.1 and (port 53) and 198.51.100.2", "port (80 or (443 and 22))", "port (not 80 or 443)", "host (not (198.51.100.1 or 10.1.2.3))",
	"ip host 198.51.100.1 and tcp and (portrange 1-100 or icmp)", "(arp or icmp) and host 198.51.100.1", "tcp[13] = 2 and (ip[8] = 64 or ip[8] = 128) and not port 443",
	"ether proto 0x800 and ip[9] = 6 and tcp", "not (host 198.51.100.1 and port 80) and (tcp or udp)", "ip and ip6 or arp", "(tcp and port 80) or (udp and port 53) or icmp or arp or (ip6 and icmp6)",
	"icmp[0] = 8 and src host 198.51.100.1 or icmp[0] = 0 and dst host 198.51.100.1", "tcp and not udp and not sctp", "ip or not ip", "ether[100] >= 0 or ip",
	"tcp\tport\n80", "tcp port 0x50 or 0120",
}

var rawExpressions = []string{
	"", "ip", "ip6", "tcp", "udp", "icmp", "icmp6", "ip or arp", "not arp", "host 198.51.100.1", "host 2001:db8::1", "net 10.0.0.0/8", "src net 2001:db8::/32", "port 80", "tcp port 80 or 443", "udp dst port 53",
	"portrange 20-80", "tcp[13] & 2 != 0", "icmp[icmptype] = icmp-echo", "icmp6[0] = 135", "ip[8] = 64", "ip6[6] = 6", "ether[0] & 0xf0 = 0x40", "link[0] >> 4 = 6", "len > 60", "less 60", "ip multicast", "ip6 multicast", "ip broadcast",
	"proto 47", "ip proto 89", "ip6 proto 44", "not ip and not ip6", "ip6 or ether[0] = 0x45", "ip[2:2] = len", "host 198.51.100.1 and not port 80", "ether proto 0x800", "icmp or (tcp and not port 80)", "ip[ip[0] & 0xf] != 0", "tcp[12] >> 4 > 5",
}

// Of a live capture, where the kernel has the outer tag.
var liveExpressions = []string{
	"vlan", "vlan 5", "not vlan", "vlan 5 and tcp port 80", "vlan or ip", "ip or vlan", "vlan and vlan 7 and ip", "vlan 5 and vlan 7", "(vlan and arp) or tcp", "(arp and vlan) or ip", "vlan and ip[8] = 64", "vlan and tcp[13] & 2 != 0",
	"vlan 5 or vlan 7", "vlan and host 198.51.100.1", "not vlan 5 and ip", "inbound", "outbound", "vlan and inbound", "outbound and tcp port 80", "inbound or vlan 100", "tcp port 80", "ether proto 0x8100", "vlan and vlan and vlan and arp",
	"arp or (vlan and (arp or ip6))", "vlan and ether proto 0x88b5", "ifindex 1", "not ifindex 2 and ip", "vlan and (ip or arp) or vlan and tcp", "not (vlan and not arp)", "vlan and udp[0:2] = 40000", "vlan and ip[ip[0] & 0xf] = 1",
	"vlan 5 and len > 60", "vlan and portrange 50-60", "host 198.51.100.1 and vlan",
}

// Expressions that no frame passes.
var emptyExpressions = []string{
	"tcp and udp", "ip and arp", "ip and ip6", "len < 0", "tcp[0:2] <= udp[0:2]", "tcp[0] + 1 > udp[1] + 1", "5 = 6", "ip and not ip", "tcp port 80 and udp", "not (ip or not ip)",
}
