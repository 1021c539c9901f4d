package hoop

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Describe asks the gateway for all that a grant takes, and refuses what could not be granted or would give nothing. A
// connection may take shorter grants only.
func (p *Platform) Describe(ctx context.Context, b jit.Binding) (jit.Traits, error) {
	b, traits, err := p.Check(b)
	if err != nil {
		return traits, err
	}
	if p.cfg.Mode == modeAttribute {
		mayAttach, err := p.attachable.get(b.Scope, p.now(), func() (func(jit.Binding) error, error) { return p.mayAttach(ctx, b.Scope) })
		if err == nil {
			err = mayAttach(b)
		}
		return traits, err
	}
	g, err := p.gates.get(b.Scope, p.now(), func() (*gate, error) { return p.gate(ctx, b.Scope) })
	if err != nil {
		return jit.Traits{}, err
	}
	found, err := p.user(ctx, b.Principal)
	if err == nil {
		err = p.mayConnect(b.Principal, found, g.conn, g.rule)
	}
	if err != nil {
		return jit.Traits{}, err
	}
	if !g.shows(found) {
		traits.Caution = fmt.Sprintf("%s cannot see the connection %q: its access control lets in none of the user's groups (%s). A review does not change that; add a group of the user to the access control.",
			b.Principal, b.Scope, orNone(found.Groups))
	}
	traits.MaxTTL, traits.SessionTail = g.conn.maxTTL(), g.conn.maxTTL()
	return traits, nil
}

// mayGrant says why a grant on the connection would be refused, or would give nothing; nil when it may be made. conn is
// nil when there is no such connection.
func (p *Platform) mayGrant(conn *connection, scope string, access jit.Access) error {
	b, _, err := p.Check(access.Binding)
	switch {
	case err != nil:
		return err
	case b.Scope != scope:
		return jit.Invalid("scope", "ask for it on its own scope", "a grant on %q cannot be made on %q", b.Scope, scope)
	}
	if err := p.usable(conn, scope); err != nil {
		return err
	}
	if err := p.skew(); err != nil {
		return err
	}
	w := access.Marker.Window
	longest := conn.maxTTL()
	left := w.End.Sub(p.gatewayNow())
	switch {
	case w.Length() > longest || left > longest:
		return jit.Invalid("ttl", fmt.Sprintf("ask for %s or less", jit.FormatDuration(longest)),
			"the grant would last %s; the connection %q takes at most %s", jit.FormatDuration(max(w.Length(), left)), scope, jit.FormatDuration(longest))
	case left < time.Second:
		return jit.Invalid("expires_at", "ask for longer", "the grant ends at %s, and the gateway says that it is %s", jit.FormatTime(w.End), jit.FormatTime(p.gatewayNow()))
	}
	return nil
}

// usable says why nobody can be granted a connection by a review; nil when users can. conn is nil when there is none.
func (p *Platform) usable(conn *connection, scope string) error {
	switch {
	case conn == nil:
		return p.noConnection(scope)
	case !conn.gated():
		return jit.Invalid("scope", `give the connection reviewers, or an access request rule of the type jit; or use a target with mode = "attribute"`,
			"the connection %q has no review gate: who may see it can connect, and a grant would change nothing", scope)
	case p.Asks() && len(conn.Reviewers) == 0:
		return jit.Invalid("target", `give the connection reviewers, or leave approval = "hoop" out of the target`,
			"the connection %q has no reviewers who could decide; hoop leaves no review to those of an access request rule", scope)
	case conn.AccessConnect == "disabled":
		return jit.Invalid("scope", "enable native access (access_mode_connect) of the connection", "nobody can connect to %q: its access_mode_connect is disabled", scope)
	}
	var missing []string
	for _, field := range conn.MandatoryFields {
		if p.cfg.Metadata[field] == "" {
			missing = append(missing, field)
		}
	}
	if len(missing) > 0 {
		return jit.Invalid("target", fmt.Sprintf(`write for example metadata = { %s = "…" } on the target`, missing[0]),
			"the connection %q demands metadata of every session that the target does not have: %s", scope, strings.Join(missing, ", "))
	}
	return nil
}

func (p *Platform) noConnection(scope string) error {
	return jit.Invalid("scope", "`hoop admin get connections` lists those that there are", "there is no connection %q on the gateway at %s", scope, p.base.Host)
}

// mayConnect says why a user cannot be granted a connection that gated is the rule of, or would have it all the same;
// nil when the user can. found is nil when there is no such user.
func (p *Platform) mayConnect(email string, found *user, conn *connection, gated *rule) error {
	switch {
	case found == nil:
		return jit.Invalid("principal", "`hoop admin get users` lists those that there are; capitals count", "there is no user %q on the gateway at %s", email, p.base.Host)
	case found.Status != "active":
		return jit.Invalid("principal", "activate the user first", "the user %q is %s, and cannot connect", email, found.Status)
	}
	if why := gated.spares(found.Groups); why != "" {
		return jit.Invalid("principal", "have the rule ask a group of the user, or leave the grant out",
			"%s connects to %q without a review, and a grant would change nothing: %s, and %s is in %s", email, conn.Name, why, email, orNone(found.Groups))
	}
	return nil
}

// orNone lists groups.
func orNone(groups []string) string {
	if len(groups) == 0 {
		return "none"
	}
	return strings.Join(groups, ", ")
}
