package review

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func TestGolden(t *testing.T) {
	r := everything(asIs)
	for name, got := range map[string]string{"review.md": markdownOf(t, r), "review.txt": textOf(t, r, false),
		"review.json": jsonOf(t, r), "review.sarif": sarifOf(t, r)} {
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || got != string(want) {
			t.Errorf("%s differs (%v); see the difference with -update and git diff", file, err)
		}
	}
}
