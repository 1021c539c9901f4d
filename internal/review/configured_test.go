package review

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/catalog"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// A bucket whose policy is unknown only because nobody sets it gives no access; one whose policy is set does.
func TestConfigured(t *testing.T) {
	for sets, want := range map[string]int{`"bucket":{}`: 0, `"bucket":{},"policy":{"references":["x.y"]}`: 1} {
		text := fmt.Sprintf(`{"format_version":"1.2","applyable":true,"complete":true,"planned_values":{},
			"resource_changes":[{"address":"module.m[0].aws_s3_bucket.b","module_address":"module.m[0]",
				"mode":"managed","type":"aws_s3_bucket","name":"b",
				"provider_name":"registry.terraform.io/hashicorp/aws",
				"change":{"actions":["create"],"before":null,"after":{"bucket":"b","acl":null},
				"after_unknown":{"policy":true,"grant":[]}}}],
			"configuration":{"root_module":{"module_calls":{"m":{"module":{"resources":[
				{"address":"aws_s3_bucket.b","expressions":{%s}}]}}}}}}`, sets)
		p, err := plan.Read("plan", "plan.json", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		report, err := Judge(context.Background(), p, Options{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Access) != want || want == 1 && report.Access[0].Class != catalog.Opaque {
			t.Errorf("a bucket that sets %s gives %+v, want %d", sets, report.Access, want)
		}
	}
}

// A condition that is taken away gives access, also if its end stays.
func TestWiderCondition(t *testing.T) {
	const text = `{"format_version":"1.2","applyable":true,"complete":true,"planned_values":{},
		"resource_changes":[{"address":"google_project_iam_member.m","mode":"managed",
			"type":"google_project_iam_member","name":"m",
			"provider_name":"registry.terraform.io/hashicorp/google","change":{"actions":["delete","create"],
			"before":{"member":"m","role":"r","condition":[
				{"expression":"request.time < timestamp('2099-01-01T00:00:00Z') && x"}]},
			"after":{"member":"m","role":"r","condition":[
				{"expression":"request.time < timestamp('2099-01-01T00:00:00Z')"}]},
			"after_unknown":{"etag":true}}}]}`
	p, err := plan.Read("plan", "plan.json", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return time.Date(2098, 12, 31, 0, 0, 0, 0, time.UTC) }
	report, err := Judge(context.Background(), p, Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if report.Worst() != Decide || len(report.Access) != 2 || !report.Access[0].Gives && !report.Access[1].Gives {
		t.Errorf("%+v", report)
	}
}
