package hoop

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// connection is a connection as the gateway describes it.
type connection struct {
	Name          string   `json:"name"`
	Reviewers     []string `json:"reviewers"`
	AccessConnect string   `json:"access_mode_connect"` // "enabled" or "disabled"
	AccessExec    string   `json:"access_mode_exec"`    // likewise
	Attributes    []string `json:"attributes"`
	// MaxDuration and JITDuration limit a review, in seconds: those of the connection, and of the rule that gates it.
	MaxDuration     *int     `json:"access_max_duration"`
	JITDuration     *int     `json:"jit_access_duration_sec"`
	MandatoryFields []string `json:"mandatory_metadata_fields"`
	// Effective is nil if the gateway is too old to know, or cannot.
	Effective *struct {
		AccessRequest struct {
			JIT             bool `json:"jit"`
			Command         bool `json:"command"`
			LegacyReviewers bool `json:"legacy_reviewers"`
		} `json:"access_request"`
	} `json:"effective_features"`
}

// gated reports whether connecting requires an approved review.
func (c *connection) gated() bool {
	if c.Effective != nil {
		return c.Effective.AccessRequest.JIT || c.Effective.AccessRequest.LegacyReviewers
	}
	return len(c.Reviewers) > 0 || c.JITDuration != nil
}

// maxTTL is the longest review of the connection.
func (c *connection) maxTTL() time.Duration {
	longest := maxTTL
	for _, bound := range []*int{c.MaxDuration, c.JITDuration} {
		if bound != nil && *bound > 0 {
			longest = min(longest, time.Duration(*bound)*time.Second)
		}
	}
	return longest
}

// user is a user as the gateway describes it.
type user struct {
	ID     string   `json:"id"`
	Email  string   `json:"email"`
	Status string   `json:"status"` // "active", "inactive" or "reviewing"
	Role   string   `json:"role"`   // "admin" or "standard"
	Groups []string `json:"groups"`
}

// connection returns the connection with that name, nil if there is none.
func (c *client) connection(ctx context.Context, name string) (*connection, error) {
	found, err := find[connection](ctx, c, "look at the connection "+name, "connections", name)
	if found == nil || found.Name != name { // another name: it was found by its id
		return nil, err
	}
	return found, nil
}

// user returns the user with that e-mail, nil if there is none.
func (c *client) user(ctx context.Context, email string) (*user, error) {
	found, err := find[user](ctx, c, "look at the user "+email, "users", email)
	if found == nil || found.Email != email {
		return nil, err
	}
	return found, nil
}

// users lists all users.
func (c *client) users(ctx context.Context) (all []user, err error) {
	return all, c.call(ctx, "list users", http.MethodGet, []string{"users"}, nil, nil, &all)
}

// idsOf returns the ids of users by their e-mails.
func idsOf(all []user) map[string]string {
	ids := map[string]string{}
	for _, u := range all {
		ids[u.Email] = u.ID
	}
	return ids
}

// session is a session as the gateway lists it: a user's own, or one that carries a review.
type session struct {
	ID            string         `json:"id"`
	UserEmail     string         `json:"user"`
	UserID        string         `json:"user_id"`
	Connection    string         `json:"connection"`
	CorrelationID string         `json:"correlation_id"`
	Metadata      map[string]any `json:"metadata"`
	Verb          string         `json:"verb"`
	Status        string         `json:"status"`
	Start         time.Time      `json:"start_date"`
	End           *time.Time     `json:"end_date"`
	Review        *struct {
		Type     string     `json:"type"`
		Status   string     `json:"status"`
		RevokeAt *time.Time `json:"revoke_at"`
		Created  time.Time  `json:"created_at"`
		// Lasts is how long it lasts from its approval, in nanoseconds.
		Lasts  time.Duration `json:"access_duration"`
		Reason string        `json:"rejection_reason"`
		Groups []struct {
			Status     string `json:"status"`
			ReviewedBy *struct {
				ID    string `json:"id"`
				Name  string `json:"name"`
				Email string `json:"email"`
			} `json:"reviewed_by"`
		} `json:"review_groups_data"`
	} `json:"review"`
}

const (
	// pageSize is the largest page of the gateway.
	pageSize = 100
	// lookBack is how far back sessions are listed. An older review is over, unless somebody approved it again; then it
	// is found by its name.
	lookBack = maxTTL + time.Hour
	// askLookBack is lookBack if reviewers decide: a request waits for them for as long as its grant would last.
	askLookBack = maxTTL + lookBack
	// ahead is how far ahead they are listed. Without an end the gateway leaves out the current second.
	ahead = time.Hour
)

