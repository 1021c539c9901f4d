package hoop

import (
	"cmp"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The environment variables of hoop's own command line, which stand in for what the configuration leaves out.
const (
	envURL = "HOOP_APIURL"
	envKey = "HOOP_TOKEN"
)

// The two ways to give access.
const (
	// modeReview: an approved review of one user, which hoop itself ends.
	modeReview = "review"
	// modeAttribute: an attribute that ties a group to a connection until it is deleted.
	modeAttribute = "attribute"
)

// Config says which gateway, as whom, and how access is given there.
type Config struct {
	// URL is the address of the gateway; empty means HOOP_APIURL.
	URL string `tfsdk:"url" json:"url"`
	// APIKey is an API key of an administrator; empty means HOOP_TOKEN. It is a secret.
	APIKey string `tfsdk:"api_key" json:"api_key"`
	// Mode is "review" or "attribute"; empty means "review".
	Mode string `tfsdk:"mode" json:"mode"`
	// Approval is "jit", the API key approves reviews, or "hoop", the reviewers of the connection do; empty means
	// "jit".
	Approval string `tfsdk:"approval" json:"approval"`
	// Metadata is written on every session that a review makes: connections can demand some of it.
	Metadata map[string]string `tfsdk:"metadata" json:"metadata"`
}

// Who approves reviews.
const (
	approvalJit  = "jit"
	approvalHoop = "hoop"
)

// The bounds that the gateway sets to metadata.
const (
	maxMetadata = 19   // one more says who approved
	maxField    = 2499 // bytes
)

// approvedByField names the metadata that say who approved a review.
const approvedByField = "approved_by"

// check fills in what the environment says, refuses what cannot be, and returns the parsed address.
func (cfg Config) check() (Config, *url.URL, error) {
	cfg.URL = cmp.Or(cfg.URL, os.Getenv(envURL))
	cfg.APIKey = cmp.Or(cfg.APIKey, os.Getenv(envKey))
	cfg.Mode = cmp.Or(cfg.Mode, modeReview)
	cfg.Approval = cmp.Or(cfg.Approval, approvalJit)
	base, err := checkURL(cfg.URL)
	switch {
	case err != nil:
		return cfg, nil, err
	case cfg.APIKey == "":
		return cfg, nil, jit.Invalid("api_key", "write for example api_key = var.hoop_api_key, or set "+envKey, "the target has no API key")
	case strings.ContainsFunc(cfg.APIKey, func(r rune) bool { return r <= ' ' || r > '~' }):
		return cfg, nil, jit.Invalid("api_key", "trim what the key was read from", "the key has a blank, a line feed or another character that no key has")
	case cfg.Mode != modeReview && cfg.Mode != modeAttribute:
		return cfg, nil, jit.Invalid("mode", `write mode = "review" for users, or mode = "attribute" for groups`, "%q is not a way to give access", cfg.Mode)
	case cfg.Approval != approvalJit && cfg.Approval != approvalHoop:
		return cfg, nil, jit.Invalid("approval", `write approval = "hoop" to let reviewers decide in hoop, or leave it out`, "%q is not who approves", cfg.Approval)
	case cfg.Mode == modeAttribute && cfg.Approval == approvalHoop:
		return cfg, nil, jit.Invalid("approval", `leave it out, or write mode = "review"`, "an attribute has no reviewers")
	case cfg.Mode == modeAttribute && len(cfg.Metadata) > 0:
		return cfg, nil, jit.Invalid("metadata", `leave it out, or write mode = "review"`, "an attribute makes no session that could have metadata")
	case len(cfg.Metadata) > maxMetadata:
		return cfg, nil, jit.Invalid("metadata", "leave out what no connection demands", "it has %d fields; hoop takes %d", len(cfg.Metadata), maxMetadata)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Metadata)) {
		value := cfg.Metadata[name]
		if err := jit.CheckText("metadata", name+value); err != nil {
			return cfg, nil, err
		}
		if name == "" || value == "" || len(name) > maxField || len(value) > maxField {
			return cfg, nil, jit.Invalid("metadata", "write a name and a value of 1 to 2499 bytes", "the field %.40q cannot be written", name)
		}
	}
	return cfg, base, nil
}

// checkURL reads the gateway's address. The API lies below /api of it, which may be written or not.
func checkURL(text string) (*url.URL, error) {
	const hint = `write for example url = "https://hoop.example.com", or set ` + envURL
	if text == "" {
		return nil, jit.Invalid("url", hint, "the target has no address")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		// Not the value: a URL that cannot be read may hide a password anywhere.
		return nil, jit.Invalid("url", hint, "it is not the URL of a gateway")
	case u.User != nil:
		return nil, jit.Invalid("url", hint+", and the key as api_key", "the URL of %s has a user in it; a gateway takes an API key", u.Host)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, jit.Invalid("url", hint, "the URL of %s has a query or a fragment", u.Host)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, jit.Invalid("url", hint, "http://%s would send the key unencrypted", u.Host)
	}
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/api")
	return u.JoinPath("api"), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
