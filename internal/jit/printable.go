package jit

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable returns a text that people or servers wrote so that it is what it looks like and stays on its line, for terminals, tables and
// messages: control characters, line breaks, what turns the direction of text around, and whatever else nobody sees are written as \u{202e}.
// A \u{ that was in the text is written as \u{5c}u{, so [Unprintable] gives the text back.
func Printable(s string) string { return printable(s, "", true) }

// PrintableLines is [Printable] for a text of several lines: line feeds and tabs stay.
func PrintableLines(s string) string { return printable(s, "\n\t", true) }

// Visible writes what is hidden in a text of several lines as [PrintableLines] does, and leaves a \u{ that is there.
func Visible(s string) string { return printable(s, "\n\t", false) }

func printable(s, kept string, invertible bool) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	clean := !(invertible && strings.Contains(s, `\u{`)) && !strings.ContainsFunc(s, func(r rune) bool { return Hidden(r) && !strings.ContainsRune(kept, r) })
	if clean {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if Hidden(r) && !strings.ContainsRune(kept, r) || invertible && r == '\\' && strings.HasPrefix(s[i:], `\u{`) {
			b.WriteString(Escape(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Escape writes a character as [Printable] does.
func Escape(r rune) string { return fmt.Sprintf(`\u{%x}`, r) }

// Hidden reports whether nobody sees the character, or it has an effect on those around it. The space is the one blank that is seen.
func Hidden(r rune) bool {
	return !unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

var escaped = regexp.MustCompile(`\\u\{([0-9a-f]{1,6})\}`)

// Unprintable reads what [Printable] or [Cell] has written.
func Unprintable(s string) string {
	return escaped.ReplaceAllStringFunc(s, func(e string) string {
		n, err := strconv.ParseInt(e[3:len(e)-1], 16, 32)
		if err != nil {
			return e
		}
		return string(rune(n))
	})
}

// Cell is [Printable] for a place that is set off by blanks: a space at either end, or after another, is written as \u{20}, and so is
// a mark at the beginning, which would stand on what comes before.
func Cell(s string) string {
	s = Printable(s)
	if r, size := utf8.DecodeRuneInString(s); unicode.Is(unicode.M, r) {
		s = Escape(r) + s[size:]
	}
	if !strings.HasPrefix(s, " ") && !strings.HasSuffix(s, " ") && !strings.Contains(s, "  ") {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if r == ' ' && (i == 0 || i == len(s)-1 || s[i-1] == ' ') {
			b.WriteString(Escape(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
