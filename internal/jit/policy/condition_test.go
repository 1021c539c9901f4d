package policy

import (
	"errors"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Check refuses any text with a hint, or the text can be judged by. A condition that permits in a permit forbids in a
// forbid.
func FuzzCondition(f *testing.F) {
	for _, s := range []string{"true", `grant.ttl <= duration("4h")`, "has(grant.starts_at)", `[1, 2].all(n, n > 0)`,
		`grant.reason.matches("^INC")`,
		"grant", "1 / 0 == 1", `grant.principal.split("@")[7] == ""`, "\"\xff\"", "grant.ttl\n<",
		`"%d".format([1]) == "1"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		err := Check(jit.Policy{Name: "p", Effect: jit.Permit, Condition: s})
		var e *jit.Error
		if err != nil && (!errors.As(err, &e) || !errors.Is(err, jit.ErrInvalid) || e.Attribute != "condition" ||
			e.Hint == "") {
			t.Fatalf("Check of %q = %v", s, err)
		}
		permit := mustVerdict(t, jit.Policy{Name: "p", Effect: jit.Permit, Condition: s})
		forbid := mustVerdict(t, everything("all", jit.Permit), jit.Policy{Name: "p", Effect: jit.Forbid, Condition: s})
		switch {
		case err != nil && s != "" && (permit.Permitted() || forbid.Permitted()):
			t.Errorf("%q is refused, and yet permits: %+v, %+v", s, permit, forbid)
		case s != "" && permit.Permitted() && forbid.Permitted():
			t.Errorf("%q permits and does not forbid: %+v, %+v", s, permit, forbid)
		}
	})
}

func mustVerdict(t *testing.T, policies ...jit.Policy) jit.Verdict {
	v, err := compile(policies, &set{}).judge(request())
	if err != nil {
		t.Fatal(err)
	}
	return v
}
