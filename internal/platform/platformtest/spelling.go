package platformtest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
)

// Spellings checks that policies judge all spellings of a binding alike, once the platform has been asked for its
// names. Each list holds the spellings of one binding.
func Spellings(t *testing.T, p jit.Platform, lists ...[]jit.Binding) {
	t.Helper()
	all := slices.Concat(lists...)
	rapid.Check(t, func(r *rapid.T) {
		var policies []jit.Policy
		for _, name := range []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(r, "policies")] {
			effect := rapid.SampledFrom([]jit.Effect{jit.Permit, jit.Forbid}).Draw(r, "effect")
			policies = append(policies, jit.Policy{Name: name, Effect: effect, Match: jit.Matches{DrawMatch(r, all)}})
		}
		var first jit.Verdict
		for i, written := range rapid.SampledFrom(lists).Draw(r, "binding") {
			b, traits, err := p.Check(written)
			if err != nil {
				r.Fatalf("Check(%+v): %v", written, err)
			}
			given, err := p.Given(t.Context(), b, true)
			if err != nil {
				r.Fatalf("Given(%+v): %v", b, err)
			}
			asked := policy.Request{Platform: p.Kind(), Binding: b, Length: time.Hour, Traits: traits, Given: given}
			v, err := policy.Judge(policies, asked)
			if err != nil {
				r.Fatal(err)
			}
			if i == 0 {
				first = v
			}
			if v.Permitted() != first.Permitted() {
				r.Fatalf("%+v: %+v, and in its first spelling: %+v", written, v, first)
			}
		}
	})
}

// drawGlobs draws globs that often match the text.
func drawGlobs(t *rapid.T, text string) []string {
	var globs []string
	for range rapid.IntRange(0, 2).Draw(t, "globs") {
		from := rapid.IntRange(0, len(text)).Draw(t, "from")
		to := rapid.IntRange(from, len(text)).Draw(t, "to")
		escaped := strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`)
		hole := rapid.SampledFrom([]string{"*", "?", "[!a-c]", "[a-z]", "*/*", " on *", " if *", ""}).Draw(t, "hole")
		if glob := escaped.Replace(text[:from]) + hole + escaped.Replace(text[to:]); glob != "" {
			globs = append(globs, glob)
		}
	}
	return globs
}

// drawRoles draws globs over a role, with what narrows it or without.
func drawRoles(t *rapid.T, text string) []string {
	for _, word := range []string{jit.On, jit.If} {
		role, rest, ok := strings.Cut(text, word)
		if !ok {
			continue
		}
		globs := drawGlobs(t, role)
		for i := range globs {
			if narrowed := drawGlobs(t, rest); len(narrowed) > 0 {
				globs[i] += word + narrowed[0]
			}
		}
		return globs
	}
	return drawGlobs(t, text)
}

// DrawMatch draws a match that is often about one of the bindings.
func DrawMatch(t *rapid.T, of []jit.Binding) jit.Match {
	b := rapid.SampledFrom(of).Draw(t, "about")
	return jit.Match{Principals: drawGlobs(t, b.Principal), Roles: drawRoles(t, b.Role), Scopes: drawGlobs(t, b.Scope)}
}
