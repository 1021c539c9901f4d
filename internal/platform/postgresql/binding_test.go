package postgresql

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
)

// closed is a platform whose server cannot be reached: what works with it makes no call.
func closed(t *testing.T) *Platform {
	t.Helper()
	p, err := New(Config{URL: "postgres://127.0.0.1:1/x"}, jit.Services{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestCheck(t *testing.T) {
	long := strings.Repeat("é", 31) // 62 bytes
	for _, c := range []struct {
		name, principal, role, scope string
		blames                       string
	}{
		{"plain", "alice", "readers", "", ""},
		{"scope given", "alice", "readers", "cluster", ""},
		{"hostile but possible", `Al"ice'; DROP ROLE x; --`, ` Räume und "mehr" `, "", ""},
		{"predefined role", "alice", "pg_read_all_data", "", ""},
		{"63 bytes", long + "x", "readers", "", ""},
		{"case counts", "readers", "Readers", "", ""},
		{"64 bytes", long + "xy", "readers", "", "principal"},
		{"role of 64 bytes", "alice", long + "xy", "", "role"},
		{"no principal", "", "readers", "", "principal"},
		{"no role", "alice", "", "", "role"},
		{"zero byte", "ali\x00ce", "readers", "", "principal"},
		{"line feed", "alice", "read\ners", "", "role"},
		{"not UTF-8", "al\xffice", "readers", "", "principal"},
		{"reversed text", "alice\u202e", "readers", "", "principal"},
		{"wrapper as principal", "jit:x", "readers", "", "principal"},
		{"wrapper as role", "alice", "jit:x", "", "role"},
		{"predefined principal", "pg_monitor", "readers", "", "principal"},
		{"public", "public", "readers", "", "principal"},
		{"none", "alice", "none", "", "role"},
		{"itself", "alice", "alice", "", "role"},
		{"a database", "alice", "readers", "payments", "scope"},
	} {
		b := jit.Binding{Target: "db", Principal: c.principal, Role: c.role, Scope: c.scope}
		got, traits, err := closed(t).Check(b)
		if c.blames != "" {
			var user *jit.Error
			if !errors.As(err, &user) || !errors.Is(err, jit.ErrInvalid) || user.Attribute != c.blames ||
				user.Hint == "" {
				t.Errorf("%s: error %v, want one that blames %s, with a hint", c.name, err, c.blames)
			}
			continue
		}
		want := b
		want.Scope = "cluster"
		if err != nil || got != want {
			t.Errorf("%s: Check = %+v, %v, want %+v", c.name, got, err, want)
		}
		if traits != (jit.Traits{Enforcement: jit.Sweeper, SessionTail: jit.Unlimited, CanTerminate: true}) {
			t.Errorf("%s: traits are %+v", c.name, traits)
		}
	}
}

func TestNewRefusesAnUnreadableURLWithoutShowingIt(t *testing.T) {
	for _, url := range []string{"postgres://admin:hunter2@db:port/x", "postgres://admin:hunter2@[db/x",
		"password=hunter2 port=none", "postgres://admin:hunt%er2@db/x", "postgres://admin:hunter2@db/x?sslmode=maybe"} {
		_, err := New(Config{URL: url}, jit.Services{Now: time.Now})
		var user *jit.Error
		if !errors.As(err, &user) || user.Attribute != "url" || user.Hint == "" {
			t.Errorf("New = %v, want an error about url", err)
			continue
		}
		for e := error(user); e != nil; e = errors.Unwrap(e) {
			if strings.Contains(e.Error(), "hunt") {
				t.Errorf("the error shows the password: %v", e)
			}
		}
	}
}

func TestURLIsCompletedFromTheEnvironment(t *testing.T) {
	t.Setenv("PGHOST", "db.example.com")
	t.Setenv("PGPORT", "6543")
	t.Setenv("PGPASSWORD", "hunter2")
	p, err := New(Config{}, jit.Services{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got := p.address(); got != "db.example.com:6543" {
		t.Errorf("address %q", got)
	}
}

func TestUnreachableServerIsNamedWithoutPassword(t *testing.T) {
	p, err := New(Config{URL: "postgres://admin:hunter2@127.0.0.1:1/x?sslmode=disable"}, jit.Services{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_, err = p.Read(t.Context(), cluster)
	var user *jit.Error
	if !errors.As(err, &user) || !strings.Contains(user.Problem, "127.0.0.1:1") ||
		strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Read = %v, want an error that names the address and no password", err)
	}
}

func TestWrapperNamesFitAndDiffer(t *testing.T) {
	id := jit.NewID("x", jit.Binding{}, "why", 1)
	seen := map[string]string{}
	for n := 1; n <= 32; n++ {
		for _, last := range []string{"a", "b"} {
			owner := strings.Repeat("o", n-1) + last
			name := wrapperName(owner, id)
			if len(name) > 63 {
				t.Errorf("owner of %d bytes: the name has %d", n, len(name))
			}
			if other, taken := seen[name]; taken {
				t.Errorf("owners %q and %q share the name %q", owner, other, name)
			}
			seen[name] = owner
			if n <= 22 && name != "jit:"+string(id)+":"+owner {
				t.Errorf("owner %q: name %q", owner, name)
			}
		}
	}
}

func TestQuoting(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{quote(`a"b`), `"a""b"`},
		{quote(`x"; DROP ROLE y; --`), `"x""; DROP ROLE y; --"`},
		{pgsession.Literal(`it's \ here`), `E'it''s \\ here'`},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

func TestMajorVersion(t *testing.T) {
	for text, want := range map[string]int{"15.18 (Debian 15.18-0+deb12u1)": 15, "16.2": 16, "18beta1": 18} {
		if got, err := majorVersion(text); err != nil || got != want {
			t.Errorf("majorVersion(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	if _, err := majorVersion("devel"); err == nil {
		t.Error("a version without a number is accepted")
	}
}
