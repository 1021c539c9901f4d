package platform_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform"
	awsiam "github.com/jitaccess/terraform-provider-jit/internal/platform/aws_iam"
	awsidentitycenter "github.com/jitaccess/terraform-provider-jit/internal/platform/aws_identity_center"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/azure"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/gcp"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/hoop"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/kubernetes"
)

// noClaims are claims that nobody reads before the first request.
type noClaims struct{ jit.Claims }

// Each platform with an HTTP API says in its requests which version of which program makes them, and who uses it. The
// requests are told, without their secrets.
func TestRequestsNameTheProgram(t *testing.T) {
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "s3cret-key",
		"AWS_REGION": "eu-central-1", "AWS_PROFILE": "", "AWS_SESSION_TOKEN": ""} {
		t.Setenv(name, value)
	}
	aws := func(url string) awsconfig.Config { return awsconfig.Config{Region: "eu-central-1", Endpoint: url} }
	for kind, configure := range map[string]func(url string) platform.Config{
		"aws_iam": func(url string) platform.Config { return platform.Config{AWSIAM: &awsiam.Config{Config: aws(url)}} },
		"aws_identity_center": func(url string) platform.Config {
			return platform.Config{AWSIdentityCenter: &awsidentitycenter.Config{Config: aws(url)}}
		},
		"azure": func(url string) platform.Config { return platform.Config{Azure: &azure.Config{Endpoint: url}} },
		"gcp": func(url string) platform.Config {
			return platform.Config{GCP: &gcp.Config{Endpoint: url, AccessToken: "s3cret-token"}}
		},
		"hoop": func(url string) platform.Config {
			return platform.Config{Hoop: &hoop.Config{URL: url, APIKey: "s3cret-api-key"}}
		},
		"kubernetes": func(url string) platform.Config {
			return platform.Config{Kubernetes: &kubernetes.Config{Host: url, Token: "s3cret-bearer"}}
		},
	} {
		t.Run(kind, func(t *testing.T) {
			var mu sync.Mutex
			var agents []string
			var told []jit.Exchange
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				agents = append(agents, r.UserAgent())
				w.WriteHeader(http.StatusForbidden)
			}))
			defer s.Close()
			p, err := platform.Open("t", configure(s.URL), jit.Services{
				Now: time.Now, Claims: noClaims{}, UserAgent: jit.UserAgent("1.2.3", "team-payments\r\n"),
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx := jit.WithExchanges(t.Context(), func(e jit.Exchange) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, e)
			})
			if _, err := p.Scopes(ctx); err == nil {
				t.Error("the test is wrong: the server refuses everything")
			}
			if len(agents) == 0 || len(told) != len(agents) {
				t.Fatalf("%d requests, of which %d were told", len(agents), len(told))
			}
			for i, e := range told {
				if !strings.Contains(agents[i], "terraform-provider-jit/1.2.3 team-payments") {
					t.Errorf("the user agent is %q", agents[i])
				}
				text := e.Host + e.Request + e.Outcome
				if !strings.HasPrefix(e.Outcome, "403 ") || e.Request == "" || strings.Contains(text, "s3cret") {
					t.Errorf("told: %+v", e)
				}
			}
		})
	}
}
