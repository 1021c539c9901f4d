package broker

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
)

// rules are the policies and persons that a run of Terraform is judged by: those of the ledger, as they would be if no
// process of the run had changed any of them. So a run neither adds an approver nor takes a requirement away, in
// whatever order and by however many provider blocks it makes its changes.
type rules struct {
	policies []jit.Policy
	persons  []jit.Person
	// firstPersons: nobody but this run has ever recorded a person. Those of the run itself then count.
	firstPersons bool
	// people are the persons with their keys parsed.
	people func() (*approval.People, error)
}

// rulesBefore are the rules that were read last. The zero value is ready for use.
type rulesBefore struct {
	mu   sync.Mutex
	at   time.Time
	last rules
	// next is the first event that was not read yet. own names what the run has changed, others has the last event of
	// everybody else about each policy and person. hadPersons: one of those is about a person.
	next       int64
	own        map[ruleName]bool
	others     map[ruleName]jit.Event
	hadPersons bool
}

// ruleName names a policy or a person.
type ruleName struct{ noun, name string }

const policyNoun, personNoun = "policy", "person"

func ruleOf(e jit.Event) ruleName {
	if name := e.Person(); name != "" {
		return ruleName{personNoun, name}
	}
	return ruleName{policyNoun, e.Policy}
}

// rulesValid is how long rules are used before they are read again. A change of the run itself never alters them, so an
// old reading delays only the changes of others.
const rulesValid = time.Second

// rules returns the rules that the broker's run is judged by.
func (b *Broker) rules(ctx context.Context) (rules, error) {
	before := &b.before
	before.mu.Lock()
	defer before.mu.Unlock()
	if time.Since(before.at) < rulesValid {
		return before.last, nil
	}
	begun := time.Now()
	read, err := b.readRules(ctx)
	if err == nil {
		before.at, before.last = begun, read
	}
	return read, err
}

// readRules reads the rules. It reads the records first: if they hold a change of this run by another process, the
// events that are read after them tell.
func (b *Broker) readRules(ctx context.Context) (r rules, err error) {
	if r.policies, err = b.Ledger.Policies(ctx); err != nil {
		return r, err
	}
	if r.persons, err = b.Ledger.Persons(ctx); err != nil {
		return r, err
	}
	changed, err := b.Ledger.ChangedRules(ctx, b.Run)
	if err == nil && (changed || len(r.persons) == 0) {
		err = b.before.undo(ctx, b.Ledger, b.Run, &r)
	}
	r.people = sync.OnceValues(func() (*approval.People, error) { return newPeople(r.persons) })
	return r, err
}

// undo takes the changes of a run out of the records.
func (r *rulesBefore) undo(ctx context.Context, ledger jit.Ledger, run string, now *rules) (err error) {
	if r.own == nil {
		r.own, r.others = map[ruleName]bool{}, map[ruleName]jit.Event{}
	}
	for e, err := range ledger.Rules(ctx, r.next) {
		if err != nil {
			return err
		}
		of := ruleOf(e)
		if e.Run() == run {
			r.own[of] = true
		} else {
			r.others[of] = e
			r.hadPersons = r.hadPersons || of.noun == personNoun
		}
		r.next = e.Seq + 1
	}
	now.policies, err = undone(r, now.policies, func(p jit.Policy) ruleName { return ruleName{policyNoun, p.Name} },
		jit.PolicyOf)
	if err != nil {
		return err
	}
	now.persons, err = undone(r, now.persons, func(p jit.Person) ruleName { return ruleName{personNoun, p.Name} },
		jit.PersonOf)
	now.firstPersons = len(now.persons) == 0 && !r.hadPersons
	return err
}

