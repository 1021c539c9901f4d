package jit

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestGlob(t *testing.T) {
	for _, tc := range []struct {
		pattern  string
		yes, not []string
	}{
		{"*", []string{"", "a", "a/b:c", "a\nb", "é"}, nil},
		{"prod", []string{"prod"}, []string{"", "Prod", "prod ", "xprod", "prod\n"}},
		{"prod*", []string{"prod", "prod-1", "prod/x"}, []string{"pro", "aprod"}},
		{"user:*@example.com", []string{"user:a@example.com", "user:@example.com"}, []string{"user:a@example_com",
			"user:a@exampleXcom", "user:a@example.com.evil.org"}},
		{"a?c", []string{"abc", "a/c", "aéc"}, []string{"ac", "abbc"}},
		{"roles/cloudsql.*", []string{"roles/cloudsql.client"}, []string{"roles/cloudsqlXclient", "roles/cloudsql"}},
		{"[a-c]x", []string{"ax", "cx"}, []string{"dx", "x", "-x"}},
		{"[!a-c]x", []string{"dx", "!x"}, []string{"ax", "x"}},
		{"[a-]", []string{"a", "-"}, []string{"b"}},
		{"[^a]", []string{"^", "a"}, []string{"b"}},
		{"[!!]", []string{"a"}, []string{"!"}},
		{"[.*+]", []string{".", "*", "+"}, []string{"a"}},
		{`[\d]`, []string{`\`, "d"}, []string{"1"}},
		{"[[:alpha:]]", []string{"a]", ":]", "[]"}, []string{"b", "b]"}},
		{"a]b", []string{"a]b"}, []string{"ab"}},
		{`\*\?\[\\`, []string{`*?[\`}, []string{`a?[\`}},
		{"a.b+c(d)|e^$f{2}", []string{"a.b+c(d)|e^$f{2}"}, []string{"aXb+c(d)|e^$f{2}", "e^$ff"}},
		{"(?i)prod", []string{"(?i)prod", "(xi)prod"}, []string{"PROD", "prod"}},
		{"**", []string{"", "abc"}, nil},
	} {
		g, err := ParseGlob("match.targets", tc.pattern)
		if err != nil {
			t.Errorf("ParseGlob(%q): %v", tc.pattern, err)
			continue
		}
		for _, s := range tc.yes {
			if !g.Match(s) {
				t.Errorf("%q does not match %q", tc.pattern, s)
			}
		}
		for _, s := range tc.not {
			if g.Match(s) {
				t.Errorf("%q matches %q", tc.pattern, s)
			}
		}
	}
	for _, pattern := range []string{"", "[", "[]", "[!]", "a[bc", `a\`, "[z-a]", "a\nb", "\xff", "[!", "[a-\\"} {
		_, err := ParseGlob("match.targets", pattern)
		wantInvalid(t, err, "match.targets")
	}
}

// naive matches as the documentation of Glob says, by trying everything.
func naive(pattern, s []rune) bool {
	if len(pattern) == 0 {
		return len(s) == 0
	}
	switch p := pattern[0]; {
	case p == '*':
		return naive(pattern[1:], s) || len(s) > 0 && naive(pattern, s[1:])
	case len(s) == 0:
		return false
	case p == '?':
		return naive(pattern[1:], s[1:])
	case p == '\\':
		return pattern[1] == s[0] && naive(pattern[2:], s[1:])
	case p == '[':
		end := 1
		for pattern[end] != ']' {
			end++
		}
		set, negated := pattern[1:end], false
		if set[0] == '!' {
			set, negated = set[1:], true
		}
		in := false
		for i := 0; i < len(set); i++ {
			if i+2 < len(set) && set[i+1] == '-' {
				in = in || set[i] <= s[0] && s[0] <= set[i+2]
				i += 2
			} else {
				in = in || set[i] == s[0]
			}
		}
		return in != negated && naive(pattern[end+1:], s[1:])
	default:
		return p == s[0] && naive(pattern[1:], s[1:])
	}
}

func FuzzGlob(f *testing.F) {
	for _, seed := range [][2]string{{"prod*", "prod-1"}, {"[!a-c]?x", "dbx"}, {`\*[.]`, "*."}, {"a.b", "axb"},
		{"[a-]", "-"}, {"[[:a]]", "a]"}, {"[--a]", "."}, {"[a-c-e]", "d"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		g, err := ParseGlob("match.roles", pattern)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("ParseGlob(%q): %v, want ErrInvalid", pattern, err)
			}
			return
		}
		if len(pattern) > 12 || len(s) > 24 || strings.Count(pattern, "*") > 4 || !utf8.ValidString(s) {
			return // the naive matcher takes exponential time
		}
		if got, want := g.Match(s), naive([]rune(pattern), []rune(s)); got != want {
			t.Errorf("%q matches %q: %t, want %t", pattern, s, got, want)
		}
	})
}

// expansions are texts that a pattern with * and ? matches.
func expansions(pattern string) []string {
	all := []string{""}
	for _, r := range pattern {
		var next []string
		for _, begun := range all {
			switch r {
			case '*':
				next = append(next, begun, begun+"a", begun+"xb", begun+"/a")
			case '?':
				next = append(next, begun+"a", begun+"x")
			default:
				next = append(next, begun+string(r))
			}
		}
		if all = next; len(all) > 500 {
			all = all[:500]
		}
	}
	return all
}

// What a glob is said to include of another pattern it matches, and what it matches of it is never missed.
func TestGlobAgainstPatterns(t *testing.T) {
	for _, tc := range []struct {
		glob, other     string
		includes, meets bool
	}{
		{"logs-*", "logs-a", true, true},
		{"logs-*", "logs-*", true, true},
		{"logs-*", "logs-?b*", true, true},
		{"logs-?", "logs-*", false, true},
		{"logs-a", "logs-?", false, true},
		{"logs-[ab]", "logs-?", false, true},
		{"*", "anything*", true, true},
		{"*a*", "*", false, true},
		{"a*", "b*", false, false},
		{"A*b", "*a?B", false, true},
		{`logs-\*`, "logs-*", true, true},
		{"user:*@example.com", "user:*@example.org", false, false},
		{"*/groups/prod*", "/a/groups/dev/*", false, true},
	} {
		g, err := ParseGlob("match.roles", tc.glob)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Includes(tc.other); got != tc.includes {
			t.Errorf("%q includes %q: %t, want %t", tc.glob, tc.other, got, tc.includes)
		}
		if got := g.Meets(tc.other, ""); got != tc.meets {
			t.Errorf("%q meets %q: %t, want %t", tc.glob, tc.other, got, tc.meets)
		}
	}
	g, err := ParseGlob("match.scopes", "*/groups/prod*")
	if err != nil {
		t.Fatal(err)
	}
	for other, want := range map[string]bool{"/a/groups/dev/*": false, "/a/GROUPS/*": true, "/a*": false,
		"/a/groups/p*": true} {
		if got := g.Meets(other, "/groups/"); got != want {
			t.Errorf("with no wildcard for /groups/, it meets %q: %t, want %t", other, got, want)
		}
	}
}

// Only a glob that writes the slash after a parent, or a single wildcard in its place, names what lies below.
func TestGlobBelow(t *testing.T) {
	for _, tc := range []struct {
		glob, parent string
		want         bool
	}{
		{"projects/p/secrets/*", "projects/p", true},
		{"projects/*/secrets/*", "projects/p", true},
		{"PROJECTS/P/*", "projects/p", true},
		{"*/secrets*", "projects/p", true},
		{"*/*", "projects/p", true},
		{"projects/?/x", "projects/p", true},
		{"projects/[pq]/x", "projects/p", true},
		{"projects/p[/]x", "projects/p", true},
		{"projects/p[!a-z]x", "projects/p", true},
		{"projects/p?x", "projects/p", true},
		{"projects/p", "projects/p", false},
		{"projects/*", "projects/p", false},
		{"projects/*-prod", "projects/p", false},
		{"*-prod", "projects/p", false},
		{"projects/q/*", "projects/p", false},
		{"projects/p-dev/*", "projects/p", false},
		{"projects/p[a-z]x", "projects/p", false},
	} {
		g, err := ParseGlob("match.scopes", tc.glob)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.MeetsBelow(tc.parent, nil); got != tc.want {
			t.Errorf("%q meets what lies below %q: %t, want %t", tc.glob, tc.parent, got, tc.want)
		}
	}
}

// A glob that goes on with a segment that never follows the parent names nothing below it.
func TestGlobBelowApart(t *testing.T) {
	apart := []string{"secrets", "locations"}
	for glob, want := range map[string]bool{
		"projects/*/secrets/*":           false,
		"projects/*/locations/*/rings/*": false,
		"*/secrets/*":                    false,
		"projects/p/topics/t/secrets/*":  false,
		"projects/*/secrets*":            true,
		"projects/*/secret?/*":           true,
		"projects/*/[s]ecrets/*":         true,
		"projects/*/Secrets/*":           true,
		"projects/*/secrets":             true,
		"projects/*/snapshots/*":         true,
		"projects/p/topics/t/*":          true,
		"*/*/secrets/x":                  true, // the first slash may be the one after the topic
	} {
		g, err := ParseGlob("match.scopes", glob)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.MeetsBelow("projects/p/topics/t", apart); got != want {
			t.Errorf("%q meets what lies below the topic: %t, want %t", glob, got, want)
		}
	}
}

func FuzzGlobAgainstPatterns(f *testing.F) {
	for _, seed := range [][2]string{{"a*", "a?x"}, {"[!a]*", "?b"}, {"*/a", "x*"}, {`\*a`, "*a"}, {"a?c*", "*"},
		{"**", ""}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, other string) {
		g, err := ParseGlob("match.roles", pattern)
		if err != nil || len(pattern) > 12 || len(other) > 8 || !utf8.ValidString(other) {
			return
		}
		includes := g.Includes(other) && !strings.Contains(pattern, `\`)
		for _, text := range expansions(other) {
			matches := g.Match(text)
			if includes && !matches {
				t.Errorf("%q is said to include %q, and does not match %q", pattern, other, text)
			}
			if matches && !g.Meets(other, "") {
				t.Errorf("%q is said not to meet %q, and matches %q", pattern, other, text)
			}
		}
	})
}
