package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	module    = "github.com/jitaccess/terraform-provider-jit"
	framework = "github.com/hashicorp/terraform-plugin-framework"
)

// floors are the packages from the ground up. An entry stands for the package and all that is in
// its folder; the longest entry counts. Imports point to a lower floor only.
var floors = []map[string]bool{
	0: set("internal/jit", "internal/jit/policy", "internal/backoff", "internal/batch", "internal/failpoint",
		"internal/awsconfig", "internal/pgsession", "internal/reconcile"),
	1: set("internal/platform/claims", "internal/approval", "internal/forge", "internal/catalog", "internal/hcledit",
		"internal/bucket"),
	2: set("internal/ledger", "internal/broker", "internal/platform/*"),
	3: set("internal/platform", "internal/sweeper", "internal/notice", "internal/plan"),
	4: set("internal/config", "internal/status", "internal/review"),
	5: set("internal/request"),
	6: set("internal/provider", "internal/cli"),
	7: set(".", "internal/bench"),
}

// support is for tests and for making the documentation: it may import what it needs, and only tests and support may
// import it.
var support = set("internal", "internal/acctest", "internal/doclinks", "internal/lifetest", "internal/notices",
	"internal/testenv", "internal/jit/jittest", "internal/forge/forgetest", "internal/ledger/ledgertest",
	"internal/platform/platformtest", "internal/bucket/buckettest")

func set(names ...string) map[string]bool {
	s := map[string]bool{}
	for _, name := range names {
		s[name] = true
	}
	return s
}

// place finds the entry that a folder of the module belongs to, and its floor; supporting
// packages have none. A platform is an entry of its own.
func place(folder string) (entry string, floor int, supports, known bool) {
	for entry = folder; ; entry = filepath.Dir(entry) {
		if support[entry] && (entry != "internal" || folder == "internal") {
			return entry, -1, true, true
		}
		pattern := entry
		if filepath.Dir(entry) == "internal/platform" && entry != "internal/platform/claims" {
			pattern = "internal/platform/*"
		}
		for floor, names := range floors {
			if names[pattern] && (entry != "." || folder == ".") {
				return entry, floor, false, true
			}
		}
		if entry == "." {
			return "", 0, false, false
		}
	}
}

// importFault says what is wrong with an import of a file in folder; empty when nothing is.
func importFault(folder string, test bool, path string) string {
	from, floor, supports, _ := place(folder)
	if own, ok := strings.CutPrefix(path, module); ok && (own == "" || own[0] == '/') {
		target := strings.TrimPrefix(own, "/")
		if target == "" {
			target = "."
		}
		to, toFloor, toSupports, known := place(target)
		switch {
		case test || supports || from == to && floor != 0:
			return ""
		case !known:
			return "is of a package that is in no floor"
		case toSupports:
			return "is of a package for tests only"
		case floor == 0 && target != "internal/jit":
			return "points sideways or up: a package on the ground imports internal/jit only"
		case floor > 0 && toFloor >= floor:
			return "points sideways or up: from floor " + strconv.Itoa(floor) + " to floor " + strconv.Itoa(toFloor)
		}
		return ""
	}
	if !strings.Contains(strings.Split(path, "/")[0], ".") {
		return "" // the standard library
	}
	switch {
	case !test && !supports && (path == "k8s.io/client-go/gentype" ||
		strings.HasPrefix(path, "k8s.io/client-go/kubernetes")):
		return "makes the build a quarter longer, with the whole API of Kubernetes; internal/platform/kubernetes " +
			"has a client"
	case path == framework || strings.HasPrefix(path, framework+"/") || strings.HasPrefix(path, framework+"-"):
		peer := folder == "internal/bench/nothing" // a provider of its own, to measure against
		if from != "internal/provider" && from != "internal/acctest" && !peer {
			return "belongs into internal/provider, the only package that knows the framework"
		}
	case test || supports || floor > 0:
	case folder == "internal/jit/policy" && strings.HasPrefix(path, "cel.dev/cel-go/"):
	case folder == "internal/awsconfig" && strings.HasPrefix(path, "github.com/aws/"):
	case folder == "internal/pgsession" && strings.HasPrefix(path, "github.com/jackc/pgx/"):
	default:
		return "is not of the standard library, which is all that the ground stands on (and CEL, in " +
			"internal/jit/policy; the AWS SDK, in internal/awsconfig; pgx, in internal/pgsession)"
	}
	return ""
}

