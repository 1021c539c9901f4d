package awsiam

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The evaluator decides a request from documents alone: a matching Deny wins, else one matching Allow is needed. It
// shares no code with the package, and an element that it does not know fails the test.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html

// request is an action on a resource, with its context.
type request struct {
	action, resource string
	context          map[string]string // keys in lower case
}

func at(action, resource string, when time.Time) request {
	return request{action, resource, map[string]string{"aws:currenttime": when.UTC().Format(time.RFC3339)}}
}

type rule struct {
	Sid, Effect                              string
	Action, NotAction, Resource, NotResource list
	Principal                                json.RawMessage
	Condition                                map[string]map[string]list
}

// list is one text or a list of texts in JSON.
type list []string

func (l *list) UnmarshalJSON(text []byte) error {
	var one any
	if err := json.Unmarshal(text, &one); err != nil {
		return err
	}
	switch one := one.(type) {
	case []any:
		for _, v := range one {
			*l = append(*l, fmt.Sprint(v))
		}
	default:
		*l = list{fmt.Sprint(one)}
	}
	return nil
}

func rules(t *testing.T, document string) []rule {
	t.Helper()
	var d struct{ Statement json.RawMessage }
	if err := json.Unmarshal([]byte(document), &d); err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	var many []rule
	if err := json.Unmarshal(d.Statement, &many); err != nil {
		var one rule
		if err := json.Unmarshal(d.Statement, &one); err != nil {
			t.Fatalf("%v in %s", err, document)
		}
		many = []rule{one}
	}
	return many
}

// decides reports whether the documents on an identity allow the request.
func decides(t *testing.T, documents []string, r request) bool {
	t.Helper()
	allowed := false
	for _, document := range documents {
		for _, s := range rules(t, document) {
			if !s.speaksOf(r) || !s.holds(t, r) {
				continue
			}
			if s.Effect == "Deny" {
				return false
			}
			allowed = true
		}
	}
	return allowed
}

// denied reports whether a document denies the request, whatever else allows it.
func denied(t *testing.T, documents []string, r request) bool {
	t.Helper()
	for _, document := range documents {
		for _, s := range rules(t, document) {
			if s.Effect == "Deny" && s.speaksOf(r) && s.holds(t, r) {
				return true
			}
		}
	}
	return false
}

func (s rule) speaksOf(r request) bool {
	action := anyMatch(s.Action, strings.ToLower(r.action), true)
	if len(s.NotAction) > 0 {
		action = !anyMatch(s.NotAction, strings.ToLower(r.action), true)
	}
	resource := anyMatch(s.Resource, r.resource, false)
	if len(s.NotResource) > 0 {
		resource = !anyMatch(s.NotResource, r.resource, false)
	}
	return action && resource
}

// holds reports whether all conditions hold: all operators, all keys, one of the values.
func (s rule) holds(t *testing.T, r request) bool {
	t.Helper()
	for operator, keys := range s.Condition {
		name, ifExists := strings.CutSuffix(operator, "IfExists")
		for key, values := range keys {
			actual, present := r.context[strings.ToLower(key)]
			if !present {
				if ifExists || strings.Contains(name, "Not") {
					continue
				}
				return false
			}
			if !compare(t, name, actual, values) {
				return false
			}
		}
	}
	return true
}

func compare(t *testing.T, operator, actual string, values list) bool {
	t.Helper()
	negated := strings.Contains(operator, "Not")
	for _, value := range values {
		var same bool
		switch operator {
		case "StringEquals", "StringNotEquals", "Bool":
			same = actual == value
		case "StringLike", "StringNotLike", "ArnLike", "ArnEquals":
			same = wildcard(value, actual)
		case "StringEqualsIgnoreCase":
			same = strings.EqualFold(actual, value)
		case "IpAddress":
			network, err := netip.ParsePrefix(value)
			if err != nil {
				t.Fatalf("IpAddress compares with %q", value)
			}
			same = network.Contains(netip.MustParseAddr(actual))
		case "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals":
			is, err := time.Parse(time.RFC3339, actual)
			limit, err2 := time.Parse(time.RFC3339, value)
			if err != nil || err2 != nil {
				t.Fatalf("%s compares %q with %q", operator, actual, value)
			}
			same = strings.HasPrefix(operator, "DateLess") && is.Before(limit) ||
				strings.HasPrefix(operator, "DateGreater") && is.After(limit) ||
				strings.HasSuffix(operator, "Equals") && is.Equal(limit)
		default:
			t.Fatalf("the evaluator does not know the operator %s", operator)
		}
		if same {
			return !negated
		}
	}
	return negated
}

