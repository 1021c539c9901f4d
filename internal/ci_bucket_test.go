package internal_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// identityStep is the step of the guide that makes a runner's token the credentials of AWS.
var identityStep = regexp.MustCompile("(?s)- name: Credentials of AWS\n +run: \\|\n(.*?)```")

// Nothing but a bucket: each job has a home of its own, as on runners that are thrown away. The plan writes nothing,
// the apply of another runner knows what was granted, and two sweeps may run at once.
func pipelineWithABucket(t *testing.T, binary string) {
	g := newGitHub(t, testenv.Terraforms(t)[0], binary)
	s := buckettest.New(t)
	g.env = []string{"AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=of no account", "AWS_REGION=us-east-1"}
	ledger := s.Ledger("jit")
	g.secrets["JIT_LEDGER_PLAN"], g.secrets["JIT_LEDGER_APPLY"] = ledger, ledger
	_, key := testenv.NewSSHKey(t)

	jobs := g.pull("early", map[string]string{"note.txt": "a plan before there is a ledger"})
	jobs["plan"].wants(t, "success")
	if len(s.Keys()) > 0 {
		t.Errorf("a plan made %v", s.Keys())
	}
	g.byHand().wants(t, "success")
	ask := map[string]string{"alice.tf": grantFile(key, "INC-1: look", "1h")}
	before := s.Keys()
	g.pull("ask", ask)["plan"].wants(t, "success")
	g.pull("ask", g.sign(binary, filepath.Join(g.artifact(fmt.Sprint(g.number), "jit-review"), "plan.json")))
	if !slices.Equal(s.Keys(), before) {
		t.Errorf("plans made %v", s.Keys())
	}
	g.mergeAndApply("ask").wants(t, "success")
	g.allows(key, true)
	g.byHand().wants(t, "success")
	g.allows(key, true)

	g.end(ledger, binary)
	g.allows(key, false)
	g.schedule("*/5 * * * *")["sweep"].wants(t, "success")
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { g.jit(binary, ledger, "sweep") })
	}
	both.Wait()
	g.byHand().wants(t, "success")
	g.allows(key, false)
	if out := g.jit(binary, ledger, "audit", "verify", ledger); !strings.Contains(out, "is intact") {
		t.Errorf("the record:\n%s", out)
	}
}

// The step of the guide asks GitHub for a token, with its own token, and names the file to the steps that follow.
func TestIdentityStep(t *testing.T) {
	found := identityStep.FindStringSubmatch(read(t, "../templates/guides/ci.md"))
	if found == nil {
		t.Fatal("the guide has no such step")
	}
	forge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "bearer asks" || r.URL.Query().Get("audience") != "sts.amazonaws.com" ||
			r.URL.Query().Get("api-version") != "2.0" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(`{"count": 1, "value": "the token"}`))
	}))
	defer forge.Close()
	dir := folders(t, "temp")
	w := &ciWorld{t: t, dir: dir}
	env := append(os.Environ(), "ACTIONS_ID_TOKEN_REQUEST_TOKEN=asks", "RUNNER_TEMP="+filepath.Join(dir, "temp"),
		"ACTIONS_ID_TOKEN_REQUEST_URL="+forge.URL+"/?api-version=2.0", "GITHUB_ENV="+filepath.Join(dir, "env"))
	if out, err := w.exec(dir, env, "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found[1]); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if token := read(t, filepath.Join(dir, "temp", "token")); strings.TrimSpace(token) != "the token" {
		t.Errorf("the token is %q", token)
	}
	set := read(t, filepath.Join(dir, "env"))
	file := "AWS_WEB_IDENTITY_TOKEN_FILE=" + filepath.Join(dir, "temp", "token")
	for _, want := range []string{file, "AWS_ROLE_ARN=arn:"} {
		if !strings.Contains(set, want) {
			t.Errorf("the steps that follow have %q, want %q", set, want)
		}
	}
}
