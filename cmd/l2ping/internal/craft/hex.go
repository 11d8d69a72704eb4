package craft

import (
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// The lines of dumps: xxd's and tcpdump's, with a colon behind the offset, and
// those of `hexdump -C` and of Dump, with the text between bars.
var (
	colonLine   = regexp.MustCompile(`^\s*(?:0x)?([0-9a-fA-F]{4,8}): +(.*)$`)
	tcpdumpLine = regexp.MustCompile(`(?m)^\s+0x[0-9a-f]{4}: `)
	barLine     = regexp.MustCompile(`^\s*([0-9a-fA-F]{4,8}) +([0-9a-fA-F ]*[0-9a-fA-F]) *\|.*$`)
)

// FromHex reads frames from hexadecimal digits, divided as one likes by blanks,
// colons, dots, dashes or commas, each byte with 0x or \x ahead or not. An empty
// line divides frames, and # starts a comment that ends with the line.
//
// It also reads what xxd, hexdump -C, Dump and tcpdump -xx print: there an offset
// of 0 starts a frame, and of tcpdump's output all other lines are passed over.
func FromHex(text string) ([][]byte, error) {
	r := hexReader{tcpdump: tcpdumpLine.MatchString(text)}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if err := r.line(strings.TrimRight(line, "\r\n")); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	r.end()
	if len(r.frames) == 0 {
		return nil, errors.New("no hexadecimal digits")
	}
	return r.frames, nil
}

// A hexReader reads line by line.
type hexReader struct {
	tcpdump bool
	frames  [][]byte
	frame   []byte
	dump    bool // the frame comes from lines with offsets
}

// end ends the frame, if there is one.
func (r *hexReader) end() {
	if len(r.frame) > 0 {
		r.frames = append(r.frames, r.frame)
	}
	r.frame, r.dump = nil, false
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
	if r.tcpdump {
		return nil
	}
	line, _, comment := strings.Cut(line, "#")
	line = strings.TrimSpace(line)
	if line == "" {
		if !comment {
			r.end()
		}
		return nil
	}
	if r.dump {
		if offsetOf(line) == len(r.frame) {
			r.end() // hexdump's last line says how long it was
			return nil
		}
		return fmt.Errorf("%.40q within a dump: it starts with no offset", line)
	}
	return r.add(line)
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
		r.end()
	}
	if n != len(r.frame) {
		return fmt.Errorf("offset 0x%x where 0x%x should be", n, len(r.frame))
	}
	r.dump = true
	return r.add(digits)
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
