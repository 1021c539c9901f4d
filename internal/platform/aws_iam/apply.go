package awsiam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Apply reads the account once. Each change of a principal is then one write, and all changes of one role's trust
// policy are one write. Writes to different entities run side by side.
//
// A policy with the name of a grant is ours, whatever it says: it is corrected or removed. On a principal other than
// the grant's it is a copy and is removed. A removal that knows its principal deletes without trusting the read, which
// may be too old to show the policy. A removal is done once a later read shows no access of the grant.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	c, a, err := p.open(ctx, scope, true)
	if err != nil {
		return slices.Repeat([]error{err}, len(changes))
	}
	run := p.applyTo(c, a, scope)
	grants := make([]*grant, len(changes))
	for i, c := range changes {
		grants[i] = run.grant(c)
	}
	run.carryOut(ctx, grants)
	run.confirm(ctx, grants)
	run.clean(ctx)
	errs := make([]error, len(grants))
	for i, g := range grants {
		errs[i] = g.outcome
	}
	return errs
}

// applyTo begins to change an account as it was read.
func (p *Platform) applyTo(c *client, a *account, scope string) *application {
	return &application{platform: p, client: c, account: a, scope: scope, bearers: a.bearers(), edits: map[arn][]edit{}}
}

// application is one call of Apply.
type application struct {
	platform *Platform
	client   *client
	account  *account
	scope    string

	// bearers are the entities that have an inline policy or a trust statement of a grant, by its name or Sid.
	bearers map[string][]*entity

	mu    sync.Mutex
	edits map[arn][]edit // of trust policies, by role
}

// grant is one change of one grant.
type grant struct {
	change jit.Change
	marker jit.Marker
	access access // zero if a removal does not name it
	// found: the account had something of the grant.
	found   bool
	outcome error
}

// known reports whether the grant's access is known.
func (g *grant) known() bool { return g.access.principal.text != "" }

// carryOut makes the changes that have no outcome yet.
func (a *application) carryOut(ctx context.Context, grants []*grant) {
	lanes := map[string][]*grant{} // by principal; "" for a removal that does not name it
	for _, g := range grants {
		if g.outcome == nil {
			lanes[g.access.principal.text] = append(lanes[g.access.principal.text], g)
		}
	}
	each(maps.Values(lanes), func(lane []*grant) {
		for _, g := range lane {
			g.outcome = a.onPrincipal(ctx, g)
		}
	})
	each(maps.Keys(a.edits), func(role arn) { a.editTrust(ctx, role, a.edits[role]) })
	each(slices.Values(grants), func(g *grant) {
		if g.change.Op == jit.Remove && (g.outcome == nil || errors.Is(g.outcome, jit.ErrRemains)) {
			g.outcome = errors.Join(a.endSessions(ctx, g), g.outcome)
		}
	})
}

// each calls do for all values, a few at a time.
func each[T any](values iter.Seq[T], do func(T)) {
	var work errgroup.Group
	work.SetLimit(parallel)
	for v := range values {
		work.Go(func() error { do(v); return nil })
	}
	_ = work.Wait()
}

// grant prepares a change. The outcome of one that can never be made is set.
func (a *application) grant(c jit.Change) *grant {
	b := c.Access.Binding
	b.Scope = a.scope
	found, err := a.platform.parse(&b)
	if err != nil {
		found = access{}
	}
	g := &grant{change: c, marker: c.Access.Marker, access: found.in(a.account, a.scope)}
	g.found = a.shown(g) != ""
	if c.Op == jit.Ensure {
		g.outcome = cmp.Or(err, a.platform.watch.Skew())
	}
	return g
}

// onPrincipal makes the changes on principals and queues those of trust policies.
func (a *application) onPrincipal(ctx context.Context, g *grant) error {
	if g.change.Op == jit.Remove {
		return a.remove(ctx, g)
	}
	if err := a.checkPrincipal(g); err != nil {
		return err
	}
	keep, statement := g.access.principal.text, ""
	if g.access.trusting.text != "" {
		keep, statement = "", encode(trustStatement(g.marker, g.access.who(), g.access.terms))
	} else if err := a.ensure(ctx, g); err != nil {
		return err
	}
	a.queueEdits(g, statement)
	return a.discard(ctx, g, keep)
}

// remove removes the grant from all principals and queues the edits of trust policies.
func (a *application) remove(ctx context.Context, g *grant) error {
	if g.known() && g.access.trusting.text == "" {
		if err := a.discardUnseen(ctx, g); err != nil {
			return err
		}
	}
	if err := a.discard(ctx, g, ""); err != nil {
		return err
	}
	a.queueEdits(g, "")
	return nil
}

