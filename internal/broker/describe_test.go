package broker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

// describing is a platform whose Check returns only a bound.
type describing struct {
	jit.Platform
	tail  time.Duration
	err   error
	asked int
}

func (d *describing) Describe(context.Context, jit.Binding) (jit.Traits, error) {
	d.asked++
	return jit.Traits{Enforcement: jit.Sweeper, SessionTail: d.tail, Remembered: true}, d.err
}

func newDescribed(t *testing.T, limit time.Duration) (*world, *describing) {
	w := newWorld(t, jit.Sweeper)
	w.platform.Traits.SessionTail = 12 * time.Hour
	d := &describing{Platform: w.platform, tail: time.Hour}
	w.Targets["db"] = batch.Share(d, 0, w.Now) // behind the wrapper that production uses
	if limit > 0 {
		p := jit.Policy{Name: "short", Effect: jit.Permit, MaxSessionTail: &limit}
		if err := w.ledger.Write(t.Context(), []jit.Entry{{Policy: &p}})[0]; err != nil {
			t.Fatal(err)
		}
	}
	return w, d
}

// The answer of Describe is judged by policies and recorded, at plan and at apply.
func TestAPlatformThatCanBeAskedIsJudgedByItsAnswer(t *testing.T) {
	w, d := newDescribed(t, 2*time.Hour)
	p, err := w.Preview(t.Context(), request(), true)
	if err != nil || p.Grant.SessionTail != time.Hour {
		t.Fatalf("Preview = %+v, %v; want a session tail of an hour", p.Grant, err)
	}
	var says []string
	for _, warning := range p.Warnings {
		says = append(says, warning.Summary+": "+warning.Detail)
	}
	if all := strings.Join(says, "\n"); !strings.Contains(all, "Only the ledger remembers the access") || strings.Contains(all, "can go on for 1h") { // the policy has decided on that
		t.Errorf("the plan warns of\n%s", all)
	}
	g := w.grant(request())
	if recorded, _, err := w.ledger.Lookup(t.Context(), g.ID); err != nil || recorded.SessionTail != time.Hour {
		t.Errorf("the recorded session tail is %s, %v; want an hour", recorded.SessionTail, err)
	}

	d.tail = 3 * time.Hour // somebody lets sessions last longer
	longer := request()
	longer.TTL = jit.RecordedTTL("3h")
	if _, err := w.PreviewChange(t.Context(), g, longer); !errors.Is(err, jit.ErrDenied) {
		t.Errorf("a change when sessions last too long: %v, want ErrDenied", err)
	}
	other := request()
	other.Reason = "INC-2: look"
	if _, err := w.Preview(t.Context(), other, true); !errors.Is(err, jit.ErrDenied) {
		t.Errorf("a plan when sessions last too long: %v, want ErrDenied", err)
	}
	w.mustWrite(0, func() {
		if _, err := w.Grant(t.Context(), other); !errors.Is(err, jit.ErrDenied) {
			t.Errorf("an apply when sessions last too long: %v, want ErrDenied", err)
		}
	})
}

// A target that does not answer fails no plan, hides no refusal and grants nothing. Ending a grant, and planning an
// ended one, do not ask the target.
func TestAPlatformThatDoesNotAnswer(t *testing.T) {
	w, d := newDescribed(t, 2*time.Hour)
	p := jit.Policy{Name: "not-eve", Effect: jit.Forbid, Condition: `grant.principal == "eve"`}
	if err := w.ledger.Write(t.Context(), []jit.Entry{{Policy: &p}})[0]; err != nil {
		t.Fatal(err)
	}
	g := w.grant(request())
	d.err = errors.New("no answer")
	other := request()
	other.Reason = "INC-2: look"
	w.platform.Call = func(string) error { return d.err }
	if p, err := w.Preview(t.Context(), other, true); err != nil || len(p.Warnings) < 2 ||
		p.Warnings[0].Summary != "The target cannot be read" || !strings.Contains(p.Warnings[0].Detail, "no answer") {
		t.Errorf("a plan: %+v, %v; want a warning", p.Warnings, err)
	}
	forbidden := other
	forbidden.Binding.Principal = "eve"
	if _, err := w.Preview(t.Context(), forbidden, true); !errors.Is(err, jit.ErrDenied) {
		t.Errorf("a plan of a forbidden grant: %v, want ErrDenied", err)
	}
	w.platform.Call = nil
	w.mustWrite(0, func() {
		if _, err := w.Grant(t.Context(), other); !errors.Is(err, d.err) {
			t.Errorf("an apply: %v, want the platform's error", err)
		}
	})
	asked := d.asked
	w.pass(3 * time.Hour)
	if err := w.execute(reconcile.End, g, "", ""); err != nil {
		t.Error(err)
	}
	if p, err := w.Preview(t.Context(), request(), true); err != nil || !p.Over {
		t.Errorf("a plan of an ended grant: %+v, %v", p, err)
	}
	if d.asked != asked {
		t.Errorf("the platform was asked %d times about an ended grant", d.asked-asked)
	}
}
