package awsiam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Apply reads the account once. Each change of a principal is then one write, and all changes of one role's trust
// policy are one write. Writes to different entities run side by side.
//
// A policy with the name of a grant is ours, whatever it says: it is corrected or removed. On a principal other than
// the grant's it is a copy and is removed. A removal that knows its principal deletes without trusting the read, which
// may be too old to show the policy.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	c, a, err := p.open(ctx, scope)
	errs := make([]error, len(changes))
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	run := &application{platform: p, client: c, account: a, scope: scope, bearers: a.bearers(),
		trusts: map[string]*trustee{}}
	run.carryOut(ctx, changes, errs)
	return errs
}

// open reads the account after checking that it is the one that scope names.
func (p *Platform) open(ctx context.Context, scope string) (*client, *account, error) {
	if err := awsconfig.CheckAccount("scope", scope); err != nil {
		return nil, nil, err
	}
	c, err := p.client(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := c.check(ctx, scope); err != nil {
		return nil, nil, err
	}
	a, err := c.fetch(ctx)
	if err != nil {
		return nil, nil, err
	}
	p.overlay(a)
	return c, a, nil
}

// application is one call of Apply.
type application struct {
	platform *Platform
	client   *client
	account  *account
	scope    string

	// bearers are the entities that have an inline policy or a trust statement of a grant, by its name or Sid.
	bearers map[string][]*entity

	mu     sync.Mutex
	trusts map[string]*trustee // by the ARN of the role
}

// trustee is a role whose trust policy is to be written, and the grants that need it.
type trustee struct {
	role   arn
	edits  []edit
	grants []*grant
}

// grant is one change of one grant.
type grant struct {
	marker  jit.Marker
	change  jit.Change
	access  access
	known   bool // whether access is known; a removal need not name it
	outcome error
}

// carryOut makes the changes and stores their outcomes in errs.
func (a *application) carryOut(ctx context.Context, changes []jit.Change, errs []error) {
	skew := a.platform.watch.Skew()
	grants := make([]*grant, len(changes))
	lanes := map[string][]*grant{} // by principal; "" for a removal that does not name it
	for i, c := range changes {
		g, err := a.grant(c)
		if err == nil && c.Op == jit.Ensure {
			err = skew
		}
		if errs[i] = err; err == nil {
			grants[i], lanes[g.access.principal.text] = g, append(lanes[g.access.principal.text], g)
		}
	}
	var work errgroup.Group
	work.SetLimit(parallel)
	for _, lane := range lanes {
		work.Go(func() error {
			for _, g := range lane {
				g.outcome = a.onPrincipal(ctx, g)
			}
			return nil
		})
	}
	_ = work.Wait() // the outcome of each is in its grant
	a.onTrust(ctx)
	a.clean(ctx)
	for i, g := range grants {
		if g != nil {
			errs[i] = g.outcome
		}
	}
}

// grant refuses a change that can never be made.
func (a *application) grant(c jit.Change) (*grant, error) {
	g := &grant{marker: c.Access.Marker, change: c}
	b := c.Access.Binding
	b.Scope = a.scope
	found, err := a.platform.parse(&b)
	if err != nil && c.Op == jit.Ensure {
		return nil, err
	}
	g.access, g.known = found, err == nil
	if !g.known {
		g.access = access{}
	}
	return g, nil
}

// onPrincipal makes the changes on principals and queues those of trust policies.
func (a *application) onPrincipal(ctx context.Context, g *grant) error {
	if g.change.Op == jit.Remove {
		return a.remove(ctx, g)
	}
	if g.access.trust {
		if err := a.checkPrincipal(g); err != nil {
			return err
		}
		a.trust(g, g.access.role, encode(trustStatement(g.marker, g.access.principal.text)))
		return a.discard(ctx, g, "")
	}
	if err := a.ensure(ctx, g); err != nil {
		return err
	}
	a.trust(g, arn{}, "")
	return a.discard(ctx, g, g.access.principal.text)
}

// trust queues the edits that leave the grant's statement in one role's trust policy and in no other.
func (a *application) trust(g *grant, in arn, statement string) {
	sid := sidOf(g.marker)
	a.mu.Lock()
	defer a.mu.Unlock()
	want := map[string]string{}
	for _, e := range a.bearers[sid] {
		want[e.text] = ""
	}
	if in.text != "" {
		want[in.text] = statement
	}
	for name, statement := range want {
		if a.trusts[name] == nil {
			named, _ := parseARN(name)
			a.trusts[name] = &trustee{role: named}
		}
		t := a.trusts[name]
		t.edits = append(t.edits, edit{sid, statement})
		t.grants = append(t.grants, g)
	}
}

// onTrust writes the queued trust policies.
func (a *application) onTrust(ctx context.Context) {
	var work errgroup.Group
	work.SetLimit(parallel)
	for _, t := range a.trusts {
		work.Go(func() error {
			err := a.writeTrust(ctx, t)
			a.mu.Lock()
			defer a.mu.Unlock()
			for _, g := range t.grants {
				g.outcome = errors.Join(g.outcome, err)
			}
			return nil
		})
	}
	_ = work.Wait() // the outcome of each is in its grants
	for _, t := range a.trusts {
		for _, g := range t.grants {
			if g.change.Op == jit.Remove && g.outcome == nil {
				g.outcome = a.endSessions(ctx, g)
			}
		}
	}
}

// writeTrust writes one trust policy, unless the read shows that nothing is to be done. If AWS refuses it for one of
// the grants, writeTrust tries them one by one, removals first.
func (a *application) writeTrust(ctx context.Context, t *trustee) error {
	was, err := a.client.changeTrust(ctx, t.role, a.scope, t.edits, a.platform.recent)
	if err != nil && len(t.grants) > 1 && ofOne(err) {
		for _, removal := range []bool{true, false} {
			for i, g := range t.grants {
				if removal != (t.edits[i].statement == "") {
					continue
				}
				err := a.writeTrust(ctx, &trustee{t.role, t.edits[i : i+1], t.grants[i : i+1]})
				a.mu.Lock()
				g.outcome = errors.Join(g.outcome, err)
				a.mu.Unlock()
			}
		}
		return nil
	}
	if err != nil {
		onlyRemoves := !slices.ContainsFunc(t.edits, func(e edit) bool { return e.statement != "" })
		if onlyRemoves && awsconfig.Code(err) == noSuchEntity {
			return nil // the role is gone with its trust policy
		}
		return err
	}
	for _, e := range t.edits {
		a.platform.note(memo{trustPolicy, t.role.text, e.sid}, ownStatement(was, e.sid), e.statement)
	}
	return nil
}

// ofOne reports whether a single grant may be why a trust policy was refused.
func ofOne(err error) bool {
	code := awsconfig.Code(err)
	return code == malformed || code == limitExceeded || code == noSuchEntity || errors.Is(err, errNoRoom)
}

// remove removes the grant from all principals and queues the trust policies.
func (a *application) remove(ctx context.Context, g *grant) error {
	if g.known && !g.access.trust {
		principal := g.access.principal
		if a.account.get(memo{inlinePolicy, principal.text, policyName(g.marker)}) == "" { // the read does not show it
			found, err := a.client.deleteInline(ctx, principal, policyName(g.marker))
			if err == nil && !found && a.account.get(memo{managedPolicy, a.managedARN(g), ""}) == "" {
				err = a.discardUnseen(ctx, g)
			}
			if err != nil {
				return err
			}
		}
	}
	if err := a.discard(ctx, g, ""); err != nil {
		return err
	}
	if g.known && g.access.trust {
		a.trust(g, g.access.role, "")
		return nil
	}
	a.trust(g, arn{}, "")
	if a.trusted(g) {
		return nil // sessions end after the trust policy is written
	}
	return a.endSessions(ctx, g)
}

// trusted reports whether a trust policy is queued for the grant.
func (a *application) trusted(g *grant) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.trusts {
		if slices.Contains(t.grants, g) {
			return true
		}
	}
	return false
}

// checkPrincipal refuses a principal of this account that does not exist, or that was made after the grant began: the
// grant was not given to that one.
func (a *application) checkPrincipal(g *grant) error {
	principal := g.access.principal
	if principal.account != a.scope {
		return nil // IAM does not show other accounts
	}
	e := a.account.entities[principal.text]
	if e == nil {
		return &jit.Error{Attribute: "principal",
			Problem: fmt.Sprintf("there is no %s %s in the account %s", principal.kind, principal.text, a.scope),
			Hint:    fmt.Sprintf("`aws iam list-%ss` lists them", principal.kind)}
	}
	if e.created.After(g.marker.Window.Start.Add(youngest)) && !a.holds(e, g) {
		return &jit.Error{Attribute: "principal",
			Problem: fmt.Sprintf("%s was created at %s, after the grant began at %s: the grant was given to its predecessor", principal.text, jit.FormatTime(e.created), jit.FormatTime(g.marker.Window.Start)),
			Hint:    "set renewal to grant to the new one"}
	}
	return nil
}
