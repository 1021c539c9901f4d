package testenv

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// ManagedPolicies are the managed policies of AWS that an [AWSGateway] has, by their names, as
// https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AmazonS3ReadOnlyAccess.html has them.
var ManagedPolicies = map[string]string{
	"AmazonS3ReadOnlyAccess": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:Get*","s3:List*","s3:Describe*","s3-object-lambda:Get*","s3-object-lambda:List*"],"Resource":"*"}]}`,
}

// bridge serves an endpoint in front of the IAM at the URL until the process ends. It forwards requests, and answers
// those that the IAM does not know from the IAM's state.
func bridge(to string) (string, error) {
	target, err := url.Parse(to)
	if err != nil {
		return "", err
	}
	reads := &gatewayReads{iam: rootClient(to), through: httputil.NewSingleHostReverseProxy(target)}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: reads, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	return "http://" + listener.Addr().String(), nil
}

// failed is an answer with an error's code and message.
const failed = `<ErrorResponse><Error><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>`

// gatewayReads answers the calls that read managed policies and the whole account.
type gatewayReads struct {
	iam     *iam.Client
	through http.Handler
}

// ServeHTTP answers one request.
func (b *gatewayReads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	form, _ := url.ParseQuery(string(body))
	action := form.Get("Action")
	var result any
	switch action {
	case "GetAccountAuthorizationDetails":
		result, err = b.account(r.Context())
	case "GetPolicy", "GetPolicyVersion":
		result = policyResult(action, form.Get("PolicyArn"))
	case "ListPolicyVersions", "DetachUserPolicy", "DetachRolePolicy", "DetachGroupPolicy", "DeletePolicy":
		// Nobody can make or attach a managed policy here, so none exists.
	default:
		r.Body = io.NopCloser(bytes.NewReader(body))
		b.through.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	switch {
	case err != nil:
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprintf(w, failed, "ServiceFailure", "the IAM does not answer")
		return
	case result == nil:
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprintf(w, failed, "NoSuchEntity", "no such policy")
		return
	}
	answer := struct {
		XMLName xml.Name
		Result  any
	}{xml.Name{Local: action + "Response"}, result}
	_ = xml.NewEncoder(w).Encode(answer)
}

type policyAnswer struct {
	XMLName       xml.Name
	Policy        *policyFacts  `xml:"Policy,omitempty"`
	PolicyVersion *versionFacts `xml:"PolicyVersion,omitempty"`
}

type policyFacts struct {
	Arn              string
	DefaultVersionID string `xml:"DefaultVersionId"`
}

type versionFacts struct {
	Document         string
	VersionID        string `xml:"VersionId"`
	IsDefaultVersion bool
}

// policyResult describes one of [ManagedPolicies] and its version; nil if there is none of that name.
func policyResult(action, policyARN string) any {
	document := ManagedPolicies[strings.TrimPrefix(policyARN, "arn:aws:iam::aws:policy/")]
	if document == "" {
		return nil
	}
	return policyAnswer{XMLName: xml.Name{Local: action + "Result"}, Policy: &policyFacts{policyARN, "v1"},
		PolicyVersion: &versionFacts{url.PathEscape(document), "v1", true}}
}

type accountAnswer struct {
	XMLName        xml.Name      `xml:"GetAccountAuthorizationDetailsResult"`
	UserDetailList []entityFacts `xml:"UserDetailList>member"`
	RoleDetailList []entityFacts `xml:"RoleDetailList>member"`
	IsTruncated    bool
}

type entityFacts struct {
	Arn, CreateDate          string
	UserName                 string        `xml:",omitempty"`
	UserID                   string        `xml:"UserId,omitempty"`
	RoleName                 string        `xml:",omitempty"`
	RoleID                   string        `xml:"RoleId,omitempty"`
	AssumeRolePolicyDocument string        `xml:",omitempty"`
	UserPolicyList           []inlineFacts `xml:"UserPolicyList>member"`
	RolePolicyList           []inlineFacts `xml:"RolePolicyList>member"`
}

type inlineFacts struct{ PolicyName, PolicyDocument string }

// account collects the IAM's answers about each of its users and roles.
func (b *gatewayReads) account(ctx context.Context) (answer accountAnswer, err error) {
	if answer.UserDetailList, err = b.users(ctx); err == nil {
		answer.RoleDetailList, err = b.roles(ctx)
	}
	return answer, err
}

func (b *gatewayReads) users(ctx context.Context) (all []entityFacts, err error) {
	pages := iam.NewListUsersPaginator(b.iam, &iam.ListUsersInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, u := range page.Users {
			facts := entityFacts{Arn: *u.Arn, UserName: *u.UserName, UserID: *u.UserId, CreateDate: date(u.CreateDate)}
			names, err := b.iam.ListUserPolicies(ctx,
				&iam.ListUserPoliciesInput{UserName: u.UserName, MaxItems: aws.Int32(1000)})
			if err != nil {
				continue // it was removed meanwhile
			}
			for _, name := range names.PolicyNames {
				p, err := b.iam.GetUserPolicy(ctx, &iam.GetUserPolicyInput{UserName: u.UserName, PolicyName: &name})
				if err == nil {
					facts.UserPolicyList = append(facts.UserPolicyList, inlineFacts{name, *p.PolicyDocument})
				}
			}
			all = append(all, facts)
		}
	}
	return all, nil
}

func (b *gatewayReads) roles(ctx context.Context) (all []entityFacts, err error) {
	pages := iam.NewListRolesPaginator(b.iam, &iam.ListRolesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Roles {
			facts := entityFacts{Arn: *r.Arn, RoleName: *r.RoleName, RoleID: *r.RoleId, CreateDate: date(r.CreateDate),
				AssumeRolePolicyDocument: aws.ToString(r.AssumeRolePolicyDocument)}
			names, err := b.iam.ListRolePolicies(ctx,
				&iam.ListRolePoliciesInput{RoleName: r.RoleName, MaxItems: aws.Int32(1000)})
			if err != nil {
				continue // it was removed meanwhile
			}
			for _, name := range names.PolicyNames {
				p, err := b.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: r.RoleName, PolicyName: &name})
				if err == nil {
					facts.RolePolicyList = append(facts.RolePolicyList, inlineFacts{name, *p.PolicyDocument})
				}
			}
			all = append(all, facts)
		}
	}
	return all, nil
}

func date(t *time.Time) string { return t.UTC().Format(time.RFC3339) }
