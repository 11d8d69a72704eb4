package pcapfilter

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// An Error says what is wrong with an expression, and where.
type Error struct {
	// Expr is the whole expression.
	Expr string
	// Pos and End are the bytes of Expr, from Pos to before End, that cannot be
	// compiled. Both are len(Expr) where something is missing at the end.
	Pos, End int
	// Msg says what is wrong, without the place.
	Msg string
}

// How much of an expression an Error shows, in characters.
const (
	mostShown  = 160 // of the whole
	shownAhead = 60  // of a longer one, ahead of the place
	placeShown = 40  // of the place
)

// Error returns one line, such as
//
//	filter "tcp prot 80": at 5, "prot": unknown word (did you mean "port"?)
//
// It counts characters from 1. Of a long expression it shows the part around the
// place, with ... for the rest.
func (e *Error) Error() string {
	what := "the end"
	if e.Pos < e.End {
		place := e.Expr[e.Pos:e.End]
		if n := within(place, placeShown); n < len(place) {
			place = place[:n] + "..."
		}
		what = fmt.Sprintf("%q", place)
	}
	from, to := e.part()
	return fmt.Sprintf("filter %q: at %d, %s: %s", e.dotted(from, to), utf8.RuneCountInString(e.Expr[:e.Pos])+1, what, e.Msg)
}

// Marked returns two lines: the expression, or as much of it as Error shows, and
// marks below the place. Tabs and line breaks in the expression are shown as spaces.
func (e *Error) Marked() string {
	from, to := e.part()
	shown := strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, e.dotted(from, to))
	before, marks := utf8.RuneCountInString(e.Expr[from:e.Pos]), utf8.RuneCountInString(e.Expr[e.Pos:max(e.Pos, min(e.End, to))])
	if from > 0 {
		before += len("...")
	}
	return shown + "\n" + strings.Repeat(" ", before) + strings.Repeat("^", max(1, marks))
}

// part is which bytes of the expression are shown: Pos is among them, or their end.
func (e *Error) part() (from, to int) {
	if within(e.Expr, mostShown) == len(e.Expr) {
		return 0, len(e.Expr)
	}
	from = e.Pos
	for n := 0; n < shownAhead && from > 0; n++ {
		_, size := utf8.DecodeLastRuneInString(e.Expr[:from])
		from -= size
	}
	return from, from + within(e.Expr[from:], mostShown)
}

// dotted is a part of the expression, with dots for what it lacks.
func (e *Error) dotted(from, to int) string {
	s := e.Expr[from:to]
	if from > 0 {
		s = "..." + s
	}
	if to < len(e.Expr) {
		s += "..."
	}
	return s
}

// within is how many bytes the first n characters of s are, at most.
func within(s string, n int) int {
	for at := range s {
		if n == 0 {
			return at
		}
		n--
	}
	return len(s)
}
