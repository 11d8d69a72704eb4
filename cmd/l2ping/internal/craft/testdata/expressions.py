"""Prints what scapy makes of expressions, in a world where the kernel would say
what the tests' Env says. Reads one expression a line, and prints each with its
frames in hexadecimal below it."""

import itertools
import sys
import warnings

warnings.simplefilter("ignore")
import logging

logging.disable(logging.CRITICAL)

import scapy.all as all_
import scapy.layers.inet6 as inet6
import scapy.layers.l2 as l2
from scapy.contrib import igmp, lldp, mpls
from scapy.config import conf
from scapy.layers.l2 import ARP

MAC, HOP = "02:00:5e:00:53:01", "02:00:5e:00:53:02"
LIMIT = 64


def resolve(ether, payload):
    if isinstance(payload, (all_.Dot1Q, all_.LLC, all_.SNAP)):
        return resolve(ether, payload.payload)
    if isinstance(payload, ARP):
        if payload.hwdst != "00:00:00:00:00:00":
            return payload.hwdst
        return "ff:ff:ff:ff:ff:ff" if payload.op == 1 else HOP
    if isinstance(payload, inet6.IPv6):
        if inet6.in6_ismaddr(payload.dst):
            return inet6.getmacbyip6(payload.dst)
        return HOP
    if isinstance(payload, all_.IP):
        if payload.dst == "255.255.255.255":
            return "ff:ff:ff:ff:ff:ff"
        if 224 <= int(payload.dst.split(".")[0]) < 240:
            return l2.getmacbyip(payload.dst)
        return HOP
    return None


conf.neighbor.resolve = resolve
conf.route.route = lambda dst=None, verbose=None: ("lab0", "198.51.100.1", "0.0.0.0")
conf.route6.route = lambda dst=None, dev=None, verbose=None: ("lab0", "2001:db8::1", "::")
l2.get_if_hwaddr = lambda iff: MAC

names = vars(all_) | vars(igmp) | vars(lldp) | vars(mpls)
for line in sys.stdin:
    line = line.rstrip("\n")
    print(line)
    for packet in itertools.islice(eval(line, names), LIMIT):
        print("\t" + bytes(packet).hex())