// session returns one session, nil if there is none.
func (c *client) session(ctx context.Context, id string) (*session, error) {
	return find[session](ctx, c, "look at session "+id, "sessions", id)
}

// sessions lists sessions by a filter, the newest first. A zero since lists all. The gateway reads a name in a filter
// as a pattern, and ignores a filter that it cannot read, so the caller must check what was found.
//
// Each page begins at the time of the last session before it, not after a count: sessions that are approved or revoked
// meanwhile would move others from one page to the next, past the reader.
func (c *client) sessions(ctx context.Context, filter url.Values, since time.Time) ([]session, error) {
	if since.IsZero() {
		since = time.Unix(0, 0)
	}
	until, offset := c.gatewayNow().Add(ahead).UTC().Truncate(time.Second), 0
	query := url.Values{
		"limit": {strconv.Itoa(pageSize)}, "count": {"none"}, "start_date": {since.UTC().Format(time.RFC3339)},
	}
	maps.Copy(query, filter)
	var all []session
	seen := map[string]bool{}
	for {
		query.Set("end_date", until.Format(time.RFC3339))
		query.Set("offset", strconv.Itoa(offset))
		var page struct {
			Items   []session `json:"data"`
			HasNext bool      `json:"has_next_page"`
		}
		if err := c.call(ctx, "list sessions", http.MethodGet, []string{"sessions"}, query, nil, &page); err != nil {
			return nil, err
		}
		for _, s := range page.Items {
			if !seen[s.ID] {
				seen[s.ID] = true
				all = append(all, s)
			}
		}
		if !page.HasNext || len(page.Items) == 0 {
			return all, nil
		}
		// Others of the last one's second may be on the next page.
		last := page.Items[len(page.Items)-1].Start.UTC().Add(time.Second).Truncate(time.Second)
		if last.Before(until) {
			until, offset = last, 0
		} else {
			offset += len(page.Items)
		}
	}
}

// provision makes a session with an approved review of that many seconds, and returns its id. The key approves it in
// the name of all reviewers. With leave, the decision is left to the reviewers.
func (c *client) provision(
	ctx context.Context, email, connection, correlation string, seconds int64, metadata map[string]any, leave bool,
) (session string, err error) {
	if seconds <= 0 || seconds > int64(maxTTL/time.Second) {
		// The gateway would approve one command, or leave a session without a review behind.
		return "", &statusError{message: "no review lasts " + strconv.FormatInt(seconds, 10) + " seconds"}
	}
	in := map[string]any{
		"user_email": email, "connection": connection, "access_duration_sec": seconds, "correlation_id": correlation,
	}
	if len(metadata) > 0 {
		in["metadata"] = metadata
	}
	doing := "approve "
	if leave {
		doing, in["approved_reviewers"] = "ask for a review of ", []string{}
	}
	var out struct {
		SessionID string `json:"session_id"`
	}
	err = c.call(ctx, doing+email+" on "+connection, http.MethodPost, []string{"sessions", "provision"}, nil, in, &out)
	return out.SessionID, err
}

// notEligible is the gateway's answer to a key that may not revoke. It has the status of a review that is revoked.
const notEligible = "not eligible"

// reject denies the review of a session that nobody has approved. A decision that somebody has made is no error.
func (c *client) reject(ctx context.Context, session string) error {
	_, err := c.decide(ctx, "reject", session, "REJECTED")
	return err
}

// revoke ends the review of a session. first is false if it was ended before.
func (c *client) revoke(ctx context.Context, session string) (first bool, err error) {
	return c.decide(ctx, "revoke", session, "REVOKED")
}

// decide gives the review of a session a status. first is false if its present status does not allow that.
func (c *client) decide(ctx context.Context, verb, session, status string) (first bool, err error) {
	err = c.call(ctx, verb+" the review of session "+session, http.MethodPut, []string{"reviews", session}, nil,
		map[string]string{"status": status}, nil)
	if answered(err, http.StatusBadRequest) && !strings.Contains(err.Error(), notEligible) {
		return false, nil
	}
	return err == nil, err
}

// kill ends a live session. A session that is gone is a success.
func (c *client) kill(ctx context.Context, session string) error {
	path := []string{"sessions", session, "kill"}
	return unlessGone(c.call(ctx, "kill session "+session, http.MethodPost, path, nil, nil, nil))
}
