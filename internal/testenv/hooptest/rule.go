package hooptest

import (
	"cmp"
	"net/http"
	"slices"
)

// command is the type of a rule for single commands. The type of a rule for connecting is jit.
const command = "command"

// Rule is an access request rule. It says who needs a review for which verb (gateway/models/access_request_rules.go).
type Rule struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Type is "jit", "command" or "jit_command".
	Type        string   `json:"access_type"`
	Connections []string `json:"connection_names"`
	Attributes  []string `json:"attributes"`
	// Required, if not empty, are the only groups whose members need a review. Otherwise members of Skipped need none.
	Required  []string `json:"approval_required_groups"`
	Skipped   []string `json:"skip_review_groups"`
	Reviewers []string `json:"reviewers_groups"`
	// MaxDuration bounds a review, in seconds; 0 for none.
	MaxDuration int `json:"-"`
}

// PutRule adds a rule, or replaces the one with its name.
func (s *Server) PutRule(r Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putRule(r)
}

func (s *Server) putRule(r Rule) {
	s.dropRule(r.Name)
	r.ID = uuid()
	s.rules = append(s.rules, &r)
}

func (s *Server) dropRule(name string) {
	s.rules = slices.DeleteFunc(s.rules, func(r *Rule) bool { return r.Name == name })
}

// rule returns the rule that decides on a verb. A rule for an attribute of the connection precedes one for its name;
// then the lowest id decides (gateway/services/accessrequest.go).
func (s *Server) rule(c *Connection, verb string) *Rule {
	first := func(is func(r *Rule) bool) *Rule {
		found := slices.DeleteFunc(slices.Clone(s.rules), func(r *Rule) bool {
			return r.Type != verb && r.Type != timed+"_"+command || !is(r)
		})
		if len(found) == 0 {
			return nil
		}
		return slices.MinFunc(found, func(a, b *Rule) int { return cmp.Compare(a.ID, b.ID) })
	}
	on := func(attribute string) bool {
		a := s.attributes[attribute]
		return a != nil && slices.Contains(a.Connections, c.Name)
	}
	return cmp.Or(
		first(func(r *Rule) bool { return slices.ContainsFunc(r.Attributes, on) }),
		first(func(r *Rule) bool { return slices.Contains(r.Connections, c.Name) }))
}

// applies reports whether the rule asks a user for a review.
func (r *Rule) applies(u *User) bool {
	in := func(groups []string) bool {
		return slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(u.Groups, g) })
	}
	if len(r.Required) > 0 {
		return in(r.Required)
	}
	return !in(r.Skipped)
}

// listRules lists all rules. Without a page size there is one page.
func (s *Server) listRules(r *request) answer {
	if q := r.URL.Query(); q.Get("page") != "" || q.Get("page_size") != "" {
		return say(http.StatusBadRequest, "rules are not paged here")
	}
	return answer{http.StatusOK, map[string]any{
		"pages": map[string]int{"total": len(s.rules), "page": 1, "size": 0},
		"data":  append([]*Rule{}, s.rules...),
	}}
}