// undone returns policies or persons as everybody else has left them: the record of now, or the last event of another
// if the run has changed the record.
func undone[T any](
	r *rulesBefore, now []T, name func(T) ruleName, of func(jit.Event) (T, error),
) ([]T, error) {
	noun := name(*new(T)).noun
	kept := slices.DeleteFunc(slices.Clone(now), func(one T) bool { return r.own[name(one)] })
	for changed := range r.own {
		e, known := r.others[changed]
		removed := e.Kind == jit.EventPolicyRemoved || e.Kind == jit.EventPersonRemoved
		if !known || removed || changed.noun != noun {
			continue
		}
		one, err := of(e)
		if err != nil {
			return nil, err
		}
		kept = append(kept, one)
	}
	slices.SortFunc(kept, func(a, b T) int { return cmp.Compare(name(a).name, name(b).name) })
	return kept, nil
}

// deciders returns the people whose decisions count: those of the ledger without the changes of this run. While nobody
// else has ever recorded a person, those count that the run has recorded or plans.
func (b *Broker) deciders(ctx context.Context) (*approval.People, error) {
	if b.Run != "" {
		before, err := b.rules(ctx)
		if err != nil {
			return nil, err
		}
		if !before.firstPersons {
			return before.people()
		}
	}
	persons, err := b.personsToBe(ctx)
	if err != nil {
		return nil, err
	}
	return newPeople(persons)
}

func newPeople(persons []jit.Person) (*approval.People, error) {
	people, err := approval.NewPeople(persons)
	if err != nil {
		return nil, fmt.Errorf("the persons of the ledger: %w", err)
	}
	return people, nil
}

// requirements adds to a verdict what the policies without the changes of this run forbid and ask for, so that a run
// neither drops the approval of its own grants nor a policy that forbids them, nor lets itself break the glass.
func (b *Broker) requirements(
	ctx context.Context, target jit.Platform, now []jit.Policy, ask asker, r policy.Request, v jit.Verdict,
) (jit.Verdict, error) {
	if b.Run == "" || v.Outcome == jit.Refused {
		return v, nil
	}
	before, err := b.rules(ctx)
	if err != nil {
		return v, err
	}
	forbidden, err := ask.forbiddenBefore(ctx, target, before.policies, now, r)
	if err != nil || forbidden.Policy != "" {
		return forbidden, err
	}
	if !slices.ContainsFunc(before.policies, func(p jit.Policy) bool { return len(p.Approval) > 0 }) {
		return v, nil
	}
	if r.Given, err = target.Given(ctx, r.Binding, false); err != nil {
		return v, err
	}
	required, glass := policy.Before(before.policies, r)
	if len(required) == 0 {
		return v, nil
	}
	for _, entry := range required {
		if !slices.ContainsFunc(v.Approval, entry.Equal) {
			v.Approval = append(v.Approval, entry)
		}
	}
	switch {
	case r.BreakGlass && glass:
		v.BrokeGlass = true
	case v.Permitted():
		v.Outcome, v.BrokeGlass = jit.NeedsApproval, false
		v.Rule += ", but with approval, as it was before this run"
	}
	return v, nil
}

// forbiddenBefore returns the refusal of a policy from before this run which forbids the grant, if the run drops or
// changes that policy.
func (ask asker) forbiddenBefore(
	ctx context.Context, target jit.Platform, before, now []jit.Policy, r policy.Request,
) (v jit.Verdict, err error) {
	judged := []jit.Policy{{Effect: jit.Permit}} // whatever no policy forbids
	for _, p := range before {
		same := func(other jit.Policy) bool { return reflect.DeepEqual(p, other) }
		if p.Effect != jit.Permit && !slices.ContainsFunc(now, same) {
			judged = append(judged, p)
		}
	}
	if len(judged) == 1 {
		return v, nil
	}
	r.Named, r.BreakGlass = "", false
	if v, err = ask.verdict(ctx, target, judged, r); err != nil || v.Outcome != jit.Refused {
		return jit.Verdict{}, err
	}
	v.Rule += ", as it was before this run"
	return v, nil
}
