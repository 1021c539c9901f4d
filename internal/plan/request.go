package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Request is a request that a plan makes.
type Request struct {
	Address string
	// Fields is the request in the configuration's spelling.
	Fields []jit.Field
	Digest string
	// Asked is the request to the broker.
	Asked broker.Request
	// Sensitive names the attributes that the plan marks as sensitive.
	Sensitive []string
}

// Requests returns the requests of the plan: its grants that are new, replaced, or ask for something else than before.
// unknown says which others cannot be approved yet, and why.
func (p *Plan) Requests() (requests []Request, unknown []string) {
	for _, r := range p.ResourceChanges {
		if r.Type != "jit_grant" || r.Mode != tfjson.ManagedResourceMode || r.Change == nil || r.DeposedKey != "" {
			continue
		}
		a := r.Change.Actions
		if !a.Create() && !a.Update() && !a.Replace() {
			continue
		}
		request, why := RequestOf(r.Change)
		switch {
		case why != "":
			unknown = append(unknown, fmt.Sprintf("%s cannot be approved yet: %s", r.Address, why))
		case a.Update() && request.Digest == Attribute(r.Change.Before, "request_digest"):
		default:
			request.Address = r.Address
			requests = append(requests, request)
		}
	}
	return requests, unknown
}

// requestAttributes are the attributes of jit_grant that a request has.
var requestAttributes = []string{
	"target", "principal", "role", "scope", "reason", "renewal", "ttl", "expires_at", "starts_at", "start_by",
	"terminate_sessions", "break_glass", "requester",
}

// RequestOf reads the request of a planned change. why says why it cannot be approved yet.
func RequestOf(c *Change) (request Request, why string) {
	request.Digest = Attribute(c.After, "request_digest")
	if unknown := Unknown(c); unknown != "" {
		return request, unknown
	}
	if request.Digest == "" {
		return request, "it has no request_digest; apply the policies and persons first, which creates the ledger"
	}
	g, err := asked(c.After)
	if err != nil {
		return request, err.Error()
	}
	request.Fields, request.Asked = g.RequestFields(), requestOf(g, Attribute(c.After, "policy"))
	request.Sensitive = sensitive(c)
	return request, ""
}

// Unknown says which parts of the request of a planned change are not known yet; empty if all are.
func Unknown(c *Change) string {
	var unknown []string
	for _, name := range requestAttributes {
		implied := name == "expires_at" && Attribute(c.After, "ttl") != "" ||
			name == "ttl" && Attribute(c.After, "expires_at") != ""
		if Marked(c.AfterUnknown, name) && !implied {
			unknown = append(unknown, name)
		}
	}
	switch {
	case len(unknown) == 0:
		return ""
	case len(unknown) > 1: // a scope that the block leaves out is unknown whenever anything is
		unknown = slices.DeleteFunc(unknown, func(name string) bool { return name == "scope" })
	}
	verb := " is"
	if len(unknown) > 1 {
		verb = " are"
	}
	return strings.Join(unknown, ", ") + verb + " known only after the apply"
}

// Asked returns the request that an object of jit_grant makes of the broker. Its errors are *[jit.Error].
func Asked(object any) (broker.Request, error) {
	g, err := asked(object)
	return requestOf(g, Attribute(object, "policy")), err
}

// asked returns the grant that an object of jit_grant asks for.
func asked(object any) (jit.Grant, error) {
	after := func(name string) string { return Attribute(object, name) }
	g := jit.Grant{
		Binding: jit.Binding{
			Target: after("target"), Principal: jit.OfFile(after("principal")), Role: after("role"),
			Scope: after("scope"),
		},
		Reason: after("reason"),
		Terms: jit.Terms{
			TerminateSessions: after("terminate_sessions") == "true", BreakGlass: after("break_glass") == "true",
			Requester: after("requester"),
		},
	}
	var err error
	if g.Renewal, err = strconv.ParseInt(after("renewal"), 10, 64); err != nil {
		return g, jit.Invalid("renewal", "count the renewals from 1", "%q is not a number", after("renewal"))
	}
	return g, setTimes(&g, after)
}

func requestOf(g jit.Grant, policy string) broker.Request {
	r := broker.Request{
		Binding: g.Binding, Reason: g.Reason, Renewal: g.Renewal, TTL: g.TTL, StartsAt: g.AskedStart(),
		Policy: policy, Terms: g.Terms,
	}
	if g.TTL.IsZero() {
		r.ExpiresAt = g.End
	}
	return r
}

// setTimes reads the length and the times of a request. If both ttl and expires_at are set, ttl counts.
func setTimes(g *jit.Grant, after func(string) string) (err error) {
	if ttl := after("ttl"); ttl != "" {
		if g.TTL, err = jit.ParseTTL(ttl); err != nil {
			return err
		}
	}
	var start time.Time
	for _, t := range []struct {
		name string
		into *time.Time
	}{{"expires_at", &g.End}, {"starts_at", &start}, {"start_by", &g.StartBy}} {
		if text := after(t.name); text != "" {
			if *t.into, err = jit.ParseTime(t.name, text); err != nil {
				return err
			}
		}
	}
	g.StartAsked = jit.StartAsked(start)
	return nil
}

// Attribute returns an attribute of an object of a plan as text; empty for null and for anything but text, number and
// bool.
func Attribute(object any, name string) string {
	attributes, _ := object.(map[string]any)
	switch v := attributes[name].(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool, int64:
		return fmt.Sprint(v)
	}
	return ""
}

// Marked reports whether the marks of an object, such as [Change].AfterUnknown, mark the attribute or a part of it.
func Marked(marks any, name string) bool {
	if all, is := marks.(bool); is {
		return all
	}
	attributes, _ := marks.(map[string]any)
	return AnyMark(attributes[name])
}

// AnyMark reports whether marks have any true part.
func AnyMark(marks any) bool {
	switch m := marks.(type) {
	case bool:
		return m
	case []any:
		return slices.ContainsFunc(m, AnyMark)
	case map[string]any:
		for _, part := range m {
			if AnyMark(part) {
				return true
			}
		}
	}
	return false
}

// sensitive names the attributes of a request that the plan marks as sensitive.
func sensitive(c *Change) (names []string) {
	for _, name := range requestAttributes {
		if Marked(c.AfterSensitive, name) {
			names = append(names, name)
		}
	}
	return names
}