// TestLayers parses the imports of every package and compares them with the floors.
func TestLayers(t *testing.T) {
	unknown, seen := map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel("..", path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			nested := false
			if relative != "." {
				_, err := os.Stat(filepath.Join(path, "go.mod"))
				nested = err == nil
			}
			if name := d.Name(); nested || name == "testdata" || name == "vendor" || relative != "." &&
				(name[0] == '.' || name[0] == '_') {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		folder := filepath.ToSlash(filepath.Dir(relative))
		entry, _, _, known := place(folder)
		if !known {
			unknown[folder] = true
			return nil
		}
		seen[entry] = true
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if fault := importFault(folder, strings.HasSuffix(path, "_test.go"), imported); fault != "" {
				t.Errorf("%s: the import %q %s", filepath.ToSlash(relative), imported, fault)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder := range unknown {
		t.Errorf("the package in %s is in no floor: add it to floors in internal/layers_test.go, at the lowest "+
			"floor above all that it imports, "+
			"or to support if only tests use it", folder)
	}
	for _, entry := range []string{"internal/jit", "internal/jit/policy", "internal/batch", "internal/broker",
		"internal/reconcile"} {
		if !seen[entry] {
			t.Errorf("no file of %s was found", entry)
		}
	}
}

// The rules have to refuse what they are there to refuse.
func TestLayersRefuse(t *testing.T) {
	const own = module + "/internal/"
	for _, tc := range []struct {
		folder, path  string
		test, refused bool
	}{
		{"internal/jit", "strings", false, false},
		{"internal/jit", own + "batch", false, true},
		{"internal/jit", "golang.org/x/sync/errgroup", false, true},
		{"internal/jit", "cel.dev/cel-go/cel", false, true},
		{"internal/jit/policy", "cel.dev/cel-go/cel", false, false},
		{"internal/jit/policy", own + "jit", false, false},
		{"internal/jit/policy", "pgregory.net/rapid", true, false},
		{"internal/batch", own + "failpoint", false, true},
		{"internal/failpoint", own + "ledger", false, true},
		{"internal/awsconfig", own + "jit", false, false},
		{"internal/awsconfig", own + "batch", false, true},
		{"internal/awsconfig", "github.com/aws/aws-sdk-go-v2/config", false, false},
		{"internal/pgsession", "github.com/jackc/pgx/v5/pgconn", false, false},
		{"internal/jit", "github.com/aws/aws-sdk-go-v2/config", false, true},
		{"internal/batch", "github.com/aws/smithy-go", false, true},
		{"internal/platform/aws_iam", own + "awsconfig", false, false},
		{"internal/platform/kubernetes", "k8s.io/client-go/kubernetes/typed/rbac/v1", false, true},
		{"internal/platform/kubernetes", "k8s.io/client-go/kubernetes/typed/rbac/v1", true, false},
		{"internal/platform/kubernetes", "k8s.io/client-go/rest", false, false},
		{"internal/broker", own + "failpoint", false, false},
		{"internal/broker", own + "ledger", false, true},
		{"internal/broker", own + "ledger", true, false},
		{"internal/broker", own + "jit/jittest", false, true},
		{"internal/broker", own + "jit/jittest", true, false},
		{"internal/platform/ssh", own + "platform/gcp", false, true},
		{"internal/platform/ssh", own + "platform/ssh/keys", false, false},
		{"internal/platform/ssh/keys", own + "platform/gcp", false, true},
		{"internal/platform/ssh", own + "platform", false, true},
		{"internal/platform/gcp", own + "platform/claims", false, false},
		{"internal/platform/claims", own + "platform/gcp", false, true},
		{"internal/platform", own + "platform/ssh", false, false},
		{"internal/platform", own + "sweeper", false, true},
		{"internal/platform/platformtest", own + "platform", false, false},
		{"internal/ledger", "github.com/jackc/pgx/v5", false, false},
		{"internal/ledger", own + "testenv/cache", false, true},
		{"internal/sweeper", own + "reconcile", false, false},
		{"internal/config", own + "status", false, true},
		{"internal/config", own + "unheardof", false, true},
		{"internal/config", framework + "/types", false, true},
		{"internal/bench", framework + "/types", false, true},
		{"internal/bench/nothing", framework + "/resource", false, false},
		{"internal/config", framework + "-validators/stringvalidator", true, true},
		{"internal/cli", own + "provider", false, true},
		{"internal/provider", own + "config", false, false},
		{"internal/provider", framework + "/types", false, false},
		{"internal/provider/functions", framework + "/function", false, false},
		{"internal/acctest", framework + "/provider", true, false},
		{".", framework + "/types", false, true},
		{".", own + "cli", false, false},
		{"internal/cli", module, false, true},
		{"internal/bench", own + "provider", false, false},
	} {
		fault := importFault(tc.folder, tc.test, tc.path)
		if (fault != "") != tc.refused {
			t.Errorf("%s (test %t) imports %s: %q, refused should be %t", tc.folder, tc.test, tc.path, fault,
				tc.refused)
		}
	}
	for folder, known := range map[string]bool{"internal/utils": false, "tools/gen": false,
		"internal/platform/new": true, "internal/testenv/install": true, "internal": true} {
		if _, _, _, ok := place(folder); ok != known {
			t.Errorf("%s is in a floor: %t, want %t", folder, ok, known)
		}
	}
}
