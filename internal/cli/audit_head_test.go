package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// keygen runs OpenSSH's ssh-keygen, or skips the test if it is not installed.
func keygen(t *testing.T, stdin []byte, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("ssh-keygen is not installed")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestAuditHead(t *testing.T) {
	w := newWorld(t)
	for _, key := range []string{"alice", "eve"} {
		if out, err := keygen(t, nil, "-q", "-t", "ed25519", "-N", "", "-f", key); err != nil {
			t.Fatal(out, err)
		}
	}
	w.grant("INC-1: a", "2h")
	w.run("audit", "head", "--sign", "alice", "-o", "head.json").wantCode(exitDone)
	check := []string{"audit", "verify", "--head", "head.json"}
	w.run(append(check, "--signer", "alice.pub")...).wantCode(exitDone).wantOut("intact")
	w.run(check...).wantCode(exitDone).wantErr("signature of the head was not checked")
	w.run(append(check, "--signer", "eve.pub")...).wantCode(exitNotDone).
		wantErr("has no valid signature of the key in eve.pub")

	// The record still contains the head after it has grown.
	w.grant("INC-2: b", "2h")
	w.run(append(check, "--signer", "alice.pub")...).wantCode(exitDone)

	// ssh-keygen accepts our signature, and jit accepts a signature of ssh-keygen.
	text, err := os.ReadFile("head.json")
	if err != nil {
		t.Fatal(err)
	}
	var head auditHead
	if err := json.Unmarshal(text, &head); err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile("alice.pub")
	if err != nil {
		t.Fatal(err)
	}
	w.write("head.sig", head.Signature)
	w.write("allowed", "alice "+string(public))
	if out, err := keygen(t, head.signed(), "-Y", "verify", "-f", "allowed", "-I", "alice", "-n", headNamespace, "-s",
		"head.sig"); err != nil {
		t.Errorf("ssh-keygen: %s, %v", out, err)
	}
	w.write("message", string(head.signed()))
	if out, err := keygen(t, nil, "-Y", "sign", "-f", "alice", "-n", headNamespace, "message"); err != nil {
		t.Fatal(out, err)
	}
	theirs, err := os.ReadFile("message.sig")
	if err != nil {
		t.Fatal(err)
	}
	ours := head.Signature
	head.Signature = string(theirs)
	save := func(h auditHead) {
		t.Helper()
		text, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		w.write("head.json", string(text))
	}
	save(head)
	w.run(append(check, "--signer", "alice.pub")...).wantCode(exitDone)

	// A change of any field of a head is detected.
	head.Signature = ours
	for name, change := range map[string]func(*auditHead){
		"seq": func(h *auditHead) {
			h.Chains = []jit.Tip{{Chain: "payments", Seq: h.Chains[0].Seq - 1, Hash: h.Chains[0].Hash}}
		}, "time": func(h *auditHead) { h.At = "2026-01-01T00:00:00Z" },
		"root":      func(h *auditHead) { h.Root = strings.Repeat("0", 64) },
		"one chain": func(h *auditHead) { h.Hash, h.Root, h.Chains = h.Chains[0].Hash, "", nil },
		"ledger":    func(h *auditHead) { h.Ledger = "another" }, "signature": func(h *auditHead) { h.Signature = "" },
	} {
		changed := head
		change(&changed)
		save(changed)
		if r := w.run(append(check, "--signer", "alice.pub")...); r.code != exitNotDone {
			t.Errorf("%s changed: exit code %d\n%s", name, r.code, r.err)
		}
	}
	save(head)

	// A rewritten chain is intact in itself but does not contain the head.
	if err := os.Remove("ledger.db"); err != nil {
		t.Fatal(err)
	}
	for _, beside := range []string{"ledger.db-wal", "ledger.db-shm"} {
		_ = os.Remove(beside) // it may be absent
	}
	w.grant("INC-3: c", "2h")
	w.run("audit", "verify").wantCode(exitDone)
	w.run(check...).wantCode(exitNotDone).wantErr("this is another ledger")
	var anew auditHead
	w.run("audit", "head").wantCode(exitDone).decode(&anew)
	anew.Chains[0].Seq += 100
	save(anew)
	w.run(check...).wantCode(exitUsage).wantErr("its root is not that of its chains")
	anew.Root = jit.Root(anew.Ledger, anew.Chains)
	save(anew)
	w.run(check...).wantCode(exitNotDone).wantErr("the record was cut or rewritten: the head is event")
	anew.Chains[0].Seq -= 100
	anew.Chains[0].Hash = strings.Repeat("0", 64)
	anew.Root = jit.Root(anew.Ledger, anew.Chains)
	save(anew)
	w.run(check...).wantCode(exitNotDone).wantErr("the record was rewritten: event")
	w.run(append(check, "--json")...).wantCode(exitNotDone).wantOut(`"ok": false`, `"head_problem"`)
}

func TestAuditHeadRefuses(t *testing.T) {
	w := newWorld(t)
	w.grant("INC-1: a", "2h")
	if out, err := keygen(t, nil, "-q", "-t", "ed25519", "-N", "hush hush", "-f", "locked"); err != nil {
		t.Fatal(out, err)
	}
	w.write("no-head", "{}")
	t.Setenv("SSH_AUTH_SOCK", "")
	for line, want := range map[string]string{
		"head --sign absent":                          "--sign: the key cannot be read",
		"head --sign locked":                          "has a passphrase, and there is no terminal",
		"head --sign locked.pub":                      "is a public key, and SSH_AUTH_SOCK names no agent",
		"head --sign no-head":                         "is not an SSH key",
		"verify --signer locked.pub":                  "name the head with --head",
		"verify --head absent":                        "the head cannot be read",
		"verify --head no-head":                       "is not a head",
		"verify --head no-head --signer no-such-file": "is not a head",
	} {
		w.run(append([]string{"audit"}, strings.Fields(line)...)...).wantCode(exitUsage).wantErr(want)
	}
}

// A missing ledger has no head.
func TestAuditHeadOfNothing(t *testing.T) {
	newWorld(t).run("audit", "head").wantCode(exitUnreadable).wantErr("there is no ledger yet").wantNotOut("hash")
}

// OpenSSH's agent signs for a public key. Without that key in the agent, nothing is signed.
func TestAuditHeadByAgent(t *testing.T) {
	w := newWorld(t)
	w.grant("INC-1: a", "2h")
	for key, kind := range map[string]string{"alice": "ed25519", "bob": "rsa", "eve": "ed25519"} {
		if out, err := keygen(t, nil, "-q", "-t", kind, "-N", "", "-f", key); err != nil {
			t.Fatal(out, err)
		}
	}
	socket := sshAgent(t, "alice", "bob")
	for _, key := range []string{"alice", "bob"} {
		if err := os.Remove(key); err != nil { // only the agent has the key now
			t.Fatal(err)
		}
	}
	t.Setenv("SSH_AUTH_SOCK", socket)
	for _, key := range []string{"alice", "bob"} {
		w.run("audit", "head", "--sign", key+".pub", "-o", key+".json").wantCode(exitDone)
		w.run("audit", "verify", "--head", key+".json", "--signer", key+".pub").wantCode(exitDone)
		w.run("audit", "verify", "--head", key+".json", "--signer", "eve.pub").wantCode(exitNotDone)
	}
	w.run("audit", "head", "--sign", "eve.pub").wantCode(exitUsage).
		wantErr("the SSH agent does not have the key of eve.pub", "ssh-add").wantNotOut("hash")
	t.Setenv("SSH_AUTH_SOCK", socket+".gone")
	w.run("audit", "head", "--sign", "alice.pub").wantCode(exitUsage).wantErr("the SSH agent cannot be reached")
}

// sshAgent starts OpenSSH's agent with these keys and returns its socket. The agent stops when the test ends.
func sshAgent(t *testing.T, keys ...string) string {
	t.Helper()
	path, err := exec.LookPath("ssh-agent")
	if err != nil {
		t.Skip("ssh-agent is not installed")
	}
	dir, err := os.MkdirTemp("", "agent") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	cmd := exec.CommandContext(t.Context(), path, "-D", "-a", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		_ = os.RemoveAll(dir)
	})
	for range 100 {
		if _, err = os.Stat(socket); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	add := exec.CommandContext(t.Context(), "ssh-add", append([]string{"-q"}, keys...)...)
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %s, %v", out, err)
	}
	return socket
}

