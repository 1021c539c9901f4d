package request

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Desk judges requests for a folder of configuration: by the ledger, overlaid with the policies and persons that the
// folder says literally. It calls no target, and writes nothing into the ledger.
type Desk struct {
	Broker *broker.Broker
	// Silence keeps the targets of the broker from being called.
	Silence *broker.Silence
	// Dir is the folder.
	Dir string
	// Notes say what the judgment could not take into account.
	Notes []string
	// Policies and Persons are those of the ledger and the folder, policies in their most permissive reading.
	Policies []jit.Policy
	Persons  []jit.Person

	folder *hcledit.Folder
	grants []placed
	// incomplete are the policies of the folder that are not literal; incompletePersons: it has such persons.
	incomplete        []jit.Policy
	incompletePersons bool
	// recorded are the policies of the ledger by name, own those of the folder.
	recorded map[string]jit.Policy
	own      map[string]ownPolicy
	// persons are the persons of the folder, without its policies.
	persons *broker.Planned
	// open are the blocks of grants whose id is not literal.
	open []hcledit.Block
}

// placed is a literal block of a grant.
type placed struct {
	hcledit.Block
	asked Asked
	grant jit.Grant
	// others: the block has further values that are not literal.
	others []string
}

// Open completes a desk whose Broker, Silence and Dir are set.
func (d *Desk) Open(ctx context.Context) error {
	folder, err := hcledit.Read(d.Dir)
	if err != nil {
		return fmt.Errorf("read the configuration in %s: %w", d.Dir, err)
	}
	d.folder, d.recorded, d.own = folder, map[string]jit.Policy{}, map[string]ownPolicy{}
	d.persons = &broker.Planned{}
	d.noteUnread()
	for _, b := range folder.Blocks {
		switch err = nil; b.Type {
		case grantType:
			d.addGrant(b)
		case policyType:
			err = d.addPolicy(b)
		case "jit_person":
			err = d.addPerson(b)
		}
		if err != nil {
			return fmt.Errorf("%s: %s: %w", at(b), b.Address(), err)
		}
	}
	if err := d.addEntries(); err != nil {
		return err
	}
	recorded, err := d.Broker.Ledger.Policies(ctx)
	if err != nil {
		return fmt.Errorf("read the policies of the ledger: %w", err)
	}
	for _, p := range recorded {
		d.recorded[p.Name] = p
	}
	d.Policies = d.Broker.Planned.Overlay(recorded)
	persons, err := d.Broker.Ledger.Persons(ctx)
	if err != nil {
		return fmt.Errorf("read the persons of the ledger: %w", err)
	}
	id, err := d.Broker.Ledger.ID(ctx)
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	if id == "" {
		d.note("there is no ledger yet, so only the policies and persons of the configuration count")
	}
	if filepath.Clean(d.Dir) != "." {
		d.note("relative paths in jit.hcl start in the working directory; run jit and Terraform in the same one")
	}
	d.Policies = append(d.Policies, d.incomplete...)
	d.Persons = d.Broker.Planned.Persons(persons)
	return nil
}

func (d *Desk) note(format string, args ...any) {
	d.Notes = append(d.Notes, fmt.Sprintf(format, args...))
}

// noteUnread notes what jit does not read.
func (d *Desk) noteUnread() {
	for _, why := range d.folder.Unread {
		d.note("not read: %s", why)
	}
	if len(d.folder.Modules) > 0 {
		d.note("jit does not read the policies and persons in modules: %s", strings.Join(d.folder.Modules, ", "))
	}
}

// identity are the attributes that make the id of a grant. The provider has the owner.
var identity = []string{"provider", "target", "principal", "role", "scope", "reason", "renewal"}

// addGrant notes a block of a grant, with its id if that is literal.
func (d *Desk) addGrant(b hcledit.Block) {
	asked, err := askedOf(b.Literals)
	r, wrong := asked.Request()
	if b.Repeated || err != nil || wrong != nil || slices.ContainsFunc(identity, func(name string) bool {
		return slices.Contains(b.Others, name)
	}) {
		d.open = append(d.open, b)
		return
	}
	g, _, err := d.Broker.Check(r)
	if err != nil {
		d.open = append(d.open, b)
		return
	}
	d.grants = append(d.grants, placed{b, asked, g, b.Others})
}

// askedOf reads the literal attributes of a block.
func askedOf(literals map[string]cty.Value) (a Asked, err error) {
	for _, f := range a.fields() {
		v, has := literals[f.name]
		switch {
		case !has || v.IsNull():
		case f.text != nil && v.Type() == cty.String:
			*f.text = v.AsString()
		case f.yes != nil && v.Type() == cty.Bool:
			*f.yes = v.True()
		default:
			return a, fmt.Errorf("%s is a %s", f.name, v.Type().FriendlyName())
		}
	}
	if v, has := literals["renewal"]; has && !v.IsNull() {
		if v.Type() != cty.Number || !v.AsBigFloat().IsInt() {
			return a, errors.New("renewal is not a whole number")
		}
		a.Renewal, _ = v.AsBigFloat().Int64()
	}
	return a, nil
}

// Folder returns the configuration as it was read.
func (d *Desk) Folder() *hcledit.Folder { return d.folder }

// at names the place of a block.
func at(b hcledit.Block) string { return fmt.Sprintf("%s:%d", b.File, b.Line) }

