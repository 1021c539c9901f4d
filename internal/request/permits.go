package request

import (
	"maps"
	"slices"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Permit is what one entry of a policy's match says about a person on one target.
type Permit struct {
	Target   string `json:"target"`
	Platform string `json:"platform"`
	Policy   string `json:"policy"`
	// Effect is permit or forbid.
	Effect jit.Effect `json:"effect"`
	// Roles and Scopes are globs; an empty list means all.
	Roles  []string `json:"roles,omitempty"`
	Scopes []string `json:"scopes,omitempty"`
	// MaxTTL is the longest grant; empty in a forbid.
	MaxTTL        string            `json:"max_ttl,omitempty"`
	ReasonPattern string            `json:"reason_pattern,omitempty"`
	Enforcement   string            `json:"enforcement,omitempty"`
	Condition     string            `json:"condition,omitempty"`
	Approval      []jit.Requirement `json:"approval,omitempty"`
	// Command asks for the access, where the policy names a role without wildcards.
	Command string `json:"command,omitempty"`
}

// Permits lists what the policies say about a principal, on the targets that are wanted. An empty principal is that of
// the requester of a. With no policy at all, all is permitted.
func (d *Desk) Permits(a Asked, wanted func(target string) bool) (all []Permit) {
	policies := d.Policies
	if len(policies) == 0 {
		policies = []jit.Policy{{Effect: jit.Permit}}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Broker.Targets)) {
		if !wanted(name) {
			continue
		}
		kind := d.Broker.Targets[name].Kind()
		for _, p := range policies {
			for _, m := range p.Match.Entries() {
				if matches(m.Targets, name) && matches(m.Platforms, kind) && matches(m.Owners, d.Broker.Owner) &&
					d.means(m.Principals, name, a) {
					all = append(all, d.permit(p, m, name, kind, a))
				}
			}
		}
	}
	return all
}

// means reports whether a list of principals matches one of those that ask. With nobody known, every list does.
func (d *Desk) means(patterns []string, target string, a Asked) bool {
	names := []string{a.Principal}
	if a.Principal == "" {
		person := d.named(a.Requester)
		if person == nil {
			return true
		}
		names = d.acceptedOf(*person, Asked{Target: target})
	}
	return slices.ContainsFunc(names, func(name string) bool {
		binding, traits, err := d.Broker.Targets[target].Check(jit.Binding{Target: target, Principal: name})
		return matches(patterns, name) || err == nil && (matches(patterns, binding.Principal) ||
			traits.PrincipalName != "" && matches(patterns, traits.PrincipalName))
	})
}

func (d *Desk) permit(p jit.Policy, m jit.Match, target, kind string, a Asked) Permit {
	l := Permit{
		Target:    target,
		Platform:  kind,
		Policy:    p.Name,
		Effect:    p.Effect,
		Roles:     m.Roles,
		Scopes:    m.Scopes,
		Condition: p.Condition,
	}
	if p.Effect != jit.Permit {
		return l
	}
	most := d.Broker.MaxTTL
	if p.MaxTTL > 0 {
		most = min(most, p.MaxTTL)
	}
	l.MaxTTL, l.ReasonPattern, l.Approval, l.Enforcement = jit.FormatDuration(most), p.ReasonPattern, p.Approval, "any"
	if p.NativeOnly {
		l.Enforcement = string(jit.Native)
	}
	if roles := literals(m.Roles); len(roles) > 0 {
		ask := Asked{Target: target, Role: roles[0], Principal: a.Principal, TTL: l.MaxTTL, Reason: "why"}
		if scopes := literals(m.Scopes); len(scopes) > 0 {
			ask.Scope = scopes[0]
		}
		if fits := fit(p.ReasonPattern, ask.Reason); fits != "" {
			ask.Reason = fits
		}
		l.Command = ask.Command(Asked{})
	}
	return l
}

// Roles returns the roles that policies name without wildcards on a target.
func (d *Desk) Roles(target string) (names []string) {
	return d.literalsOn(target, func(m jit.Match) []string { return m.Roles })
}

// Scopes returns the scopes that policies name without wildcards on a target.
func (d *Desk) Scopes(target string) (names []string) {
	return d.literalsOn(target, func(m jit.Match) []string { return m.Scopes })
}

func (d *Desk) literalsOn(target string, list func(jit.Match) []string) (names []string) {
	platform, known := d.Broker.Targets[target]
	for _, p := range d.Policies {
		for _, m := range p.Match.Entries() {
			if p.Effect == jit.Permit && known && matches(m.Targets, target) && matches(m.Platforms, platform.Kind()) {
				names = append(names, literals(list(m))...)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
