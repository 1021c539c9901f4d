package jit

import "unicode"

// token is one step of a pattern.
type token struct {
	kind    tokenKind
	literal rune // of a literal
}

type tokenKind int

const (
	literal tokenKind = iota
	anyRun            // *
	anyOne            // ?
	oneOf             // a set
)

// Literal reports whether the pattern has no wildcard: it matches one text only.
func (g Glob) Literal() bool {
	for _, t := range g.tokens {
		if t.kind != literal {
			return false
		}
	}
	return true
}

// Everything reports whether the pattern matches every text.
func (g Glob) Everything() bool {
	for _, t := range g.tokens {
		if t.kind != anyRun {
			return false
		}
	}
	return len(g.tokens) > 0
}

// Includes reports whether the glob matches every text that other matches, a pattern in which only * and ? are
// wildcards. It may miss such a pair, but never invents one. A wildcard of other is also matched by the
// same character written literally, as \*.
func (g Glob) Includes(other string) bool {
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
			return g.tokens[i].literal == text[j] && from(i+1, j+1)
		}
		return false // a set: too rare to look into
	})
}

// Meets reports whether some text is matched by the glob and by other, a pattern in which only * and ? are
// wildcards. The case of letters does not count. No wildcard of other stands for a text with solid in it; an
// empty solid leaves them free. Meets may invent such a text where the glob has a set, but never misses one.
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

// endsOf marks where the text, in any case, ends in the tokens.
func endsOf(text string, tokens []token) map[int]bool {
	ends, letters := map[int]bool{}, []rune(text)
	for i := range tokens {
		at := 0
		for at < len(letters) && i+at < len(tokens) && tokens[i+at].kind == literal && sameLetter(tokens[i+at].literal, letters[at]) {
			at++
		}
		if at > 0 && at == len(letters) {
			ends[i+at-1] = true
		}
	}
	return ends
}

// simple reads a pattern in which only * and ? are wildcards: one token for each rune.
func simple(pattern string) []token {
	var all []token
	for _, r := range pattern {
		switch r {
		case '*':
			all = append(all, token{kind: anyRun})
		case '?':
			all = append(all, token{kind: anyOne})
		default:
			all = append(all, token{literal: r})
		}
	}
	return all
}

// sameLetter reports whether two characters differ in case at most.
func sameLetter(a, b rune) bool {
	for r := unicode.SimpleFold(a); a != b && r != a; r = unicode.SimpleFold(r) {
		if r == b {
			return true
		}
	}
	return a == b
}

// inPairs answers step for the beginnings of two patterns of lengths n and m. step asks from for what follows; no
// pair of places is looked at twice.
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
