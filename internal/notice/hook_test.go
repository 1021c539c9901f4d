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
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

const secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// hook is a receiver that accepts signed notices and fails the test on any other request. It is an HTTP server with
// connections in memory, so that it works in a bubble of testing/synctest.
type hook struct {
	t       *testing.T
	server  *http.Server
	conns   chan net.Conn
	closed  chan struct{}
	closing sync.Once

	mu sync.Mutex
	// down refuses connections.
	down bool
	// answer, if set, returns the answer to the n-th request since it was set. 2xx accepts the notice; cut closes the
	// connection before the notice is accepted, and cutAfter after it.
	answer func(n int, w http.ResponseWriter) int
	n      int
	// asked holds the time of each request, and got the accepted notices.
	asked []time.Time
	got   []received
}

const cut, cutAfter = -1, -2

type received struct {
	ID, Type, Source, Subject, Time string
	Data                            struct {
		Event jit.Event
		Grant *struct {
			Principal, Reason, Target, Summary string
			State                              jit.State
			ExpiresAt                          time.Time `json:"expires_at"`
			EndedAt                            time.Time `json:"ended_at"`
			ReasonLost                         bool      `json:"reason_lost"`
			Outstanding                        bool
		}
	}
}

func newHook(t *testing.T) *hook {
	h := &hook{t: t, conns: make(chan net.Conn), closed: make(chan struct{})}
	h.server = &http.Server{Handler: h}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = h.server.Serve(h)
	}()
	t.Cleanup(func() {
		_ = h.server.Close()
		<-served
	})
	return h
}

// Accept returns the next connection.
func (h *hook) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close ends the listener.
func (h *hook) Close() error {
	h.closing.Do(func() { close(h.closed) })
	return nil
}

// Addr is not used.
func (h *hook) Addr() net.Addr { return &net.TCPAddr{} }

// transport returns an HTTP transport that connects only to the hook.
func (h *hook) transport() http.RoundTripper {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		h.mu.Lock()
		down := h.down
		h.mu.Unlock()
		if down {
			return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
		}
		ours, theirs := net.Pipe()
		select {
		case h.conns <- theirs:
			return ours, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-h.closed:
			return nil, net.ErrClosed
		}
	}}
	h.t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// verify checks a notice as the specification demands: the signature covers id, timestamp and payload, joined by full
// stops; the key is the base64 text after whsec_; a timestamp that is too old or too new is refused
// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
func verify(header http.Header, body []byte, now time.Time) error {
	id, stamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || id == "" || strings.Contains(id, ".") {
		return fmt.Errorf("id %q, timestamp %q", id, stamp)
	}
	if age := now.Sub(time.Unix(seconds, 0)); age.Abs() > 5*time.Minute {
		return fmt.Errorf("the notice was sent %s ago", age)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + stamp + "." + string(body)))
	want := mac.Sum(nil)
	for signature := range strings.SplitSeq(header.Get("webhook-signature"), " ") {
		version, coded, _ := strings.Cut(signature, ",")
		if got, err := base64.StdEncoding.DecodeString(coded); version == "v1" && err == nil && hmac.Equal(got, want) {
			return nil
		}
	}
	return errors.New("no signature is valid")
}

// ServeHTTP receives a notice.
func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Error(err)
	}
	if err := verify(r.Header, body, time.Now()); err != nil || r.Method != http.MethodPost ||
		r.Header.Get("Content-Type") != "application/cloudevents+json" {
		h.t.Errorf("an invalid request: %v, %s %v", err, r.Method, r.Header)
	}
	var e received
	if err := json.Unmarshal(body, &e); err != nil || e.ID != r.Header.Get("webhook-id") {
		h.t.Errorf("%s: %v", body, err)
	}
	h.mu.Lock()
	h.n++
	n, answer := h.n, h.answer
	h.asked = append(h.asked, time.Now())
	h.mu.Unlock()
	code := http.StatusNoContent
	if answer != nil {
		code = answer(n, w)
	}
	if code == cut {
		panic(http.ErrAbortHandler)
	}
	if code == cutAfter || code/100 == 2 {
		h.mu.Lock()
		h.got = append(h.got, e)
		h.mu.Unlock()
	}
	if code == cutAfter {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(code)
}

