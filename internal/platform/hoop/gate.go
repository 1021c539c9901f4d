package hoop

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// rule is an access request rule, which says who needs a review.
type rule struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Type        string   `json:"access_type"` // "jit", "command" or "jit_command"
	Connections []string `json:"connection_names"`
	Attributes  []string `json:"attributes"`
	// Required, unless empty, are the only groups whose members need a review. Otherwise members of Skipped need none.
	Required []string `json:"approval_required_groups"`
	Skipped  []string `json:"skip_review_groups"`
}

// rules lists the access request rules; none if the gateway is too old to have any.
func (c *client) rules(ctx context.Context) ([]rule, error) {
	var listed struct {
		Data []rule `json:"data"`
	}
	path := []string{"access-requests", "rules"}
	err := c.call(ctx, "list access request rules", http.MethodGet, path, nil, nil, &listed)
	return listed.Data, unlessGone(err)
}

// gatedByRule reports whether a rule alone decides who needs a review to connect. The reviewers of a connection are
// asked about everybody.
func (c *connection) gatedByRule() bool {
	if c.Effective != nil {
		return c.Effective.AccessRequest.JIT && !c.Effective.AccessRequest.LegacyReviewers
	}
	return len(c.Reviewers) == 0 && c.JITDuration != nil
}

// decides returns the rule that alone decides who needs a review to connect; nil if everybody does. An attribute of the
// connection comes before its name. Of several rules the one with the lowest id decides, as in the gateway
// (gateway/services/accessrequest.go).
func (c *connection) decides(all []rule) *rule {
	if !c.gatedByRule() {
		return nil
	}
	first := func(is func(r rule) bool) *rule {
		found := slices.DeleteFunc(slices.Clone(all), func(r rule) bool {
			return r.Type != timed && r.Type != timed+"_command" || !is(r)
		})
		if len(found) == 0 {
			return nil
		}
		one := slices.MinFunc(found, func(a, b rule) int { return cmp.Compare(a.ID, b.ID) })
		return &one
	}
	return cmp.Or(
		first(func(r rule) bool { return intersect(r.Attributes, c.Attributes) }),
		first(func(r rule) bool { return slices.Contains(r.Connections, c.Name) }))
}

// spares says why the rule does not ask members of these groups for a review; empty if it asks them.
func (r *rule) spares(groups []string) string {
	switch {
	case r == nil:
		return ""
	case len(r.Required) > 0 && !intersect(r.Required, groups):
		return fmt.Sprintf("the access request rule %q asks only members of %s for a review", r.Name,
			strings.Join(r.Required, ", "))
	case len(r.Required) == 0 && intersect(r.Skipped, groups):
		return fmt.Sprintf("the access request rule %q asks members of %s for no review", r.Name,
			strings.Join(r.Skipped, ", "))
	}
	return ""
}

func intersect(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// execOpen reports whether users run single commands on the connection without a review. A rule of the type jit is only
// for connecting.
func (c *connection) execOpen() bool {
	return c.AccessExec == "enabled" && c.Effective != nil && !c.Effective.AccessRequest.Command &&
		!c.Effective.AccessRequest.LegacyReviewers
}

// notes are what a reviewer of a grant of the connection must know.
func (c *connection) notes() []jit.Note {
	if !c.execOpen() {
		return nil
	}
	return []jit.Note{{Summary: "Single commands need no review", Text: fmt.Sprintf(
		"Everybody who may see the connection %q can run commands on it, with `hoop exec` or in the web terminal: "+
			"they need no review, and neither a grant nor its end changes that. "+
			"Give it an access request rule of the type jit_command, or disable access_mode_exec.", c.Name)}}
}

// gate is what stands between users and a connection.
type gate struct {
	conn *connection
	// rule alone decides who needs a review to connect; nil if everybody does.
	rule *rule
	// open: there is no access control, so everybody sees the connection. Otherwise the groups in visible do.
	open    bool
	visible []string
}

// gate asks for all of it, and refuses a key that could not grant, and a connection that cannot be granted.
func (p *Platform) gate(ctx context.Context, scope string) (*gate, error) {
	if _, err := p.approver(ctx); err != nil {
		return nil, err
	}
	conn, err := p.connection(ctx, scope)
	if err == nil {
		err = p.usable(conn, scope)
	}
	if err != nil {
		return nil, err
	}
	r, err := p.ruleOf(ctx, conn)
	if err != nil {
		return nil, err
	}
	visible, on, err := p.seenBy(ctx, conn)
	return &gate{conn: conn, rule: r, open: !on, visible: visible}, err
}

// seenBy returns the groups that the access control and attributes let see a connection. on is false if there is no
// access control.
func (p *Platform) seenBy(ctx context.Context, conn *connection) (visible []string, on bool, err error) {
	groups, on, err := p.accessControl(ctx)
	if visible = groups[conn.Name]; err != nil || !on || len(conn.Attributes) == 0 {
		return visible, on, err
	}
	all, err := p.attributes(ctx)
	for _, name := range conn.Attributes {
		visible = append(visible, all[name].Groups...)
	}
	return visible, on, err
}

// ruleOf returns the rule that alone decides who needs a review to connect; nil if everybody does.
func (p *Platform) ruleOf(ctx context.Context, conn *connection) (*rule, error) {
	if !conn.gatedByRule() {
		return nil, nil
	}
	all, err := p.rules(ctx)
	return conn.decides(all), err
}

// shows reports whether a user sees the connection. Administrators and auditors see all
// (gateway/models/connections.go, getConnectionByNameOrID).
func (g *gate) shows(u *user) bool {
	return g.open || u.Role == "admin" || slices.Contains(u.Groups, "auditor") || intersect(g.visible, u.Groups)
}

// ungated returns the standing access of a connection on which some or all connect without a review. holders have
// grants.
func (p *Platform) ungated(ctx context.Context, conn *connection, holders map[string]bool) ([]jit.Standing, error) {
	if !conn.gated() {
		const why = "the connection has no review gate"
		found := []jit.Standing{without("everybody who may see it", why)}
		for email := range holders {
			found = append(found, without(email, why))
		}
		return found, nil
	}
	r, err := p.ruleOf(ctx, conn)
	if err != nil {
		return nil, err
	}
	found := r.standing()
	if len(found) == 0 || len(holders) == 0 {
		return found, nil
	}
	users, err := p.recentUsers(ctx)
	for _, u := range users {
		if why := r.spares(u.Groups); why != "" && holders[u.Email] {
			found = append(found, without(u.Email, why))
		}
	}
	return found, err
}

// without is the standing access of a principal who connects without a review.
func without(principal, why string) jit.Standing {
	return jit.Standing{Principal: principal, Role: connect, Detail: why}
}

// standing returns the access of those whom the rule asks for no review.
func (r *rule) standing() (all []jit.Standing) {
	if r == nil {
		return nil
	}
	if len(r.Required) > 0 {
		return []jit.Standing{without("everybody outside "+strings.Join(r.Required, ", "), r.spares(nil))}
	}
	for _, group := range r.Skipped {
		all = append(all, without(groupPrefix+group, r.spares(r.Skipped)))
	}
	return all
}
