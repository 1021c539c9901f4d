package awsiam

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
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

// Read reads the account with one bulk read. Standing access is a managed policy that somebody else attached, and
// permission to assume roles or to do everything, given to the principal or to one of its groups. Principals that a
// role trusts have standing access too, except AWS services and identity providers.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	if err := awsconfig.CheckAccount("scope", scope); err != nil {
		return jit.Snapshot{}, err
	}
	c, err := p.client(ctx)
	if err != nil {
		return jit.Snapshot{}, err
	}
	a, err := c.fetch(ctx)
	if err != nil {
		return jit.Snapshot{}, err
	}
	if a.id != scope { // of another account, or unknown
		if err := c.check(ctx, scope); err != nil {
			return jit.Snapshot{}, err
		}
	}
	p.overlay(a)
	snap := jit.Snapshot{Clock: p.watch.Clock(), Advise: p.advise(a, scope)}
	for _, e := range a.sorted() {
		a.readEntity(e, &snap)
		if text := e.room(); text != "" {
			snap.Notes = append(snap.Notes, jit.Note{Principal: e.text, Text: text})
		}
	}
	for _, m := range a.policies {
		if ours(m.text) && len(a.holders(m.text)) == 0 {
			snap.Ours = append(snap.Ours,
				observed(m.name, "", m.document, "the policy "+m.text, "the policy "+m.text+" is attached to nobody"))
		}
	}
	return snap, nil
}

// ours reports whether a managed policy is one of a grant.
func ours(policyARN string) bool {
	named, ok := parseARN(policyARN)
	if !ok || named.path != folder || named.account == "aws" {
		return false
	}
	_, marked := markerOf(named.name)
	return marked
}

// readEntity adds the access of one entity.
func (a *account) readEntity(e *entity, snap *jit.Snapshot) {
	for _, name := range sortedKeys(e.inline) {
		detail := "the inline policy " + name
		if _, ours := markerOf(name); ours {
			snap.Ours = append(snap.Ours, observed(name, e.text, e.inline[name], detail))
		} else {
			e.permitted(e.inline[name], detail, snap)
		}
	}
	for _, name := range sortedKeys(e.attached) {
		a.readAttached(e, name, "attached", snap)
	}
	for _, name := range e.groups {
		for _, g := range a.sorted() {
			if g.kind == group && g.name == name {
				a.through(e, g, snap)
			}
		}
	}
	readTrust(e, snap)
}

// readAttached adds what an attached managed policy gives its entity.
func (a *account) readAttached(e *entity, name, detail string, snap *jit.Snapshot) {
	m := a.policies[name]
	switch {
	case m != nil && ours(name):
		snap.Ours = append(snap.Ours, observed(m.name, e.text, m.document, "the policy "+name))
		return
	case m != nil:
		e.permitted(m.document, "the policy "+name, snap)
	}
	found := jit.Standing{Principal: e.text, Role: name, Covers: name + narrowing, Detail: detail}
	if named, ok := parseARN(name); ok && named.account == "aws" && named.name == administrator {
		found.Covers = arnPrefix
	}
	snap.Standing = append(snap.Standing, found)
}

// through adds the standing access that a user has through a group.
func (a *account) through(e, g *entity, snap *jit.Snapshot) {
	for _, name := range sortedKeys(g.inline) {
		if _, ours := markerOf(name); !ours {
			e.permitted(g.inline[name], "the inline policy "+name+" of the group "+g.name, snap)
		}
	}
	for _, name := range sortedKeys(g.attached) {
		if !ours(name) {
			a.readAttached(e, name, "attached to the group "+g.name, snap)
		}
	}
}

// observed interprets a policy with the name of a grant on a principal; detail says where it was found.
func observed(name, principal, document, detail string, more ...string) jit.Observed {
	found := read(document)
	o := jit.Observed{Principal: principal, Role: found.role, Start: found.start, End: found.end, Detail: detail}
	o.Marker, _ = markerOf(name)
	o.Marker.Window = found.window
	o.Damage = strings.Join(append(found.damage, more...), "; ")
	return o
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
