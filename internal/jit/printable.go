package jit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
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
// combining mark at the beginning, and U+2800, which is printable and blank.
func Cell(s string) string {
	s = Printable(s)
	return escapeWhere(s, func(i int, r rune) bool {
		return i == 0 && unicode.Is(unicode.M, r) || r == '\u2800' ||
			r == ' ' && (i == 0 || i == len(s)-1 || s[i-1] == ' ')
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

// JSON returns v as indented JSON, with <, > and & unchanged and hidden characters as \u202e.
func JSON(v any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return []byte(VisibleJSON(text.String())), err
}

// VisibleJSON returns JSON with the hidden characters in its strings escaped. Outside of strings, its only hidden
// characters are line feeds.
func VisibleJSON(text string) string {
	hidden := func(r rune) bool { return r != '\n' && Hidden(r) }
	var b strings.Builder
	for {
		i := strings.IndexFunc(text, hidden)
		if i < 0 {
			return b.String() + text
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		b.WriteString(text[:i])
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
		text = text[i+size:]
	}
}
