package postgresql

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// attribute is a role attribute that a wrapper has and must not have, and what to write instead.
type attribute struct{ now, want string }

// wrongAttributes lists the attributes that a wrapper must not have.
func (w *wrapper) wrongAttributes() []attribute {
	var wrong []attribute
	if w.Login {
		wrong = append(wrong, attribute{"LOGIN", "NOLOGIN"})
	}
	if !w.Inherit {
		wrong = append(wrong, attribute{"NOINHERIT", "INHERIT"})
	}
	for _, power := range w.powers() {
		wrong = append(wrong, attribute{power, "NO" + power})
	}
	return wrong
}

// powers lists the attributes of a role that give its holder something. Membership does not pass them on (PostgreSQL,
// "Role Membership"), but a session that may SET ROLE gets them.
func (r role) powers() []string {
	var all []string
	for _, p := range []struct {
		has  bool
		name string
	}{
		{r.Super, "SUPERUSER"}, {r.CreateRole, "CREATEROLE"}, {r.CreateDB, "CREATEDB"},
		{r.Replicate, "REPLICATION"}, {r.BypassRLS, "BYPASSRLS"},
	} {
		if p.has {
			all = append(all, p.name)
		}
	}
	return all
}

// everything holds the attributes that are standing access in themselves: each gives access to what other roles have.
var everything = []string{"SUPERUSER", "CREATEROLE", "BYPASSRLS"}

// standing lists the access of login roles that does not pass through one of our wrappers: attributes, and roles.
func (s *state) standing(ours map[string]bool) []jit.Standing {
	rolesOf := map[string][]string{}
	for _, m := range s.memberships {
		if !ours[m.Role] && m.gives() {
			rolesOf[m.Member] = append(rolesOf[m.Member], m.Role)
		}
	}
	var found []jit.Standing
	for _, login := range slices.Sorted(maps.Keys(s.roles)) {
		if !s.roles[login].Login || ours[login] || login == s.operator {
			continue
		}
		for _, power := range s.roles[login].powers() {
			if slices.Contains(everything, power) {
				found = append(found, jit.Standing{Principal: login, Role: power, Detail: "attribute of the role"})
			}
		}
		found = append(found, reached(login, rolesOf)...)
	}
	return found
}

// reached lists the roles that a login role has, directly or through others. It searches breadth first, so that each
// role is named with the shortest way to it.
func reached(login string, rolesOf map[string][]string) []jit.Standing {
	type step struct{ role, through string }
	var found []jit.Standing
	var queue []step
	for _, r := range rolesOf[login] {
		queue = append(queue, step{role: r})
	}
	seen := map[string]bool{login: true}
	for ; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if seen[at.role] {
			continue
		}
		seen[at.role] = true
		detail := "member"
		if at.through != "" {
			detail = fmt.Sprintf("member through %q", at.through)
		}
		found = append(found, jit.Standing{Principal: login, Role: at.role, Detail: detail})
		for _, r := range rolesOf[at.role] {
			queue = append(queue, step{role: r, through: cmp.Or(at.through, at.role)})
		}
	}
	return found
}

// advise returns warnings about a binding that will not work, or that will outlive the grant.
func (s *state) advise(major int) func(context.Context, jit.Binding) []jit.Advice {
	return func(_ context.Context, b jit.Binding) []jit.Advice {
		var all []jit.Advice
		add := func(attribute, title, format string, args ...any) {
			all = append(all, jit.Advice{Attribute: attribute, Title: title, Text: fmt.Sprintf(format, args...)})
		}
		if s.standby {
			add("target", "The server is a standby", "It can only be read, so the apply fails: %s.", primaryHint)
		}
		principal, there := s.roles[b.Principal]
		switch {
		case !there:
			add("principal", "The principal does not exist", "%v. Until then the apply fails.",
				missingRole("principal", b.Principal))
		case !principal.Login:
			add("principal", "The principal cannot log in", "%v. The apply will refuse it.", noLogin(b.Principal))
		case principal.Super:
			add("principal", "The principal is a superuser",
				"%q has the privileges of every role already. The grant would change nothing, and its end would end "+
					"nothing.", b.Principal)
		}
		role, there := s.roles[b.Role]
		if !there {
			add("role", "The role does not exist", "%v. Until then the apply fails.", missingRole("role", b.Role))
			return all
		}
		if powers := role.powers(); len(powers) > 0 {
			text := fmt.Sprintf("Role %q has the attribute %s. Membership passes privileges on, not attributes",
				b.Role, strings.Join(powers, ", "))
			if major < 16 {
				text += fmt.Sprintf(": %q has them only while it does SET ROLE %s, and a session that did so keeps "+
					"them after the end.", b.Principal, quote(b.Role))
			} else {
				text += ", so this grant gives none of them. Grant a role that has the privileges themselves."
			}
			add("role", "The role has attributes that a grant does not give", "%s", text)
		}
		if owners := s.owners(b.Role); len(owners) > 0 {
			add("role", "The role owns objects", "Role %q can do everything with what it owns: as long as the grant "+
				"lasts, %s can grant privileges on it that outlive the grant, or change and drop it. "+
				"Grant a role that has privileges and owns nothing.", strings.Join(owners, `", "`), b.Principal)
		}
		return all
	}
}

// owners returns the role, and the roles that it inherits, as far as they own something.
func (s *state) owners(name string) []string {
	var owners []string
	seen := map[string]bool{}
	for queue := []string{name}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if seen[at] {
			continue
		}
		seen[at] = true
		if s.roles[at].Owns {
			owners = append(owners, at)
		}
		for _, m := range s.memberships {
			if m.Member == at && m.Inherit {
				queue = append(queue, m.Role)
			}
		}
	}
	return owners
}
