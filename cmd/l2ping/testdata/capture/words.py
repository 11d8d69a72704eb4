# Writes words.pcap, a frame of each kind that `l2ping capture` has words for, a
# second and a nanosecond apart; long ones are cut: python3 words.py words.pcap
import struct
import sys

from scapy.all import *
from scapy.contrib.mpls import MPLS
from scapy.contrib.lldp import *
from scapy.contrib.igmp import IGMP
from scapy.contrib.ospf import OSPF_Hdr, OSPF_Hello
import scapy.contrib.igmpv3 as g3
load_contrib("geneve")

A="198.51.100.1";B="198.51.100.2"; S="2001:db8::1";D="2001:db8::2"
m1="02:00:5e:00:53:01";m2="02:00:5e:00:53:02"
E=Ether(src=m1,dst=m2); E2=Ether(src=m2,dst=m1); EB=Ether(src=m1,dst="ff:ff:ff:ff:ff:ff")
I=IP(src=A,dst=B); R=IP(src=B,dst=A); I6=IPv6(src=S,dst=D); R6=IPv6(src=D,dst=S)
fr=[
 EB/ARP(op=1,hwsrc=m1,psrc=A,hwdst="00:00:00:00:00:00",pdst=B),
 E2/ARP(op=2,hwsrc=m2,psrc=B,hwdst=m1,pdst=A)/Padding(b"\0"*18),
 E/ARP(op=1,hwsrc=m1,psrc=A,hwdst=m2,pdst=B),
 EB/ARP(op=1,hwsrc=m1,psrc="0.0.0.0",hwdst="00:00:00:00:00:00",pdst=B),
 EB/ARP(op=1,hwsrc=m1,psrc=A,hwdst="00:00:00:00:00:00",pdst=A),
 Ether(src=m1,dst=m2,type=0x8035)/ARP(op=3,hwsrc=m1,psrc="0.0.0.0",hwdst=m1,pdst="0.0.0.0"),
 Ether(src=m1,dst=m2,type=0x8035)/ARP(op=4,hwsrc=m2,psrc=B,hwdst=m1,pdst=A),
 E/I/ICMP(id=7,seq=1)/(b"x"*56), E2/R/ICMP(type=0,id=7,seq=1)/(b"x"*56),
]
q=IP(src=A,dst=B)/UDP(sport=40000,dport=53)/b"query"
qt=IP(src=A,dst=B)/TCP(sport=40000,dport=443)
qg=IP(src=A,dst=B,proto=47)/b"\0\0\x08\0"
for c in range(0,16): fr.append(E2/R/ICMP(type=3,code=c,nexthopmtu=1400 if c==4 else 0)/q)
fr+=[E2/R/ICMP(type=3,code=3)/qt, E2/R/ICMP(type=3,code=3)/qg, E2/R/ICMP(type=3,code=4,nexthopmtu=0)/q]
for c in range(0,4): fr.append(E2/R/ICMP(type=5,code=c,gw="198.51.100.9")/q)
fr+=[E2/R/ICMP(type=11,code=0)/q, E2/R/ICMP(type=11,code=1)/q, E2/R/ICMP(type=12,code=0,ptr=20)/q, E2/R/ICMP(type=4)/q,
 E/I/ICMP(type=13,id=3,seq=4,ts_ori=1,ts_rx=0,ts_tx=0), E/I/ICMP(type=17,id=3,seq=4), E/I/ICMP(type=18,id=3,seq=4,addr_mask="255.255.255.0"),E/I/ICMP(type=10)]
