package lab

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopacket/gopacket/layers"
)

// Script is what a Peer does. The zero value answers everything at
// 198.51.100.2, as a well-behaved host does. Scripts are made by ParseScript.
type Script struct {
	addrs []netip.Addr // empty: scriptAddr
	arp   arpScript
	rules []rule
}

// scriptAddr is the far address of a Pair.
var scriptAddr = farPrefix.Addr()

// Addrs are the addresses that the peer answers for.
func (s Script) Addrs() []netip.Addr {
	if len(s.addrs) == 0 {
		return []netip.Addr{scriptAddr}
	}
	return slices.Clone(s.addrs)
}

// arpScript is how the peer answers ARP requests.
type arpScript struct {
	silent    int           // this many requests get no answer
	silentFor time.Duration // from the first request on
	delay     time.Duration
	from      net.HardwareAddr // who answers; nil: the peer
}

// rule is what happens to the echo requests that it selects.
type rule struct {
	byOrder     bool // selects by order of arrival and not by sequence number
	first, last int
	action      action
}

func (r rule) selects(order int, seq uint16) bool {
	n := int(seq)
	if r.byOrder {
		n = order
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
	fragment      int // bytes of IP payload in the first fragment; 0: whole
	ttl, tos      *uint8
	vlan          *tag
	untagged      bool
	sourceMAC     net.HardwareAddr
	pad           int
	short         int // bytes missing at the frame's end
}

// icmpError is an ICMP error that quotes a request.
type icmpError struct {
	code   layers.ICMPv4TypeCode
	from   netip.Addr // zero: the address that the request was for
	rest   [4]byte    // the header's second word: MTU, gateway or pointer
	quote  int        // bytes of the quoted ICMP message
	forged string     // "", "id", "seq" or "checksum": which of the quote is not ours
}

// tag is an 802.1Q tag.
type tag struct {
	tpid layers.EthernetType
	vid  uint16
	pcp  uint8
}

// errorNames are the ICMP errors that have a name in scripts (RFC 792, and RFC
// 1812 for administratively prohibited).
var errorNames = map[string]layers.ICMPv4TypeCode{
	"net-unreachable":   layers.CreateICMPv4TypeCode(3, 0),
	"host-unreachable":  layers.CreateICMPv4TypeCode(3, 1),
	"port-unreachable":  layers.CreateICMPv4TypeCode(3, 3),
	"frag-needed":       layers.CreateICMPv4TypeCode(3, 4),
	"prohibited":        layers.CreateICMPv4TypeCode(3, 13),
	"redirect-host":     layers.CreateICMPv4TypeCode(5, 1),
	"time-exceeded":     layers.CreateICMPv4TypeCode(11, 0),
	"parameter-problem": layers.CreateICMPv4TypeCode(12, 0),
}

// ParseScript reads a script, one instruction a line; empty lines are
// skipped. An error names the line, counted from 1.
//
// The peer as a whole:
//
//	address A[, A...]   the addresses that it answers for, instead of 198.51.100.2
//	arp: DO[, DO...]    how it answers ARP requests:
//	    silent          never
//	    silent N        not the first N
//	    silent 50ms     not until so long after the first
//	    delay 5ms       so much later
//	    from MAC        another MAC answers, as a gateway after a failover does
//
// The echo requests: the first line that selects a request decides; one that no
// line selects gets a plain reply.
//
//	seq 2: DO[, DO...]      by ICMP sequence number
//	seq 2..4: seq 2..:      a range, an open one
//	request 2: ...          by order of arrival, from 1; ranges as above
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
//	vlan VID[.PCP]          with this tag, instead of the request's tags
//	untagged                without the request's tags
//	pad N                   N bytes of garbage after the IP packet
//	ip-options              with a router alert option (RFC 2113)
//	bad-ip-checksum         the IP header's checksum is wrong
//	fragment [N]            in two IP fragments, the first with N bytes (32)
//	short-frame N           the last N bytes of the IP packet are missing
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
//	    [quote N|full]              bytes of our ICMP message quoted (8)
//	    [forged id|seq|checksum]    what of the quote is not as we sent it
//	reply
//
// NAME is net-, host- or port-unreachable, frag-needed, prohibited,
// redirect-host, time-exceeded, or parameter-problem.
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
	if list, ok := strings.CutPrefix(line, "address "); ok {
		for item := range strings.SplitSeq(list, ",") {
			a := words{rest: strings.Fields(item)}
			s.addrs = append(s.addrs, a.addr())
			if err := a.end(); err != nil {
				return fmt.Errorf("address: %w", err)
			}
		}
		return nil
	}
	// A MAC has colons too, but not one followed by a space.
	subject, list, ok := strings.Cut(line, ": ")
	if !ok {
		return fmt.Errorf("%q: neither an address nor \"SUBJECT: ACTIONS\"", line)
	}
	if subject == "arp" {
		return s.arp.parse(list)
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

func parseSubject(subject string) (rule, error) {
	w := words{rest: strings.Fields(subject)}
	r := rule{last: math.MaxInt}
	switch by := w.word(); by {
	case "all":
	case "seq":
		r.first, r.last = w.span(0, math.MaxUint16)
	case "request":
		r.byOrder = true
		r.first, r.last = w.span(1, math.MaxInt32)
	default:
		return rule{}, fmt.Errorf("unknown subject %q: want arp, seq, request or all", by)
	}
	if err := w.end(); err != nil {
		return rule{}, fmt.Errorf("%s: %w", subject, err)
	}
	return r, nil
}

func (a *arpScript) parse(list string) error {
	return eachAction(list, func(verb string, w *words) {
		switch verb {
		case "silent":
			switch {
			case w.done():
				a.silent = math.MaxInt
			case w.atNumber():
				a.silent = w.number(1, math.MaxInt32)
			default:
				a.silentFor = w.duration()
			}
		case "delay":
			a.delay = w.duration()
		case "from":
			a.from = w.mac()
		default:
			w.fail("unknown ARP action")
		}
	})
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
		a.fragment = 32
		if !w.done() {
			a.fragment = w.number(8, math.MaxUint16)
		}
		if a.fragment%8 != 0 {
			w.fail("fragments are cut at multiples of 8 bytes")
		}
	case "ttl":
		a.ttl = new(uint8)
		*a.ttl = uint8(w.number(0, math.MaxUint8))
	case "tos":
		a.tos = new(uint8)
		*a.tos = uint8(w.number(0, math.MaxUint8))
	case "vlan":
		a.vlan = w.tag()
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
	e := icmpError{quote: 8}
	name := w.word()
	code, ok := errorNames[name]
	if typ, c, numeric := strings.Cut(name, "/"); !ok && numeric {
		t := words{rest: []string{typ, c}}
		code = layers.CreateICMPv4TypeCode(uint8(t.number(0, math.MaxUint8)), uint8(t.number(0, math.MaxUint8)))
		ok = t.err == nil
	}
	if !ok {
		w.fail(fmt.Sprintf("unknown ICMP error %q", name))
	}
	e.code = code
	for !w.done() {
		switch option := w.word(); option {
		case "from":
			e.from = w.addr()
		case "mtu": // RFC 1191: the lower half
			mtu := w.number(0, math.MaxUint16)
			e.rest = [4]byte{2: byte(mtu >> 8), 3: byte(mtu)}
		case "gateway":
			if gw := w.addr(); gw.Is4() {
				e.rest = gw.As4()
			}
		case "pointer":
			e.rest = [4]byte{byte(w.number(0, math.MaxUint8))}
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
	if e.forged != "" && e.quote < 8 {
		w.fail("to forge the quoted ICMP header, quote all 8 bytes of it")
	}
	return e
}

// eachAction calls f for each action of a comma-separated list; f leaves in
// its words what was wrong.
func eachAction(list string, f func(verb string, w *words)) error {
	for item := range strings.SplitSeq(list, ",") {
		w := words{rest: strings.Fields(item)}
		verb := w.word()
		if w.err == nil {
			f(verb, &w)
		}
		if err := w.end(); err != nil {
			return fmt.Errorf("%s: %w", strings.TrimSpace(item), err)
		}
	}
	return nil
}

// words reads the words of an instruction one by one. After the first error
// the rest read as zero values, and end returns that error.
type words struct {
	rest []string
	err  error
}

func (w *words) done() bool { return len(w.rest) == 0 || w.err != nil }

func (w *words) fail(text string) {
	if w.err == nil {
		w.err = fmt.Errorf("%s", text)
	}
}

// end says what went wrong, which includes words that nobody asked for.
func (w *words) end() error {
	if w.err == nil && len(w.rest) > 0 {
		w.fail(fmt.Sprintf("unexpected %q", w.rest[0]))
	}
	return w.err
}

func (w *words) word() string {
	if w.done() {
		w.fail("a word is missing")
		return ""
	}
	word := w.rest[0]
	w.rest = w.rest[1:]
	return word
}

// accept takes the next word if it is that one.
func (w *words) accept(word string) bool {
	if w.done() || w.rest[0] != word {
		return false
	}
	w.word()
	return true
}

func (w *words) atNumber() bool {
	if w.done() {
		return false
	}
	_, err := strconv.Atoi(w.rest[0])
	return err == nil
}

func (w *words) number(least, most int) int {
	word := w.word()
	n, err := strconv.Atoi(word)
	if err != nil || n < least || n > most {
		w.fail(fmt.Sprintf("%q is not a number from %d to %d", word, least, most))
		return least
	}
	return n
}

// span reads N, N..M or N.. (up to most).
func (w *words) span(least, most int) (first, last int) {
	from, to, ranged := strings.Cut(w.word(), "..")
	ends := words{rest: []string{from}, err: w.err}
	first = ends.number(least, most)
	switch {
	case !ranged:
		last = first
	case to == "":
		last = most
	default:
		ends.rest = append(ends.rest, to)
		last = ends.number(first, most)
	}
	if ends.err != nil {
		w.fail(ends.err.Error())
	}
	return first, last
}

func (w *words) duration() time.Duration {
	word := w.word()
	d, err := time.ParseDuration(word)
	if err != nil || d < 0 {
		w.fail(fmt.Sprintf("%q is not a duration", word))
		return 0
	}
	return d
}

func (w *words) addr() netip.Addr {
	word := w.word()
	a, err := netip.ParseAddr(word)
	if err != nil || !a.Is4() {
		w.fail(fmt.Sprintf("%q is not an IPv4 address", word))
		return netip.Addr{}
	}
	return a
}

func (w *words) mac() net.HardwareAddr {
	word := w.word()
	mac, err := net.ParseMAC(word)
	if err != nil || len(mac) != 6 {
		w.fail(fmt.Sprintf("%q is not a MAC address", word))
		return nil
	}
	return mac
}

func (w *words) tag() *tag {
	vid, pcp, both := strings.Cut(w.word(), ".")
	parts := words{rest: []string{vid}, err: w.err}
	t := &tag{tpid: layers.EthernetTypeDot1Q, vid: uint16(parts.number(0, 4095))}
	if both {
		parts.rest = append(parts.rest, pcp)
		t.pcp = uint8(parts.number(0, 7))
	}
	if parts.err != nil {
		w.fail(parts.err.Error())
	}
	return t
}
