package request

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

// fit returns a reason that matches a pattern and keeps the given one, as far as that is possible; empty if none is
// found.
func fit(pattern, reason string) string {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return ""
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return ""
	}
	sample := example(parsed.Simplify(), 0)
	for _, text := range []string{reason, sample + reason, sample + " " + reason, reason + " " + sample, sample} {
		if text = strings.TrimSpace(text); text != "" && re.MatchString(text) {
			return text
		}
	}
	return ""
}

// maxDepth bounds how deep an expression is read.
const maxDepth = 100

// example returns a short text that the expression matches, without its assertions.
func example(re *syntax.Regexp, depth int) string {
	if depth > maxDepth {
		return ""
	}
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		return sampleOf(re.Rune)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "x"
	case syntax.OpPlus:
		if op := re.Sub[0].Op; op == syntax.OpAnyChar || op == syntax.OpAnyCharNotNL {
			return "" // the given reason stands there
		}
		return example(re.Sub[0], depth+1)
	case syntax.OpCapture, syntax.OpAlternate:
		return example(re.Sub[0], depth+1)
	case syntax.OpRepeat:
		return strings.Repeat(example(re.Sub[0], depth+1), min(re.Min, maxDepth))
	case syntax.OpConcat:
		var b strings.Builder
		for _, sub := range re.Sub {
			b.WriteString(example(sub, depth+1))
		}
		return b.String()
	}
	return "" // assertions, and what may be left out
}

// sampleOf returns a character of a class, given as pairs of first and last.
func sampleOf(class []rune) string {
	for _, wanted := range "1aA x-_:." {
		for i := 0; i+1 < len(class); i += 2 {
			if class[i] <= wanted && wanted <= class[i+1] {
				return string(wanted)
			}
		}
	}
	if len(class) == 0 {
		return ""
	}
	return string(class[0])
}
