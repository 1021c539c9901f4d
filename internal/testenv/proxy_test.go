package testenv

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"
)

// echo answers each line with "you said " and the line.
func echo(t *testing.T) (addr string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				for lines := bufio.NewScanner(c); lines.Scan(); {
					_, _ = fmt.Fprintf(c, "you said %s\n", lines.Text())
				}
			}()
		}
	}()
	return listener.Addr().String()
}

func TestProxy(t *testing.T) {
	p := NewProxy(t, echo(t))
	dial := func() net.Conn {
		t.Helper()
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	// ask sends a word and returns the answer that arrives within the time.
	ask := func(c net.Conn, word string, within time.Duration) (string, error) {
		t.Helper()
		if _, err := fmt.Fprintln(c, word); err != nil {
			return "", err
		}
		_ = c.SetReadDeadline(time.Now().Add(within))
		return bufio.NewReader(c).ReadString('\n')
	}
	first := dial()
	if answer, err := ask(first, "hello", 10*time.Second); answer != "you said hello\n" || err != nil {
		t.Fatalf("sound: %q, %v", answer, err)
	}
	p.Set(Silent)
	if answer, err := ask(first, "late", 50*time.Millisecond); answer != "" || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("silent: %q, %v", answer, err)
	}
	p.Set(Sound)
	_ = first.SetReadDeadline(time.Now().Add(10 * time.Second))
	if answer, err := bufio.NewReader(first).ReadString('\n'); answer != "you said late\n" || err != nil {
		t.Errorf("no longer silent: %q, %v", answer, err)
	}
	p.Set(Cutting)
	if answer, err := ask(first, "half of it", 10*time.Second); answer == "you said half of it\n" || err == nil {
		t.Errorf("cutting: %q, %v", answer, err)
	}
	p.Set(Sound)
	second := dial()
	if _, err := ask(second, "hello", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	p.Set(Refusing)
	if answer, err := ask(second, "hello", 10*time.Second); err == nil {
		t.Errorf("refusing, an open connection: %q", answer)
	}
	// The reset may arrive before the client notices that it is connected.
	if c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.Addr); err == nil {
		t.Cleanup(func() { _ = c.Close() })
		if answer, err := ask(c, "hello", 10*time.Second); err == nil {
			t.Errorf("refusing, a new connection: %q", answer)
		}
	}
	p.Set(Slow)
	began := time.Now()
	if _, err := ask(dial(), "hello", 10*time.Second); err != nil || time.Since(began) < ProxyDelay {
		t.Errorf("slow: after %s, %v", time.Since(began), err)
	}
}
