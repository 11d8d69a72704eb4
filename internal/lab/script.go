package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gopacket/gopacket/layers"
)

// Script is what a Peer does. The zero value answers everything at
// 198.51.100.2, 2001:db8:1::2 and fe80::2, as a well-behaved host does. Scripts
// are made by ParseScript.
type Script struct {
	hosts []host // empty: defaultHosts
	vlans []tag  // with which requests have to come; nil: any
	keep  *int   // how many requests are kept; nil: all
	arp   neighborScript
	ndp   neighborScript
	rules []rule
}

// host is one address that the peer answers for, or all of a prefix.
type host struct {
	prefix netip.Prefix
	ownMAC bool // each address has a MAC of its own
}

// scriptAddr is the far address of a Pair.
var scriptAddr = farPrefix.Addr()

// defaultHosts are the far addresses of a Pair.
var defaultHosts = []host{
	{prefix: netip.PrefixFrom(scriptAddr, 32)},
	{prefix: netip.PrefixFrom(far6[0].Addr(), 128)},
	{prefix: netip.PrefixFrom(far6[1].Addr(), 128)},
}

// Prefixes are the addresses that the peer answers for.
func (s Script) Prefixes() []netip.Prefix {
	var list []netip.Prefix
	for _, h := range s.all() {
		list = append(list, h.prefix)
	}
	return list
}

func (s *Script) all() []host {
	if len(s.hosts) == 0 {
		return defaultHosts
	}
	return s.hosts
}

// host is the first that has the address.
func (s *Script) host(a netip.Addr) (host, bool) {
	for _, h := range s.all() {
		if h.prefix.Contains(a) {
			return h, true
		}
	}
	return host{}, false
}

// macOf is the MAC of one of a prefix's addresses where each has its own:
// 02:53 and the last four bytes of the address.
func macOf(a netip.Addr) net.HardwareAddr {
	b := a.AsSlice()
	return append(net.HardwareAddr{0x02, 0x53}, b[len(b)-4:]...)
}

// neighborScript is how the peer answers ARP requests, or solicitations.
type neighborScript struct {
	silent    int           // this many requests get no answer
	silentFor time.Duration // from the first request on
	delay     time.Duration
	from      net.HardwareAddr   // who answers; nil: the peer
	also      []net.HardwareAddr // who answers besides
	vlans     []tag
	untagged  bool

	// Of advertisements alone.
	router, unsolicited, noOverride, noMAC bool
	hopLimit                               *uint8
}

// speaks says whether a MAC is one that the script has answer.
func (n *neighborScript) speaks(mac net.HardwareAddr) bool {
	return n.from != nil && bytes.Equal(n.from, mac) ||
		slices.ContainsFunc(n.also, func(a net.HardwareAddr) bool { return bytes.Equal(a, mac) })
}

// rule is what happens to the echo requests that it selects.
type rule struct {
	by          selector
	first, last int
	to          netip.Prefix
	action      action
}

type selector int

const (
	bySeq selector = iota
	byOrder
	bySize
	byAddress
)

func (r rule) selects(q *Request) bool {
	n := int(q.Seq)
	switch r.by {
	case byOrder:
		n = q.N
	case bySize:
		n = q.largest
	case byAddress:
		return r.to.Contains(q.DstIP)
	}
	return r.first <= n && n <= r.last
}

// action is what becomes of one echo request. Its zero value is a plain reply.
type action struct {
	lose   bool
	delay  time.Duration
	hold   bool // until the next reply was sent
	copies int  // sent besides the first
	gap    time.Duration

	errors []icmpError
	reply  bool // besides the errors; without errors there is always one

	// Of the reply alone.
	wrongID, wrongCookie bool
	truncate             *int // bytes of payload that stay
	corrupt              *int // byte of the ICMP message
	corruptFixed         bool
	source               netip.Addr

	// Of every frame.
	badIPChecksum bool
	ipOptions     bool
	fragment      cut
	ttl, tos      *uint8
	vlans         []tag
	untagged      bool
	sourceMAC     net.HardwareAddr
	pad           int
	short         int // bytes missing at the frame's end
}

// icmpError is an ICMP error that quotes a request.
type icmpError struct {
	v4, v6           *layers.ICMPv4TypeCode // the numbers of type and code; nil: the family has no such error
	from             netip.Addr             // zero: the address that the request was for
	mtu              uint32
	gateway, pointer *uint32
	quote            int    // bytes of the quoted ICMP message; -1: the family's habit
	forged           string // "", "id", "seq" or "checksum": which of the quote is not ours
}

// word is the second word of the header: its MTU, gateway or pointer.
func (e *icmpError) word(v6 bool) uint32 {
	switch {
	case e.gateway != nil:
		return *e.gateway
	case e.pointer != nil && v6:
		return *e.pointer
	case e.pointer != nil: // RFC 792: the first byte
		return *e.pointer << 24
	}
	return e.mtu // RFC 1191: the lower half; RFC 4443, 3.2: all of it
}

