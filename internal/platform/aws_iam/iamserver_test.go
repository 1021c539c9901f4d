package awsiam

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// iamServer is the part of IAM that the platform uses, at least as strict as the real one. It checks names, documents,
// quotas and conflicts, and serves the bulk read in small pages.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_Operations.html
type iamServer struct {
	mu      sync.Mutex
	account string
	made    int
	iamState
	quotas map[string]int

	// lag is how old the bulk read is, and with lagRoles each read of a role: IAM is eventually consistent
	// (https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency).
	lag      time.Duration
	lagRoles bool
	past     []iamState // after each write, the oldest first
	fresh    bool       // the request under way is a test's own, whose reads do not lag
}

// freshKey is the access key of tests, which see the account as it is.
const freshKey = "AKIAFRESH"

// iamState is what the account holds at one time.
type iamState struct {
	at       time.Time
	entities map[string]*iamEntity // by kind and name, as "user/alice"
	policies map[string]*iamPolicy // by ARN
}

// clone returns a copy of the state.
func (s iamState) clone() iamState {
	c := iamState{time.Now(), map[string]*iamEntity{}, map[string]*iamPolicy{}}
	for name, e := range s.entities {
		is := *e
		is.inline, is.attached = maps.Clone(e.inline), slices.Clone(e.attached)
		c.entities[name] = &is
	}
	for name, p := range s.policies {
		is := *p
		is.versions = slices.Clone(p.versions)
		c.policies[name] = &is
	}
	return c
}

// seen is the state that a read shows.
func (s *iamServer) seen() iamState {
	for _, was := range slices.Backward(s.past) {
		if s.lag > 0 && !s.fresh && time.Since(was.at) >= s.lag {
			return was
		}
	}
	return s.iamState
}

// slow makes reads lag from now on.
func (s *iamServer) slow(lag time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.clone()
	was.at = was.at.Add(-lag)
	s.lag, s.past = lag, []iamState{was}
}

// behind makes reads show the account for a while as it was earlier.
func (s *iamServer) behind(was iamState, lag time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was.at = was.at.Add(-lag)
	s.lag, s.past = lag, []iamState{was, s.clone()}
}

type iamEntity struct {
	kind, path, name, id, created string
	inline                        map[string]string
	attached, groups              []string
	trust                         string
}

type iamPolicy struct {
	arn, description, created string
	versions                  []iamVersion
	next                      int
}

type iamVersion struct {
	id, document string
	isDefault    bool
}

// iamError is an error in an answer.
type iamError struct {
	status        int
	code, message string
}

const listed = 4 // entities and policies on one page of the bulk read

