package status

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// serve starts a server and returns its address.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	listener, err := s.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func newServer(t *testing.T, a Access) *Server {
	l, state := day(t)
	source := sourceOf(l, atNoon, state)
	return &Server{
		Access: a, Source: source, Metrics: watching(l, state), Interval: time.Minute,
		Log: slog.New(slog.DiscardHandler),
	}
}

// someGrant returns the id of a grant that [newServer] shows.
func someGrant(t *testing.T) string {
	l, _ := day(t)
	for g, err := range l.Grants(t.Context(), jit.Filter{Principal: "user:alice@example.com"}) {
		if err != nil {
			t.Fatal(err)
		}
		return string(g.ID)
	}
	t.Fatal("there is no grant")
	return ""
}

func ask(t *testing.T, url string, change func(*http.Request)) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestWhoIsLetIn(t *testing.T) {
	const token = "0123456789abcdef0123456789abcdef"
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	user := func(r *http.Request) { r.Header.Set("X-Forwarded-User", "alice") }
	here := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	elsewhere := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for name, c := range map[string]struct {
		access Access
		change func(*http.Request)
		want   int
	}{
		"loopback":                      {Access{}, nil, 200},
		"DNS rebinding by another page": {Access{}, func(r *http.Request) { r.Host = "evil.example.com" }, 421},
		"no token":                      {Access{Token: token}, nil, 401},
		"a wrong token":                 {Access{Token: token}, bearer(token[1:]), 401},
		"the token":                     {Access{Token: token}, bearer(token), 200},
		"the token, any name": {Access{Token: token}, func(r *http.Request) {
			bearer(token)(r)
			r.Host = "jit.example.com"
		}, 200},
		"the proxy":                     {Access{ProxyHeader: "X-Forwarded-User", Proxies: here}, user, 200},
		"the proxy sends no name":       {Access{ProxyHeader: "X-Forwarded-User", Proxies: here}, nil, 401},
		"somebody else sets the header": {Access{ProxyHeader: "X-Forwarded-User", Proxies: elsewhere}, user, 401},
		"an empty token is no token":    {Access{ProxyHeader: "X-Forwarded-User", Proxies: here}, bearer(""), 401},
	} {
		t.Run(name, func(t *testing.T) {
			c.access.Listen = "127.0.0.1:0"
			base := "http://" + serve(t, newServer(t, c.access))
			for _, path := range []string{"/", "/metrics", "/policies", "/grants/" + someGrant(t)} {
				code, body := ask(t, base+path, c.change)
				if code != c.want {
					t.Errorf("%s: %d, want %d", path, code, c.want)
				}
				if code != http.StatusOK && strings.Contains(body, "alice") {
					t.Errorf("%s shows: %s", path, body)
				}
			}
			if code, body := ask(t, base+"/healthz", nil); code != http.StatusOK || body != "ok\n" {
				t.Errorf("/healthz: %d %s", code, body)
			}
		})
	}
}

func TestAccessRefuses(t *testing.T) {
	for want, a := range map[string]Access{
		"is not an address with a port":            {Listen: "8085"},
		`"127.0.0.1:65536" is not an address`:      {Listen: "127.0.0.1:65536"},
		`"127.0.0.1:htpp" is not an address`:       {Listen: "127.0.0.1:htpp"},
		"can be reached from other machines":       {Listen: "0.0.0.0:8085"},
		"[::]:8085 can be reached":                 {Listen: "[::]:8085"},
		"10.0.0.7:8085 can be reached":             {Listen: "10.0.0.7:8085"},
		"the token has 5 characters; it needs":     {Listen: "0.0.0.0:8085", Token: "short"},
		"a character that a header cannot contain": {Listen: "0.0.0.0:8085", Token: "0123456789abcdef\n"},
		"anybody could set the header":             {Listen: "0.0.0.0:8085", ProxyHeader: "X-User"},
	} {
		_, err := a.Check()
		if !errors.Is(err, jit.ErrInvalid) {
			t.Errorf("%+v: %v", a, err)
			continue
		}
		var secret []string
		if a.Token != "" {
			secret = []string{a.Token}
		}
		checkText(t, a.Listen, err.Error(), []string{want}, secret)
	}
	for _, listen := range []string{":8085", "localhost:8085", "[::1]:8085"} {
		address, err := (Access{Listen: listen}).Check()
		if err != nil || listen == ":8085" && address != "127.0.0.1:8085" {
			t.Errorf("%s: %s, %v", listen, address, err)
		}
	}
}

// An address in use is not a mistake in the settings, so that a supervisor restarts the daemon.
func TestListenOnWhatMayBecomeAvailable(t *testing.T) {
	taken := serve(t, newServer(t, Access{Listen: "127.0.0.1:0"}))
	listener, err := newServer(t, Access{Listen: taken}).Listen(t.Context())
	if err == nil {
		_ = listener.Close()
		t.Fatal("one address has two listeners")
	}
	checkText(t, "taken", err.Error(), []string{"cannot listen on " + taken, "write another address"}, nil)
	if errors.Is(err, jit.ErrInvalid) {
		t.Errorf("taken: %v", err)
	}
	for _, c := range []struct {
		err     error
		invalid bool
	}{
		{os.NewSyscallError("bind", syscall.EADDRINUSE), false},
		{os.NewSyscallError("bind", syscall.EADDRNOTAVAIL), false},
		{&net.DNSError{Err: "no such host", Name: "jit.example.com", IsNotFound: true}, false},
		{os.NewSyscallError("bind", syscall.EACCES), true},
	} {
		err := unavailable("192.0.2.1:80", &net.OpError{Op: "listen", Net: "tcp", Err: c.err})
		if errors.Is(err, jit.ErrInvalid) != c.invalid || !strings.Contains(err.Error(), c.err.Error()) {
			t.Errorf("%v: %v", c.err, err)
		}
	}
}

func TestHealth(t *testing.T) {
	s := newServer(t, Access{})
	get := func(path string, state sweeper.State) (int, string) {
		s.Source.State = func() sweeper.State { return state }
		w := httptest.NewRecorder()
		s.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	due, hourAgo := sweeper.Passed{At: noon}, sweeper.Passed{At: noon.Add(-time.Hour)}
	gone := errors.New("gone: postgres://secret")
	for name, c := range map[string]struct {
		state         sweeper.State
		health, ready string
	}{
		"it has just begun":         {sweeper.State{Started: noon}, "ok", "starting"},
		"it works":                  {sweeper.State{Started: noon, LastPoll: noon, Due: due}, "ok", "ok"},
		"the ledger fails":          {sweeper.State{LastPoll: noon, Due: due, LedgerError: gone}, "ok", "ledger"},
		"it no longer polls":        {sweeper.State{LastPoll: noon.Add(-5 * time.Minute), Due: due}, "stalled", "ok"},
		"it polls without progress": {sweeper.State{LastPoll: noon.Add(-3 * time.Minute), Due: hourAgo}, "ok", "ok"},
	} {
		for path, want := range map[string]string{"/healthz": c.health, "/readyz": c.ready} {
			code, body := get(path, c.state)
			if body != want || (code == http.StatusOK) != (want == "ok") {
				t.Errorf("%s: %s: %d %s, want %s", name, path, code, body, want)
			}
		}
	}
}