// discardUnseen deletes the policies of the grant on its principal that the read does not show.
func (a *application) discardUnseen(ctx context.Context, g *grant) error {
	principal, policyARN := g.access.principal, a.managedARN(g)
	if a.account.get(item{inlinePolicy, principal.text, policyName(g.marker)}) != "" {
		return nil
	}
	found, err := a.client.deleteInline(ctx, principal, policyName(g.marker))
	g.found = g.found || found
	if err != nil || found || a.account.get(item{managedPolicy, policyARN, ""}) != "" {
		return err
	}
	if err := a.client.detach(ctx, principal, policyARN); err != nil {
		return err
	}
	return a.client.deletePolicy(ctx, policyARN)
}

// queueEdits queues the edits that leave the statement in the trust policy of the grant's role, and no statement of the
// grant in any other.
func (a *application) queueEdits(g *grant, statement string) {
	sid, in := sidOf(g.marker), g.access.trusting
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.bearers[sid] {
		if e.text != in.text {
			a.edits[e.arn] = append(a.edits[e.arn], edit{sid, "", g})
		}
	}
	if in.text != "" {
		a.edits[in] = append(a.edits[in], edit{sid, statement, g})
	}
}

// editTrust edits one trust policy, unless the read shows that it is right, and adds an error to the outcomes of the
// grants. If AWS refuses the policy for one of several grants, editTrust tries them one by one, removals first.
func (a *application) editTrust(ctx context.Context, role arn, edits []edit) {
	was, unsure, err := a.client.changeTrust(ctx, role, a.scope, edits, a.platform.overlayTrust)
	for _, e := range edits {
		if err == nil || e.adds() && unsure {
			a.platform.note(item{trustPolicy, role.text, e.sid}, ownStatement(was, e.sid), e.statement, err != nil)
		}
	}
	switch {
	case err == nil:
		a.undeny(ctx, was, edits)
	case len(edits) > 1 && ofOne(err):
		slices.SortStableFunc(edits,
			func(x, y edit) int { return min(len(x.statement), 1) - min(len(y.statement), 1) })
		for i := range edits {
			a.editTrust(ctx, role, edits[i:i+1])
		}
	case awsconfig.Code(err) == noSuchEntity && !slices.ContainsFunc(edits, edit.adds):
		// The role is gone with its trust policy.
	default:
		for _, e := range edits {
			failed := a.blocked(ctx, role, was, e, err)
			a.mu.Lock()
			e.grant.outcome = errors.Join(e.grant.outcome, failed)
			a.mu.Unlock()
		}
	}
}

// ofOne reports whether a single grant may be why a trust policy was refused.
func ofOne(err error) bool {
	var full noRoomError
	return errors.As(err, &full) ||
		slices.Contains([]string{malformed, limitExceeded, noSuchEntity}, awsconfig.Code(err))
}

// checkPrincipal refuses a principal of this account that does not exist, or that was made after the grant was given:
// that is another one.
func (a *application) checkPrincipal(g *grant) error {
	principal := g.access.principal
	if principal.account != a.scope {
		return nil // IAM does not show other accounts
	}
	e := a.account.entities[principal.text]
	switch {
	case a.platform.another(e, g.change.GrantedAt):
		return &jit.Error{Attribute: "principal", Err: jit.ErrAnother,
			Problem: principal.text + " was deleted or renamed after the grant was given; one made anew is another",
			Hint:    "set renewal to grant to the new one"}
	case e == nil:
		return &jit.Error{Attribute: "principal",
			Problem: fmt.Sprintf("there is no %s %s in the account %s", principal.kind, principal.text, a.scope),
			Hint:    fmt.Sprintf("`aws iam list-%ss` lists them", principal.kind)}
	}
	if why := e.impostor(g.access); why != "" {
		return &jit.Error{Attribute: "principal", Problem: why, Hint: impostorHint}
	}
	began := g.marker.Window.Start
	if g.change.GrantedAt.IsZero() && e.created.After(began.Add(youngest)) && !a.holds(e, g) {
		return &jit.Error{Attribute: "principal",
			Problem: fmt.Sprintf("%s was created at %s, after the grant began at %s: the grant was given to its "+
				"predecessor", principal.text, jit.FormatTime(e.created), jit.FormatTime(began)),
			Hint: "set renewal to grant to the new one"}
	}
	return nil
}

// another reports whether an entity, nil for none, is not the one any more to which a grant was given: that was deleted
// or renamed. A read may still miss one that was made just before.
func (p *Platform) another(e *entity, granted time.Time) bool {
	switch {
	case granted.IsZero():
		return false
	case e == nil:
		return p.now().Sub(granted) >= max(p.settling, jit.MaxSkew)
	}
	return e.created.After(granted.Add(jit.MaxSkew))
}

// holds reports whether the entity has a policy of the grant, or some role trusts it.
func (a *application) holds(e *entity, g *grant) bool {
	return a.account.get(item{inlinePolicy, e.text, policyName(g.marker)}) != "" ||
		a.account.get(item{attachment, e.text, a.managedARN(g)}) != "" ||
		len(a.bearers[sidOf(g.marker)]) > 0
}
