package craft

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A token is a piece of an expression.
type token struct {
	at   int // offset in bytes
	kind tokenKind
	text string // of a name or a mark
	num  uint64
	data []byte // of a text or bytes
}

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenMark
	tokenName
	tokenNumber
	tokenText  // a string: Unicode, sent as UTF-8
	tokenBytes // b"..."
)

// String names the token for errors.
func (t token) String() string {
	switch t.kind {
	case tokenEnd:
		return "the end"
	case tokenNumber:
		return "a number"
	case tokenText:
		return "a string"
	case tokenBytes:
		return "bytes"
	}
	return fmt.Sprintf("%.40q", t.text)
}

// A lexer cuts an expression into tokens.
type lexer struct {
	text string
	at   int
}

func isLetter(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func (l *lexer) next() (token, error) {
	for l.at < len(l.text) && strings.IndexByte(" \t\r\n", l.text[l.at]) >= 0 {
		l.at++
	}
	start := l.at
	if start == len(l.text) {
		return token{at: start}, nil
	}
	c := l.text[start]
	switch {
	case isDigit(c):
		return l.number()
	case c == '"' || c == '\'':
		return l.quoted(start, false, false)
	case isLetter(c):
		for l.at < len(l.text) && (isLetter(l.text[l.at]) || isDigit(l.text[l.at])) {
			l.at++
		}
		name := l.text[start:l.at]
		if l.at < len(l.text) && (l.text[l.at] == '"' || l.text[l.at] == '\'') {
			switch strings.ToLower(name) {
			case "b":
				return l.quoted(start, true, false)
			case "r":
				return l.quoted(start, false, true)
			case "br", "rb":
				return l.quoted(start, true, true)
			case "u":
				return l.quoted(start, false, false)
			}
			return token{}, wrong(l.text, start, "no prefix %.40s of strings (there are b, r and br)", name)
		}
		return token{at: start, kind: tokenName, text: name}, nil
	case strings.IndexByte("()[],=/*+-", c) >= 0:
		l.at++
		return token{at: start, kind: tokenMark, text: string(c)}, nil
	}
	r, _ := utf8.DecodeRuneInString(l.text[start:])
	return token{}, wrong(l.text, start, "%q has no meaning here", r)
}

// number reads Python's integers: 10, 0x1f, 0b101, 0o17, 1_000.
func (l *lexer) number() (token, error) {
	start := l.at
	for l.at < len(l.text) && (isLetter(l.text[l.at]) || isDigit(l.text[l.at]) || l.text[l.at] == '.') {
		l.at++
	}
	word := l.text[start:l.at]
	digits := strings.ReplaceAll(word, "_", "")
	base := 10
	if len(digits) > 2 && digits[0] == '0' {
		switch digits[1] {
		case 'x', 'X':
			base = 16
		case 'b', 'B':
			base = 2
		case 'o', 'O':
			base = 8
		}
		if base != 10 {
			digits = digits[2:]
		}
	}
	if base == 10 && len(digits) > 1 && strings.Trim(digits, "0") != "" && digits[0] == '0' {
		return token{}, wrong(l.text, start, "%.40s is no number (octal ones start with 0o)", word)
	}
	n, err := strconv.ParseUint(digits, base, 64)
	switch {
	case err != nil && strings.Count(word, ".") == 3:
		return token{}, wrong(l.text, start, "%.40s: an address stands in quotes: %.40q", word, word)
	case err != nil && n == math.MaxUint64:
		return token{}, wrong(l.text, start, "%.40s is too large a number", word)
	case err != nil:
		return token{}, wrong(l.text, start, "%.40s is no whole number", word)
	}
	return token{at: start, kind: tokenNumber, num: n}, nil
}

// quoted reads a string or bytes, from the quote at l.at on.
func (l *lexer) quoted(start int, isBytes, raw bool) (token, error) {
	quote := l.text[l.at]
	opened := l.at
	l.at++
	t := token{at: start, kind: tokenText, data: []byte{}}
	if isBytes {
		t.kind = tokenBytes
	}
	for {
		if l.at >= len(l.text) || l.text[l.at] == '\n' {
			return token{}, wrong(l.text, opened, "a quote that nothing closes")
		}
		c := l.text[l.at]
		switch {
		case c == quote:
			l.at++
			return t, nil
		case c == '\\' && raw:
			// A backslash keeps a quote from closing, and stays itself.
			t.data = append(t.data, c)
			l.at++
			if l.at < len(l.text) && l.text[l.at] != '\n' {
				t.data = append(t.data, l.text[l.at])
				l.at++
			}
		case c == '\\':
			var err error
			if t.data, err = l.escape(t.data, isBytes); err != nil {
				return token{}, err
			}
		case isBytes && c >= utf8.RuneSelf:
			r, _ := utf8.DecodeRuneInString(l.text[l.at:])
			return token{}, wrong(l.text, l.at, "%q in bytes: what is no ASCII has to be written as \\x..", r)
		default:
			t.data = append(t.data, c)
			l.at++
		}
	}
}

// escapes are Python's, of one letter.
var escapes = map[byte]byte{
	'\\': '\\', '\'': '\'', '"': '"', 'a': 7, 'b': 8, 'f': 12, 'n': 10, 'r': 13, 't': 9, 'v': 11,
}

// escape reads what a backslash starts, and appends what it stands for. Python
// leaves a backslash that starts nothing as it is.
func (l *lexer) escape(b []byte, isBytes bool) ([]byte, error) {
	start := l.at
	if l.at++; l.at >= len(l.text) {
		return nil, wrong(l.text, start, "a backslash at the end")
	}
	c := l.text[l.at]
	l.at++
	if v, ok := escapes[c]; ok {
		return append(b, v), nil
	}
	digits, base, limit := 0, 16, 0
	switch {
	case '0' <= c && c <= '7':
		l.at--
		base, limit = 8, 3
		for digits < limit && l.at+digits < len(l.text) && '0' <= l.text[l.at+digits] && l.text[l.at+digits] <= '7' {
			digits++
		}
	case c == 'x':
		digits = 2
	case c == 'u' && !isBytes:
		digits = 4
	case c == 'U' && !isBytes:
		digits = 8
	case c == 'N' && !isBytes:
		return nil, wrong(l.text, start, `\N{...} is not known here: write the character, or \u....`)
	default:
		return append(b, '\\', c), nil
	}
	if l.at+digits > len(l.text) {
		return nil, wrong(l.text, start, `\%c takes %d hexadecimal digits`, c, digits)
	}
	v, err := strconv.ParseUint(l.text[l.at:l.at+digits], base, 32)
	if err != nil {
		return nil, wrong(l.text, start, `\%c takes %d hexadecimal digits`, c, digits)
	}
	l.at += digits
	if isBytes {
		if v > math.MaxUint8 {
			return nil, wrong(l.text, start, `\%o is more than a byte`, v)
		}
		return append(b, byte(v)), nil
	}
	if v > utf8.MaxRune || !utf8.ValidRune(rune(v)) {
		return nil, wrong(l.text, start, "no such character as U+%04X", v)
	}
	return utf8.AppendRune(b, rune(v)), nil
}
