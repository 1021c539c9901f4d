package azure

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// An operator that may assign roles but not read assignments must not assign any.
func TestAnOperatorThatMayNotReadWritesNothing(t *testing.T) {
	for unread, assignment := range map[string]string{
		"roleAssignmentScheduleRequests/read": pimAssignment, "roleAssignmentSchedules/read": pimAssignment,
		"roleAssignments/read": rbacAssignment, "roleDefinitions/read": pimAssignment,
	} {
		s := newSite(t, assignment)
		p := s.open(0)
		s.Deny("Microsoft.Authorization/" + unread)
		a := s.access(binding("user:"+alice), "unseen", time.Hour)
		if err := s.apply(p, jit.Ensure, a); err == nil {
			t.Errorf("a grant without %s succeeded", unread)
		}
		if _, writes := s.Calls(); writes != 0 {
			t.Errorf("without %s %d writes were made", unread, writes)
		}
		s.may(false, "without "+unread)
	}
}
