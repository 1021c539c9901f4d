package gcptest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// dataset: the kind is that of BigQuery's datasets, which have access entries in place of a policy
// (https://cloud.google.com/bigquery/docs/reference/rest/v2/datasets).
func (k *Kind) dataset() bool { return k.API == "bigquery/v2" }

// accessEntry is an access entry of a dataset.
type accessEntry struct {
	Role         string     `json:"role,omitempty"`
	UserByEmail  string     `json:"userByEmail,omitempty"`
	GroupByEmail string     `json:"groupByEmail,omitempty"`
	Domain       string     `json:"domain,omitempty"`
	SpecialGroup string     `json:"specialGroup,omitempty"`
	IAMMember    string     `json:"iamMember,omitempty"`
	Condition    *Condition `json:"condition,omitempty"`
	BindingID    string     `json:"bindingId,omitempty"`
	// Only one of these is set in an entry without a member.
	View    json.RawMessage `json:"view,omitempty"`
	Routine json.RawMessage `json:"routine,omitempty"`
	Dataset json.RawMessage `json:"dataset,omitempty"`
}

// legacy are the names under which the service shows roles, whatever a write called them.
var legacy = map[string]string{
	"roles/bigquery.dataOwner": "OWNER", "roles/bigquery.dataEditor": "WRITER", "roles/bigquery.dataViewer": "READER",
}

// entries writes a policy as access entries; what is no binding stays byte for byte.
func (p Policy) entries() []any {
	all := []any{}
	for _, authorized := range p.Authorized {
		all = append(all, authorized)
	}
	for _, b := range p.Bindings {
		for _, m := range b.Members {
			e := accessEntry{Role: b.Role, Condition: b.Condition, BindingID: b.BindingID}
			if short := legacy[b.Role]; short != "" {
				e.Role = short
			}
			switch kind, name, _ := strings.Cut(m, ":"); kind {
			case "user", "serviceAccount":
				e.UserByEmail = name
			case "group":
				e.GroupByEmail = name
			case "domain":
				e.Domain = name
			case "allAuthenticatedUsers":
				e.SpecialGroup = m
			default:
				e.IAMMember = m
			}
			all = append(all, e)
		}
	}
	return all
}

// answerDataset is the answer of both methods.
func (r *resource) answerDataset(version int) any {
	p := r.sent(version)
	project, name, _ := strings.Cut(strings.TrimPrefix(r.scope, "projects/"), "/datasets/")
	return map[string]any{
		"kind": "bigquery#dataset", "etag": p.Etag, "access": p.entries(),
		"datasetReference": map[string]string{"projectId": project, "datasetId": name},
	}
}

// receivedDataset reads the access entries to write. Where there are conditions, the version must be 3.
func (r *resource) receivedDataset(q *http.Request) (p Policy, f *failure) {
	var body struct {
		Access []json.RawMessage `json:"access"`
	}
	if f := decode(q, &body); f != nil {
		return p, f
	}
	_, _ = fmt.Sscan(q.URL.Query().Get(r.kind.Version), &p.Version)
	conditional := r.policy.version() == 3
	for _, text := range body.Access {
		var e accessEntry
		if err := json.Unmarshal(text, &e); err != nil {
			return p, invalid("Invalid JSON payload received: %v", err)
		}
		if e.View != nil || e.Routine != nil || e.Dataset != nil {
			p.Authorized = append(p.Authorized, text)
			continue
		}
		b := Binding{Role: e.Role, Condition: e.Condition, BindingID: e.BindingID}
		for full, short := range legacy {
			if e.Role == short {
				b.Role = full
			}
		}
		m, err := e.member()
		if err != nil {
			return p, invalid("%v", err)
		}
		b.Members = []string{m}
		conditional = conditional || e.Condition != nil
		p.Bindings = append(p.Bindings, b)
	}
	if conditional && p.Version != 3 {
		return p, invalid("Access policy version 3 is required for a dataset with conditions.")
	}
	p.Version, p.Etag = 3, q.Header.Get("If-Match")
	return p, nil
}

// member is the member that an entry is for. An entry names exactly one.
func (e accessEntry) member() (string, error) {
	var all []string
	for kind, name := range map[string]string{"user:": e.UserByEmail, "group:": e.GroupByEmail, "domain:": e.Domain,
		"": e.SpecialGroup + e.IAMMember} {
		if name != "" {
			all = append(all, kind+name)
		}
	}
	if len(all) != 1 || e.Role == "" {
		return "", fmt.Errorf("an access entry has one member and a role: %+v", e)
	}
	if strings.HasSuffix(e.UserByEmail, "gserviceaccount.com") {
		return "serviceAccount:" + e.UserByEmail, nil
	}
	return all[0], nil
}

// anyCase returns the dataset that has the name in another case, as the service does for some datasets.
func (s *Server) anyCase(scope string) *resource {
	for name, at := range s.resources {
		if at.kind.dataset() && strings.EqualFold(name, scope) {
			return at
		}
	}
	return nil
}
