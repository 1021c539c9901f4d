package policy

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Written is a policy or a person as a configuration writes it: the values of its attributes by name. A value is nil, a
// text, a number, a bool, a []any, a map[string]any, or [Unknown].
type Written map[string]any

// Unknown is a value that is known only after the apply.
type Unknown struct{}

// known reports whether a value and all of its parts are known.
func known(v any) bool {
	unknown := func(v any) bool { return !known(v) }
	switch v := v.(type) {
	case Unknown:
		return false
	case []any:
		return !slices.ContainsFunc(v, unknown)
	case map[string]any:
		return !slices.ContainsFunc(slices.Collect(maps.Values(v)), unknown)
	}
	return true
}

// Known reports whether every value is known that decides anything.
func (w Written) Known() bool {
	for name, v := range w {
		if name != "description" && !known(v) {
			return false
		}
	}
	return true
}

// AnyEnforcement is the enforcement of a policy that leaves it to the platform.
const AnyEnforcement = "any"

// Policy reads a policy. Unknown values are left out. Errors are *[jit.Error].
func (w Written) Policy() (p jit.Policy, err error) {
	var r reader
	p = jit.Policy{
		Name: r.text("name", w["name"]), Description: r.text("description", w["description"]), Effect: jit.Permit,
		ReasonPattern: r.text("reason_pattern", w["reason_pattern"]), Condition: r.text("condition", w["condition"]),
		MaxTTL: r.duration("max_ttl", w["max_ttl"]),
	}
	if effect := w["effect"]; effect != nil && known(effect) {
		p.Effect = jit.Effect(r.text("effect", effect))
	}
	p.Match = r.matches(w["match"])
	r.approval(&p, w["approval"], w["break_glass"])
	r.enforcement(&p, w["enforcement"])
	if ttl := w["max_ttl"]; ttl != nil && known(ttl) && r.err == nil {
		r.err = CheckMaxTTL(p.MaxTTL)
	}
	if tail := w["max_session_tail"]; tail != nil && known(tail) {
		d := jit.Unlimited
		if tail != jit.FormatTail(d) {
			d = r.duration("max_session_tail", tail)
		}
		p.MaxSessionTail = &d
	}
	return p, r.err
}

// MostPermissive returns the most permissive reading of a policy with unknown values: unknown limits and lists are
// dropped. p is the policy as it was read.
func (w Written) MostPermissive(p jit.Policy) jit.Policy {
	if !known(w["name"]) {
		p.Name = "known-after-apply" // no grant can name it yet
	}
	if p.Effect == jit.Forbid {
		return jit.Policy{Name: p.Name, Effect: jit.Forbid, Condition: "false"}
	}
	entries, _ := w["match"].([]any)
	p.Match = slices.Clone(p.Match)
	for i, entry := range entries {
		lists, _ := entry.(map[string]any) // nil if the whole entry is unknown, which was read as one without lists
		for name, v := range lists {
			if list := Globs(&p.Match[i], name); list != nil && !known(v) {
				*list = nil
			}
		}
	}
	return p
}

// Person reads a person. Unknown values are left out. Lists are sorted, without the white space around their entries,
// such as the line end of a file.
func (w Written) Person() (p jit.Person, err error) {
	var r reader
	set := func(name string) []string {
		all, given := w[name].([]any)
		if !given {
			_ = r.texts(name, w[name])
			return nil
		}
		all = slices.DeleteFunc(slices.Clone(all), func(v any) bool { return v == nil })
		sorted := r.texts(name, all)
		for i, s := range sorted {
			sorted[i] = strings.TrimSpace(s)
		}
		slices.Sort(sorted)
		return sorted
	}
	p = jit.Person{
		Name: r.text("name", w["name"]), Groups: set("groups"), SigningKeys: set("signing_keys"),
		Principals: set("principals"), GitHub: r.text("github", w["github"]), GitLab: r.text("gitlab", w["gitlab"]),
	}
	return p, r.err
}

// reader reads values. It keeps its first error.
type reader struct{ err error }

func (r *reader) refuse(attribute, hint, format string, args ...any) {
	if r.err == nil {
		r.err = jit.Invalid(attribute, hint, format, args...)
	}
}

// text reads a text; a number and a bool are texts too, as Terraform converts them. It is empty for nil and unknown.
func (r *reader) text(attribute string, v any) string {
	switch v := v.(type) {
	case nil, Unknown:
	case string:
		return v
	case json.Number:
		return v.String()
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case int64:
		return strconv.FormatInt(v, 10)
	case bool:
		return strconv.FormatBool(v)
	default:
		r.refuse(attribute, "write a text in quotes", "the value is not a text")
	}
	return ""
}

// texts reads a list of texts without its unknown entries; nil for nil, unknown, and no known entry.
func (r *reader) texts(attribute string, v any) (all []string) {
	list, ok := v.([]any)
	if !ok && v != nil && known(v) {
		r.refuse(attribute, `write a list, such as ["a", "b"]`, "the value is not a list")
	}
	for _, each := range list {
		if each == nil {
			r.refuse(attribute, "remove the null", "an entry of the list is null")
		} else if known(each) {
			all = append(all, r.text(attribute, each))
		}
	}
	return all
}

