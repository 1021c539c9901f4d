package cli

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

const listenToken = "correct-horse-battery-staple"

// listening waits until the daemon logs its address, and returns the URL.
func listening(t *testing.T, errs *output) string {
	t.Helper()
	var found []string
	eventually(t, "the daemon listens", func() bool {
		found = regexp.MustCompile(`msg=listening address=(\S+)`).FindStringSubmatch(errs.String())
		return found != nil
	})
	return "http://" + found[1]
}

// get requests a page, with the token unless it is empty. The code is 0 if nothing listens there.
func get(t *testing.T, url, token string) (code int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// The metrics count what the daemon did. The health pages are open to everybody; all other pages require the token.
func TestSweepWatchListens(t *testing.T) {
	w := newWorld(t)
	t.Setenv("JIT_TEST_TOKEN", listenToken)
	w.write(
		"jit.hcl",
		fmt.Sprintf(
			"ledger = \"sqlite://ledger.db\"\nowner = \"payments\"\nlisten = \"127.0.0.1:0\"\nlisten_token = env(\"JIT_TEST_TOKEN\")\n"+
				"targets = {\n  bastion = { ssh = { authorized_keys = %q } }\n}\n",
			w.keys,
		),
	)
	short, long := w.grant("INC-1: a", "30m"), w.grant("INC-2: b", "2h")
	w.now = w.now.Add(time.Hour)
	_, errs, stop := w.daemon()
	base := listening(t, errs)
	eventually(t, "it is ready", func() bool { code, _ := get(t, base+"/readyz", ""); return code == http.StatusOK })
	if code, body := get(t, base+"/healthz", ""); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	for _, path := range []string{"/", "/metrics"} {
		if code, body := get(t, base+path, ""); code != http.StatusUnauthorized || strings.Contains(body, "bastion") {
			t.Errorf("%s without the token: %d %q", path, code, body)
		}
	}
	if code, body := get(t, base+"/", listenToken); code != http.StatusOK || !strings.Contains(body, "INC-2: b") {
		t.Errorf("/ with the token: %d %s", code, body)
	}
	eventually(t, "the expired grant is ended",
		func() bool { return strings.Contains(errs.String(), "msg=end grant="+string(short.ID)) })
	for _, line := range []string{
		`jit_steps_total\{kind="end",result="done",target="bastion"\} 1`,
		`jit_grants\{owner="payments",state="live",target="bastion"\} 1`,
		`jit_grants\{owner="payments",state="due",target="bastion"\} 0`,
		`jit_grants\{owner="payments",state="overdue",target="bastion"\} 0`, `jit_ledger_up 1`,
		`jit_revocation_lag_seconds_count 1`, `jit_pass_duration_seconds_count\{pass="due"\} [1-9]`,
		`jit_last_pass_timestamp_seconds\{pass="due"\} [1-9]`,
		`jit_target_calls_total\{operation="apply",platform="ssh",target="bastion"\} [1-9]`,
		`jit_target_errors_total\{operation="apply",platform="ssh",target="bastion"\} 0`,
		`jit_build_info\{version="1.2.3"\} 1`,
	} {
		wanted := regexp.MustCompile("(?m)^" + line)
		eventually(t, "/metrics has "+line, func() bool { // the count follows later
			_, metrics := get(t, base+"/metrics", listenToken)
			return wanted.MatchString(metrics)
		})
	}
	if code := stop(); code != exitDone {
		t.Errorf("exit code %d:\n%s", code, errs)
	}
	if code, _ := get(t, base+"/healthz", ""); code != 0 {
		t.Errorf("the daemon answers after its end: %d", code)
	}
	if strings.Contains(errs.String(), listenToken) {
		t.Errorf("the log has the token:\n%s", errs)
	}
	w.wantAccess(long, true)
}

func TestSweepWatchRefusesToListen(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	w := newWorld(t)
	settings := fmt.Sprintf(
		"ledger = \"sqlite://ledger.db\"\nowner = \"payments\"\ntargets = { bastion = { ssh = { authorized_keys = %q } } }\n",
		w.keys,
	)
	short := w.grant("INC-1: a", "30m")
	w.now = w.now.Add(time.Hour)
	for _, c := range []struct{ address, more, says string }{
		{"0.0.0.0:8085", "", "0.0.0.0:8085 can be reached from other machines"},
		{"jit.example.com:8085", "", "set listen_token or listen_proxy"},
		{"8085", "", `"8085" is not an address with a port`},
		{"0.0.0.0:8085", `listen_token = "hunter2"`, "the token has 7 characters; it needs at least 16"},
		{"0.0.0.0:8085", `listen_proxy = { header = "X-Forwarded-User", from = [] }`,
			"name the addresses of the proxies"},
		{"0.0.0.0:8085", `listen_proxy = { header = "X-Forwarded-User", from = ["10.0.0.7"] }`,
			`"10.0.0.7" is not an address range`},
		{"0.0.0.0:8085", `listen_proxy = { from = ["10.0.0.7/32"] }`, "the header is empty"},
		{"0.0.0.0:8085", `listen_proxy = { heeder = "X-Forwarded-User" }`, `"heeder" is not an attribute`},
		{"127.0.0.1:65536", "", `"127.0.0.1:65536" is not an address with a port`},
		{taken.Addr().String(), "", "cannot listen on " + taken.Addr().String()},
	} {
		code := exitUsage
		if c.address == taken.Addr().String() {
			code = exitUnreadable // a restart may find the address free
		}
		w.write("jit.hcl", settings+c.more+"\n")
		r := w.run("sweep", "--watch", "--listen", c.address).wantCode(code).wantErr(c.says)
		if strings.Contains(r.err, "hunter2") {
			t.Errorf("the error has the token: %s", r.err)
		}
		if w.access(short) != 1 {
			t.Fatalf("%s %s: the daemon worked before it was refused:\n%s", c.address, c.more, r.err)
		}
	}
}