func TestAuditExportCloudEvents(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "2h")
	var report struct{ Ledger string }
	w.run("audit", "verify", "--json").decode(&report)
	lines := strings.Split(strings.TrimSpace(w.run("audit", "export", "--format",
		"cloudevents").wantCode(exitDone).out), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines, want 3:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	for i, line := range lines {
		var e struct {
			ID, Source, Type, Subject string
			Data                      struct{ Seq int }
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Source != "urn:uuid:"+report.Ledger || e.Subject != string(g.ID) || e.Data.Seq != i+1 ||
			!strings.HasPrefix(e.Type, "io.github.jitaccess.") {
			t.Errorf("line %d: %s", i+1, line)
		}
	}
	w.run("audit", "export", "--since", "1h").wantCode(exitDone).wantOut(string(g.ID))
	if out := w.run("audit", "export", "--since", "2999-01-01T00:00:00Z").wantCode(exitDone).out; out != "" {
		t.Errorf("the export has events after 2999: %s", out)
	}
	at := w.now.Add(time.Minute).Format(time.RFC3339)
	w.now = w.now.Add(time.Hour)
	later := w.grant("INC-2: b", "2h")
	for _, c := range []struct {
		flag       string
		has, lacks string
	}{{"--until", string(g.ID), string(later.ID)}, {"--since", string(later.ID), string(g.ID)}} {
		if out := w.run("audit", "export", c.flag, at).wantCode(exitDone).out; !strings.Contains(out, c.has) ||
			strings.Contains(out, c.lacks) {
			t.Errorf("%s %s:\n%s", c.flag, at, out)
		}
	}
	w.run("audit", "export", "--until", "tomorrow").wantCode(exitUsage).
		wantErr("--until", `"tomorrow" is neither a time nor a duration`)
	w.run("audit", "export", "--since", "yesterday").wantCode(exitUsage).
		wantErr("--since", `"yesterday" is neither a time nor a duration`)
}

// One writer's clock is ahead. Events that others wrote afterwards are still selected by their own times.
func TestExportOfAPeriodWithAClockThatIsAhead(t *testing.T) {
	w := newWorld(t)
	noon := w.now
	first := w.grant("INC-1: a", "3h")
	w.now = noon.Add(time.Hour)
	ahead := w.grant("INC-2: b", "3h")
	w.now = noon.Add(time.Minute)
	w.run("revoke", string(first.ID), "--reason", "done").wantCode(exitDone)
	half := noon.Add(30 * time.Minute).Format(time.RFC3339)
	w.run("audit", "export", "--until", half).wantCode(exitDone).wantOut(string(first.ID), "revoked").
		wantNotOut(string(ahead.ID))
	w.run("audit", "export", "--since", half).wantCode(exitDone).wantOut(string(ahead.ID)).
		wantNotOut(string(first.ID))
}

// Heads that follow each other seal the record: each check reads what is newer than the head before.
func TestAuditSinceHead(t *testing.T) {
	w := newWorld(t)
	if out, err := keygen(t, nil, "-q", "-t", "ed25519", "-N", "", "-f", "alice"); err != nil {
		t.Fatal(out, err)
	}
	first := w.grant("INC-1: a", "1h")
	w.run("audit", "verify", "--since-head").wantCode(exitUsage).wantErr("--head")
	w.run("audit", "head", "--signer", "alice.pub").wantCode(exitUsage).wantErr("--since")
	w.run("audit", "head", "--since", "none.json").wantCode(exitUsage).wantErr("--since", "none.json")
	w.run("audit", "head", "--sign", "alice", "-o", "head.json").wantCode(exitDone)
	since := []string{"audit", "verify", "--head", "head.json", "--signer", "alice.pub", "--since-head"}
	w.run(since...).wantCode(exitDone).wantOut("intact since the head of", "0 events, 1 grant that agrees")

	w.now = w.now.Add(2 * time.Hour)
	w.run("sweep").wantCode(exitDone)
	second := w.grant("INC-2: b", "2h")
	var r struct {
		OK     bool
		Events int64
		Grants int64
		Since  string
	}
	w.run(append(since, "--json")...).wantCode(exitDone).decode(&r)
	if !r.OK || r.Events == 0 || r.Grants != 2 || r.Since == "" {
		t.Errorf("since the head: %+v", r)
	}
	next := []string{"audit", "head", "--since", "head.json", "--signer", "alice.pub", "--sign", "alice", "-o", "next.json"}
	w.run(next...).wantCode(exitDone)
	w.run("audit", "verify", "--head", "next.json", "--signer", "alice.pub", "--since-head").wantCode(exitDone).
		wantOut("0 events, 1 grant that agrees")
	w.run("audit", "verify", "--head", "next.json", "--signer", "alice.pub").wantCode(exitDone)
	w.run("audit", "head", "--since", "head.json").wantCode(exitDone).wantErr("signature of the head was not checked")

	// What is open is checked, and so is what the newer events tell; what is over is trusted.
	w.alter("UPDATE jit_grants SET reason = 'another' WHERE id = '" + string(first.ID) + "'")
	w.run(append(since, "--json")...).wantCode(exitNotDone)
	w.run("audit", "verify", "--head", "next.json", "--since-head").wantCode(exitDone)
	w.run("audit", "verify", "--head", "next.json").wantCode(exitNotDone).wantOut(string(first.ID), "reason")
	w.alter("UPDATE jit_grants SET reason = 'another' WHERE id = '" + string(second.ID) + "'")
	w.run("audit", "verify", "--head", "next.json", "--since-head").wantCode(exitNotDone).wantOut(string(second.ID))
	w.run(next...).wantCode(exitNotDone).wantErr("not intact")

	w.alter("DELETE FROM jit_log")
	w.alter("DELETE FROM jit_chains")
	w.run("audit", "head", "--since", "next.json").wantCode(exitNotDone)
}
