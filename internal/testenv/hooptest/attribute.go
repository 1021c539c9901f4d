package hooptest

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Attribute connects the objects that it lists.
type Attribute struct {
	Name               string   `json:"name"`
	Description        *string  `json:"description"`
	Connections        []string `json:"connection_names"`
	AccessRequestRules []string `json:"access_request_rule_names"`
	GuardrailRules     []string `json:"guardrail_rule_names"`
	DatamaskingRules   []string `json:"datamasking_rule_names"`
	Groups             []string `json:"access_control_group_names"`
}

// clone returns a copy with lists instead of nothing, as the gateway answers.
func (a *Attribute) clone() Attribute {
	c := *a
	lists := []*[]string{&c.Connections, &c.AccessRequestRules, &c.GuardrailRules, &c.DatamaskingRules, &c.Groups}
	for _, list := range lists {
		*list = append([]string{}, *list...)
	}
	return c
}

// Edit changes the attribute with a name directly, as another administrator would. It creates a missing one, and
// deletes it if edit returns false.
func (s *Server) Edit(name string, edit func(a *Attribute) (keep bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &Attribute{Name: name}
	if there := s.attributes[name]; there != nil {
		*a = there.clone()
	}
	s.put(name, nil)
	if edit(a) {
		s.put(a.Name, a)
	}
}

// former is an attribute as it was until a time; nil if there was none.
type former struct {
	name  string
	until time.Time
	was   *Attribute
}

// put writes an attribute, or deletes it.
func (s *Server) put(name string, a *Attribute) {
	was := s.attributes[name]
	if was != nil {
		one := was.clone()
		was = &one
	}
	s.before = append(s.before, former{name, s.now(), was})
	if s.attributes[name] = a; a == nil {
		delete(s.attributes, name)
	}
}

// listed are the attributes as the list shows them.
func (s *Server) listed() []Attribute {
	all := map[string]*Attribute{}
	maps.Copy(all, s.attributes)
	for _, f := range slices.Backward(s.before) {
		if s.lag == 0 || f.until.Before(s.now().Add(-s.lag)) {
			break
		}
		if all[f.name] = f.was; f.was == nil {
			delete(all, f.name)
		}
	}
	return sorted(all)
}

// Attributes returns all attributes in the order of their names.
func (s *Server) Attributes() []Attribute {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sorted()
}

func (s *Server) sorted() []Attribute { return sorted(s.attributes) }

func sorted(attributes map[string]*Attribute) []Attribute {
	all := make([]Attribute, 0, len(attributes))
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		all = append(all, attributes[name].clone())
	}
	return all
}

func (s *Server) listAttributes(r *request) answer {
	q := r.URL.Query()
	number := func(name string, otherwise, most int) (int, bool) {
		if q.Get(name) == "" {
			return otherwise, true
		}
		n, err := strconv.Atoi(q.Get(name))
		return n, err == nil && n >= 1 && n <= most
	}
	page, ok := number("page", 1, 1<<30)
	size, fits := number("page_size", 100, 100)
	if !ok || !fits {
		return say(http.StatusUnprocessableEntity, "page and page_size must be numbers from 1, page_size up to 100")
	}
	found := slices.DeleteFunc(s.listed(), func(a Attribute) bool {
		return !strings.Contains(strings.ToLower(a.Name), strings.ToLower(q.Get("search")))
	})
	from := min((page-1)*size, len(found))
	return answer{http.StatusOK, map[string]any{
		"pages": map[string]int{"total": len(found), "page": page, "size": size},
		"data":  found[from:min(from+size, len(found))],
	}}
}

func (s *Server) getAttribute(r *request) answer {
	a := s.attributes[r.PathValue("name")]
	if a == nil { // the handler checks for a different error
		return say(http.StatusInternalServerError, "failed fetching attribute: record not found")
	}
	return answer{http.StatusOK, a.clone()}
}

func (s *Server) postAttribute(r *request) answer {
	in, refused := read[Attribute](r)
	switch {
	case refused != nil:
		return *refused
	case in.Name == "":
		return say(http.StatusBadRequest, "Error:Field validation for 'Name' failed on the 'required' tag")
	case s.attributes[in.Name] != nil:
		return say(http.StatusInternalServerError,
			"failed creating attribute: duplicate key value violates unique constraint")
	}
	if s.dangling(in) {
		return say(http.StatusInternalServerError, "failed creating attribute: violates foreign key constraint")
	}
	s.put(in.Name, &in)
	return answer{http.StatusCreated, in.clone()}
}

// dangling reports whether an attribute names a connection that does not exist.
func (s *Server) dangling(a Attribute) bool {
	return slices.ContainsFunc(a.Connections, func(name string) bool { return s.connections[name] == nil })
}

func (s *Server) putAttribute(r *request) answer {
	in, refused := read[Attribute](r)
	there := s.attributes[r.PathValue("name")]
	switch {
	case refused != nil:
		return *refused
	case there == nil:
		return say(http.StatusNotFound, "resource not found")
	case in.Name != there.Name || s.dangling(in):
		return say(http.StatusInternalServerError, "failed updating attribute: violates foreign key constraint")
	}
	// A missing list stays unchanged.
	for _, l := range []struct{ in, there *[]string }{
		{&in.Connections, &there.Connections}, {&in.AccessRequestRules, &there.AccessRequestRules},
		{&in.GuardrailRules, &there.GuardrailRules}, {&in.DatamaskingRules, &there.DatamaskingRules},
		{&in.Groups, &there.Groups},
	} {
		if *l.in == nil {
			*l.in = *l.there
		}
	}
	s.put(in.Name, &in)
	return answer{http.StatusOK, in.clone()}
}

func (s *Server) deleteAttribute(r *request) answer {
	name := r.PathValue("name")
	if s.attributes[name] == nil {
		return say(http.StatusNotFound, "resource not found")
	}
	if !s.idle {
		s.put(name, nil)
	}
	return answer{status: http.StatusNoContent}
}
