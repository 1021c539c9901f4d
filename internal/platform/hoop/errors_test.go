package hoop

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

func TestConfig(t *testing.T) {
	t.Setenv(envURL, "")
	t.Setenv(envKey, "")
	good := Config{URL: "https://hoop.example.com", APIKey: "hpk_secret"}
	for _, tt := range []struct {
		name      string
		change    func(c *Config)
		attribute string
	}{
		{"no address", func(c *Config) { c.URL = "" }, "url"},
		{"no URL", func(c *Config) { c.URL = "hoop.example.com" }, "url"},
		{"a password in it", func(c *Config) { c.URL = "https://a:secret@hoop.example.com" }, "url"},
		{"a query", func(c *Config) { c.URL += "?key=secret" }, "url"},
		{"unencrypted", func(c *Config) { c.URL = "http://hoop.example.com" }, "url"},
		{"no key", func(c *Config) { c.APIKey = "" }, "api_key"},
		{"a line feed in the key", func(c *Config) { c.APIKey += "\n" }, "api_key"},
		{"another mode", func(c *Config) { c.Mode = "secret" }, "mode"},
		{"nobody approves", func(c *Config) { c.Approval = "secret" }, "approval"},
		{"reviewers of an attribute", func(c *Config) { c.Mode, c.Approval = "attribute", "hoop" }, "approval"},
		{"metadata of an attribute", func(c *Config) { c.Mode, c.Metadata = "attribute", map[string]string{"a": "b"} }, "metadata"},
		{"empty metadata", func(c *Config) { c.Metadata = map[string]string{"a": ""} }, "metadata"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := good
			tt.change(&cfg)
			_, err := New(cfg, jit.Services{Now: time.Now})
			var user *jit.Error
			if !errors.As(err, &user) || user.Attribute != tt.attribute || user.Hint == "" {
				t.Errorf("got %v, want a refusal of %s with a hint", err, tt.attribute)
			}
			if err != nil && tt.attribute != "mode" && tt.attribute != "approval" &&
				strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
	for _, address := range []string{good.URL, good.URL + "/", good.URL + "/api", good.URL + "/api/"} {
		t.Setenv(envURL, address)
		t.Setenv(envKey, "hpk_secret")
		p, err := New(Config{}, jit.Services{Now: time.Now})
		if err != nil || p.base.String() != "https://hoop.example.com/api" || p.key != "hpk_secret" {
			t.Errorf("with %s in the environment: %v, %v", address, p, err)
		}
	}
}

// Errors for a refused key are specific, and never contain the key.
func TestKeys(t *testing.T) {
	s := newSite(t, nil)
	s.AddKey("xapi-of-before", "before", "admin")
	old, err := New(Config{URL: s.URL, APIKey: "xapi-of-before"}, jit.Services{Now: time.Now})
	must(t, err)
	must(t, apply(t, old, jit.Ensure, access("before", time.Hour)))
	user := s.AddUser("dave@example.com", "admin")
	a := access("keys", time.Hour)
	must(t, apply(t, s.open(t, Config{}, 0), jit.Ensure, a))
	for _, tt := range []struct {
		key  string
		op   jit.Op
		says string
	}{
		{"hpk_wrong", jit.Ensure, "does not accept the API key"},
		{"hpk_wrong", jit.Remove, "does not accept the API key"},
		{user, jit.Ensure, "is the token of the user dave@example.com"},
	} {
		p, err := New(Config{URL: s.URL, APIKey: tt.key}, jit.Services{Now: time.Now})
		must(t, err)
		b := access("another", time.Hour)
		err = apply(t, p, tt.op, b)
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), tt.key) {
			t.Errorf("%s with %s: %v, want an error that says %q and not the key", tt.op, tt.key, err, tt.says)
		}
	}
}

// The key never follows a redirect, and a server that is no gateway is recognized.
func TestElsewhere(t *testing.T) {
	leaked := false
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked = true
		_, _ = w.Write([]byte("<html>"))
	}))
	defer thief.Close()
	redirecting := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusFound))
	defer redirecting.Close()
	for _, tt := range []struct{ url, says string }{
		{redirecting.URL, "redirects to"}, {thief.URL + "/webapp", "not that of a hoop gateway"}, {"http://127.0.0.1:1", "no answer from the gateway at 127.0.0.1:1"},
	} {
		leaked = false
		p, err := New(Config{URL: tt.url, APIKey: "xapi-secret"}, jit.Services{Now: time.Now})
		must(t, err)
		_, err = p.Read(t.Context(), db)
		var user *jit.Error
		if !errors.As(err, &user) || user.Hint == "" || !strings.Contains(err.Error(), tt.says) ||
			strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want an error that says %q", tt.url, err, tt.says)
		}
		if tt.url == redirecting.URL && leaked {
			t.Error("the redirect was followed")
		}
	}
}

// A gateway that fails while it approves may leave a session behind, so it is not asked again.
func TestAFailingGateway(t *testing.T) {
	s := newSite(t, nil)
	posts := 0
	s.Interrupt(func(r *http.Request) hooptest.Cut {
		if r.Method == http.MethodPost {
			posts++
			return hooptest.Failing
		}
		return hooptest.Through
	})
	if err := apply(t, s.open(t, Config{}, 0), jit.Ensure, access("failing", time.Hour)); err == nil ||
		!strings.Contains(err.Error(), "500") ||
		posts != 1 {
		t.Errorf("after %d requests: %v", posts, err)
	}
}
