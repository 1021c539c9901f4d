package hooptest

import (
	"net/http"
	"slices"
)

// command is the type of a rule for single commands; that of one for connecting is jit.
const command = "command"

// Rule is an access request rule: who needs a review for which verb (gateway/models/access_request_rules.go).
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

// PutRule adds a rule, or replaces the one of its name.
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

// rule finds the one that decides on a verb: by an attribute of the connection before by its name, and of several the one
// whose id comes first (gateway/services/accessrequest.go).
func (s *Server) rule(c *Connection, verb string) *Rule {
	var byAttribute, byName *Rule
	first := func(found **Rule, r *Rule) {
		if *found == nil || r.ID < (*found).ID {
			*found = r
		}
	}
	for _, r := range s.rules {
		if r.Type != verb && r.Type != timed+"_"+command {
			continue
		}
		if slices.ContainsFunc(r.Attributes, func(name string) bool {
			a := s.attributes[name]
			return a != nil && slices.Contains(a.Connections, c.Name)
		}) {
			first(&byAttribute, r)
		}
		if slices.Contains(r.Connections, c.Name) {
			first(&byName, r)
		}
	}
	if byAttribute != nil {
		return byAttribute
	}
	return byName
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
