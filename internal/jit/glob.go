package jit

import (
	"regexp"
	"strings"
)

// Glob is a compiled pattern over the whole of a text: * stands for any run of
// characters ("/" and ":" too), ? for any one, [a-z] and [!a-z] for one of a
// set, \ takes the next character as it is (outside of a set; in one it is a character).
type Glob struct {
	re, anyCase *regexp.Regexp
	tokens      []token
}

// Match reports whether the whole of s matches.
func (g Glob) Match(s string) bool { return g.re.MatchString(s) }

// MatchAnyCase reports whether the whole of s matches when the case of letters does not count.
func (g Glob) MatchAnyCase(s string) bool { return g.anyCase.MatchString(s) }

// ParseGlob compiles a pattern; its errors name attribute.
func ParseGlob(attribute, pattern string) (Glob, error) {
	bad := func(problem, hint string) (Glob, error) {
		return Glob{}, Invalid(attribute, hint, "the glob %q %s", pattern, problem)
	}
	if pattern == "" {
		return bad("is empty and would match nothing", `write "*" to match everything`)
	}
	if err := CheckText(attribute, pattern); err != nil {
		return Glob{}, err
	}
	var b strings.Builder
	var tokens []token
	runes := []rune(pattern)
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; r {
		case '*':
			b.WriteString(".*")
			tokens = append(tokens, token{kind: anyRun})
		case '?':
			b.WriteString(".")
			tokens = append(tokens, token{kind: anyOne})
		case '\\':
			if i++; i == len(runes) {
				return bad(`ends in a lone \`, `write \\ for a backslash`)
			}
			b.WriteString(regexp.QuoteMeta(string(runes[i])))
			tokens = append(tokens, token{literal: runes[i]})
		case '[':
			end := i + 1
			for end < len(runes) && runes[end] != ']' {
				end++
			}
			set := strings.TrimPrefix(string(runes[i+1:min(end, len(runes))]), "!")
			if end >= len(runes) || set == "" {
				return bad("has a [ without its set and ]", `write [a-z], or \[ for the character itself`)
			}
			b.WriteByte('[')
			if runes[i+1] == '!' {
				b.WriteByte('^')
			}
			for _, c := range set {
				if c != '-' && c != '_' && regexp.QuoteMeta(string(c)) != string(c) || c == '^' || c == '&' || c == '~' {
					b.WriteByte('\\')
				}
				b.WriteRune(c)
			}
			b.WriteByte(']')
			tokens = append(tokens, token{kind: oneOf})
			i = end
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
			tokens = append(tokens, token{literal: r})
		}
	}
	re, err := regexp.Compile(`^(?s:` + b.String() + `)$`)
	if err != nil {
		return bad("has a set that cannot be read", "write the set in ascending order, as in [a-z0-9]")
	}
	anyCase, err := regexp.Compile(`^(?si:` + b.String() + `)$`)
	if err != nil {
		return bad("has a set that cannot be read", "write the set in ascending order, as in [a-z0-9]")
	}
	return Glob{re, anyCase, tokens}, nil
}
