package notice

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

const secret = "0123456789abcdef0123456789abcdef"

// hook is a receiver that takes what is signed and refuses everything else.
type hook struct {
	*httptest.Server
	t *testing.T

	mu sync.Mutex
	// answer, if set, decides what is answered to the n-th request; 200 takes the notice.
	answer func(n int, w http.ResponseWriter) int
	n      int
	got    []received
}

type received struct {
	ID, Type, Source, Subject string
	Data                      struct {
		Event jit.Event
		Grant *struct {
			Principal, Reason string
			State             jit.State
		}
	}
}

func newHook(t *testing.T) *hook {
	h := &hook{t: t}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

// ServeHTTP checks the signature as https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md tells
// a receiver to: over id, timestamp and body, and no older than five minutes.
func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
	body, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Error(err)
	}
	id, stamp := r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp")
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(id + "." + stamp + "." + string(body)))
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	age := time.Since(time.Unix(seconds, 0))
	if r.Header.Get("webhook-signature") != want || err != nil || age.Abs() > 5*time.Minute || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/cloudevents+json" {
		h.t.Errorf("a request that a receiver refuses: %s %v", r.Method, r.Header)
	}
	code := http.StatusOK
	if h.answer != nil {
		code = h.answer(h.n, w)
	}
	if code == 0 {
		panic(http.ErrAbortHandler) // cuts the connection
	}
	if code == http.StatusOK {
		var e received
		if err := json.Unmarshal(body, &e); err != nil || e.ID != id {
			h.t.Errorf("%s: %v", body, err)
		}
		h.got = append(h.got, e)
	}
	w.WriteHeader(code)
}

func (h *hook) set(answer func(n int, w http.ResponseWriter) int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer, h.n = answer, 0
}

// seqs are the numbers of the events that were taken, in their order.
func (h *hook) seqs() []int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []int64
	for _, e := range h.got {
		all = append(all, e.Data.Event.Seq)
	}
	return all
}

// senderTo returns a sender with one receiver.
func senderTo(t *testing.T, l *jittest.Ledger, holder string, c Config) *Sender {
	t.Helper()
	r, err := NewReceiver("ops", c)
	if err != nil {
		t.Fatal(err)
	}
	return &Sender{
		Ledger: l, LedgerID: func(context.Context) (string, error) { return "the-ledger", nil }, Leases: l.Leases(), Owner: "jit",
		Receivers: []*Receiver{r}, Holder: holder, Now: time.Now, first: 10 * time.Millisecond, Trouble: func(name string, err error) { t.Logf("%s: %v", name, err) },
	}
}

func granted(t *testing.T, l *jittest.Ledger, n int, change func(*jit.Grant, *jit.Event)) jit.Grant {
	t.Helper()
	b := jit.Binding{Target: "prod", Principal: "user:alice@example.com", Role: "viewer", Scope: "all"}
	reason := fmt.Sprintf("INC-%d: look", n)
	now := time.Now().UTC()
	g := jit.Grant{ID: jit.NewID("jit", b, reason, 1), Owner: "jit", Binding: b, Reason: reason, Renewal: 1, Window: jit.Window{Start: now, End: now.Add(time.Hour)}, RequestedAt: now, GrantedAt: now}
	e := jit.Event{At: now, Kind: jit.EventGranted, Grant: g.ID, Actor: jit.Actor{Name: "carol", Change: "commit abc", Source: jit.FromTerraform}}
	if change != nil {
		change(&g, &e)
	}
	if err := l.Write(t.Context(), []jit.Entry{{Grant: &g, Events: []jit.Event{e}}})[0]; err != nil {
		t.Fatal(err)
	}
	return g
}

func flush(t *testing.T, s *Sender) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestNoticesTellWhatHappens(t *testing.T) {
	h, l := newHook(t), &jittest.Ledger{}
	s := senderTo(t, l, "a", Config{URL: h.URL, Secret: secret, Events: []string{"granted", "drift"}, Targets: []string{"prod*"}})
	granted(t, l, 1, nil) // before anybody was to be told
	flush(t, s)
	g := granted(t, l, 2, nil)
	granted(t, l, 3, func(g *jit.Grant, _ *jit.Event) { g.Target = "staging" })
	granted(t, l, 4, func(_ *jit.Grant, e *jit.Event) { e.Kind = jit.EventChanged })
	granted(t, l, 5, func(g *jit.Grant, _ *jit.Event) { g.Owner = "payments" })
	granted(t, l, 6, func(_ *jit.Grant, e *jit.Event) {
		e.Kind, e.Detail = jit.EventDrift, map[string]string{"drift": "the end was moved"}
	})
	flush(t, s)
	flush(t, s)
	if got := h.seqs(); !slices.Equal(got, []int64{2, 6}) {
		t.Fatalf("told of the events %v, want 2 and 6", got)
	}
	e := h.got[0]
	if e.ID != "the-ledger/2" || e.Source != "urn:uuid:the-ledger" || e.Type != "io.github.jitaccess.granted" || e.Subject != string(g.ID) || e.Data.Event.Name != "carol" ||
		e.Data.Grant == nil || e.Data.Grant.Principal != "user:alice@example.com" || e.Data.Grant.Reason != "INC-2: look" || e.Data.Grant.State != jit.StateActive {
		t.Errorf("told %+v", e)
	}
}

