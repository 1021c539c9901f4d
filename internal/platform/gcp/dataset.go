package gcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// BigQuery keeps the policy of a dataset as a list of access entries within the dataset: one for each member of each
// role, and one for each view, routine or dataset that is authorized
// (https://cloud.google.com/bigquery/docs/reference/rest/v2/datasets#Dataset). A write replaces the whole list, if the
// etag in the header is still that of the dataset. Entries that were read are written back as they were.

// entry is one access entry; only one of its names is set.
type entry struct {
	Role         string     `json:"role,omitempty"`
	UserByEmail  string     `json:"userByEmail,omitempty"`
	GroupByEmail string     `json:"groupByEmail,omitempty"`
	Domain       string     `json:"domain,omitempty"`
	SpecialGroup string     `json:"specialGroup,omitempty"`
	IAMMember    string     `json:"iamMember,omitempty"`
	Condition    *condition `json:"condition,omitempty"`
}

// legacyRoles are the names under which the service shows three roles.
var legacyRoles = map[string]string{
	"OWNER": "roles/bigquery.dataOwner", "WRITER": "roles/bigquery.dataEditor", "READER": "roles/bigquery.dataViewer",
}

// ofProject are the groups of those who have a basic role on the project.
var ofProject = map[string]string{
	"projectOwners": "projectOwner:", "projectWriters": "projectEditor:", "projectReaders": "projectViewer:",
}

// member returns the member of a policy that the entry is for; empty for a view, a routine or a dataset.
func (e entry) member(project string) string {
	switch {
	case strings.HasSuffix(e.UserByEmail, "gserviceaccount.com"):
		return "serviceAccount:" + e.UserByEmail
	case e.UserByEmail != "":
		return "user:" + e.UserByEmail
	case e.GroupByEmail != "":
		return "group:" + e.GroupByEmail
	case e.Domain != "":
		return "domain:" + e.Domain
	case ofProject[e.SpecialGroup] != "":
		return ofProject[e.SpecialGroup] + project
	case e.SpecialGroup != "":
		return e.SpecialGroup
	}
	return e.IAMMember
}

// newEntry is the entry of one member of a binding.
func newEntry(b binding, member string) entry {
	e := entry{Role: b.Role, Condition: b.Condition}
	switch kind, name, _ := strings.Cut(member, ":"); {
	case kind == "user", kind == "serviceAccount" && !strings.Contains(name, "["):
		e.UserByEmail = name
	case kind == "group":
		e.GroupByEmail = name
	case kind == "domain":
		e.Domain = name
	case member == "allAuthenticatedUsers":
		e.SpecialGroup = member
	default:
		e.IAMMember = member
	}
	return e
}

// decodeDataset reads the policy of a dataset. The names of some datasets are the same in any case. The answer then has
// another name, which policies might not recognize.
func decodeDataset(text []byte, at resource) (*policy, error) {
	var d struct {
		Etag      json.RawMessage `json:"etag"`
		Reference struct {
			Project string `json:"projectId"`
			Dataset string `json:"datasetId"`
		} `json:"datasetReference"`
		Access *[]json.RawMessage `json:"access"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("read the dataset: %w", err)
	}
	if name := projects + d.Reference.Project + "/datasets/" + d.Reference.Dataset; name != at.name {
		return nil, about("scope", problem(nil, fmt.Sprintf("write scope = %q", name), "%s is another name of %s", at, name))
	}
	if len(d.Etag) == 0 {
		return nil, errors.New("the dataset came without an etag")
	}
	if d.Access == nil {
		// A write of our entries alone would take everybody's access away.
		return nil, about("scope", problem(nil, "give the target's identity "+at.permission("getIamPolicy"),
			"%s came without its access entries", at))
	}
	p := &policy{fields: map[string]json.RawMessage{"etag": d.Etag}, dataset: true}
	for _, sent := range *d.Access {
		var e entry
		if err := json.Unmarshal(sent, &e); err != nil {
			return nil, fmt.Errorf("read the dataset: %w", err)
		}
		b := binding{Role: e.Role, Condition: e.Condition, sent: slices.Clone(sent)}
		if full := legacyRoles[e.Role]; full != "" {
			b.Role = full
		}
		if member := e.member(at.project()); member != "" {
			b.Members = []string{member}
		}
		b.readMarks()
		p.bindings = append(p.bindings, b)
	}
	return p, nil
}

// encodeDataset writes the policy as access entries.
func (p *policy) encodeDataset() (json.RawMessage, error) {
	all := []json.RawMessage{}
	for _, b := range p.bindings {
		if b.sent != nil {
			all = append(all, b.sent)
			continue
		}
		for _, member := range b.Members {
			text, err := marshal(newEntry(b, member))
			if err != nil {
				return nil, fmt.Errorf("write the dataset: %w", err)
			}
			all = append(all, text)
		}
	}
	return marshal(map[string]any{"access": all})
}

// hiddenCondition ends a role whose condition the service does not show, because the read asked for too low a version
// (https://cloud.google.com/iam/docs/troubleshooting-withcond).
var hiddenCondition = regexp.MustCompile(`_with(cond|_conditionalbinding)_[0-9A-Za-z]+$`)
