//go:build unix

package status

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const envLimited = "JIT_TEST_LIMITED_FILES"

// Somebody opens hundreds of connections and sends nothing, or half a request, to a process with a low limit of open
// files. The process can still open files for its sweeper, and still answers everybody else.
func TestHalfOpenConnections(t *testing.T) {
	if os.Getenv(envLimited) != "" {
		fewFiles(t)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHalfOpenConnections$")
	cmd.Env = append(os.Environ(), envLimited+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var address string
	if _, err := fmt.Fscanln(out, &address); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 5 * time.Second}
	scrape := func() error {
		r, err := client.Get("http://" + address + "/metrics")
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r.Body)
		return errors.Join(err, r.Body.Close())
	}
	for i := range 400 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer func() { _ = c.Close() }()
		if i%2 == 0 {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: ")
		}
		if i%50 == 49 {
			if err := scrape(); err != nil {
				t.Errorf("beside %d half-open connections: %v", i+1, err)
			}
		}
	}
	for range 3 {
		if err := scrape(); err != nil {
			t.Errorf("beside all of them: %v", err)
		}
	}
	if _, err := io.WriteString(in, "go on\n"); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the process: %v\n%s", err, rest)
	}
}

// fewFiles is the process that serves and then opens files as a sweeper would.
func fewFiles(t *testing.T) {
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 200, Max: 200}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	s := newServer(t, Access{Listen: "127.0.0.1:0"})
	listener, err := s.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, listener) }()
	fmt.Println(listener.Addr())
	if _, err := fmt.Scanln(new(string), new(string)); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
		defer func() { _ = f.Close() }()
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// fakeConn is a connection from a host.
type fakeConn struct {
	net.Conn
	from   string
	closed bool
}

func (c *fakeConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(c.from), Port: 1} }
func (c *fakeConn) Close() error         { c.closed = true; return nil }

type fakeListener struct {
	net.Listener
	conns chan *fakeConn
}

func (l *fakeListener) Accept() (net.Conn, error) { return <-l.conns, nil }

// When the limit is reached, the host with the most connections loses its oldest.
func TestWhoMakesRoom(t *testing.T) {
	inner := &fakeListener{conns: make(chan *fakeConn, 1)}
	l := &limited{Listener: inner, most: 4}
	accept := func(from string) (*fakeConn, net.Conn) {
		c := &fakeConn{from: from}
		inner.conns <- c
		served, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c, served
	}
	prometheus, _ := accept("10.0.0.1")
	first, _ := accept("10.0.0.66")
	second, _ := accept("10.0.0.66")
	third, served := accept("10.0.0.66")
	accept("10.0.0.2")
	if !first.closed || second.closed || third.closed || prometheus.closed {
		t.Error("a new connection did not replace the oldest connection of the host with the most")
	}
	if err := served.Close(); err != nil {
		t.Fatal(err)
	}
	accept("10.0.0.3") // below the limit
	if second.closed || prometheus.closed {
		t.Error("a connection was closed below the limit")
	}
	last, _ := accept("10.0.0.66")
	if !second.closed || last.closed {
		t.Error("a host's further connection did not replace its own oldest")
	}
	if len(l.open) != 4 {
		t.Errorf("%d connections are counted, want 4", len(l.open))
	}
}

func TestHostNameInAnyCase(t *testing.T) {
	address := serve(t, newServer(t, Access{Listen: "127.0.0.1:0"}))
	for host, want := range map[string]int{
		"localhost": http.StatusOK, "LOCALHOST": http.StatusOK, "LocalHost:8085": http.StatusOK,
		"[::1]:8085": http.StatusOK, "localhost.example.com": http.StatusMisdirectedRequest,
		"example.com": http.StatusMisdirectedRequest,
	} {
		code, body := ask(t, "http://"+address+"/", func(r *http.Request) { r.Host = host })
		if code != want {
			t.Errorf("Host: %s is answered with %d, want %d: %s", host, code, want, strings.TrimSpace(body))
		}
	}
}
