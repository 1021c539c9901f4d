package broker_test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func leads(change ...func(*jit.Requirement)) []jit.Requirement {
	r := jit.Requirement{Required: 1, From: []string{"group:leads"}}
	for _, c := range change {
		c(&r)
	}
	return []jit.Requirement{r}
}

func glass(reason, requester string) broker.Request {
	return request(func(r *broker.Request) { r.Reason, r.Requester, r.BreakGlass = reason, requester, true })
}

// TestRulesOfTheSameRun changes the rules in the run of the grant. No change lets the grant begin without the approval
// that it needed before.
func TestRulesOfTheSameRun(t *testing.T) {
	toEve := &jit.BreakGlass{From: []string{"eve"}}
	for name, c := range map[string]struct {
		before func(*jit.Policy)
		change func(*office)
		asked  broker.Request
	}{
		"approval and the limit that the grant breaks go": {func(p *jit.Policy) { p.MaxTTL = time.Hour }, func(o *office) {
			o.policy(jit.Policy{Name: "prod", Effect: jit.Permit})
		}, request()},
		"a policy without approval is widened, and named": {func(*jit.Policy) {}, func(o *office) {
			o.policy(jit.Policy{Name: "dev", Effect: jit.Permit, Match: jit.Matches{{Targets: []string{"dev"}}}})
			o.newRun()
			o.policy(jit.Policy{Name: "dev", Effect: jit.Permit})
		}, request(func(r *broker.Request) { r.Policy = "dev" })},
		"the requester may break the glass now": {func(*jit.Policy) {}, func(o *office) {
			o.policy(jit.Policy{Name: "prod", Effect: jit.Permit, Approval: leads(), BreakGlass: toEve})
		}, glass("SEV1-1: down", "eve")},
		"the exception holds now, and the glass is broken": {func(p *jit.Policy) { p.BreakGlass = nil }, func(o *office) {
			o.policy(jit.Policy{Name: "prod", Effect: jit.Permit, BreakGlass: toEve,
				Approval: leads(func(r *jit.Requirement) { r.Unless = "true" })})
		}, glass("SEV1-1: down", "eve")},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, c.before)
			c.change(o)
			o.refused(c.asked, "1 of: lea, leo")
			o.allowed(false)
		})
	}
}

// TestTheGlassBreaksOnce starts several grants at once. Only one may break the glass.
func TestTheGlassBreaksOnce(t *testing.T) {
	o := newOffice(t)
	var begun atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if _, err := o.Grant(t.Context(), glass("SEV1-"+string(rune('a'+i)), "bob")); err == nil {
				begun.Add(1)
			}
		})
	}
	all.Wait()
	if begun.Load() != 1 {
		t.Errorf("%d grants broke the glass, want 1", begun.Load())
	}
}

// TestAnExtensionOfABrokenGlass extends a signed-off break-glass grant, which then needs another sign-off.
func TestAnExtensionOfABrokenGlass(t *testing.T) {
	o := newOffice(t)
	r := glass("SEV1-1: down", "bob")
	g := o.grant(r)
	s := o.signsGrant("lea", g, func(s *approval.Statement) { s.Choice = jit.SignOff })
	if err := o.Decide(t.Context(), g, s); err != nil {
		t.Fatal(err)
	}
	o.newRun()
	r.TTL = jit.RecordedTTL("20h")
	if g, err := o.Change(t.Context(), g, r); err != nil || !g.Unsigned() {
		t.Errorf("got %+v, %v; want a grant that waits for a sign-off", g, err)
	}
}

// TestAnExtensionBeginsWithItsApply extends a grant after the approval has lapsed, which is refused.
func TestAnExtensionBeginsWithItsApply(t *testing.T) {
	o := newOffice(t)
	length := func(ttl string) broker.Request {
		return request(func(r *broker.Request) { r.TTL = jit.RecordedTTL(ttl) })
	}
	o.signs("lea", length("10h"))
	g := o.grant(length("10h"))
	o.signs("leo", length("20h"), func(s *approval.Statement) { s.NotAfter = s.SignedAt.Add(time.Minute) })
	o.pass(9 * time.Hour)
	o.newRun()
	_, err := o.Change(t.Context(), g, length("20h"))
	wantError(t, err, jit.ErrDenied, "valid until")
}

