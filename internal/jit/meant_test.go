package jit

import (
	"strings"
	"testing"
)

// Who writes a duration as elsewhere is told what to write, and that is a duration.
func TestDurationsOfElsewhere(t *testing.T) {
	for text, want := range map[string]string{
		"PT8H": "8h", "P1D": "1d", "P1W": "7d", "P1DT12H": "1d12h", "PT1H30M": "1h30m", "pt8h": "8h", "1w": "7d",
		"2W": "14d",
		"8H": "8h", "8 hours": "8h", "8hrs": "8h", "1 hour": "1h", "30min": "30m", "2 days": "2d", "1.5h": "1h30m",
		"1h 30m": "1h30m", "30m1h": "1h30m", "1 day, 12 hours": "1d12h", "1 day and 2 hours": "1d2h",
		"1h ": "1h",
	} {
		_, err := ParseTTL(text)
		if err == nil || !strings.Contains(err.Error(), `write ttl = "`+want+`"`) {
			t.Errorf("%q: %v; want %s", text, err, want)
		}
		if _, err := ParseTTL(want); err != nil {
			t.Errorf("%q leads to %q: %v", text, want, err)
		}
	}
	for _, text := range []string{"never", "30M", "1y", "1 month", "P1M", "P1Y", "P", "PT", "90", "-5m", "PT0S", "h",
		"1h-5m",
		"999999999w", "0.0001s"} {
		if _, err := ParseTTL(text); err == nil || !strings.Contains(err.Error(), "write for example ttl") {
			t.Errorf("%q: %v; want an example only", text, err)
		}
	}
}

// Who writes a time as elsewhere is told what to write. A time without a zone may be meant in any.
func TestTimesOfElsewhere(t *testing.T) {
	for text, want := range map[string]string{
		"2026-12-31": "2026-12-31T00:00:00Z", "2026-12-31 18:00": "2026-12-31T18:00:00Z",
		"2026-12-31T18:00:00": "2026-12-31T18:00:00Z", "31.12.2026": "2026-12-31T00:00:00Z",
		"31.12.2026 18:00": "2026-12-31T18:00:00Z", " 2026-12-31 ": "2026-12-31T00:00:00Z",
	} {
		_, err := ParseTime("expires_at", text)
		if err == nil || !strings.Contains(err.Error(), `write expires_at = "`+want+`" if that is the time in UTC`) ||
			!strings.Contains(err.Error(), "+01:00") {
			t.Errorf("%q: %v; want %s, and a word on the zone", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"2026-12-31T18:00Z": "2026-12-31T18:00:00Z", "2026-12-31 18:00:00Z": "2026-12-31T18:00:00Z",
		"2026-12-31 18:00 UTC": "2026-12-31T18:00:00Z", "2026-12-31 18:00:00 +0100": "2026-12-31T18:00:00+01:00",
		"2026-12-31T18:00+01:00":          "2026-12-31T18:00:00+01:00",
		"Thu, 31 Dec 2026 18:00:00 +0100": "2026-12-31T18:00:00+01:00",
	} {
		_, err := ParseTime("starts_at", text)
		if err == nil || !strings.HasSuffix(err.Error(), `write starts_at = "`+want+`"`) {
			t.Errorf("%q: %v; want %s", text, err, want)
		}
		if _, err := ParseTime("starts_at", want); err != nil {
			t.Errorf("%q leads to %q: %v", text, want, err)
		}
	}
	for _, text := range []string{"", "never", "12/11/2026", "1798732800", "2027-02-29", "18:00"} {
		if _, err := ParseTime("expires_at", text); err == nil || !strings.Contains(err.Error(), "write for example") {
			t.Errorf("%q: %v; want an example only", text, err)
		}
	}
}
