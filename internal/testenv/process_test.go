package testenv_test

import (
	"bufio"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// holdEnv turns TestHold into a process that holds servers until it is killed.
const holdEnv = "JIT_TESTENV_HOLD"

// TestHold is the child of TestServersEndWithTheProcess.
func TestHold(t *testing.T) {
	if os.Getenv(holdEnv) == "" {
		t.Skip("only runs as the child of TestServersEndWithTheProcess")
	}
	postgres := testenv.Postgres(t)
	kube, err := url.Parse(testenv.Kubernetes(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	sshd := testenv.SSHD(t, filepath.Join(t.TempDir(), "authorized_keys"))
	moto := strings.TrimPrefix(testenv.Moto(t).URL, "http://")
	fmt.Println("held", net.JoinHostPort(postgres.Host, strconv.Itoa(postgres.Port)), kube.Host, sshd.Addr, moto)
	select {}
}

// TestServersEndWithTheProcess kills a process that holds one server of each kind. Within seconds, no server may listen
// and their directories must be gone.
func TestServersEndWithTheProcess(t *testing.T) {
	testenv.Acceptance(t)
	temp := t.TempDir()
	// PostgreSQL may run as another user, who needs a directory like /tmp.
	for dir := temp; dir != filepath.Clean(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHold$", "-test.v")
	cmd.Env = append(os.Environ(), holdEnv+"=1", "TMPDIR="+temp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	var addresses []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
		if rest, ok := strings.CutPrefix(lines.Text(), "held "); ok {
			addresses = strings.Fields(rest)
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	if len(addresses) != 4 {
		t.Fatalf("the child holds %d servers, want 4; its output: %s", len(addresses), strings.Join(said, "\n"))
	}

	until := func(what string, done func() bool) {
		deadline := time.Now().Add(15 * time.Second)
		for !done() {
			if time.Now().After(deadline) {
				t.Errorf("%s still exists long after its process was killed", what)
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	for _, address := range addresses {
		until(address, func() bool {
			conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", address)
			if err != nil {
				return true
			}
			_ = conn.Close()
			return false
		})
	}
	for _, pattern := range []string{"jit-postgres*", "jit-sshd*", "kubeapi*"} {
		until(pattern, func() bool {
			left, err := filepath.Glob(filepath.Join(temp, pattern))
			return err == nil && len(left) == 0
		})
	}
}
