package gcp

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The limits of a policy (https://cloud.google.com/iam/quotas). They cannot be raised.
const (
	maxPrincipals = 1500 // each occurrence counts, also as exempt from audit logs
	maxGroups     = 250  // groups count once, domains each time
	maxSame       = 20   // bindings of one role and one principal with different conditions
	// advisedConditional is how many conditional bindings a policy should have at most
	// (https://cloud.google.com/iam/docs/conditions-overview).
	advisedConditional = 100
)

// load is how much of its limits a policy uses.
type load struct{ principals, groups, conditional int }

// load counts what is in the policy.
func (p *policy) load() load {
	l := load{principals: p.exempted()}
	groups := map[string]bool{}
	for _, b := range p.bindings {
		if b.Condition != nil {
			l.conditional++
		}
		for _, m := range b.Members {
			l.principals++
			if name := strings.ToLower(m); isGroup(m) && !groups[name] {
				l.groups++
				groups[name] = !strings.HasPrefix(strings.TrimPrefix(name, deletedPrefix), "domain:")
			}
		}
	}
	return l
}

// exempted counts the principals that are exempt from audit logs, each occurrence.
func (p *policy) exempted() int {
	var configs []struct {
		AuditLogConfigs []struct {
			ExemptedMembers []string `json:"exemptedMembers"`
		} `json:"auditLogConfigs"`
	}
	if len(p.fields["auditConfigs"]) == 0 || json.Unmarshal(p.fields["auditConfigs"], &configs) != nil {
		return 0
	}
	n := 0
	for _, c := range configs {
		for _, l := range c.AuditLogConfigs {
			n += len(l.ExemptedMembers)
		}
	}
	return n
}

func isGroup(member string) bool {
	member = strings.TrimPrefix(member, deletedPrefix)
	return strings.HasPrefix(member, "group:") || strings.HasPrefix(member, "domain:")
}

// checkLimits returns an error if the policy exceeds a limit because of this binding.
func (p *policy) checkLimits(made binding) error {
	full := func(attribute, hint, format string, args ...any) error {
		return about(attribute, problem(nil, hint, format, args...))
	}
	l := p.load()
	member := made.Members[len(made.Members)-1]
	if l.principals > maxPrincipals {
		return full("scope", "end grants that are no longer needed, or grant to a group",
			"the policy is full: with this grant it would name %d principals, repeats included; the limit is %d",
			l.principals, maxPrincipals)
	}
	if isGroup(member) && l.groups > maxGroups {
		return full("principal", "end grants to groups that are no longer needed",
			"the policy is full: with this grant it would name %d groups and domains; the limit is %d",
			l.groups, maxGroups)
	}
	if same := p.count(made.Role, member); same > maxSame {
		return full("role", "end one of these grants, or change its end instead of making another",
			"with this grant the policy would have %d bindings of %s for %s with different conditions; the limit is %d",
			same, made.Role, member, maxSame)
	}
	return nil
}

// count counts the bindings of a role for a member.
func (p *policy) count(role, member string) (n int) {
	for _, b := range p.bindings {
		for _, m := range b.Members {
			if b.Role == role && sameMember(m, member) {
				n++
			}
		}
	}
	return n
}

// notes warns of limits that are used to four fifths. One plan can exceed them.
func (p *policy) notes(at resource) []jit.Note {
	nearly := func(n, limit int) bool { return n*5 >= limit*4 }
	l := p.load()
	var notes []jit.Note
	for _, of := range []struct {
		n, limit int
		what     string
	}{
		{l.principals, maxPrincipals, "names %d principals, repeats included; the limit is %d"},
		{l.groups, maxGroups, "names %d groups and domains; the limit is %d"},
		{l.conditional, advisedConditional, "has %d bindings with a condition, and Google advises %d at most"},
	} {
		if nearly(of.n, of.limit) {
			notes = append(notes,
				jit.Note{Text: fmt.Sprintf("The policy of "+at.String()+" "+of.what+".", of.n, of.limit)})
		}
	}
	return append(notes, p.pairNotes(at)...)
}

// pairNotes warns of roles that a member has in nearly as many bindings as it can.
func (p *policy) pairNotes(at resource) (notes []jit.Note) {
	type pair struct{ role, member string }
	same := map[pair]int{}
	var many []pair
	for _, b := range p.bindings {
		for _, m := range b.Members {
			of := pair{b.Role, m}
			if same[of]++; same[of] == maxSame*4/5 {
				many = append(many, of)
			}
		}
	}
	for _, of := range many {
		text := fmt.Sprintf("The policy of %s has %d bindings of %s for %s; the limit is %d.",
			at, same[of], of.role, of.member, maxSame)
		notes = append(notes, jit.Note{Principal: canonicalMember(of.member), Text: text})
	}
	return notes
}
