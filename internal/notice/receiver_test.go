package notice

import (
	"errors"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func TestReceiverRefuses(t *testing.T) {
	good := Config{URL: "https://hooks.example.com/hush", Secret: secret}
	url := func(u string) func(*Config) { return func(c *Config) { c.URL = u } }
	secret := func(s string) func(*Config) { return func(c *Config) { c.Secret = s } }
	for _, c := range []struct {
		want   string
		change func(*Config)
	}{
		{`url: the value is not the URL of a webhook; write for example url = env("OPS_HOOK")`, url("")},
		{"url: the value is not the URL of a webhook", url("hooks/hush")},
		{"url: the value is not the URL of a webhook", url("https:///hush")},
		{"url: the value is not the URL of a webhook", url("https://a:hush@hooks.example.com:nn/")},
		{"url: the value is not the URL of a webhook", url("ftp://hooks.example.com/hush")},
		{"url: http would send the notices to hooks.example.com", url("http://a:hush@hooks.example.com/hush")},
		{"secret: the secret has 0 bytes", secret("")},
		{"secret: the secret has 15 bytes", secret("hush-hush-hush!")},
		{"secret: the secret has 12 bytes", secret("whsec_MDEyMzQ1Njc4OWFi")},
		{"secret: the text after whsec_ is not base64", secret("whsec_hush-hush-hush-hush-hush")},
		{`format: "teams" is not a format`, func(c *Config) { c.Format = "teams" }},
		{
			"secret: notices in the format slack are not signed; the URL is the secret",
			func(c *Config) { c.Format = "slack" },
		},
		{
			`events: "everything" is neither a topic nor a kind of event; ` +
				"write some of approval, drift, ended, ends_soon, granted, ledger, revocation_failed, requested",
			func(c *Config) { c.Events = []string{"granted", "everything"} },
		},
		{"events: the list is empty", func(c *Config) { c.Events = []string{} }},
		{"targets: the list is empty", func(c *Config) { c.Targets = []string{} }},
		{"targets", func(c *Config) { c.Targets = []string{"prod", ""} }},
	} {
		config := good
		c.change(&config)
		_, err := NewReceiver("ops", config)
		if !errors.Is(err, jit.ErrInvalid) || !strings.HasPrefix(err.Error(), `notify["ops"].`+c.want) ||
			strings.Contains(err.Error(), "hush") {
			t.Errorf("%v, want %q and no secret", err, c.want)
		}
	}
	for _, name := range []string{"", "the ops", "ops/2", strings.Repeat("a", 64), "öps"} {
		if _, err := NewReceiver(name, good); !errors.Is(err, jit.ErrInvalid) ||
			!strings.HasPrefix(err.Error(), "notify: ") {
			t.Errorf("the name %q: %v", name, err)
		}
	}
}

func TestReceiverTakes(t *testing.T) {
	for _, c := range []Config{
		{URL: "https://hooks.example.com/a?b=c", Secret: "sixteen bytes ok"},
		{URL: "https://user:pass@hooks.example.com", Secret: secret, Format: "cloudevents"},
		{URL: "http://127.0.0.1:8080/", Secret: secret},
		{URL: "http://[::1]:8080/", Secret: secret},
		{URL: "http://localhost/", Secret: secret},
		{URL: "https://hooks.slack.com/services/T/B/X", Format: "slack"},
	} {
		if _, err := NewReceiver("ops", c); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestReceiverChooses(t *testing.T) {
	for _, c := range []struct {
		events []string
		want   string
	}{
		{nil, "granted ends_soon expired revoked revocation_failed drift_found repaired repair_failed " +
			"approval_wanted approved denied lapsed break_glass signed_off ledger_behind ledger_restored"},
		{[]string{"ended"}, "expired revoked"},
		{[]string{"drift", "policy_changed", "extended"}, "drift_found repaired repair_failed policy_changed extended"},
	} {
		r, err := NewReceiver("ops", Config{URL: "https://hooks.example.com", Secret: secret, Events: c.events})
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Fields(c.want)
		for _, k := range want {
			if !r.Wants(jit.EventKind(k)) {
				t.Errorf("%v: %s is not selected", c.events, k)
			}
		}
		if len(r.wanted) != len(want) {
			t.Errorf("%v: selected are %v", c.events, r.wanted)
		}
	}
}

// Every kind of event can be selected, as a topic or by name.
func TestReceiverKnowsEveryKind(t *testing.T) {
	chosen := map[jit.EventKind]bool{}
	for _, all := range topics {
		for _, k := range all {
			chosen[k] = true
		}
	}
	for _, k := range kinds {
		chosen[k] = true
	}
	for _, k := range []jit.EventKind{
		jit.EventRequested, jit.EventDecided, jit.EventGranted, jit.EventGrantFailed, jit.EventAdopted,
		jit.EventChanged, jit.EventExtended, jit.EventEndsSoon, jit.EventDrift, jit.EventRepaired,
		jit.EventRepairFailed, jit.EventExpired, jit.EventRevokeAsked, jit.EventRevoked, jit.EventRevokeFailed,
		jit.EventPolicyChanged, jit.EventPolicyRemoved, jit.EventPersonChanged, jit.EventPersonRemoved,
		jit.EventApprovalWanted, jit.EventApproved, jit.EventDenied, jit.EventApprovalUsed, jit.EventLapsed,
		jit.EventBreakGlass, jit.EventSignedOff,
	} {
		if !chosen[k] {
			t.Errorf("%s cannot be selected", k)
		}
	}
}
