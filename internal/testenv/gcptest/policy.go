package gcptest

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
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
	// Only datasets have Authorized: the access entries of views, routines and datasets.
	Authorized []json.RawMessage `json:"-"`
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
	p.Bindings, p.Authorized = slices.Clone(p.Bindings), slices.Clone(p.Authorized)
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
	if s.lag > 0 {
		at.past = append(at.past, past{time.Now(), at.policy})
	}
	at.policy = Policy{Etag: s.etag(), Bindings: canonical(p.Bindings), AuditConfigs: p.AuditConfigs,
		Authorized: p.Authorized}
}

// past is the policy of a resource until a time.
type past struct {
	until  time.Time
	policy Policy
}

// shown returns the resource as a read shows it: as it was at some time within the lag
// (https://cloud.google.com/iam/docs/overview#consistency).
func (s *Server) shown(at *resource) *resource {
	as := time.Now().Add(-s.lag)
	for _, was := range at.past {
		if was.until.After(as) {
			old := *at
			old.policy = was.policy
			return &old
		}
	}
	return at
}

// when is the condition; empty if there is none.
func (b Binding) when() Condition {
	if b.Condition == nil {
		return Condition{}
	}
	return *b.Condition
}

// canonical merges bindings of the same role and condition, drops empty ones and sorts all, which exposes a client that
// relies on the order in which it wrote them.
func canonical(bindings []Binding) []Binding {
	type key struct {
		role        string
		conditional bool
		Condition
	}
	merged := map[key]*Binding{}
	for _, b := range bindings {
		key := key{b.Role, b.Condition != nil, b.when()}
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
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.when().Title, b.when().Title),
			cmp.Compare(a.when().Description, b.when().Description),
			cmp.Compare(a.when().Expression, b.when().Expression))
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
	if r.kind.storage() {
		p.Kind, p.ResourceID = "storage#policy", strings.TrimPrefix(r.scope, "//storage.googleapis.com/")
	}
	return p
}

func (s *Server) getPolicy(at *resource, r *http.Request) (any, *failure) {
	version := 0
	if at.kind.Version != "" {
		if f := onlyParameter(r, at.kind.Version); f != nil {
			return nil, f
		}
		_, _ = fmt.Sscan(r.URL.Query().Get(at.kind.Version), &version)
		if at.kind.dataset() {
			return s.shown(at).answerDataset(version), nil
		}
		return s.shown(at).sent(version), nil
	}
	if f := onlyParameter(r, ""); f != nil {
		return nil, f
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
	return s.shown(at).sent(version), nil
}

// onlyParameter refuses a read with any other parameter, or with a body where the parameter takes its place.
func onlyParameter(r *http.Request, name string) *failure {
	for given := range r.URL.Query() {
		if given != name && given != "alt" && given != "prettyPrint" { // those every API has
			return invalid("Invalid JSON payload received. Unknown name %q: Cannot bind query parameter.", given)
		}
	}
	if name == "" {
		return nil
	}
	if text, err := io.ReadAll(r.Body); err != nil || len(text) > 0 {
		return invalid("Invalid JSON payload received. Unknown name \"options\": Cannot find field.")
	}
	return nil
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
	if !strings.Contains(mask, "auditConfigs") || at.kind.storage() {
		p.AuditConfigs = at.policy.AuditConfigs
	}
	s.store(at, p)
	if at.kind.dataset() {
		return at.answerDataset(3), nil
	}
	return at.sent(3), nil
}

// received reads the policy to write, and the mask of its fields.
func (r *resource) received(q *http.Request) (p Policy, mask string, f *failure) {
	if r.kind.dataset() {
		p, f = r.receivedDataset(q)
		return p, "", f
	}
	if r.kind.storage() {
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
	if at.kind.Precondition {
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
