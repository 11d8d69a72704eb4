# Asks many hosts with one call of scapy's srp, and prints a line of JSON: how many
# have answered, how long the call took, and when, in it, the last answer came.
#
#   echoes.py IFNAME MAC SOURCE FIRST COUNT MODE TIMEOUT
#
# MODE is plain, as srp is by default; threaded, which reads while it sends; or
# filtered, which is threaded with a filter in the kernel.
import json
import os
import sys
import time
from ipaddress import ip_address

from scapy.all import ICMP, IP, Ether, Raw, conf, srp

ifname, mac, source, first = sys.argv[1:5]
count, mode, timeout = int(sys.argv[5]), sys.argv[6], float(sys.argv[7])
conf.iface = ifname
conf.verb = 0

# Built before the time is taken.
requests = [
    Ether(bytes(
        Ether(dst=mac) / IP(src=source, dst=str(ip_address(first) + i))
        / ICMP(id=os.getpid() & 0xFFFF, seq=(i + 1) & 0xFFFF) / Raw(bytes(56))
    ))
    for i in range(count)
]
options = {"iface": ifname, "timeout": timeout, "threaded": mode != "plain"}
if mode == "filtered":
    options["filter"] = "icmp[icmptype] == icmp-echoreply"

epoch, begun = time.time_ns(), time.monotonic_ns()
answered, _ = srp(requests, **options)
whole = time.monotonic_ns() - begun
last = max((int(float(answer.time) * 1e9) - epoch for _, answer in answered), default=0)
print(json.dumps({"answered": len(answered), "whole_ns": whole, "last_ns": last}))
