package hooptest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

const (
	alice = "alice@example.com"
	db    = "payments-db"
)

// client calls the test's gateway.
type client struct {
	*hooptest.Server
	t    *testing.T
	boss string
}

func newClient(t *testing.T) *client {
	c := &client{Server: hooptest.New(t, nil), t: t}
	c.AddUser(alice, "engineers")
	c.boss = c.AddUser("boss@example.com", "admin")
	c.Put(hooptest.Connection{Name: db, Reviewers: []string{"admin"}, Groups: []string{"engineers"}})
	return c
}

// call returns the status and the answer of a request.
func (c *client) call(method, path string, in any) (int, map[string]any) {
	c.t.Helper()
	text, err := json.Marshal(in)
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.URL+"/api"+path, bytes.NewReader(text))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+hooptest.Key)
	r.Header.Set("Content-Type", "application/json")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	var out map[string]any
	_ = json.NewDecoder(a.Body).Decode(&out) // some answers have no body
	return a.StatusCode, out
}

func (c *client) want(status int, method, path string, in any) map[string]any {
	c.t.Helper()
	got, out := c.call(method, path, in)
	if got != status {
		c.t.Errorf("%s %s: %d %v, want %d", method, path, got, out, status)
	}
	return out
}

func (c *client) provision(status int, seconds int64, correlation string) string {
	c.t.Helper()
	out := c.want(status, "POST", "/sessions/provision", map[string]any{"user_email": alice, "connection": db, "access_duration_sec": seconds, "correlation_id": correlation})
	id, _ := out["session_id"].(string)
	return id
}

func (c *client) may(at time.Duration, want bool, when string) {
	c.t.Helper()
	if got := c.MayConnect(alice, db, time.Now().Add(at)); got != want {
		c.t.Errorf("%s: admitted %t, want %t", when, got, want)
	}
}

// The documented oddities of the gateway.
func TestOddAnswers(t *testing.T) {
	c := newClient(t)
	revoke, approve := map[string]string{"status": "REVOKED"}, map[string]string{"status": "APPROVED"}

	// A request for more than 48 hours is answered with 500 and leaves a session without a review.
	c.provision(500, 172801, "")
	if c.Sessions() != 1 || len(c.Reviews()) != 0 {
		t.Errorf("%d sessions and %d reviews, want an orphan", c.Sessions(), len(c.Reviews()))
	}
	// A request for 0 seconds or fewer makes an approved review of one command, with which nobody can connect.
	for _, seconds := range []int64{0, -5} {
		c.provision(202, seconds, "")
		if r := c.Reviews(); r[len(r)-1].Type != "onetime" || r[len(r)-1].Status != "APPROVED" {
			t.Errorf("%d seconds: %+v", seconds, r)
		}
	}
	c.may(0, false, "with reviews of one command")

	// Names are not unique, and the latest approved review decides, even if it has expired.
	long := c.provision(202, 7200, "same")
	short := c.provision(202, 60, "same")
	c.may(0, true, "inside both")
	c.may(2*time.Minute, false, "when the latest has expired and another has not")
	c.want(200, "PUT", "/reviews/"+short, revoke)
	c.may(2*time.Minute, true, "without the latest")
	c.want(400, "PUT", "/reviews/"+short, revoke)
	c.want(400, "PUT", "/reviews/"+short, approve)

	// An approval restarts the time.
	c.Decide(c.boss, long, "APPROVED", time.Now().Add(time.Hour))
	c.may(150*time.Minute, true, "approved again")

	c.want(500, "PUT", "/reviews/unknown", revoke)
	c.want(404, "GET", "/reviews/unknown", nil)
	c.want(404, "GET", "/sessions/unknown", nil)

	// An unreadable filter is ignored. A name is a pattern. Without an end, the current second is left out.
	count := func(query string) int {
		t.Helper()
		data, _ := c.want(200, "GET", "/sessions?"+query, nil)["data"].([]any)
		return len(data)
	}
	if all, none, bad := count(""), count("correlation_id=none"), count("correlation_id=no%zzne"); all != c.Sessions() || none != 0 || bad != all {
		t.Errorf("sessions: all %d, with an unknown correlation id %d, with an unreadable one %d", all, none, bad)
	}
	if got := count("connection=payments_db"); got != c.Sessions() {
		t.Errorf("the pattern payments_db finds %d of %d", got, c.Sessions())
	}
	c.provision(202, 60, "just now")
	if got := count("correlation_id=just+now&start_date=2020-01-01T00:00:00Z"); got != 0 {
		t.Errorf("the current second is listed %d times without an end", got)
	}
	c.want(422, "GET", "/sessions?limit=x", nil)
	c.want(422, "GET", "/sessions?offset=10001", nil)
}

func TestAttributes(t *testing.T) {
	c := newClient(t)
	c.Put(hooptest.Connection{Name: "open-db"})
	in := map[string]any{"name": "a", "connection_names": []string{"open-db"}, "access_control_group_names": []string{"engineers"}}
	if c.MayConnect(alice, "open-db", time.Now()) {
		t.Error("admitted without an attribute")
	}
	c.want(201, "POST", "/attributes", in)
	c.want(500, "POST", "/attributes", in)
	c.want(500, "GET", "/attributes/missing", nil)
	c.want(404, "PUT", "/attributes/missing", map[string]any{"name": "missing"})
	c.want(404, "DELETE", "/attributes/missing", nil)
	if !c.MayConnect(alice, "open-db", time.Now()) {
		t.Error("not admitted with the attribute")
	}
	c.Put(hooptest.Connection{Name: "open-db"})
	if c.MayConnect(alice, "open-db", time.Now()) {
		t.Error("admitted after an update of the connection without attributes")
	}
	c.want(204, "DELETE", "/attributes/a", nil)
}

// Live sessions last as long as the review did, even if the review is revoked, unless they are killed.
func TestLiveSessions(t *testing.T) {
	c := newClient(t)
	id := c.provision(202, 60, "")
	one, two := c.Connect(alice, db), c.Connect(alice, db)
	c.want(200, "PUT", "/reviews/"+id, map[string]string{"status": "REVOKED"})
	c.may(0, false, "revoked")
	if !c.Lives(one, time.Now().Add(59*time.Second)) || c.Lives(one, time.Now().Add(61*time.Second)) {
		t.Error("a session ends before it has lasted as long as the review")
	}
	kill := func(id string) {
		t.Helper()
		c.want(204, "POST", "/sessions/"+id+"/kill", nil)
		time.Sleep(50 * time.Millisecond) // the gateway answers first and then ends it
	}
	c.Strand(two, true)
	if kill(two); !c.Lives(two, time.Now()) {
		t.Error("a session on another replica was killed")
	}
	c.Strand(two, false)
	if kill(two); c.Lives(two, time.Now()) {
		t.Error("a killed session lives")
	}
	c.want(404, "POST", "/sessions/unknown/kill", nil)
}

// Fields that the real gateway ignores are refused.
func TestStricter(t *testing.T) {
	c := newClient(t)
	c.want(400, "GET", "/sessions?unheardof=1", nil)
	c.want(400, "POST", "/sessions/provision", map[string]any{"user_email": alice, "connection": db, "unheardof": 1})
}