func anyMatch(patterns list, s string, fold bool) bool {
	for _, p := range patterns {
		if fold {
			p = strings.ToLower(p)
		}
		if wildcard(p, s) {
			return true
		}
	}
	return false
}

func wildcard(pattern, s string) bool {
	quoted := regexp.QuoteMeta(pattern)
	quoted = strings.ReplaceAll(strings.ReplaceAll(quoted, `\*`, ".*"), `\?`, ".")
	return regexp.MustCompile("^" + quoted + "$").MatchString(s)
}

// trusts reports whether a trust policy lets the principal assume its role, and whether it leaves the decision to the
// principal's own account.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
func trusts(t *testing.T, trust, principal string, when time.Time) (itself, account bool) {
	t.Helper()
	return trustsFor(t, trust, []string{principal}, at("sts:AssumeRole", "", when))
}

// trustsFor is trusts for a caller with these names, such as a session and its role, in a request.
func trustsFor(t *testing.T, trust string, names []string, r request) (itself, account bool) {
	t.Helper()
	parts := strings.Split(names[0], ":")
	for _, s := range rules(t, trust) {
		if !anyMatch(s.Action, "sts:assumerole", true) || !s.holds(t, r) {
			continue
		}
		var who struct{ AWS list }
		if err := json.Unmarshal(s.Principal, &who); err != nil {
			continue // a service
		}
		for _, p := range who.AWS {
			is, all := slices.Contains(names, p), p == "*" || p == parts[4] || p == "arn:aws:iam::"+parts[4]+":root"
			if s.Effect == "Deny" && (is || all) {
				return false, false
			}
			itself, account = itself || is, account || all
		}
	}
	return itself, account
}

// The evaluator decides the cases that the suite relies on.
func TestEvaluator(t *testing.T) {
	now := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	inside := `"Condition":{"DateGreaterThanEquals":{"aws:CurrentTime":"2026-11-23T18:00:00Z"},"DateLessThan":{"aws:CurrentTime":"2026-11-23T19:00:00Z"}}`
	for _, tc := range []struct {
		name, statements string
		request          request
		want             bool
	}{
		{"no statement", ``, at("s3:GetObject", "arn:aws:s3:::b/k", now), false},
		{"allow", `{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}`, at("s3:GetObject", "arn:aws:s3:::b/k", now),
			true},
		{"another action", `{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}`,
			at("s3:PutObject", "arn:aws:s3:::b/k", now), false},
		{"another resource", `{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::b/*"}`,
			at("s3:GetObject", "arn:aws:s3:::c/k", now), false},
		{"deny wins", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:*","Resource":"*"}`,
			at("s3:GetObject", "arn:aws:s3:::b/k", now), false},
		{"all but", `{"Effect":"Allow","NotAction":["iam:*"],"Resource":"*"}`,
			at("s3:GetObject", "arn:aws:s3:::b/k", now), true},
		{"the one that is left out", `{"Effect":"Allow","NotAction":["iam:*"],"Resource":"*"}`,
			at("iam:GetUser", "*", now), false},
		{"all resources but", `{"Effect":"Allow","Action":"s3:*","NotResource":"arn:aws:s3:::b/*"}`,
			at("s3:GetObject", "arn:aws:s3:::b/k", now), false},
		{"at the start", `{"Effect":"Allow","Action":"*","Resource":"*",` + inside + `}`, at("s3:GetObject", "x", now),
			true},
		{"before the start", `{"Effect":"Allow","Action":"*","Resource":"*",` + inside + `}`,
			at("s3:GetObject", "x", now.Add(-time.Second)), false},
		{"at the end", `{"Effect":"Allow","Action":"*","Resource":"*",` + inside + `}`,
			at("s3:GetObject", "x", now.Add(time.Hour)), false},
		{"a deny with dates after its end",
			`{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"*",` + inside + `}`, at("s3:GetObject", "x", now.Add(time.Hour)), true},
		{"a key that is missing",
			`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}`,
			at("s3:GetObject", "x", now), false},
		{"a key that may be missing",
			`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"BoolIfExists":{"aws:MultiFactorAuthPresent":"true"}}}`, at("s3:GetObject", "x", now), true},
	} {
		if got := decides(t, []string{`{"Statement":[` + tc.statements + `]}`}, tc.request); got != tc.want {
			t.Errorf("%s: %t, want %t", tc.name, got, tc.want)
		}
	}
}
