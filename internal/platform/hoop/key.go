package hoop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// holder is what the gateway says of whoever the key belongs to.
type holder struct {
	ID string `json:"id"`
	// Email is the name of an API key, which has no e-mail.
	Email   string `json:"email"`
	IsAdmin bool   `json:"is_admin"`
	Role    string `json:"role"` // "admin", "auditor" or "standard"
}

// keyHint says what key a target needs.
const keyHint = "make an API key with the group admin (Settings, API Keys)"

// whoami asks who the key belongs to. It asks every time: a key can lose its groups while this process runs.
func (c *client) whoami(ctx context.Context) (holder, error) {
	var told holder
	err := c.call(ctx, "ask who the API key is", http.MethodGet, []string{"userinfo"}, nil, nil, &told)
	if err == nil && told.ID == "" {
		err = errors.New("the gateway does not say who the API key is")
	}
	return told, err
}

// approver is [client.whoami] of a key that can make reviews, find them again and revoke them; the error names what
// another key cannot do. To a key that is not an administrator's the gateway lists its own sessions only, without an
// error: whoever believes that list takes every grant for missing and every removal for done.
func (c *client) approver(ctx context.Context) (holder, error) {
	told, err := c.whoami(ctx)
	if err == nil {
		err = c.mayApprove(ctx, told)
	}
	return told, err
}

// mayApprove says why the key cannot be used for reviews; nil when it can.
func (c *client) mayApprove(ctx context.Context, told holder) error {
	refused := func(format string, args ...any) error {
		return &jit.Error{Attribute: "target", Problem: fmt.Sprintf(format, args...) + " on the gateway at " + c.base.Host, Hint: keyHint, Err: jit.ErrInvalid}
	}
	if !c.isAPIKey() && told.Email != "" {
		found, err := c.user(ctx, told.Email)
		switch {
		case err != nil:
			return err
		case found != nil:
			return refused("api_key is the token of the user %s, and the token of a user may not approve for others", told.Email)
		}
	}
	switch {
	case told.IsAdmin || told.Role == "admin":
		return nil
	case told.Role == "auditor":
		return refused("the API key %q is an auditor's and may not approve or revoke reviews", told.Email)
	}
	return refused("the API key %q may not list the sessions of others, so it could not find again what it approves", told.Email)
}

// isAPIKey reports whether the key has the form of one. The gateway decides by the same prefixes
// (gateway/api/apiroutes/auth.go); the token of a user has any form.
func (c *client) isAPIKey() bool {
	return strings.HasPrefix(c.key, "hpk_") || strings.HasPrefix(c.key, "xapi-") || strings.Contains(c.key, "|")
}

// mayWrite says why the key cannot write attributes; nil when it can.
func (c *client) mayWrite(ctx context.Context) error {
	told, err := c.whoami(ctx)
	if err != nil || told.IsAdmin || told.Role == "admin" {
		return err
	}
	return &jit.Error{Attribute: "target", Problem: fmt.Sprintf("the API key %q may not write attributes on the gateway at %s", told.Email, c.base.Host), Hint: keyHint, Err: jit.ErrInvalid}
}
