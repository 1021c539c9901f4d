// Package plan reads plans in JSON, as terraform show -json and tofu show -json write them.
package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"
	strict "sigs.k8s.io/json"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Plan is a plan of Terraform or OpenTofu. It holds what the file says in exactly the names that the CLI writes: a
// field in another case is one that this program does not know.
type Plan struct {
	FormatVersion    string `json:"format_version"`
	TerraformVersion string `json:"terraform_version"`
	// Errored: planning failed, and the plan holds a part of the changes. Complete is nil if the CLI does not say.
	Errored         bool        `json:"errored"`
	Complete        *bool       `json:"complete"`
	Applyable       *bool       `json:"applyable"`
	ResourceChanges []*Resource `json:"resource_changes"`
	ResourceDrift   []*Resource `json:"resource_drift"`
	DeferredChanges []*Deferred `json:"deferred_changes"`
	// Actions are invoked beside the changes of resources.
	Actions         []*Invocation      `json:"action_invocations"`
	DeferredActions []*json.RawMessage `json:"deferred_action_invocations"`
	Checks          []*Check           `json:"checks"`
	Configuration   json.RawMessage    `json:"configuration"`
	PriorState      json.RawMessage    `json:"prior_state"`
	PlannedValues   json.RawMessage    `json:"planned_values"`

	// These say nothing about access.
	Variables          json.RawMessage `json:"variables"`
	OutputChanges      json.RawMessage `json:"output_changes"`
	RelevantAttributes json.RawMessage `json:"relevant_attributes"`
	ProposedUnknown    json.RawMessage `json:"proposed_unknown"`
	Timestamp          string          `json:"timestamp"`

	// Unknown names the fields of the file that this program does not know.
	Unknown []string `json:"-"`
}

// Resource is a planned change of a resource, or a change that was found while refreshing.
type Resource struct {
	Address         string              `json:"address"`
	PreviousAddress string              `json:"previous_address"`
	ModuleAddress   string              `json:"module_address"`
	Mode            tfjson.ResourceMode `json:"mode"`
	Type            string              `json:"type"`
	Name            string              `json:"name"`
	Index           any                 `json:"index"`
	ProviderName    string              `json:"provider_name"`
	// DeposedKey is set for an object that a failed replacement left behind.
	DeposedKey   string  `json:"deposed"`
	Change       *Change `json:"change"`
	ActionReason string  `json:"action_reason"`
}

// Change is a change of an object.
type Change struct {
	Actions tfjson.Actions `json:"actions"`
	Before  any            `json:"before"`
	After   any            `json:"after"`
	// AfterUnknown, BeforeSensitive and AfterSensitive mark parts of the objects with true.
	AfterUnknown    any             `json:"after_unknown"`
	BeforeSensitive any             `json:"before_sensitive"`
	AfterSensitive  any             `json:"after_sensitive"`
	Importing       *map[string]any `json:"importing"`
	GeneratedConfig string          `json:"generated_config"`
	ReplacePaths    any             `json:"replace_paths"`
	BeforeIdentity  any             `json:"before_identity"`
	AfterIdentity   any             `json:"after_identity"`
}

// Deferred is a change that the plan puts off.
type Deferred struct {
	Reason   string    `json:"reason"`
	Resource *Resource `json:"resource_change"`
}

// Invocation is an action that an apply invokes.
type Invocation struct {
	Address      string          `json:"address"`
	Type         string          `json:"type"`
	Name         string          `json:"name"`
	ProviderName string          `json:"provider_name"`
	Values       json.RawMessage `json:"config_values"`
	Sensitive    json.RawMessage `json:"config_sensitive"`
	Unknown      json.RawMessage `json:"config_unknown"`
	Lifecycle    json.RawMessage `json:"lifecycle_action_trigger"`
	Invoke       json.RawMessage `json:"invoke_action_trigger"`
}

// Check is the result of a check block or of conditions.
type Check struct {
	Address struct {
		Display string `json:"to_display"`
	} `json:"address"`
	Status string `json:"status"`
}

// Major and Minor are the newest format of plans that this program knows. A newer minor version only adds fields.
const (
	Major = 1
	Minor = 2
)

// maxPlan bounds the file of a plan, in bytes.
const maxPlan = 1 << 30

const hint = "write it with: terraform show -json PLANFILE > plan.json"

// Load reads a file with the output of terraform show -json PLANFILE. attribute names the file in errors, which are
// [jit.ErrInvalid].
func Load(attribute, file string) (*Plan, error) {
	f, err := os.Open(file) // #nosec G304 -- the user names it
	if err != nil {
		return &Plan{}, jit.Invalid(attribute, hint, "the plan cannot be read: %v", err)
	}
	defer func() { _ = f.Close() }() // only read
	return Read(attribute, file, f)
}

