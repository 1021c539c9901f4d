package hoop

import (
	"cmp"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The environment variables of hoop's own command line.
const (
	envURL = "HOOP_APIURL"
	envKey = "HOOP_TOKEN"
)

// The ways to give access.
const (
	// modeReview: an approved review of one user, which hoop itself ends.
	modeReview = "review"
	// modeAttribute: an attribute that ties a group to a connection until it is deleted.
	modeAttribute = "attribute"
)

// Who approves reviews.
const (
	approvalJit  = "jit"
	approvalHoop = "hoop"
)

// Config names the gateway, the key, and how access is given there.
type Config struct {
	// URL is the address of the gateway; empty means HOOP_APIURL.
	URL string `tfsdk:"url" json:"url"`
	// APIKey is an API key of an administrator; empty means HOOP_TOKEN. It is a secret.
	APIKey string `tfsdk:"api_key" json:"api_key"`
	// Mode is "review" or "attribute"; empty means "review".
	Mode string `tfsdk:"mode" json:"mode"`
	// Approval is "jit" (the API key approves reviews) or "hoop" (the reviewers of the connection do); empty means
	// "jit".
	Approval string `tfsdk:"approval" json:"approval"`
	// Metadata is written on every session that a review makes. Connections can demand some of it.
	Metadata map[string]string `tfsdk:"metadata" json:"metadata"`
}

// The gateway's limits of metadata.
const (
	maxMetadata = 19   // one more says who approved
	maxField    = 2499 // bytes
)

// approvedByField names the metadata that say who approved a review.
const approvedByField = "approved_by"

// check fills in the environment's settings, refuses an invalid configuration, and returns the parsed address.
func (cfg Config) check() (Config, *url.URL, error) {
	cfg.URL = cmp.Or(cfg.URL, os.Getenv(envURL))
	cfg.APIKey = cmp.Or(cfg.APIKey, os.Getenv(envKey))
	cfg.Mode = cmp.Or(cfg.Mode, modeReview)
	cfg.Approval = cmp.Or(cfg.Approval, approvalJit)
	base, err := cfg.checkURL()
	return cfg, base, cmp.Or(err, cfg.checkKey(), cfg.checkMode(), cfg.checkMetadata())
}

func (cfg Config) checkKey() error {
	switch {
	case cfg.APIKey == "":
		return jit.Invalid("api_key", "write for example api_key = var.hoop_api_key, or set "+envKey,
			"the target has no API key")
	case strings.ContainsFunc(cfg.APIKey, func(r rune) bool { return r <= ' ' || r > '~' }):
		return jit.Invalid("api_key", "trim the text that the key was read from",
			"the key has a blank, a line feed or another character that no key has")
	}
	return nil
}

func (cfg Config) checkMode() error {
	attribute := cfg.Mode == modeAttribute
	const hint = `leave it out, or write mode = "review"`
	switch {
	case cfg.Mode != modeReview && !attribute:
		return jit.Invalid("mode", `write mode = "review" for users, or mode = "attribute" for groups`,
			"%q is not a way to give access", cfg.Mode)
	case cfg.Approval != approvalJit && cfg.Approval != approvalHoop:
		return jit.Invalid("approval", `write approval = "hoop" to let reviewers decide in hoop, or leave it out`,
			"%q does not say who approves", cfg.Approval)
	case attribute && cfg.Approval == approvalHoop:
		return jit.Invalid("approval", hint, "an attribute has no reviewers")
	case attribute && len(cfg.Metadata) > 0:
		return jit.Invalid("metadata", hint, "an attribute makes no session that could have metadata")
	}
	return nil
}

func (cfg Config) checkMetadata() error {
	if len(cfg.Metadata) > maxMetadata {
		return jit.Invalid("metadata", "leave out what no connection demands", "it has %d fields; hoop takes %d",
			len(cfg.Metadata), maxMetadata)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Metadata)) {
		value := cfg.Metadata[name]
		if err := jit.CheckText("metadata", name+value); err != nil {
			return err
		}
		if name == "" || value == "" || len(name) > maxField || len(value) > maxField {
			return jit.Invalid("metadata", "write a name and a value of 1 to 2499 bytes",
				"the field %.40q cannot be written", name)
		}
	}
	return nil
}

// checkURL reads the gateway's address. Its API is below /api, which the address may include.
func (cfg Config) checkURL() (*url.URL, error) {
	u, err := jit.CheckURL("url", `write for example url = "https://hoop.example.com", or set `+envURL, cfg.URL)
	if err != nil {
		return nil, err
	}
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/api")
	return u.JoinPath("api"), nil
}
