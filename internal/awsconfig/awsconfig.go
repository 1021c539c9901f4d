// Package awsconfig holds what all AWS targets share: credentials, region and endpoint, retries, and explanations of
// errors.
package awsconfig

import (
	"regexp"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Config names the credentials and the endpoints for calls to AWS. Every field is optional; a missing one is resolved
// as by every AWS tool (environment, shared files, SSO, container and instance roles). A platform embeds it in its own
// Config.
type Config struct {
	// Region is the region whose endpoints are called, such as "eu-central-1".
	Region string `tfsdk:"region" json:"region"`
	// Profile is a profile of the shared configuration files.
	Profile string `tfsdk:"profile" json:"profile"`
	// Endpoint replaces the endpoint of every service, for example with a private one or one of a compatible server.
	Endpoint string `tfsdk:"endpoint" json:"endpoint"`
	// AssumeRole is a role to assume with those credentials.
	AssumeRole *AssumeRole `tfsdk:"assume_role" json:"assume_role"`
}

// AssumeRole is a role to assume before anything else is called.
type AssumeRole struct {
	// RoleARN names the role. It is required.
	RoleARN string `tfsdk:"role_arn" json:"role_arn"`
	// ExternalID is the id that the role's trust policy may require.
	ExternalID string `tfsdk:"external_id" json:"external_id"`
	// SessionName is the session's name in the account's logs; empty means "jit".
	SessionName string `tfsdk:"session_name" json:"session_name"`
}

var (
	regionForm  = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)
	roleForm    = regexp.MustCompile(`^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/([!-~]+/)?[\w+=,.@-]{1,64}$`)
	sessionForm = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`) // AssumeRole, RoleSessionName
	secretForm  = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`) // AssumeRole, ExternalId
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
)

// Check refuses invalid values without a call.
func (c Config) Check() error {
	if err := jit.CheckText("profile", c.Profile); err != nil {
		return err
	}
	if c.Region != "" && !regionForm.MatchString(c.Region) {
		return jit.Invalid("region", `write for example region = "eu-central-1"`, "%q is not an AWS region", c.Region)
	}
	if c.Endpoint != "" {
		if err := checkEndpoint(c.Endpoint); err != nil {
			return err
		}
	}
	if c.AssumeRole != nil {
		return c.AssumeRole.check()
	}
	return nil
}

func (a AssumeRole) check() error {
	switch {
	case !roleForm.MatchString(a.RoleARN):
		return jit.Invalid("assume_role.role_arn",
			`write for example role_arn = "arn:aws:iam::123456789012:role/jit-operator"`,
			"%q is not the ARN of a role", a.RoleARN)
	case a.ExternalID != "" && (!secretForm.MatchString(a.ExternalID) || len(a.ExternalID) > 1224):
		return jit.Invalid("assume_role.external_id", "copy it from the role's trust policy",
			"it is not an external id; an external id has 2 to 1224 letters, digits and =,.@:/-")
	case a.SessionName != "" && !sessionForm.MatchString(a.SessionName):
		return jit.Invalid("assume_role.session_name", `write for example session_name = "jit-payments"`,
			"%q is not a session name; it takes 2 to 64 letters, digits and _+=,.@-", a.SessionName)
	}
	return nil
}

func checkEndpoint(endpoint string) error {
	_, err := jit.CheckURL("endpoint", `write for example endpoint = "https://iam.example.com"`, endpoint)
	return err
}

// CheckAccount accepts the id of an account. Its errors name attribute.
func CheckAccount(attribute, id string) error {
	if !accountForm.MatchString(id) {
		return jit.Invalid(attribute, attribute+` takes the account's id, such as "123456789012"`,
			"%q is not the id of an AWS account; it has 12 digits", id)
	}
	return nil
}
