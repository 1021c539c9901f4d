package awsiam

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// operators are the condition operators that the platform and its tests use, of those in
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
var operators = regexp.MustCompile(`^(Date(LessThan|GreaterThan)(Equals)?|String(Not)?(Equals|Like)|Bool|(Not)?IpAddress|Arn(Like|Equals))(IfExists)?$`)

// checkDocument refuses an invalid policy or trust policy.
func checkDocument(document string, trust bool) *iamError {
	refuse := func(why string) *iamError {
		return &iamError{http.StatusBadRequest, "MalformedPolicyDocument", why + ": " + document}
	}
	var whole struct {
		Version   *string
		ID        any `json:"Id"`
		Statement json.RawMessage
	}
	decoder := json.NewDecoder(strings.NewReader(document))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&whole); err != nil {
		return refuse("The policy is not in the valid JSON format")
	}
	var statements []map[string]any
	if json.Unmarshal(whole.Statement, &statements) != nil {
		var one map[string]any
		if json.Unmarshal(whole.Statement, &one) != nil {
			return refuse("Syntax errors in policy")
		}
		statements = []map[string]any{one}
	}
	sids := map[any]bool{}
	for _, s := range statements {
		has := func(key string) bool { return s[key] != nil }
		sid, _ := s["Sid"].(string)
		conditions, _ := s["Condition"].(map[string]any)
		switch {
		case s["Effect"] != "Allow" && s["Effect"] != "Deny":
			return refuse("Invalid effect")
		case has("Action") == has("NotAction"):
			return refuse("Policy statement must contain actions")
		case !trust && has("Resource") == has("NotResource"):
			return refuse("Policy statement must contain resources")
		case trust && (has("Resource") || has("NotResource")):
			return refuse("Has prohibited field Resource")
		case trust != has("Principal"):
			return refuse("Policy document should specify a principal in a trust policy, and only there")
		case !regexp.MustCompile(`^[A-Za-z0-9]*$`).MatchString(sid):
			return refuse("Statement IDs (SID) must be alpha-numeric")
		case sid != "" && sids[sid]:
			return refuse("Statement IDs (SID) in a single policy must be unique")
		}
		sids[sid] = true
		if why := misnamed(s, trust); why != "" {
			return refuse(why)
		}
		for operator := range conditions {
			if !operators.MatchString(operator) {
				return refuse("Invalid Condition type " + operator)
			}
		}
	}
	if whole.ID != nil || len(statements) == 0 {
		return refuse("Syntax errors in policy")
	}
	return nil
}

// vendor begins an action: the service, which has no wildcards.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html
var vendor = regexp.MustCompile(`^([A-Za-z0-9-]+:[A-Za-z0-9*?]+|\*|\*:\*)$`)

// misnamed says which action or resource of a statement IAM does not accept; "" if it accepts all.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
func misnamed(s map[string]any, trust bool) string {
	each := func(key string, refused func(string) bool) string {
		all := texts(s[key])
		if i := slices.IndexFunc(all, refused); i >= 0 {
			return all[i]
		}
		return ""
	}
	for _, not := range []string{"", "Not"} {
		if bad := each(not+"Action", func(a string) bool { return !vendor.MatchString(a) }); bad != "" {
			return "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc. " + bad
		}
		bad := each(not+"Resource", func(r string) bool { return r != "*" && !strings.HasPrefix(r, "arn:") })
		if bad != "" && !trust {
			return `Resource ` + bad + ` must be in ARN format or "*".`
		}
	}
	return ""
}

// managed answers requests about managed policies.
func (s *iamServer) managed(action string, form url.Values) (string, *iamError) {
	name := form.Get("PolicyArn")
	if action == "CreatePolicy" {
		return s.createPolicy(form)
	}
	p := s.policies[name]
	if p == nil {
		return "", missing("Policy %s was not found.", name)
	}
	switch action {
	case "GetPolicy":
		return "<Policy>" + p.facts() + element("Description", p.description) + "</Policy>", nil
	case "ListPolicyVersions":
		all := ""
		for _, v := range p.versions {
			all += "<member>" + v.facts(false) + "</member>"
		}
		return "<Versions>" + all + "</Versions><IsTruncated>false</IsTruncated>", nil
	case "CreatePolicyVersion":
		return s.createVersion(p, form)
	case "DeletePolicy":
		for _, e := range s.entities {
			if slices.Contains(e.attached, name) {
				return "", conflict("DeleteConflict", "Cannot delete a policy attached to entities.")
			}
		}
		if len(p.versions) > 1 {
			return "", conflict("DeleteConflict", "This policy has more than one version.")
		}
		delete(s.policies, name)
		return "", nil
	}
	i := slices.IndexFunc(p.versions, func(v iamVersion) bool { return v.id == form.Get("VersionId") })
	switch {
	case i < 0:
		return "", missing("Policy %s version %s does not exist or is not attachable.", name, form.Get("VersionId"))
	case action == "GetPolicyVersion":
		return "<PolicyVersion>" + p.versions[i].facts(true) + "</PolicyVersion>", nil
	case action != "DeletePolicyVersion":
		return "", &iamError{http.StatusBadRequest, "InvalidAction", "Could not find operation " + action}
	case p.versions[i].isDefault:
		return "", conflict("DeleteConflict", "Cannot delete the default version of a policy.")
	}
	p.versions = slices.Delete(p.versions, i, i+1)
	return "", nil
}

