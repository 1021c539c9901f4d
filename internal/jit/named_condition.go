package jit

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// And joins the named conditions of a role: "X if mfa and source-ip=203.0.113.0/24".
const And = " and "

// The names of conditions.
const (
	MFA            = "mfa"
	SourceIdentity = "source-identity"
	SourceIP       = "source-ip"
)

// Condition is one named condition on a role. A condition only takes away: without it the role gives more.
type Condition struct {
	Name string
	// Values are alternatives, in canonical form and order; none for a condition that takes no value.
	Values []string
}

// String writes the condition in canonical form.
func (c Condition) String() string {
	if len(c.Values) == 0 {
		return c.Name
	}
	return c.Name + "=" + strings.Join(c.Values, ",")
}

// conditionKinds are the known conditions, in canonical order: an example, and what reads a value.
var conditionKinds = []struct {
	name, example string
	values        func(string) ([]string, error)
}{
	{MFA, MFA, nil},
	{SourceIdentity, SourceIdentity + "=alice", identities},
	{SourceIP, SourceIP + "=203.0.113.0/24", networks},
}

// ParseConditions reads the named conditions that follow the word if, in any order and spelling, and returns them in
// canonical form and order. Its errors name the role and the known conditions.
func ParseConditions(text string) ([]Condition, error) {
	byName := map[string]Condition{}
	for _, part := range conjunction.Split(strings.TrimSpace(text), -1) {
		c, err := parseCondition(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		if other, twice := byName[c.Name]; twice && other.String() != c.String() {
			return nil, Invalid("role", "write it once; several networks are separated by commas",
				"the role has two conditions of one name, %q and %q", other, c)
		}
		byName[c.Name] = c
	}
	var all []Condition
	for _, kind := range conditionKinds {
		if c, ok := byName[kind.name]; ok {
			all = append(all, c)
		}
	}
	return all, nil
}

// conjunction is what stands between two conditions.
var conjunction = regexp.MustCompile(`(?i)\s+and\s+`)

func parseCondition(text string) (c Condition, err error) {
	name, value, valued := strings.Cut(text, "=")
	c.Name = conditionName(name)
	for _, kind := range conditionKinds {
		switch {
		case kind.name != c.Name:
		case kind.values == nil && valued:
			return c, Invalid("role", fmt.Sprintf("write %q", kind.name), "the condition %q takes no value", text)
		case kind.values != nil:
			c.Values, err = kind.values(strings.TrimSpace(value))
			return c, err
		default:
			return c, nil
		}
	}
	return c, Invalid("role", "the known conditions are "+knownConditions()+", joined by \" and \"",
		"%q is not a condition", text)
}

// conditionName returns the canonical spelling of the name of a condition.
func conditionName(name string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), "_", "-")
}

func knownConditions() string {
	examples := make([]string, len(conditionKinds))
	for i, kind := range conditionKinds {
		examples[i] = fmt.Sprintf("%q", kind.example)
	}
	return strings.Join(examples, ", ")
}

// identityForm is a source identity: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
var identityForm = regexp.MustCompile(`^[\w+=.@-]{2,64}$`)

func identities(value string) ([]string, error) {
	if strings.Contains(value, ",") { // AWS takes it for a part of one name, and nobody means that
		return nil, Invalid("role", "write one source identity; for another, add a grant",
			"%q has a comma, which does not separate source identities", value)
	}
	if !identityForm.MatchString(value) {
		return nil, Invalid("role", `write for example "source-identity=alice"`,
			"%q is not a source identity: 2 to 64 letters, digits and _+=.@-", value)
	}
	return []string{value}, nil
}

// networks reads a list of networks or addresses, and returns it in its shortest form.
func networks(value string) ([]string, error) {
	all, err := parseNetworks(value)
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(all))
	for i, n := range all {
		if n.Bits() == 0 {
			return nil, Invalid("role", "name the networks that people work from, or leave the condition out",
				"the networks %q are every address, so the condition demands nothing", value)
		}
		texts[i] = n.String()
	}
	return texts, nil
}

