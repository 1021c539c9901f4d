package ssh

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// host is a real sshd with its file and two keys.
type host struct {
	*testenv.SSHServer
	path    string
	signers map[string]ssh.Signer
	keys    []string
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{path: filepath.Join(t.TempDir(), "authorized_keys"), signers: map[string]ssh.Signer{}}
	h.SSHServer = testenv.SSHD(t, h.path)
	for range 2 {
		signer, key := testenv.NewSSHKey(t)
		h.signers[key] = signer
		h.keys = append(h.keys, key)
	}
	return h
}

// runs logs in with the key and returns the command's output, and whether the key was let in.
func (h *host) runs(t *testing.T, key, command string) (string, bool) {
	t.Helper()
	out, err := h.Login(t.Context(), h.signers[key], command)
	if errors.Is(err, testenv.ErrRefused) {
		return "", false
	}
	var exit *ssh.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("log in: %v", err)
	}
	return out, true
}

func (h *host) grant(key, roleName string, w jit.Window) jit.Access {
	b := jit.Binding{Target: "host", Principal: key, Role: roleName, Scope: h.path}
	return jit.Access{Binding: b, Marker: jit.Marker{Owner: "jit", ID: jit.NewID("jit", b, jit.FormatTime(w.End), 1),
		Window: w}}
}

// apply makes the changes, which must succeed.
func (h *host) apply(t *testing.T, op jit.Op, accesses ...jit.Access) {
	t.Helper()
	p, err := New(Config{AuthorizedKeys: h.path}, jit.Services{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range accesses {
		if err := p.Apply(t.Context(), h.path, []jit.Change{{Op: op, Access: a}})[0]; err != nil {
			t.Fatalf("%s %s: %v", op, a.Marker, err)
		}
	}
}

func lasting(d time.Duration) jit.Window {
	start := jit.Second(time.Now())
	return jit.Window{Start: start, End: start.Add(d)}
}

// TestConformanceOnSSHD runs the suite with a real sshd deciding who is let in.
func TestConformanceOnSSHD(t *testing.T) {
	testenv.Acceptance(t)
	h := newHost(t)
	const shell, only = "echo a whole shell", "echo only this"
	platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
		write(t, h.path, foreignHead)
		target := newTarget(t, h.path, foreignHead, false)
		target.Principals, target.Roles = h.keys, []string{"login", "command:" + only}
		target.Tamper = platformtest.Tamper{} // it works on the keys of the other suite
		target.Allowed = func(t *testing.T, b jit.Binding) bool {
			out, in := h.runs(t, b.Principal, shell)
			return in && (out == "a whole shell\n" || b.Role != "login" && out == "only this\n")
		}
		return target
	}})
}

// TestLoginEndsOnTime takes about eight seconds: the window is real.
func TestLoginEndsOnTime(t *testing.T) {
	testenv.Acceptance(t)
	h := newHost(t)
	key := h.keys[0]
	if _, in := h.runs(t, key, "true"); in {
		t.Fatal("the key is let in before the grant")
	}
	w := lasting(6 * time.Second)
	h.apply(t, jit.Ensure, h.grant(key, "login", w))
	if out, in := h.runs(t, key, "echo hello"); !in || out != "hello\n" {
		t.Fatalf("inside the window: let in %t, %q", in, out)
	}
	open, err := h.Dial(t.Context(), h.signers[key])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Close() }()
	tried := 0
	for {
		before := time.Now()
		_, in := h.runs(t, key, "true")
		after := time.Now()
		if in && !before.Before(w.End) {
			t.Errorf("let in %s after the end", before.Sub(w.End))
		}
		if !in && after.Before(w.End) {
			t.Errorf("refused %s before the end", w.End.Sub(after))
		}
		if tried++; !in && !before.Before(w.End) || before.After(w.End.Add(5*time.Second)) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%d logins around the end", tried)
	// The session tail is unlimited, as Check says: open sessions stay open.
	session, err := open.NewSession()
	if err != nil {
		t.Fatalf("a session of a connection from inside the window: %v", err)
	}
	if out, err := session.Output("echo still here"); err != nil || string(out) != "still here\n" {
		t.Errorf("a connection from inside the window: %q, %v", out, err)
	}
}

