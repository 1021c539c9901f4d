package jit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Standing is access that outlasts every grant: no record explains it, and the platform does not end it soon.
type Standing struct {
	Principal string // canonical where the platform's form allows, else as found
	Role      string
	// Covers is the prefix of narrower roles that this role includes; empty if there are none.
	Covers string
	// Anybody: everybody whom the platform lets in has the access, so every principal has it.
	Anybody bool
	// Members is [Session.Prefix] of a role whose sessions have the access too; empty if there are none.
	Members string
	// Detail says where it is ("line 3", "ClusterRoleBinding/ops").
	Detail string
	// From is the wider scope on which the access is given; empty if it is given on the scope itself.
	From string
	// End is the end that the platform itself enforces; zero if there is none.
	End time.Time
	// Marker is the marker that the access bears although no grant explains it; zero if it bears none. It has no window
	// if only the name of the binding, which a platform made from the id, names a grant.
	Marker Marker
}

// Unmarked reports whether only the name of the binding names a grant.
func (s Standing) Unmarked() bool { return s.Claims() && s.Marker.Window == Window{} }

// Claims reports whether the access bears a marker, so it claims to belong to a grant.
func (s Standing) Claims() bool { return s.Marker.ID != "" }

// has reports whether a principal has the access.
func (s Standing) has(principal string) bool {
	return s.Anybody || s.Principal == principal || s.Members != "" && strings.HasPrefix(principal, s.Members)
}

// gives reports whether the access includes that of the binding.
func (s Standing) gives(b Binding) bool {
	return s.has(b.Principal) && (s.Role == b.Role || s.Covers != "" && strings.HasPrefix(b.Role, s.Covers) ||
		s.Role != "" && strings.HasPrefix(b.Role, s.Role+If)) // a condition only takes away
}

// Marked returns the ids in the markers of a snapshot.
func (s Snapshot) Marked() map[ID]bool {
	ids := map[ID]bool{}
	for i := range s.Ours {
		ids[s.Ours[i].Marker.ID] = true
	}
	for i := range s.Standing {
		if s.Standing[i].Claims() {
			ids[s.Standing[i].Marker.ID] = true
		}
	}
	return ids
}

// StandingOf finds access without an end and without a marker that includes that of the binding.
func (s Snapshot) StandingOf(b Binding) (Standing, bool) {
	return first(s.standingTo(b.Principal), func(found Standing) bool {
		return found.End.IsZero() && !found.Claims() && found.gives(b)
	})
}

// Shadow finds standing access that includes that of the binding and outlasts an end; a zero end is never.
func Shadow(all []Standing, b Binding, end time.Time) (Standing, bool) {
	return first(all, func(s Standing) bool {
		return s.gives(b) && (s.End.IsZero() || !end.IsZero() && s.End.After(end))
	})
}

func first(all []Standing, is func(Standing) bool) (Standing, bool) {
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], true
	}
	return Standing{}, false
}

// Records decides which bindings are explained. A marker explains nothing: anyone who can write on a target can write
// one. A binding is explained if the ledger knows the grant and the binding is as recorded, or if the platform itself
// ends it within MaxTTL.
type Records struct {
	Now    time.Time
	MaxTTL time.Duration
	// Grants are the recorded grants that the markers name, of every owner.
	Grants map[ID]Grant
	// Unread says why the ledger could not be read; nil if it was.
	Unread error
}

// Standing returns all standing access of a snapshot: access without a marker that does not end within MaxTTL, and
// access with a marker that is not explained. A grant of a wider scope explains access given there. Every command and
// page that lists standing access uses it.
func (r Records) Standing(s Snapshot, scope string) []Standing {
	var all []Standing
	for _, found := range s.Standing {
		if explained := found.Claims() && r.Explains(found) || !found.Claims() && r.Soon(found.End); !explained {
			all = append(all, found)
		}
	}
	type access struct {
		principal, role, detail string
		id                      ID
	}
	told := map[access]bool{}
	for _, o := range s.Ours {
		why := r.Unexplained(o, scope)
		key := access{o.Principal, o.Role, o.Detail, o.Marker.ID}
		if why == "" || told[key] {
			continue
		}
		told[key] = true
		detail := fmt.Sprintf("it bears the marker of grant %s of owner %q, but %s", o.Marker.ID, o.Marker.Owner, why)
		if o.Detail != "" {
			detail = o.Detail + ": " + detail
		}
		all = append(all, Standing{
			Principal: o.Principal, Role: cmp.Or(o.Role, "unknown"), Covers: o.Covers, Members: o.Members,
			Detail: detail, End: o.End, Marker: o.Marker,
		})
	}
	return all
}

