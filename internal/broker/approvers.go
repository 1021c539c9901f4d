package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// personsPause and personsTries bound how long a check waits for the plan of a person that is planned at the same
	// time: Terraform plans blocks that do not refer to each other in any order.
	personsPause = 100 * time.Millisecond
	personsTries = 30
)

// planFirst is the rest of a hint about a person that the same plan may add.
const planFirst = `; if this configuration adds them, write depends_on = [jit_person.<name>] here`

// CheckApprovers refuses a planned policy that names a person or a group that neither the ledger nor the plan has, and
// a requirement that too few people can meet.
func (b *Broker) CheckApprovers(ctx context.Context, p jit.Policy) error {
	if len(p.Approval) == 0 {
		return nil
	}
	return b.withPersons(ctx, func(people *approval.People, _ int) error {
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
	})
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
	able := "nobody"
	if len(names) > 0 {
		able = strings.Join(names, ", ")
	}
	return jit.Invalid(at+"required", "ask for fewer, or add people to the groups, with signing_keys"+planFirst,
		"%d people must approve, and only %d can: %s", r.Required, len(names), able)
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
	return jit.Errorf(jit.ErrInvalid, attribute, "check the spelling, or add a jit_person"+planFirst,
		"no %s %q is known", what, unknown[0])
}

// CheckRequester refuses a planned requester who is none of the persons of the ledger and the plan, if there are any.
func (b *Broker) CheckRequester(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	return b.withPersons(ctx, func(people *approval.People, known int) error {
		if _, found := people.Named(name); found || known == 0 {
			return nil
		}
		return errUnknown("requester", []string{name})
	})
}

// withPersons makes a check with the persons of ledger and plan; known is their number. A check that fails is repeated
// until the persons of the same plan had time to appear. Persons with unknown values cannot be checked: the check then
// passes.
func (b *Broker) withPersons(ctx context.Context, check func(people *approval.People, known int) error) error {
	for try := 1; ; try++ {
		persons, err := b.personsToBe(ctx)
		if err != nil {
			return err
		}
		people, err := approval.NewPeople(persons)
		if err != nil || b.Planned.personsIncomplete() {
			return nil //nolint:nilerr // the person who cannot be recorded is refused by name
		}
		if err = check(people, len(persons)); err == nil || try == personsTries {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(personsPause):
		}
	}
}