func TestRemoveEndsLoginAtOnce(t *testing.T) {
	testenv.Acceptance(t)
	h := newHost(t)
	a := h.grant(h.keys[0], "login", lasting(time.Hour))
	h.apply(t, jit.Ensure, a)
	if _, in := h.runs(t, h.keys[0], "true"); !in {
		t.Fatal("refused inside the window")
	}
	h.apply(t, jit.Remove, a)
	if _, in := h.runs(t, h.keys[0], "true"); in {
		t.Error("let in after the grant was removed")
	}
}

func TestCommandRoleRunsOnlyItsCommand(t *testing.T) {
	testenv.Acceptance(t)
	h := newHost(t)
	// Text that quoting could damage.
	commands := map[string]string{
		`echo "a  b" 'c"d' \"e\" \\ "$SSH_ORIGINAL_COMMAND"`: "a  b c\"d \"e\" \\ id -u\n",
		`printf '%s|' "x,y" '#' "restrict" no-pty`:           "x,y|#|restrict|no-pty|",
		"echo grüße 日本":                                      "grüße 日本\n",
	}
	for command, want := range commands {
		a := h.grant(h.keys[0], "command:"+command, lasting(time.Hour))
		h.apply(t, jit.Ensure, a)
		if out, in := h.runs(t, h.keys[0], "id -u"); !in || out != want {
			t.Errorf("%s: let in %t, printed %q, want %q", command, in, out, want)
		}
		client, err := h.Dial(t.Context(), h.signers[h.keys[0]])
		if err != nil {
			t.Fatal(err)
		}
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := session.RequestPty("xterm", 24, 80, ssh.TerminalModes{}); err == nil {
			t.Errorf("%s: the key got a terminal", command)
		}
		if conn, err := client.Dial("tcp", h.Addr); err == nil {
			t.Errorf("%s: the key may forward ports", command)
			_ = conn.Close()
		}
		_ = client.Close()
		h.apply(t, jit.Remove, a)
	}
}

func TestPortForwardRoleForwardsOnlyThere(t *testing.T) {
	testenv.Acceptance(t)
	h := newHost(t)
	there, elsewhere := echo(t, "there"), echo(t, "elsewhere")
	h.apply(t, jit.Ensure, h.grant(h.keys[0], "port-forward:"+there, lasting(time.Hour)))
	client, err := h.Dial(t.Context(), h.signers[h.keys[0]])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	conn, err := client.Dial("tcp", there)
	if err != nil {
		t.Fatalf("forward to the destination of the role: %v", err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "there" {
		t.Errorf("through the tunnel came %q, %v", got, err)
	}
	if conn, err := client.Dial("tcp", elsewhere); err == nil {
		_ = conn.Close()
		t.Error("the key forwards to another port")
	}
	for _, listen := range []string{"127.0.0.1:0", "127.0.0.1:1", "0.0.0.0:0"} {
		if l, err := client.Listen("tcp", listen); err == nil {
			_ = l.Close()
			t.Errorf("the key opens a port on the host (%s)", listen)
		}
	}
	for _, host := range []string{"NOWHERE", "nowhere", "", "*", "localhost"} {
		ok, _, err := client.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
			Host string
			Port uint32
		}{host, 1}))
		if err != nil || ok {
			t.Errorf("the key opens port 1 on the host under the name %q: %t, %v", host, ok, err)
		}
	}
	for _, command := range []string{"echo a whole shell", ""} {
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		session.Stdout = &out
		session.Stdin = strings.NewReader("echo a whole shell\n")
		if command == "" {
			err = session.Shell()
		} else {
			err = session.Start(command)
		}
		if err != nil {
			t.Fatal(err)
		}
		var exit *ssh.ExitError
		if err := session.Wait(); !errors.As(err, &exit) {
			t.Errorf("a session with %q ended with %v, want a refusal", command, err)
		}
		if out.String() != "this key is for port forwarding only\n" {
			t.Errorf("a session with %q printed %q", command, out.String())
		}
	}
}

