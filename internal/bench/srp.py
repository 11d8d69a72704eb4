# Pings with one call of scapy's srp, and prints each round-trip time as its
# users work it out: answer.time - request.sent_time.
#
#   srp.py IFNAME ADDRESS COUNT INTERVAL
import os
import sys

from scapy.all import ICMP, IP, Ether, Raw, conf, srp

ifname, address = sys.argv[1], sys.argv[2]
count, interval = int(sys.argv[3]), float(sys.argv[4])
conf.iface = ifname
conf.verb = 0

# Built before the first is sent, the search for the MAC included.
requests = [
    Ether(bytes(Ether() / IP(dst=address) / ICMP(id=os.getpid() & 0xFFFF, seq=seq) / Raw(bytes(56))))
    for seq in range(1, count + 1)
]

# Without its thread srp reads no answer before the last request has left, and
# the socket's buffer holds some 150. With it the timeout is for all of them.
many = count > 1
answered, _ = srp(
    requests,
    iface=ifname,
    inter=interval if many else 0,
    timeout=count * interval + 2 if many else 2,
    threaded=many,
)
for request, answer in answered:
    rtt = float(answer.time - request.sent_time)
    print("icmp_seq=%d time=%.9f" % (request[ICMP].seq, rtt))
