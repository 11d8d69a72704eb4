//go:build linux

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// conversions are those of strftime(3) that the name of a file may have, as layouts
// of package time.
var conversions = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'h': "Jan", 'd': "02", 'e': "_2", 'm': "01", 'y': "06", 'Y': "2006",
	'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'j': "002", 'Z': "MST", 'z': "-0700",
	'F': "2006-01-02", 'T': "15:04:05", 'R': "15:04", 'D': "01/02/06",
}

// strftime is what strftime(3) makes of a name, in the C locale.
func strftime(name string, at time.Time) (string, error) {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			b.WriteByte(name[i])
			continue
		}
		i++
		switch {
		case i == len(name):
			return "", fmt.Errorf("%s ends with a %%", name)
		case name[i] == '%':
			b.WriteByte('%')
		case name[i] == 's':
			b.WriteString(strconv.FormatInt(at.Unix(), 10))
		case conversions[name[i]] != "":
			b.WriteString(at.Format(conversions[name[i]]))
		default:
			return "", fmt.Errorf("%s: unknown %%%c (such as %%F, %%T, %%Y, %%m, %%d, %%H, %%M, %%S and %%s are known, as of strftime)", name, name[i])
		}
	}
	return b.String(), nil
}

// numbered is a file's name with its number, in so many digits at least; with none
// the first has no number, as tcpdump's.
func numbered(name string, n uint64, digits int) string {
	if n == 0 && digits == 0 {
		return name
	}
	return fmt.Sprintf("%s%0*d", name, digits, n)
}

// digitsOf is how many digits the numbers of so many files have; 0 if nobody knows
// how many there will be, or there is one.
func digitsOf(files uint64) int {
	if files <= 1 {
		return 0
	}
	return len(strconv.FormatUint(files-1, 10))
}