// tag is a VLAN tag.
type tag struct {
	tpid layers.EthernetType
	vid  uint16
	pcp  uint8
}

// cut is how a packet is put into fragments.
type cut struct {
	first    int  // bytes of IP payload in the first; 0: whole if it fits
	each     bool // of every fragment and not of the first of two
	reversed bool // the last one is sent first
	overlap  bool // each but the first begins 8 bytes early, with other bytes
	missing  int  // this one is not sent, counted from 1; 0: all are
}

// errorNames are the ICMP errors that have a name in scripts (RFC 792, RFC
// 1812 for administratively prohibited, and RFC 4443). Those of the two families
// that mean the same have both names.
var errorNames = map[string]struct{ v4, v6 *layers.ICMPv4TypeCode }{
	"net-unreachable":     {typeCode(3, 0), typeCode(1, 0)},
	"no-route":            {typeCode(3, 0), typeCode(1, 0)},
	"host-unreachable":    {typeCode(3, 1), typeCode(1, 3)},
	"address-unreachable": {typeCode(3, 1), typeCode(1, 3)},
	"port-unreachable":    {typeCode(3, 3), typeCode(1, 4)},
	"frag-needed":         {typeCode(3, 4), typeCode(2, 0)},
	"packet-too-big":      {typeCode(3, 4), typeCode(2, 0)},
	"prohibited":          {typeCode(3, 13), typeCode(1, 1)},
	"redirect-host":       {typeCode(5, 1), nil},
	"time-exceeded":       {typeCode(11, 0), typeCode(3, 0)},
	"parameter-problem":   {typeCode(12, 0), typeCode(4, 0)},
}

func typeCode(typ, code uint8) *layers.ICMPv4TypeCode {
	tc := layers.CreateICMPv4TypeCode(typ, code)
	return &tc
}

