package catalog

import (
	"strings"
	"testing"
	"time"
)

func TestConditionEnd(t *testing.T) {
	const end = "2026-11-23T18:00:00Z"
	for expression, want := range map[string]string{
		`request.time < timestamp("` + end + `")`:                                                   end,
		`request.time <= timestamp('` + end + `')`:                                                  end,
		`(request.time < timestamp("` + end + `"))`:                                                 end,
		`timestamp("` + end + `") > request.time`:                                                   end,
		`timestamp("` + end + `") >= request.time && resource.name == "a"`:                          end,
		`resource.name == "a || b" && request.time < timestamp("` + end + `")`:                      end,
		`(a || b) && (c && request.time < timestamp("` + end + `"))`:                                end,
		`request.time < timestamp("2027-01-01T00:00:00Z") && request.time<timestamp("` + end + `")`: end,
		"// a comment\nrequest.time < timestamp('" + end + "')":                                     end,

		``:      "",
		`true`:  "",
		`(((((`: "",
		`request.time < timestamp("` + end + `") || true`:                                  "",
		`request.time < timestamp("` + end + `") || resource.name == "a" && b`:             "",
		`a && request.time < timestamp("` + end + `") || b`:                                "",
		`a ? request.time < timestamp("` + end + `") : true`:                               "",
		`!(request.time < timestamp("` + end + `"))`:                                       "",
		`!(request.time >= timestamp("` + end + `"))`:                                      "",
		`request.time > timestamp("` + end + `")`:                                          "",
		`timestamp("` + end + `") < request.time`:                                          "",
		`request.time != timestamp("` + end + `")`:                                         "",
		`"request.time < timestamp('` + end + `')" == "x"`:                                 "",
		`request.time < timestamp("soon")`:                                                 "",
		`request.time < timestamp("2026-99-99T18:00:00Z")`:                                 "",
		`request.time < timestamp(resource.name)`:                                          "",
		`request.time < request.time`:                                                      "",
		`request.auth < timestamp("` + end + `") && request.time > x`:                      "",
		`request.time.getHours() < 8`:                                                      "",
		`other.time < timestamp("` + end + `") && request.time > x`:                        "",
		`a // && request.time < timestamp("` + end + `")`:                                  "",
		`[1].exists(x, request.time < timestamp("` + end + `"))`:                           "",
		`request.time < timestamp("` + end + `") && ` + strings.Repeat("(", 1000) + `true`: "",
	} {
		got := ""
		if at, ok := conditionEnd(expression); ok {
			got = at.Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%s ends at %q, want %q", expression, got, want)
		}
	}
}

func TestEnds(t *testing.T) {
	for _, c := range []struct{ kind, text, want string }{
		{"", "2026-11-24T00:00:00Z", "bounded|2026-11-24T00:00:00Z"},
		{"", "2026-11-24T01:00:00.5+01:00", "bounded|2026-11-24T00:00:00Z"},
		{"", "2026-11-24", "bounded|2026-11-24T00:00:00Z"},
		{"", "2026-11-24 00:00:00", "bounded|2026-11-24T00:00:00Z"},
		{"", "2026-11-24 00:00:00+00", "bounded|2026-11-24T00:00:00Z"},
		{"", "2020-01-01", "bounded|2020-01-01T00:00:00Z"},
		{"", "2027-11-23T12:00:00Z", "bounded|2027-11-23T12:00:00Z"},
		{"", "2027-11-25T12:00:00Z", "standing|"},
		{"", "9999-12-31T23:59:59Z", "standing|"},
		{"", "infinity", "standing|"},
		{"", "Never", "standing|"},
		{"", "tomorrow", "opaque|tomorrow"},
		{"", "1795500000", "opaque|1795500000"},
		{"seconds", "3600", "bounded|1h"},
		{"seconds", "0", "standing|"},
		{"seconds", "-1", "standing|"},
		{"seconds", "1e30", "standing|"},
		{"seconds", "NaN", "standing|"},
		{"seconds", "soon", "opaque|soon"},
		{"days", "7", "bounded|168h"},
		{"days", "400", "standing|"},
		{"months", "3", "bounded|2232h"},
		{"duration", "720h", "bounded|720h"},
		{"duration", "8760h", "bounded|8760h"},
		{"duration", "17520h", "standing|"},
		{"duration", "3600", "bounded|1h"},
		{"duration", "30d", "bounded|720h"},
		{"duration", "2w", "bounded|336h"},
		{"duration", "2y", "standing|"},
		{"duration", "P1DT2H", "bounded|26h"},
		{"duration", "P2W", "bounded|336h"},
		{"duration", "P99999999999999999999Y", "standing|"},
		{"duration", "P99999999999999999999YT1H", "standing|"},
		{"duration", "P", "standing|"},
		{"duration", "forever", "standing|"},
		{"duration", "a while", "opaque|a while"},
	} {
		b := ending{kind: c.kind}.judge(now, "x", Value{Text: c.text})
		if got := string(b.class) + "|" + b.end.Text; got != c.want {
			t.Errorf("%q of kind %q: got %s, want %s (%s)", c.text, c.kind, got, c.want, b.why)
		}
		if b.why == "" {
			t.Errorf("%q of kind %q is %s without a reason", c.text, c.kind, b.class)
		}
	}
}
