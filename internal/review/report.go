// Package review says what a person must decide about a plan: which grants it begins, which access without an end it
// gives, and which rules it loosens.
package review

import (
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/catalog"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Outcome is what a plan leaves to decide. The larger one is worse.
type Outcome int

// The outcomes.
const (
	// Nothing is to be decided: a policy, with the people that it asks, has decided on every grant; the plan gives no other
	// access, and loosens no rule.
	Nothing Outcome = iota
	// Decide: a person must decide.
	Decide
	// Refused: an apply refuses a part of the plan.
	Refused
)

// Action is what a plan does with a resource.
type Action string

// The actions. A grant that is recreated under another address is moved.
const (
	Create  Action = "create"
	Change  Action = "change"
	Replace Action = "replace"
	Destroy Action = "destroy"
	Import  Action = "import"
	Move    Action = "move"
	Forget  Action = "forget"
)

// Report is what a reviewer decides on. All of its texts are as people wrote them: a renderer must escape them. It
// holds no sensitive value. Every list has the worst first.
type Report struct {
	Outcome Outcome
	// Doubts say why the report may not be complete: the plan is errored, incomplete or deferred, has a format that this
	// program does not know, or cannot be judged in full. With a doubt, the outcome is never Nothing.
	Doubts []string
	// Notes say what was not looked at. They leave the outcome as it is.
	Notes []string
	// Grants are the grants that begin, change or end.
	Grants []Grant
	// Access is the access that resources of other providers give or take, and their guards.
	Access []Access
	// Rules are the changes of rules: of policies, persons and the provider block.
	Rules []Rule
	// Commands are the exact commands that decide, such as "jit approve --plan plan.json".
	Commands []string
	// Others counts the planned changes that are about no access.
	Others int
}

// Text is a value of a plan.
type Text = catalog.Value

// Grant is a change of a jit_grant.
type Grant struct {
	Address string
	Action  Action
	// ID and Digest are empty while unknown.
	ID, Digest                                        string
	Target, Principal, Role, Scope, Reason, Requester Text
	// Length is the length of the window, such as "2h"; Ends the end, in RFC 3339. One of them is set or unknown.
	Length, Ends Text
	// Starts and StartBy are RFC 3339; their text is empty where they were not asked for.
	Starts, StartBy Text
	Renewal         int64
	// Enforcement says who ends the access: native or sweeper; empty while unknown. SessionTail is "0s", "unlimited" or a
	// duration.
	Enforcement, SessionTail      string
	BreakGlass, TerminateSessions bool
	// Changes are the attributes that an update or a replacement alters.
	Changes []Difference
	// Drift says what a read found wrong and the apply repairs; empty if nothing.
	Drift string
	// Judged: the policies have judged the grant, and Verdict holds their decision. Otherwise Refusal or a doubt of the
	// report says why not.
	Judged  bool
	Verdict jit.Verdict
	// Refusal says why an apply refuses the grant, and Hint what to write instead.
	Refusal, Hint string
	Warnings      []broker.Warning
	// Awaits says whose approval is still missing; empty if nobody's.
	Awaits string
	// Outcome is that of this grant.
	Outcome Outcome
}

// Difference is an attribute that a change alters.
type Difference struct {
	Name          string
	Before, After Text
}

// Access is access that a resource of another provider gives, takes or leaves, or a guard that a plan adds or removes.
type Access struct {
	Address, Type string
	Action        Action
	// Gives: the plan adds the access, or leaves it in place without its block. Otherwise it takes it away.
	Gives bool
	// Stays: the plan neither adds the access nor takes it away. Terraform adopts it, or it has a new address.
	Stays bool
	catalog.Access
	Outcome Outcome
}

// Rule is a change of what is permitted.
type Rule struct {
	Address string
	Action  Action
	// Loosens: more is permitted than before, or perhaps more.
	Loosens bool
	// What says in words what changes, such as "max_ttl of policy prod grows from 4h to 8h".
	What    string
	Outcome Outcome
}
