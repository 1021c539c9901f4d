package jit

import (
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Glob is a compiled pattern over a whole text: * matches any run of characters ("/" and ":" too), ? any one, [a-z]
// and [!a-z] one of a set. Outside a set, \ takes the next character literally.
type Glob struct {
	re, anyCase *regexp.Regexp
	tokens      []token
}

// Match reports whether the whole of s matches.
func (g Glob) Match(s string) bool { return g.re.MatchString(s) }

// MatchAnyCase reports whether the whole of s matches, ignoring case.
func (g Glob) MatchAnyCase(s string) bool { return g.anyCase.MatchString(s) }

// ParseGlob compiles a pattern; its errors name attribute.
func ParseGlob(attribute, pattern string) (Glob, error) {
	bad := func(f fault) (Glob, error) {
		return Glob{}, Invalid(attribute, f.hint, "the glob %q %s", pattern, f.problem)
	}
	if pattern == "" {
		return bad(fault{"is empty and would match nothing", `write "*" to match everything`})
	}
	if err := CheckText(attribute, pattern); err != nil {
		return Glob{}, err
	}
	var tokens []token
	var expression strings.Builder
	for rest := pattern; rest != ""; {
		t, after, wrong := nextToken(rest)
		if wrong != nil {
			return bad(*wrong)
		}
		rest = after
		tokens = append(tokens, t)
		expression.WriteString(t.expression)
	}
	re, err := regexp.Compile(`^(?s:` + expression.String() + `)$`)
	anyCase, errAnyCase := regexp.Compile(`^(?si:` + expression.String() + `)$`)
	if errors.Join(err, errAnyCase) != nil {
		return bad(fault{"has a set that cannot be read", "write the set in ascending order, as in [a-z0-9]"})
	}
	return Glob{re, anyCase, tokens}, nil
}

// token is one step of a pattern.
type token struct {
	kind    tokenKind
	literal rune // of a literal
	// expression is the regular expression of the token.
	expression string
}

type tokenKind int

const (
	literal tokenKind = iota
	anyRun            // *
	anyOne            // ?
	oneOf             // a set
)

// fault says what is wrong with a pattern.
type fault struct{ problem, hint string }

// nextToken splits the first token off a pattern.
func nextToken(pattern string) (t token, rest string, wrong *fault) {
	r, size := utf8.DecodeRuneInString(pattern)
	rest = pattern[size:]
	switch r {
	case '[':
		return setToken(rest)
	case '\\':
		if rest == "" {
			return token{}, "", &fault{`ends in a lone \`, `write \\ for a backslash`}
		}
		r, size = utf8.DecodeRuneInString(rest)
		return literalToken(r), rest[size:], nil
	}
	return wildcardToken(r), rest, nil
}

// setToken reads a set from behind its opening bracket.
func setToken(pattern string) (t token, rest string, wrong *fault) {
	set, rest, closed := strings.Cut(pattern, "]")
	characters, negated := strings.CutPrefix(set, "!")
	if !closed || characters == "" {
		return token{}, "", &fault{"has a [ without its set and ]", `write [a-z], or \[ for the character itself`}
	}
	not := ""
	if negated {
		not = "^"
	}
	return token{kind: oneOf, expression: "[" + not + regexp.QuoteMeta(characters) + "]"}, rest, nil
}

// wildcardToken returns the token of a character in a pattern in which only * and ? are wildcards.
func wildcardToken(r rune) token {
	switch r {
	case '*':
		return token{kind: anyRun, expression: ".*"}
	case '?':
		return token{kind: anyOne, expression: "."}
	}
	return literalToken(r)
}

func literalToken(r rune) token { return token{literal: r, expression: regexp.QuoteMeta(string(r))} }
