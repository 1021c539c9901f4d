package jit

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// wantInvalid checks that err is a refusal of attribute with everything a user needs.
func wantInvalid(t *testing.T, err error, attribute string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, ErrInvalid) || e.Attribute != attribute || e.Problem == "" ||
		e.Hint == "" {
		t.Errorf("got %v, want an ErrInvalid about %s with a problem and a hint", err, attribute)
	}
}

func TestParseTTL(t *testing.T) {
	const day = 24 * time.Hour
	for s, want := range map[string]time.Duration{
		"90m": 90 * time.Minute, "8h": 8 * time.Hour, "2d": 2 * day, "1d12h": 36 * time.Hour, "1d1h1m1s": day +
			time.Hour + time.Minute + time.Second,
		"1m": time.Minute, "60s": time.Minute, "007h": 7 * time.Hour, "106751d": 106751 * day, "1d0h": day,
	} {
		if got, err := ParseTTL(s); err != nil || got.Length() != want || got.String() != s {
			t.Errorf("ParseTTL(%q) = %s, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "0", "0s", "59s", "-5m", "+5m", "never", "1y", "1w", "1M", "1h1d", "1h1h", "1.5h", "1,5h", "1e3s", "0x10h",
		"99999999999d", "106752d",
		"9223372036854775807s", "99999999999999999999d", " 1h", "1h ", "1 h", "1h\n", "h", "1", "1h30", "٣h", "1０h",
		"1H", "1ms", "inf", "null", "--1h", "1h-5m", "\x00",
	} {
		got, err := ParseTTL(s)
		if err == nil {
			t.Errorf("ParseTTL(%q) = %s, want an error", s, got)
			continue
		}
		wantInvalid(t, err, "ttl")
	}
}

func TestParseDurationNamesItsAttribute(t *testing.T) {
	if d, err := ParseDuration("max_session_tail", "0s"); d != 0 || err != nil {
		t.Errorf(`ParseDuration("0s") = %s, %v; want zero`, d, err)
	}
	for _, s := range []string{"x", "99999999999d"} {
		_, err := ParseDuration("max_ttl", s)
		wantInvalid(t, err, "max_ttl")
		if !strings.Contains(err.Error(), `max_ttl = "90m"`) {
			t.Errorf("ParseDuration(%q): %v; want a hint for max_ttl", s, err)
		}
	}
}

// TestEndsNameEachOther: a time in ttl and a duration in expires_at belong into the other attribute.
func TestEndsNameEachOther(t *testing.T) {
	for _, s := range []string{"2026-12-01", "2026-12-01T18:00:00Z"} {
		if _, err := ParseTTL(s); err == nil || !strings.Contains(err.Error(), "write expires_at = \"2026-12-01T") {
			t.Errorf("ttl = %q: %v", s, err)
		}
	}
	for attribute, other := range map[string]string{"expires_at": "ttl", "starts_at": ""} {
		for s, d := range map[string]string{"8h": "8h", "PT8H": "8h", "1 week": "7d"} {
			_, err := ParseTime(attribute, s)
			if err == nil || strings.Contains(err.Error(), "write ttl = \""+d+"\"") != (other != "") {
				t.Errorf("%s = %q: %v", attribute, s, err)
			}
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 90 * time.Minute: "1h30m", 36 * time.Hour: "1d12h", 24*time.Hour +
			time.Second: "1d1s",
		1999 * time.Millisecond: "1s", -time.Hour: "-1h", -1: "0s", math.MaxInt64: "106751d23h47m16s",
		math.MinInt64: "-106751d23h47m16s",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%d) = %q, want %q", d, got, want)
		}
	}
	if FormatTail(Unlimited) != "unlimited" || FormatTail(12*time.Hour) != "12h" || FormatTail(0) != "0s" {
		t.Errorf("FormatTail = %q, %q, %q", FormatTail(Unlimited), FormatTail(12*time.Hour), FormatTail(0))
	}
}

func FuzzParseTTL(f *testing.F) {
	for _, s := range []string{"90m", "1d12h", "1h1d", "0s", "-5m", "99999999999d", "1.5h", "٣h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ttl, err := ParseTTL(s)
		d := ttl.Length()
		if err != nil {
			if d != 0 {
				t.Errorf("ParseTTL(%q) = %s with the error %v", s, d, err)
			}
			wantInvalid(t, err, "ttl")
			return
		}
		if d < MinTTL || d%time.Second != 0 {
			t.Errorf("ParseTTL(%q) = %s", s, d)
		}
		if strings.Trim(s, "0123456789dhms") != "" {
			t.Errorf("ParseTTL accepts %q", s)
		}
		if again, err := ParseTTL(FormatDuration(d)); err != nil || again.Length() != d {
			t.Errorf("%q is %s, written %q, read again %s, %v", s, d, FormatDuration(d), again, err)
		}
	})
}

