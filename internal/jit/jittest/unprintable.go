package jittest

import (
	"regexp"
	"strconv"
)

var escaped = regexp.MustCompile(`\\u\{([0-9a-f]{1,6})\}`)

// Unprintable reads back what [jit.Printable] or [jit.Cell] has written.
func Unprintable(s string) string {
	return escaped.ReplaceAllStringFunc(s, func(e string) string {
		n, err := strconv.ParseInt(e[3:len(e)-1], 16, 32)
		if err != nil {
			return e
		}
		return string(rune(n))
	})
}
