package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// write makes a settings file in a directory of its own and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jit.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	t.Setenv(EnvLedger, "")
	t.Setenv("JIT_TEST_URL", "postgres://admin:hunter2@localhost/postgres")
	s, err := Load(write(t, `
# whose access
ledger  = "sqlite:///var/lib/jit/ledger.db"
owner   = "payments"
max_ttl = "8h"
targets = {
  bastion = { ssh = { authorized_keys = "/home/deploy/.ssh/authorized_keys" } }
  "payments-db" = {
    postgresql = { url = env("JIT_TEST_URL") }
  }
}
`))
	if err != nil {
		t.Fatal(err)
	}
	if s.Ledger != "sqlite:///var/lib/jit/ledger.db" || s.Owner != "payments" || s.MaxTTL != "8h" {
		t.Errorf("got ledger %q, owner %q, max_ttl %q", s.Ledger, s.Owner, s.MaxTTL)
	}
	if len(s.Targets) != 2 {
		t.Fatalf("got %d targets, want 2", len(s.Targets))
	}
	if b := s.Targets["bastion"]; b.SSH == nil || b.PostgreSQL != nil ||
		b.SSH.AuthorizedKeys != "/home/deploy/.ssh/authorized_keys" {
		t.Errorf("bastion = %+v", b)
	}
	if db := s.Targets["payments-db"]; db.PostgreSQL == nil ||
		db.PostgreSQL.URL != "postgres://admin:hunter2@localhost/postgres" {
		t.Errorf("payments-db = %+v", db)
	}
}

