package awsiam

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// put and drop change an inline policy behind the platform's back.
func (s *site) put(t *testing.T, on, name, document string) {
	t.Helper()
	a, ok := parseARN(on)
	if !ok {
		t.Fatalf("%q is not an ARN", on)
	}
	var err error
	switch a.kind {
	case user:
		_, err = s.admin.PutUserPolicy(t.Context(),
			&iam.PutUserPolicyInput{UserName: &a.name, PolicyName: &name, PolicyDocument: &document})
	case group:
		_, err = s.admin.PutGroupPolicy(t.Context(),
			&iam.PutGroupPolicyInput{GroupName: &a.name, PolicyName: &name, PolicyDocument: &document})
	default:
		_, err = s.admin.PutRolePolicy(t.Context(),
			&iam.PutRolePolicyInput{RoleName: &a.name, PolicyName: &name, PolicyDocument: &document})
	}
	must(t, err)
}

func (s *site) drop(t *testing.T, on, name string) {
	t.Helper()
	a, _ := parseARN(on)
	var err error
	switch a.kind {
	case user:
		_, err = s.admin.DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: &a.name, PolicyName: &name})
	case group:
		_, err = s.admin.DeleteGroupPolicy(t.Context(),
			&iam.DeleteGroupPolicyInput{GroupName: &a.name, PolicyName: &name})
	default:
		_, err = s.admin.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: &a.name, PolicyName: &name})
	}
	must(t, err)
}

func (s *site) attach(t *testing.T, to, policyARN string) {
	t.Helper()
	a, _ := parseARN(to)
	var err error
	switch a.kind {
	case user:
		_, err = s.admin.AttachUserPolicy(t.Context(),
			&iam.AttachUserPolicyInput{UserName: &a.name, PolicyArn: &policyARN})
	case group:
		_, err = s.admin.AttachGroupPolicy(t.Context(),
			&iam.AttachGroupPolicyInput{GroupName: &a.name, PolicyArn: &policyARN})
	default:
		_, err = s.admin.AttachRolePolicy(t.Context(),
			&iam.AttachRolePolicyInput{RoleName: &a.name, PolicyArn: &policyARN})
	}
	must(t, err)
}

func (s *site) setTrust(t *testing.T, roleARN, document string) {
	t.Helper()
	a, _ := parseARN(roleARN)
	_, err := s.admin.UpdateAssumeRolePolicy(t.Context(),
		&iam.UpdateAssumeRolePolicyInput{RoleName: &a.name, PolicyDocument: &document})
	must(t, err)
}

// grantOf is an access that lasts an hour from a minute ago.
func grantOf(b jit.Binding, why string) jit.Access {
	start := jit.Second(time.Now()).Add(-time.Minute)
	return jit.Access{Binding: b, Marker: jit.Marker{Owner: "payments", ID: jit.NewID("payments", b, why, 1),
		Window: jit.Window{Start: start, End: start.Add(time.Hour)}}}
}

// apply makes one change that must succeed.
func apply(t *testing.T, p *Platform, op jit.Op, accesses ...jit.Access) {
	t.Helper()
	for i, err := range try(t, p, op, accesses...) {
		if err != nil {
			t.Fatalf("%s of %s: %v", op, accesses[i].Marker, err)
		}
	}
}

func try(t *testing.T, p *Platform, op jit.Op, accesses ...jit.Access) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	changes := make([]jit.Change, len(accesses))
	for i, a := range accesses {
		changes[i] = jit.Change{Op: op, Access: a}
	}
	return p.Apply(ctx, p.cfg.AccountID, changes)
}

// capture reads the body of an answer and leaves it in place.
func capture(answer *http.Response) []byte {
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil
	}
	replace(answer, string(body))
	return body
}

func replace(answer *http.Response, body string) {
	answer.Body = io.NopCloser(strings.NewReader(body))
	answer.ContentLength = int64(len(body))
	answer.Header.Set("Content-Length", fmt.Sprint(len(body)))
}

// managed makes a managed policy in a folder and returns its ARN.
func (s *site) managed(t *testing.T, path, name, document string) string {
	t.Helper()
	made, err := s.admin.CreatePolicy(t.Context(),
		&iam.CreatePolicyInput{PolicyName: &name, Path: &path, PolicyDocument: &document})
	must(t, err)
	return *made.Policy.Arn
}
