package gcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/oauth2/google"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Config names the credentials and the endpoint. Empty means Google Cloud with the ambient credentials.
type Config struct {
	// Credentials is a service account's key or a workload identity configuration: the path of its file, or its JSON. The
	// JSON is a secret. Empty means Application Default Credentials.
	Credentials string `tfsdk:"credentials" json:"credentials"`
	// AccessToken is a token that somebody else obtains and renews. It is a secret.
	AccessToken string `tfsdk:"access_token" json:"access_token"`
	// ImpersonateServiceAccount is the address of a service account to act as.
	ImpersonateServiceAccount string `tfsdk:"impersonate_service_account" json:"impersonate_service_account"`
	// Endpoint is a URL that answers for all APIs. Nothing is sent to another host, except to the token servers in the
	// credentials file. On loopback without credentials, requests carry none.
	Endpoint string `tfsdk:"endpoint" json:"endpoint"`
	// Scopes are searched for the grants of a lost ledger. "projects/<id>/buckets" stands for all buckets of a project.
	// Empty means all projects, folders and organizations that the credentials can see, and no other resources.
	Scopes []string `tfsdk:"scopes" json:"scopes"`
}

// bucketsOf ends a configured scope that stands for the buckets of a project.
const bucketsOf = "/buckets"

// check refuses an invalid configuration, and returns its canonical form.
func (c Config) check() (_ Config, err error) {
	if c.Credentials, err = c.checkCredentials(); err != nil {
		return c, err
	}
	account := "serviceAccount:" + c.ImpersonateServiceAccount
	if p, err := parsePrincipal(account); c.ImpersonateServiceAccount != "" && (err != nil || p != account) {
		return c, jit.Invalid("impersonate_service_account",
			`write for example impersonate_service_account = "jit-operator@payments-prod.iam.gserviceaccount.com"`,
			"%q is not the address of a service account", c.ImpersonateServiceAccount)
	}
	if err := c.checkEndpoint(); err != nil {
		return c, err
	}
	scopes := make([]string, len(c.Scopes))
	for i, s := range c.Scopes {
		if scopes[i], err = checkScope(fmt.Sprintf("scopes[%d]", i), s); err != nil {
			return c, err
		}
	}
	c.Scopes = scopes
	return c, nil
}

// checkCredentials returns the whole path of the credentials file, or its JSON.
func (c Config) checkCredentials() (string, error) {
	if c.Credentials != "" && c.AccessToken != "" {
		return "", jit.Invalid("access_token", "leave one of the two out",
			"both credentials and access_token are given")
	}
	if c.credentialsAreJSON() {
		_, err := c.kindOfCredentials([]byte(c.Credentials))
		return c.Credentials, err
	}
	rest, inHome := strings.CutPrefix(c.Credentials, "~/")
	if !inHome {
		return c.Credentials, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", jit.Invalid("credentials", "write the whole path", "the home directory of %q is unknown: %v",
			c.Credentials, err)
	}
	return filepath.Join(home, rest), nil
}

// checkScope returns the canonical form of a scope to search.
func checkScope(attribute, s string) (string, error) {
	if project, ok := projectOfBuckets(s); ok {
		return project.String() + bucketsOf, nil
	}
	at, err := parseScope(s)
	if err != nil {
		return "", jit.Invalid(attribute,
			`write scopes as grants do, or "projects/<id>/buckets" for all buckets of a project`,
			"%q is not a scope", s)
	}
	return at.String(), nil
}

// projectOfBuckets returns the project if a configured scope stands for the buckets of one.
func projectOfBuckets(scope string) (resource, bool) {
	name, all := strings.CutSuffix(scope, bucketsOf)
	at, err := parseScope(name)
	return at, all && err == nil && at.kind == projectKind
}

func (c Config) checkEndpoint() error {
	if c.Endpoint == "" {
		return nil
	}
	const hint = `write for example endpoint = "https://googleapis.internal.example.com"`
	u, err := jit.CheckURL("endpoint", hint, c.Endpoint)
	if err == nil && strings.Trim(u.Path, "/") != "" {
		err = jit.Invalid("endpoint", hint, "the URL of %s has a path; it must be that of a host", u.Host)
	}
	return err
}

// anonymous reports whether requests carry no credentials.
func (c Config) anonymous() bool {
	u, err := url.Parse(c.Endpoint)
	return err == nil && jit.Loopback(u.Hostname()) && c.Credentials+c.AccessToken+c.ImpersonateServiceAccount == ""
}

// credentialsAreJSON reports whether Credentials is the content of a credentials file, and not its path.
func (c Config) credentialsAreJSON() bool {
	return strings.HasPrefix(strings.TrimSpace(c.Credentials), "{")
}

// credentialsName is what errors call the credentials. It never holds their JSON.
func (c Config) credentialsName() string {
	if c.credentialsAreJSON() {
		return "the JSON in credentials"
	}
	return fmt.Sprintf("the file %q", c.Credentials)
}

// readCredentials returns the JSON of the credentials and its type.
func (c Config) readCredentials() (text []byte, kind google.CredentialsType, err error) {
	if text = []byte(c.Credentials); !c.credentialsAreJSON() {
		if text, err = os.ReadFile(c.Credentials); err != nil {
			var path *os.PathError
			if errors.As(err, &path) {
				err = path.Err
			}
			return nil, "", unusableCredentials("cannot read %s: %v", c.credentialsName(), err)
		}
	}
	kind, err = c.kindOfCredentials(text)
	return text, kind, err
}

// kindOfCredentials returns the type that the JSON of the credentials names.
func (c Config) kindOfCredentials(text []byte) (google.CredentialsType, error) {
	var file struct {
		Type google.CredentialsType `json:"type"`
	}
	err := json.Unmarshal(text, &file)
	switch {
	case (err != nil || file.Type == "") && c.credentialsAreJSON():
		return "", unusableCredentials("%s are no credentials of Google Cloud", c.credentialsName())
	case err != nil || file.Type == "":
		return "", unusableCredentials("%s is not a credentials file of Google Cloud", c.credentialsName())
	}
	return file.Type, nil
}

func unusableCredentials(format string, args ...any) error {
	return about("credentials", problem(nil, "write the path or the JSON of a service account's key or of a workload "+
		"identity configuration, or leave credentials out and run `gcloud auth application-default login`", format, args...))
}
