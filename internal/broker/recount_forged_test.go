package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func renewal(r *broker.Request) { r.Renewal = 2 }

func breaks(r *broker.Request) { r.Requester, r.BreakGlass = "bob", true }

// forges records a grant as a broker would that checks nothing: a request with these events.
func (o *office) forges(r broker.Request, events ...jit.Event) jit.Grant {
	o.t.Helper()
	g, _, err := o.Check(r)
	if err != nil {
		o.t.Fatal(err)
	}
	g.RequestedAt, g.Holder = jit.Second(o.now), 1
	g.Window = jit.Window{Start: g.RequestedAt, End: g.RequestedAt.Add(r.TTL.Length())}
	g.Policy = "prod"
	all := append([]jit.Event{{At: o.now, Kind: jit.EventRequested, Policy: "prod"}}, events...)
	for i := range all {
		all[i].Grant = g.ID
	}
	if err := o.ledger.Write(o.t.Context(), []jit.Entry{jit.Rewrite(jit.Grant{}, g, all...)})[0]; err != nil {
		o.t.Fatal(err)
	}
	return g
}

// says is the event of a statement that somebody signs about a request.
func (o *office) says(name string, r broker.Request, change ...func(*approval.Statement)) jit.Event {
	o.t.Helper()
	s := o.signs(name, r, change...)
	return jit.Event{At: o.now, Kind: s.Kind(), Grant: o.id(r), Detail: s.Details()}
}

func (o *office) id(r broker.Request) jit.ID {
	o.t.Helper()
	g, _, err := o.Check(r)
	if err != nil {
		o.t.Fatal(err)
	}
	return g.ID
}

func (o *office) writes(e jit.Event) {
	o.t.Helper()
	if err := o.ledger.Write(o.t.Context(), []jit.Entry{{Events: []jit.Event{e}}})[0]; err != nil {
		o.t.Fatal(err)
	}
}

// permitted is the event that lets a grant begin; pairs are further details.
func (o *office) permitted(by string, pairs ...string) jit.Event {
	detail := map[string]string{"verdict": "permitted", "approved_by": by}
	for i := 0; i < len(pairs); i += 2 {
		detail[pairs[i]] = pairs[i+1]
	}
	return jit.Event{At: o.now, Kind: jit.EventDecided, Policy: "prod", Actor: jit.Actor{Name: "alice"}, Detail: detail}
}