// Soon reports whether an end that the platform enforces comes within the length of the longest grant.
func (r Records) Soon(end time.Time) bool {
	return !end.IsZero() && !end.After(r.Now.Add(r.MaxTTL+MaxSkew))
}

// Unexplained says why a marked binding on a scope is not explained; empty if it is, or if it gives no access.
func (r Records) Unexplained(o Observed, scope string) string {
	if o.Principal == "" || r.Soon(o.End) {
		return ""
	}
	end := "the target enforces no end"
	if !o.End.IsZero() {
		end = fmt.Sprintf("the end that the target enforces, %s, is further ahead than max_ttl", FormatTime(o.End))
	}
	if why := r.otherGrant(o, scope); why != "" {
		return why + ", and " + end
	}
	return r.otherTime(o, r.Grants[o.Marker.ID])
}

// otherGrant says why a marked binding is not one of a recorded grant; empty if it is.
func (r Records) otherGrant(o Observed, scope string) string {
	g, known := r.Grants[o.Marker.ID]
	switch {
	case r.Unread != nil:
		return "the ledger could not be read"
	case !known || g.Owner != o.Marker.Owner:
		return "the ledger has no such grant"
	case g.Scope != scope:
		return "that grant is on " + g.Scope
	case g.Principal != o.Principal:
		return "that grant is of " + g.Principal
	case g.Role != o.Role:
		return "that grant is of " + g.Role
	case o.Beyond != "":
		return "it also gives " + o.Beyond
	case g.Failed():
		return "that grant failed and was never given"
	}
	return ""
}

// otherTime says how the times of a binding exceed those of its grant; empty if they do not.
func (r Records) otherTime(o Observed, g Grant) string {
	switch {
	case !r.Now.Before(g.ActualEnd().Add(OverdueAfter)):
		return "that grant ended at " + FormatTime(g.ActualEnd())
	case r.Now.Add(MaxSkew).Before(g.Start) && !o.Start.After(r.Now):
		return "that grant begins at " + FormatTime(g.Start)
	case g.Enforcement == Native && o.End.IsZero():
		return "its end is gone"
	case o.End.After(g.End.Add(OverdueAfter)):
		return fmt.Sprintf("its end was moved from %s to %s", FormatTime(g.End), FormatTime(o.End))
	}
	return ""
}

// Explains reports whether access that is given on a wider scope is exactly that of a grant there.
func (r Records) Explains(s Standing) bool {
	o := Observed{Marker: s.Marker, Principal: s.Principal, Role: s.Role, End: s.End}
	return s.From != "" && r.Unexplained(o, s.From) == ""
}

// Known reports whether the ledger knows the grant of a marked binding, and the binding gives the recorded access on
// the scope, whatever its end.
func (r Records) Known(o Observed, scope string) bool {
	g, known := r.Grants[o.Marker.ID]
	return known && g.Owner == o.Marker.Owner && g.Scope == scope && g.Principal == o.Principal && g.Role == o.Role
}

// privilegedWords are parts of the names of very powerful roles, on all platforms.
var privilegedWords = []string{"admin", "owner", "superuser", "editor", "contributor", "poweruser", "*",
	Actions + "iam:", ",iam:", Actions + "sts:", ",sts:"}

// Privileged reports whether the name of a role suggests nearly unlimited rights.
func Privileged(role string) bool {
	role = strings.ToLower(role)
	return slices.ContainsFunc(privilegedWords, func(word string) bool { return strings.Contains(role, word) })
}