fr+=[
 E/I/TCP(sport=40000,dport=80,flags="S",seq=1000,options=[("MSS",1460),("SAckOK",b""),("Timestamp",(10,0)),("NOP",None),("WScale",7)]),
 E2/R/TCP(sport=80,dport=40000,flags="SA",seq=5000,ack=1001,options=[("MSS",1460)]),
 E/I/TCP(sport=40000,dport=12345,flags="PA",seq=1001,ack=5001,window=502)/b"hello",
 E/I/TCP(sport=40000,dport=12345,flags="A",seq=1001,ack=5001,options=[("NOP",None),("NOP",None),("SAck",(1,2,3,4))]),
 E/I/TCP(sport=40000,dport=12345,flags="FA",seq=1001,ack=5001), E/I/TCP(sport=40000,dport=12345,flags="R",seq=1001,ack=5001),
 E/I/TCP(sport=40000,dport=12345,flags="U",urgptr=5,seq=1)/b"hello", E/I/TCP(sport=40000,dport=12345,flags="",seq=1), E/I/TCP(sport=40000,dport=12345,flags="SEC",seq=1),
 E/I/UDP(sport=40000,dport=9999)/b"data", E/I/UDP(sport=40000,dport=9999),
 E/I/UDP(sport=40000,dport=53)/DNS(id=4660,rd=1,qd=DNSQR(qname="example.org")),
 E/I/UDP(sport=40000,dport=53)/DNS(id=4660,rd=1,qd=DNSQR(qname="example.org",qtype="AAAA"),ar=DNSRROPT(rclass=1232)),
 E2/R/UDP(sport=53,dport=40000)/DNS(id=4660,qr=1,rd=1,ra=1,qd=DNSQR(qname="example.org"),an=DNSRR(rrname="example.org",type="A",rdata="198.51.100.7")),
 E2/R/UDP(sport=53,dport=40000)/DNS(id=4660,qr=1,rd=1,ra=1,aa=1,qd=DNSQR(qname="example.org",qtype="AAAA"),an=DNSRR(rrname="example.org",type="CNAME",rdata="www.example.org")/DNSRR(rrname="www.example.org",type="AAAA",rdata=D)),
 E2/R/UDP(sport=53,dport=40000)/DNS(id=4661,qr=1,rd=1,ra=1,rcode=3,qd=DNSQR(qname="nosuch.example.org"),ns=DNSRR(rrname="example.org",type="NS",rdata="ns.example.org")),
 E2/R/UDP(sport=53,dport=40000)/DNS(id=4662,qr=1,rd=1,ra=0,rcode=2,qd=DNSQR(qname="example.org",qtype="MX")),
 E2/R/UDP(sport=53,dport=40000)/DNS(id=4663,qr=1,rd=1,ra=1,qd=DNSQR(qname="example.org",qtype="MX"),an=DNSRRMX(rrname="example.org",type="MX",preference=10,exchange="mail.example.org")),
 E2/R/UDP(sport=53,dport=40000)/DNS(id=4664,qr=1,rd=1,ra=1,qd=DNSQR(qname="_x._tcp.example.org",qtype="SRV"),an=DNSRRSRV(rrname="_x._tcp.example.org",priority=1,weight=2,port=99,target="a.example.org")),
 E2/R/UDP(sport=53,dport=40000)/DNS(id=4665,qr=1,rd=1,ra=1,qd=DNSQR(qname="example.org",qtype="TXT"),an=DNSRR(rrname="example.org",type="TXT",rdata=["some text","more"])),
 E2/R/UDP(sport=53,dport=40000)/DNS(id=4666,qr=1,rd=1,ra=1,qd=DNSQR(qname="2.100.51.198.in-addr.arpa",qtype="PTR"),an=DNSRR(rrname="2.100.51.198.in-addr.arpa",type="PTR",rdata="b.example.org")),
 Ether(src=m1,dst="01:00:5e:00:00:fb")/IP(src=A,dst="224.0.0.251",ttl=255)/UDP(sport=5353,dport=5353)/DNS(id=0,rd=0,qd=DNSQR(qname="_http._tcp.local",qtype="PTR")),
 EB/IP(src="0.0.0.0",dst="255.255.255.255")/UDP(sport=68,dport=67)/BOOTP(chaddr=bytes.fromhex(m1.replace(":","")),xid=1)/DHCP(options=[("message-type","discover"),"end"]),
 E2/R/UDP(sport=67,dport=68)/BOOTP(op=2,chaddr=bytes.fromhex(m1.replace(":","")),xid=1,yiaddr=A)/DHCP(options=[("message-type","ack"),"end"]),
 E/I/UDP(sport=123,dport=123)/NTP(version=4,mode=3,ref=1,orig=1,recv=1,sent=1), E2/R/UDP(sport=123,dport=123)/NTP(version=4,mode=4,ref=1,orig=1,recv=1,sent=1),
 E/I/UDP(sport=50000,dport=4789)/VXLAN(vni=5,flags=8)/E/I/ICMP(id=7,seq=1),
 E/I/UDP(sport=50000,dport=6081)/GENEVE(vni=5,proto=0x6558)/E/I/ICMP(id=7,seq=1),
 E/I/GRE()/I/ICMP(id=7,seq=1), E/I/GRE(key_present=1,key=9)/I/ICMP(id=7,seq=1), E/I/GRE(proto=0x6558)/E/I/ICMP(id=7,seq=1),
 E/IP(src=A,dst=B)/IP(src="203.0.113.1",dst="203.0.113.2")/ICMP(id=7,seq=1), E/IP(src=A,dst=B)/I6/ICMPv6EchoRequest(id=7,seq=1),
 E/IP(src=A,dst=B,proto=50)/(bytes.fromhex("0000000100000002")+b"x"*40),
 E/IP(src=A,dst=B,proto=51)/(bytes.fromhex("01040000000000010000000200000000"+"00"*8)+bytes(ICMP(id=7,seq=1))),
 E/IP(src=A,dst="224.0.0.5",proto=89)/OSPF_Hdr(src=A)/OSPF_Hello(), E/IP(src=A,dst="224.0.0.18",ttl=255)/VRRP(version=2,type=1,vrid=1,priority=100,adv=1,addrlist=[A]),
 E/IP(src=A,dst=B,proto=253)/b"experiment", E/IP(src=A,dst="224.0.0.13",proto=103)/b"\x20\0\0\0",
 Ether(src=m1,dst="01:00:5e:00:00:fb")/IP(src=A,dst="224.0.0.251",ttl=1,options=[IPOption_Router_Alert()])/IGMP(type=0x16,gaddr="224.0.0.251"),
 Ether(src=m1,dst="01:00:5e:00:00:02")/IP(src=A,dst="224.0.0.2",ttl=1)/IGMP(type=0x17,gaddr="224.0.0.251"),
 Ether(src=m1,dst="01:00:5e:00:00:01")/IP(src=A,dst="224.0.0.1",ttl=1)/IGMP(type=0x11,mrcode=100,gaddr="0.0.0.0"),
 Ether(src=m1,dst="01:00:5e:00:00:16")/IP(src=A,dst="224.0.0.22",ttl=1)/g3.IGMPv3(type=0x22)/g3.IGMPv3mr(records=[g3.IGMPv3gr(rtype=4,maddr="224.0.0.251")]),
 E/I/SCTP(sport=1,dport=2)/SCTPChunkInit(init_tag=5,a_rwnd=1500,n_out_streams=1,n_in_streams=1,init_tsn=9),
 E/I6/ICMPv6EchoRequest(id=7,seq=1,data=b"x"*56), E2/R6/ICMPv6EchoReply(id=7,seq=1,data=b"x"*56),
 E/IPv6(src=S,dst="ff02::1:ff00:2",hlim=255)/ICMPv6ND_NS(tgt=D)/ICMPv6NDOptSrcLLAddr(lladdr=m1),
 E2/IPv6(src=D,dst=S,hlim=255)/ICMPv6ND_NA(tgt=D,R=0,S=1,O=1)/ICMPv6NDOptDstLLAddr(lladdr=m2),
 E/IPv6(src="fe80::1",dst="ff02::2",hlim=255)/ICMPv6ND_RS(), E/IPv6(src="fe80::1",dst="ff02::1",hlim=255)/ICMPv6ND_RA()/ICMPv6NDOptPrefixInfo(prefix="2001:db8::",prefixlen=64),
 E/IPv6(src="fe80::1",dst=S,hlim=255)/ICMPv6ND_Redirect(tgt="fe80::9",dst=D),
 E/IPv6(src="fe80::1",dst="ff02::16",hlim=1)/IPv6ExtHdrHopByHop(options=[RouterAlert()])/ICMPv6MLReport2(records=[ICMPv6MLDMultAddrRec(rtype=4,dst="ff02::fb")]),
 E/IPv6(src="fe80::1",dst="ff02::1",hlim=1)/IPv6ExtHdrHopByHop(options=[RouterAlert()])/ICMPv6MLQuery(mladdr="::",mrd=10000),
]
q6=IPv6(src=S,dst=D)/UDP(sport=40000,dport=53)/b"query"
for c in range(0,7): fr.append(E2/R6/ICMPv6DestUnreach(code=c)/q6)
fr+=[E2/R6/ICMPv6DestUnreach(code=4)/(IPv6(src=S,dst=D)/TCP(sport=40000,dport=443)), E2/R6/ICMPv6PacketTooBig(mtu=1400)/q6,
 E2/R6/ICMPv6TimeExceeded(code=0)/q6, E2/R6/ICMPv6TimeExceeded(code=1)/q6, E2/R6/ICMPv6ParamProblem(code=0,ptr=4)/q6, E2/R6/ICMPv6ParamProblem(code=1,ptr=6)/q6,E2/R6/ICMPv6ParamProblem(code=2,ptr=40)/q6,
 E/I6/TCP(sport=40000,dport=12345,flags="S",seq=1), E/I6/UDP(sport=40000,dport=9999)/b"data",
 E/IPv6(src=S,dst=D)/IPv6ExtHdrDestOpt()/UDP(sport=40000,dport=9999)/b"data", E/IPv6(src=S,dst=D,nh=59), E/IPv6(src=S,dst=D,nh=253)/b"experiment",
 E/IPv6(src=S,dst=D)/IPv6ExtHdrRouting(addresses=["2001:db8::9"])/UDP(sport=40000,dport=9999)/b"data",
 E/IPv6(src=S,dst="ff02::1:2")/UDP(sport=546,dport=547)/DHCP6_Solicit(trid=0x123456),
 E/Dot1Q(vlan=100)/I/ICMP(id=7,seq=1), E/Dot1Q(vlan=100,prio=5)/ARP(op=1,hwsrc=m1,psrc=A,pdst=B),
 Ether(src=m1,dst=m2,type=0x88a8)/Dot1Q(vlan=200)/Dot1Q(vlan=7)/I/ICMP(id=7,seq=1),
 Ether(src=m1,dst=m2,type=0x88b5)/b"an experiment", Ether(src=m1,dst=m2,type=0x88e5)/(b"\0"*20),
 E/MPLS(label=16,cos=0,s=1,ttl=64)/I/ICMP(id=7,seq=1), E/MPLS(label=17,cos=0,s=0,ttl=64)/MPLS(label=16,cos=0,s=1,ttl=64)/I/ICMP(id=7,seq=1),
 E/PPPoE(sessionid=1)/PPP(proto=0x21)/I/ICMP(id=7,seq=1), E/PPPoE(sessionid=1)/PPP(proto=0x57)/I6/ICMPv6EchoRequest(id=7,seq=1), EB/PPPoED(code=9)/b"\x01\x01\0\0",
 Ether(src=m1,dst="01:80:c2:00:00:0e")/LLDPDUChassisID(subtype=4,id=m1)/LLDPDUPortID(subtype=5,id="eth0")/LLDPDUTimeToLive(ttl=120)/LLDPDUSystemName(system_name="switch1")/LLDPDUEndOfLLDPDU(),
 Dot3(src=m1,dst="01:80:c2:00:00:00")/LLC()/STP(rootid=32768,rootmac=m1,bridgeid=32768,bridgemac=m1,portid=0x8001),
 Dot3(src=m1,dst=m2)/LLC(dsap=0xaa,ssap=0xaa,ctrl=3)/SNAP(OUI=0,code=0x800)/I/ICMP(id=7,seq=1),
 Ether(src=m1,dst="01:80:c2:00:00:03")/EAPOL(version=2,type=1),
]
big=I/UDP(sport=40000,dport=9999)/(b"x"*2000)
fr+=[E/f for f in fragment(big,1480)]
fr+=[E/f for f in fragment6(IPv6(src=S,dst=D)/IPv6ExtHdrFragment(id=77)/UDP(sport=40000,dport=9999)/(b"x"*2000),1280)]
fr+=[Ether(src=m1,dst=m2,type=0x9100)/Dot1Q(vlan=1)/ARP(op=1,hwsrc=m1,psrc=A,pdst=B), E/Dot1Q(vlan=0)/I/ICMP(id=7,seq=1),
 Ether(src=m1,dst=m2,type=0x9100)/Dot1Q(vlan=200,type=0x8100)/Dot1Q(vlan=0,prio=3)/I/ICMP(id=7,seq=1)]
with open(sys.argv[1], "wb") as o:
    o.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1))
    for i, f in enumerate(fr):
        b = raw(f)
        cut = b[:96] if len(b) > 600 else b
        o.write(struct.pack("<IIII", 1700000000 + i, i + 1, len(cut), len(b)) + cut)
