package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Check refuses a condition that fails, or costs too much, for every grant. It accepts one that depends on the grant.
func TestCheckEvaluatesConditions(t *testing.T) {
	ten := "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"
	nested := func(n int, inner string) string {
		for i := range n {
			inner = fmt.Sprintf("%s.all(x%d, %s)", ten, i, inner)
		}
		return inner
	}
	for condition, problem := range map[string]string{
		"1/0 == 1":                                                "division by zero",
		"1 % 0 == 1 && 2 > 1":                                     "modulus by zero",
		`int("abc") == 1`:                                         "not a condition",
		`{"a": true}["b"]`:                                        "no such key",
		`[grant.role][0] == "x" || [true][1]`:                     "", // true where the role is x
		nested(9, "true"):                                         "cost limit",
		nested(9, `grant.role != ""`):                             "cost limit",
		nested(5, `grant.reason.contains("INC-1")`):               "cost limit",
		nested(2, `grant.reason.contains("INC-1")`):               "",
		`grant.ttl < duration("1h") || 1/0 == 1`:                  "",
		`grant.ttl < duration("1.5h")`:                            "",
		`grant.ttl < duration(grant.reason)`:                      "",
		`grant.ttl < duration("1h1d")`:                            `"1h1d" is not a duration`,
		`grant.ttl < duration("999999999d")`:                      "longer than any calendar",
		`grant.ttl < duration(7)`:                                 "no matching overload",
		`grant.starts_at.getHours("Mars/Phobos") == 3`:            `"Mars/Phobos"`,
		`grant.starts_at.getHours("Europe/Zurich") == 3`:          "",
		`grant.starts_at.getDayOfWeek("+02:00") == 1`:             "",
		`grant.principal.split("@")[1] == "example.com"`:          "",
		`int(grant.reason.split("-")[1].split(":")[0]) > 5`:       "",
		`has(grant.starts_at) && grant.starts_at.getHours() > 18`: "",
	} {
		began := time.Now()
		err := Check(oncall(func(p *jit.Policy) { p.Condition = condition }))
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: Check took %s", condition, took)
		}
		if problem == "" {
			if err != nil {
				t.Errorf("%s: Check = %v", condition, err)
			}
			continue
		}
		var refused *jit.Error
		if !errors.As(err, &refused) || refused.Attribute != "condition" || refused.Hint == "" ||
			!strings.Contains(refused.Problem, problem) {
			t.Errorf("%s: Check = %v, want an error about condition with %q", condition, err, problem)
		}
	}
}
