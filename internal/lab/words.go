package lab

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/gopacket/gopacket/layers"
)

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
	if err != nil || a.Zone() != "" || a.Is4In6() {
		w.fail(fmt.Sprintf("%q is not an IP address", word))
		return netip.Addr{}
	}
	return a
}

func (w *words) addr4() [4]byte {
	a := w.addr()
	if w.err == nil && !a.Is4() {
		w.fail(fmt.Sprintf("%q is not an IPv4 address", a))
	}
	if w.err != nil {
		return [4]byte{}
	}
	return a.As4()
}

// prefix reads an address, or a prefix.
func (w *words) prefix() netip.Prefix {
	if w.done() || !strings.Contains(w.rest[0], "/") {
		a := w.addr()
		return netip.PrefixFrom(a, a.BitLen())
	}
	word := w.word()
	p, err := netip.ParsePrefix(word)
	if err != nil {
		w.fail(fmt.Sprintf("%q is not a prefix", word))
	}
	return p.Masked()
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

// tags reads one tag or two, outer first, and what type the outer one has.
func (w *words) tags() []tag {
	list := []tag{w.tag()}
	if !w.done() && w.rest[0] != "802.1Q" && w.rest[0] != "802.1ad" {
		list[0].tpid = layers.EthernetTypeQinQ
		list = append(list, w.tag())
	}
	switch {
	case w.accept("802.1Q"):
		list[0].tpid = layers.EthernetTypeDot1Q
	case w.accept("802.1ad"):
		list[0].tpid = layers.EthernetTypeQinQ
	}
	return list
}

func (w *words) tag() tag {
	vid, pcp, both := strings.Cut(w.word(), ".")
	parts := words{rest: []string{vid}, err: w.err}
	t := tag{tpid: layers.EthernetTypeDot1Q, vid: uint16(parts.number(0, 4095))}
	if both {
		parts.rest = append(parts.rest, pcp)
		t.pcp = uint8(parts.number(0, 7))
	}
	if parts.err != nil {
		w.fail(parts.err.Error())
	}
	return t
}

// cut reads how a packet is put into fragments.
func (w *words) cut() cut {
	c := cut{first: 32}
	if w.atNumber() {
		c.first = w.number(8, math.MaxUint16)
	}
	if c.first%8 != 0 {
		w.fail("fragments are cut at multiples of 8 bytes")
	}
	for !w.done() {
		switch word := w.word(); word {
		case "each":
			c.each = true
		case "reversed":
			c.reversed = true
		case "overlap":
			c.overlap = true
		case "missing":
			c.missing = w.number(1, math.MaxUint16/8)
		default:
			w.fail(fmt.Sprintf("unexpected %q", word))
		}
	}
	return c
}
