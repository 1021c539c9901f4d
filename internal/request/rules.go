package request

import (
	"bytes"
	"encoding/json"

	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/policy"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// addPolicy overlays the policies of the ledger with a block. A block that is not literal counts in its most permissive
// reading, as in a plan.
func (d *Desk) addPolicy(b hcledit.Block) error {
	values, unknown, err := valuesOf(b)
	if err != nil {
		return err
	}
	p, complete, err := plan.PolicyOf(values, unknown)
	switch {
	case err != nil:
	case complete:
		if err = policy.Check(p); err == nil {
			d.Broker.Planned.Put(p)
			d.own[p.Name] = ownPolicy{p, b, true}
		}
	default:
		d.Broker.Planned.PutIncomplete(p)
		d.incomplete = append(d.incomplete, p)
		d.own[p.Name] = ownPolicy{p, b, false}
		d.note(
			"the policy %s at %s has values that are not literal; jit assumes that they permit the most, and the plan "+
				"knows them",
			b.Address(),
			at(b),
		)
	}
	return err
}

// addPerson overlays the persons of the ledger with a block.
func (d *Desk) addPerson(b hcledit.Block) error {
	values, unknown, err := valuesOf(b)
	if err != nil {
		return err
	}
	person, complete, err := plan.PersonOf(values, unknown)
	switch {
	case err != nil:
	case complete:
		d.Broker.Planned.PutPerson(person)
		d.persons.PutPerson(person)
	default:
		d.Broker.Planned.PutIncompletePerson(person)
		d.persons.PutIncompletePerson(person)
		d.incompletePersons = true
	}
	return err
}

// valuesOf returns the attributes of a block in the form of terraform show -json. What is not literal is unknown.
func valuesOf(b hcledit.Block) (values, unknown map[string]any, err error) {
	values, unknown = map[string]any{}, map[string]any{}
	for name, v := range b.Literals {
		text, err := ctyjson.Marshal(v, v.Type())
		if err != nil {
			return nil, nil, err
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			return nil, nil, err
		}
		values[name] = value
	}
	for _, name := range b.Others {
		unknown[name] = name != dependsOn // it orders an apply, and is no value
	}
	if b.Repeated {
		unknown["name"] = true
	}
	return values, unknown, nil
}
