// Package notice sends notices of recorded events to webhooks: access was granted, ends soon, has ended, could not be
// revoked, or drifted. The events in the ledger are the outbox. The ledger keeps each receiver's position in them, so
// no notice is lost while a receiver or this program is down.
package notice

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Format is the format of a notice.
type Format string

// The formats.
const (
	// CloudEvents is a CloudEvent in JSON, signed.
	CloudEvents Format = "cloudevents"
	// Slack is the format of incoming webhooks of Slack and of servers that are compatible with them.
	Slack Format = "slack"
)

// topics are the names by which receivers choose events. The kind of an event is a name, too.
var topics = map[string][]jit.EventKind{
	"granted":           {jit.EventGranted},
	"ends_soon":         {jit.EventEndsSoon},
	"ended":             {jit.EventExpired, jit.EventRevoked},
	"revocation_failed": {jit.EventRevokeFailed},
	"drift":             {jit.EventDrift, jit.EventRepaired, jit.EventRepairFailed},
	"approval": {
		jit.EventApprovalWanted, jit.EventApproved, jit.EventDenied, jit.EventLapsed, jit.EventBreakGlass,
		jit.EventSignedOff,
	},
	"ledger": {jit.EventLedgerBehind, jit.EventLedgerRestored},
}

// kinds are the other kinds that can be chosen.
var kinds = []jit.EventKind{
	jit.EventRequested, jit.EventDecided, jit.EventGrantFailed, jit.EventAdopted, jit.EventChanged, jit.EventExtended,
	jit.EventRevokeAsked, jit.EventCleanedUp, jit.EventPolicyChanged, jit.EventPolicyRemoved,
	jit.EventPersonChanged, jit.EventPersonRemoved, jit.EventApprovalWanted, jit.EventApproved, jit.EventDenied,
	jit.EventApprovalUsed, jit.EventLapsed, jit.EventBreakGlass, jit.EventSignedOff,
	jit.EventLedgerBehind, jit.EventLedgerRestored,
}

// Config is a receiver as the user wrote it.
type Config struct {
	// URL receives the notices. It may be a secret.
	URL string `json:"url"`
	// Secret signs them.
	Secret string `json:"secret"`
	// Format is "cloudevents", the default, or "slack".
	Format string `json:"format"`
	// Events are topics or kinds of events; nil means every topic.
	Events []string `json:"events"`
	// Targets are globs; nil means every target.
	Targets []string `json:"targets"`
}

// Receiver is a webhook that receives notices.
type Receiver struct {
	Name   string
	Format Format

	url     string
	key     []byte // the signing key; nil if the format has no signature
	wanted  map[jit.EventKind]bool
	targets []jit.Glob
}

const (
	// minKey is the shortest signing key, in bytes.
	minKey     = 16
	secretHint = `make one with: echo "whsec_$(openssl rand -base64 32)", and write secret = env("OPS_SECRET")`
	emptyList  = "the list is empty, so no notice would be sent"
	nameRule   = "a name has 1 to 63 letters, digits, dots, hyphens and underscores"
)

var validName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)

// NewReceiver checks the settings of a receiver. Errors name the attribute and never contain the URL or the secret.
func NewReceiver(name string, c Config) (*Receiver, error) {
	attribute := func(part string) string { return fmt.Sprintf("notify[%q].%s", name, part) }
	if !validName.MatchString(name) {
		return nil, jit.Invalid("notify", "name it for example ops", "%q is not a name for a receiver: %s", name,
			nameRule)
	}
	r := &Receiver{Name: name, Format: cmp.Or(Format(c.Format), CloudEvents), url: c.URL}
	err := checkURL(attribute("url"), c.URL)
	if err != nil {
		return nil, err
	}
	switch r.Format {
	case CloudEvents:
		r.key, err = keyOf(attribute("secret"), c.Secret)
	case Slack:
		if c.Secret != "" {
			err = jit.Invalid(attribute("secret"), "leave it out",
				"notices in the format slack are not signed; the URL is the secret")
		}
	default:
		err = jit.Invalid(attribute("format"), `write format = "cloudevents" or "slack"`, "%q is not a format",
			c.Format)
	}
	if err != nil {
		return nil, err
	}
	if r.wanted, err = kindsOf(attribute("events"), c.Events); err != nil {
		return nil, err
	}
	if r.targets, err = globsOf(attribute("targets"), c.Targets); err != nil {
		return nil, err
	}
	return r, nil
}

