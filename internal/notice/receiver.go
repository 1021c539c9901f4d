// Package notice tells receivers elsewhere of what the record tells: access was granted, ends soon, has ended, could not be
// revoked, or drifted. The events of the ledger are the outbox: each receiver has a position in them that is kept in the ledger, so
// nothing is lost when a receiver, or this program, is down.
package notice

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Format is how a notice is written.
type Format string

// The formats.
const (
	// CloudEvents is one CloudEvent in JSON, signed.
	CloudEvents Format = "cloudevents"
	// Slack is what an incoming webhook of Slack takes, and of what is compatible with it.
	Slack Format = "slack"
)

// topics are the names under which receivers choose events; any kind of event is a name too.
var topics = map[string][]jit.EventKind{
	"granted":           {jit.EventGranted},
	"ends_soon":         {jit.EventEndsSoon},
	"ended":             {jit.EventExpired, jit.EventRevoked},
	"revocation_failed": {jit.EventRevokeFailed},
	"drift":             {jit.EventDrift, jit.EventRepaired, jit.EventRepairFailed},
}

// kinds are the other kinds that can be chosen.
var kinds = []jit.EventKind{
	jit.EventRequested, jit.EventDecided, jit.EventGrantFailed, jit.EventAdopted, jit.EventChanged, jit.EventExtended, jit.EventRevokeAsked, jit.EventCleanedUp,
	jit.EventPolicyChanged, jit.EventPolicyRemoved,
}

// Config is a receiver as the user wrote it.
type Config struct {
	// URL takes the notices; it may be a secret.
	URL string `json:"url"`
	// Secret signs them.
	Secret string `json:"secret"`
	// Format is "cloudevents", the default, or "slack".
	Format string `json:"format"`
	// Events are topics or kinds of events; none means every topic.
	Events []string `json:"events"`
	// Targets are globs; none means every target.
	Targets []string `json:"targets"`
}

// Receiver is somebody who is told.
type Receiver struct {
	Name   string
	Format Format

	url     string
	key     []byte // signs; nil where nothing is signed
	wanted  map[jit.EventKind]bool
	targets []jit.Glob
}

const (
	// minKey is how many bytes have to sign at least.
	minKey     = 16
	secretHint = `make one with: echo "whsec_$(openssl rand -base64 32)", and write secret = env("OPS_SECRET")`
	nameRule   = "it takes 1 to 63 letters, digits, dots, hyphens and underscores"
)

// NewReceiver checks the settings of a receiver. Errors name the attribute, and never the URL or the secret.
func NewReceiver(name string, c Config) (*Receiver, error) {
	attribute := func(part string) string { return fmt.Sprintf("notify[%q].%s", name, part) }
	if name == "" || len(name) > 63 || strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(nameCharacters, r) }) {
		return nil, jit.Invalid("notify", "name it for example ops", "%q is not a name for a receiver; %s", name, nameRule)
	}
	r := &Receiver{Name: name, Format: Format(c.Format), url: c.URL, wanted: map[jit.EventKind]bool{}}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, jit.Invalid(attribute("url"), `write for example url = env("OPS_HOOK")`, "it is not the URL of a webhook")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, jit.Invalid(attribute("url"), "use https", "http would send the notices to %s where anybody can read them", u.Hostname())
	}
	switch r.Format {
	case "":
		r.Format = CloudEvents
	case CloudEvents, Slack:
	default:
		return nil, jit.Invalid(attribute("format"), `write format = "cloudevents" or "slack"`, "%q is neither", c.Format)
	}
	switch {
	case r.Format == CloudEvents:
		if r.key, err = keyOf(attribute("secret"), c.Secret); err != nil {
			return nil, err
		}
	case c.Secret != "":
		return nil, jit.Invalid(attribute("secret"), "leave it out", "of the format slack the URL is the secret; nothing is signed")
	}
	if err := r.choose(c.Events, attribute("events")); err != nil {
		return nil, err
	}
	if c.Targets != nil && len(c.Targets) == 0 {
		return nil, jit.Invalid(attribute("targets"), `leave it out for every target, or write for example targets = ["prod*"]`, "the list is empty, so no notice would be sent")
	}
	for _, text := range c.Targets {
		glob, err := jit.ParseGlob(attribute("targets"), text)
		if err != nil {
			return nil, err
		}
		r.targets = append(r.targets, glob)
	}
	return r, nil
}

// secretPrefix begins a secret in base64, as https://www.standardwebhooks.com has it.
const secretPrefix = "whsec_"

// keyOf returns the bytes that sign: what is in base64 after whsec_, of any other secret the secret itself.
func keyOf(attribute, secret string) ([]byte, error) {
	key := []byte(secret)
	if coded, ok := strings.CutPrefix(secret, secretPrefix); ok {
		decoded, err := base64.StdEncoding.DecodeString(coded)
		if err != nil {
			return nil, jit.Invalid(attribute, secretHint, "what follows %s is not base64", secretPrefix)
		}
		key = decoded
	}
	if len(key) < minKey {
		return nil, jit.Invalid(attribute, secretHint, "it has %d bytes; a receiver needs at least %d to tell our notices from those of others", len(key), minKey)
	}
	return key, nil
}

const nameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// choose notes which kinds of events are wanted.
func (r *Receiver) choose(events []string, attribute string) error {
	if events == nil {
		events = slices.Collect(maps.Keys(topics))
	}
	if len(events) == 0 {
		return jit.Invalid(attribute, "leave it out to be told of everything that is meant for people", "the list is empty, so no notice would be sent")
	}
	for _, name := range events {
		chosen, ok := topics[name]
		if !ok && slices.Contains(kinds, jit.EventKind(name)) {
			chosen, ok = []jit.EventKind{jit.EventKind(name)}, true
		}
		if !ok {
			known := slices.Sorted(maps.Keys(topics))
			for _, k := range kinds {
				known = append(known, string(k))
			}
			return jit.Invalid(attribute, "write some of "+strings.Join(known, ", "), "%q is not something to be told of", name)
		}
		for _, k := range chosen {
			r.wanted[k] = true
		}
	}
	return nil
}

// Wants reports whether the receiver is to be told of events of that kind.
func (r *Receiver) Wants(k jit.EventKind) bool { return r.wanted[k] }

// covers reports whether the receiver is to be told of what happens on a target.
func (r *Receiver) covers(target string) bool {
	return len(r.targets) == 0 || slices.ContainsFunc(r.targets, func(g jit.Glob) bool { return g.Match(target) })
}