// Verdict is what becomes of a request.
type Verdict struct {
	Asked Asked
	// Decision is the broker's. Refusal, if not nil, is the error that refuses the request instead.
	Decision broker.Decision
	Refusal  error
	// Granted: the grant is live already.
	Granted bool
	// Nearest is the form of a refused request that passes and changes the least; nil if none is known.
	Nearest *Nearest

	// first is the policy that the file must name, because the apply records the first policy of the ledger too.
	first string
	// preview judges once more.
	preview func() (broker.Decision, error)
}

// Outcome returns what the verdict says.
func (v Verdict) Outcome() jit.Outcome {
	switch {
	case v.Refusal != nil:
		return jit.Refused
	case v.Granted:
		return jit.Permitted
	}
	return v.Decision.Verdict.Outcome
}

// Rule returns the deciding rule in words.
func (v Verdict) Rule() string {
	if v.Refusal != nil {
		return v.Refusal.Error()
	}
	return v.Decision.Verdict.Rule
}

// Judge judges a new request. The error says why it could not be judged; a refusal is in the verdict.
func (d *Desk) Judge(ctx context.Context, a Asked) (Verdict, error) {
	v, err := d.judgeOnce(ctx, a)
	if err == nil && v.Refusal != nil && !v.Decision.Met {
		v.Nearest, err = d.nearest(ctx, a, v)
	}
	if err == nil {
		err = d.settle(v)
	}
	return v, err
}

func (d *Desk) judgeOnce(ctx context.Context, a Asked) (Verdict, error) {
	r, err := a.Request()
	if err != nil {
		return Verdict{Asked: a, Refusal: err}, nil //nolint:nilerr // it is the verdict
	}
	v, err := d.decided(a, func() (broker.Decision, error) { return d.Broker.Preview(ctx, r, false) })
	if err != nil || v.Refusal != nil {
		return v, err
	}
	switch g := v.Decision.Grant; {
	case v.Decision.Over:
		v.Refusal = d.over(g)
	case v.Decision.Met && !lasts(g, r):
		v.Refusal = jit.Errorf(jit.ErrDenied, "", "to change how long it lasts, write jit request --extend "+string(g.ID)+
			" --ttl …; to ask for more, give another reason",
			"the same access is granted for the same reason already, for another time: until %s", jit.FormatTime(g.End))
	}
	v.Granted = v.Decision.Met && v.Refusal == nil
	d.checkRequester(&v)
	return v, nil
}

// decided runs a preview: with the best answers of targets that are not asked, and if that is refused, with none.
func (d *Desk) decided(a Asked, preview func() (broker.Decision, error)) (Verdict, error) {
	decision, err := preview()
	if errors.Is(err, jit.ErrDenied) && d.Silence.LeftOut(a.Target) {
		d.Silence.Doubt(true)
		decision, err = preview()
		d.Silence.Doubt(false)
	}
	v := Verdict{Asked: a, Decision: decision, preview: preview}
	if err != nil && refuses(err) {
		v.Refusal, err = d.renewing(a, err), nil
	}
	if len(d.recorded) == 0 && d.Broker.Planned.MayWait() {
		v.first = decision.Verdict.Policy
	}
	if err == nil && d.Silence.LeftOut(a.Target) {
		d.noteOnce(
			fmt.Sprintf("jit did not ask target %q. Only the target knows some names and limits, so the plan can "+
				"still refuse the request or ask for approval", a.Target),
		)
	}
	return v, err
}

// lasts reports whether a grant lasts as long as a request asks for.
func lasts(g jit.Grant, r broker.Request) bool {
	if r.TTL.IsZero() {
		return g.End.Equal(r.ExpiresAt)
	}
	return g.Length() == r.TTL.Length()
}

func (d *Desk) noteOnce(text string) {
	if !slices.Contains(d.Notes, text) {
		d.Notes = append(d.Notes, text)
	}
}

// refuses reports whether an error refuses a request. Others say that it could not be judged.
func refuses(err error) bool {
	for _, kind := range []error{jit.ErrInvalid, jit.ErrDenied, jit.ErrOver, jit.ErrUnknown} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// over is the refusal of a request whose grant has ended.
func (d *Desk) over(g jit.Grant) error {
	return jit.Errorf(jit.ErrOver, "renewal", "ask for it again with jit request --renew "+string(g.ID),
		"the same access was granted for the same reason before, and ended at %s", jit.FormatTime(g.ActualEnd()))
}

// renewing makes the hint of a refusal that asks for another renewal one for the command line.
func (d *Desk) renewing(a Asked, refusal error) error {
	wrong := (*jit.Error)(nil)
	if !errors.Is(refusal, jit.ErrOver) || !errors.As(refusal, &wrong) {
		return refusal
	}
	r, err := a.Request()
	if g, _, unclear := d.Broker.Check(r); err == nil && unclear == nil {
		hinted := *wrong
		hinted.Hint = "ask for it again with jit request --renew " + string(g.ID)
		return &hinted
	}
	return refusal
}

// checkRequester refuses a requester who is none of the known persons, as a plan does.
func (d *Desk) checkRequester(v *Verdict) {
	name := v.Asked.Requester
	if name == "" || len(d.Persons) == 0 || d.incompletePersons || d.named(name) != nil {
		return
	}
	names := make([]string, len(d.Persons))
	for i, p := range d.Persons {
		names[i] = p.Name
	}
	v.Refusal = jit.Errorf(jit.ErrUnknown, "requester", "write one of "+strings.Join(names, ", "),
		"no person %q is known", name)
}

// named returns the known person of that name; nil if there is none.
func (d *Desk) named(name string) *jit.Person {
	i := slices.IndexFunc(d.Persons, func(p jit.Person) bool { return jit.SameName(p.Name, name) })
	if i < 0 {
		return nil
	}
	return &d.Persons[i]
}
