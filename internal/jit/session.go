package jit

import (
	"regexp"
	"strings"
)

// Session is one session of an AWS role, such as that of one SSO user in a shared role. As a principal it is written as
// its ARN: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
type Session struct{ Partition, Account, Role, Name string }

// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
var sessionForm = regexp.MustCompile(
	`^arn:(aws(?:-[a-z]+)*):sts::([0-9]{12}):assumed-role/([\w+=,.@-]{1,64})/([\w+=,.@-]{2,64})$`)

// ParseSession reads the ARN of a session.
func ParseSession(principal string) (Session, bool) {
	m := sessionForm.FindStringSubmatch(principal)
	if m == nil {
		return Session{}, false
	}
	return Session{m[1], m[2], m[3], m[4]}, true
}

// Prefix begins the ARN of every session of the role.
func (s Session) Prefix() string {
	return "arn:" + s.Partition + ":sts::" + s.Account + ":assumed-role/" + s.Role + "/"
}

// String returns the ARN.
func (s Session) String() string { return s.Prefix() + s.Name }

// Of reports whether the session is one of the role with that ARN, whatever the role's path and the case of the
// letters: the name of a role is unique in its account.
func (s Session) Of(role string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(role),
		"arn:"+s.Partition+":iam::"+s.Account+":role/")
	return ok && rest[strings.LastIndex(rest, "/")+1:] == strings.ToLower(s.Role)
}