// ParseScript reads a script, one instruction a line; empty lines are
// skipped. An error names the line, counted from 1.
//
// The peer as a whole:
//
//	address A[, A...]   what it answers for, of either family, instead of 198.51.100.2,
//	                    2001:db8:1::2 and fe80::2; a prefix stands for all addresses in it,
//	                    and with "own-macs" behind each of them has a MAC of its own,
//	                    02:53 and the last four bytes of the address
//	vlan VID [VID]      it lives in that VLAN, outer tag first: requests with other tags
//	                    are for somebody else
//	keep N              Requests has the first N alone; others are answered and counted
//	arp: DO[, DO...]    how it answers ARP requests:
//	    silent          never
//	    silent N        not the first N
//	    silent 50ms     not until so long after the first
//	    delay 5ms       so much later
//	    from MAC        another MAC answers, as a gateway after a failover does
//	    also MAC        another MAC answers too
//	    vlan ...        with these tags, as below
//	    untagged        without the request's tags
//	ndp: DO[, DO...]    how it answers neighbor solicitations: as above, and
//	    router          with the flag of a router
//	    unsolicited     without the solicited flag
//	    no-override     without the override flag
//	    no-mac          without the option that has the MAC
//	    hop-limit N     instead of 255
//
// The echo requests: the first line that selects a request decides; one that no
// line selects gets a plain reply.
//
//	seq 2: DO[, DO...]      by ICMP sequence number
//	seq 2..4: seq 2..:      a range, an open one
//	request 2: ...          by order of arrival, from 1; ranges as above
//	larger 1400: ...        of more bytes, counted from the IP header on; of a request in
//	                        fragments the largest one counts
//	to A: to A/N: ...       by the address that they are for
//	all: ...                every one
//
// What can be done with all that is sent for a request:
//
//	lose                    nothing is sent
//	delay 5ms               sent so much later
//	duplicate [N] [after D] N more copies (1), each D later than the one before
//	reorder                 held until the reply to a later request was sent
//	ttl N, tos N            in the IP header (64, and the request's)
//	source-mac MAC          in the Ethernet header
//	vlan VID[.PCP] [VID[.PCP]] [802.1Q|802.1ad]
//	                        with this tag, or these two, instead of the request's tags;
//	                        the type is the outer one's: 802.1ad if there are two
//	untagged                without the request's tags
//	pad N                   N bytes of garbage after the IP packet
//	ip-options              with a router alert option (RFC 2113, RFC 2711)
//	bad-ip-checksum         the IP header's checksum is wrong (IPv4 alone has one)
//	fragment [N] [each] [reversed] [overlap] [missing M]
//	                        in two IP fragments, the first with N bytes (32); or each with
//	                        N; the last one sent first; each but the first beginning 8 bytes
//	                        early, with other bytes there; the Mth not sent
//	short-frame N           the last N bytes of the IP packet are missing
//
// What is larger than the interface's MTU is sent in fragments anyway.
//
// What can be done to a reply, in this order; the ICMP checksum is right
// unless it says otherwise:
//
//	truncate N              the payload ends after N bytes, and all lengths agree
//	wrong-id                another ICMP id
//	wrong-cookie            the first 8 bytes of the payload changed
//	corrupt N [fixed]       byte N of the ICMP message (0 is its type) has all bits
//	                        flipped; the checksum is not made right, unless fixed
//	source A                from another address
//
// An ICMP error instead of the reply, or before it if "reply" stands there too:
//
//	error NAME|TYPE/CODE [from A] [mtu N] [gateway A] [pointer N]
//	    [quote N|full]              bytes of our ICMP message quoted: 8, and of ICMPv6 as
//	                                many as fit into 1280 bytes
//	    [forged id|seq|checksum]    what of the quote is not as we sent it
//	reply
//
// NAME is one of net-unreachable (no-route), host-unreachable
// (address-unreachable), port-unreachable, frag-needed (packet-too-big),
// prohibited, redirect-host (of IPv4), time-exceeded, or parameter-problem, and
// means the family's own type and code; numbers are taken as they are. From a
// request in fragments the first one is quoted.
//
// Echo requests to a broadcast address (one whose last byte is 255) or a
// multicast address are answered too: by each single address in "address", the
// link-local ones if the request came from one.
func ParseScript(text string) (Script, error) {
	var s Script
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := s.parseLine(line); err != nil {
			return Script{}, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return s, nil
}

func (s *Script) parseLine(line string) error {
	// A MAC has colons too, but not one followed by a space.
	subject, list, ok := strings.Cut(line, ": ")
	if !ok {
		return s.parseWhole(line)
	}
	switch subject {
	case "arp":
		return s.arp.parse(list, false)
	case "ndp":
		return s.ndp.parse(list, true)
	}
	r, err := parseSubject(subject)
	if err != nil {
		return err
	}
	if err := r.action.parse(list); err != nil {
		return err
	}
	s.rules = append(s.rules, r)
	return nil
}

// parseWhole reads a line about the peer as a whole.
func (s *Script) parseWhole(line string) error {
	what, rest, _ := strings.Cut(line, " ")
	w := words{rest: strings.Fields(rest)}
	switch {
	case what == "address" && rest != "":
		for item := range strings.SplitSeq(rest, ",") {
			a := words{rest: strings.Fields(item)}
			s.hosts = append(s.hosts, host{prefix: a.prefix(), ownMAC: a.accept("own-macs")})
			if err := a.end(); err != nil {
				return fmt.Errorf("address: %w", err)
			}
		}
		return nil
	case what == "vlan":
		s.vlans = w.tags()
	case what == "keep":
		s.keep = new(int)
		*s.keep = w.number(0, math.MaxInt32)
	default:
		return fmt.Errorf("%q: neither an address nor \"SUBJECT: ACTIONS\"", line)
	}
	if err := w.end(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func parseSubject(subject string) (rule, error) {
	w := words{rest: strings.Fields(subject)}
	r := rule{last: math.MaxInt}
	switch by := w.word(); by {
	case "all":
	case "seq":
		r.first, r.last = w.span(0, math.MaxUint16)
	case "request":
		r.by = byOrder
		r.first, r.last = w.span(1, math.MaxInt32)
	case "larger":
		r.by = bySize
		r.first = w.number(0, math.MaxUint16) + 1
	case "to":
		r.by = byAddress
		r.to = w.prefix()
	default:
		return rule{}, fmt.Errorf("unknown subject %q: want arp, ndp, seq, request, larger, to or all", by)
	}
	if err := w.end(); err != nil {
		return rule{}, fmt.Errorf("%s: %w", subject, err)
	}
	return r, nil
}

func (n *neighborScript) parse(list string, ndp bool) error {
	return eachAction(list, func(verb string, w *words) {
		switch verb {
		case "silent":
			switch {
			case w.done():
				n.silent = math.MaxInt
			case w.atNumber():
				n.silent = w.number(1, math.MaxInt32)
			default:
				n.silentFor = w.duration()
			}
		case "delay":
			n.delay = w.duration()
		case "from":
			n.from = w.mac()
		case "also":
			n.also = append(n.also, w.mac())
		case "vlan":
			n.vlans = w.tags()
		case "untagged":
			n.untagged = true
		default:
			if !ndp {
				w.fail("unknown ARP action")
				return
			}
			n.parseNDP(verb, w)
		}
	})
}

// parseNDP reads what only advertisements have.
func (n *neighborScript) parseNDP(verb string, w *words) {
	switch verb {
	case "router":
		n.router = true
	case "unsolicited":
		n.unsolicited = true
	case "no-override":
		n.noOverride = true
	case "no-mac":
		n.noMAC = true
	case "hop-limit":
		n.hopLimit = new(uint8)
		*n.hopLimit = uint8(w.number(0, math.MaxUint8))
	default:
		w.fail("unknown NDP action")
	}
}

// replyOnly are the actions that an ICMP error alone has no use for.
var replyOnly = []string{"truncate", "wrong-id", "wrong-cookie", "corrupt", "source"}

func (a *action) parse(list string) error {
	var seen []string
	err := eachAction(list, func(verb string, w *words) {
		if slices.Contains(seen, verb) && verb != "error" {
			w.fail("twice")
		}
		seen = append(seen, verb)
		a.parseOne(verb, w)
	})
	if err != nil {
		return err
	}
	if a.lose && len(seen) > 1 {
		return fmt.Errorf("lose: nothing else can be done to a request that gets no answer")
	}
	if a.reply && len(a.errors) == 0 {
		return fmt.Errorf("reply: only useful beside an error")
	}
	if len(a.errors) > 0 && !a.reply {
		for _, verb := range replyOnly {
			if slices.Contains(seen, verb) {
				return fmt.Errorf("%s: there is no reply but an error (add \"reply\" for both)", verb)
			}
		}
	}
	return nil
}

func (a *action) parseOne(verb string, w *words) {
	switch verb {
	case "lose":
		a.lose = true
	case "delay":
		a.delay = w.duration()
	case "duplicate":
		a.copies = 1
		if w.atNumber() {
			a.copies = w.number(1, 1000)
		}
		if w.accept("after") {
			a.gap = w.duration()
		}
	case "reorder":
		a.hold = true
	case "error":
		a.errors = append(a.errors, parseError(w))
	case "reply":
		a.reply = true
	case "wrong-id":
		a.wrongID = true
	case "wrong-cookie":
		a.wrongCookie = true
	case "truncate":
		a.truncate = new(int)
		*a.truncate = w.number(0, math.MaxUint16)
	case "corrupt":
		a.corrupt = new(int)
		*a.corrupt = w.number(0, math.MaxUint16)
		a.corruptFixed = w.accept("fixed")
	case "source":
		a.source = w.addr()
	case "bad-ip-checksum":
		a.badIPChecksum = true
	case "ip-options":
		a.ipOptions = true
	case "fragment":
		a.fragment = w.cut()
	case "ttl":
		a.ttl = new(uint8)
		*a.ttl = uint8(w.number(0, math.MaxUint8))
	case "tos":
		a.tos = new(uint8)
		*a.tos = uint8(w.number(0, math.MaxUint8))
	case "vlan":
		a.vlans = w.tags()
	case "untagged":
		a.untagged = true
	case "source-mac":
		a.sourceMAC = w.mac()
	case "pad":
		a.pad = w.number(1, 1000)
	case "short-frame":
		a.short = w.number(1, 1000)
	default:
		w.fail("unknown action")
	}
}

func parseError(w *words) icmpError {
	e := icmpError{quote: -1}
	name := w.word()
	named, ok := errorNames[name]
	e.v4, e.v6 = named.v4, named.v6
	if typ, c, numeric := strings.Cut(name, "/"); !ok && numeric {
		t := words{rest: []string{typ, c}}
		e.v4 = typeCode(uint8(t.number(0, math.MaxUint8)), uint8(t.number(0, math.MaxUint8)))
		e.v6 = e.v4
		ok = t.err == nil
	}
	if !ok {
		w.fail(fmt.Sprintf("unknown ICMP error %q", name))
	}
	for !w.done() {
		switch option := w.word(); option {
		case "from":
			e.from = w.addr()
		case "mtu":
			e.mtu = uint32(w.number(0, math.MaxUint16))
		case "gateway":
			gw := w.addr4()
			e.gateway = new(uint32)
			*e.gateway = binary.BigEndian.Uint32(gw[:])
		case "pointer":
			e.pointer = new(uint32)
			*e.pointer = uint32(w.number(0, math.MaxUint8))
		case "quote":
			if w.accept("full") {
				e.quote = math.MaxInt
			} else {
				e.quote = w.number(0, math.MaxUint16)
			}
		case "forged":
			e.forged = w.word()
			if !slices.Contains([]string{"id", "seq", "checksum"}, e.forged) {
				w.fail(fmt.Sprintf("cannot forge %q: want id, seq or checksum", e.forged))
			}
		default:
			w.fail(fmt.Sprintf("unknown option %q", option))
		}
	}
	if e.forged != "" && e.quote >= 0 && e.quote < 8 {
		w.fail("to forge the quoted ICMP header, quote all 8 bytes of it")
	}
	return e
}
