// Package config opens what the provider block or a jit.hcl describes: the ledger, the targets, and a broker that acts
// for an owner and an actor.
package config

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/notice"
	"github.com/jitaccess/terraform-provider-jit/internal/platform"
)

// EnvLedger is the environment variable that names the ledger if the configuration does not. DefaultLedger is used if
// neither does.
const (
	EnvLedger     = "JIT_LEDGER"
	DefaultLedger = "sqlite://.jit/ledger.db"
)

// EnvApprover is the environment variable that names the person who approves.
const EnvApprover = "JIT_APPROVER"

// DefaultApprovalsDir is the folder of approvals unless the configuration names another.
const DefaultApprovalsDir = "approvals"

// Settings are what a user configures. An empty field takes its default.
type Settings struct {
	// File is the settings file; empty if none was read. places are where it sets what.
	File   string
	places map[string]hcl.Range
	// Ledger is a URL: sqlite://path, s3://…, gs://…, azblob://… or postgres://…; it may hold a password.
	Ledger string
	Owner  string
	// Owners are the owners whose grants a sweeper serves, as [jit.ParseOwners] reads them. The provider has no such
	// attribute.
	Owners []string
	// MaxTTL is a duration as [jit.ParseDuration] reads it.
	MaxTTL string
	// ApprovalsDir is the folder of approvals, relative to the working directory. WaitForApproval is a duration: how
	// long an apply waits for people to decide; empty means that it does not.
	ApprovalsDir, WaitForApproval string
	Targets                       map[string]platform.Config
	// Interval and DriftInterval are durations: how often the daemon reads due work and looks for drift. The provider
	// has neither.
	Interval, DriftInterval string
	// OnDrift says what a sweep does about drift on a target.
	OnDrift map[string]jit.OnDrift
	// OnViolation says what a sweep does about a grant that today's policies would not permit, or whose approval is not
	// proved.
	OnViolation string
	// MaxUnplanned caps the access that a sweep removes without a recorded end; nil is the default.
	MaxUnplanned *int
	// Listen is the daemon's HTTP address, ListenToken the secret that requests must have, and ListenProxy the proxies
	// that name the user.
	Listen, ListenToken string
	ListenProxy         *ListenProxy
	// Notify holds the receivers of notices by name. NoticeBefore is a duration: how long before its end a grant is
	// announced.
	Notify       map[string]notice.Config
	NoticeBefore string
	// Approver is the name of the person who approves with jit; [EnvApprover] counts before it. The provider has no such
	// attribute.
	Approver string
}

// ListenProxy names the header in which a proxy names the user, and the addresses of the proxies that may.
type ListenProxy struct {
	Header string   `json:"header"`
	From   []string `json:"from"`
}

// WithDefaults returns the settings with the defaults and the environment filled in.
func (s Settings) WithDefaults() Settings {
	s.Ledger = cmp.Or(s.Ledger, os.Getenv(EnvLedger), DefaultLedger)
	s.ApprovalsDir = cmp.Or(s.ApprovalsDir, DefaultApprovalsDir)
	s.Owner = cmp.Or(s.Owner, jit.DefaultOwner)
	s.MaxTTL = cmp.Or(s.MaxTTL, jit.FormatDuration(jit.DefaultMaxTTL))
	return s
}

// InCI reports whether a CI system runs this: CI is set, and not to "false" or "0".
func InCI() bool {
	switch strings.ToLower(os.Getenv("CI")) {
	case "", "false", "0":
		return false
	}
	return true
}

// Warnings returns what a reviewer must know about the settings themselves.
func Warnings(s Settings) []broker.Warning {
	s = s.WithDefaults()
	if !InCI() || !strings.HasPrefix(s.Ledger, "sqlite:") {
		return nil
	}
	return []broker.Warning{{
		Attribute: "ledger",
		Summary:   "The ledger is a local file in CI",
		Detail: fmt.Sprintf("CI is set and the ledger is %s, a file on this machine. A runner that is thrown away "+
			"takes the record "+
			"of all grants with it: they could be granted a second time, and only markers on the targets would "+
			"still say when they "+
			"end. Use a ledger that outlives the run, ledger = \"s3://…\", \"postgres://…\" or %s, or keep the "+
			"file on a durable disk.",
			s.Ledger, EnvLedger),
	}}
}
