package jit

import (
	"errors"
	"strings"
	"time"
)

// Marker is written on the binding itself. It says whose the binding is and when it ends, without a ledger.
type Marker struct {
	Owner  string
	ID     ID
	Window Window
}

// GrantKey identifies a grant. Two owners may have grants with the same id.
type GrantKey struct {
	Owner string
	ID    ID
}

// Key identifies the grant of the marker.
func (m Marker) Key() GrantKey { return GrantKey{m.Owner, m.ID} }

// Check refuses an owner or an id that no grant can have.
func (m Marker) Check() error {
	if err := CheckOwner(m.Owner); err != nil {
		return err
	}
	id, err := ParseID(string(m.ID))
	if err == nil && id != m.ID {
		err = Invalid("id", "write it in lower case", "%q is not in its canonical form", m.ID)
	}
	return err
}

const (
	markerPrefix = "jit"
	markerTime   = "20060102T150405Z"
)

// String writes the marker as one word of printable ASCII without spaces, quotes or slashes:
// jit:<owner>:<id>:<start>:<end>, times as 20261123T180000Z.
func (m Marker) String() string {
	return strings.Join([]string{markerPrefix, m.Owner, string(m.ID),
		m.Window.Start.UTC().Format(markerTime), m.Window.End.UTC().Format(markerTime)}, ":")
}

// Grant returns the facts of a grant that the marker of its binding holds.
func (m Marker) Grant(b Binding) Grant {
	return Grant{ID: m.ID, Owner: m.Owner, Binding: b, Window: m.Window}
}

// ParseMarker reads exactly what [Marker.String] wrote; ok is false for every other text.
func ParseMarker(s string) (m Marker, ok bool) {
	parts := strings.Split(s, ":")
	if len(parts) != 5 || parts[0] != markerPrefix || CheckOwner(parts[1]) != nil || !idForm.MatchString(parts[2]) {
		return Marker{}, false
	}
	start, errStart := time.Parse(markerTime, parts[3])
	end, errEnd := time.Parse(markerTime, parts[4])
	if errors.Join(errStart, errEnd) != nil {
		return Marker{}, false
	}
	m = Marker{Owner: parts[1], ID: ID(parts[2]), Window: Window{start, end}}
	return m, m.String() == s
}
