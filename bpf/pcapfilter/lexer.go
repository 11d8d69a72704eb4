package pcapfilter

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

type tokenKind int

const (
	tokenEnd      tokenKind = iota
	tokenWord               // a keyword
	tokenOperator           // punctuation
	tokenName               // any other word, or one behind a backslash
	tokenNumber
	tokenIPv4 // of two to four numbers
	tokenIPv6
	tokenMAC
)

// A token is the bytes from pos to before end of an expression.
type token struct {
	kind     tokenKind
	pos, end int
	text     string // without the backslash
	num      uint32 // of tokenNumber
}

// is tells whether the token is one of some keywords or operators.
func (t token) is(texts ...string) bool {
	if t.kind != tokenWord && t.kind != tokenOperator {
		return false
	}
	for _, text := range texts {
		if t.text == text {
			return true
		}
	}
	return false
}

// isID tells whether the token can stand for a host, a net, a port or a protocol.
func (t token) isID() bool { return t.kind >= tokenName }

// words in letters for what their signs say.
var signs = map[string]string{"&&": "and", "||": "or", "!": "not", "==": "="}

// tokens takes an expression apart. Of all the tokens that could start at a place
// the longest counts, so that len-14 is a word, and len -14 is not.
func tokens(expr string) ([]token, error) {
	var list []token
	for pos := 0; pos < len(expr); {
		if strings.IndexByte(" \t\r\n", expr[pos]) >= 0 {
			pos++
			continue
		}
		t, err := scan(expr, pos)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
		pos = t.end
	}
	return append(list, token{pos: len(expr), end: len(expr)}), nil
}

func scan(expr string, pos int) (token, error) {
	rest := expr[pos:]
	t := token{pos: pos}
	fail := func(length int, format string, args ...any) (token, error) {
		return t, &Error{Expr: expr, Pos: pos, End: pos + length, Msg: fmt.Sprintf(format, args...)}
	}
	length := 0
	take := func(kind tokenKind, n int) {
		if n > length {
			t.kind, length = kind, n
		}
	}
	take(tokenMAC, macLength(rest))
	take(tokenNumber, numberLength(rest))
	take(tokenIPv4, ipv4Length(rest))
	take(tokenIPv6, ipv6Length(rest))
	take(tokenName, nameLength(rest))
	if rest[0] == '\\' {
		n := strings.IndexAny(rest, " !()\n\t")
		if n < 0 {
			n = len(rest)
		}
		if n == 1 {
			return fail(1, "a name is missing behind the backslash")
		}
		t.kind, t.text, t.end = tokenName, rest[1:n], pos+n
		return t, nil
	}
	if length == 0 {
		return scanOperator(expr, pos)
	}
	t.text, t.end = rest[:length], pos+length
	switch t.kind {
	case tokenNumber:
		num, err := strconv.ParseUint(t.text, 0, 32)
		if err != nil {
			return fail(length, "not a number of 32 bits (0x starts a hexadecimal one, 0 an octal one)")
		}
		t.num = uint32(num)
	case tokenName:
		if why, ok := foreignWords[t.text]; ok {
			return fail(length, "%s", why)
		}
		if num, ok := constants[t.text]; ok {
			t.kind, t.num = tokenNumber, num
		} else if _, ok := protocolWords[t.text]; ok || words[t.text] {
			t.kind = tokenWord
		}
	}
	return t, nil
}

func scanOperator(expr string, pos int) (token, error) {
	rest := expr[pos:]
	length := 1
	for _, two := range []string{"&&", "||", ">=", "<=", "!=", "==", "<<", ">>"} {
		if strings.HasPrefix(rest, two) {
			length = 2
		}
	}
	t := token{kind: tokenOperator, pos: pos, end: pos + length, text: rest[:length]}
	if length == 1 && strings.IndexByte("+-*/%:[]!<>()&|^=", rest[0]) < 0 {
		_, size := utf8.DecodeRuneInString(rest)
		return t, &Error{Expr: expr, Pos: pos, End: pos + size, Msg: "nothing starts with this character"}
	}
	if word, ok := signs[t.text]; ok {
		t.text = word
	}
	return t, nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }

func isLetterOrDigit(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// run counts the bytes that s starts with and f wants, up to most.
func run(s string, most int, f func(byte) bool) int {
	n := 0
	for n < len(s) && n < most && f(s[n]) {
		n++
	}
	return n
}

// nameLength measures the word that s starts with. Inside it may have hyphens,
// and inside and at its end dots.
func nameLength(s string) int {
	if !isLetterOrDigit(s[0]) {
		return 0
	}
	n := run(s, len(s), func(c byte) bool { return isLetterOrDigit(c) || c == '-' || c == '_' || c == '.' })
	for s[n-1] == '-' || s[n-1] == '_' {
		n--
	}
	return n
}

func numberLength(s string) int {
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') && isHex(s[2]) {
		return 2 + run(s[2:], len(s), isHex)
	}
	return run(s, len(s), isDigit)
}

// ipv4Length measures two to four numbers with dots between them.
func ipv4Length(s string) int {
	length, parts := 0, 0
	for parts < 4 {
		n := run(s[length:], len(s), isDigit)
		if n == 0 {
			break
		}
		length += n
		if parts++; parts < 4 && length+1 < len(s) && s[length] == '.' && isDigit(s[length+1]) {
			length++
			continue
		}
		break
	}
	if parts < 2 {
		return 0
	}
	return length
}

// macLength measures six pairs of digits with colons, hyphens or dots between
// them, three groups of four with dots, or twelve digits.
func macLength(s string) int {
	for _, form := range []struct {
		groups, least, most int
		separator           string
	}{
		{6, 1, 2, ":"}, {6, 1, 2, "-"}, {6, 1, 2, "."}, {3, 4, 4, "."}, {3, 4, 4, ""},
	} {
		length := 0
		for i := range form.groups {
			if i > 0 {
				if !strings.HasPrefix(s[length:], form.separator) {
					length = 0
					break
				}
				length += len(form.separator)
			}
			n := run(s[length:], form.most, isHex)
			if n < form.least {
				length = 0
				break
			}
			length += n
		}
		if length > 0 {
			return length
		}
	}
	return 0
}

// ipv6Length measures the longest IPv6 address that s starts with.
func ipv6Length(s string) int {
	const longest = len("0000:0000:0000:0000:0000:0000:255.255.255.255")
	n := run(s, longest, func(c byte) bool { return isHex(c) || c == ':' || c == '.' })
	if strings.Count(s[:n], ":") < 2 {
		return 0
	}
	for ; n >= 2; n-- {
		if a, err := netip.ParseAddr(s[:n]); err == nil && a.Is6() {
			return n
		}
	}
	return 0
}