// checkURL refuses a text that is not a webhook's URL, and http to another machine. The error does not contain the URL.
func checkURL(attribute, text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return jit.Invalid(attribute, `write for example url = env("OPS_HOOK")`,
			"the value is not the URL of a webhook")
	case u.Scheme == "http" && jit.Misplaced(text):
		return jit.Invalid(attribute, "use https", "http would send the notices where anybody can read them")
	case u.Scheme == "http" && !jit.Loopback(u.Hostname()):
		return jit.Invalid(attribute, "use https",
			"http would send the notices to %s where anybody can read them", u.Hostname())
	}
	return nil
}

// secretPrefix begins a secret in base64 (https://www.standardwebhooks.com).
const secretPrefix = "whsec_"

// keyOf returns the signing key: the bytes that follow whsec_ in base64, or any other secret itself.
func keyOf(attribute, secret string) ([]byte, error) {
	key := []byte(secret)
	if coded, ok := strings.CutPrefix(secret, secretPrefix); ok {
		decoded, err := base64.StdEncoding.DecodeString(coded)
		if err != nil {
			return nil, jit.Invalid(attribute, secretHint, "the text after %s is not base64", secretPrefix)
		}
		key = decoded
	}
	if len(key) < minKey {
		return nil, jit.Invalid(attribute, secretHint,
			"the secret has %d bytes; it needs at least %d, or others could forge notices", len(key), minKey)
	}
	return key, nil
}

// kindsOf returns the kinds of events that a list of topics and kinds names; nil names every topic.
func kindsOf(attribute string, events []string) (map[jit.EventKind]bool, error) {
	if events == nil {
		events = slices.Collect(maps.Keys(topics))
	}
	if len(events) == 0 {
		return nil, jit.Invalid(attribute, "leave it out to receive every topic", emptyList)
	}
	wanted := map[jit.EventKind]bool{}
	for _, name := range events {
		chosen := kindsNamed(name)
		if len(chosen) == 0 {
			known := slices.Sorted(maps.Keys(topics))
			for _, k := range kinds {
				known = append(known, string(k))
			}
			return nil, jit.Invalid(attribute, "write some of "+strings.Join(known, ", "),
				"%q is neither a topic nor a kind of event", name)
		}
		for _, k := range chosen {
			wanted[k] = true
		}
	}
	return wanted, nil
}

// kindsNamed returns the kinds of a topic, or the kind of that name; none if there is neither.
func kindsNamed(name string) []jit.EventKind {
	if k := jit.EventKind(name); slices.Contains(kinds, k) {
		return []jit.EventKind{k}
	}
	return topics[name]
}

// globsOf parses a list of globs; nil is none.
func globsOf(attribute string, targets []string) (globs []jit.Glob, err error) {
	if targets != nil && len(targets) == 0 {
		return nil, jit.Invalid(attribute, `leave it out for every target, or write for example targets = ["prod*"]`,
			emptyList)
	}
	for _, text := range targets {
		glob, err := jit.ParseGlob(attribute, text)
		if err != nil {
			return nil, err
		}
		globs = append(globs, glob)
	}
	return globs, nil
}

// Wants reports whether the receiver wants events of a kind.
func (r *Receiver) Wants(k jit.EventKind) bool { return r.wanted[k] }

// covers reports whether the receiver wants events about a target.
func (r *Receiver) covers(target string) bool {
	matches := func(g jit.Glob) bool { return g.Match(target) }
	return len(r.targets) == 0 || slices.ContainsFunc(r.targets, matches)
}
