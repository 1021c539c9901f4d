package gcptest

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Policy is a policy as the APIs write it (https://cloud.google.com/iam/docs/reference/rest/v1/Policy).
type Policy struct {
	Version      int       `json:"version,omitempty"`
	Etag         string    `json:"etag,omitempty"`
	Bindings     []Binding `json:"bindings,omitempty"`
	AuditConfigs any       `json:"auditConfigs,omitempty"`
	// Only buckets have Kind and ResourceID.
	Kind       string `json:"kind,omitempty"`
	ResourceID string `json:"resourceId,omitempty"`
}

// Binding is a role and its members.
type Binding struct {
	Role      string     `json:"role"`
	Members   []string   `json:"members"`
	Condition *Condition `json:"condition,omitempty"`
	// BindingID stands for fields that clients do not know yet.
	BindingID string `json:"bindingId,omitempty"`
}

// Condition narrows a binding.
type Condition struct {
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Expression  string `json:"expression,omitempty"`
	Location    string `json:"location,omitempty"`
}

// Clone copies a policy.
func (p Policy) Clone() Policy {
	p.Bindings = slices.Clone(p.Bindings)
	for i, b := range p.Bindings {
		p.Bindings[i].Members = slices.Clone(b.Members)
		if b.Condition != nil {
			c := *b.Condition
			p.Bindings[i].Condition = &c
		}
	}
	return p
}

// Policy returns the policy of a resource.
func (s *Server) Policy(scope string) Policy {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.resources[scope]
	if !ok {
		return Policy{}
	}
	p := at.policy.Clone()
	p.Version = p.version()
	return p
}

// Edit changes the policy of a resource as an outsider does, without checks.
func (s *Server) Edit(scope string, edit func(*Policy)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.resources[scope]
	p := at.policy.Clone()
	edit(&p)
	s.store(at, p)
}

// Strip writes the policy back like a tool that knows no conditions: without an etag, in version 1.
func (s *Server) Strip(scope string) {
	s.Edit(scope, (*Policy).strip)
}

// strip drops all conditions.
func (p *Policy) strip() {
	for i := range p.Bindings {
		p.Bindings[i].Condition = nil
	}
}

func (p Policy) version() int {
	if slices.ContainsFunc(p.Bindings, func(b Binding) bool { return b.Condition != nil }) {
		return 3
	}
	return 1
}

// etag makes a new etag.
func (s *Server) etag() string {
	s.etags++
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "policy %d", s.etags))
}

// store keeps a policy in its canonical form.
func (s *Server) store(at *resource, p Policy) {
	at.policy = Policy{Etag: s.etag(), Bindings: canonical(p.Bindings), AuditConfigs: p.AuditConfigs}
}

// canonical merges bindings of the same role and condition, drops empty ones and sorts all, which exposes a client that
// relies on the order in which it wrote them.
func canonical(bindings []Binding) []Binding {
	merged := map[string]*Binding{}
	for _, b := range bindings {
		key := b.Role
		if b.Condition != nil {
			key = fmt.Sprintf("%s\x00%q", b.Role, *b.Condition)
		}
		if there, ok := merged[key]; ok {
			there.Members = append(there.Members, b.Members...)
			there.BindingID = cmp.Or(there.BindingID, b.BindingID)
			continue
		}
		b.Members = slices.Clone(b.Members)
		merged[key] = &b
	}
	var all []Binding
	for _, b := range merged {
		slices.Sort(b.Members)
		if b.Members = slices.Compact(b.Members); len(b.Members) > 0 {
			all = append(all, *b)
		}
	}
	slices.SortFunc(all, func(a, b Binding) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role),
			cmp.Compare(fmt.Sprintf("%q", a.Condition), fmt.Sprintf("%q", b.Condition)))
	})
	return all
}

// sent returns the policy in the form of a requested version.
func (r *resource) sent(version int) Policy {
	p := r.policy.Clone()
	p.Version = p.version()
	if p.Version == 3 && version < 3 {
		// https://cloud.google.com/iam/docs/policies#specifying-version-get
		p.Version = 1
		for i, b := range p.Bindings {
			if b.Condition != nil {
				sum := sha256.Sum256(fmt.Appendf(nil, "%q", *b.Condition))
				p.Bindings[i].Role, p.Bindings[i].Condition = b.Role+"_withcond_"+hex.EncodeToString(sum[:10]), nil
			}
		}
	}
	if r.bucket() {
		p.Kind, p.ResourceID = "storage#policy", strings.TrimPrefix(r.scope, "//storage.googleapis.com/")
	}
	return p
}

