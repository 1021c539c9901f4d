package hoop

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Describe asks the gateway for all that a grant needs, and refuses one that could not be made or would give nothing. A
// connection may allow only shorter grants.
func (p *Platform) Describe(ctx context.Context, b jit.Binding) (jit.Traits, error) {
	b, traits, err := p.Check(b)
	switch {
	case err != nil:
		return traits, err
	case p.cfg.Mode == modeAttribute:
		return traits, p.attachableNow(ctx, b)
	}
	g, err := p.gates.get(b.Scope, p.now(), func() (*gate, error) { return p.gate(ctx, b.Scope) })
	if err != nil {
		return jit.Traits{}, err
	}
	found, err := p.mayConnect(ctx, b.Principal, g.conn, g.rule)
	if err != nil {
		return jit.Traits{}, err
	}
	if !g.shows(found) {
		traits.Caution = fmt.Sprintf(
			"%s cannot see the connection %q: its access control admits none of the user's groups (%s). "+
				"A review does not change that; add a group of the user to the access control.",
			b.Principal, b.Scope, found.groups())
	}
	traits.MaxTTL, traits.SessionTail = g.conn.maxTTL(), g.conn.maxTTL()
	return traits, nil
}

// attachableNow says why an attribute would be refused or would give nothing, by an answer that may be a moment old.
func (p *Platform) attachableNow(ctx context.Context, b jit.Binding) error {
	mayAttach, err := p.attachable.get(b.Scope, p.now(), func() (func(jit.Binding) error, error) {
		return p.mayAttach(ctx, b.Scope)
	})
	if err != nil {
		return err
	}
	return mayAttach(b)
}

// mayGrant says why a grant on the connection would be refused or would give nothing; nil if it may be made. conn is
// nil if there is no such connection.
func (p *Platform) mayGrant(conn *connection, scope string, access jit.Access) error {
	if _, err := p.checkOn(scope, access.Binding); err != nil {
		return err
	}
	if err := p.usable(conn, scope); err != nil {
		return err
	}
	if err := p.skew(); err != nil {
		return err
	}
	w, now := access.Marker.Window, p.gatewayNow()
	left := w.End.Sub(now)
	switch asked, longest := max(w.Length(), left), conn.maxTTL(); {
	case asked > longest:
		return jit.Invalid("ttl", fmt.Sprintf("ask for %s or less", jit.FormatDuration(longest)),
			"the grant would last %s; the connection %q takes at most %s", jit.FormatDuration(asked), scope,
			jit.FormatDuration(longest))
	case left < time.Second:
		return jit.Invalid("expires_at", "ask for longer", "the grant ends at %s, and the gateway says that it is %s",
			jit.FormatTime(w.End), jit.FormatTime(now))
	}
	return nil
}

// usable says why a review can grant nobody a connection; nil if it can. conn is nil if there is no connection.
func (p *Platform) usable(conn *connection, scope string) error {
	switch {
	case conn == nil:
		return p.noConnection(scope)
	case !conn.gated():
		return jit.Invalid("scope",
			`give it reviewers or an access request rule of the type jit; or use a target with mode = "attribute"`,
			"the connection %q has no review gate: who sees it can connect, and a grant changes nothing", scope)
	case p.Asks() && len(conn.Reviewers) == 0:
		return jit.Invalid("target", `give the connection reviewers, or leave approval = "hoop" out of the target`,
			"the connection %q has no reviewers; hoop leaves no review to those of an access request rule", scope)
	case conn.AccessConnect == "disabled":
		return jit.Invalid("scope", "enable native access (access_mode_connect) of the connection",
			"nobody can connect to %q: its access_mode_connect is disabled", scope)
	}
	var missing []string
	for _, field := range conn.MandatoryFields {
		if p.cfg.Metadata[field] == "" {
			missing = append(missing, field)
		}
	}
	if len(missing) > 0 {
		hint := fmt.Sprintf(`write for example metadata = { %s = "…" } on the target`, missing[0])
		return jit.Invalid("target", hint, "the connection %q demands metadata that the target does not have: %s",
			scope, strings.Join(missing, ", "))
	}
	return nil
}

func (p *Platform) noConnection(scope string) error {
	return jit.Invalid("scope", "`hoop admin get connections` lists the connections",
		"there is no connection %q on the gateway at %s", scope, p.base.Host)
}

// mayConnect returns a user who can be granted a connection. gated is the rule that alone decides who needs a review.
// The error says why the user cannot have the connection, or has it anyway.
func (p *Platform) mayConnect(ctx context.Context, email string, conn *connection, gated *rule) (*user, error) {
	found, err := p.user(ctx, email)
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return nil, jit.Invalid("principal", "`hoop admin get users` lists the users; capitals count",
			"there is no user %q on the gateway at %s", email, p.base.Host)
	case found.Status != "active":
		return nil, jit.Invalid("principal", "activate the user first", "the user %q is %s, and cannot connect", email,
			found.Status)
	}
	if why := gated.spares(found.Groups); why != "" {
		return nil, jit.Invalid("principal", "have the rule ask a group of the user, or leave the grant out",
			"%s connects to %q without a review, and a grant would change nothing: %s, and %[1]s is in %[4]s",
			email, conn.Name, why, found.groups())
	}
	return found, nil
}

// groups lists the user's groups for a message.
func (u *user) groups() string { return cmp.Or(strings.Join(u.Groups, ", "), "none") }
