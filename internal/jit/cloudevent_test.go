package jit

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"
)

// The rules of https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/cloudevents.json for what is written
// here.
func TestCloudEvent(t *testing.T) {
	at := time.Date(2026, 11, 23, 18, 0, 0, 123456000, time.UTC)
	for name, e := range map[string]Event{
		"about a grant": {Seq: 7, At: at, Kind: EventGranted, Grant: "85f9bc33-4d91-89fb-92d9-cf1a474562cb",
			Policy: "oncall", Detail: map[string]string{"a": "b"}},
		"about a policy": {Seq: 8, At: at, Kind: EventPolicyChanged, Policy: "oncall"},
		"about neither":  {Seq: 9, At: at, Kind: EventDrift},
	} {
		text, err := json.Marshal(e.CloudEvent("3f2b8c1e-0000-4000-8000-000000000000"))
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		for _, required := range []string{"specversion", "id", "source", "type"} {
			if s, ok := got[required].(string); !ok || s == "" {
				t.Errorf("%s: %s is %v, want a text that is not empty", name, required, got[required])
			}
		}
		if got["specversion"] != "1.0" || got["datacontenttype"] != "application/json" {
			t.Errorf("%s: %s", name, text)
		}
		if _, err := url.Parse(got["source"].(string)); err != nil {
			t.Errorf("%s: source is no URI reference: %v", name, err)
		}
		if when, err := time.Parse(time.RFC3339, got["time"].(string)); err != nil || !when.Equal(at) {
			t.Errorf("%s: time is %v, want %s", name, got["time"], at)
		}
		if subject, there := got["subject"]; there && subject == "" {
			t.Errorf("%s: a subject that is there may not be empty", name)
		}
		data, ok := got["data"].(map[string]any)
		if !ok || data["kind"] != string(e.Kind) || data["seq"] != float64(e.Seq) {
			t.Errorf("%s: data is %v", name, got["data"])
		}
	}
}
