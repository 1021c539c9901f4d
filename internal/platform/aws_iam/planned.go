package awsiam

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// plans are the grants that this process was asked about and that the account does not hold yet, by the entity whose
// policies they go to. A plan asks about each grant by itself, but they must fit together.
type plans struct {
	mu sync.Mutex
	of map[string][]planned
}

// planned is one grant of a plan: its principal and role, and the size of its policy or trust statement.
type planned struct {
	principal, role string
	size            int
}

// add adds a grant, once, and returns all grants of the entity up to it, in the order in which they were added.
func (p *plans) add(entity string, one planned) []planned {
	p.mu.Lock()
	defer p.mu.Unlock()
	same := func(other planned) bool { return other.principal == one.principal && other.role == one.role }
	i := slices.IndexFunc(p.of[entity], same)
	if i < 0 {
		i = len(p.of[entity])
		p.of[entity] = append(p.of[entity], one)
	}
	return slices.Clone(p.of[entity][:i+1])
}

// crowded says that a grant does not fit beside the other grants of the plan; empty if it fits, or if that is unknown.
func (p *Platform) crowded(ctx context.Context, c *client, a *account, asked access, b jit.Binding) string {
	if asked.trusting.text != "" {
		return p.crowdedTrust(ctx, c, a, asked, b)
	}
	e := a.entities[asked.principal.text]
	if e == nil {
		return ""
	}
	document, err := p.copyFor(ctx, c, a, asked)
	if err != nil {
		return "" // the apply says why
	}
	all := a.absent(e, p.plans.add(e.text, planned{asked.who(), b.Role, size(document)}))
	inline, attached := a.inlineSize(e, ""), len(e.attached)
	total := inline
	for _, one := range all {
		total += one.size
	}
	room, err := c.quota(ctx, inlineQuota[e.kind], total)
	if err != nil {
		return ""
	}
	slots, err := c.quota(ctx, attachedQuota[e.kind], attached+len(all))
	if err != nil {
		return ""
	}
	fits := true
	for _, one := range all {
		fits = true
		switch {
		case inline+one.size <= room:
			inline += one.size
		case one.size <= managedQuota && attached < slots:
			attached++
		default:
			fits = false
		}
	}
	if fits {
		return ""
	}
	return fmt.Sprintf("Its policy has %d characters. With what is there and what else this plan grants, %d of the %d "+
		"characters of the inline policies of %s are used, and %d of its %d managed policies. The apply refuses the "+
		"grant unless others end before.", size(document), inline, room, e.text, attached, slots)
}

// copyFor returns a policy of the size that the grant's has: every window has the same size.
func (p *Platform) copyFor(ctx context.Context, c *client, a *account, asked access) (string, error) {
	w := jit.Window{Start: p.now(), End: p.now()}
	if document := asked.plain(w); document != "" {
		return document, nil
	}
	source, err := p.source(ctx, c, a, asked.role)
	if err != nil {
		return "", err
	}
	return timed(source, asked, w)
}

// crowdedTrust is crowded for a trust policy.
func (p *Platform) crowdedTrust(ctx context.Context, c *client, a *account, asked access, b jit.Binding) string {
	e := a.entities[asked.trusting.text]
	if e == nil {
		return ""
	}
	m := jit.Marker{ID: jit.NewID("", b, "", 1), Owner: "a"} // the owner is unknown, so the shortest counts
	m.Window = jit.Window{Start: p.now(), End: p.now()}
	text := encode(trustStatement(m, asked.who(), asked.terms))
	all := a.absent(e, p.plans.add(e.text, planned{asked.who(), b.Role, size(text) + 1}))
	total := size(e.trust)
	for _, one := range all {
		total += one.size
	}
	room, err := c.quota(ctx, limit{"AssumeRolePolicySizeQuota", trustQuota}, total)
	if err != nil || total <= room {
		return ""
	}
	return fmt.Sprintf("With what is there and what else this plan grants, the trust policy of %s would have at least "+
		"%d characters; the limit is %d. The apply refuses the grant unless others end before.", e.text, total, room)
}

// absent leaves out the grants that the entity holds by now, except the last one, which is asked about.
func (a *account) absent(e *entity, all []planned) []planned {
	var holds []planned
	hold := func(document string) {
		found := read(document)
		holds = append(holds, planned{principal: e.who(found.terms.userID), role: found.role})
	}
	for name, document := range e.inline {
		if _, ours := markerOf(name); ours {
			hold(document)
		}
	}
	for name := range e.attached {
		if ours(name) {
			hold(a.policies[name])
		}
	}
	_, statements, _ := parseStatements(e.trust)
	for _, s := range statements {
		sid, _ := s["Sid"].(string)
		if _, ours := markerOfSid(sid); ours {
			for _, principal := range trusted(s) {
				holds = append(holds, planned{principal: principal, role: e.text + termsIn(s).text()})
			}
		}
	}
	last := len(all) - 1
	return append(slices.DeleteFunc(slices.Clone(all[:last]), func(one planned) bool {
		one.size = 0
		return slices.Contains(holds, one)
	}), all[last])
}
