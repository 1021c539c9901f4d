package cli

import (
	"slices"
	"testing"
)

// Pipelines compare the exit codes with these numbers.
func TestExitCodes(t *testing.T) {
	all := []int{exitDone, exitNotDone, exitUnreadable, exitUsage, exitUnknown, exitInterrupted}
	if want := []int{0, 1, 2, 3, 5, 130}; !slices.Equal(all, want) {
		t.Errorf("got %v, want %v", all, want)
	}
	review, request := []int{exitUndecided, exitRefused}, []int{exitForbidden, exitWaits}
	if want := []int{2, 4}; !slices.Equal(review, want) || !slices.Equal(request, want) {
		t.Errorf("jit review has %v, jit request %v, want %v", review, request, want)
	}
}
