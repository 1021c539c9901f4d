package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func TestTheNameDecides(t *testing.T) {
	for _, tt := range []struct {
		args        []string
		code        int
		out, stderr string
	}{
		{[]string{"/usr/local/bin/jit", "version"}, 0, "jit dev (go", ""},
		{[]string{"jit.exe", "version"}, 0, "jit dev (go", ""},
		{[]string{"renamed", "bogus"}, 3, "", "unknown command"},
		{[]string{"./terraform-provider-jit_v1.2.3"}, 1, "", "ln -s ./terraform-provider-jit_v1.2.3 jit"},
		{[]string{"terraform-provider-jit", "version"}, 1, "", "Terraform provider jitaccess/jit"},
		{[]string{"terraform-provider-jit.exe", "--bogus"}, 1, "", "Terraform provider jitaccess/jit"},
	} {
		var out, errs bytes.Buffer
		code := run(tt.args, false, strings.NewReader(""), &out, &errs)
		if code != tt.code || !strings.Contains(out.String(), tt.out) || !strings.Contains(errs.String(), tt.stderr) {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q; want %d, %q, %q", tt.args, code, out.String(),
				errs.String(), tt.code, tt.out, tt.stderr)
		}
	}
}

// A receiver of notices may send bytes that nobody asked for. The HTTP client logs them; they reach nobody's terminal.
func TestStrayBytesStayAway(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nstray bytes")
				}
				time.Sleep(time.Second)
				_ = c.Close()
			}()
		}
	}()
	t.Chdir(t.TempDir())
	settings := fmt.Sprintf(
		"targets = {}\nnotify = { ops = { url = \"http://%s/\", secret = \"0123456789abcdef\" } }\n", listener.Addr())
	if err := os.WriteFile("jit.hcl", []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	var logged, out, errs bytes.Buffer
	log.SetOutput(&logged)
	defer log.SetOutput(os.Stderr)
	code := run([]string{"jit", "notify", "test", "ops"}, false, strings.NewReader(""), &out, &errs)
	time.Sleep(500 * time.Millisecond)
	if code != 0 {
		t.Errorf("exit code %d: %s", code, &errs)
	}
	if told := logged.String() + out.String() + errs.String(); strings.Contains(told, "stray") {
		t.Errorf("it says %q", told)
	}
}
