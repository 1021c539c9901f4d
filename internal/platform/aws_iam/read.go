package awsiam

import (
	"context"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// folder is the path of our managed policies.
const folder = "jit"

// policyName names the policy of a grant. Two owners may have grants with the same id.
func policyName(m jit.Marker) string { return "jit-" + string(m.ID) + "-" + m.Owner }

var nameForm = regexp.MustCompile(`^jit-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-(.+)$`)

// markerOf reads the name of a grant's policy. ok is false for any other name.
func markerOf(name string) (m jit.Marker, ok bool) {
	parts := nameForm.FindStringSubmatch(name)
	if parts == nil || jit.CheckOwner(parts[2]) != nil {
		return jit.Marker{}, false
	}
	return jit.Marker{ID: jit.ID(parts[1]), Owner: parts[2]}, true
}

// Read reads the account with one bulk read. Standing access is a managed policy that somebody else attached, the
// actions of somebody else's inline policies, and permission to assume roles or to do everything, given to the
// principal or to one of its groups. Principals that a role trusts have standing access too, except AWS services and
// identity providers.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	c, a, err := p.open(ctx, scope, false)
	if err != nil {
		return jit.Snapshot{}, err
	}
	known := map[string]string{} // for all copies of one policy, also that it cannot be read
	a.source = func(named arn) string {
		document, asked := known[named.text]
		if !asked {
			document, _ = p.source(ctx, c, a, named) // without it, the digest of the copy must do
			known[named.text] = document
		}
		return document
	}
	snap := jit.Snapshot{Clock: p.watch.Clock(), Advise: p.advise(c, a, scope)}
	snap.Another = func(g jit.Grant) bool {
		named, _, _ := parsePrincipal(g.Principal)
		return named.account == scope && p.another(a.find(g.Principal), g.GrantedAt)
	}
	for _, e := range a.sorted() {
		a.readEntity(e, &snap)
	}
	a.readUnattached(&snap)
	includeSessions(&snap)
	return snap, nil
}

// includeSessions gives the access of roles, of other accounts too, to their sessions.
func includeSessions(snap *jit.Snapshot) {
	for i := range snap.Standing {
		snap.Standing[i].Members = membersOf(snap.Standing[i].Principal)
	}
	for i := range snap.Ours {
		snap.Ours[i].Members = membersOf(snap.Ours[i].Principal)
	}
}

// membersOf begins the ARNs of the sessions of a principal that is a role; empty for any other.
func membersOf(principal string) string {
	if named, ok := parseARN(principal); ok && named.kind == role {
		return (&entity{arn: named}).sessions()
	}
	return ""
}

// readUnattached adds the managed policies of grants that are attached to nobody.
func (a *account) readUnattached(snap *jit.Snapshot) {
	for policyARN, document := range a.policies {
		if ours(policyARN) && len(a.holders(policyARN)) == 0 {
			detail := "the policy " + policyARN
			snap.Ours = append(snap.Ours,
				a.observed(path.Base(policyARN), nil, document, detail, detail+" is attached to nobody"))
		}
	}
}

// ours reports whether a managed policy is one of a grant.
func ours(policyARN string) bool {
	named, ok := parseARN(policyARN)
	_, marked := markerOf(named.name)
	return ok && marked && named.path == folder && named.account != "aws"
}

// readEntity adds the access of one entity.
func (a *account) readEntity(e *entity, snap *jit.Snapshot) {
	a.readPolicies(e, e, "", snap)
	for _, name := range e.groups {
		if g := a.groups[name]; g != nil {
			a.readPolicies(e, g, " the group "+name, snap)
		}
	}
	a.readTrust(e, snap)
	if text := e.room(); text != "" {
		snap.Notes = append(snap.Notes, jit.Note{Principal: e.text, Text: text})
	}
}

// readPolicies adds what the policies of a holder give an entity: its own, or those of a group that it belongs to. The
// grants of a group are listed with the group.
func (a *account) readPolicies(e, holder *entity, group string, snap *jit.Snapshot) {
	of, to := "", ""
	if group != "" {
		of, to = " of"+group, " to"+group
	}
	for _, name := range slices.Sorted(maps.Keys(holder.inline)) {
		detail := "the inline policy " + name + of
		if _, ours := markerOf(name); !ours {
			e.inlinePermitted(holder.inline[name], detail, snap)
		} else if group == "" {
			snap.Ours = append(snap.Ours, a.observed(name, e, e.inline[name], detail))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(holder.attached)) {
		if group == "" || !ours(name) {
			a.readAttached(e, name, "attached"+to, snap)
		}
	}
}

// readAttached adds what an attached managed policy gives its entity.
func (a *account) readAttached(e *entity, name, detail string, snap *jit.Snapshot) {
	document := a.policies[name]
	if document != "" && ours(name) {
		snap.Ours = append(snap.Ours, a.observed(path.Base(name), e, document, "the policy "+name))
		return
	}
	if document != "" {
		e.permitted(document, "the policy "+name, snap)
	}
	found := jit.Standing{Principal: e.text, Role: name, Covers: name + jit.On, Detail: detail}
	if strings.HasSuffix(name, administrator) {
		found.Covers = everyGranted
	}
	snap.Standing = append(snap.Standing, found)
}

// observed interprets a policy with the name of a grant on an entity, nil for none; detail says where it was found.
func (a *account) observed(name string, on *entity, document, detail string, more ...string) jit.Observed {
	found := read(document)
	o := jit.Observed{Role: found.role, Beyond: a.beyond(document, found), Start: found.start, End: found.end,
		Detail: detail, Damage: strings.Join(append(found.damage, more...), "; ")}
	if on != nil {
		o.Principal = on.who(found.terms.userID)
	}
	o.Marker, _ = markerOf(name)
	o.Marker.Window = found.window
	return o
}