// duration reads a duration; 0 for nil and unknown.
func (r *reader) duration(attribute string, v any) (d time.Duration) {
	if v == nil || !known(v) || r.err != nil {
		return 0
	}
	text := r.text(attribute, v)
	if r.err == nil {
		d, r.err = jit.ParseDuration(attribute, text)
	}
	return d
}

// object reads an object; nil for nil and unknown.
func (r *reader) object(attribute, hint string, v any) map[string]any {
	object, ok := v.(map[string]any)
	if !ok && v != nil && known(v) {
		r.refuse(attribute, hint, "the value is not an object")
	}
	return object
}

const matchHint = `write for example match = [{ targets = ["prod"] }]`

// maxEntries bounds the entries of a match.
const maxEntries = 1000

// matches reads a match; nil for nil and unknown. An unknown entry is read as one without lists.
func (r *reader) matches(v any) (all jit.Matches) {
	entries, ok := v.([]any)
	switch {
	case !ok && v != nil && known(v):
		r.refuse("match", matchHint, "the value is not a list")
	case ok && len(entries) == 0:
		r.refuse("match", "write match = [{}] to match every grant", "the list is empty and would match nothing")
	case len(entries) > maxEntries:
		r.refuse("match", "split the policy", "the list has %d entries; at most %d are allowed", len(entries), maxEntries)
	}
	for i, v := range entries {
		at := entryAt(i)
		entry := r.object(strings.TrimSuffix(at, "."), matchHint, v)
		if v == nil {
			r.refuse(strings.TrimSuffix(at, "."), "remove it, or write {} to match every grant", "the entry is null")
		}
		m, open := r.match(at, entry)
		if open && len(entries) > 1 && v != nil && known(v) {
			r.refuse(strings.TrimSuffix(at, "."), "remove the entry, or the others",
				"the entry has no list and matches every grant, so the other entries would change nothing")
		}
		all = append(all, m)
	}
	return all
}

// match reads the lists of an entry. open: there is none.
func (r *reader) match(at string, entry map[string]any) (m jit.Match, open bool) {
	open = true
	for _, name := range slices.Sorted(maps.Keys(entry)) {
		list := Globs(&m, name)
		if list == nil {
			r.refuse(at+name, "leave it out", "match has no such list")
			continue
		}
		*list = r.texts(at+name, entry[name])
		if globs, ok := entry[name].([]any); ok && len(globs) == 0 {
			r.refuse(at+name, "remove the entry; without the list, it would match everything",
				"the list is empty and would match nothing")
		}
		open = open && entry[name] == nil
	}
	return m, open
}

// approval reads who has to approve, and who may begin without. While anything about approval is unknown, it leaves out
// both.
func (r *reader) approval(p *jit.Policy, approval, glass any) {
	if !known(approval) {
		return
	}
	const hint = `write approval = [{ required = 1, from = ["bob@example.com"] }]`
	entries, ok := approval.([]any)
	if !ok && approval != nil {
		r.refuse("approval", hint, "the value is not a list")
	}
	for i, each := range entries {
		at := "approval[" + strconv.Itoa(i) + "]"
		entry := r.object(at, hint, each)
		if entry == nil {
			r.refuse(at, hint, "the entry is null")
		}
		p.Approval = append(p.Approval, r.requirement(at+".", entry))
	}
	if glass == nil || !known(glass) {
		return
	}
	object := r.object("break_glass", `write break_glass = { from = ["group:oncall"] }`, glass)
	p.BreakGlass = &jit.BreakGlass{
		From:          r.listed("break_glass.from", object["from"]),
		MaxTTL:        r.duration("break_glass.max_ttl", object["max_ttl"]),
		ReasonPattern: r.text("break_glass.reason_pattern", object["reason_pattern"]),
	}
}

// listed is texts for a list that must be there: it is not nil if the list is empty.
func (r *reader) listed(attribute string, v any) []string {
	all := r.texts(attribute, v)
	if _, ok := v.([]any); ok && all == nil {
		all = []string{}
	}
	return all
}

// requirement reads an entry of approval.
func (r *reader) requirement(at string, entry map[string]any) jit.Requirement {
	n := jit.Requirement{
		From: r.listed(at+"from", entry["from"]), Unless: r.text(at+"unless", entry["unless"]),
		ValidFor: r.duration(at+"valid_for", entry["valid_for"]),
	}
	for _, e := range r.texts(at+"evidence", entry["evidence"]) {
		n.Evidence = append(n.Evidence, jit.Evidence(e))
	}
	text := r.text(at+"required", entry["required"])
	var err error
	if n.Required, err = strconv.Atoi(text); err != nil || strconv.Itoa(n.Required) != text {
		r.refuse(at+"required", "write for example required = 1", "%q is not a whole number", text)
	}
	return n
}

// enforcement reads the demand on who ends a grant.
func (r *reader) enforcement(p *jit.Policy, v any) {
	if v == nil || !known(v) {
		return
	}
	switch e := r.text("enforcement", v); e {
	case AnyEnforcement:
		p.SweeperAccepted = true
	case string(jit.Native):
		p.NativeOnly = true
	default:
		r.refuse("enforcement", `write enforcement = "native", or leave it out`,
			"%q is not a demand; it is any or native", e)
	}
}
