package awsiam

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// userIDKey is the condition key of who calls. For a session of a role it is the role's id, a colon and the name of the
// session: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#principaltable
const userIDKey = "aws:userid"

// terms restrict access besides its resources: to one session of the principal, and by named conditions.
type terms struct {
	userID string // of the session; empty for every session
	named  []jit.Condition
}

// test is one condition of a statement.
type test struct {
	operator, key string
	values        []string
}

// keys are the condition keys of the named conditions. Requests without the key fail the test, such as those with an
// access key of a user, who has no MFA then:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
var keys = map[string]test{
	jit.MFA:            {"Bool", "aws:MultiFactorAuthPresent", []string{"true"}},
	jit.SourceIdentity: {"StringEquals", "aws:SourceIdentity", nil},
	jit.SourceIP:       {"IpAddress", "aws:SourceIp", nil},
}

// tests are the conditions of the terms.
func (t terms) tests() []test {
	var all []test
	if t.userID != "" {
		all = append(all, test{"StringEquals", userIDKey, []string{t.userID}})
	}
	for _, c := range t.named {
		one := keys[c.Name]
		if len(c.Values) > 0 {
			one.values = c.Values
		}
		all = append(all, one)
	}
	return all
}

// within are the conditions of the terms and of a window.
func (t terms) within(w jit.Window) []test {
	return append(t.tests(), test{notBefore, currentTime, []string{jit.FormatTime(w.Start)}},
		test{before, currentTime, []string{jit.FormatTime(w.End)}})
}

// text writes the named conditions as they follow a role.
func (t terms) text() string {
	if len(t.named) == 0 {
		return ""
	}
	all := make([]string, len(t.named))
	for i, c := range t.named {
		all[i] = c.String()
	}
	return jit.If + strings.Join(all, jit.And)
}

// identity returns the source identity that the terms demand; empty if they demand none.
func (t terms) identity() string {
	for _, c := range t.named {
		if c.Name == jit.SourceIdentity {
			return c.Values[0]
		}
	}
	return ""
}

// conditionOf is the Condition of a statement that makes these tests and no others.
func conditionOf(tests []test) map[string]any {
	all := map[string]any{}
	for _, one := range tests {
		_ = set(all, one) // no two tests have one operator and key
	}
	return all
}

// add adds tests to the conditions of a statement. All operators of a statement must hold, and all keys of an operator.
// Several values of one key are alternatives, so a test must not join an existing key: if the operator already has the
// key, the test goes to the operator's IfExists form. That is equivalent, because the existing test holds only if the
// key is present.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-logic-multiple-context-keys-or-values.html
func add(s statement, tests []test) error {
	conditions, ok := s["Condition"].(map[string]any)
	if !ok {
		if s["Condition"] != nil {
			return fmt.Errorf("read a statement of a policy: its Condition is not an object")
		}
		conditions = map[string]any{}
		s["Condition"] = conditions
	}
	for _, one := range tests {
		second := one
		second.operator += ifExists
		if !set(conditions, one) && !set(conditions, second) {
			what := "conditions"
			if one.key == currentTime {
				what = "dates"
			}
			return &jit.Error{Attribute: "role",
				Problem: fmt.Sprintf("a statement of the policy has conditions on %s with both %s and %s; "+
					"so the %s of a grant do not fit", one.key, one.operator, second.operator, what),
				Hint: "name a policy that uses one of them"}
		}
	}
	return nil
}

// set adds a test, or returns false if its operator already tests its key.
func set(conditions map[string]any, one test) bool {
	of, ok := conditions[one.operator].(map[string]any)
	if !ok {
		if conditions[one.operator] != nil {
			return false
		}
		of = map[string]any{}
		conditions[one.operator] = of
	}
	for key := range of {
		if strings.EqualFold(key, one.key) { // keys are not case-sensitive
			return false
		}
	}
	of[one.key] = one.values
	if len(one.values) == 1 {
		of[one.key] = one.values[0]
	}
	return true
}

// termsIn reads the terms in a statement of ours. A named condition that we would not write is none.
func termsIn(s statement) terms {
	values := func(one test) []string {
		conditions, _ := s["Condition"].(map[string]any)
		of, _ := conditions[one.operator].(map[string]any)
		return texts(of[one.key])
	}
	var t terms
	if id := values(test{"StringEquals", userIDKey, nil}); len(id) == 1 {
		t.userID = id[0]
	}
	var all []string
	for name, one := range keys {
		switch has := values(one); {
		case len(has) == 0:
		case one.values == nil:
			all = append(all, name+"="+strings.Join(has, ","))
		case slices.Equal(has, one.values):
			all = append(all, name)
		}
	}
	if len(all) > 0 {
		t.named, _ = jit.ParseConditions(strings.Join(all, jit.And))
	}
	return t
}

// dates are the conditions of a window.
func dates(w jit.Window) map[string]any { return conditionOf(terms{}.within(w)) }

// outside are the conditions of the marker statement: the terms, and times that never come.
func (t terms) outside(w jit.Window) map[string]any {
	at := func(operator string, when time.Time) test {
		return test{operator, currentTime, []string{jit.FormatTime(when)}}
	}
	return conditionOf(append(t.tests(), at(before, w.Start), at(notBefore, w.End)))
}
