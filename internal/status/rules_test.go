package status

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/yaml"

	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// The files with queries of the metrics, relative to this folder.
const (
	alertsFile     = "../../examples/deploy/prometheus/alerts.yaml"
	alertsTestFile = "../../examples/deploy/prometheus/alerts_test.yaml"
	dashboardFile  = "../../examples/deploy/grafana/dashboard.json"
	guideFile      = "../../templates/guides/operations.md"
)

// rule is an alert as Prometheus reads it.
type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	if err := yaml.UnmarshalStrict(readFile(t, alertsFile), &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// place is the position of a panel on the dashboard.
type place struct{ X, Y, W, H int }

func (p place) overlaps(o place) bool {
	return p.X < o.X+o.W && o.X < p.X+p.W && p.Y < o.Y+o.H && o.Y < p.Y+p.H
}

// panel has the fields of a panel that define its content.
type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  place
	Targets                  []struct{ RefID, Expr, LegendFormat string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	var file struct {
		Title, UID    string
		SchemaVersion int
		Panels        []panel
	}
	if err := json.Unmarshal(readFile(t, dashboardFile), &file); err != nil {
		t.Fatal(err)
	}
	if file.Title == "" || file.UID == "" || file.SchemaVersion == 0 || len(file.Panels) == 0 {
		t.Errorf("the dashboard is incomplete: %+v", file)
	}
	return file.Panels
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

var described = regexp.MustCompile(`^Desc\{fqName: "(jit_\w+)".*variableLabels: \{(.*)\}\}$`)

// exported returns the labels of each of our metrics by name.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	descs, m := make(chan *prometheus.Desc), newServer(t, Access{}).Metrics
	go func() {
		m.registry.Describe(descs)
		close(descs)
	}()
	for d := range descs {
		if m := described.FindStringSubmatch(d.String()); m != nil {
			all[m[1]] = strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' })
		}
	}
	if len(all["jit_grants"]) != 3 {
		t.Fatalf("the metrics are %v", all)
	}
	return all
}

var (
	selector = regexp.MustCompile(`\b(jit_\w+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+) *(?:=~|!~|!=|=)`)
	grouping = regexp.MustCompile(`\bby *\(([^)]*)\)`)
)

// checkExpr reports the metrics and labels of an expression that /metrics does not have.
func checkExpr(t *testing.T, where, expr string, metrics map[string][]string) {
	t.Helper()
	var labels []string
	found := selector.FindAllStringSubmatch(expr, -1)
	if len(found) == 0 {
		t.Errorf("%s uses none of our metrics: %s", where, expr)
	}
	for _, m := range found {
		name := m[1]
		if base, ok := strings.CutSuffix(name, "_bucket"); ok {
			name, labels = base, append(labels, "le")
		}
		own, ok := metrics[name]
		if !ok {
			t.Errorf("%s uses %s, which /metrics does not have", where, m[1])
		}
		for _, label := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(own, label[1]) {
				t.Errorf("%s: %s has no label %s", where, m[1], label[1])
			}
		}
		labels = append(labels, own...)
	}
	for _, by := range grouping.FindAllStringSubmatch(expr, -1) {
		for _, label := range strings.Split(by[1], ",") {
			if !slices.Contains(labels, strings.TrimSpace(label)) {
				t.Errorf("%s: nothing has the label %s: %s", where, label, expr)
			}
		}
	}
}

func TestAlerts(t *testing.T) {
	metrics := exported(t)
	tests := string(readFile(t, alertsTestFile))
	guide := string(readFile(t, guideFile))
	for _, r := range alerts(t) {
		checkExpr(t, r.Alert, r.Expr, metrics)
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has the severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s does not say what is wrong and what to do", r.Alert)
		}
		labels := regexp.MustCompile(`\$labels\.(\w+)`)
		for _, label := range labels.FindAllStringSubmatch(fmt.Sprint(r.Annotations), -1) {
			if by := grouping.FindString(r.Expr); !strings.Contains(by, label[1]) {
				t.Errorf("%s names the label %s, which its result does not have", r.Alert, label[1])
			}
		}
		if !regexp.MustCompile(r.Alert + `\n +eval_time: \w+\n +exp_alerts:`).MatchString(tests) {
			t.Errorf("%s: no case of alerts_test.yaml makes it alert", r.Alert)
		}
		if !strings.Contains(guide, "`"+r.Alert+"`") {
			t.Errorf("the guide does not name %s", r.Alert)
		}
	}
}

func TestDashboard(t *testing.T) {
	metrics := exported(t)
	all := panels(t)
	for i, p := range all {
		if p.Title == "" || p.Description == "" || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d is incomplete: %+v", p.ID, p)
		}
		for _, target := range p.Targets {
			checkExpr(t, p.Title, target.Expr, metrics)
		}
		for _, o := range all[:i] {
			if o.ID == p.ID || o.GridPos.overlaps(p.GridPos) {
				t.Errorf("panels %q and %q have the same id or overlap", o.Title, p.Title)
			}
		}
	}
}

// The guide lists every metric with its labels, and no others.
func TestGuideListsTheMetrics(t *testing.T) {
	metrics := exported(t)
	guide := string(readFile(t, guideFile))
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		labels := slices.Sorted(slices.Values(metrics[name]))
		row := regexp.MustCompile("(?m)^\\| `" + name + "` \\|([^|]*)\\|").FindStringSubmatch(guide)
		if row == nil {
			t.Errorf("the guide has no row for %s", name)
			continue
		}
		var listed []string
		for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[1], -1) {
			listed = append(listed, m[1])
		}
		if slices.Sort(listed); !slices.Equal(listed, labels) {
			t.Errorf("the guide lists the labels %v of %s, want %v", listed, name, labels)
		}
	}
	for _, m := range regexp.MustCompile("`(jit_\\w+)`").FindAllStringSubmatch(guide, -1) {
		if _, ok := metrics[m[1]]; !ok {
			t.Errorf("the guide names %s, which does not exist", m[1])
		}
	}
}

// promtool checks the rules, the panels' queries and a scrape, and runs the tests of the rules.
func TestPromtool(t *testing.T) {
	promtool := testenv.Promtool(t)
	run := func(stdin []byte, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		command := exec.CommandContext(ctx, promtool, args...)
		command.Stdin = bytes.NewReader(stdin)
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run(nil, "check", "rules", alertsFile)
	run(nil, "test", "rules", alertsTestFile)

	type record struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var records []record
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$target", "db|prod").Replace(target.Expr)
			records = append(records, record{fmt.Sprintf("panel_%d_%s", p.ID, target.RefID), expr})
		}
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "panels", "rules": records}}})
	if err != nil {
		t.Fatal(err)
	}
	rules := filepath.Join(t.TempDir(), "panels.yaml")
	if err := os.WriteFile(rules, text, 0o600); err != nil {
		t.Fatal(err)
	}
	run(nil, "check", "rules", rules)

	s := newServer(t, Access{})
	s.Metrics.Wrap("db", &jittest.Platform{Now: atNoon})
	run([]byte(scrape(s)), "check", "metrics")
}
