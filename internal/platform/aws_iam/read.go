package awsiam

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// folder is the path of the managed policies that are ours.
const folder = "jit"

// policyName names the policy of a grant. Two owners may have grants of the same id.
func policyName(m jit.Marker) string { return "jit-" + string(m.ID) + "-" + m.Owner }

var nameForm = regexp.MustCompile(`^jit-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-(.+)$`)

// markerOf reads the name of a grant's policy; ok is false for every other name.
func markerOf(name string) (m jit.Marker, ok bool) {
	parts := nameForm.FindStringSubmatch(name)
	if parts == nil || jit.CheckOwner(parts[2]) != nil {
		return jit.Marker{}, false
	}
	return jit.Marker{ID: jit.ID(parts[1]), Owner: parts[2]}, true
}

// Read reads the account with one bulk read. Standing access is a managed policy attached by somebody
// else, to the principal or to a group that it is in, and permission without an end to assume a role that is named.
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
	if a.id != scope { // of another account, or nothing that tells which
		if err := c.check(ctx, scope); err != nil {
			return jit.Snapshot{}, err
		}
	}
	p.overlay(a)
	snap := jit.Snapshot{Clock: p.watch.Clock()}
	for _, e := range a.sorted() {
		a.readEntity(e, &snap)
		if text := e.room(); text != "" {
			snap.Notes = append(snap.Notes, jit.Note{Principal: e.text, Text: text})
		}
	}
	for _, m := range a.policies {
		if ours(m.text) && len(a.holders(m.text)) == 0 {
			snap.Ours = append(snap.Ours, observed(m.name, "", m.document, "the policy "+m.text+" is attached to nobody"))
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

// readEntity adds what is on one entity.
func (a *account) readEntity(e *entity, snap *jit.Snapshot) {
	for _, name := range sortedKeys(e.inline) {
		if _, ours := markerOf(name); ours {
			snap.Ours = append(snap.Ours, observed(name, e.text, e.inline[name]))
		} else {
			snap.Standing = append(snap.Standing, assumable(e, name)...)
		}
	}
	for _, name := range sortedKeys(e.attached) {
		if ours(name) {
			if m := a.policies[name]; m != nil {
				snap.Ours = append(snap.Ours, observed(m.name, e.text, m.document))
			}
		} else {
			snap.Standing = append(snap.Standing, jit.Standing{Principal: e.text, Role: name, Detail: "attached"})
		}
	}
	for _, g := range e.groups {
		snap.Standing = append(snap.Standing, a.through(e, g)...)
	}
	readTrust(e, snap)
}

// through is the standing access that a user has as a member of a group.
func (a *account) through(e *entity, groupName string) []jit.Standing {
	var all []jit.Standing
	for _, g := range a.entities {
		if g.kind != group || g.name != groupName {
			continue
		}
		for _, name := range sortedKeys(g.attached) {
			if !ours(name) {
				all = append(all, jit.Standing{Principal: e.text, Role: name, Detail: "attached to the group " + groupName})
			}
		}
	}
	return all
}

// observed is a policy that bears the name of a grant, on a principal.
func observed(name, principal, document string, more ...string) jit.Observed {
	found := read(document)
	o := jit.Observed{Principal: principal, Role: found.role, Start: found.start, End: found.end}
	o.Marker, _ = markerOf(name)
	o.Marker.Window = found.window
	o.Damage = strings.Join(append(found.damage, more...), "; ")
	return o
}

// assumable is the permission without an end, in an inline policy of somebody else's, to assume roles that it names.
func assumable(e *entity, name string) []jit.Standing {
	d, err := parseDocument(e.inline[name])
	if err != nil {
		return nil
	}
	statements, err := d.decoded()
	if err != nil {
		return nil
	}
	var all []jit.Standing
	for _, s := range statements {
		allowsIt := s["Effect"] == "Allow" && slices.ContainsFunc(texts(s["Action"]), func(action string) bool { return strings.EqualFold(action, assumeRole) })
		if !allowsIt || !bound(s, before).IsZero() || !bound(s, before+ifExists).IsZero() {
			continue
		}
		for _, r := range texts(s["Resource"]) {
			if named, ok := parseARN(r); ok && named.kind == role {
				all = append(all, jit.Standing{Principal: e.text, Role: r, Detail: "the inline policy " + name})
			}
		}
	}
	return all
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
