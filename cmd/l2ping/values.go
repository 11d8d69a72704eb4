//go:build linux

package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/l2ping/l2ping/l2/frame"
)

// duration is a flag's value: a Go duration, or seconds as a plain number.
type duration time.Duration

func (d *duration) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

func (*duration) Type() string { return "duration" }

func (d *duration) Set(s string) error {
	v, err := parseDuration(s)
	if err != nil {
		return err
	}
	*d = duration(v)
	return nil
}

func parseDuration(s string) (time.Duration, error) {
	v, err := time.ParseDuration(s)
	if err != nil {
		seconds, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(seconds) {
			return 0, errors.New("not a time such as 10ms, 1.5s or 0.2 (seconds)")
		}
		if math.Abs(seconds) > 1e9 {
			return 0, errors.New("too long")
		}
		v = time.Duration(math.Round(seconds * 1e9))
	}
	if v <= 0 {
		return 0, errors.New("has to be more than 0")
	}
	return v, nil
}

// number is a flag's value: a whole number within bounds, in decimal or, with
// 0x ahead, hexadecimal.
type number struct {
	value    *uint64
	set      bool
	min, max uint64
}

func (n *number) String() string {
	if n.value == nil || !n.set {
		return ""
	}
	return strconv.FormatUint(*n.value, 10)
}

func (*number) Type() string { return "number" }

func (n *number) Set(s string) error {
	base, digits := 10, s
	if len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X") {
		base, digits = 16, s[2:]
	}
	v, err := strconv.ParseUint(digits, base, 64)
	if err != nil || v < n.min || v > n.max {
		return fmt.Errorf("not a number from %d to %d", n.min, n.max)
	}
	*n.value, n.set = v, true
	return nil
}

// pattern is a flag's value: up to 16 bytes in hexadecimal, as ping's -p.
type pattern []byte

func (p *pattern) String() string { return hex.EncodeToString(*p) }

func (*pattern) Type() string { return "hex" }

func (p *pattern) Set(s string) error {
	if len(s)%2 == 1 {
		s = s[:len(s)-1] + "0" + s[len(s)-1:] // ping reads an odd last digit as a byte
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) == 0 || len(b) > 16 {
		return errors.New("not 1 to 16 bytes in hexadecimal, such as ff00")
	}
	*p = b
	return nil
}

// choice is a flag's value: one of a few words.
type choice[T any] struct {
	value *T
	parse func(string) (T, error)
	words string // those that there are, for the error
	text  string
}

func (c *choice[T]) String() string { return c.text }

func (*choice[T]) Type() string { return "word" }

func (c *choice[T]) Set(s string) error {
	v, err := c.parse(s)
	if err != nil {
		return fmt.Errorf("not one of %s", c.words)
	}
	*c.value, c.text = v, s
	return nil
}

// parsed is a flag's value: whatever parse makes of it.
type parsed[T any] struct {
	value *T
	parse func(string) (T, error)
	text  string
}

func (p *parsed[T]) String() string { return p.text }

func (*parsed[T]) Type() string { return "value" }

func (p *parsed[T]) Set(s string) error {
	v, err := p.parse(s)
	if err != nil {
		return err
	}
	*p.value, p.text = v, s
	return nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, errors.New("not an IP address")
	}
	return a.Unmap(), nil
}

func parseMAC(s string) (frame.MAC, error) {
	m, err := frame.ParseMAC(s)
	switch {
	case err != nil:
		return frame.MAC{}, errors.New("not a MAC address such as 02:00:5e:00:53:01")
	case m.IsZero():
		return frame.MAC{}, errors.New("the zero address is nobody's")
	}
	return m, nil
}

// parseVLANs reads VID[.PCP][,VID[.PCP]], outer first. The outer of two tags is
// a provider's (IEEE 802.1ad).
func parseVLANs(s string) ([]frame.VLAN, error) {
	parts := strings.Split(s, ",")
	if len(parts) > frame.MaxVLANs {
		return nil, fmt.Errorf("more than %d tags", frame.MaxVLANs)
	}
	var tags []frame.VLAN
	for i, part := range parts {
		id, priority, withPriority := strings.Cut(part, ".")
		vid, err := strconv.ParseUint(id, 10, 16)
		if err != nil || vid > 4094 {
			return nil, fmt.Errorf("%q: a VLAN id is a number from 0 to 4094", part)
		}
		var pcp uint64
		if withPriority {
			if pcp, err = strconv.ParseUint(priority, 10, 8); err != nil || pcp > 7 {
				return nil, fmt.Errorf("%q: a priority is a number from 0 to 7", part)
			}
		}
		tag := frame.VLAN{Type: frame.EtherTypeVLAN, TCI: uint16(pcp<<13 | vid)}
		if i < len(parts)-1 {
			tag.Type = frame.EtherTypeQinQ
		}
		tags = append(tags, tag)
	}
	return tags, nil
}

// dscpNames are the code points of RFC 2474, 2597, 3246, 5865 and 8622.
var dscpNames = map[string]uint8{
	"be": 0, "df": 0, "le": 1, "ef": 46, "va": 44, "voice-admit": 44,
	"cs0": 0, "cs1": 8, "cs2": 16, "cs3": 24, "cs4": 32, "cs5": 40, "cs6": 48, "cs7": 56,
	"af11": 10, "af12": 12, "af13": 14, "af21": 18, "af22": 20, "af23": 22,
	"af31": 26, "af32": 28, "af33": 30, "af41": 34, "af42": 36, "af43": 38,
}

// parseDSCP reads a code point by name or number.
func parseDSCP(s string) (uint8, error) {
	if v, ok := dscpNames[strings.ToLower(s)]; ok {
		return v, nil
	}
	v, err := strconv.ParseUint(s, 0, 8)
	if err != nil || v > 63 {
		return 0, errors.New("not a code point such as ef, af41, cs6, le, or 0 to 63")
	}
	return uint8(v), nil
}
