package gcp

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// An operator that may write policies but not read them writes nothing, neither a grant nor an end.
func TestAnOperatorThatMayNotReadWritesNothing(t *testing.T) {
	for _, scope := range []string{project, bucket} {
		s := newWorld(t)
		p := open(t, s, Config{})
		a := access(scope, alice, viewer, "unseen")
		s.Deny("resourcemanager.projects.getIamPolicy", "storage.buckets.getIamPolicy")
		for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
			if err := p.Apply(t.Context(), scope, changed(op, []jit.Access{a}))[0]; err == nil {
				t.Errorf("%s: %s without reading succeeded", scope, op)
			}
		}
		if _, writes := s.Calls(); writes != 0 || allowed(s, a.Binding, time.Now()) {
			t.Errorf(
				"%s: %d writes were made; the access is given: %t", scope, writes, allowed(s, a.Binding, time.Now()),
			)
		}
	}
}