// On an empty ledger the first event of all is not lost.
func TestNoticesBeginWithTheFirstEvent(t *testing.T) {
	h, l := newHook(t), &jittest.Ledger{}
	s := senderTo(t, l, "a", Config{URL: h.URL, Secret: secret})
	flush(t, s)
	granted(t, l, 1, nil)
	flush(t, s)
	if got := h.seqs(); !slices.Equal(got, []int64{1}) {
		t.Errorf("told of %v, want of event 1", got)
	}
}

// The receiver is down, cuts the connection, is busy: everything comes later, once and in order.
func TestNoticesAreNotLost(t *testing.T) {
	h, l := newHook(t), &jittest.Ledger{}
	s := senderTo(t, l, "a", Config{URL: h.URL, Secret: secret})
	flush(t, s)
	for n := range 5 {
		granted(t, l, n, nil)
	}
	for _, c := range []struct {
		answer func(int, http.ResponseWriter) int
		says   string
	}{
		{func(int, http.ResponseWriter) int { return 503 }, "the receiver answered 503"},
		{func(int, http.ResponseWriter) int { return 0 }, "no answer"},
		{func(n int, _ http.ResponseWriter) int { return map[bool]int{true: 200, false: 500}[n == 1] }, "the receiver answered 500"},
	} {
		h.set(c.answer)
		if err := s.Flush(t.Context()); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), h.URL) {
			t.Errorf("%v, want %q and no URL", err, c.says)
		}
	}
	h.set(func(n int, w http.ResponseWriter) int {
		if n == 1 {
			w.Header().Set("Retry-After", "1")
			return http.StatusTooManyRequests
		}
		return http.StatusOK
	})
	flush(t, s)
	if got := h.seqs(); !slices.Equal(got, []int64{1, 2, 3, 4, 5}) {
		t.Errorf("told of %v, want 1 to 5, once each and in order", got)
	}
}

// A notice that is refused for good does not keep the others back.
func TestNoticesThatAreRefused(t *testing.T) {
	h, l := newHook(t), &jittest.Ledger{}
	s := senderTo(t, l, "a", Config{URL: h.URL, Secret: secret})
	var told []string
	s.Trouble = func(_ string, err error) { told = append(told, err.Error()) }
	flush(t, s)
	granted(t, l, 1, nil)
	granted(t, l, 2, nil)
	h.set(func(n int, _ http.ResponseWriter) int { return map[bool]int{true: 410, false: 200}[n <= refusals] })
	flush(t, s)
	if got := h.seqs(); !slices.Equal(got, []int64{2}) || len(told) != 1 || !strings.Contains(told[0], "event 1 was passed over after 5 tries: the receiver answered 410") {
		t.Errorf("told of %v, trouble %q", got, told)
	}
}

// A redirect is not followed: the notice is for whom the settings name.
func TestNoticesAreNotRedirected(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer other.Close()
	h, l := newHook(t), &jittest.Ledger{}
	s := senderTo(t, l, "a", Config{URL: h.URL, Secret: secret})
	h.set(func(_ int, w http.ResponseWriter) int {
		w.Header().Set("Location", other.URL)
		return http.StatusTemporaryRedirect
	})
	r := s.Receivers[0]
	if err := s.Test(t.Context(), r); !errors.Is(err, errRefused) {
		t.Errorf("%v", err)
	}
}

// The sender dies between the delivery and its note: the notice comes again, with the same id.
func TestNoticesRepeatWithTheSameID(t *testing.T) {
	h, l := newHook(t), &jittest.Ledger{}
	s := senderTo(t, l, "a", Config{URL: h.URL, Secret: secret})
	flush(t, s)
	granted(t, l, 1, nil)
	writes := 0
	l.Call = func(what string) error {
		if what == "write" {
			if writes++; writes > 1 {
				return errors.New("it died")
			}
		}
		return nil
	}
	if err := s.Flush(t.Context()); err == nil {
		t.Error("a position that was not kept is success")
	}
	l.Call = nil
	flush(t, senderTo(t, l, "a", Config{URL: h.URL, Secret: secret}))
	if got := h.seqs(); !slices.Equal(got, []int64{1, 1}) || h.got[0].ID != h.got[1].ID {
		t.Errorf("told of %v, %+v", got, h.got)
	}
}

