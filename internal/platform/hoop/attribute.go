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

// attributePrefix begins the name of every attribute that is a grant.
const attributePrefix = "jit-"

// attributeName names the attribute of a grant. Two owners may have grants of the same id.
func attributeName(m jit.Marker) string { return attributePrefix + string(m.ID) + "-" + m.Owner }

// attribute ties everything that it lists together: its groups may connect to its connections.
type attribute struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Connections []string `json:"connection_names"`
	Groups      []string `json:"access_control_group_names"`
	// Of a grant these are empty, not absent: absent would leave them as they are.
	AccessRequestRules []string `json:"access_request_rule_names"`
	GuardrailRules     []string `json:"guardrail_rule_names"`
	DatamaskingRules   []string `json:"datamasking_rule_names"`
}

// newAttribute is what a grant has to look like.
func newAttribute(m jit.Marker, connection, group string) attribute {
	return attribute{Name: attributeName(m), Description: m.String(), Connections: []string{connection}, Groups: []string{group},
		AccessRequestRules: []string{}, GuardrailRules: []string{}, DatamaskingRules: []string{}}
}

// marker returns the marker that the attribute bears; ok is false when it is not a grant.
func (a attribute) marker() (m jit.Marker, ok bool) {
	m, ok = jit.ParseMarker(a.Description)
	return m, ok && a.Name == attributeName(m)
}

// extras lists what else the attribute does.
func (a attribute) extras() []string {
	var found []string
	for _, e := range []struct {
		what  string
		names []string
	}{{"access request rule", a.AccessRequestRules}, {"guardrail rule", a.GuardrailRules}, {"data masking rule", a.DatamaskingRules}} {
		for _, name := range e.names {
			found = append(found, fmt.Sprintf("the %s %q is tied to it", e.what, name))
		}
	}
	return found
}

// right reports whether nothing has to be done to have what is wanted.
func (a attribute) right(want attribute) bool {
	return a.Description == want.Description && slices.Equal(a.Connections, want.Connections) && slices.Equal(a.Groups, want.Groups) && len(a.extras()) == 0
}

// listings is how often the attributes are listed anew when they change meanwhile.
const listings = 5

// attributes lists all attributes by name. Pages are counted, so what comes or goes meanwhile moves the others: then
// all is listed again.
func (c *client) attributes(ctx context.Context) (map[string]attribute, error) {
	for range listings {
		all := map[string]attribute{}
		total, steady := -1, true
		for page := 1; ; page++ {
			var listed struct {
				Pages struct {
					Total int `json:"total"`
				} `json:"pages"`
				Data []attribute `json:"data"`
			}
			query := url.Values{"page": {strconv.Itoa(page)}, "page_size": {strconv.Itoa(pageSize)}}
			if err := c.call(ctx, "list attributes", http.MethodGet, []string{"attributes"}, query, nil, &listed); err != nil {
				return nil, err
			}
			steady = steady && (total < 0 || total == listed.Pages.Total)
			total = listed.Pages.Total
			for _, a := range listed.Data {
				all[a.Name] = a
			}
			if page*pageSize >= total || len(listed.Data) == 0 {
				break
			}
		}
		if steady && len(all) == total {
			return all, nil
		}
	}
	return nil, errors.New("list attributes: they change faster than they can be listed")
}

// attributeScopes lists the connections of the attributes that are grants.
func (p *Platform) attributeScopes(ctx context.Context) ([]string, error) {
	all, err := p.attributes(ctx)
	if err != nil {
		return nil, err
	}
	scopes := map[string]bool{}
	for _, a := range all {
		if _, ours := a.marker(); ours {
			for _, name := range a.Connections {
				scopes[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(scopes)), nil
}

// accessControl returns the groups that may connect to each connection without an attribute. on is false where the
// gateway has no access control: then everybody may.
func (c *client) accessControl(ctx context.Context) (groups map[string][]string, on bool, err error) {
	var plugin struct {
		Connections []struct {
			Name   string   `json:"name"`
			Config []string `json:"config"`
		} `json:"connections"`
	}
	err = c.call(ctx, "look at the access control", http.MethodGet, []string{"plugins", "access_control"}, nil, nil, &plugin)
	if answered(err, http.StatusNotFound) {
		return nil, false, nil
	}
	groups = map[string][]string{}
	for _, conn := range plugin.Connections {
		groups[conn.Name] = conn.Config
	}
	return groups, err == nil, err
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
	for _, name := range slices.Sorted(maps.Keys(all)) {
		a := all[name]
		if !slices.Contains(a.Connections, scope) {
			continue
		}
		if m, ours := a.marker(); ours {
			snap.Ours = append(snap.Ours, a.observed(m))
			continue
		}
		for _, group := range a.Groups {
			snap.Standing = append(snap.Standing, jit.Standing{Principal: groupPrefix + group, Role: connect, Detail: "the attribute " + name})
		}
	}
	for _, group := range control[scope] {
		snap.Standing = append(snap.Standing, jit.Standing{Principal: groupPrefix + group, Role: connect, Detail: "the access control of the connection"})
	}
	return snap, nil
}

// observed is what a grant looks like on a connection.
func (a attribute) observed(m jit.Marker) jit.Observed {
	o := jit.Observed{Marker: m, Role: connect}
	damage := a.extras()
	if len(a.Connections) > 1 {
		damage = append(damage, "it is on several connections: "+strings.Join(a.Connections, ", "))
	}
	if len(a.Groups) == 0 {
		damage = append(damage, "it has no group")
	} else {
		o.Principal = groupPrefix + a.Groups[0]
	}
	if len(a.Groups) > 1 {
		damage = append(damage, "it is of several groups: "+strings.Join(a.Groups, ", "))
	}
	o.Damage = strings.Join(damage, "; ")
	return o
}