// newIAMServer serves an account with an administrator.
func newIAMServer(t *testing.T) (*iamServer, testenv.MotoAccount) {
	t.Helper()
	s := &iamServer{account: "123456789012",
		iamState: iamState{entities: map[string]*iamEntity{}, policies: map[string]*iamPolicy{}},
		quotas: map[string]int{
			"UserPolicySizeQuota": 2048, "GroupPolicySizeQuota": 5120, "RolePolicySizeQuota": 10240,
			"PolicySizeQuota": 6144, "AssumeRolePolicySizeQuota": 2048,
			"AttachedPoliciesPerUserQuota": 10, "AttachedPoliciesPerGroupQuota": 10, "AttachedPoliciesPerRoleQuota": 10,
			"VersionsPerPolicyQuota": 5,
		}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.create("user", "/", "administrator")
	return s, testenv.MotoAccount{Endpoint: server.URL, Region: "us-east-1", ID: s.account, AccessKeyID: "AKIASERVER",
		SecretAccessKey: "a secret of " + rand.Text()}
}

// ServeHTTP answers one request of the query protocol.
func (s *iamServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil ||
		!strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=") {
		fail(w, http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	action := r.PostForm.Get("Action")
	s.fresh = strings.Contains(r.Header.Get("Authorization"), "="+freshKey+"/")
	result, refused := s.answer(action, r.PostForm)
	if s.lag > 0 && !isRead(action) {
		s.past = append(s.past, s.clone())
	}
	if refused != nil {
		fail(w, refused.status, refused.code, html.EscapeString(refused.message))
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprintf(w,
		`<%sResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><%[1]sResult>%s</%[1]sResult></%[1]sResponse>`,
		action, result)
}

func element(name, value string) string {
	return "<" + name + ">" + html.EscapeString(value) + "</" + name + ">"
}

func (s *iamServer) answer(action string, form url.Values) (string, *iamError) {
	switch action {
	case "GetCallerIdentity":
		return element("Account", s.account) + element("Arn", s.arn("user/administrator")) + element("UserId", "AIDA"),
			nil
	case "AssumeRole":
		return "<Credentials>" + element("AccessKeyId", "ASIA") + element("SecretAccessKey",
			"s") + element("SessionToken", "t") +
			element("Expiration", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)) + "</Credentials>", nil
	case "GetAccountAuthorizationDetails":
		return s.details(form)
	case "GetAccountSummary":
		all := ""
		for name, n := range s.quotas {
			all += "<entry>" + element("key", name) + element("value", strconv.Itoa(n)) + "</entry>"
		}
		return "<SummaryMap>" + all + "</SummaryMap>", nil
	case "CreateUser", "CreateGroup", "CreateRole":
		return s.createEntity(strings.ToLower(strings.TrimPrefix(action, "Create")), form)
	case "DeleteUser", "DeleteRole":
		return "", s.deleteEntity(strings.ToLower(strings.TrimPrefix(action, "Delete")),
			form.Get("UserName")+form.Get("RoleName"))
	case "AddUserToGroup":
		user := s.entities["user/"+form.Get("UserName")]
		user.groups = append(user.groups, form.Get("GroupName"))
		return "", nil
	case "GetRole", "UpdateAssumeRolePolicy":
		e := s.entities["role/"+form.Get("RoleName")]
		if e == nil {
			return "", missing("The role with name %s cannot be found.", form.Get("RoleName"))
		}
		if action == "GetRole" {
			if s.lagRoles {
				e = s.seen().entities["role/"+form.Get("RoleName")]
			}
			return "<Role>" + s.facts(e) + element("AssumeRolePolicyDocument", url.PathEscape(e.trust)) + "</Role>", nil
		}
		if refused := s.setTrust(e, form.Get("PolicyDocument")); refused != nil {
			return "", refused
		}
		return "", nil
	}
	if m := regexp.MustCompile(`^(Put|Delete|Attach|Detach)(User|Group|Role)Policy$`).FindStringSubmatch(action); m != nil {
		e := s.entities[strings.ToLower(m[2])+"/"+form.Get(m[2]+"Name")]
		if e == nil {
			return "", missing("The %s with name %s cannot be found.", strings.ToLower(m[2]), form.Get(m[2]+"Name"))
		}
		return "", s.change(m[1], m[2], e, form)
	}
	return s.managed(action, form)
}

func missing(format string, args ...any) *iamError {
	return &iamError{http.StatusNotFound, "NoSuchEntity", fmt.Sprintf(format, args...)}
}

func conflict(code, format string, args ...any) *iamError {
	return &iamError{http.StatusConflict, code, fmt.Sprintf(format, args...)}
}

func (s *iamServer) arn(what string) string { return "arn:aws:iam::" + s.account + ":" + what }

// ids begin the unique ids: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
var ids = map[string]string{"user": "AIDA", "group": "AGPA", "role": "AROA"}

func (s *iamServer) create(kind, path, name string) *iamEntity {
	s.made++
	e := &iamEntity{kind: kind, path: path, name: name, id: fmt.Sprintf(ids[kind]+"%012d", s.made),
		created: time.Now().UTC().Format(time.RFC3339), inline: map[string]string{}}
	s.entities[kind+"/"+name] = e
	return e
}

func (s *iamServer) createEntity(kind string, form url.Values) (string, *iamError) {
	title := map[string]string{"user": "User", "group": "Group", "role": "Role"}[kind]
	name := form.Get(title + "Name")
	if s.entities[kind+"/"+name] != nil { // names are unique whatever their path
		return "", conflict("EntityAlreadyExists", "%s with name %s already exists.", title, name)
	}
	path := cmp.Or(form.Get("Path"), "/")
	e := s.create(kind, path, name)
	if kind == "role" {
		if refused := s.setTrust(e, form.Get("AssumeRolePolicyDocument")); refused != nil {
			delete(s.entities, "role/"+name)
			return "", refused
		}
	}
	return "<" + title + ">" + s.facts(e) + "</" + title + ">", nil
}

func (s *iamServer) facts(e *iamEntity) string {
	title := map[string]string{"user": "User", "group": "Group", "role": "Role"}[e.kind]
	return element("Arn", s.arn(e.kind+e.path+e.name)) + element(title+"Name", e.name) + element(title+"Id",
		e.id) + element("CreateDate", e.created) + element("Path", e.path)
}

// change puts, deletes, attaches or detaches a policy.
func (s *iamServer) change(verb, title string, e *iamEntity, form url.Values) *iamError {
	name, policyARN := form.Get("PolicyName"), form.Get("PolicyArn")
	switch verb {
	case "Put":
		if !regexp.MustCompile(`^[\w+=,.@-]{1,128}$`).MatchString(name) {
			return &iamError{http.StatusBadRequest, "ValidationError", "policyName failed to satisfy constraint"}
		}
		if refused := checkDocument(form.Get("PolicyDocument"), false); refused != nil {
			return refused
		}
		total := size(form.Get("PolicyDocument"))
		for other, document := range e.inline {
			if other != name {
				total += size(document)
			}
		}
		if quota := s.quotas[title+"PolicySizeQuota"]; total > quota {
			return conflict("LimitExceeded", "Maximum policy size of %d bytes exceeded for %s %s", quota, e.kind,
				e.name)
		}
		e.inline[name] = form.Get("PolicyDocument")
	case "Delete":
		if e.inline[name] == "" {
			return missing("The %s policy with name %s cannot be found.", e.kind, name)
		}
		delete(e.inline, name)
	case "Attach":
		if s.policies[policyARN] == nil {
			return missing("Policy %s does not exist or is not attachable.", policyARN)
		}
		if slices.Contains(e.attached, policyARN) {
			return nil
		}
		if quota := s.quotas["AttachedPoliciesPer"+title+"Quota"]; len(e.attached) >= quota {
			return conflict("LimitExceeded", "Cannot exceed quota for PoliciesPer%s: %d", title, quota)
		}
		e.attached = append(e.attached, policyARN)
	case "Detach":
		i := slices.Index(e.attached, policyARN)
		if i < 0 {
			return missing("Policy %s was not found.", policyARN)
		}
		e.attached = slices.Delete(e.attached, i, i+1)
	}
	return nil
}

// deleteEntity deletes a user or role. Trust policies show its id from then on and cannot be saved with it:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
// An entity with policies cannot be deleted: https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteUser.html
func (s *iamServer) deleteEntity(kind, name string) *iamError {
	gone := s.entities[kind+"/"+name]
	if gone == nil {
		return missing("The %s with name %s cannot be found.", kind, name)
	}
	if len(gone.inline)+len(gone.attached) > 0 {
		return conflict("DeleteConflict", "Cannot delete entity, must delete policies first.")
	}
	delete(s.entities, kind+"/"+name)
	for _, e := range s.entities {
		e.trust = strings.ReplaceAll(e.trust, `"`+s.arn(kind+gone.path+name)+`"`, `"`+gone.id+`"`)
	}
	return nil
}

func (s *iamServer) setTrust(e *iamEntity, document string) *iamError {
	if refused := checkDocument(document, true); refused != nil {
		return refused
	}
	if id := regexp.MustCompile(`"A(IDA|ROA)[A-Z0-9]+"`).FindString(document); id != "" {
		return &iamError{http.StatusBadRequest, malformed, `Invalid principal in policy: "AWS":` + id}
	}
	for _, principal := range regexp.MustCompile(`"arn:aws:iam::`+s.account+
		`:((user|role|group)(/|/[^"]+/)([^"/]+))"`).FindAllStringSubmatch(document, -1) {
		if e := s.entities[principal[2]+"/"+principal[4]]; e == nil || e.path != principal[3] || e.kind == "group" {
			return &iamError{http.StatusBadRequest, "MalformedPolicyDocument",
				"Invalid principal in policy: " + principal[1]}
		}
	}
	for _, session := range regexp.MustCompile(`"arn:aws:sts::`+s.account+
		`:assumed-role/([^"/]+)/[^"]+"`).FindAllStringSubmatch(document, -1) {
		if s.entities["role/"+session[1]] == nil {
			return &iamError{http.StatusBadRequest, "MalformedPolicyDocument", "Invalid principal in policy: " + session[0]}
		}
	}
	if quota := s.quotas["AssumeRolePolicySizeQuota"]; size(document) > quota {
		return conflict("LimitExceeded", "Cannot exceed quota for ACLSizePerRole: %d", quota)
	}
	e.trust = document
	return nil
}
