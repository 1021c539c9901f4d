package jit

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Standing is access that outlasts every grant: no record explains it, and the platform does not end it soon.
type Standing struct {
	Principal string // canonical where the platform's form allows, else as found
	Role      string
	// Covers is a prefix: a role that begins with it is this role, narrowed, and is given with it. Empty where there
	// are none.
	Covers string
	// Anybody: whoever the platform lets in has it too, the principal of every grant among them.
	Anybody bool
	// Detail says where it was found ("line 3", "ClusterRoleBinding/ops").
	Detail string
	// From is the scope on which the access is given, where that is another one, which includes this; empty else.
	From string
	// End is the end that the platform itself enforces; zero when there is none.
	End time.Time
	// Marker is the marker that the access bears although no grant explains it; zero when it bears none.
	Marker Marker
}

// Claims reports whether the access bears a marker and so pretends to be that of a grant.
func (s Standing) Claims() bool { return s.Marker.ID != "" }

// gives reports whether the access includes what the binding gives.
func (s Standing) gives(b Binding) bool {
	return (s.Anybody || s.Principal == b.Principal) && (s.Role == b.Role || s.Covers != "" && strings.HasPrefix(b.Role, s.Covers))
}

// Marked are the grants that the markers of a snapshot name.
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

// StandingOf finds access without an end and without a marker that gives what the binding does.
func (s Snapshot) StandingOf(b Binding) (Standing, bool) {
	for _, standing := range s.Standing {
		if standing.End.IsZero() && !standing.Claims() && standing.gives(b) {
			return standing, true
		}
	}
	return Standing{}, false
}

// Shadow finds standing access that gives what the binding does and outlasts an end; a zero end is later than every
// other.
func Shadow(all []Standing, b Binding, end time.Time) (Standing, bool) {
	for _, s := range all {
		if s.gives(b) && (s.End.IsZero() || !end.IsZero() && s.End.After(end)) {
			return s, true
		}
	}
	return Standing{}, false
}

// Records decides which bindings are explained. A marker explains nothing: whoever can write on a target can write one.
// What explains a binding is the ledger, if it knows the grant and the binding is as recorded, or an end that the
// platform itself enforces within MaxTTL.
type Records struct {
	Now    time.Time
	MaxTTL time.Duration
	// Grants are the recorded grants, of every owner, to which the markers refer.
	Grants map[ID]Grant
	// Unread says why the ledger could not be read; nil when it was.
	Unread error
}

// Standing returns all standing access of a snapshot: what bears no marker and does not end within MaxTTL, and what
// bears a marker and is not explained. What is given on a scope above and bears a marker is explained by a grant of
// that scope. Every command and page that tells of standing access uses it.
func (r Records) Standing(s Snapshot, scope string) []Standing {
	var all []Standing
	for _, found := range s.Standing {
		if found.Claims() && !r.Explains(found) || !found.Claims() && !r.soon(found.End) {
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
		role := o.Role
		if role == "" {
			role = "unknown"
		}
		all = append(all, Standing{Principal: o.Principal, Role: role, Covers: o.Covers, Detail: detail, End: o.End, Marker: o.Marker})
	}
	return all
}

// soon reports whether an end that the platform enforces comes within the longest time that a grant may last.
func (r Records) soon(end time.Time) bool {
	return !end.IsZero() && !end.After(r.Now.Add(r.MaxTTL+MaxSkew))
}

// Unexplained says why nothing explains a marked binding on a scope; empty when something does, or when it gives no
// access.
func (r Records) Unexplained(o Observed, scope string) string {
	if o.Principal == "" || r.soon(o.End) {
		return ""
	}
	end := "the target enforces no end"
	if !o.End.IsZero() {
		end = fmt.Sprintf("the end that the target enforces, %s, is further ahead than max_ttl", FormatTime(o.End))
	}
	g, known := r.Grants[o.Marker.ID]
	switch {
	case r.Unread != nil:
		return "the ledger could not be read, and " + end
	case !known || g.Owner != o.Marker.Owner:
		return "the ledger has no such grant, and " + end
	case g.Scope != scope:
		return fmt.Sprintf("that grant is on %s, and %s", g.Scope, end)
	case g.Principal != o.Principal:
		return fmt.Sprintf("that grant is of %s, and %s", g.Principal, end)
	case g.Role != o.Role:
		return fmt.Sprintf("that grant is of %s, and %s", g.Role, end)
	case g.Failed():
		return "that grant failed and was never given, and " + end
	case !r.Now.Before(g.ActualEnd().Add(OverdueAfter)):
		return fmt.Sprintf("that grant ended at %s", FormatTime(g.ActualEnd()))
	case r.Now.Add(MaxSkew).Before(g.Start) && !o.Start.After(r.Now):
		return fmt.Sprintf("that grant begins at %s", FormatTime(g.Start))
	case g.Enforcement == Native && o.End.IsZero():
		return "its end is gone"
	case o.End.After(g.End.Add(OverdueAfter)):
		return fmt.Sprintf("its end was moved from %s to %s", FormatTime(g.End), FormatTime(o.End))
	}
	return ""
}

// Explains reports whether access that is given on a scope above is exactly what a grant of that scope gives.
func (r Records) Explains(s Standing) bool {
	return s.From != "" && r.Unexplained(Observed{Marker: s.Marker, Principal: s.Principal, Role: s.Role, End: s.End}, s.From) == ""
}

// Known reports whether the ledger knows the grant of a marked binding, and the binding gives what is recorded on the
// scope, whatever its end.
func (r Records) Known(o Observed, scope string) bool {
	g, known := r.Grants[o.Marker.ID]
	return known && g.Owner == o.Marker.Owner && g.Scope == scope && g.Principal == o.Principal && g.Role == o.Role
}

// privilegedWords are parts of the names of roles that may do nearly everything, on all platforms.
var privilegedWords = []string{"admin", "owner", "superuser", "editor", "contributor", "poweruser", "*"}

// Privileged reports whether the name of a role says that it may do nearly everything.
func Privileged(role string) bool {
	role = strings.ToLower(role)
	return slices.ContainsFunc(privilegedWords, func(word string) bool { return strings.Contains(role, word) })
}
