package gcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// policyVersion is the version of policies with conditions. It is asked for with every read and sent with every
// write: in a lower one the service silently drops all conditions (https://cloud.google.com/iam/docs/policies#versions).
const policyVersion = 3

// policy is one resource's policy. What is not ours stays as the service sent it, with fields that are unknown
// here, which the SDK's own type would drop.
type policy struct {
	fields   map[string]json.RawMessage // all but bindings
	bindings []binding
}

// binding is one role, those who have it and under which condition.
type binding struct {
	Role      string     `json:"role"`
	Members   []string   `json:"members"`
	Condition *condition `json:"condition,omitempty"`

	// fields is the binding as the service sent it; nil of one that was made here.
	fields map[string]json.RawMessage
	// marks are the markers of a binding that is ours: one, or those of all who share it until minute.
	marks  []mark
	minute time.Time
}

// newBinding is what a grant has to have, written at now.
func newBinding(a jit.Access, r role, now time.Time) binding {
	return binding{
		Role: r.name, Members: []string{a.Binding.Principal}, Condition: newCondition(a.Marker, r, now),
		marks: []mark{{Marker: a.Marker}},
	}
}

// UnmarshalJSON keeps what it reads.
func (b *binding) UnmarshalJSON(text []byte) error {
	type plain binding
	if err := json.Unmarshal(text, (*plain)(b)); err != nil {
		return err
	}
	if err := json.Unmarshal(text, &b.fields); err != nil {
		return err
	}
	b.readMarks()
	return nil
}

// MarshalJSON writes what was read as it was.
func (b binding) MarshalJSON() ([]byte, error) {
	if b.fields != nil {
		return marshal(b.fields)
	}
	type plain binding
	return marshal(plain(b))
}

// marshal is json.Marshal that leaves <, > and & as they are.
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
	var named struct {
		Etag     string    `json:"etag"`
		Bindings []binding `json:"bindings"`
	}
	if err := errors.Join(json.Unmarshal(text, &p.fields), json.Unmarshal(text, &named)); err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	if named.Etag == "" {
		// Without it a write would overwrite whatever others have written meanwhile.
		return nil, errors.New("the policy came without an etag")
	}
	delete(p.fields, "bindings")
	p.bindings = named.Bindings
	return p, nil
}

// encode writes the policy as the service takes it.
func (p *policy) encode() (json.RawMessage, error) {
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

// having returns the binding with other members, all else as it was sent.
func (b binding) having(members []string) binding {
	b.Members = members
	if b.fields != nil {
		members, err := marshal(b.Members)
		if err != nil {
			panic(err) // strings always marshal
		}
		b.fields = maps.Clone(b.fields)
		b.fields["members"] = members
	}
	return b
}

// ours reports whether the binding bears markers.
func (b binding) ours() bool { return len(b.marks) > 0 }

// markOf returns which of the binding's marks is of a grant; -1: none.
func (b binding) markOf(of owned) int {
	return slices.IndexFunc(b.marks, func(m mark) bool { return ownedBy(m.Marker) == of })
}

// ofDeleted reports whether the accounts of all who have the access were deleted.
func (b binding) ofDeleted() bool {
	return !slices.ContainsFunc(b.Members, func(m string) bool { return !strings.HasPrefix(m, deletedPrefix) })
}

// lost returns the bindings whose condition was sent and is not in the answer to the write.
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
