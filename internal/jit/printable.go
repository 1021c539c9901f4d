package jit

import (
	"fmt"
	"strings"
	"unicode"
)

// Printable makes a text that people or servers wrote safe for terminals, tables and messages. It writes control
// characters, line breaks, direction marks and other hidden characters as \u{202e}. A \u{ in the text becomes \u{5c}u{,
// so the result can be read back.
func Printable(s string) string { return printable(s, "", true) }

// PrintableLines is [Printable] for a text of several lines: line feeds and tabs stay.
func PrintableLines(s string) string { return printable(s, "\n\t", true) }

// Visible is [PrintableLines] except that a \u{ in the text stays.
func Visible(s string) string { return printable(s, "\n\t", false) }

func printable(s, kept string, invertible bool) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	return escapeWhere(s, func(i int, r rune) bool {
		return Hidden(r) && !strings.ContainsRune(kept, r) || invertible && strings.HasPrefix(s[i:], `\u{`)
	})
}

// Cell is [Printable] for a column of a table. It also escapes a space at either end or after another space, and a
// combining mark at the beginning.
func Cell(s string) string {
	s = Printable(s)
	return escapeWhere(s, func(i int, r rune) bool {
		return i == 0 && unicode.Is(unicode.M, r) || r == ' ' && (i == 0 || i == len(s)-1 || s[i-1] == ' ')
	})
}

// escapeWhere escapes the characters for which escaped is true.
func escapeWhere(s string, escaped func(i int, r rune) bool) string {
	var b strings.Builder
	for i, r := range s {
		if escaped(i, r) {
			b.WriteString(Escape(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Escape writes a character as [Printable] does.
func Escape(r rune) string { return fmt.Sprintf(`\u{%x}`, r) }

// Hidden reports whether a character is invisible or affects those around it. A plain space is visible.
func Hidden(r rune) bool {
	return !unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
