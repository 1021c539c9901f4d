package plan

import (
	"maps"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
)

// PolicyOf reads a jit_policy from its attributes and the parts of them that are unknown, both in the form of terraform
// show -json. If the policy is not complete, p is its most permissive reading, as in the provider. Errors are
// *[jit.Error]. Whether the policy can be judged by is for [policy.Check] to say.
func PolicyOf(values map[string]any, unknown any) (p jit.Policy, complete bool, err error) {
	w := written(values, unknown)
	if w["match"] == nil {
		return p, false, jit.Invalid("match", "write match = [{}] to match every grant", "the policy has no match")
	}
	if p, err = w.Policy(); err != nil || w.Known() {
		return p, err == nil, err
	}
	return w.MostPermissive(p), false, nil
}

// PersonOf reads a jit_person as [PolicyOf] does a jit_policy. If the person is not complete, unknown values are left
// out.
func PersonOf(values map[string]any, unknown any) (p jit.Person, complete bool, err error) {
	w := written(values, unknown)
	p, err = w.Person()
	return p, err == nil && w.Known(), err
}

func written(values map[string]any, unknown any) policy.Written {
	merged, ok := merge(values, unknown).(map[string]any)
	if !ok {
		return policy.Written{"name": policy.Unknown{}, "match": policy.Unknown{}}
	}
	return merged
}

// merge marks the unknown parts of a value.
func merge(value, unknown any) any {
	switch unknown := unknown.(type) {
	case bool:
		if unknown {
			return policy.Unknown{}
		}
	case map[string]any:
		object, ok := value.(map[string]any)
		if !ok && someTrue(unknown) {
			return policy.Unknown{}
		}
		if object = maps.Clone(object); object == nil {
			return value
		}
		for name, part := range unknown {
			object[name] = merge(object[name], part)
		}
		return object
	case []any:
		list, ok := value.([]any)
		if someTrue(unknown) && (!ok || len(list) != len(unknown)) {
			return policy.Unknown{}
		}
		list = slices.Clone(list)
		for i := range min(len(list), len(unknown)) {
			list[i] = merge(list[i], unknown[i])
		}
		if ok {
			return list
		}
	}
	return value
}

// someTrue reports whether some part of a value is true.
func someTrue(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case []any:
		return slices.ContainsFunc(v, someTrue)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), someTrue)
	}
	return false
}
