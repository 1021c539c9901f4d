package awsiam

import (
	"slices"
	"sync"
	"time"
)

// memory stores our writes for as long as a read may miss them.
type memory struct {
	mu     sync.Mutex
	writes map[item]write
}

// item names what a write changes: an inline policy (entity and name), an attachment (entity and policy ARN), a managed
// policy (its ARN) or a statement of a trust policy (role and Sid).
type item struct{ kind, on, name string }

const (
	inlinePolicy  = "inline"
	attachment    = "attachment"
	managedPolicy = "managed"
	trustPolicy   = "trust"
)

// write is one write. An empty text means that the item is absent.
type write struct {
	at    time.Time
	were  []string // what was there before it, and before the writes that it followed closely
	wrote string
	// unsure: AWS did not confirm the write and may have carried it out.
	unsure bool
}

// hides reports whether a read that shows this value may be older than the write.
func (w write) hides(is string) bool { return is != w.wrote && slices.Contains(w.were, is) }

// note remembers a write, which AWS has confirmed unless it is unsure.
func (p *Platform) note(i item, was, wrote string, unsure bool) {
	p.written.mu.Lock()
	defer p.written.mu.Unlock()
	w := write{p.now(), []string{was}, wrote, unsure}
	if earlier, ok := p.written.writes[i]; ok && w.at.Sub(earlier.at) < p.settling {
		w.were = append(append(w.were, earlier.wrote), earlier.were...)
		slices.Sort(w.were)
		w.were = slices.Compact(w.were)
	}
	p.written.writes[i] = w
}

// overlay replaces what was read with what we have written since, wherever the read still shows an earlier value. Of
// writes that AWS did not confirm it takes those that unsure asks for: a read must not miss access that may be in force,
// and a write must not rely on it.
func (p *Platform) overlay(a *account, unsure bool) {
	p.written.mu.Lock()
	defer p.written.mu.Unlock()
	for i, w := range p.written.writes {
		if p.now().Sub(w.at) >= p.settling {
			delete(p.written.writes, i)
		} else if w.hides(a.get(i)) && (unsure || !w.unsure) {
			a.put(i, w.wrote)
		}
	}
}

// overlayTrust is overlay for the trust policy of one role.
func (p *Platform) overlayTrust(role arn, trust string) string {
	a := newAccount()
	e := a.add(&role.text, nil, nil, nil)
	e.trust = trust
	p.overlay(a, false)
	return e.trust
}

// get returns an item as it was read or written last, or "" if it is absent.
func (a *account) get(i item) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i.kind == managedPolicy {
		return a.policies[i.on]
	}
	if e := a.entities[i.on]; e != nil {
		return e.get(i)
	}
	return ""
}

func (e *entity) get(i item) string {
	switch i.kind {
	case inlinePolicy:
		return e.inline[i.name]
	case attachment:
		return e.attached[i.name]
	}
	return ownStatement(e.trust, i.name)
}

// put replaces an item; "" removes it.
func (a *account) put(i item, value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i.kind == managedPolicy {
		putOrDelete(a.policies, i.on, value)
	} else if e := a.entities[i.on]; e != nil { // else it is gone with everything on it
		e.put(i, value)
	}
}

func (e *entity) put(i item, value string) {
	switch i.kind {
	case inlinePolicy:
		putOrDelete(e.inline, i.name, value)
	case attachment:
		putOrDelete(e.attached, i.name, value)
	case trustPolicy:
		if changed, err := replaceStatement(e.trust, i.name, value); err == nil {
			e.trust = changed
		}
	}
}

func putOrDelete(m map[string]string, key, value string) {
	m[key] = value
	if value == "" {
		delete(m, key)
	}
}
