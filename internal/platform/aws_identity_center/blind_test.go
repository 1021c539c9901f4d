package awsidentitycenter

import (
	"testing"
)

// An operator that may make assignments but not list them makes none.
func TestAnOperatorThatMayNotReadWritesNothing(t *testing.T) {
	for _, unread := range []string{"ListAccountAssignments", "DescribePermissionSet", "ListPermissionSets",
		"GetUserId"} {
		s := newSite(t)
		s.with(func(m *model) { m.denied = map[string]bool{unread: true} })
		b := alice()
		if err := s.open(t).Apply(t.Context(), b.Scope, ensure(access(b, "unseen")))[0]; err == nil {
			t.Errorf("a grant without %s succeeded", unread)
		}
		if n := s.writes.Load(); n != 0 {
			t.Errorf("without %s %d writes were made", unread, n)
		}
	}
}
