package review

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// open prepares a broker for each owner. A ledger that cannot be read is replaced by what the plan says of it.
func (j *judge) open(ctx context.Context) {
	if j.Broker == nil {
		return
	}
	l := j.Broker.Ledger
	if why := j.unreadable(ctx, l); why == "" {
		l = &snapshot{l, j.rules.policies, j.rules.persons}
	} else {
		j.stated = true
		l = &stated{snapshot: snapshot{Ledger: l}, grants: map[jit.ID]jit.Grant{}}
		j.doubts.about("jit does not use the ledger ("+why+"): it takes policies, persons and grants from the state "+
			"before the plan, and no approval counts", "")
	}
	planned := &broker.Planned{Whole: true}
	run := rand.Text() // a run of its own, so that the rules from before the plan count
	for _, owner := range slices.Compact(append([]string{j.Broker.Owner}, j.Owners...)) {
		b := j.Broker
		j.brokers = append(j.brokers, &broker.Broker{
			Ledger: l, Targets: b.Targets, Owner: owner, MaxTTL: b.MaxTTL, Actor: b.Actor, Now: b.Now, Run: run,
			Approvals: approval.Folder{Dir: b.Approvals.Dir}, Planned: planned,
		})
	}
	j.rules.planned = planned
}

// unreadable reads the rules of the ledger, and says why it cannot be used; empty if it can. A ledger that does not
// exist is used only for a plan without a past.
func (j *judge) unreadable(ctx context.Context, l jit.Ledger) (why string) {
	id, err := l.ID(ctx)
	if err == nil {
		j.rules.policies, err = l.Policies(ctx)
	}
	if err == nil {
		j.rules.persons, err = l.Persons(ctx)
	}
	switch {
	case err != nil:
		return err.Error()
	case id == "" && j.hasPast():
		return "it does not exist, and the plan changes what was recorded in one"
	}
	j.ledger = id
	return ""
}

// hasPast reports whether the plan knows a ledger: the state has something of this provider, or a request has a digest.
func (j *judge) hasPast() bool {
	for _, kind := range []string{grantType, policyType, personType} {
		if found, err := j.plan.Stated(kind); err != nil || len(found) > 0 {
			return true
		}
	}
	return slices.ContainsFunc(j.plan.ResourceChanges, func(r *plan.Resource) bool {
		return r.Type == grantType && r.Change != nil && plan.Attribute(r.Change.After, "request_digest") != ""
	})
}

// snapshot is a ledger whose rules were read once, for all grants of a plan.
type snapshot struct {
	jit.Ledger
	policies []jit.Policy
	persons  []jit.Person
}

func (s *snapshot) Policies(context.Context) ([]jit.Policy, error) { return s.policies, nil }
func (s *snapshot) Persons(context.Context) ([]jit.Person, error)  { return s.persons, nil }

// stated stands in for a ledger that cannot be read.
type stated struct {
	snapshot
	grants map[jit.ID]jit.Grant
}

func (*stated) ID(context.Context) (string, error)                       { return "", nil }
func (*stated) ChangedRules(context.Context, string) (bool, error)       { return false, nil }
func (*stated) Rules(context.Context, int64) iter.Seq2[jit.Event, error] { return none[jit.Event] }
func (*stated) EventsOf(context.Context, []jit.ID) iter.Seq2[jit.Event, error] {
	return none[jit.Event]
}
func (*stated) Grants(context.Context, jit.Filter) iter.Seq2[jit.Grant, error] {
	return none[jit.Grant]
}

func (*stated) SweptSince(context.Context, string, time.Time) (map[string]time.Duration, error) {
	return nil, nil
}

func (s *stated) Lookup(_ context.Context, id jit.ID) (jit.Grant, bool, error) {
	g, ok := s.grants[id]
	return g, ok, nil
}

func none[T any](func(T, error) bool) {}

// state fills a ledger that stands in with the state before the plan.
func (j *judge) state() error {
	s, is := j.brokers[0].Ledger.(*stated)
	if !is {
		return nil
	}
	policies, err := j.plan.Stated(policyType)
	if err != nil {
		return err
	}
	for _, r := range policies {
		p, _, err := plan.PolicyOf(r.Values, nil)
		if err != nil {
			return unstated(r, err)
		}
		s.policies = append(s.policies, p)
	}
	persons, err := j.plan.Stated(personType)
	if err != nil {
		return err
	}
	for _, r := range persons {
		p, _, err := plan.PersonOf(r.Values, nil)
		if err != nil {
			return unstated(r, err)
		}
		s.persons = append(s.persons, p)
	}
	grants, err := j.plan.Stated(grantType)
	for _, r := range grants {
		if b, _ := j.brokerOf(r.Values); b != nil {
			g := remembered(b, r.Values)
			g.Version = 1
			s.grants[g.ID] = g
		}
	}
	j.rules.policies, j.rules.persons = s.policies, s.persons
	return err
}

// unstated is the error that a rule of the state cannot be read.
func unstated(r plan.Stated, err error) error {
	if plan.AnyMark(r.Sensitive) {
		err = errors.New("it has sensitive values")
	}
	return fmt.Errorf("%s in the state before the plan cannot be read: %w", r.Address, err)
}

// remembered returns the record of a grant as a state has it.
func remembered(b *broker.Broker, object any) jit.Grant {
	asked, _ := plan.Asked(object) // the state was once valid
	end, _ := jit.ParseTime("expires_at", plan.Attribute(object, "expires_at"))
	start, err := jit.ParseTime("granted_at", plan.Attribute(object, "granted_at"))
	granted := start
	if err != nil {
		start, granted = asked.StartsAt, time.Time{}
	}
	g := jit.Grant{
		ID: jit.ID(plan.Attribute(object, "id")), Owner: b.Owner, Binding: asked.Binding,
		Reason: jit.RecordedReason(asked.Reason), Renewal: asked.Renewal, TTL: asked.TTL,
		Window: jit.Window{Start: start, End: end}, Terms: asked.Terms, Policy: asked.Policy,
		StartAsked:  jit.StartAsked(asked.StartsAt),
		Enforcement: jit.Enforcement(plan.Attribute(object, "enforcement")), RequestedAt: start, GrantedAt: granted,
	}
	if binding, traits, err := b.Targets[asked.Binding.Target].Check(asked.Binding); err == nil {
		g.Binding, g.SessionTail = binding, traits.SessionTail
	}
	return g
}