func (s *Server) getPolicy(at *resource, r *http.Request) (any, *failure) {
	version := 0
	if at.bucket() {
		_, _ = fmt.Sscan(r.URL.Query().Get("optionsRequestedPolicyVersion"), &version)
		return at.sent(version), nil
	}
	var body struct {
		Options struct {
			RequestedPolicyVersion int `json:"requestedPolicyVersion"`
		} `json:"options"`
	}
	if f := decode(r, &body); f != nil {
		return nil, f
	}
	if version = body.Options.RequestedPolicyVersion; version != 0 && version != 1 && version != 3 {
		return nil, invalid("Invalid requested policy version %d.", version)
	}
	return at.sent(version), nil
}

// decode reads a body. Like the service, it refuses unknown fields.
func decode(r *http.Request, into any) *failure {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return invalid("Invalid JSON payload received: %v", err)
	}
	return nil
}

func (s *Server) setPolicy(at *resource, r *http.Request, downgrade bool) (any, *failure) {
	p, mask, f := at.received(r)
	if f == nil {
		f = s.race(at, p.Etag)
	}
	if f != nil {
		return nil, f
	}
	switch {
	case p.Version != 0 && p.Version != 1 && p.Version != 3:
		return nil, invalid("Invalid policy version %d.", p.Version)
	case p.Version != 3 || downgrade:
		p = p.Clone()
		p.strip() // https://cloud.google.com/iam/docs/policies#versions: all conditions are lost
	}
	if f := s.validate(at, p); f != nil {
		return nil, f
	}
	if s.grantable != nil && !grantsOnly(s.grantable, at.policy, p) {
		return nil, refuse(http.StatusForbidden, "PERMISSION_DENIED", "Policy update access denied.")
	}
	if !strings.Contains(mask, "auditConfigs") || at.bucket() {
		p.AuditConfigs = at.policy.AuditConfigs
	}
	s.store(at, p)
	return at.sent(3), nil
}

// received reads the policy to write, and the mask of its fields.
func (r *resource) received(q *http.Request) (p Policy, mask string, f *failure) {
	if r.bucket() {
		f = decode(q, &p)
		return p, "", f
	}
	var body struct {
		Policy     Policy `json:"policy"`
		UpdateMask string `json:"updateMask"`
	}
	f = decode(q, &body)
	return body.Policy, cmp.Or(body.UpdateMask, "bindings,etag"), f
}

// race refuses a write if the policy has changed since it was read.
func (s *Server) race(at *resource, etag string) *failure {
	switch etag {
	case "":
		s.blind++
		return nil
	case at.policy.Etag:
		return nil
	}
	s.conflicts++
	if at.bucket() {
		return refuse(http.StatusPreconditionFailed, "conditionNotMet",
			"At least one of the pre-conditions you specified did not hold.")
	}
	return refuse(http.StatusConflict, "ABORTED", "There were concurrent policy changes. Please retry the whole "+
		"read-modify-write with exponential backoff. "+
		"The request's ETag '%s' did not match the current policy's ETag '%s'.", etag, at.policy.Etag)
}

// grantsOnly reports whether two policies differ only in these roles.
func grantsOnly(roles []string, before, after Policy) bool {
	rest := func(p Policy) string {
		of := func(b Binding) bool { return slices.Contains(roles, b.Role) }
		text, _ := json.Marshal(slices.DeleteFunc(canonical(p.Bindings), of))
		return string(text)
	}
	return rest(before) == rest(after)
}

// exempted counts the principals that are exempt from audit logs.
func (p Policy) exempted() int {
	var configs []struct {
		AuditLogConfigs []struct {
			ExemptedMembers []string `json:"exemptedMembers"`
		} `json:"auditLogConfigs"`
	}
	text, err := json.Marshal(p.AuditConfigs)
	if err != nil || json.Unmarshal(text, &configs) != nil {
		return 0
	}
	n := 0
	for _, c := range configs {
		for _, l := range c.AuditLogConfigs {
			n += len(l.ExemptedMembers)
		}
	}
	return n
}
