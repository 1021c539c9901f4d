package request

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Who completes a request with the principal that a person has on its target, if it names none. home is the folder of
// the user's keys; said says aloud what was chosen.
func (d *Desk) Who(a Asked, home string) (_ Asked, said string, err error) {
	if a.Principal != "" {
		return a, "", nil
	}
	target, err := d.Broker.Target(a.Target)
	if err != nil {
		return a, "", err
	}
	if person := d.named(a.Requester); person != nil {
		accepted := d.acceptedOf(*person, a)
		switch len(accepted) {
		case 1:
			a.Principal = accepted[0]
			return a, "", nil
		case 0:
		default:
			return a, "", jit.Invalid(
				"principal",
				"name one with --for",
				"target %q knows %s by more than one name: %s",
				a.Target,
				person.Name,
				strings.Join(accepted, ", "),
			)
		}
	}
	if target.Kind() == "ssh" {
		if files, _ := filepath.Glob(filepath.Join(home, ".ssh", "*.pub")); len(files) == 1 {
			text, err := os.ReadFile(files[0]) // #nosec G304 -- a public key of the user
			if err != nil {
				return a, "", fmt.Errorf("read your key: %w", err)
			}
			a.Principal = strings.TrimSpace(string(text))
			return a, "the access is for your key, " + files[0], nil
		}
	}
	if a.Requester != "" {
		return a, "", jit.Invalid("principal", "name the principal with --for, or write it into your jit_person: "+
			"principals = [\"…\"]", "no principal of %q is known on target %q", a.Requester, a.Target)
	}
	return a, "", jit.Invalid("principal", "name the principal with --for, or say who you are with --requester NAME, "+
		"JIT_REQUESTER, or approver in jit.hcl, and list your principals in your jit_person", "nothing says who you are")
}

// acceptedOf returns the principals of a person that the target accepts, each access once.
func (d *Desk) acceptedOf(person jit.Person, a Asked) (accepted []string) {
	var canonical []string
	target := d.Broker.Targets[a.Target]
	for _, name := range person.Principals {
		binding, _, err := target.Check(jit.Binding{Target: a.Target, Principal: name, Role: a.Role, Scope: a.Scope})
		wrong := (*jit.Error)(nil)
		if errors.As(err, &wrong) && wrong.Attribute != "principal" { // the verdict says what is wrong
			binding.Principal, err = name, nil
		}
		if err == nil && !slices.Contains(canonical, binding.Principal) {
			accepted, canonical = append(accepted, name), append(canonical, binding.Principal)
		}
	}
	return accepted
}

// SetRequester completes who asks: the person of that name. If persons are known and none has it, nobody asks.
func (d *Desk) SetRequester(a *Asked, name string) {
	switch {
	case a.Requester != "" || name == "":
	case d.named(name) != nil:
		a.Requester = d.named(name).Name
	case len(d.Persons) > 0 && !d.incompletePersons:
		d.note("no person %q is known, so the request does not say who asks", name)
	default:
		a.Requester = name
	}
}

// Targets returns the names of the targets.
func (d *Desk) Targets() []string { return slices.Sorted(maps.Keys(d.Broker.Targets)) }

// ReadsEntries reports whether the folder has a block with for_each, which may read the entries.
func (d *Desk) ReadsEntries() bool {
	return slices.ContainsFunc(d.open, func(b hcledit.Block) bool { return b.Repeated })
}