func (s *iamServer) createPolicy(form url.Values) (string, *iamError) {
	path := form.Get("Path")
	if path == "" {
		path = "/"
	}
	name := s.arn("policy" + path + form.Get("PolicyName"))
	for existing := range s.policies {
		if strings.HasSuffix(existing, "/"+form.Get("PolicyName")) { // names are unique whatever their path
			return "", conflict("EntityAlreadyExists", "A policy called %s already exists.", form.Get("PolicyName"))
		}
	}
	p := &iamPolicy{arn: name, description: form.Get("Description"), created: time.Now().UTC().Format(time.RFC3339)}
	form.Set("SetAsDefault", "true")
	if _, refused := s.createVersion(p, form); refused != nil {
		return "", refused
	}
	s.policies[name] = p
	return "<Policy>" + p.facts() + "</Policy>", nil
}

func (s *iamServer) createVersion(p *iamPolicy, form url.Values) (string, *iamError) {
	document := form.Get("PolicyDocument")
	if refused := checkDocument(document, false); refused != nil {
		return "", refused
	}
	if quota := s.quotas["PolicySizeQuota"]; size(document) > quota {
		return "", conflict("LimitExceeded", "Cannot exceed quota for PolicySize: %d", quota)
	}
	if quota := s.quotas["VersionsPerPolicyQuota"]; len(p.versions) >= quota {
		return "", conflict("LimitExceeded", "A managed policy can have up to %d versions.", quota)
	}
	p.next++
	v := iamVersion{fmt.Sprintf("v%d", p.next), document, form.Get("SetAsDefault") == "true"}
	for i := range p.versions {
		p.versions[i].isDefault = p.versions[i].isDefault && !v.isDefault
	}
	p.versions = append(p.versions, v)
	return "<PolicyVersion>" + v.facts(false) + "</PolicyVersion>", nil
}

func (p *iamPolicy) facts() string {
	all := element("Arn", p.arn) + element("CreateDate", p.created)
	for _, v := range p.versions {
		if v.isDefault {
			all += element("DefaultVersionId", v.id)
		}
	}
	return all
}

func (v iamVersion) facts(document bool) string {
	all := element("VersionId", v.id) + element("IsDefaultVersion", fmt.Sprint(v.isDefault))
	if document {
		all += element("Document", url.PathEscape(v.document))
	}
	return all
}

// details is one page of the bulk read. The marker is the last key of the previous page.
func (s *iamServer) details(form url.Values) (string, *iamError) {
	wanted := map[string]bool{}
	for i := 1; form.Get(fmt.Sprintf("Filter.member.%d", i)) != ""; i++ {
		wanted[form.Get(fmt.Sprintf("Filter.member.%d", i))] = true
	}
	lists := map[string]string{}
	after, last, n := form.Get("Marker"), "", 0
	is := s.seen()
	for _, key := range append(slices.Sorted(maps.Keys(is.entities)), slices.Sorted(maps.Keys(is.policies))...) {
		list, member := s.detail(is, key)
		switch {
		case !wanted[strings.TrimSuffix(list, "DetailList")] && list != "Policies", list == "Policies" &&
			!wanted["LocalManagedPolicy"]:
			continue
		case after != "":
			if key == after {
				after = ""
			}
			continue
		case n == listed:
			return page(lists, element("IsTruncated", "true")+element("Marker", last)), nil
		}
		lists[list] += "<member>" + member + "</member>"
		last, n = key, n+1
	}
	return page(lists, element("IsTruncated", "false")), nil
}

func page(lists map[string]string, end string) string {
	all := ""
	for name, members := range lists {
		all += "<" + name + ">" + members + "</" + name + ">"
	}
	return all + end
}

// detail describes one entity or policy and names the list that it belongs to.
func (s *iamServer) detail(is iamState, key string) (list, member string) {
	if p := is.policies[key]; p != nil {
		versions := ""
		for _, v := range p.versions {
			versions += "<member>" + v.facts(true) + "</member>"
		}
		return "Policies", p.facts() + "<PolicyVersionList>" + versions + "</PolicyVersionList>"
	}
	e := is.entities[key]
	title := map[string]string{"user": "User", "group": "Group", "role": "Role"}[e.kind]
	inline, attached, groups := "", "", ""
	for _, name := range slices.Sorted(maps.Keys(e.inline)) {
		inline += "<member>" + element("PolicyName", name) + element("PolicyDocument",
			url.PathEscape(e.inline[name])) + "</member>"
	}
	for _, name := range e.attached {
		attached += "<member>" + element("PolicyArn", name) + element("PolicyName",
			name[strings.LastIndex(name, "/")+1:]) + "</member>"
	}
	for _, name := range e.groups {
		groups += element("member", name)
	}
	member = s.facts(e) + "<" + title + "PolicyList>" + inline + "</" + title + "PolicyList><AttachedManagedPolicies>" + attached + "</AttachedManagedPolicies>"
	if e.kind == "user" {
		member += "<GroupList>" + groups + "</GroupList>"
	}
	if e.kind == "role" {
		member += element("AssumeRolePolicyDocument", url.PathEscape(e.trust))
	}
	return title + "DetailList", member
}
