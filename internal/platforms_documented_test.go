package internal_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform"
	awsiam "github.com/jitaccess/terraform-provider-jit/internal/platform/aws_iam"
	awsidentitycenter "github.com/jitaccess/terraform-provider-jit/internal/platform/aws_identity_center"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/azure"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/gcp"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/hoop"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/kubernetes"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/postgresql"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/ssh"
)

// Whoever reads about platforms finds every one.
func TestEveryPlatformIsDocumented(t *testing.T) {
	for _, file := range []string{
		"README.md", "templates/index.md.tmpl", "templates/resources/grant.md.tmpl",
		"templates/guides/standing-access.md", "templates/guides/troubleshooting.md",
	} {
		text := read(t, "../"+file)
		for _, kind := range platform.Kinds() {
			if !regexp.MustCompile(`\b` + kind + `\b`).MatchString(text) {
				t.Errorf("%s does not name the platform %s", file, kind)
			}
		}
	}
}

// What is said of each platform is what it says itself, and a platform that is added is documented.
func TestPlatformsAreDocumented(t *testing.T) {
	readme := read(t, "../README.md")
	trials := map[string]struct {
		config  platform.Config
		binding jit.Binding
	}{
		"aws_iam": {platform.Config{AWSIAM: &awsiam.Config{}},
			jit.Binding{Principal: "arn:aws:iam::123456789012:user/alice",
				Role: "arn:aws:iam::aws:policy/ReadOnlyAccess", Scope: "123456789012"}},
		"aws_identity_center": {platform.Config{AWSIdentityCenter: &awsidentitycenter.Config{}},
			jit.Binding{Principal: "user:alice", Role: "ReadOnlyAccess", Scope: "123456789012"}},
		"ssh": {platform.Config{SSH: &ssh.Config{AuthorizedKeys: "/keys"}},
			jit.Binding{Principal: exampleKey, Role: "login"}},
		"postgresql": {platform.Config{PostgreSQL: &postgresql.Config{URL: "postgres://a@127.0.0.1:1/a"}},
			jit.Binding{Principal: "a", Role: "b"}},
		"kubernetes": {platform.Config{Kubernetes: &kubernetes.Config{Host: "https://127.0.0.1:1", Token: "t"}},
			jit.Binding{Principal: "user:a", Role: "ClusterRole/b", Scope: "cluster"}},
		"azure": {platform.Config{Azure: &azure.Config{}},
			jit.Binding{Principal: "user:aaaaaaaa-0000-4000-8000-000000000001", Role: "Reader",
				Scope: "/subscriptions/11111111-0000-4000-8000-000000000000"}},
		"gcp": {platform.Config{GCP: &gcp.Config{}},
			jit.Binding{Principal: "user:a@example.com", Role: "roles/b", Scope: "projects/payments"}},
		"hoop": {platform.Config{Hoop: &hoop.Config{URL: "https://127.0.0.1:1", APIKey: "k"}},
			jit.Binding{Principal: "a@example.com", Role: "connect", Scope: "b"}},
	}
	if got, want := slices.Sorted(maps.Keys(trials)), platform.Kinds(); !slices.Equal(got, want) {
		t.Fatalf("tried %v, the platforms are %v", got, want)
	}
	for kind, trial := range trials {
		p, err := platform.Open(kind, trial.config, jit.Services{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		_, traits, err := p.Check(trial.binding)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		row := regexp.MustCompile(fmt.Sprintf("(?m)^\\| \\[%s\\]\\(docs/guides/platform-%[1]s\\.md\\) \\| `%s`.* "+
			"\\| `%s`", kind, traits.Enforcement, jit.FormatTail(traits.SessionTail)))
		if !row.MatchString(readme) {
			t.Errorf("the README's table does not say that %s is ended by %s with a session tail of %s", kind,
				traits.Enforcement, jit.FormatTail(traits.SessionTail))
		}
		for _, page := range []string{"index.md.tmpl", "resources/grant.md.tmpl", "guides/troubleshooting.md"} {
			if !strings.Contains(read(t, "../templates/"+page), "platform-"+kind) {
				t.Errorf("templates/%s does not link to the guide of %s", page, kind)
			}
		}
		if !strings.Contains(read(t, "../templates/guides/standing-access.md"), "\n| "+kind) {
			t.Errorf("the guide on standing access does not say where %s has its marker", kind)
		}
		guides, err := filepath.Glob("../templates/guides/platform-" + kind + ".md*")
		if err != nil || len(guides) != 1 {
			t.Errorf("platform %s needs one guide templates/guides/platform-%s.md, has %v", kind, kind, guides)
			continue
		}
		guide := read(t, guides[0])
		if says := fmt.Sprintf("`enforcement = %q`, `session_tail = %q`", traits.Enforcement,
			jit.FormatTail(traits.SessionTail)); !strings.Contains(guide, says) {
			t.Errorf("%s does not say %s", guides[0], says)
		}
		if !strings.Contains(guide, "### How policies see them\n\n| written | [policies](policies) see |") {
			t.Errorf("%s has no table of the spellings that policies see", guides[0])
		}
		troubles(t, kind, guides[0], guide)
	}
}

// troubles looks for the messages in a guide's table of troubles in the code that makes them.
func troubles(t *testing.T, kind, path, guide string) {
	t.Helper()
	var code strings.Builder
	for _, folder := range []string{"platform/" + kind, "platform/claims", "awsconfig", "jit", "broker"} {
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				code.WriteString(read(t, file))
			}
		}
	}
	said := regexp.MustCompile(`"\s*\+\s*"`).ReplaceAllString(code.String(), "") // a long message on several lines
	said = strings.NewReplacer("%q", `"…"`, "%U", "U+000A").Replace(said)
	said = regexp.MustCompile(`%[svdw]`).ReplaceAllString(said, "…")
	_, table, found := strings.Cut(guide, "## Troubleshooting")
	messages := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(table, -1)
	if !found || len(messages) == 0 {
		t.Errorf("%s has no messages under Troubleshooting", path)
	}
	for _, m := range messages {
		if !strings.Contains(said, strings.Trim(m[1], "…: ")) {
			t.Errorf("%s: nothing says %q", path, m[1])
		}
	}
}
