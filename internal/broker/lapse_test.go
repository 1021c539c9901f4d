package broker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// waits asks for a grant that waits for the leads, and returns the request.
func (o *office) waits(r broker.Request) jit.Grant {
	o.t.Helper()
	o.refused(r, "1 of: lea, leo")
	asked, _, err := o.Check(r)
	if err != nil {
		o.t.Fatal(err)
	}
	g := o.recorded(asked.ID)
	if g.State(o.now) != jit.StateRequested {
		o.t.Fatalf("the request is %s", g.State(o.now))
	}
	return g
}

func (o *office) recorded(id jit.ID) jit.Grant {
	o.t.Helper()
	g, known, err := o.ledger.Lookup(o.t.Context(), id)
	if err != nil || !known {
		o.t.Fatalf("%t, %v", known, err)
	}
	return g
}

// lapse does what a sweeper does with requests that waited in vain.
func (o *office) lapse() {
	o.t.Helper()
	if err := o.Lapse(o.t.Context(), nil, o.now); err != nil {
		o.t.Fatal(err)
	}
}

// lapsed fails unless that many requests are recorded as lapsed.
func (o *office) lapsed(want int) {
	o.t.Helper()
	got := 0
	for _, k := range o.kinds() {
		if k == jit.EventLapsed {
			got++
		}
	}
	if got != want {
		o.t.Errorf("%d requests are recorded as lapsed, want %d", got, want)
	}
}

func startBy(at time.Time) func(*broker.Request) {
	return func(r *broker.Request) { r.StartBy = at }
}

// A request that can no longer begin lapses once, also when two sweepers find it at once.
func TestARequestLapses(t *testing.T) {
	for name, r := range map[string]func(o *office) broker.Request{
		"at start_by": func(o *office) broker.Request { return request(startBy(o.now.Add(time.Hour))) },
		"at expires_at": func(o *office) broker.Request {
			return request(func(r *broker.Request) { r.TTL, r.ExpiresAt = jit.TTL{}, o.now.Add(time.Hour) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			g := o.waits(r(o))
			o.pass(time.Hour)
			if name == "at expires_at" {
				o.pass(-time.Second)
			}
			o.lapse()
			o.lapsed(0)
			o.pass(time.Second)
			both := false
			o.ledger.Call = func(what string) error {
				if what == "write" && !both {
					both = true
					o.lapse()
				}
				return nil
			}
			o.lapse()
			o.lapsed(1)
			e := o.last(jit.EventLapsed)
			if e.Grant != g.ID || e.Detail["awaits"] != "1 of: lea, leo" || e.Detail["why"] == "" {
				t.Errorf("recorded as %+v", e)
			}
			if g := o.recorded(g.ID); g.State(o.now) != jit.StateFailed || g.Awaits != "" {
				t.Errorf("the request is %s and waits for %q", g.State(o.now), g.Awaits)
			}
			for g, err := range o.ledger.Grants(t.Context(), jit.Filter{Waiting: true}) {
				t.Errorf("%s still waits, %v", g.ID, err)
			}
			o.allowed(false)
		})
	}
}

// A run that meets the request records that, too.
func TestARunMeetsALapsedRequest(t *testing.T) {
	o := newOffice(t)
	r := request(startBy(o.now.Add(time.Hour)))
	o.waits(r)
	o.signs("lea", r)
	o.pass(time.Hour + time.Second)
	for range 2 {
		_, err := o.Grant(t.Context(), r)
		wantError(t, err, jit.ErrInvalid, "the grant may no longer begin")
	}
	o.lapsed(1)
	o.lapse()
	o.lapsed(1)
	later := request(startBy(o.now.Add(time.Hour)))
	o.waits(later) // with a later start_by, it is another request
}

// An owner's sweeper leaves the requests of other owners alone.
func TestRequestsOfOtherOwnersWait(t *testing.T) {
	o := newOffice(t)
	o.waits(request(startBy(o.now.Add(time.Hour))))
	o.pass(2 * time.Hour)
	if err := o.Lapse(t.Context(), jit.Owners{"other"}, o.now); err != nil {
		t.Fatal(err)
	}
	o.lapsed(0)
}

// A request waits no longer than an approval would be valid. The next apply asks again.
func TestARequestLapsesAfterValidFor(t *testing.T) {
	o := newOffice(t, func(p *jit.Policy) { p.Approval[0].ValidFor = 24 * time.Hour })
	o.waits(request())
	o.pass(24 * time.Hour)
	o.lapse()
	o.lapsed(0)
	o.pass(time.Second)
	o.lapse()
	o.lapse()
	o.lapsed(1)
	o.newRun()
	o.waits(request())
	o.signs("lea", request())
	o.grant(request())
	o.pass(48 * time.Hour)
	o.lapse()
	o.lapsed(1)
}

// A denied request waits no longer, wherever the denial comes from, and has not lapsed.
func TestADeniedRequestDoesNotWait(t *testing.T) {
	denies := func(s *approval.Statement) { s.Choice = jit.Deny }
	for name, deny := range map[string]func(o *office, r broker.Request, g jit.Grant){
		"in the folder": func(o *office, r broker.Request, _ jit.Grant) {
			o.signs("leo", r, denies)
			o.refused(r, "leo denied it")
		},
		"in the ledger": func(o *office, _ broker.Request, g jit.Grant) {
			s := o.signsGrant("leo", g, denies)
			o.remove(s)
			if err := o.Decide(o.t.Context(), g, s); err != nil {
				o.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			r := request(startBy(o.now.Add(time.Hour)))
			g := o.waits(r)
			deny(o, r, g)
			if g := o.recorded(g.ID); g.State(o.now) != jit.StateFailed || g.Failure != "leo denied it" {
				t.Errorf("the request is %s: %s", g.State(o.now), g.Failure)
			}
			o.refused(r, "leo denied it")
			o.pass(2 * time.Hour)
			o.lapse()
			o.lapsed(0)
			o.proved()
		})
	}
}

// An approval that is over is not recorded.
func TestAnApprovalThatIsOverIsNotRecorded(t *testing.T) {
	o := newOffice(t)
	g := o.waits(request())
	s := o.signsGrant("leo", g)
	o.remove(s)
	o.pass(25 * time.Hour)
	wantError(t, o.Decide(t.Context(), g, s), jit.ErrInvalid, "valid until")
	if slices.Contains(o.kinds(), jit.EventApproved) {
		t.Error("it is recorded")
	}
}
