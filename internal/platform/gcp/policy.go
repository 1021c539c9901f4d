package gcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// policyVersion is the version of policies with conditions. Every read asks for it and every write sends it, because
// with a lower version the service silently drops all conditions (https://cloud.google.com/iam/docs/policies#versions).
const policyVersion = 3

// policy is a resource's policy. Bindings of others stay as the service sent them, including fields that the SDK's type
// would drop.
type policy struct {
	fields   map[string]json.RawMessage // all but bindings
	bindings []binding
	// dataset: it has access entries, each for one member.
	dataset bool
}

// binding is a role, its members and its condition.
type binding struct {
	Role      string     `json:"role"`
	Members   []string   `json:"members"`
	Condition *condition `json:"condition,omitempty"`

	// sent is the binding as the service sent it; nil if it was made here.
	sent json.RawMessage
	// marks are the markers of one of our bindings: one, or one for each grant that shares it until minute.
	marks  []mark
	minute time.Time
}

// newBinding is the binding of a grant, written at now.
func newBinding(a jit.Access, r role, now time.Time) binding {
	return binding{
		Role: r.name, Members: []string{a.Binding.Principal}, Condition: newCondition(a.Marker, r, now),
		marks: []mark{{Marker: a.Marker}},
	}
}

// UnmarshalJSON keeps the binding as the service sent it.
func (b *binding) UnmarshalJSON(text []byte) error {
	type plain binding
	if err := json.Unmarshal(text, (*plain)(b)); err != nil {
		return err
	}
	b.sent = slices.Clone(text)
	b.readMarks()
	return nil
}

// MarshalJSON writes a binding that was read as it was.
func (b binding) MarshalJSON() ([]byte, error) {
	if b.sent != nil {
		return b.sent, nil
	}
	type plain binding
	return marshal(plain(b))
}

// marshal is json.Marshal, but leaves <, > and & as they are.
func marshal(v any) ([]byte, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return text.Bytes(), err
}

// decodePolicy reads a policy as the service sends it.
func decodePolicy(text []byte) (*policy, error) {
	p := &policy{}
	var etag string
	if err := json.Unmarshal(text, &p.fields); err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	for name, into := range map[string]any{"etag": &etag, "bindings": &p.bindings} {
		if value, there := p.fields[name]; there {
			if err := json.Unmarshal(value, into); err != nil {
				return nil, fmt.Errorf("read the policy: %w", err)
			}
		}
	}
	if etag == "" {
		// A write without the etag would overwrite what others write meanwhile.
		return nil, errors.New("the policy came without an etag")
	}
	delete(p.fields, "bindings")
	return p, nil
}

// encode writes the policy as the service accepts it.
func (p *policy) encode() (json.RawMessage, error) {
	if p.dataset {
		return p.encodeDataset()
	}
	all := make(map[string]any, len(p.fields)+2)
	for name, value := range p.fields {
		all[name] = value
	}
	all["bindings"], all["version"] = p.bindings, policyVersion
	text, err := marshal(all)
	if err != nil {
		return nil, fmt.Errorf("write the policy: %w", err)
	}
	return text, nil
}

// having returns the binding with other members. All else stays as it was sent.
func (b binding) having(members []string) binding {
	b.Members = members
	if b.sent == nil {
		return b
	}
	fields, named := map[string]json.RawMessage{}, json.RawMessage{}
	err := json.Unmarshal(b.sent, &fields)
	if err == nil {
		named, err = marshal(members)
	}
	fields["members"] = named
	if err == nil {
		b.sent, err = marshal(fields)
	}
	if err != nil {
		panic(err) // it was JSON when it was read, and strings always are
	}
	return b
}

// ours reports whether the binding bears markers.
func (b binding) ours() bool { return len(b.marks) > 0 }

// markOf returns the index of a grant's mark in the binding, or -1.
func (b binding) markOf(of jit.GrantKey) int {
	return slices.IndexFunc(b.marks, func(m mark) bool { return m.Marker.Key() == of })
}

// gone reports whether the account of one grant was deleted.
func (b binding) gone(k int) bool {
	m := b.marks[k].member
	return m >= 0 && strings.HasPrefix(b.Members[m], deletedPrefix)
}

// ofDeleted reports whether the accounts of all members were deleted.
func (b binding) ofDeleted() bool {
	return !slices.ContainsFunc(b.Members, func(m string) bool { return !strings.HasPrefix(m, deletedPrefix) })
}

// lost returns the bindings whose condition was sent and is missing in the answer.
func (p *policy) lost(answer *policy) []binding {
	type key struct {
		role string
		condition
	}
	there := map[key]bool{}
	for _, b := range answer.bindings {
		if b.Condition != nil {
			there[key{b.Role, *b.Condition}] = true
		}
	}
	var lost []binding
	for _, b := range p.bindings {
		if b.Condition != nil && len(b.Members) > 0 && !there[key{b.Role, *b.Condition}] {
			lost = append(lost, b)
		}
	}
	return lost
}
