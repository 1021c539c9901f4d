package provider

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
)

// runID identifies the run of Terraform that this process belongs to: the process that started it. All providers of a
// run have one parent, however many provider blocks it has. It is empty if the parent cannot be told from another
// process that had or will have its number. Call it first: the parent may end.
func runID() string {
	parent := os.Getppid()
	started, err := processStart(parent)
	if err != nil || started == "" {
		return ""
	}
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%d\n%s", host, parent, started))
	return hex.EncodeToString(sum[:8])
}
