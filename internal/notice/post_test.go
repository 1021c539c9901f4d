package notice

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// real returns a sender and a receiver on this machine. The URL has secrets in every part.
func real(t *testing.T, scheme, address string) (*Sender, *Receiver) {
	t.Helper()
	r, err := NewReceiver(
		"ops",
		Config{URL: fmt.Sprintf("%s://hush-user:hush-word@%s/hush-path?hush=query", scheme, address), Secret: secret},
	)
	if err != nil {
		t.Fatal(err)
	}
	return &Sender{Now: time.Now, LedgerID: func(context.Context) (string, error) { return "", nil }}, r
}

// Errors say what is wrong, and contain neither the URL nor the answer.
func TestErrorsTellNoSecret(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) { // the receiver's answer must not reach the error
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "no %s for %s", r.URL, r.Header)
	}
	tlsServer := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	tlsServer.Config.ErrorLog = log.New(io.Discard, "", 0) // it logs that its certificate is not trusted
	tlsServer.StartTLS()
	t.Cleanup(tlsServer.Close)
	plain := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(plain.Close)
	closed := httptest.NewServer(nil)
	closed.Close()
	address := func(s *httptest.Server) string { return s.Listener.Addr().String() }
	for _, c := range []struct{ name, scheme, address, want string }{
		{"nobody there", "http", address(closed), "no answer: dial: connect: connection refused"},
		{"an untrusted certificate", "https", address(tlsServer), "no answer: its certificate is not trusted: x509: "},
		{"no TLS", "https", address(plain), "no answer: "},
		{"no HTTP", "http", babbler(t), "no answer: the connection was closed, or the server does not speak HTTP"},
		{"refused", "http", address(plain), "the receiver answered 403"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, r := real(t, c.scheme, c.address)
			if c.name != "refused" { // other tests cover the repeats
				s.client().RetryMax = 0
			}
			err := s.Test(t.Context(), r, jit.Actor{})
			if !errors.Is(err, ErrNotAccepted) || !strings.HasPrefix(err.Error(), c.want) ||
				strings.Contains(err.Error(), "hush") {
				t.Errorf("%v, want %q and no secret", err, c.want)
			}
		})
	}
	lookup := &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "hush.example.com"}}
	if got := why(lookup); got != "the name of its host cannot be resolved" {
		t.Errorf("got %q", got)
	}
}

// babbler answers with the request itself, which is not HTTP.
func babbler(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			request := make([]byte, 1024)
			n, _ := conn.Read(request)
			_, _ = conn.Write(append([]byte("BABBLE "), request[:n]...))
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
}

// Only the beginning of an endless answer is read.
func TestAnswersAreNotReadForEver(t *testing.T) {
	var wrote atomic.Int64
	over := make(chan struct{})
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		defer close(over)
		some := bytes.Repeat([]byte("babble "), 4<<10)
		for {
			n, err := w.Write(some)
			if wrote.Add(int64(n)); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	s, r := real(t, "http", endless.Listener.Addr().String())
	if err := s.Test(t.Context(), r, jit.Actor{}); err != nil {
		t.Error(err)
	}
	<-over
	if wrote.Load() > 64<<20 { // the system buffers some data
		t.Errorf("%d bytes were accepted", wrote.Load())
	}
}
