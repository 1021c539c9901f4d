package hoop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// holder is the identity that the key belongs to.
type holder struct {
	ID string `json:"id"`
	// Email is the name of an API key, which has no e-mail.
	Email   string `json:"email"`
	IsAdmin bool   `json:"is_admin"`
	Role    string `json:"role"` // "admin", "auditor" or "standard"
}

func (h holder) admin() bool { return h.IsAdmin || h.Role == "admin" }

// whoami asks who the key belongs to. It asks every time, because a key can lose its groups while this process runs.
func (c *client) whoami(ctx context.Context) (holder, error) {
	var me holder
	err := c.call(ctx, "ask who the API key is", http.MethodGet, []string{"userinfo"}, nil, nil, &me)
	if err == nil && me.ID == "" {
		err = errors.New("the gateway does not say who the API key is")
	}
	return me, err
}

// approver is [client.whoami], but refuses a key that cannot make reviews, find them again and revoke them. To a key
// that is not an administrator's the gateway lists only its own sessions, without an error: by that list every grant
// would be missing and every removal done.
func (c *client) approver(ctx context.Context) (holder, error) {
	me, err := c.whoami(ctx)
	if err == nil {
		err = c.mayApprove(ctx, me)
	}
	return me, err
}

// mayApprove says why the key cannot be used for reviews; nil if it can.
func (c *client) mayApprove(ctx context.Context, me holder) error {
	if !c.isAPIKey() && me.Email != "" {
		switch found, err := c.user(ctx, me.Email); {
		case err != nil:
			return err
		case found != nil:
			return c.wrongKey("api_key is the token of the user %s, and the token of a user may not approve for others",
				me.Email)
		}
	}
	switch {
	case me.admin():
		return nil
	case me.Role == "auditor":
		return c.wrongKey("the API key %q is an auditor's and may not approve or revoke reviews", me.Email)
	}
	return c.wrongKey("the API key %q may not list the sessions of others, so it could not find again what it approves",
		me.Email)
}

// isAPIKey reports whether the key has the form of one. The gateway decides by the same prefixes
// (gateway/api/apiroutes/auth.go); the token of a user has any form.
func (c *client) isAPIKey() bool {
	return strings.HasPrefix(c.key, "hpk_") || strings.HasPrefix(c.key, "xapi-") || strings.Contains(c.key, "|")
}

// mayWrite says why the key cannot write attributes; nil if it can.
func (c *client) mayWrite(ctx context.Context) error {
	me, err := c.whoami(ctx)
	if err != nil || me.admin() {
		return err
	}
	return c.wrongKey("the API key %q may not write attributes", me.Email)
}

// wrongKey refuses the target's key.
func (c *client) wrongKey(format string, args ...any) error {
	return jit.Invalid("target", "make an API key with the group admin (Settings, API Keys)",
		"%s on the gateway at %s", fmt.Sprintf(format, args...), c.base.Host)
}
