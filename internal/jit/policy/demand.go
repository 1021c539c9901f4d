package policy

import (
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// demand reads an entry as a role under named conditions.
func (g *glob) demand(attribute, pattern string) {
	before, after, demanding := strings.Cut(pattern, jit.If)
	if !demanding {
		return
	}
	if bare, err := compileGlob(attribute, strings.TrimSpace(before)); err == nil {
		g.bare = &bare
		for condition := range strings.SplitSeq(after, jit.And) {
			g.demands = append(g.demands, jit.ParseDemand(condition))
		}
	}
}

// conditional returns the globs as they judge a role that may be under named conditions, without what they demand, and
// drops those with demands that are not met. On a platform without named conditions it returns them as they are.
func conditional(globs []glob, narrowing jit.Narrowing, met func(glob) bool) []glob {
	if narrowing.Word != jit.On {
		return globs
	}
	var kept []glob
	for _, g := range globs {
		if g.bare == nil {
			kept = append(kept, g)
		} else if met(g) {
			kept = append(kept, *g.bare)
		}
	}
	return kept
}

// metBy reports whether the conditions of a role meet everything that the entry demands.
func (g glob) metBy(all []jit.Condition) bool {
	return !slices.ContainsFunc(g.demands, func(d jit.Demand) bool { return !d.Met(all) })
}
