package gcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/oauth2/google"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Config names the credentials and the endpoint. Empty means Google Cloud with the ambient credentials.
type Config struct {
	// Credentials is the path of a credentials file: a service account's key, or a workload identity configuration.
	// Empty means Application Default Credentials.
	Credentials string `tfsdk:"credentials" json:"credentials"`
	// AccessToken is a token that somebody else obtains and renews. It is a secret.
	AccessToken string `tfsdk:"access_token" json:"access_token"`
	// ImpersonateServiceAccount is the address of a service account to act as.
	ImpersonateServiceAccount string `tfsdk:"impersonate_service_account" json:"impersonate_service_account"`
	// Endpoint is a URL that answers for all APIs. Nothing is sent to another host, except to the token servers in the
	// credentials file. On loopback without credentials, requests carry none.
	Endpoint string `tfsdk:"endpoint" json:"endpoint"`
	// Scopes are searched for the grants of a lost ledger. "projects/<id>/buckets" stands for all buckets of a project.
	// Empty means all projects, folders and organizations that the credentials can see, and no buckets.
	Scopes []string `tfsdk:"scopes" json:"scopes"`
}

// bucketsOf ends a configured scope that stands for the buckets of a project.
const bucketsOf = "/buckets"

// check refuses an invalid configuration, and returns its canonical form.
func (c Config) check() (Config, error) {
	if c.Credentials != "" && c.AccessToken != "" {
		return c, jit.Invalid("access_token", "leave one of the two out", "both credentials and access_token are given")
	}
	if strings.HasPrefix(strings.TrimSpace(c.Credentials), "{") {
		return c, jit.Invalid("credentials",
			`write its content to a file that only you can read, and credentials = "/path/of/that/file"`, "it must be the path of a file, not the key itself")
	}
	if rest, ok := strings.CutPrefix(c.Credentials, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return c, jit.Invalid("credentials", "write the whole path",
				"the home directory of %q is unknown: %v", c.Credentials, err)
		}
		c.Credentials = filepath.Join(home, rest)
	}
	if c.ImpersonateServiceAccount != "" {
		if p, err := parsePrincipal("serviceAccount:" + c.ImpersonateServiceAccount); err != nil ||
			p != "serviceAccount:"+c.ImpersonateServiceAccount {
			return c, jit.Invalid("impersonate_service_account",
				`write for example impersonate_service_account = "jit-operator@payments-prod.iam.gserviceaccount.com"`,
				"%q is not the address of a service account", c.ImpersonateServiceAccount)
		}
	}
	if err := c.checkEndpoint(); err != nil {
		return c, err
	}
	scopes := make([]string, len(c.Scopes))
	for i, s := range c.Scopes {
		project, all := strings.CutSuffix(s, bucketsOf)
		at, err := parseScope(project)
		if err != nil || all && at.kind != projects {
			return c, jit.Invalid(fmt.Sprintf("scopes[%d]", i),
				`write scopes as grants do, or "projects/<id>/buckets" for all buckets of a project`, "%q is not a scope", s)
		}
		if scopes[i] = at.String(); all {
			scopes[i] += bucketsOf
		}
	}
	c.Scopes = scopes
	return c, nil
}

func (c Config) checkEndpoint() error {
	if c.Endpoint == "" {
		return nil
	}
	const hint = `write for example endpoint = "https://googleapis.internal.example.com"`
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" ||
		strings.Trim(u.Path, "/") != "":
		return jit.Invalid("endpoint", hint,
			"it is not the URL of a host; it takes http:// or https://, a host and nothing more")
	case u.Scheme == "http" && !loopback(u):
		return jit.Invalid("endpoint", hint, "http://%s would send the token unencrypted", u.Host)
	}
	return nil
}

// loopback reports whether the URL names this machine.
func loopback(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// anonymous reports whether requests carry no credentials.
func (c Config) anonymous() bool {
	u, err := url.Parse(c.Endpoint)
	return err == nil && c.Endpoint != "" && loopback(u) && c.Credentials == "" && c.AccessToken == "" &&
		c.ImpersonateServiceAccount == ""
}

// readCredentials returns the credentials file and its type.
func (c Config) readCredentials() ([]byte, google.CredentialsType, error) {
	const hint = "write the path of a service account's key or of a workload identity configuration, or leave credentials out and run `gcloud auth application-default login`"
	unusable := func(format string, args ...any) error {
		return &jit.Error{Attribute: "credentials", Problem: fmt.Sprintf(format, args...), Hint: hint}
	}
	text, err := os.ReadFile(c.Credentials)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return nil, "", unusable("cannot read the file %q: %v", c.Credentials, err)
	}
	var file struct {
		Type google.CredentialsType `json:"type"`
	}
	if err := json.Unmarshal(text, &file); err != nil || file.Type == "" {
		return nil, "", unusable("the file %q is not a credentials file of Google Cloud", c.Credentials)
	}
	return text, file.Type, nil
}