// Two senders share a receiver that fails at random: every notice comes, in order, and while both live none comes twice.
func TestNoticesOfTwoSenders(t *testing.T) {
	h, l := newHook(t), &jittest.Ledger{}
	h.answer = func(int, http.ResponseWriter) int {
		if rand.IntN(20) == 0 {
			return 500
		}
		return 200
	}
	c := Config{URL: h.URL, Secret: secret}
	flush(t, senderTo(t, l, "first", c))
	const many = 1000
	var all sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for _, holder := range []string{"a", "b"} {
		s := senderTo(t, l, holder, c)
		all.Go(func() {
			for ctx.Err() == nil {
				_ = s.Flush(ctx) // what fails is tried again
				time.Sleep(time.Millisecond)
			}
		})
	}
	for n := range many {
		granted(t, l, n, nil)
	}
	for end := time.Now().Add(time.Minute); len(h.seqs()) < many && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	all.Wait()
	got := h.seqs()
	for i := range got {
		if got[i] != int64(i+1) {
			t.Fatalf("notice %d is of event %d", i+1, got[i])
		}
	}
	if len(got) != many {
		t.Errorf("%d notices, want %d", len(got), many)
	}
}

func TestSlack(t *testing.T) {
	var body slackMessage
	taken := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("webhook-signature") != "" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%v", r.Header)
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
	}))
	defer taken.Close()
	l := &jittest.Ledger{}
	s := senderTo(t, l, "a", Config{URL: taken.URL + "/T000/secret-of-the-hook", Format: "slack"})
	flush(t, s)
	granted(t, l, 1, func(g *jit.Grant, e *jit.Event) {
		g.Reason = "<!channel> *bold* & <http://evil.example.com|click> @here " + strings.Repeat("x", 4000)
		e.Kind, e.Detail = jit.EventRevokeFailed, map[string]string{"error": "connection refused"}
	})
	flush(t, s)
	text := body.Blocks[0].Text.Text
	for _, want := range []string{"*Access could not be revoked*", "Who: user:alice@\u200bexample.com", "What: viewer on all, prod", "&lt;!channel&gt;", "&amp;"} {
		if !strings.Contains(text, want) {
			t.Errorf("the message does not say %q:\n%s", want, text)
		}
	}
	for _, not := range []string{"<", "*bold*", "@here"} {
		if strings.Contains(text, not) {
			t.Errorf("the message has %q", not)
		}
	}
	if len(text) > 3000 || body.Blocks[0].Type != "section" || body.Blocks[0].Text.Type != "mrkdwn" || !strings.HasPrefix(body.Text, "Access could not be revoked: user:alice") {
		t.Errorf("%d characters, %q", len(text), body.Text)
	}
	taken.Close()
	granted(t, l, 2, nil)
	if err := s.Flush(t.Context()); err == nil || strings.Contains(err.Error(), "secret-of-the-hook") || strings.Contains(err.Error(), "T000") {
		t.Errorf("the error tells the URL: %v", err)
	}
}

func TestReceiverRefuses(t *testing.T) {
	good := Config{URL: "https://hooks.example.com/hush", Secret: secret}
	for want, change := range map[string]func(*Config){
		`notify["ops"].url: it is not the URL of a webhook`:   func(c *Config) { c.URL = "hooks" },
		`notify["ops"].url: http would send`:                  func(c *Config) { c.URL = "http://hooks.example.com/hush" },
		`notify["ops"].secret: it has 4 characters`:           func(c *Config) { c.Secret = "hush" },
		`notify["ops"].format: "teams" is neither`:            func(c *Config) { c.Format = "teams" },
		`notify["ops"].secret: of the format slack`:           func(c *Config) { c.Format = "slack" },
		`notify["ops"].events: "everything" is not something`: func(c *Config) { c.Events = []string{"everything"} },
		`notify["ops"].targets`:                               func(c *Config) { c.Targets = []string{""} },
	} {
		c := good
		change(&c)
		if _, err := NewReceiver("ops", c); !errors.Is(err, jit.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := NewReceiver("the ops", good); !errors.Is(err, jit.ErrInvalid) {
		t.Errorf("a name with a blank: %v", err)
	}
}

// What ends soon is announced once for every end, and not when it was short from the beginning.
func TestAnnounce(t *testing.T) {
	l := &jittest.Ledger{}
	now := time.Now()
	b := &broker.Broker{Ledger: l, Owner: "jit", Now: func() time.Time { return now }}
	g := granted(t, l, 1, nil)
	granted(t, l, 2, func(g *jit.Grant, _ *jit.Event) { g.End = g.Start.Add(10 * time.Minute) })
	announce := func(want int) {
		t.Helper()
		if n, err := b.Announce(t.Context(), 15*time.Minute); err != nil || n != want {
			t.Errorf("at %s %d were announced, %v; want %d", now.Sub(g.Start), n, err, want)
		}
	}
	announce(0)
	now = g.End.Add(-14 * time.Minute)
	announce(1)
	announce(0)
	recorded, _, _ := l.Lookup(t.Context(), g.ID)
	recorded.End = recorded.End.Add(time.Hour)
	if err := l.Write(t.Context(), []jit.Entry{{Grant: &recorded}})[0]; err != nil {
		t.Fatal(err)
	}
	announce(0)
	now = recorded.End.Add(-time.Minute)
	announce(1)
}
