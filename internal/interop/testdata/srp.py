"""Asks scapy's srp questions on eth0, told and answered in JSON, an object a line.

In: "ask", a Python expression of a list of packets, "multi", "conf", attributes
of scapy's conf for this question, and "end", a number. Out: "frames", what will
be sent after another line came in. When that is over, out: "answered", pairs of a
request's place and an answer's bytes, and "unanswered", places.

A question is over when a frame of EtherType 0x88b6 with its number comes, for no
clock can tell that nothing more does. The arguments are how many seconds one may
take at most, and Python for all of them.
"""
import json
import logging
import sys

log = logging.getLogger("scapy")
log.setLevel(logging.CRITICAL)  # what it finds of interfaces that do not matter here
from scapy.all import *

log.setLevel(logging.WARNING)

end = 0


class Wire(conf.L2socket):
    def recv(self, x=MTU):
        p = super().recv(x)
        if p is not None and p.original[12:14] == b"\x88\xb6":
            if p.original[14:18] == end.to_bytes(4, "big"):
                raise EOFError
            return None
        return p


conf.L2socket = Wire
limit = float(sys.argv[1])
exec(sys.argv[2])


def tell(**what):
    print(json.dumps(what), flush=True)


for line in iter(sys.stdin.readline, ""):
    question = json.loads(line)
    end = question["end"]
    before = {name: getattr(conf, name) for name in question["conf"]}
    for name, value in question["conf"].items():
        setattr(conf, name, value)
    packets = eval(question["ask"])
    tell(frames=[bytes(p).hex() for p in packets])
    sys.stdin.readline()
    answered, unanswered = srp(
        packets, iface="eth0", timeout=limit, multi=question["multi"], threaded=True, verbose=0)
    place = {id(p): i for i, p in enumerate(packets)}
    tell(answered=[(place[id(a.query)], a.answer.original.hex()) for a in answered],
         unanswered=[place[id(p)] for p in unanswered])
    for name, value in before.items():
        setattr(conf, name, value)
