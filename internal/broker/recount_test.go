package broker_test

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// faults are what the record alone shows to be wrong, as jit audit verify does.
func (o *office) faults() []string {
	o.t.Helper()
	var history approval.History
	all := slices.Collect(func(yield func(jit.Event) bool) {
		for e, err := range jit.AllEvents(o.t.Context(), o.ledger) {
			if err != nil {
				o.t.Fatal(err)
			}
			history.Add(e)
			yield(e)
		}
	})
	id, err := o.ledger.ID(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	accounts, trials := map[jit.ID]*jit.Account{}, map[jit.ID]*approval.Trial{}
	for _, e := range all {
		if e.Grant == "" {
			continue
		}
		if trials[e.Grant] == nil {
			accounts[e.Grant], trials[e.Grant] = &jit.Account{}, &approval.Trial{History: &history, Ledger: id}
		}
		accounts[e.Grant].Add(e)
		trials[e.Grant].Add(e, accounts[e.Grant])
	}
	var found []string
	for _, id := range slices.Sorted(maps.Keys(trials)) {
		found = append(found, trials[id].Faults...)
	}
	return found
}

// proved fails unless the record proves all that it says.
func (o *office) proved() {
	o.t.Helper()
	for _, fault := range o.faults() {
		o.t.Error(fault)
	}
}

// reviews records the review of lea for a request.
func (o *office) reviews(r broker.Request) {
	o.t.Helper()
	g, _, err := o.Check(r)
	if err != nil {
		o.t.Fatal(err)
	}
	id, err := o.ledger.ID(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	review := approval.Reviewed{
		Login: "lea-gh", Forge: approval.GitHub, Repository: "infra/live", Number: 7, Commit: "abc", Review: "1",
		At: jit.Second(o.now), NotAfter: jit.Second(o.now).Add(24 * time.Hour),
	}
	recorded, ignored, err := o.DecideByReview(o.t.Context(), r, g.RequestDigest(id), []approval.Reviewed{review})
	if err != nil || len(recorded) != 1 {
		o.t.Fatalf("recorded %v, ignored %v, %v", recorded, ignored, err)
	}
}

func longer(r *broker.Request) { r.TTL = jit.RecordedTTL("4h") }

func deny(s *approval.Statement) { s.Choice = jit.Deny }

// What the broker records proves itself, whatever people do in between.
func TestHonestRecordsProveThemselves(t *testing.T) {
	withReviews := func(p *jit.Policy) { p.Approval[0].Evidence = []jit.Evidence{jit.PullRequest, jit.Signature} }
	for name, c := range map[string]struct {
		policy func(*jit.Policy)
		do     func(o *office)
	}{
		"an approval": {nil, func(o *office) { o.waits(request()); o.signs("lea", request()); o.grant(request()) }},
		"an approval of a year, recorded before": {nil, func(o *office) {
			g := o.waits(request())
			s := o.signsGrant("leo", g, func(s *approval.Statement) { s.NotAfter = s.SignedAt.Add(300 * 24 * time.Hour) })
			o.remove(s)
			if err := o.Decide(o.t.Context(), g, s); err != nil {
				o.t.Fatal(err)
			}
			o.pass(200 * 24 * time.Hour)
			o.newRun()
			o.grant(request())
		}},
		"an extension": {nil, func(o *office) {
			o.signs("lea", request())
			g := o.grant(request())
			o.signs("leo", request(longer))
			o.pass(time.Hour)
			if _, err := o.Change(o.t.Context(), g, request(longer)); err != nil {
				o.t.Fatal(err)
			}
			if used := o.last(jit.EventApprovalUsed).Detail["approved_by"]; used != "leo" {
				o.t.Errorf("used are the approvals of %q", used)
			}
		}},
		"a denied extension": {nil, func(o *office) {
			o.signs("lea", request())
			g := o.grant(request())
			o.signs("leo", request(longer), deny)
			_, err := o.Change(o.t.Context(), g, request(longer))
			wantError(o.t, err, jit.ErrDenied, "leo denied it")
		}},
		"a denial of what was changed meanwhile": {nil, func(o *office) {
			o.waits(request())
			o.signs("leo", request(longer), deny)
			o.refused(request(longer), "leo denied it")
		}},
		"a denial by the principal": {nil, func(o *office) {
			o.signs("bob", request(), deny)
			o.refused(request(), "bob denied it")
		}},
		"a review before the request": {withReviews, func(o *office) { o.reviews(request()); o.grant(request()) }},
		"a review of an extension": {withReviews, func(o *office) {
			o.signs("leo", request())
			g := o.grant(request())
			o.reviews(request(longer))
			o.newRun()
			if _, err := o.Change(o.t.Context(), g, request(longer)); err != nil {
				o.t.Fatal(err)
			}
		}},
		"an exception": {func(p *jit.Policy) { p.Approval[0].Unless = "grant.ttl <= duration('2h')" },
			func(o *office) { o.grant(request()); o.refused(request(longer, renewal), "1 of: lea, leo") }},
		"a policy that asks for less since the same run": {nil, func(o *office) {
			o.signs("lea", request())
			o.policy(jit.Policy{Name: "prod", Effect: jit.Permit})
			o.grant(request())
		}},
		"a policy that asks for more since": {nil, func(o *office) {
			o.signs("lea", request())
			o.grant(request())
			o.pass(time.Hour)
			o.policy(jit.Policy{Name: "prod", Effect: jit.Permit,
				Approval: []jit.Requirement{{Required: 2, From: []string{"group:leads"}}}})
		}},
		"a key that was removed since": {nil, func(o *office) {
			o.signs("lea", request())
			o.grant(request())
			o.pass(2 * time.Hour)
			o.put(jit.Person{Name: "lea"})
		}},
		"a sign-off when none of those who were skipped is left": {nil, func(o *office) {
			g := o.grant(request(breaks))
			o.pass(2 * time.Hour)
			o.newRun()
			for _, name := range []string{"lea", "leo"} {
				if err := o.DropPerson(o.t.Context(), name, 0); err != nil {
					o.t.Fatal(err)
				}
			}
			s := o.signsGrant("eve", g, func(s *approval.Statement) { s.Choice = jit.SignOff })
			if err := o.Decide(o.t.Context(), g, s); err != nil {
				o.t.Fatal(err)
			}
		}},
		"a broken glass that gave nothing": {nil, func(o *office) {
			o.platform.Call = func(what string) error {
				if what == "write" {
					return errors.New("read-only")
				}
				return nil
			}
			if _, err := o.Grant(o.t.Context(), request(breaks)); err == nil {
				o.t.Fatal("the target refuses, and the grant begins")
			}
			o.platform.Call = nil
			o.newRun()
			o.grant(request(breaks, renewal))
		}},
		"a broken glass that is signed off": {nil, func(o *office) {
			for range 2 {
				o.newRun()
				r := request(breaks)
				r.Renewal = int64(len(o.kinds()))
				g := o.grant(r)
				o.pass(time.Hour)
				s := o.signsGrant("lea", g, func(s *approval.Statement) { s.Choice = jit.SignOff })
				if err := o.Decide(o.t.Context(), g, s); err != nil {
					o.t.Fatal(err)
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var change []func(*jit.Policy)
			if c.policy != nil {
				change = append(change, c.policy)
			}
			o := newOffice(t, change...)
			c.do(o)
			o.proved()
		})
	}
}
