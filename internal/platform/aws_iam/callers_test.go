package awsiam

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// may decides whether the principal may do it at that time.
func (s *site) may(t *testing.T, principal, action, resource string, when time.Time) bool {
	t.Helper()
	return s.mayUnder(t, principal, at(action, resource, when))
}

// mayUnder is may for a request with a context. A session has what its role has, and is told from others by its user id:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#principaltable
func (s *site) mayUnder(t *testing.T, principal string, r request) bool {
	t.Helper()
	names := []string{principal}
	if parts := strings.Split(principal, "/"); strings.Contains(principal, ":assumed-role/") {
		all, _ := s.entities(t)
		for name, k := range all {
			if k.Name == parts[1] && strings.Contains(name, ":role/") {
				names = append(names, name)
				r.context["aws:userid"] = k.ID + ":" + parts[2]
			}
		}
	}
	documents, trust := s.documents(t, names[len(names)-1])
	identity := decides(t, documents, r)
	if r.action != "sts:AssumeRole" {
		return identity
	}
	if denied(t, documents, r) {
		return false
	}
	itself, account := trustsFor(t, trust(r.resource), names, r)
	return itself || account && identity
}

// shared makes a role that people share through a SAML provider, and returns the session of one of them.
func (s *site) shared(t *testing.T, name, session string) string {
	t.Helper()
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRoleWithSAML",` +
		`"Principal":{"Federated":"` + s.arn("saml-provider/idp") + `"},` +
		`"Condition":{"StringEquals":{"SAML:aud":"https://signin.aws.amazon.com/saml"}}}]}`
	_, err := s.admin.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	must(t, err)
	return s.session(name, session)
}

func (s *site) session(role, name string) string {
	return "arn:aws:sts::" + s.account.ID + ":assumed-role/" + role + "/" + name
}

// holder returns the entity whose policies a principal has.
func (s *site) holder(t *testing.T, principal string) string {
	t.Helper()
	all, _ := s.entities(t)
	if parts := strings.Split(principal, "/"); strings.Contains(principal, ":assumed-role/") {
		for name, k := range all {
			if k.Name == parts[1] && strings.Contains(name, ":role/") {
				return name
			}
		}
		t.Fatalf("there is no role of %s", principal)
	}
	return principal
}

// movedTo returns the entity of a principal, and a document with the principal in place of another session.
func (s *site) movedTo(t *testing.T, principal, document string) (on, moved string) {
	t.Helper()
	all, _ := s.entities(t)
	on = s.holder(t, principal)
	id := all[on].ID + principal[strings.LastIndex(principal, "/"):]
	return on, regexp.MustCompile(`"AROA[^"]+:[^"]+"`).ReplaceAllString(document,
		`"`+strings.Replace(id, "/", ":", 1)+`"`)
}
