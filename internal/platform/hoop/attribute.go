package hoop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// attributePrefix starts the name of every attribute that is a grant.
const attributePrefix = "jit-"

// attributeName names the attribute of a grant. Two owners may have grants with the same id.
func attributeName(m jit.Marker) string { return attributePrefix + string(m.ID) + "-" + m.Owner }

// attribute ties everything that it lists together: its groups may connect to its connections.
type attribute struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Connections []string `json:"connection_names"`
	Groups      []string `json:"access_control_group_names"`
	// A grant's are empty, not absent: the gateway keeps what is absent.
	AccessRequestRules []string `json:"access_request_rule_names"`
	GuardrailRules     []string `json:"guardrail_rule_names"`
	DatamaskingRules   []string `json:"datamasking_rule_names"`
}

// newAttribute is the attribute of a grant.
func newAttribute(m jit.Marker, connection, group string) attribute {
	return attribute{
		Name: attributeName(m), Description: m.String(), Connections: []string{connection}, Groups: []string{group},
		AccessRequestRules: []string{}, GuardrailRules: []string{}, DatamaskingRules: []string{},
	}
}

// marker returns the attribute's marker; ok is false if it is not a grant.
func (a attribute) marker() (m jit.Marker, ok bool) {
	m, ok = jit.ParseMarker(a.Description)
	return m, ok && a.Name == attributeName(m)
}

// extras lists what else the attribute does.
func (a attribute) extras() (all []string) {
	add := func(what string, names []string) {
		for _, name := range names {
			all = append(all, fmt.Sprintf("the %s %q is tied to it", what, name))
		}
	}
	add("access request rule", a.AccessRequestRules)
	add("guardrail rule", a.GuardrailRules)
	add("data masking rule", a.DatamaskingRules)
	return all
}

// right reports whether the attribute is as wanted.
func (a attribute) right(want attribute) bool {
	return a.Description == want.Description && slices.Equal(a.Connections, want.Connections) &&
		slices.Equal(a.Groups, want.Groups) && len(a.extras()) == 0
}

// listings is how often the attributes are listed again if they change meanwhile.
const listings = 5

// attributes lists all attributes by name. Pages have numbers, so an attribute that comes or goes meanwhile moves the
// others from page to page, and all are listed again.
func (c *client) attributes(ctx context.Context) (map[string]attribute, error) {
	for range listings {
		if all, steady, err := c.listAttributes(ctx); steady || err != nil {
			return all, err
		}
	}
	return nil, errors.New("list attributes: they change faster than they can be listed")
}

// listAttributes reads all pages once. steady is false if an attribute may be missing.
func (c *client) listAttributes(ctx context.Context) (all map[string]attribute, steady bool, err error) {
	all = map[string]attribute{}
	first, changed := 0, false
	for page := 1; ; page++ {
		var listed struct {
			Pages struct {
				Total int `json:"total"`
			} `json:"pages"`
			Data []attribute `json:"data"`
		}
		query := url.Values{"page": {strconv.Itoa(page)}, "page_size": {strconv.Itoa(pageSize)}}
		err := c.call(ctx, "list attributes", http.MethodGet, []string{"attributes"}, query, nil, &listed)
		if err != nil {
			return nil, false, err
		}
		total := listed.Pages.Total
		if page == 1 {
			first = total
		}
		changed = changed || total != first
		for _, a := range listed.Data {
			all[a.Name] = a
		}
		if page*pageSize >= total || len(listed.Data) == 0 {
			return all, !changed && len(all) == total, nil
		}
	}
}

// attributeScopes lists the connections of the attributes that are grants.
func (p *Platform) attributeScopes(ctx context.Context) ([]string, error) {
	all, err := p.attributes(ctx)
	var scopes []string
	for _, a := range all {
		if _, ours := a.marker(); ours {
			scopes = append(scopes, a.Connections...)
		}
	}
	slices.Sort(scopes)
	return slices.Compact(scopes), err
}

// accessControl returns the groups that may connect to each connection without an attribute. on is false if the gateway
// has no access control: then everybody may.
func (c *client) accessControl(ctx context.Context) (groups map[string][]string, on bool, err error) {
	type plugin struct {
		Connections []struct {
			Name   string   `json:"name"`
			Config []string `json:"config"`
		} `json:"connections"`
	}
	found, err := find[plugin](ctx, c, "look at the access control", "plugins", "access_control")
	if found == nil {
		return nil, false, err
	}
	groups = map[string][]string{}
	for _, conn := range found.Connections {
		groups[conn.Name] = conn.Config
	}
	return groups, true, nil
}

// readAttributes returns the grants of a connection, and the groups that have it by other attributes or by the access
// control of the connection.
func (p *Platform) readAttributes(ctx context.Context, scope string) (jit.Snapshot, error) {
	all, err := p.attributes(ctx)
	if err != nil {
		return jit.Snapshot{}, err
	}
	control, _, err := p.accessControl(ctx)
	if err != nil {
		return jit.Snapshot{}, err
	}
	snap := jit.Snapshot{Clock: p.lastClock().Remote}
	standing := func(groups []string, detail string) {
		for _, group := range groups {
			snap.Standing = append(snap.Standing,
				jit.Standing{Principal: groupPrefix + group, Role: connect, Detail: detail})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		a := all[name]
		if !slices.Contains(a.Connections, scope) {
			continue
		}
		if m, ours := a.marker(); ours {
			snap.Ours = append(snap.Ours, a.observed(m))
		} else {
			standing(a.Groups, "the attribute "+name)
		}
	}
	standing(control[scope], "the access control of the connection")
	return snap, nil
}

// observed is the attribute as a grant on a connection.
func (a attribute) observed(m jit.Marker) jit.Observed {
	o := jit.Observed{Marker: m, Role: connect}
	damage := a.extras()
	if len(a.Connections) > 1 {
		damage = append(damage, "it is on several connections: "+strings.Join(a.Connections, ", "))
	}
	switch len(a.Groups) {
	case 0:
		damage = append(damage, "it has no group")
	case 1:
		o.Principal = groupPrefix + a.Groups[0]
	default:
		o.Principal = groupPrefix + a.Groups[0]
		damage = append(damage, "it is of several groups: "+strings.Join(a.Groups, ", "))
	}
	o.Damage = strings.Join(damage, "; ")
	return o
}