// parseNetworks reads networks and addresses, separated by commas, and merges them: see [merged].
func parseNetworks(value string) (all []netip.Prefix, err error) {
	for part := range strings.SplitSeq(value, ",") {
		part = strings.TrimSpace(part)
		n, err := netip.ParsePrefix(part)
		if err != nil {
			address, wrong := netip.ParseAddr(part)
			if wrong != nil || address.Zone() != "" {
				return nil, Invalid("role", `write for example "source-ip=203.0.113.0/24" or "source-ip=203.0.113.7"`,
					"%q is not a network or an address", part)
			}
			n = netip.PrefixFrom(address, address.BitLen())
		}
		if n.Addr().Is4In6() {
			return nil, Invalid("role", "write the IPv4 network itself", "%q is IPv4 written as IPv6", part)
		}
		all = append(all, n.Masked())
	}
	return merged(all), nil
}

// merged returns the same addresses in as few networks as possible, in order.
func merged(all []netip.Prefix) []netip.Prefix {
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		if byAddress := a.Addr().Compare(b.Addr()); byAddress != 0 {
			return byAddress
		}
		return a.Bits() - b.Bits()
	})
	var kept []netip.Prefix
	for _, n := range all {
		for len(kept) > 0 {
			both, ok := joined(kept[len(kept)-1], n)
			if !ok {
				break
			}
			n, kept = both, kept[:len(kept)-1]
		}
		kept = append(kept, n)
	}
	return kept
}

// joined returns the one network that has exactly the addresses of two, of which a comes first; ok is false if there is
// none.
func joined(a, b netip.Prefix) (both netip.Prefix, ok bool) {
	switch {
	case inside(b, a):
		return a, true
	case a.Bits() > 0 && a.Bits() == b.Bits():
		both = netip.PrefixFrom(a.Addr(), a.Bits()-1).Masked()
		return both, inside(b, both)
	}
	return a, false
}

// inside reports whether every address of a is one of b.
func inside(a, b netip.Prefix) bool { return a.Bits() >= b.Bits() && b.Contains(a.Addr()) }

// Demand is a condition that an entry of a policy demands. The zero value is met by nothing.
type Demand struct {
	any      bool
	name     string
	value    Glob           // of a source identity
	networks []netip.Prefix // of a source IP; none for any
}

// ParseDemand reads a demand: a condition, a source identity with wildcards, a name with the value *, or * for any
// condition. What is none of these is met by nothing.
func ParseDemand(text string) Demand {
	if strings.TrimSpace(text) == "*" {
		return Demand{any: true}
	}
	name, value, valued := strings.Cut(text, "=")
	d := Demand{name: conditionName(name)}
	value = strings.TrimSpace(value)
	var err error
	switch {
	case d.name == MFA && !valued:
	case d.name == SourceIdentity:
		d.value, err = ParseGlob("roles", value)
	case d.name == SourceIP && value != "*":
		d.networks, err = parseNetworks(value)
	case d.name == SourceIP:
	default:
		return Demand{}
	}
	if err != nil {
		return Demand{}
	}
	return d
}

// Met reports whether one of the conditions takes away at least as much as the demand.
func (d Demand) Met(all []Condition) bool {
	return slices.ContainsFunc(all, func(c Condition) bool {
		return d.any || c.Name == d.name && !slices.ContainsFunc(c.Values, func(v string) bool { return !d.admits(v) })
	})
}

// admits reports whether a value of a condition of the demand's name lies within the demand.
func (d Demand) admits(value string) bool {
	if d.name != SourceIP {
		return d.value.Match(value)
	}
	n, err := netip.ParsePrefix(value)
	return err == nil && (len(d.networks) == 0 ||
		slices.ContainsFunc(d.networks, func(wide netip.Prefix) bool { return inside(n, wide) }))
}
