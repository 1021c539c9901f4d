package hooptest

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// MayConnect reports whether the gateway, in its present state, would let a user connect at that time.
func (s *Server) MayConnect(email, connection string, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, may := s.lets(email, connection, at)
	return may
}

// lets reports whether a user may connect, and how long a session may continue. Only the latest approved review of the
// user and the connection counts, even if it has expired and an earlier one has not. Without a valid one, a user who
// needs no review may connect (gateway/transport/interceptors/accessrequest/accessrequest.go, OnReceive).
func (s *Server) lets(email, name string, at time.Time) (lasts time.Duration, may bool) {
	u, c := s.users[email], s.connections[name]
	if c == nil || c.Disabled || !s.sees(u, c) {
		return 0, false
	}
	if v := s.latestReview(u, c); v != nil && v.ends != nil && !v.ends.Before(at) {
		return time.Duration(v.seconds) * time.Second, true
	}
	return 1 << 62, !s.gated(u, c, timed)
}

// sees reports whether a user is active and the access control shows the connection.
func (s *Server) sees(u *User, c *Connection) bool {
	return u != nil && u.Status == "active" && s.admits(u.Groups, c)
}

// latestReview returns the latest approved review of a user and a connection, nil if there is none.
func (s *Server) latestReview(u *User, c *Connection) (latest *review) {
	for _, x := range s.sessions {
		v := x.review
		if v == nil || x.user != u || v.connection != c.ID || v.kind != timed || v.status != approved {
			continue
		}
		if latest == nil || v.created.After(latest.created) {
			latest = v
		}
	}
	return latest
}

// gated reports whether a user needs a review for a rule's verb: jit for connecting, command for running one command.
func (s *Server) gated(u *User, c *Connection, verb string) bool {
	if len(c.Reviewers) > 0 {
		return true
	}
	r := s.rule(c, verb)
	return r != nil && r.applies(u)
}

// MayExec reports whether the gateway would run a user's commands on a connection without asking for a review.
func (s *Server) MayExec(email, connection string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, c := s.users[email], s.connections[connection]
	return c != nil && !c.ExecDisabled && s.sees(u, c) && !s.gated(u, c, command)
}

// Connect opens a session now and returns its id, or "" if the user is refused.
func (s *Server) Connect(email, connection string) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now().UTC()
	lasts, may := s.lets(email, connection, now)
	if !may {
		return ""
	}
	x := &session{id: uuid(), connection: connection, user: s.users[email], verb: "connect", status: "open",
		created: s.stamp(), until: now.Add(lasts)}
	s.add(x)
	return x.id
}

// Strand moves a live session to another replica of the gateway, where a request to kill it has no effect, or back.
func (s *Server) Strand(id string, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stranded[id] = away
}

// Lives reports whether an opened session is live at that time: until it has lasted as long as its review, or somebody
// kills it. The end of its review does not matter.
func (s *Server) Lives(id string, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.session(id)
	return x != nil && x.ended == nil && at.Before(x.until)
}

// Ask makes a session with a pending review, as a connecting user does, with a correlation id of the user's choice.
func (s *Server) Ask(email, connection, correlation string, lasts time.Duration) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, c := s.users[email], s.connections[connection]
	if u == nil || c == nil {
		fail("no user %s or no connection %s", email, connection)
	}
	x := &session{id: uuid(), connection: connection, user: u, correlation: correlation, verb: "connect",
		status: "open", created: s.stamp()}
	x.review = s.newReview(c, lasts, func(string) *actor { return nil })
	s.add(x)
	return x.id
}

// Decide approves, rejects or revokes the review of a session at a time, as the owner of the token.
func (s *Server) Decide(token, session, status string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, who := s.reviewed(session), s.actors[token]
	if x == nil || who.id == "" {
		fail("no session %s with a review, or no such token", session)
	}
	v := x.review.clone()
	if refused := s.decide(who, x, v, status, at.UTC()); refused != nil {
		fail("%s as %s: %v", status, who.name, refused.body)
	}
	s.write(x, v)
}

// Review is one review, with the names in its session.
type Review struct {
	Session, User, Connection, CorrelationID string
	Type, Status                             string
	Created, Ends                            time.Time
	Metadata                                 map[string]any
	// By is the name of the last who decided on it.
	By string
}

// Reviews returns all reviews in the order of their creation.
func (s *Server) Reviews() []Review {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Review
	for _, x := range s.sessions {
		if x.review == nil {
			continue
		}
		v := Review{Session: x.id, User: x.user.Email, Connection: x.connection, CorrelationID: x.correlation,
			Type: x.review.kind, Status: x.review.status, Created: x.review.created, Metadata: x.metadata}
		if x.review.ends != nil {
			v.Ends = *x.review.ends
		}
		for _, g := range x.review.groups {
			if g.by != nil {
				v.By = g.by.name
			}
		}
		all = append(all, v)
	}
	return all
}

// Sessions counts the sessions, including those without a review.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Dump returns everything but the sessions that the key with a name has approved, and the attributes with a prefix.
func (s *Server) Dump(but, prefix string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sessions []any
	approvedByIt := func(g *group) bool { return g.by != nil && g.by.name == but }
	for _, x := range s.sessions {
		if x.review == nil || !slices.ContainsFunc(x.review.groups, approvedByIt) {
			sessions = append(sessions, x.json())
		}
	}
	attributes := slices.DeleteFunc(s.sorted(), func(a Attribute) bool {
		return prefix != "" && strings.HasPrefix(a.Name, prefix)
	})
	text, err := json.MarshalIndent([]any{s.users, s.connections, sessions, attributes}, "", " ")
	if err != nil {
		fail("%v", err)
	}
	return string(text)
}
