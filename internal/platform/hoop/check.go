package hoop

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Describe asks the gateway for the connection and the user, and refuses what could not be granted. A connection may take
// shorter grants only.
func (p *Platform) Describe(ctx context.Context, b jit.Binding) (jit.Traits, error) {
	b, traits, err := p.Check(b)
	if err != nil || p.cfg.Mode != modeReview {
		return traits, err
	}
	if _, err := p.approver(ctx); err != nil {
		return jit.Traits{}, err
	}
	conn, err := p.connection(ctx, b.Scope)
	if err != nil {
		return jit.Traits{}, err
	}
	if err := p.usable(conn, b.Scope); err != nil {
		return jit.Traits{}, err
	}
	found, err := p.user(ctx, b.Principal)
	if err == nil {
		err = p.mayConnect(b.Principal, found)
	}
	traits.MaxTTL, traits.SessionTail = conn.maxTTL(), conn.maxTTL()
	return traits, err
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

// mayConnect says why a user cannot be granted anything; nil when the user can. found is nil when there is no such user.
func (p *Platform) mayConnect(email string, found *user) error {
	switch {
	case found == nil:
		return jit.Invalid("principal", "`hoop admin get users` lists those that there are; capitals count", "there is no user %q on the gateway at %s", email, p.base.Host)
	case found.Status != "active":
		return jit.Invalid("principal", "activate the user first", "the user %q is %s, and cannot connect", email, found.Status)
	}
	return nil
}
