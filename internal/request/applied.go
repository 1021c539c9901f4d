package request

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// ownPolicy is a policy of the folder.
type ownPolicy struct {
	policy jit.Policy
	block  hcledit.Block
	// literal: policy is all that the block says.
	literal bool
}

// unapplied reports whether the ledger lacks a policy, or has it in another form than the folder. An apply that also
// records the policy may then judge the grant without it.
func (d *Desk) unapplied(policy string) bool {
	if policy == "" {
		return false
	}
	recorded, known := d.recorded[policy]
	own, written := d.own[policy]
	return !known || written && own.literal && !sameRule(recorded, own.policy)
}

// sameRule reports whether two forms of a policy judge alike.
func sameRule(a, b jit.Policy) bool {
	a.Description, a.Holder = b.Description, b.Holder
	return maps.Equal(a.Facts(), b.Facts())
}

// after returns the names of the blocks of jit_policy that the apply must record before a grant, where they are
// literal.
func (d *Desk) after(v Verdict) []string {
	name := v.Decision.Verdict.Policy
	if own := d.own[name]; own.literal && d.unapplied(name) && hclsyntax.ValidIdentifier(own.block.Name) {
		return []string{own.block.Name}
	}
	return nil
}

// applyFirst says that a policy is to be applied before the grant; none if that makes no difference.
func (d *Desk) applyFirst(v Verdict) (notes []string) {
	if name := v.Decision.Verdict.Policy; d.unapplied(name) {
		may := "judge the grant without it"
		if v.first != "" {
			may = "refuse the grant at first"
		}
		notes = append(notes, fmt.Sprintf("the ledger does not have the policy %q in this form yet; apply it before "+
			"the grant, or name it in depends_on of the grant; an apply that makes both may %s", name, may))
	}
	return notes
}

// settle notes where a verdict that does not refuse holds only by what the folder changes.
func (d *Desk) settle(v Verdict) error {
	if v.Outcome() == jit.Refused || v.Granted {
		return nil
	}
	whole := d.Broker.Planned
	d.Broker.Planned = d.persons
	alone, err := d.decided(v.Asked, v.preview)
	d.Broker.Planned = whole
	if err != nil {
		return err
	}
	name := v.Decision.Verdict.Policy
	if alone.Outcome() != v.Outcome() {
		which := "the changed policies of the configuration are"
		if d.unapplied(name) {
			which = fmt.Sprintf("the changed policy %q is", name)
		}
		d.noteOnce(fmt.Sprintf("this verdict holds only once %s applied; by the policies of the ledger, it is: %s (%s)",
			which, alone.Outcome(), alone.Rule()))
	}
	_, recorded := d.recorded[name]
	if _, written := d.own[name]; recorded && !written && len(d.own) > 0 {
		d.noteOnce(fmt.Sprintf("the policy %q is in the ledger, and in no literal block of the configuration; if the "+
			"plan removes it, the plan judges without it", name))
	}
	return nil
}

// says reports whether a block asks for this. A request that names no policy leaves the block's as it is.
func (p *placed) says(a Asked) bool {
	if a.Policy == "" {
		a.Policy = p.asked.Policy
	}
	return p.asked == a
}

// editNamed is edit, which also names the first policy of the ledger, unless the block names one.
func (p *placed) editNamed(v Verdict, asked Asked, set ...attribute) (Edit, error) {
	if v.first != "" && asked.Policy == "" && !slices.Contains(p.others, "policy") {
		asked.Policy = v.first
		set = append(set, attribute{"policy", cty.StringVal(v.first)})
	}
	return p.edit(asked, set...)
}
