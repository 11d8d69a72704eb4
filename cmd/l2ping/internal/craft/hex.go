package craft

import (
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// The lines of dumps: xxd's and tcpdump's, with a colon behind the offset; those of
// `hexdump -C` and of Dump, with the text between bars; those of Wireshark and of
// scapy, with nothing but blanks around the digits of up to 16 bytes; those of od, with
// one blank ahead of each byte.
var (
	colonLine = regexp.MustCompile(`^\s*(?:0x)?([0-9a-fA-F]{4,8}): +(.*)$`)
	barLine   = regexp.MustCompile(`^\s*([0-9a-fA-F]{4,8}) +([0-9a-fA-F ]*[0-9a-fA-F]) *\|.*$`)
	blankLine = regexp.MustCompile(`^\s*([0-9a-fA-F]{4,8}) {2,}((?:[0-9a-fA-F]{2} {1,2}){0,15}[0-9a-fA-F]{2})(?:(?: {2}.*)| *)$`)
	odLine    = regexp.MustCompile(`^\s*([0-9a-fA-F]{6,8})((?:[ \t]+[0-9a-fA-F]{2})+)\s*(?:>.*<)?$`)
	// What `tcpdump -xx`, `l2ping capture -x` and `l2ping send -x` print is indented,
	// and stands between lines of another kind.
	indentedLine = regexp.MustCompile(`(?m)^[ \t]+(?:0x[0-9a-f]{4}:|0000 ) `)
	// layerLine starts a layer of Dump.
	layerLine = regexp.MustCompile(`^(?:[A-Za-z]\S*, [0-9]+ bytes?|not understood from here on: .*)$`)
)

// FromHex reads frames from hexadecimal digits, divided as one likes by blanks,
// colons, dots, dashes or commas, each byte with 0x or \x ahead or not. An empty
// line divides frames, and # starts a comment that ends with the line.
//
// It also reads dumps: what xxd, hexdump -C, od -A x -t x1, tcpdump -xx, Wireshark and
// scapy print, and Dump, layers and all. There an offset of 0 starts a frame, and a
// line with a star alone stands for lines like the one ahead of it. Where its lines are
// indented, as tcpdump's, all others are passed over. At a frame's start six to eight
// zeros, and words of two digits alone behind them, are a line of od's.
func FromHex(text string) ([][]byte, error) {
	r := hexReader{indented: indentedLine.MatchString(text)}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if err := r.line(strings.TrimRight(line, "\r\n")); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	if len(r.frames) == 0 {
		return nil, errors.New("no hexadecimal digits")
	}
	return r.frames, nil
}

// A hexReader reads line by line.
type hexReader struct {
	indented bool
	frames   [][]byte
	frame    []byte
	dump     bool // the frame comes from lines with offsets
	last     int  // how long the last one of them was
	star     bool // it is repeated up to the next offset
	layers   bool // the lines are those of layers
}

// end ends the frame, if there is one.
func (r *hexReader) end() error {
	if r.star {
		return errors.New("a star at the end of a dump: where it ends is not said")
	}
	if len(r.frame) > 0 {
		r.frames = append(r.frames, r.frame)
	}
	r.frame, r.dump = nil, false
	return nil
}

func (r *hexReader) line(line string) error {
	if m := colonLine.FindStringSubmatch(line); m != nil {
		// The text stands two blanks behind the digits.
		digits, _, _ := strings.Cut(m[2], "  ")
		return r.offset(m[1], digits)
	}
	if m := barLine.FindStringSubmatch(line); m != nil {
		return r.offset(m[1], m[2])
	}
	if m := blankLine.FindStringSubmatch(line); m != nil && (r.dump || offsetOf(m[1]) == 0) {
		return r.offset(m[1], m[2])
	}
	// Elsewhere six digits and a blank are three bytes.
	if m := odLine.FindStringSubmatch(line); m != nil && (r.dump || len(r.frame) == 0 && offsetOf(m[1]) == 0) {
		return r.offset(m[1], m[2])
	}
	plain, _, comment := strings.Cut(line, "#")
	plain = strings.TrimSpace(plain)
	switch {
	case r.dump && plain == "*":
		r.star = true
		return nil
	case r.dump && plain != "" && offsetOf(plain) >= len(r.frame) && (r.star || offsetOf(plain) == len(r.frame)):
		// hexdump's last line says how long it was.
		if err := r.repeat(offsetOf(plain)); err != nil {
			return err
		}
		return r.end()
	case r.indented:
		return nil
	case !r.dump && layerLine.MatchString(line):
		err := r.end()
		r.layers = true
		return err
	case r.layers:
		return nil
	case plain == "" && comment:
		return nil
	case plain == "":
		return r.end()
	case r.dump:
		return fmt.Errorf("%.40q within a dump: it starts with no offset", plain)
	}
	return r.add(plain)
}

// offsetOf reads an offset, -1 if it is none.
func offsetOf(text string) int {
	n := 0
	for _, c := range []byte(text) {
		i := strings.IndexByte("0123456789abcdef", c|0x20)
		if i < 0 || len(text) > 8 {
			return -1
		}
		n = n<<4 | i
	}
	return n
}

// offset reads a line of a dump.
func (r *hexReader) offset(at, digits string) error {
	n := offsetOf(at)
	if n == 0 {
		if err := r.end(); err != nil {
			return err
		}
	}
	if err := r.repeat(n); err != nil {
		return err
	}
	if n != len(r.frame) {
		return fmt.Errorf("offset 0x%x where 0x%x should be", n, len(r.frame))
	}
	r.dump, r.layers = true, false
	err := r.add(digits)
	r.last = len(r.frame) - n
	return err
}

// repeat does what a star says, up to an offset.
func (r *hexReader) repeat(to int) error {
	if !r.star {
		return nil
	}
	r.star = false
	if to > maxFrame {
		return fmt.Errorf("a frame of more than %d bytes", maxFrame)
	}
	line := r.frame[len(r.frame)-r.last:]
	for len(line) > 0 && len(r.frame)+len(line) <= to {
		r.frame = append(r.frame, line...)
	}
	return nil
}

// add reads digits.
func (r *hexReader) add(text string) error {
	for _, word := range strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune(" \t:.,-;", c) }) {
		for part := range strings.SplitSeq(strings.ReplaceAll(word, "0x", `\x`), `\x`) {
			b, err := hex.DecodeString(part)
			if errors.Is(err, hex.ErrLength) {
				return fmt.Errorf("%.40q has an odd number of digits", part)
			}
			if err != nil {
				return fmt.Errorf("%.40q: a byte is two hexadecimal digits", word)
			}
			r.frame = append(r.frame, b...)
		}
		if len(r.frame) > maxFrame {
			return fmt.Errorf("a frame of more than %d bytes", maxFrame)
		}
	}
	return nil
}
