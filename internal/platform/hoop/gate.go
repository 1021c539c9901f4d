package hoop

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// rule is an access request rule: it says who needs a review.
type rule struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Type        string   `json:"access_type"` // "jit", "command" or "jit_command"
	Connections []string `json:"connection_names"`
	Attributes  []string `json:"attributes"`
	// Required, if not empty, are the only groups whose members need a review. Otherwise members of Skipped need none.
	Required []string `json:"approval_required_groups"`
	Skipped  []string `json:"skip_review_groups"`
}

// rules lists the access request rules; none where the gateway is too old to have any.
func (c *client) rules(ctx context.Context) ([]rule, error) {
	var listed struct {
		Data []rule `json:"data"`
	}
	err := c.call(ctx, "list access request rules", http.MethodGet, []string{"access-requests", "rules"}, nil, nil, &listed)
	if answered(err, http.StatusNotFound) {
		return nil, nil
	}
	return listed.Data, err
}

// gatedByRule reports whether a rule alone decides who needs a review to connect. The reviewers of a connection are
// asked about everybody.
func (c *connection) gatedByRule() bool {
	if c.Effective != nil {
		return c.Effective.AccessRequest.JIT && !c.Effective.AccessRequest.LegacyReviewers
	}
	return len(c.Reviewers) == 0 && c.JITDuration != nil
}

// decides returns the rule that alone decides who needs a review to connect; nil when everybody does. An attribute of
// the connection counts before its name, and of several rules the one whose id comes first, as in the gateway
// (gateway/services/accessrequest.go).
func (c *connection) decides(all []rule) *rule {
	if !c.gatedByRule() {
		return nil
	}
	var byAttribute, byName *rule
	for i := range all {
		r := &all[i]
		if r.Type != timed && r.Type != timed+"_command" {
			continue
		}
		if intersect(r.Attributes, c.Attributes) && (byAttribute == nil || r.ID < byAttribute.ID) {
			byAttribute = r
		}
		if slices.Contains(r.Connections, c.Name) && (byName == nil || r.ID < byName.ID) {
			byName = r
		}
	}
	if byAttribute != nil {
		return byAttribute
	}
	return byName
}

// spares says why the rule asks members of these groups for no review; empty when it asks them for one.
func (r *rule) spares(groups []string) string {
	switch {
	case r == nil:
		return ""
	case len(r.Required) > 0 && !intersect(r.Required, groups):
		return fmt.Sprintf("the access request rule %q asks only members of %s for a review", r.Name, strings.Join(r.Required, ", "))
	case len(r.Required) == 0 && intersect(r.Skipped, groups):
		return fmt.Sprintf("the access request rule %q asks members of %s for no review", r.Name, strings.Join(r.Skipped, ", "))
	}
	return ""
}

// selective reports whether the rule asks some users for a review and others not.
func (r *rule) selective() bool { return r != nil && len(r.Required)+len(r.Skipped) > 0 }

func intersect(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// execOpen reports whether users run single commands on the connection without a review. A rule of the type jit is for
// connecting alone.
func (c *connection) execOpen() bool {
	return c.AccessExec == "enabled" && c.Effective != nil && !c.Effective.AccessRequest.Command && !c.Effective.AccessRequest.LegacyReviewers
}

// notes are what whoever reviews a grant of the connection has to know.
func (c *connection) notes() []jit.Note {
	if !c.execOpen() {
		return nil
	}
	return []jit.Note{{Summary: "Single commands need no review", Text: fmt.Sprintf(
		"Whoever may see the connection %q can run commands on it at any time, with `hoop exec` or in the web terminal: nothing asks for a review of them, and neither a grant nor its end changes that. "+
			"Give the connection an access request rule of the type jit_command, or disable access_mode_exec.", c.Name)}}
}

// gate is what stands between users and a connection.
type gate struct {
	conn *connection
	// rule alone decides who needs a review to connect; nil when everybody does.
	rule *rule
	// visible are the groups that the access control lets see the connection; nil when it is off, and everybody does.
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
	g := &gate{conn: conn}
	if g.rule, err = p.ruleOf(ctx, conn); err != nil {
		return nil, err
	}
	groups, on, err := p.accessControl(ctx)
	if err != nil || !on {
		return g, err
	}
	g.visible = append([]string{}, groups[conn.Name]...)
	if len(conn.Attributes) == 0 {
		return g, nil
	}
	all, err := p.attributes(ctx)
	for _, name := range conn.Attributes {
		g.visible = append(g.visible, all[name].Groups...)
	}
	return g, err
}

// ruleOf returns the rule that alone decides who needs a review to connect; nil when everybody does.
func (p *Platform) ruleOf(ctx context.Context, conn *connection) (*rule, error) {
	if !conn.gatedByRule() {
		return nil, nil
	}
	all, err := p.rules(ctx)
	return conn.decides(all), err
}

// shows reports whether a user sees the connection: an administrator and an auditor see all
// (gateway/models/connections.go, getConnectionByNameOrID).
func (g *gate) shows(u *user) bool {
	return g.visible == nil || u.Role == "admin" || slices.Contains(u.Groups, "auditor") || intersect(g.visible, u.Groups)
}

// ungated returns the standing access of a connection on which some or all connect without a review. holders have
// grants.
func (p *Platform) ungated(ctx context.Context, conn *connection, holders map[string]bool) ([]jit.Standing, error) {
	var found []jit.Standing
	add := func(principal, why string) {
		found = append(found, jit.Standing{Principal: principal, Role: connect, Detail: why})
	}
	if !conn.gated() {
		const why = "the connection has no review gate"
		add("everybody who may see it", why)
		for email := range holders {
			add(email, why)
		}
		return found, nil
	}
	if !conn.gatedByRule() {
		return nil, nil
	}
	all, err := p.rules(ctx)
	if err != nil {
		return nil, err
	}
	r := conn.decides(all)
	if !r.selective() {
		return nil, nil
	}
	if len(r.Required) > 0 {
		add("everybody outside "+strings.Join(r.Required, ", "), r.spares(nil))
	} else {
		for _, group := range r.Skipped {
			add(groupPrefix+group, r.spares(r.Skipped))
		}
	}
	if len(holders) == 0 {
		return found, nil
	}
	users, err := p.users(ctx)
	if err != nil {
		return nil, err
	}
	for _, u := range users {
		if why := r.spares(u.Groups); why != "" && holders[u.Email] {
			add(u.Email, why)
		}
	}
	return found, nil
}
