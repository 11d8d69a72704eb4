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

// Error returns one line, such as
//
//	filter "tcp prot 80": at 5, "prot": unknown word (did you mean "port"?)
//
// It counts characters from 1.
func (e *Error) Error() string {
	what := "the end"
	if e.Pos < e.End {
		what = fmt.Sprintf("%q", e.Expr[e.Pos:e.End])
	}
	return fmt.Sprintf("filter %q: at %d, %s: %s", e.Expr, utf8.RuneCountInString(e.Expr[:e.Pos])+1, what, e.Msg)
}

// Marked returns two lines: the expression, and marks below the place. Tabs and
// line breaks in the expression are shown as spaces.
func (e *Error) Marked() string {
	shown := strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, e.Expr)
	before, marks := utf8.RuneCountInString(e.Expr[:e.Pos]), utf8.RuneCountInString(e.Expr[e.Pos:e.End])
	return shown + "\n" + strings.Repeat(" ", before) + strings.Repeat("^", max(1, marks))
}
