package internal_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

const requires = "terraform {\n  required_providers {\n    jit = { source = \"jitaccess/jit\" }\n  }\n}\n"

var (
	variable     = regexp.MustCompile(`\bvar\.(\w+)`)
	resourceType = regexp.MustCompile(`(?m)^(?:resource|data) "([a-z]+)_`)
)

// configuration completes a documented block to a configuration that Terraform can validate. ok is false for
// settings of the command jit, single attributes, calls of modules and blocks of other providers.
func configuration(block string) (text string, ok bool) {
	for _, m := range resourceType.FindAllStringSubmatch(block, -1) {
		if m[1] != "jit" {
			return "", false
		}
	}
	switch {
	case strings.Contains(block, "env("), strings.HasPrefix(block, "module "):
		return "", false
	case strings.Contains(block, "required_providers"):
		text = block
	case strings.HasPrefix(block, "targets = {"):
		text = requires + "provider \"jit\" {\n" + block + "}\n"
	case resourceType.MatchString(block):
		text = requires + block
	default:
		return "", false
	}
	declared := map[string]bool{}
	for _, m := range variable.FindAllStringSubmatch(text, -1) {
		if !declared[m[1]] && !strings.Contains(text, fmt.Sprintf("variable %q", m[1])) {
			text += fmt.Sprintf("variable %q {}\n", m[1])
			declared[m[1]] = true
		}
	}
	return text, true
}

// Every HCL block of the documentation can be parsed, and Terraform validates those that make a configuration. Only
// the configuration of getting started is refused: it lacks the end, which is what it shows.
func TestBlocksAreValid(t *testing.T) {
	cli := testenv.Terraforms(t)[0]
	validated := 0
	for path, document := range documents(t) {
		for i, block := range blocks(document, "hcl") {
			name := fmt.Sprintf("%s/%d", filepath.Base(path), i)
			if _, diags := hclsyntax.ParseConfig([]byte(block), name, hcl.InitialPos); diags.HasErrors() {
				t.Errorf("%s: %v\n%s", name, diags, block)
				continue
			}
			text, ok := configuration(block)
			if !ok {
				continue
			}
			validated++
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := acctest.New(t, cli, acctest.Options{})
				w.Write("key.pub", exampleKey+"\n")
				w.Write("access.yaml", "[]\n")
				w.Write("main.tf", strings.ReplaceAll(text, "~/.ssh/id_ed25519.pub", "key.pub"))
				r := w.Run("validate")
				if without := name == "getting-started.md/0"; (r.ExitCode != 0) != without {
					t.Errorf("validate: exit code %d\n%s\n%s", r.ExitCode, r.Text(), text)
				}
			})
		}
	}
	if validated < 15 {
		t.Errorf("%d blocks are whole configurations, want 15 at least", validated)
	}
}

// Every message of the troubleshooting guide is one that the code says.
func TestTroubleshootingMessages(t *testing.T) {
	var code strings.Builder
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			code.WriteString(read(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	guide := read(t, "../templates/guides/troubleshooting.md")
	messages := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(guide, -1)
	for _, m := range messages {
		message := strings.TrimPrefix(strings.Trim(m[1], "… "), "Unknown ") // "Unknown target" is made of two words
		lower := strings.ToLower(message[:1]) + message[1:]
		if !strings.Contains(code.String(), message) && !strings.Contains(code.String(), lower) {
			t.Errorf("nothing says %q", m[1])
		}
	}
	if len(messages) < 20 {
		t.Errorf("the guide has %d messages, want 20 at least", len(messages))
	}
}

// The output of jit audit verify in the guide is what the command prints.
func TestAuditGuide(t *testing.T) {
	guide := read(t, "../templates/guides/audit.md")
	removed := ledger.Damage{Chain: "payments", Kind: ledger.Removed, First: 7, Last: 7}
	removed.Detail = "recorded, but not stored"
	for _, line := range []string{
		removed.String(),
		ledger.ChainReport{Tip: jit.Tip{Chain: "payments", Seq: 12}, VouchedFrom: 8}.Vouched(),
		ledger.Mismatch{Policy: "mine", Problem: "it has no event"}.String(),
	} {
		if !strings.Contains(guide, line+"\n") {
			t.Errorf("the guide does not show %q", line)
		}
	}
}

// Every link to a heading of a guide leads to one.
func TestAnchors(t *testing.T) {
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	anchor := regexp.MustCompile(`\]\(([\w./:-]*)#([^)]+)\)`)
	pages, err := filepath.Glob("../docs/guides/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no guides: %v", err)
	}
	anchors := map[string]map[string]bool{}
	for _, path := range pages {
		page := map[string]bool{}
		for _, m := range heading.FindAllStringSubmatch(read(t, path), -1) {
			page[strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
		}
		anchors[strings.TrimSuffix(filepath.Base(path), ".md")] = page
	}
	for _, path := range append(append(pages, "../docs/index.md"), rootDocuments...) {
		for _, m := range anchor.FindAllStringSubmatch(read(t, path), -1) {
			page := strings.TrimSuffix(filepath.Base(m[1]), ".md")
			if m[1] == "" {
				page = strings.TrimSuffix(filepath.Base(path), ".md")
			}
			if known, ok := anchors[page]; ok && !known[m[2]] {
				t.Errorf("%s: %s has no heading #%s", path, page, m[2])
			}
		}
	}
}