func TestParseTime(t *testing.T) {
	six := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"2026-11-23T18:00:00Z": six, "2026-11-23T19:00:00+01:00": six, "2026-11-23T18:00:00-00:00": six,
		"2026-11-23T18:00:00.000Z": six,
		"1970-01-01T00:00:00Z":     time.Unix(0, 0), "9999-12-31T23:59:59Z": time.Date(9999, 12, 31, 23, 59, 59, 0,
			time.UTC),
		"2028-02-29T00:00:00Z": time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC),
	} {
		got, err := ParseTime("expires_at", s)
		if err != nil || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("ParseTime(%q) = %s, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "never", "2026-11-23", "2026-11-23 18:00:00Z", "2026-11-23T18:00:00", "2026-11-23T18:00Z",
		"2026-11-23T8:00:00Z", "2026-11-23T24:00:00Z",
		"2026-11-23T18:00:60Z", "2027-02-29T00:00:00Z", "2026-11-23T18:00:00.5Z", "2026-11-23T18:00:00,0Z",
		"2026-11-23T18:00:00+24:00", "2026-11-23T18:00:00+01:60",
		"1969-12-31T23:59:59Z", "1970-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00Z",
		"10000-01-01T00:00:00Z", " 2026-11-23T18:00:00Z", "1763920800",
	} {
		got, err := ParseTime("expires_at", s)
		if err == nil {
			t.Errorf("ParseTime(%q) = %s, want an error", s, got)
			continue
		}
		wantInvalid(t, err, "expires_at")
	}
	if got := FormatTime(time.Time{}); got != "" {
		t.Errorf("FormatTime of the zero time = %q", got)
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2026-11-23T18:00:00Z", "2026-11-23T19:00:00+01:00", "9999-12-31T23:59:59-23:59",
		"2026-11-23T18:00:00.5Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTime("starts_at", s)
		if err != nil {
			wantInvalid(t, err, "starts_at")
			return
		}
		if !got.Equal(Second(got)) || got.Location() != time.UTC || got.Unix() < 0 || got.Year() > 9999 {
			t.Errorf("ParseTime(%q) = %s, which is no whole UTC second of the calendar", s, got)
		}
		if again, err := ParseTime("starts_at", FormatTime(got)); err != nil || !again.Equal(got) {
			t.Errorf("%q, written %q, read again %s, %v", s, FormatTime(got), again, err)
		}
	})
}

func TestWindow(t *testing.T) {
	start := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	w := Window{start, start.Add(time.Hour)}
	for _, tc := range []struct {
		at             time.Time
		contains, over bool
	}{
		{start.Add(-1), false, false},
		{start, true, false},
		{start.Add(time.Hour - 1), true, false},
		{start.Add(time.Hour), false, true},
		{start.Add(time.Hour).In(time.FixedZone("", 3600)), false, true},
	} {
		if w.Contains(tc.at) != tc.contains || w.Over(tc.at) != tc.over {
			t.Errorf("at %s: contains %t, over %t; want %t, %t", tc.at, w.Contains(tc.at), w.Over(tc.at), tc.contains,
				tc.over)
		}
	}
	elsewhere := Window{start.In(time.FixedZone("", 3600)), w.End}
	if w.Length() != time.Hour || !w.Equal(elsewhere) || w.Equal(Window{start, start}) ||
		w.Equal(Window{w.End, w.End}) {
		t.Errorf("Length = %s, Equal = %t", w.Length(), w.Equal(elsewhere))
	}
	if got := Second(start.Add(999 * time.Millisecond).In(time.FixedZone("", 3600))); got != start {
		t.Errorf("Second = %s, want %s", got, start)
	}
	if got := Second(time.Time{}.In(time.FixedZone("", 3600))); got != (time.Time{}) {
		t.Errorf("Second of the zero time = %v", got)
	}
}