// The record shows each grant that began without what its policy asked for, also where its own events are whole.
func TestForgedBeginnings(t *testing.T) {
	r := request()
	yesterday := func(o *office) func(*approval.Statement) {
		return func(s *approval.Statement) {
			s.SignedAt, s.NotAfter = s.SignedAt.Add(-24*time.Hour), s.NotAfter.Add(-24*time.Hour)
		}
	}
	asksNobody := func(p *jit.Policy) { p.Approval, p.BreakGlass = nil, nil }
	extended := func(o *office) jit.Event {
		permitted := map[string]string{"permitted_by": "prod"}
		return jit.Event{At: o.now, Kind: jit.EventExtended, Grant: o.id(r), Detail: permitted}
	}
	for name, c := range map[string]struct {
		policy func(*jit.Policy)
		forge  func(o *office)
		says   string
	}{
		"nobody approved": {nil, func(o *office) { o.forges(r, o.permitted("")) },
			"the approval of 0 of group:leads, and 1 are required"},
		"no policy permitted it": {nil, func(o *office) {
			o.pass(time.Hour)
			decided := o.permitted("")
			decided.Policy = ""
			o.forges(r, decided)
		}, `by policy "", which was not in force`},
		"one of two": {func(p *jit.Policy) { p.Approval[0].Required = 2 }, func(o *office) {
			o.forges(r, o.says("lea", r), o.permitted("lea"))
		}, "the approval of 1 of group:leads, and 2 are required"},
		"one person twice": {func(p *jit.Policy) { p.Approval[0].Required = 2 }, func(o *office) {
			o.forges(r, o.says("lea", r), o.says("lea", r), o.permitted("lea"))
		}, "the approval of 1 of"},
		"one of two entries": {func(p *jit.Policy) {
			p.Approval = append(p.Approval, jit.Requirement{Required: 1, From: []string{"leo"}})
		}, func(o *office) { o.forges(r, o.says("lea", r), o.permitted("lea")) }, "the approval of 0 of leo"},
		"an outsider approved": {nil, func(o *office) { o.forges(r, o.says("eve", r), o.permitted("eve")) },
			"the approval of 0 of"},
		"who ran the apply approved": {nil, func(o *office) {
			ran := o.permitted("lea")
			ran.Name = "lea-gh"
			o.forges(r, o.says("lea", r), ran)
		}, "lea started this run"},
		"denied": {nil, func(o *office) {
			o.writes(o.says("leo", r, deny))
			o.pass(time.Hour)
			o.forges(r, o.says("lea", r), o.permitted("lea"))
		}, "that leo had denied"},
		"approved afterwards": {nil, func(o *office) {
			o.forges(r, o.permitted(""))
			o.pass(time.Minute)
			o.writes(o.says("lea", r))
		}, "the approval of 0 of"},
		"approved after not_after": {nil, func(o *office) {
			sooner := func(s *approval.Statement) { s.NotAfter = s.NotAfter.Add(-time.Hour) }
			o.forges(r, o.says("lea", r, yesterday(o), sooner))
		}, "and recorded later"},
		"begun after not_after": {nil, func(o *office) {
			o.writes(o.says("lea", r))
			o.pass(25 * time.Hour)
			o.forges(r, o.permitted("lea"))
		}, "it was valid until"},
		"begun after valid_for": {func(p *jit.Policy) { p.Approval[0].ValidFor = time.Hour }, func(o *office) {
			o.writes(o.says("lea", r))
			o.pass(2 * time.Hour)
			o.forges(r, o.permitted("lea"))
		}, "within 1h of an approval"},
		"by a key that had been removed": {nil, func(o *office) {
			o.writes(o.says("lea", r))
			o.put(jit.Person{Name: "lea", Groups: []string{"group:leads"}})
			o.pass(3 * time.Hour)
			o.forges(r, o.permitted("lea"))
		}, "the approval of 0 of"},
		"by a review": {nil, func(o *office) {
			digest := o.says("lea", r).Detail["request_digest"]
			review := approval.Reviewed{Person: "lea", Login: "lea-gh", Forge: approval.GitHub, Digest: digest,
				At: o.now, NotAfter: o.now.Add(time.Hour)}
			o.forges(r, jit.Event{At: o.now, Kind: jit.EventApproved, Detail: review.Details()}, o.permitted("lea"))
		}, "does not accept a pull_request"},
		"an exception that did not hold": {func(p *jit.Policy) {
			p.Approval[0].Unless = "grant.role == 'other'"
		}, func(o *office) {
			o.forges(r, o.permitted("", "excused", `["grant.role == 'another'"]`))
		}, "the approval of 0 of"},
		"what the event itself says is required": {asksNobody, func(o *office) {
			o.forges(r, o.permitted("", "approval", `[{"required": 1, "from": ["leo"]}]`))
		}, "the approval of 0 of leo"},
		"a longer end": {nil, func(o *office) {
			o.forges(r, o.says("lea", r), o.permitted("lea"))
			g := o.recorded(o.id(r))
			longer := g
			longer.TTL, longer.End = jit.RecordedTTL("4h"), g.Start.Add(4*time.Hour)
			if err := o.ledger.Write(o.t.Context(), []jit.Entry{jit.Rewrite(g, longer, extended(o))})[0]; err != nil {
				o.t.Fatal(err)
			}
		}, "the approval of 0 of"},
		"a longer end after not_after": {nil, func(o *office) {
			o.forges(r, o.says("lea", r), o.permitted("lea"))
			g := o.recorded(o.id(r))
			brief := func(s *approval.Statement) { s.NotAfter = s.SignedAt.Add(time.Minute) }
			says := o.says("lea", request(longer), brief)
			o.pass(time.Hour)
			next := g
			next.GrantedAt, next.TTL, next.End = g.Start, jit.RecordedTTL("4h"), g.Start.Add(4*time.Hour)
			entry := jit.Rewrite(g, next, says, extended(o))
			if err := o.ledger.Write(o.t.Context(), []jit.Entry{entry})[0]; err != nil {
				o.t.Fatal(err)
			}
		}, "it was valid until"},
		"an approval that nothing proves": {asksNobody, func(o *office) {
			o.forges(r, o.permitted("lea"))
		}, "says that lea approved, and no event proves it"},
		"one name twice": {nil, func(o *office) {
			o.forges(r, o.says("lea", r), o.permitted("lea, LEA"))
		}, "counts LEA twice"},
		"a policy that asked for nobody long ago": {asksNobody, func(o *office) {
			o.pass(time.Hour)
			o.policy(jit.Policy{Name: "prod", Effect: jit.Permit, Approval: leads()})
			o.pass(time.Hour)
			o.forges(r, o.permitted(""))
		}, "the approval of 0 of"},
		"a policy that asked for nobody right after": {nil, func(o *office) {
			o.forges(r, o.permitted(""))
			o.policy(jit.Policy{Name: "prod", Effect: jit.Permit})
		}, "the approval of 0 of"},
		"an approver who became one right after": {nil, func(o *office) {
			o.forges(r, o.says("eve", r), o.permitted("eve"))
			o.put(lead("eve", o.keys["eve"]))
		}, "the approval of 0 of"},
		"asked anew without breaking the glass": {nil, func(o *office) {
			broke := jit.Event{At: o.now, Kind: jit.EventBreakGlass, Detail: map[string]string{"requester": "bob"}}
			g := o.forges(r, broke)
			begins := o.permitted("")
			begins.Grant = g.ID
			anew := jit.Rewrite(jit.Grant{}, g, jit.Event{At: o.now, Kind: jit.EventRequested, Grant: g.ID}, begins)
			for _, e := range anew.Events {
				o.writes(e)
			}
		}, "the approval of 0 of"},
		"one approval for two grants": {nil, func(o *office) {
			e := o.says("lea", r)
			o.forges(r, e, o.permitted("lea"))
			e.Grant = o.id(request(renewal)) // of an older program, whose events do not hold the request
			o.writes(e)
		}, "was recorded for grant"},
		"a second broken glass": {nil, func(o *office) {
			broke := jit.Event{At: o.now, Kind: jit.EventBreakGlass, Detail: map[string]string{"requester": "bob"}}
			o.forges(request(breaks), broke, o.permitted(""))
			broke.Detail = map[string]string{"requester": "BOB"}
			o.forges(request(breaks, renewal), broke, o.permitted(""))
		}, "lets BOB break the glass, while nobody had signed off grant"},
		"a glass that nobody broke": {nil, func(o *office) { o.forges(request(breaks), o.permitted("")) },
			"the approval of 0 of"},
		"a sign-off by an outsider": {nil, func(o *office) {
			g := o.grant(request(breaks))
			o.pass(time.Hour)
			s := o.signsGrant("eve", g, func(s *approval.Statement) { s.Choice = jit.SignOff })
			o.writes(jit.Event{At: o.now, Kind: s.Kind(), Grant: g.ID, Detail: s.Details()})
		}, "eve is none of those whom a policy asks"},
	} {
		t.Run(name, func(t *testing.T) {
			var change []func(*jit.Policy)
			if c.policy != nil {
				change = append(change, c.policy)
			}
			o := newOffice(t, change...)
			c.forge(o)
			if found := o.faults(); len(found) != 1 || !strings.Contains(found[0], c.says) {
				t.Errorf("found %q, want one that says %q", found, c.says)
			}
		})
	}
}

// Events of older programs do not say which exceptions held, and older records do not hold the request: nothing of that
// is a fault.
func TestOlderRecordsAreNoFaults(t *testing.T) {
	o := newOffice(t, func(p *jit.Policy) { p.Approval[0].Unless = "grant.role == 'reader'" })
	o.forges(request(), o.permitted(""))
	o.writes(jit.Event{At: o.now, Kind: jit.EventDecided, Policy: "prod", Grant: o.id(request(renewal))})
	o.proved()
}

// The first run on a ledger records persons and grants in any order.
func TestPersonsRecordedAfterTheFirstGrant(t *testing.T) {
	o := newFirstOffice(t)
	o.newRun()
	o.policy(jit.Policy{Name: "prod", Effect: jit.Permit, Approval: byLea})
	says := o.says("lea", request())
	says.Detail[jit.RunDetail] = o.Run
	o.forges(request(), says, o.permitted("lea", jit.RunDetail, o.Run))
	o.pass(30 * time.Minute)
	o.put(lead("lea", o.keys["lea"]))
	o.proved()
}
