package review

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/catalog"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// doubts collects why a report may not be complete. Those of the same kind become one.
type doubts struct {
	order []string
	of    map[string][]string
}

// about adds a doubt about one address. An empty address is the plan itself.
func (d *doubts) about(why, address string) {
	if d.of == nil {
		d.of = map[string][]string{}
	}
	if _, known := d.of[why]; !known {
		d.order = append(d.order, why)
		d.of[why] = nil
	}
	if address != "" {
		d.of[why] = append(d.of[why], address)
	}
}

// namedAtMost bounds how many addresses a doubt names.
const namedAtMost = 3

func (d *doubts) list() (all []string) {
	for _, why := range d.order {
		all = append(all, about(d.of[why], why))
	}
	return all
}

// about puts addresses before a text about them.
func about(addresses []string, why string) string {
	switch n := len(addresses); {
	case n == 0:
		return why
	case n > namedAtMost:
		return fmt.Sprintf("%s and %d more: %s", strings.Join(addresses[:namedAtMost], ", "), n-namedAtMost, why)
	}
	return strings.Join(addresses, ", ") + ": " + why
}

// doubtPlan doubts a plan that does not hold all that an apply would do, or that this program may misread.
func (j *judge) doubtPlan() {
	p := j.plan
	if p.Errored {
		j.doubts.about("planning failed: the plan holds only a part of the changes", "")
	}
	if p.Complete != nil && !*p.Complete {
		j.doubts.about("the plan is not complete: it was made with -target, or changes are deferred; another "+
			"apply follows", "")
	}
	if p.TerraformVersion == "" {
		j.doubts.about("the plan does not say which version of Terraform or OpenTofu made it", "")
	}
	if p.NewerFormat() {
		j.doubts.about(fmt.Sprintf("the format %s of the plan is newer than %d.%d, which this program knows: it "+
			"may say more "+
			"than this program reads", p.FormatVersion, plan.Major, plan.Minor), "")
	}
	for _, name := range p.Unknown {
		j.doubts.about("the plan has fields that this program does not know", name)
	}
	for _, d := range p.DeferredChanges {
		address := "a change"
		if d.Resource != nil {
			address = d.Resource.Address
		}
		j.doubts.about("the change is deferred to another apply ("+d.Reason+")", address)
	}
	if n := len(p.DeferredActions); n > 0 {
		j.doubts.about(fmt.Sprintf("%d invocations of actions are deferred to another apply", n), "")
	}
	for _, a := range p.Actions {
		j.doubts.about("the apply invokes the action, and this program cannot tell what it does", a.Address)
	}
	for _, c := range p.Checks {
		if c.Status == "fail" || c.Status == "error" {
			j.doubts.about("the check failed", c.Address.Display)
		}
	}
}

// doubtDrift tells what somebody else has changed and the plan does not undo.
func (j *judge) doubtDrift() {
	object := func(r *plan.Resource) string { return r.Address + " " + r.DeposedKey }
	planned := map[string]*plan.Resource{}
	for _, r := range j.plan.ResourceChanges {
		if r.Change != nil {
			planned[object(r)] = r
		}
	}
	for _, r := range j.plan.ResourceDrift {
		if r.Change == nil {
			continue
		}
		if why := j.drifted(r, planned[object(r)]); why != "" {
			j.doubts.about(why, r.Address)
		}
	}
}

// drifted says what is left after the plan of a change outside of the configuration; empty if nothing is. planned is
// the planned change of the same object, or nil.
func (j *judge) drifted(r, planned *plan.Resource) string {
	drift, left := r.Change, r.Change
	var told []catalog.Access
	if planned != nil {
		switch action, _ := actionOf(planned); action {
		case Destroy:
			return ""
		case Forget:
		default:
			left = planned.Change
			told, _ = j.compareAccess(planned)
		}
	}
	const outside = "it was changed outside of this configuration, and the plan leaves that"
	switch r.Type {
	case policyType, personType:
		if !restores(left, drift) {
			return outside
		}
	case grantType:
		if keepsDrift(left, drift) {
			return outside
		}
	default:
		since := *r
		since.Change = &plan.Change{Actions: left.Actions, Before: drift.Before, BeforeSensitive: drift.BeforeSensitive,
			After: left.After, AfterUnknown: left.AfterUnknown, AfterSensitive: left.AfterSensitive}
		given, _ := j.compareAccess(&since)
		if slices.ContainsFunc(given, func(a catalog.Access) bool { return !slices.Contains(told, a) }) {
			return "it gives more access than before, by a change outside of this configuration"
		}
	}
	return ""
}

// restores reports whether a plan leaves every attribute that drift altered as it was before.
func restores(left, drift *plan.Change) bool {
	before, after, is := object(drift.Before), object(drift.After), object(left.After)
	for name := range union(before, after) {
		altered := drift.After == nil || !reflect.DeepEqual(before[name], after[name])
		if altered && (plan.Marked(left.AfterUnknown, name) || !reflect.DeepEqual(is[name], before[name])) {
			return false
		}
	}
	return left.After != nil
}

// keepsDrift reports whether a plan leaves a grant that somebody else has moved, taken away or altered as it is.
func keepsDrift(left, drift *plan.Change) bool {
	if drift.After == nil {
		return left.After == nil
	}
	keeps := func(name string) bool {
		return !plan.Marked(left.AfterUnknown, name) &&
			plan.Attribute(left.After, name) == plan.Attribute(drift.After, name)
	}
	moved := plan.Attribute(drift.Before, "expires_at") != plan.Attribute(drift.After, "expires_at")
	return moved && keeps("expires_at") || plan.Attribute(drift.After, "drift") != "" && keeps("drift")
}

// doubtProvisioners doubts the commands that an apply runs beside a change.
func (j *judge) doubtProvisioners(r *plan.Resource, action Action) {
	switch action {
	case Create, Replace, Destroy:
		for _, kind := range j.block(r).Provisioners {
			j.doubts.about("the apply may run a provisioner ("+kind+"), and this program cannot tell what it does",
				r.Address)
		}
	}
}
