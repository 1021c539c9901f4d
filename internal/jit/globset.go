package jit

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Literal reports whether the pattern has no wildcard, so it matches one text only.
func (g Glob) Literal() bool {
	return !slices.ContainsFunc(g.tokens, func(t token) bool { return t.kind != literal })
}

// Everything reports whether the pattern matches every text.
func (g Glob) Everything() bool {
	return len(g.tokens) > 0 && !slices.ContainsFunc(g.tokens, func(t token) bool { return t.kind != anyRun })
}

// Includes reports whether the glob matches every text that other matches; in other only * and ? are wildcards. It may
// report false where it does, but never true where it does not. A literal \* in the glob also matches a wildcard * of
// other.
func (g Glob) Includes(other string) bool {
	return g.includes(other, func(a, b rune) bool { return a == b })
}

// IncludesAnyCase is [Glob.Includes], ignoring case. It compares a set with a text that has no wildcard.
func (g Glob) IncludesAnyCase(other string) bool {
	return g.includes(other, sameLetter) || !strings.ContainsAny(other, "*?") && g.MatchAnyCase(other)
}

func (g Glob) includes(other string, same func(a, b rune) bool) bool {
	b, text := simple(other), []rune(other)
	return inPairs(len(g.tokens), len(b), func(i, j int, from func(i, j int) bool) bool {
		switch {
		case i == len(g.tokens):
			return j == len(b)
		case g.tokens[i].kind == anyRun:
			return from(i+1, j) || j < len(b) && from(i, j+1)
		case j == len(b):
			return false
		case g.tokens[i].kind == anyOne:
			return b[j].kind != anyRun && from(i+1, j+1)
		case g.tokens[i].kind == literal:
			return same(g.tokens[i].literal, text[j]) && from(i+1, j+1)
		}
		return false // sets are not compared
	})
}

// Meets reports whether both the glob and other match some text, ignoring case; in other only * and ? are wildcards. No
// wildcard of other matches a text that contains solid, unless solid is empty. Where the glob has a set, Meets may
// report true although there is no such text, but never false where there is one.
func (g Glob) Meets(other, solid string) bool {
	a, b := g.tokens, simple(other)
	kept := endsOf(solid, a)
	return inPairs(len(a), len(b), func(i, j int, from func(i, j int) bool) bool {
		switch {
		case i == len(a) && j == len(b):
			return true
		case i < len(a) && a[i].kind == anyRun:
			return from(i+1, j) || j < len(b) && from(i, j+1)
		case j < len(b) && b[j].kind == anyRun:
			return from(i, j+1) || i < len(a) && !kept[i] && from(i+1, j)
		case i == len(a) || j == len(b):
			return false
		case a[i].kind != literal, b[j].kind != literal, sameLetter(a[i].literal, b[j].literal):
			return from(i+1, j+1)
		}
		return false
	})
}

// MeetsBelow reports whether the glob writes out parent, in any way and case, and then a slash that is no part of a *.
// ? and a set stand for the slash too. A glob that goes on with one of the segments apart and a slash is about something
// else.
func (g Glob) MeetsBelow(parent string, apart []string) bool {
	for i, t := range g.tokens {
		if t.kind != anyRun && regexp.MustCompile(`^`+t.expression+`$`).MatchString("/") &&
			!slices.Contains(apart, segment(g.tokens[i+1:])) && (Glob{tokens: g.tokens[:i]}).Meets(parent, "") {
			return true
		}
	}
	return false
}

// segment returns the text with which the tokens begin, if a slash follows it.
func segment(tokens []token) string {
	var text []rune
	for _, t := range tokens {
		switch {
		case t.is('/'):
			return string(text)
		case t.kind != literal:
			return ""
		}
		text = append(text, t.literal)
	}
	return ""
}

// endsOf returns the positions of the tokens at which the text, in any case, ends.
func endsOf(text string, tokens []token) map[int]bool {
	ends, letters := map[int]bool{}, []rune(text)
	if len(letters) == 0 {
		return ends
	}
	for end := len(letters); end <= len(tokens); end++ {
		if slices.EqualFunc(tokens[end-len(letters):end], letters, token.is) {
			ends[end-1] = true
		}
	}
	return ends
}

// is reports whether the token is the literal r, in either case.
func (t token) is(r rune) bool { return t.kind == literal && sameLetter(t.literal, r) }

// simple reads a pattern in which only * and ? are wildcards: one token for each rune.
func simple(pattern string) []token {
	var all []token
	for _, r := range pattern {
		all = append(all, wildcardToken(r))
	}
	return all
}

// sameLetter reports whether two characters are equal, ignoring case.
func sameLetter(a, b rune) bool {
	for r := unicode.SimpleFold(a); a != b && r != a; r = unicode.SimpleFold(r) {
		if r == b {
			return true
		}
	}
	return a == b
}

// inPairs returns step(0, 0) for two patterns of lengths n and m. step calls from for later pairs of positions; each
// pair is computed once.
func inPairs(n, m int, step func(i, j int, from func(i, j int) bool) bool) bool {
	const yes, no = 1, 2
	known := make([]byte, (n+1)*(m+1))
	var from func(i, j int) bool
	from = func(i, j int) bool {
		at := i*(m+1) + j
		if known[at] == 0 {
			known[at] = no
			if step(i, j, from) {
				known[at] = yes
			}
		}
		return known[at] == yes
	}
	return from(0, 0)
}
