package azure

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The two ways to assign a role.
const (
	pimAssignment  = "pim"
	rbacAssignment = "rbac"
)

// Config selects the cloud, the identity and the way to assign roles. The zero value selects the public cloud, PIM and
// the ambient credentials.
type Config struct {
	// Assignment is "pim" (the default) or "rbac".
	Assignment string `tfsdk:"assignment" json:"assignment"`
	// Environment is the cloud: "public" (the default), "usgovernment" or "china".
	Environment string `tfsdk:"environment" json:"environment"`
	// Endpoint is the URL of the Resource Manager instead of the cloud's. On loopback, requests carry no credentials
	// unless the configuration has some.
	Endpoint string `tfsdk:"endpoint" json:"endpoint"`
	// TenantID is the tenant to sign in to.
	TenantID string `tfsdk:"tenant_id" json:"tenant_id"`
	// ClientID is the application to sign in as, with ClientSecret or FederatedTokenFile.
	ClientID string `tfsdk:"client_id" json:"client_id"`
	// ClientSecret is a secret of the application.
	ClientSecret string `tfsdk:"client_secret" json:"client_secret"`
	// FederatedTokenFile is the path of a token from another identity provider that the application trusts.
	FederatedTokenFile string `tfsdk:"federated_token_file" json:"federated_token_file"`
	// Scopes are searched for grants that the ledger does not know. Empty: the visible subscriptions.
	Scopes []string `tfsdk:"scopes" json:"scopes"`
}

var clouds = map[string]cloud.Configuration{
	"public": cloud.AzurePublic, "usgovernment": cloud.AzureGovernment, "china": cloud.AzureChina,
}

// check refuses an invalid configuration and fills in the defaults.
func (cfg Config) check() (Config, error) {
	cfg.Assignment = cmp.Or(cfg.Assignment, pimAssignment)
	cfg.Environment = cmp.Or(cfg.Environment, "public")
	if cfg.Assignment != pimAssignment && cfg.Assignment != rbacAssignment {
		return cfg, jit.Invalid("assignment", `write "pim" for assignments that Azure ends, or "rbac" for those that `+
			"the sweeper ends", "%q is not a way to assign a role", cfg.Assignment)
	}
	if _, ok := clouds[cfg.Environment]; !ok {
		return cfg, jit.Invalid("environment", `write "public", "usgovernment" or "china"`,
			"%q is not a cloud", cfg.Environment)
	}
	if err := cmp.Or(cfg.checkEndpoint(), cfg.checkIDs(), cfg.checkCredentials()); err != nil {
		return cfg, err
	}
	scopes := slices.Clone(cfg.Scopes)
	for i, s := range scopes {
		canonical, err := parseScope(s)
		if err != nil {
			return cfg, jit.Invalid(fmt.Sprintf("scopes[%d]", i), "write scopes as grants do", "%q is not a scope", s)
		}
		scopes[i] = canonical
	}
	cfg.Scopes = scopes
	return cfg, nil
}

func (cfg Config) checkEndpoint() error {
	if cfg.Endpoint == "" {
		return nil
	}
	_, err := jit.CheckURL("endpoint", `write for example endpoint = "https://management.internal.example.com"`,
		cfg.Endpoint)
	return err
}

func (cfg Config) checkIDs() error {
	for _, id := range []struct{ attribute, value string }{{"tenant_id", cfg.TenantID}, {"client_id", cfg.ClientID}} {
		if id.value != "" && !isID(strings.ToLower(id.value)) {
			return jit.Invalid(id.attribute, "copy it from the overview of the application in the portal",
				"%q is not an id; it looks like 3f2b8c1e-0000-4000-8000-000000000000", id.value)
		}
	}
	return nil
}

func (cfg Config) checkCredentials() error {
	attribute := "client_secret"
	if cfg.FederatedTokenFile != "" {
		attribute = "federated_token_file"
	}
	secret := cfg.ClientSecret != "" || cfg.FederatedTokenFile != ""
	switch {
	case cfg.ClientSecret != "" && cfg.FederatedTokenFile != "":
		return jit.Invalid(attribute, "leave one of the two out",
			"both client_secret and federated_token_file are given")
	case secret && (cfg.TenantID == "" || cfg.ClientID == ""):
		return jit.Invalid(attribute, "write tenant_id and client_id too",
			"the target has %s and not both tenant_id and client_id", attribute)
	case !secret && cfg.ClientID != "":
		return jit.Invalid("client_id", "add client_secret or federated_token_file, "+
			"or leave client_id out to use the credentials of the environment",
			"the target has client_id and nothing to sign in with")
	}
	return nil
}

// cloud returns the endpoints, and whether tokens may use an unencrypted connection, which stays on this machine.
func (cfg Config) cloud() (c cloud.Configuration, unencrypted bool) {
	c = clouds[cfg.Environment]
	if cfg.Endpoint == "" {
		return c, false
	}
	manager := c.Services[cloud.ResourceManager]
	manager.Endpoint = strings.TrimSuffix(cfg.Endpoint, "/")
	return cloud.Configuration{
		ActiveDirectoryAuthorityHost: c.ActiveDirectoryAuthorityHost,
		Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: manager},
	}, strings.HasPrefix(cfg.Endpoint, "http://")
}

// anonymous reports whether requests carry no credentials.
func (cfg Config) anonymous() bool {
	u, err := url.Parse(cfg.Endpoint)
	return err == nil && cfg.Endpoint != "" && jit.Loopback(u.Hostname()) && cfg.TenantID == "" && cfg.ClientID == ""
}

// guarded returns an HTTP client with [jit.GuardAnswers].
func guarded() *http.Client { return &http.Client{Transport: jit.GuardAnswers(http.DefaultTransport)} }

// credential returns the identity to sign in as. It makes no call.
func (cfg Config) credential() (azcore.TokenCredential, error) {
	c, _ := cfg.cloud()
	options := azcore.ClientOptions{Cloud: c, Transport: guarded()}
	var found azcore.TokenCredential
	var err error
	switch {
	case cfg.anonymous():
		return nobody{}, nil
	case cfg.ClientSecret != "":
		found, err = azidentity.NewClientSecretCredential(cfg.TenantID, cfg.ClientID, cfg.ClientSecret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	case cfg.FederatedTokenFile != "":
		if _, err := os.Stat(cfg.FederatedTokenFile); err != nil {
			return nil, &jit.Error{Attribute: "federated_token_file", Err: err,
				Problem: fmt.Sprintf("the file %q cannot be read", cfg.FederatedTokenFile),
				Hint:    "write the path where the CI system or the cluster puts the token"}
		}
		found, err = azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options,
			TenantID:      cfg.TenantID, ClientID: cfg.ClientID, TokenFilePath: cfg.FederatedTokenFile,
		})
	default:
		found, err = azidentity.NewDefaultAzureCredential(
			&azidentity.DefaultAzureCredentialOptions{ClientOptions: options, TenantID: cfg.TenantID})
	}
	if err != nil {
		return nil, &jit.Error{Problem: "the target's credentials cannot be used: " + jit.Said(err.Error()),
			Hint: "check tenant_id, client_id and the secret or token", Err: err}
	}
	return found, nil
}
