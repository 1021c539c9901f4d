package provider

import (
	"os"
	"os/exec"
	"testing"
)

// envRunID makes the test binary print its run, as a provider process of that run.
const envRunID = "JIT_TEST_RUN_ID"

// TestRunID: all processes that one process starts belong to one run, and those of another process to another.
func TestRunID(t *testing.T) {
	if os.Getenv(envRunID) != "" {
		_, _ = os.Stdout.WriteString("run " + runID() + "\n")
		return
	}
	child := func() string {
		t.Helper()
		cmd := exec.Command(os.Args[0], "-test.run=^TestRunID$") // #nosec G204 -- this test
		cmd.Env = append(os.Environ(), envRunID+"=1")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	first, second, own := child(), child(), "run "+runID()+"\n"
	if first != second || len(own) != len("run \n")+16 || first[:len(own)] == own {
		t.Errorf("two children say %q and %q, this process %q", first, second, own)
	}
}
