package craft

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A PlaceError says what is wrong with an expression, and where.
type PlaceError struct {
	At   int // which character of the expression, counted from 1
	Text string
}

func (e *PlaceError) Error() string { return fmt.Sprintf("at %d: %s", e.At, e.Text) }

// wrong makes the error for the byte at offset of text.
func wrong(text string, offset int, format string, args ...any) error {
	offset = min(offset, len(text))
	return &PlaceError{At: utf8.RuneCountInString(text[:offset]) + 1, Text: fmt.Sprintf(format, args...)}
}

// nearest returns the name that the typed word was most likely meant to be, ""
// if none is near.
func nearest(word string, names []string) string {
	// A third of the letters may be wrong, and not more than two.
	best, distance := "", min((len(word)+1)/3, 2)+1
	for _, name := range names {
		if strings.EqualFold(word, name) {
			return name
		}
		if d := edits(strings.ToLower(word), strings.ToLower(name), distance); d < distance && d < len(name) {
			best, distance = name, d
		}
	}
	return best
}

// edits counts the bytes to insert, delete or replace, and the neighbors to swap, to
// make b of a; whatever is not below limit may come out as limit.
func edits(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	// The rows of a's letter, and of the one and the two before.
	row, last, earlier := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		row, last, earlier = earlier, row, last
		row[0] = i + 1
		for j := range len(b) {
			cost := last[j]
			if a[i] != b[j] {
				cost++
			}
			row[j+1] = min(cost, row[j]+1, last[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], earlier[j-1]+1)
			}
		}
	}
	return row[len(b)]
}

// choices is for an error the name that was most likely meant, or else the list of
// all.
func choices(what, word string, names []string) string {
	if near := nearest(word, names); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return what + ": " + strings.Join(names, ", ")
}

// sorted returns the keys of a map in order.
func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
