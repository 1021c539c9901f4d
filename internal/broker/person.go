package broker

import (
	"context"
	"maps"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// MakePerson records a person that the caller considers new, and returns the caller's holder number. If the ledger has
// the same person, the caller becomes their holder; a different person of that name is refused.
func (b *Broker) MakePerson(ctx context.Context, p jit.Person) (holder int64, err error) {
	recorded, known, err := b.RecordedPerson(ctx, p.Name)
	if err != nil {
		return 0, err
	}
	p.Holder = recorded.Holder
	if known && !maps.Equal(p.Facts(), recorded.Facts()) {
		return 0, jit.Invalid("name", "choose another name, or import the person and change them then: "+
			"terraform import jit_person.<name> "+p.Name, "the ledger has a person %q already, who differs", p.Name)
	}
	p.Holder++
	return p.Holder, b.writePerson(ctx, p)
}

// PutPerson records a person, new or changed.
func (b *Broker) PutPerson(ctx context.Context, p jit.Person) error {
	recorded, _, err := b.RecordedPerson(ctx, p.Name)
	if err != nil {
		return err
	}
	p.Holder = max(recorded.Holder, 1)
	return b.writePerson(ctx, p)
}

func (b *Broker) writePerson(ctx context.Context, p jit.Person) error {
	if err := b.CheckPerson(ctx, p); err != nil {
		return err
	}
	changed := b.ruleEvent(jit.EventPersonChanged, "", p.Facts())
	return b.write(ctx, jit.Entry{Person: &p, Events: []jit.Event{changed}, Current: true})
}

// CheckPerson refuses a person who cannot be recorded beside the others: those of the ledger, or of the same plan.
func (b *Broker) CheckPerson(ctx context.Context, p jit.Person) error {
	all, err := b.personsToBe(ctx)
	if err != nil {
		return err
	}
	others := make([]jit.Person, 0, len(all)+1)
	for _, other := range all {
		if other.Name != p.Name {
			others = append(others, other)
		}
	}
	_, err = approval.NewPeople(append(others, p))
	return err
}

// personsToBe returns the persons of the ledger, overlaid with those of the same plan.
func (b *Broker) personsToBe(ctx context.Context) ([]jit.Person, error) {
	recorded, err := b.Ledger.Persons(ctx)
	return b.Planned.Persons(recorded), err
}

// DropPerson removes a person; an absent one is a success. A holder other than 0 restricts the removal to that holder: a
// person with a newer holder stays.
func (b *Broker) DropPerson(ctx context.Context, name string, holder int64) error {
	recorded, known, err := b.RecordedPerson(ctx, name)
	if err != nil || !known || holder != 0 && recorded.Holder > holder {
		return err
	}
	removed := b.ruleEvent(jit.EventPersonRemoved, "", jit.Person{Name: name}.Facts())
	return b.write(ctx, jit.Entry{DropPerson: name, Events: []jit.Event{removed}})
}

// RecordedPerson returns the person of that name from the ledger, regardless of planned changes.
func (b *Broker) RecordedPerson(ctx context.Context, name string) (p jit.Person, known bool, err error) {
	all, err := b.Ledger.Persons(ctx)
	for _, p := range all {
		if p.Name == name {
			return p, true, err
		}
	}
	return jit.Person{}, false, err
}
