package jit

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"time"
)

// Effect is what a policy does with the grants it matches.
type Effect string

// The two effects.
const (
	Permit Effect = "permit"
	Forbid Effect = "forbid"
)

// Policy says which grants are permitted or forbidden. The zero value of every
// limit means no limit.
type Policy struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Effect      Effect `json:"effect"`
	// Match covers a grant that one of its entries matches.
	Match Matches `json:"match"`
	// MaxTTL is the maximum length of the window.
	MaxTTL time.Duration `json:"max_ttl,omitempty"`
	// ReasonPattern is an RE2 expression that must match some part of the reason.
	ReasonPattern string `json:"reason_pattern,omitempty"`
	// NativeOnly refuses grants that only a sweeper can end. SweeperAccepted is set if the policy permits them
	// explicitly.
	NativeOnly      bool `json:"native_only,omitempty"`
	SweeperAccepted bool `json:"sweeper_accepted,omitempty"`
	// MaxSessionTail bounds the session tail; zero means that none may remain. [Unlimited] accepts every tail, and nil
	// too, but then a plan warns.
	MaxSessionTail *time.Duration `json:"max_session_tail,omitempty"`
	// Condition is a CEL expression over the grant and its requester; empty means true.
	Condition string `json:"condition,omitempty"`
	// Approval lists who has to approve a grant before it begins; every entry counts.
	Approval []Requirement `json:"approval,omitempty"`
	// BreakGlass, if set, lets some people begin without approval.
	BreakGlass *BreakGlass `json:"break_glass,omitempty"`

	// Holder counts the owners of the policy in configurations, as that of a [Grant] does: only
	// the newest holder's removal removes it. It is the broker's to fill in.
	Holder int64 `json:"holder,omitempty"`
}

// Matches are the entries of a policy's match: one of them has to match. Without entries it matches every grant, as
// one entry without lists does.
type Matches []Match

// Entries returns the entries. It returns at least one.
func (m Matches) Entries() []Match {
	if len(m) == 0 {
		return []Match{{}}
	}
	return m
}

// UnmarshalJSON reads a list of entries. Older programs wrote one object; it is read as a list of one. A list without
// entries is refused: no program writes one, and it would match nothing.
func (m *Matches) UnmarshalJSON(text []byte) error {
	if text = bytes.TrimSpace(text); len(text) > 0 && text[0] == '{' {
		*m = Matches{{}}
		return json.Unmarshal(text, &(*m)[0])
	}
	var all []Match
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	if all != nil && len(all) == 0 {
		return errors.New("the match has no entry")
	}
	*m = all
	return nil
}

// Match holds lists of globs. All lists must match: an empty list always does, another one if one of its globs does.
type Match struct {
	Targets    []string `json:"targets,omitempty"`
	Platforms  []string `json:"platforms,omitempty"`
	Owners     []string `json:"owners,omitempty"`
	Principals []string `json:"principals,omitempty"`
	Roles      []string `json:"roles,omitempty"`
	Scopes     []string `json:"scopes,omitempty"`
}

var policyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// CheckPolicyName accepts 1 to 63 letters, digits, dots, hyphens and underscores.
func CheckPolicyName(name string) error {
	if !policyName.MatchString(name) {
		return Invalid("name", `write for example name = "prod-oncall"`, "%q is not a policy name; "+
			"it takes 1 to 63 letters, digits, dots, hyphens and underscores, and begins with a letter or digit", name)
	}
	return nil
}

// Outcome is what a verdict says about a grant. The zero value refuses.
type Outcome int

// The three outcomes.
const (
	// Refused: a policy forbids the grant, or none permits it.
	Refused Outcome = iota
	// NeedsApproval: the grant may begin when people have approved it.
	NeedsApproval
	// Permitted: the grant may begin at once.
	Permitted
)

// String names the outcome as events and people read it.
func (o Outcome) String() string { return [...]string{"refused", "needs approval", "permitted"}[o] }

// Verdict is the decision of the policies on a grant.
type Verdict struct {
	Outcome Outcome
	// Policy is the name of the deciding policy; empty when none governs.
	Policy string
	// Rule is the deciding rule, in words for the user.
	Rule string
	// Attribute is the attribute to blame unless the grant is permitted; it may be empty.
	Attribute string
	// Asked is what the policy asks for; its Approval is empty unless the grant needs approval.
	Asked
	// BrokeGlass: the grant may begin at once because it breaks the glass. Approval then lists what it skips.
	BrokeGlass bool
	// SweeperAccepted and TailAccepted: the permitting policy sets enforcement, or max_session_tail, so neither needs
	// a warning.
	SweeperAccepted, TailAccepted bool
}

// Permitted reports whether the grant may begin at once.
func (v Verdict) Permitted() bool { return v.Outcome == Permitted }