// Read is [Load] for a text that is open already; name says in errors where it comes from.
func Read(attribute, name string, from io.Reader) (*Plan, error) {
	p := &Plan{}
	var text bytes.Buffer
	if f, is := from.(*os.File); is {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			text.Grow(int(min(info.Size(), maxPlan)) + bytes.MinRead)
		}
	}
	n, err := text.ReadFrom(io.LimitReader(from, maxPlan+1))
	if err == nil && n > maxPlan {
		err = fmt.Errorf("it has more than %d bytes", maxPlan)
	}
	if err != nil {
		return p, jit.Invalid(attribute, hint, "the plan cannot be read: %v", err)
	}
	if what := otherFile(text.Bytes()); what != "" {
		return p, jit.Invalid(attribute, hint, "%s is not a plan in JSON: %s", name, what)
	}
	if err := p.parse(text.Bytes()); err != nil {
		return p, jit.Invalid(attribute, hint, "%s is not a plan in JSON: %v", name, err)
	}
	if err := p.check(); err != nil {
		return p, jit.Invalid(attribute, err.Hint, "%s %s", name, err.Problem)
	}
	return p, nil
}

// otherFile says what a text is that cannot be JSON of a plan; empty if it may be.
func otherFile(text []byte) string {
	text = bytes.TrimSpace(text)
	switch {
	case len(text) == 0:
		return "it is empty"
	case bytes.HasPrefix(text, []byte("PK")):
		return "it is the plan itself, which only the CLI can read"
	case text[0] != '{':
		return "it does not begin with {"
	}
	return ""
}

// maxStrict is how many faults the decoder tells.
const maxStrict = 100

// parse reads JSON. A name that appears twice in one object is an error: which of the two counts would be for each
// reader to choose.
func (p *Plan) parse(text []byte) error {
	faults, err := strict.UnmarshalStrict(text, p)
	if err != nil {
		return err
	}
	for _, fault := range faults {
		at, unknown := strings.CutPrefix(fault.Error(), "unknown field ")
		if !unknown || len(faults) >= maxStrict {
			return fault
		}
		if at, err = strconv.Unquote(at); err != nil {
			return fault
		}
		p.Unknown = append(p.Unknown, at)
	}
	return nil
}

// check refuses what is no plan, and formats whose fields may mean something else.
func (p *Plan) check() *jit.Error {
	isPlan := p.PlannedValues != nil || len(p.ResourceChanges) > 0
	var major, minor int
	_, err := fmt.Sscanf(p.FormatVersion, "%d.%d", &major, &minor)
	switch {
	case p.FormatVersion != "" && (err != nil || major != Major):
		return &jit.Error{Hint: "use a version of Terraform or OpenTofu, and of jit, that share a format",
			Problem: fmt.Sprintf("has the format %q, and this program reads %d.0 to %d.%d", p.FormatVersion, Major,
				Major, Minor)}
	case !isPlan:
		return &jit.Error{Hint: hint, Problem: "holds no plan; a state, which terraform show -json prints without " +
			"PLANFILE, " +
			"is none, and the output of terraform plan -json is none"}
	case p.FormatVersion == "":
		return &jit.Error{Hint: hint, Problem: "holds a plan without format_version"}
	case slices.Contains(p.ResourceChanges, nil), slices.Contains(p.ResourceDrift, nil),
		slices.Contains(p.DeferredChanges, nil), slices.Contains(p.Actions, nil),
		slices.Contains(p.DeferredActions, nil), slices.Contains(p.Checks, nil):
		return &jit.Error{Hint: hint, Problem: "has null in the place of a change, a check or an action"}
	}
	return nil
}

// NewerFormat reports whether the format is newer than this program.
func (p *Plan) NewerFormat() bool {
	_, after, _ := strings.Cut(p.FormatVersion, ".")
	minor, err := strconv.Atoi(after)
	return err != nil || minor > Minor
}

// Stated returns the resources of a type in the state before the plan: their values and the marks of those that are
// sensitive.
func (p *Plan) Stated(resourceType string) (found []Stated, err error) {
	var state struct {
		Values struct {
			Root module `json:"root_module"`
		} `json:"values"`
	}
	if len(p.PriorState) == 0 {
		return nil, nil
	}
	faults, err := strict.UnmarshalStrict(p.PriorState, &state, strict.DisallowDuplicateFields)
	if err = errors.Join(append(faults, err)...); err != nil {
		return nil, fmt.Errorf("the state before the plan: %w", err)
	}
	return state.Values.Root.of(resourceType, nil), nil
}

// Stated is a resource in a state.
type Stated struct {
	Address   string              `json:"address"`
	Mode      tfjson.ResourceMode `json:"mode"`
	Type      string              `json:"type"`
	Values    map[string]any      `json:"values"`
	Sensitive any                 `json:"sensitive_values"`
}

type module struct {
	Resources []Stated `json:"resources"`
	Children  []module `json:"child_modules"`
}

func (m module) of(resourceType string, found []Stated) []Stated {
	for _, r := range m.Resources {
		if r.Mode == tfjson.ManagedResourceMode && r.Type == resourceType {
			found = append(found, r)
		}
	}
	for _, c := range m.Children {
		found = c.of(resourceType, found)
	}
	return found
}
