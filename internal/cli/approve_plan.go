package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// asked is a request of a plan.
type asked struct {
	address string
	// fields is the request in the configuration's spelling.
	fields []jit.Field
	digest string
	// request is the plan's request to the broker.
	request broker.Request
	// sensitive names the attributes that the plan marks as sensitive.
	sensitive []string
}

// maxPlan bounds the file of a plan, in bytes.
const maxPlan = 1 << 30

// readPlan reads the requests of a plan: its grants that are new, replaced, or ask for something else than before.
// unknown says which others cannot be approved yet, and why.
func readPlan(file string) (requests []asked, unknown []string, err error) {
	plan, err := loadPlan(file)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range plan.ResourceChanges {
		if r.Type != "jit_grant" || r.Mode != tfjson.ManagedResourceMode || r.Change == nil || r.DeposedKey != "" {
			continue
		}
		a := r.Change.Actions
		if !a.Create() && !a.Update() && !a.Replace() {
			continue
		}
		request, why := requestOf(r.Change)
		switch {
		case why != "":
			unknown = append(unknown, fmt.Sprintf("%s cannot be approved yet: %s", r.Address, why))
		case a.Update() && request.digest == attributeOf(r.Change.Before, "request_digest"):
		default:
			request.address = r.Address
			requests = append(requests, request)
		}
	}
	return requests, unknown, nil
}

// loadPlan reads the file of a plan.
func loadPlan(file string) (plan tfjson.Plan, err error) {
	const hint = "write it with: terraform show -json PLANFILE > plan.json"
	info, err := os.Stat(file)
	if err == nil && info.Size() > maxPlan {
		err = fmt.Errorf("it has more than %d bytes", maxPlan)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(file) // #nosec G304 -- the user names it
	}
	if err != nil {
		return plan, jit.Invalid("--plan", hint, "the plan cannot be read: %v", err)
	}
	if err := json.Unmarshal(text, &plan); err != nil {
		return plan, jit.Invalid("--plan", hint, "%s is not a plan in JSON: %v", file, err)
	}
	if plan.PlannedValues == nil && len(plan.ResourceChanges) == 0 {
		return plan, jit.Invalid("--plan", hint, "%s holds no plan; a state, which terraform show -json prints without "+
			"PLANFILE, is none", file)
	}
	return plan, nil
}

// requestAttributes are the attributes of jit_grant that a request has.
var requestAttributes = []string{
	"target", "principal", "role", "scope", "reason", "renewal", "ttl", "expires_at", "starts_at", "start_by",
	"terminate_sessions", "break_glass", "requester",
}

// requestOf reads the request of a planned change. why says why it cannot be approved yet.
func requestOf(c *tfjson.Change) (request asked, why string) {
	after := func(name string) string { return attributeOf(c.After, name) }
	var unknown []string
	for _, name := range requestAttributes {
		implied := name == "expires_at" && after("ttl") != "" || name == "ttl" && after("expires_at") != ""
		if attributeOf(c.AfterUnknown, name) == "true" && !implied {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 1 { // a scope that the block leaves out is unknown whenever anything is
		unknown = slices.DeleteFunc(unknown, func(name string) bool { return name == "scope" })
	}
	if request.digest = after("request_digest"); len(unknown) > 0 {
		verb := " is"
		if len(unknown) > 1 {
			verb = " are"
		}
		return request, strings.Join(unknown, ", ") + verb + " known only after the apply"
	}
	if request.digest == "" {
		return request, "it has no request_digest; apply the policies and persons first, which creates the ledger"
	}
	g := jit.Grant{
		Binding: jit.Binding{
			Target: after("target"), Principal: after("principal"), Role: after("role"), Scope: after("scope"),
		},
		Reason: after("reason"),
		Terms: jit.Terms{
			TerminateSessions: after("terminate_sessions") == "true", BreakGlass: after("break_glass") == "true",
			Requester: after("requester"),
		},
	}
	var err error
	if g.Renewal, err = strconv.ParseInt(after("renewal"), 10, 64); err != nil {
		return request, fmt.Sprintf("its renewal, %q, is not a number", after("renewal"))
	}
	if err := setTimes(&g, after); err != nil {
		return request, err.Error()
	}
	request.fields, request.sensitive = g.RequestFields(), sensitive(c)
	request.request = broker.Request{
		Binding: g.Binding, Reason: g.Reason, Renewal: g.Renewal, TTL: g.TTL, StartsAt: g.AskedStart(),
		Policy: after("policy"), Terms: g.Terms,
	}
	if g.TTL.IsZero() {
		request.request.ExpiresAt = g.End
	}
	return request, ""
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

// attributeOf returns an attribute of an object of a plan as text; empty for null and for anything but text, number and bool.
func attributeOf(object any, name string) string {
	attributes, _ := object.(map[string]any)
	switch v := attributes[name].(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return v.String()
	}
	return ""
}

// sensitive names the attributes of a request that the plan marks as sensitive.
func sensitive(c *tfjson.Change) (names []string) {
	for _, name := range requestAttributes {
		if attributeOf(c.AfterSensitive, name) == "true" {
			names = append(names, name)
		}
	}
	return names
}