// TestOtherTermsOfALiveGrant changes terms of a live grant. Each change is another request and needs approval.
func TestOtherTermsOfALiveGrant(t *testing.T) {
	o := newOffice(t)
	asked := func(change func(*broker.Request)) broker.Request {
		return request(func(r *broker.Request) { r.Requester, r.TerminateSessions = "eve", true; change(r) })
	}
	o.signs("lea", asked(func(*broker.Request) {}))
	g := o.grant(asked(func(*broker.Request) {}))
	o.newRun()
	for name, change := range map[string]func(*broker.Request){
		"requester":          func(r *broker.Request) { r.Requester = "leo" },
		"terminate_sessions": func(r *broker.Request) { r.TerminateSessions = false },
	} {
		_, err := o.Change(t.Context(), g, asked(change))
		if !errors.Is(err, jit.ErrDenied) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
}

// TestADenialStays deletes the file of a denial, which still counts.
func TestADenialStays(t *testing.T) {
	o := newOffice(t)
	denial := o.signs("leo", request(), func(s *approval.Statement) { s.Choice = jit.Deny })
	o.refused(request(), "leo denied it")
	o.remove(denial)
	o.signs("lea", request())
	o.refused(request(), "leo denied it")
	if !slices.Contains(o.kinds(), jit.EventDenied) {
		t.Errorf("events %v", o.kinds())
	}
}

// TestOneNameInManyLetters refuses a second person whose name differs only in case, also for rare letters.
func TestOneNameInManyLetters(t *testing.T) {
	o := newOffice(t)
	o.put(jit.Person{Name: "boss", Groups: []string{"group:leads"}})
	if err := o.PutPerson(t.Context(), jit.Person{Name: "bo\u017f\u017f"}); !errors.Is(err, jit.ErrInvalid) {
		t.Errorf("got %v, want a refusal", err)
	}
}

// TestAPrincipalByThePersonsName matches a principal to a person by each of the person's names.
func TestAPrincipalByThePersonsName(t *testing.T) {
	o := newOffice(t)
	for _, principal := range []string{"lea", "user:lea", "LEA-gh"} {
		r := request(func(r *broker.Request) { r.Binding.Principal = principal })
		o.signs("lea", r)
		o.refused(r, "lea is the principal")
	}
}

// TestAPendingGrantStaysPending requires approval for a grant whose outcome is unknown. Its access may be in force, so
// it stays due to end.
func TestAPendingGrantStaysPending(t *testing.T) {
	o := &office{world: newWorld(t, jit.Sweeper), dir: t.TempDir()}
	o.policy(jit.Policy{Name: "prod", Effect: jit.Permit})
	o.newRun()
	o.platform.Call = func(what string) error {
		if what == "written" {
			return errors.New("the connection was lost after the write")
		}
		return nil
	}
	if _, err := o.Grant(t.Context(), request()); err == nil {
		t.Fatal("the lost answer is no error")
	}
	o.platform.Call = nil
	o.put(jit.Person{Name: "lea", Groups: []string{"group:leads"}})
	o.policy(jit.Policy{Name: "prod", Effect: jit.Permit, Approval: leads()})
	o.newRun()
	_, err := o.Grant(t.Context(), request())
	wantError(t, err, jit.ErrDenied)
	o.pass(3 * time.Hour)
	due := 0
	for _, err := range o.ledger.Grants(t.Context(), jit.Filter{DueBy: o.now}) {
		if err != nil {
			t.Fatal(err)
		}
		due++
	}
	if due != 1 {
		t.Errorf("%d grants are due, want 1", due)
	}
}

// TestAnotherBeginning of a grant that its platform begins by itself needs approval: an earlier one adds time, and a later
// one may come after the approval has lapsed.
func TestAnotherBeginning(t *testing.T) {
	o := newOffice(t)
	o.platform.Traits.NativeStart = true
	begins := func(in time.Duration) broker.Request {
		return request(func(r *broker.Request) {
			r.TTL, r.StartsAt, r.ExpiresAt = jit.TTL{}, o.now.Add(in), o.now.Add(6*time.Hour)
		})
	}
	o.signs("lea", begins(2*time.Hour))
	g := o.grant(begins(2 * time.Hour))
	o.newRun()
	for _, other := range []broker.Request{begins(time.Hour), begins(3 * time.Hour)} {
		o.mustWrite(0, func() {
			_, err := o.Change(t.Context(), g, other)
			wantError(t, err, jit.ErrUnapproved, "1 of: lea, leo")
		})
	}
}