func (h *hook) set(answer func(n int, w http.ResponseWriter) int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer, h.n, h.asked = answer, 0, nil
}

func (h *hook) setDown(down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = down
}

// seqs returns the numbers of the accepted events in order.
func (h *hook) seqs() []int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []int64
	for _, e := range h.got {
		all = append(all, e.Data.Event.Seq)
	}
	return all
}

func (h *hook) wantSeqs(want ...int64) {
	h.t.Helper()
	if got := h.seqs(); !slices.Equal(got, want) {
		h.t.Errorf("the accepted events are %v, want %v", got, want)
	}
}

// requests returns the times of the requests since the last set.
func (h *hook) requests() []time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.asked)
}

// always answers every request with the same code.
func always(code int) func(int, http.ResponseWriter) int {
	return func(int, http.ResponseWriter) int { return code }
}

// world is a bubble with its own clock, a ledger and a receiver.
type world struct {
	*testing.T
	hook   *hook
	ledger *jittest.Ledger
	config Config

	mu   sync.Mutex
	told []string
}

func inWorld(t *testing.T, run func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		run(
			&world{
				T:      t,
				hook:   newHook(t),
				ledger: &jittest.Ledger{},
				config: Config{URL: "https://hooks.example.com/hush", Secret: secret},
			},
		)
	})
}

// sender returns a sender to the hook.
func (w *world) sender(holder string) *Sender {
	w.Helper()
	// In memory there is no TLS.
	r, err := NewReceiver("ops", w.config)
	if err != nil {
		w.Fatal(err)
	}
	r.url = strings.Replace(r.url, "https:", "http:", 1)
	return &Sender{
		Ledger:    w.ledger,
		LedgerID:  func(context.Context) (string, error) { return "the-ledger", nil },
		Leases:    w.ledger.Leases(),
		Owner:     "jit",
		Receivers: []*Receiver{r},
		Holder:    holder,
		Now:       time.Now,
		transport: w.hook.transport(),
		Tried: func(_ string, r Result, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if err != nil {
				w.told = append(w.told, string(r)+": "+err.Error())
			}
		},
	}
}

// troubles returns the errors that the senders have reported.
func (w *world) troubles() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.told)
}

// start runs a sender; stop ends it as a signal does.
func (w *world) start(s *Sender) (stop func()) {
	ctx, cancel := context.WithCancel(w.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.Run(ctx)
	}()
	synctest.Wait()
	return func() { cancel(); <-over }
}

func (w *world) flush(s *Sender) {
	w.Helper()
	if err := s.Flush(w.Context()); err != nil {
		w.Error(err)
	}
}

// granted records a grant and its event, which change may alter.
func (w *world) granted(n int, change func(*jit.Grant, *jit.Event)) jit.Grant {
	w.Helper()
	b := jit.Binding{Target: "prod", Principal: "user:alice@example.com", Role: "viewer", Scope: "all"}
	reason := fmt.Sprintf("INC-%d: look", n)
	now := time.Now().UTC()
	g := jit.Grant{ID: jit.NewID("jit", b, reason, 1), Owner: "jit", Binding: b, Reason: reason,
		Renewal: 1, Window: jit.Window{Start: now, End: now.Add(time.Hour)}, RequestedAt: now,
		GrantedAt: now}
	e := jit.Event{At: now, Kind: jit.EventGranted, Grant: g.ID,
		Actor: jit.Actor{Name: "carol", Change: "commit abc", Source: jit.FromTerraform}}
	if change != nil {
		change(&g, &e)
	}
	if err := w.ledger.Write(w.Context(), []jit.Entry{{Grant: &g, Events: []jit.Event{e}}})[0]; err != nil {
		w.Fatal(err)
	}
	return g
}

func (w *world) grantedMany(first, last int) {
	w.Helper()
	for n := first; n <= last; n++ {
		w.granted(n, nil)
	}
}

// upTo returns the numbers from 1 to n.
func upTo(n int64) []int64 {
	var all []int64
	for i := range n {
		all = append(all, i+1)
	}
	return all
}
