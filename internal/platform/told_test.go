package platform_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform"
	awsiam "github.com/jitaccess/terraform-provider-jit/internal/platform/aws_iam"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/azure"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/gcp"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/hoop"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/kubernetes"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/postgresql"
)

// TestNoServerPutsItsTextIntoOurs: a server repeats the headers of the request in each refusal, with characters that
// steer a terminal. Nothing of it gets through, and no refusal is too long.
func TestNoServerPutsItsTextIntoOurs(t *testing.T) {
	const token = "tok-hunter2"
	var code int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said := fmt.Sprintf("denied %v \x1b]0;title\x07\x1b[2J\u202e ", r.Header) + strings.Repeat("x", 100_000)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","code":%[2]d,"message":%[1]q,
			"error":{"code":%[2]d,"status":"PERMISSION_DENIED","message":%[1]q}}`,
			strings.NewReplacer("\x1b", "\u001b", "\x07", "\u0007").Replace(strings.ToValidUTF8(said, "")), code)
	}))
	defer server.Close()
	for kind, cfg := range map[string]platform.Config{
		"kubernetes": {Kubernetes: &kubernetes.Config{Host: server.URL, Token: token}},
		"hoop":       {Hoop: &hoop.Config{URL: server.URL, APIKey: token}},
		"gcp":        {GCP: &gcp.Config{Endpoint: server.URL, AccessToken: token}},
	} {
		p, err := platform.Open("x", cfg, jit.Services{Now: time.Now})
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		scope := map[string]string{"kubernetes": "cluster", "hoop": "db", "gcp": "projects/abcdef"}[kind]
		for _, code = range []int{http.StatusForbidden, http.StatusBadRequest} {
			_, err = p.Read(t.Context(), scope)
			if err == nil {
				t.Errorf("%s: no error", kind)
				continue
			}
			text := err.Error()
			if strings.Contains(text, "hunter2") || strings.ContainsAny(text, "\x1b\x07\u202e\n") || len(text) > 8000 {
				t.Errorf("%s, %d: %d bytes: %.600q", kind, code, len(text), text)
			}
		}
	}
}

// TestAnAtOfAPasswordNamesNoHost: programs disagree about where the host of such a URL begins.
func TestAnAtOfAPasswordNamesNoHost(t *testing.T) {
	for _, secret := range []string{"Sup3r@Secret99", "Sup3r/Secret99", "12/Secret99", "12?Secret99", "12#Secret99", "@Secret99"} {
		user := "://jit:" + secret + "@127.0.0.1:1/db"
		for kind, cfg := range map[string]platform.Config{
			"postgresql": {PostgreSQL: &postgresql.Config{URL: "postgres" + user}},
			"hoop":       {Hoop: &hoop.Config{URL: "https" + user, APIKey: "x"}},
			"kubernetes": {Kubernetes: &kubernetes.Config{Host: "https" + user, Token: "x"}},
			"gcp":        {GCP: &gcp.Config{Endpoint: "https" + user}},
			"azure":      {Azure: &azure.Config{Endpoint: "https" + user}},
			"aws_iam":    {AWSIAM: &awsiam.Config{}},
		} {
			if kind == "aws_iam" {
				cfg.AWSIAM.Endpoint = "https" + user
			}
			_, err := platform.Open("x", cfg, jit.Services{Now: time.Now})
			var user *jit.Error
			if !errors.As(err, &user) {
				t.Errorf("%s with %q: %v, want a refusal", kind, secret, err)
				continue
			}
			for _, part := range []string{"Sup3r", "Secret99", "jit:", ":12"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("%s with %q: %v", kind, secret, err)
				}
			}
		}
	}
}