// TestWhichLineCounts shows sshd's rules, on which the order of the lines depends.
func TestWhichLineCounts(t *testing.T) {
	testenv.Acceptance(t)
	h := newHost(t)
	key := h.keys[0]
	long := time.Now().AddDate(1, 0, 0).UTC().Format("20060102150405Z")
	over := `expiry-time="20200101000000Z" ` + key
	tests := []struct{ name, file, want string }{
		{"the first line that admits", "command=\"echo first\" " + key + "\n" + key, "first\n"},
		{"an ended line before one without an end", over + "\n" + key, "asked\n"},
		{"an ended line after one without an end", key + "\n" + over, "asked\n"},
		{"a line with an end before one without",
			`command="echo ours",expiry-time="` + long + `" ` + key + "\n" + key, "ours\n"},
		{"a leading blank", "# no line feed\n " + key, "asked\n"},
		{"an unreadable end", `expiry-time="later" ` + key, ""},
		{"an end in UTC that has just passed",
			`expiry-time="` + time.Now().Add(-2*time.Second).UTC().Format("20060102150405Z") + `" ` + key, ""},
		{"an empty option", `,,expiry-time="` + long + `", ` + key, "asked\n"},
	}
	for name, file := range map[string]string{
		"white space within the key": key[:40] + "\v\f\r" + key[40:],
		"a blank in the time":        `expiry-time="2099 1 2 3 4 5Z" ` + key,
		"a day that no month has":    `expiry-time="20990230Z" ` + key,
		"a leap second":              `expiry-time="20990101000061utc" ` + key,
		"an option in capitals":      "NO-PTY " + key,
	} {
		tests = append(tests, struct{ name, file, want string }{name, file, "asked\n"})
	}
	for name, file := range map[string]string{
		"a plus in the time":   `expiry-time="2099010203+4Z" ` + key,
		"the thirteenth month": `expiry-time="20991301Z" ` + key,
		"the year 1970":        `expiry-time="19700101000000Z" ` + key,
	} {
		tests = append(tests, struct{ name, file, want string }{name, file, ""})
	}
	for _, tt := range tests {
		write(t, h.path, tt.file)
		out, in := h.runs(t, key, "echo asked")
		if read := slices.ContainsFunc(parseKeys([]byte(tt.file)).lines,
			func(l *line) bool { return l.principal == key && l.admits(time.Now()) }); read != in {
			t.Errorf("%s: sshd lets the key in %t, and the file is read as %t", tt.name, in, read)
		}
		if out != tt.want || in != (tt.want != "") {
			t.Errorf("%s: let in %t, %q; want %q", tt.name, in, out, tt.want)
		}
		// The model of the other tests must agree.
		a, admitted := admit([]byte(tt.file), h.signers[key].PublicKey(), time.Now())
		if admitted != in || in && a.forced != (tt.want != "asked\n") {
			t.Errorf("%s: the model says %t, %+v", tt.name, admitted, a)
		}
	}
}

// TestOverlappingRolesOfOneKey: the wider of two grants counts while it lasts.
func TestOverlappingRolesOfOneKey(t *testing.T) {
	testenv.Acceptance(t)
	h := newHost(t)
	narrow, wide := h.grant(h.keys[0], "command:echo narrow", lasting(time.Hour)),
		h.grant(h.keys[0], "login", lasting(time.Hour))
	h.apply(t, jit.Ensure, narrow, wide)
	if out, _ := h.runs(t, h.keys[0], "echo wide"); out != "wide\n" {
		t.Errorf("with both grants the key runs %q", out)
	}
	h.apply(t, jit.Remove, wide)
	if out, _ := h.runs(t, h.keys[0], "echo wide"); out != "narrow\n" {
		t.Errorf("with the narrow grant the key runs %q", out)
	}
}

// echo serves a word to every connection.
func echo(t *testing.T, word string) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, word)
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}