func TestLoadOwners(t *testing.T) {
	t.Setenv(EnvLedger, "")
	for text, want := range map[string]string{"": "all owners", "owners = null": "all owners",
		`owners = ["*"]`: "all owners", `owners = ["search", "payments"]`: "payments, search"} {
		s, err := Load(write(t, text+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		rt, err := Open(t.Context(), s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := rt.Owners.String(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
		if want := text == `owners = ["*"]`; rt.EveryOwner != want {
			t.Errorf("%s: it says that every owner is served: %t, want %t", text, rt.EveryOwner, want)
		}
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestLoadFillsInDefaults(t *testing.T) {
	t.Setenv(EnvLedger, "")
	s, err := Load(write(t, "ledger = null\n"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Ledger != "sqlite://.jit/ledger.db" || s.Owner != "jit" || s.MaxTTL != "1d" {
		t.Errorf("got ledger %q, owner %q, max_ttl %q", s.Ledger, s.Owner, s.MaxTTL)
	}
	t.Setenv(EnvLedger, "postgres://db.example.com/jit")
	if s, err = Load(write(t, "")); err != nil || s.Ledger != "postgres://db.example.com/jit" {
		t.Errorf("with %s: ledger %q, %v", EnvLedger, s.Ledger, err)
	}
	if s, err = Load(write(t, `ledger = "sqlite://here.db"`)); err != nil || s.Ledger != "sqlite://here.db" {
		t.Errorf("the file counts before %s: ledger %q, %v", EnvLedger, s.Ledger, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Setenv("JIT_TEST_SECRET", "hunter2")
	for _, tt := range []struct {
		name, text string
		says       []string
	}{
		{"bad syntax", "owner = \"a\"\nledger = = 1\n", []string{"jit.hcl:2:"}},
		{"an unknown attribute", "\nowmer = \"a\"\n", []string{"jit.hcl:2:", "owmer"}},
		{"a block", "targets {\n}\n", []string{"jit.hcl:1:", "targets"}},
		{"a variable", "\n\nledger = var.ledger\n", []string{"jit.hcl:3:"}},
		{"an unknown function", "ledger = file(\"x\")\n", []string{"jit.hcl:1:", "file"}},
		{"a variable that is not set", "owner = \"a\"\nledger = env(\"JIT_TEST_UNSET\")\n",
			[]string{"jit.hcl:2: env: ", "JIT_TEST_UNSET", "not set"}},
		{"a number for a string", "owner = 5\n", []string{"jit.hcl:1:", "owner", "string"}},
		{"a name for a list of owners", "owners = \"payments\"\n", []string{"jit.hcl:1:", "owners", "list of names"}},
		{"no owner at all", "\nowners = []\n", []string{"jit.hcl:2:", "owners", "empty"}},
		{"a pattern of owners", "owners = [\"team-*\"]\n",
			[]string{"jit.hcl:1:", "owners", `"team-*" is not an owner`}},
		{"every owner and another", "owners = [\"*\", \"payments\"]\n",
			[]string{"jit.hcl:1:", "owners", "every owner"}},
		{"an owner twice", "owners = [\"a\", \"a\"]\n", []string{"jit.hcl:1:", "owners", "twice"}},
		{"no map of targets", "targets = [\"a\"]\n", []string{"jit.hcl:1:", "targets"}},
		{"a target that is no object", "targets = {\n  a = \"ssh\"\n}\n",
			[]string{"jit.hcl:2:", `targets["a"]`, "string"}},
		{"an unknown platform", "targets = {\n  a = { telnet = {} }\n}\n",
			[]string{"jit.hcl:2:", `targets["a"]`, `"telnet"`, "ssh"}},
		{"an unknown attribute of a platform", "targets = {\n  a = {\n    ssh = {\n      keys = \"x\"\n    }\n  }\n}\n",
			[]string{"jit.hcl:4:", `targets["a"]`, `"keys"`}},
		{"a wrong type in a platform", "targets = {\n  a = { ssh = {\n    authorized_keys = 77\n } }\n}\n",
			[]string{"jit.hcl:3:", `targets["a"]`, "ssh.authorized_keys", "string", "number"}},
		{"a target written twice",
			"targets = {\n  a = { ssh = { authorized_keys = \"/x\" } }\n  a = { ssh = { authorized_keys = \"/y\" } }\n}\n", []string{"jit.hcl:3:", `"a"`, "twice"}},
		{"an unknown way with drift",
			"targets = {\n  a = {\n    ssh = { authorized_keys = \"/x\" }\n    on_drift = \"ignore\"\n  }\n}\n",
			[]string{"jit.hcl:4:", `targets["a"].on_drift`, `"ignore"`, `"repair", "revoke" or "report"`}},
		{"an unknown way with violations", "\non_violation = \"ignore\"\n",
			[]string{"jit.hcl:2:", "on_violation", `"ignore"`, `"report" or "revoke"`}},
		{"a cap below zero", "max_unplanned_revocations = -1\n",
			[]string{"jit.hcl:1:", "max_unplanned_revocations", "whole number"}},
		{"a cap that is no number", "max_unplanned_revocations = \"many\"\n",
			[]string{"jit.hcl:1:", "max_unplanned_revocations", "whole number"}},
		{"receivers that are no map", "notify = [\"a\"]\n",
			[]string{"jit.hcl:1:", "notify", "takes an object, not tuple", "write for example notify = "}},
		{"a receiver that is no object", "notify = {\n  ops = 5\n}\n",
			[]string{"jit.hcl:2:", `notify["ops"]`, "a receiver is an object, not number"}},
		{"a receiver of nothing", "notify = {\n  ops = {}\n}\n",
			[]string{"jit.hcl:2:", `notify["ops"].url`, "env(\"OPS_HOOK\")"}},
		{"an unknown attribute of a receiver", "notify = { ops = { endpoint = \"x\" } }\n",
			[]string{"jit.hcl:1:", "notify", `"endpoint"`}},
		{"a receiver without TLS",
			"notify = {\n  ops = {\n    url = \"http://a:hunter2@hooks.example.com/hunter2\"\n  }\n}\n",
			[]string{"jit.hcl:3:", `notify["ops"].url`, "use https"}},
		{"a short secret",
			"notify = {\n  ops = {\n    url = \"https://hooks.example.com\"\n    secret = env(\"JIT_TEST_SECRET\")\n  }\n}\n", []string{"jit.hcl:4:", `notify["ops"].secret`, "7 bytes", "at least 16"}},
		{"events that are no list", "notify = { ops = { events = \"granted\" } }\n",
			[]string{"jit.hcl:1:", "notify", "events"}},
		{"an unknown event",
			"notify = {\n  ops = {\n    url = \"https://hooks.example.com\"\n    secret = \"0123456789abcdef\"\n    events = [\"all\"]\n  }\n}\n", []string{"jit.hcl:5:", `notify["ops"].events`, `"all"`, "granted"}},
		{"a receiver written twice", "notify = {\n  ops = {}\n  ops = {}\n}\n",
			[]string{"jit.hcl:3:", "notify", `"ops"`, "twice"}},
		{"a notice_before that is no string", "notice_before = 15\n",
			[]string{"jit.hcl:1:", "notice_before", "string"}},
		{"a secret where none belongs", "targets = {\n  a = env(\"JIT_TEST_SECRET\")\n}\n", []string{"jit.hcl:2:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(write(t, tt.text))
			if !errors.Is(err, jit.ErrInvalid) {
				t.Fatalf("Load() error %v, want one of the kind ErrInvalid", err)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error %q does not say %q", err, s)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells the secret: %q", err)
			}
		})
	}
}

func TestLoadLooksInOrder(t *testing.T) {
	t.Setenv(EnvLedger, "")
	t.Setenv(EnvFile, "")
	t.Chdir(t.TempDir())

	if _, err := Load(""); !errors.Is(err, jit.ErrInvalid) || !strings.Contains(err.Error(), "there is no jit.hcl") {
		t.Errorf("with no file anywhere: %v", err)
	}
	t.Setenv(EnvLedger, "sqlite://elsewhere.db")
	if s, err := Load(""); err != nil || s.Ledger != "sqlite://elsewhere.db" {
		t.Errorf("with no file and %s: %+v, %v", EnvLedger, s, err)
	}
	t.Setenv(EnvLedger, "")

	if err := os.WriteFile(DefaultFile, []byte(`owner = "here"`), 0o600); err != nil {
		t.Fatal(err)
	}
	ownerIs := func(path, want string) {
		t.Helper()
		if s, err := Load(path); err != nil || s.Owner != want {
			t.Errorf("Load(%q) owner %q, %v; want %q", path, s.Owner, err, want)
		}
	}
	ownerIs("", "here")
	t.Setenv(EnvFile, write(t, `owner = "from-env"`))
	ownerIs("", "from-env")
	ownerIs(write(t, `owner = "asked-for"`), "asked-for")
	if _, err := Load("missing.hcl"); !errors.Is(err, jit.ErrInvalid) || !strings.Contains(err.Error(), "missing.hcl") {
		t.Errorf("a file asked for that is not there: %v", err)
	}
}

// Whatever is in the file, it is read or refused with the place that is to blame, and read the
// same way again.
func FuzzParse(f *testing.F) {
	f.Setenv(EnvLedger, "")
	for _, seed := range []string{
		"", "owner = \"a\"\n", "owner = env(\"HOME\")\n", "targets = { a = { ssh = { authorized_keys = \"/x\" } } }\n",
		"targets = { for k in [\"a\", \"b\"] : k => { ssh = {} } }\n",
		"targets = { a = null, b = { ssh = null } }\n", "targets = { a = { ssh = { accounts = { x = \"/y\" } } } }\n",
		"targets = { (1) = {} }\n", "targets = {\n a = { ssh = [1] }\n}\n", "owner = <<E\nx\nE\n", "targets = null",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse([]byte(text), "jit.hcl")
		if err != nil {
			if !errors.Is(err, jit.ErrInvalid) || !strings.Contains(err.Error(), "jit.hcl:") {
				t.Errorf("error %v; want one of the kind ErrInvalid that names the place", err)
			}
			return
		}
		again, err := parse([]byte(text), "jit.hcl")
		if err != nil || !reflect.DeepEqual(s, again) {
			t.Errorf("read twice: %+v, then %+v, %v", s, again, err)
		}
		if s.Ledger == "" || s.Owner == "" || s.MaxTTL == "" {
			t.Errorf("a default is missing: %+v", s)
		}
	})
}
