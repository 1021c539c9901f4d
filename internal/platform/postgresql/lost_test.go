package postgresql

import (
	"net/url"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// The server carries a change out, and the network cuts the answer to COMMIT. The change is never reported as done, and
// repeating it does what is left to do: an Ensure leaves one wrapper, a Remove none.
func TestALostAnswerToCommit(t *testing.T) {
	s := newSite(t)
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := testenv.NewProxy(t, u.Host)
	u.Host = proxy.Addr
	p := s.openAs(t, u.String(), time.Now)
	counted := p.OnCall
	p.OnCall = func(op string) {
		counted(op)
		if op == "write" {
			proxy.Set(testenv.Cutting)
		}
	}
	a := s.access(0, 0, "lost answer")
	neighbour := s.access(1, 1, "neighbour")
	for _, step := range []struct {
		op   jit.Op
		want bool
	}{{jit.Ensure, true}, {jit.Remove, false}} {
		changes := []jit.Change{{Op: step.op, Access: a}, {Op: step.op, Access: neighbour}}
		for i, err := range p.Apply(t.Context(), cluster, changes) {
			if err == nil {
				t.Errorf("change %d (%s) is reported as done without an answer", i, step.op)
			}
		}
		proxy.Set(testenv.Sound)
		if got := s.eventually(t, a.Binding, step.want); got != step.want {
			t.Errorf("after the %s that lost its answer, access is %t", step.op, got)
		}
		again := s.open(t)
		apply(t, again, changes...)
		for _, one := range []jit.Access{a, neighbour} {
			if got := s.allowed(t, one.Binding); got != step.want {
				t.Errorf("after a repeated %s, access is %t", step.op, got)
			}
			if o, there := observed(t, again, one); there != step.want || there && o.Damage != "" {
				t.Errorf("after a repeated %s: %+v, there: %t", step.op, o, there)
			}
		}
	}
}

// eventually returns whether the principal has access, at the latest after some seconds: the server may still be about
// to commit when its client has lost the connection.
func (s *site) eventually(t *testing.T, b jit.Binding, want bool) bool {
	t.Helper()
	for range 100 {
		if s.allowed(t, b) == want {
			return want
		}
		time.Sleep(50 * time.Millisecond)
	}
	return !want
}
