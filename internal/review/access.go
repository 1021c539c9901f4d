package review

import (
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/catalog"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// access adds the access that a change of another provider's resource gives, takes and leaves. Guards are the other way
// round: one that goes, or that nobody watches any more, is to be decided on.
func (j *judge) access(r *plan.Resource, action Action) {
	given, taken, stays := j.sides(r, action)
	one := Access{Address: r.Address, Type: r.Type, Action: action}
	if r.DeposedKey != "" {
		one.Address += " (deposed " + r.DeposedKey + ")"
	}
	add := func(all []catalog.Access, outcome, ofGuards Outcome) {
		for _, a := range all {
			one.Access, one.Outcome = a, outcome
			if isGuard(a) {
				one.Outcome = ofGuards
			}
			j.report.Access = append(j.report.Access, one)
		}
	}
	add(taken, Nothing, Decide)
	one.Gives = true
	add(given, Decide, Nothing)
	one.Gives, one.Stays = false, true
	left := Nothing
	if action == Import { // the configuration keeps it from now on
		left = Decide
	}
	add(stays, left, Nothing)
	if len(given)+len(taken)+len(stays) == 0 {
		j.report.Others++
	}
}

// sides returns what a change gives, takes and leaves. What cannot be read, and goes, counts as a guard that goes.
func (j *judge) sides(r *plan.Resource, action Action) (given, taken, stays []catalog.Access) {
	given, taken = j.compareAccess(r)
	switch action {
	case Forget: // nobody watches it any more
		given = append(given, slices.DeleteFunc(slices.Clone(taken), isGuard)...)
		taken = slices.DeleteFunc(taken, func(a catalog.Access) bool { return !isGuard(a) })
	case Import, Move:
		stays = j.accessOf(r, r.Change.After, r.Change.AfterUnknown)
		stays = slices.DeleteFunc(stays, func(a catalog.Access) bool { return isGuard(a) || slices.Contains(given, a) })
	case Destroy:
		taken = slices.DeleteFunc(taken, func(a catalog.Access) bool { return isGuard(a) && a.Own })
	}
	for i, a := range taken {
		if a.MayGuard && (action != Destroy || !a.Own) {
			taken[i].Class, taken[i].Why = catalog.Guard, a.Why+", so it may also deny access"
		}
	}
	return given, taken, stays
}

func isGuard(a catalog.Access) bool { return a.Class == catalog.Guard }

// compareAccess returns the access that a resource has after its change alone, and before it alone. What cannot be
// compared counts as given.
func (j *judge) compareAccess(r *plan.Resource) (given, taken []catalog.Access) {
	c := r.Change
	before := j.accessOf(r, c.Before, nil)
	after := j.accessOf(r, c.After, c.AfterUnknown)
	for _, a := range after {
		// Access that is made anew lasts in full, and a guard of something else is away for a while.
		if i := slices.Index(before, a); i >= 0 && (!c.Actions.Replace() || isGuard(a) && a.Own) {
			before = slices.Delete(before, i, i+1)
			continue
		}
		given = append(given, a)
	}
	return given, before
}

// accessOf returns the access that one side of a change gives. It shows nothing that either side marks as sensitive: a
// value may have the mark on one side alone.
func (j *judge) accessOf(r *plan.Resource, values, unknown any) []catalog.Access {
	if values == nil {
		return nil
	}
	return catalog.Of(j.Now(), r.ProviderName, r.Type, catalog.Object{
		Values: values, Unknown: unknown,
		Sensitive: either(r.Change.BeforeSensitive, r.Change.AfterSensitive), Configured: j.block(r).Set,
	})
}

// either returns the marks that are in a or in b.
func either(a, b any) any {
	if a == true || b == true {
		return true
	}
	switch marks := a.(type) {
	case map[string]any:
		others, _ := b.(map[string]any)
		all := make(map[string]any, len(marks))
		for name := range union(marks, others) {
			all[name] = either(marks[name], others[name])
		}
		return all
	case []any:
		others, _ := b.([]any)
		all := make([]any, max(len(marks), len(others)))
		for i := range all {
			var of, other any
			if i < len(marks) {
				of = marks[i]
			}
			if i < len(others) {
				other = others[i]
			}
			all[i] = either(of, other)
		}
		return all
	}
	return b
}

// union returns the names of two objects.
func union(a, b map[string]any) map[string]bool {
	names := make(map[string]bool, len(a))
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	return names
}
