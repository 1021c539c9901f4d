package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// personsPause and personsTries bound how long a run waits for the plan of persons that are planned at the same
	// time: Terraform plans blocks that do not refer to each other in any order.
	personsPause = 100 * time.Millisecond
	personsTries = 30
)

// late are the checks of a run that failed and that persons of the same plan may still satisfy. One policy waits for all:
// each resource that waits takes up one of the few that Terraform plans at a time, and the persons need those.
type late struct {
	mu      sync.Mutex
	waiting bool
	// tries counts the pauses of the run.
	tries  int
	checks []lateCheck
}

// lateCheck is a check by the persons of ledger and plan; known is their number.
type lateCheck struct {
	// policy is whose check it is; empty for that of a grant, which waits by itself: an apply makes no grant unchecked.
	policy string
	check  func(people *approval.People, known int) error
}

// begin makes the caller wait for the persons of the plan, unless the run has waited long enough. If a policy waits
// already, it takes over the check of another.
func (l *late) begin(c lateCheck) (waits, takenOver bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting && c.policy != "" {
		l.checks = append(l.checks, c)
		return false, true
	}
	if l.tries >= personsTries {
		return false, false
	}
	if c.policy != "" {
		l.waiting = true
	}
	return true, false
}

// again counts a pause, after which own and, for a policy, the checks that it took over are repeated. done: all have
// passed, or the run has waited long enough, and err holds what fails.
func (l *late) again(own lateCheck, try func(lateCheck) error) (done bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tries++
	errs := []error{try(own)}
	if own.policy != "" {
		var failed []lateCheck
		for _, c := range l.checks {
			if err := try(c); err != nil {
				failed = append(failed, c)
				errs = append(errs, fmt.Errorf("policy %q: %w", c.policy, err))
			}
		}
		l.checks = failed
	}
	if err = errors.Join(errs...); err != nil && l.tries < personsTries {
		return false, err
	}
	if own.policy != "" {
		l.waiting, l.checks = false, nil
	}
	if len(errs) == 1 {
		err = errs[0]
	}
	return true, err
}

// planFirst is the rest of a hint about a person that the same plan may add.
const planFirst = `; if this configuration adds them, write depends_on = [jit_person.<name>] here`

// CheckApprovers refuses a planned policy that names a person or a group that neither the ledger nor the plan has, and
// a requirement that too few people can meet.
func (b *Broker) CheckApprovers(ctx context.Context, p jit.Policy) error {
	if len(p.Approval) == 0 {
		return nil
	}
	return b.withPersons(ctx, lateCheck{p.Name, func(people *approval.People, _ int) error {
		for i, r := range p.Approval {
			if err := checkEntry(people, fmt.Sprintf("approval[%d].", i), r); err != nil {
				return err
			}
		}
		if p.BreakGlass == nil {
			return nil
		}
		_, unknown := people.From(p.BreakGlass.From)
		return errUnknown("break_glass.from", unknown)
	}})
}

// checkEntry checks whether the people of a requirement exist and can meet it.
func checkEntry(people *approval.People, at string, r jit.Requirement) error {
	from, unknown := people.From(r.From)
	if err := errUnknown(at+"from", unknown); err != nil {
		return err
	}
	var names []string
	for _, person := range from {
		if canProve(person, r) {
			names = append(names, person.Name)
		}
	}
	if len(names) >= r.Required {
		return nil
	}
	able, needed := "nobody", "people"
	if r.Required == 1 {
		needed = "person"
	}
	if len(names) > 0 {
		able = strings.Join(names, ", ")
	}
	return jit.Invalid(at+"required", "ask for fewer, or add people to the groups, with signing_keys"+planFirst,
		"%d %s must approve, and only %d can: %s", r.Required, needed, len(names), able)
}

// canProve reports whether a person can give a kind of evidence that the requirement takes.
func canProve(person jit.Person, r jit.Requirement) bool {
	signs := len(r.Evidence) == 0 || slices.Contains(r.Evidence, jit.Signature)
	reviews := slices.Contains(r.Evidence, jit.PullRequest)
	return signs && len(person.SigningKeys) > 0 || reviews && (person.GitHub != "" || person.GitLab != "")
}

func errUnknown(attribute string, unknown []string) error {
	if len(unknown) == 0 {
		return nil
	}
	what := "person"
	if jit.IsGroup(unknown[0]) {
		what = "group"
	}
	form := `write the name of a jit_person, such as "bob@example.com"`
	if strings.HasSuffix(attribute, "from") {
		form += `, or a group, such as "group:payments-leads"`
	}
	return jit.Errorf(jit.ErrInvalid, attribute, form+"; if it is one, check the spelling, or add a jit_person"+planFirst,
		"no %s %q is known", what, unknown[0])
}

// CheckRequester refuses a planned requester who is none of the persons of the ledger and the plan, if there are any.
func (b *Broker) CheckRequester(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	return b.withPersons(ctx, lateCheck{"", func(people *approval.People, known int) error {
		if _, found := people.Named(name); found || known == 0 {
			return nil
		}
		return errUnknown("requester", []string{name})
	}})
}

// withPersons makes a check with the persons of ledger and plan. A check that fails is repeated until the persons of the
// same plan had time to appear, at most once a run: if a resource waits for them already, it repeats the check and
// returns its error. Persons with unknown values cannot be checked: the check then passes.
func (b *Broker) withPersons(ctx context.Context, own lateCheck) error {
	try := func(c lateCheck) error {
		persons, err := b.personsToBe(ctx)
		if err != nil {
			return err
		}
		people, err := approval.NewPeople(persons)
		if err != nil || b.Planned.personsIncomplete() {
			return nil //nolint:nilerr // the person who cannot be recorded is refused by name
		}
		return c.check(people, len(persons))
	}
	err := try(own)
	if whole := b.Planned != nil && b.Planned.Whole; whole || !errors.Is(err, jit.ErrInvalid) {
		return err
	}
	switch waits, takenOver := b.late.begin(own); {
	case takenOver:
		return nil
	case !waits:
		return err
	}
	for done := false; !done; {
		select {
		case <-ctx.Done():
		case <-time.After(personsPause):
		}
		done, err = b.late.again(own, try)
	}
	return err
}
