package hooptest

import (
	"encoding/json"
	"slices"
	"time"
)

// MayConnect reports whether the gateway would let a user connect at that time, as things are now.
func (s *Server) MayConnect(email, connection string, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, may := s.lets(email, connection, at)
	return may
}

// lets decides, and tells how long a session may go on. The latest approved review of the user and the connection decides
// alone, also when it is over and an earlier one is not; without one that lets the user in, whoever is asked for no review
// goes in (gateway/transport/interceptors/accessrequest/accessrequest.go, OnReceive).
func (s *Server) lets(email, name string, at time.Time) (lasts time.Duration, may bool) {
	u, c := s.users[email], s.connections[name]
	if u == nil || u.Status != "active" || c == nil || c.Disabled || !s.admits(u.Groups, c) {
		return 0, false
	}
	var latest *review
	for _, x := range s.sessions {
		if v := x.review; v != nil && x.user == u && v.connection == c.ID && v.kind == timed && v.status == approved &&
			(latest == nil || v.created.After(latest.created)) {
			latest = v
		}
	}
	if latest != nil && latest.ends != nil && !latest.ends.Before(at) {
		return time.Duration(latest.seconds) * time.Second, true
	}
	return 1 << 62, !s.gated(u, c, timed)
}

// gated reports whether a user needs a review for the verb, which is that of a rule: jit for connecting, command for
// running one command.
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
	return u != nil && u.Status == "active" && c != nil && !c.ExecDisabled && s.admits(u.Groups, c) && !s.gated(u, c, command)
}

// Connect opens a session now, and returns its id; it is empty when the user is not let in.
func (s *Server) Connect(email, connection string) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now().UTC()
	lasts, may := s.lets(email, connection, now)
	if !may {
		return ""
	}
	x := &session{id: uuid(), connection: connection, user: s.users[email], verb: "connect", status: "open", created: s.stamp(), until: now.Add(lasts)}
	s.add(x)
	return x.id
}

// Strand says whether a live session is on another replica of the gateway, so that a request to kill it has no effect.
func (s *Server) Strand(id string, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stranded[id] = away
}

// Lives reports whether a session that was opened is live at that time: until it has lasted as long as its review, or
// somebody kills it. That its review ends does not matter.
func (s *Server) Lives(id string, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.session(id)
	return x != nil && x.ended == nil && at.Before(x.until)
}

// Ask makes a session with a pending review, as a user does who connects, with a correlation id of the user's choice.
func (s *Server) Ask(email, connection, correlation string, lasts time.Duration) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, c := s.users[email], s.connections[connection]
	if u == nil || c == nil {
		fail("no user %s or no connection %s", email, connection)
	}
	x := &session{id: uuid(), connection: connection, user: u, correlation: correlation, verb: "connect", status: "open", created: s.stamp()}
	x.review = &review{id: uuid(), kind: timed, status: pending, seconds: int64(lasts / time.Second), connection: c.ID, created: s.stamp()}
	reviewers := c.Reviewers
	if len(reviewers) == 0 {
		reviewers = []string{admin}
	}
	for _, name := range reviewers {
		x.review.groups = append(x.review.groups, &group{id: uuid(), name: name, status: pending})
	}
	s.add(x)
	return x.id
}

// Decide approves, rejects or revokes the review of a session at a time, as whoever the token is of.
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

// Review is one review, with what its session is called.
type Review struct {
	Session, User, Connection, CorrelationID string
	Type, Status                             string
	Created, Ends                            time.Time
	Metadata                                 map[string]any
	// By is the name of who has decided on it last.
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

// Sessions counts the sessions, those without a review among them.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Dump writes down everything but the sessions that the key of that name has approved, and the attributes with a prefix.
func (s *Server) Dump(but, prefix string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sessions []any
	for _, x := range s.sessions {
		if x.review == nil || !slices.ContainsFunc(x.review.groups, func(g *group) bool { return g.by != nil && g.by.name == but }) {
			sessions = append(sessions, x.json())
		}
	}
	attributes := slices.DeleteFunc(s.sorted(), func(a Attribute) bool {
		return prefix != "" && len(a.Name) >= len(prefix) && a.Name[:len(prefix)] == prefix
	})
	text, err := json.MarshalIndent([]any{s.users, s.connections, sessions, attributes}, "", " ")
	if err != nil {
		fail("%v", err)
	}
	return string(text)
}
