package postgresql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// attribute is a role attribute that a wrapper must not have.
type attribute struct{ now, want string }

// wrongAttributes lists the attributes that a wrapper has and should not, and how to undo each.
func (w *wrapper) wrongAttributes() []attribute {
	var wrong []attribute
	for _, a := range []struct {
		wrong bool
		attribute
	}{
		{w.Login, attribute{"LOGIN", "NOLOGIN"}},
		{!w.Inherit, attribute{"NOINHERIT", "INHERIT"}},
		{w.Super, attribute{"SUPERUSER", "NOSUPERUSER"}},
		{w.CreateRole, attribute{"CREATEROLE", "NOCREATEROLE"}},
		{w.CreateDB, attribute{"CREATEDB", "NOCREATEDB"}},
		{w.Replicate, attribute{"REPLICATION", "NOREPLICATION"}},
		{w.BypassRLS, attribute{"BYPASSRLS", "NOBYPASSRLS"}},
	} {
		if a.wrong {
			wrong = append(wrong, a.attribute)
		}
	}
	return wrong
}

// powers lists the attributes of a role that give its holder something. They are not passed on by membership
// (PostgreSQL, "Role Membership"); who may SET ROLE has them then.
func (r role) powers() []string {
	var all []string
	for _, p := range []struct {
		has  bool
		name string
	}{
		{r.Super, "SUPERUSER"}, {r.CreateRole, "CREATEROLE"}, {r.CreateDB, "CREATEDB"}, {r.Replicate, "REPLICATION"}, {r.BypassRLS, "BYPASSRLS"},
	} {
		if p.has {
			all = append(all, p.name)
		}
	}
	return all
}

// everything holds the attributes that are standing access in themselves: each leads to what other roles have.
var everything = []string{"SUPERUSER", "CREATEROLE", "BYPASSRLS"}

// standing lists what login roles have without passing through one of our wrappers: attributes, and roles that they reach.
func (s *state) standing(ours map[string]bool) []jit.Standing {
	rolesOf := map[string][]string{}
	for _, m := range s.memberships {
		// Rows of the same role and member come one after the other.
		if known := rolesOf[m.Member]; !ours[m.Role] && m.gives() && (len(known) == 0 || known[len(known)-1] != m.Role) {
			rolesOf[m.Member] = append(known, m.Role)
		}
	}
	var logins []string
	for name, r := range s.roles {
		if r.Login && !ours[name] && name != s.operator {
			logins = append(logins, name)
		}
	}
	slices.Sort(logins)

	var found []jit.Standing
	for _, login := range logins {
		for _, power := range s.roles[login].powers() {
			if slices.Contains(everything, power) {
				found = append(found, jit.Standing{Principal: login, Role: power, Detail: "attribute of the role"})
			}
		}
		// Breadth first, so that the shortest way to a role is the one that is told.
		seen := map[string]bool{login: true}
		type step struct{ role, through string }
		var queue []step
		for _, r := range rolesOf[login] {
			queue = append(queue, step{role: r})
		}
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
			through := at.through
			if through == "" {
				through = at.role
			}
			for _, r := range rolesOf[at.role] {
				queue = append(queue, step{role: r, through: through})
			}
		}
	}
	return found
}

// advise tells what of a binding will not work, or will outlive the grant.
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
			add("principal", "The principal does not exist", "%v. Until then the apply fails.", missingRole("principal", b.Principal))
		case !principal.Login:
			add("principal", "The principal cannot log in", "%v. The apply will refuse it.", noLogin(b.Principal))
		case principal.Super:
			add("principal", "The principal is a superuser", "%q has the privileges of every role already. The grant would change nothing, and its end would end nothing.", b.Principal)
		}
		role, there := s.roles[b.Role]
		if !there {
			add("role", "The role does not exist", "%v. Until then the apply fails.", missingRole("role", b.Role))
			return all
		}
		if powers := role.powers(); len(powers) > 0 {
			text := fmt.Sprintf("Role %q has the attribute %s. Membership passes privileges on, not attributes", b.Role, strings.Join(powers, ", "))
			if major < 16 {
				text += fmt.Sprintf(": %q has them only while it does SET ROLE %s, and a session that did so keeps them after the end.", b.Principal, quote(b.Role))
			} else {
				text += ", so this grant gives none of them. Grant a role that has the privileges themselves."
			}
			add("role", "The role has attributes that a grant does not give", "%s", text)
		}
		if owners := s.owners(b.Role); len(owners) > 0 {
			add("role", "The role owns objects", "Role %q can do everything with what it owns: as long as the grant lasts, %s can grant privileges on it that outlive the grant, or change and drop it. "+
				"Grant a role that has privileges and owns nothing.", strings.Join(owners, `", "`), b.Principal)
		}
		return all
	}
}

// owners returns those of a role and the roles that it inherits which own something.
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
