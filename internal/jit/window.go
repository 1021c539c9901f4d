package jit

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Window is the half-open time [Start, End) in which a grant gives access. Both
// are whole UTC seconds.
type Window struct {
	Start time.Time `json:"starts_at"`
	End   time.Time `json:"expires_at"`
}

// Contains reports whether access is given at t.
func (w Window) Contains(t time.Time) bool { return !t.Before(w.Start) && t.Before(w.End) }

// Over reports whether the window lies behind t.
func (w Window) Over(t time.Time) bool { return !t.Before(w.End) }

// Length is the time from Start to End.
func (w Window) Length() time.Duration { return w.End.Sub(w.Start) }

// Equal compares the instants.
func (w Window) Equal(o Window) bool { return w.Start.Equal(o.Start) && w.End.Equal(o.End) }

// Second cuts t down to a whole UTC second, the resolution of every window.
func Second(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}

// MinTTL is the shortest grant; DefaultMaxTTL the longest when the configuration sets no max_ttl.
const (
	MinTTL        = time.Minute
	DefaultMaxTTL = 24 * time.Hour
)

const ttlHint = `write for example ttl = "90m", "8h", "2d" or "1d12h"`

// TTL is how long a grant lasts, with its text as the user wrote it. The zero value is none.
type TTL struct {
	text   string
	length time.Duration
}

// ParseTTL reads a TTL: whole numbers of d, h, m and s, largest first, each at most once ("1d12h"), at least [MinTTL].
func ParseTTL(s string) (TTL, error) {
	d, err := ParseDuration("ttl", s)
	if err != nil {
		return TTL{}, err
	}
	if d < MinTTL {
		return TTL{}, Invalid("ttl", ttlHint, "%q is too short; a grant lasts at least %s", s, FormatDuration(MinTTL))
	}
	return TTL{s, d}, nil
}

// RecordedTTL returns the TTL that a ledger holds; it may be shorter than [MinTTL].
func RecordedTTL(text string) TTL {
	length, _ := ParseDuration("ttl", text)
	return TTL{text, length}
}

// Length returns the duration.
func (t TTL) Length() time.Duration { return t.length }

// String returns the text; empty for none.
func (t TTL) String() string { return t.text }

// IsZero reports whether there is none.
func (t TTL) IsZero() bool { return t == TTL{} }

// MarshalText writes the text.
func (t TTL) MarshalText() ([]byte, error) { return []byte(t.text), nil }

// UnmarshalText reads what MarshalText wrote, as [RecordedTTL] does.
func (t *TTL) UnmarshalText(text []byte) error {
	*t = RecordedTTL(string(text))
	return nil
}

// ParseDuration reads a duration as [ParseTTL] does, zero included. Errors name attribute.
func ParseDuration(attribute, s string) (time.Duration, error) {
	units := []struct {
		letter byte
		size   time.Duration
	}{{'d', 24 * time.Hour}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}
	hint := strings.Replace(ttlHint, "ttl =", attribute+" =", 1)
	bad := func() (time.Duration, error) {
		return 0, Invalid(attribute, hint,
			"%q is not a duration; it takes whole numbers of d, h, m and s, largest first", s)
	}
	if s == "" {
		return bad()
	}
	var total time.Duration
	rest, next := s, 0
	for rest != "" {
		digits := 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			digits++
		}
		if digits == 0 || digits == len(rest) {
			return bad()
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return bad()
		}
		for next < len(units) && units[next].letter != rest[digits] {
			next++
		}
		if next == len(units) {
			return bad()
		}
		size := units[next].size
		if n > int64((math.MaxInt64-total)/size) {
			return 0, Invalid(attribute, hint, "%q is longer than any calendar", s)
		}
		total += time.Duration(n) * size
		rest, next = rest[digits+1:], next+1
	}
	return total, nil
}

// FormatDuration writes d as [ParseDuration] reads it, cut down to whole seconds: "1d12h",
// "90m" becomes "1h30m", zero is "0s". What is below zero is written with a minus, for messages.
func FormatDuration(d time.Duration) string {
	d = d.Truncate(time.Second) // also makes the least of all durations one that can be negated
	if d < 0 {
		return "-" + FormatDuration(-d)
	}
	var b strings.Builder
	for _, u := range []struct {
		letter string
		size   time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if n := int64(d / u.size); n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.letter)
			d %= u.size
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

// timeForm is RFC 3339 as far as time.Parse takes more: one digit for the hour, a comma
// before the fraction, offsets of a day and longer.
var timeForm = regexp.MustCompile(`T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`)

// ParseTime reads an RFC 3339 instant in whole seconds; errors name attribute.
func ParseTime(attribute, s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || !timeForm.MatchString(s) {
		return time.Time{}, Invalid(attribute, fmt.Sprintf(`write for example %s = "2026-11-23T18:00:00Z"`, attribute), "%q is not an RFC 3339 time", s)
	}
	if t.Nanosecond() != 0 {
		return time.Time{}, Invalid(attribute, "leave out the fraction", "%q has a fraction of a second; windows are whole seconds", s)
	}
	t = t.UTC() // first: an offset can move the year
	if t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}, Invalid(attribute, "write a year from 1970 to 9999", "%q lies outside the calendar", s)
	}
	return t, nil
}

// FormatTime writes t in RFC 3339, UTC, whole seconds; the zero time is "".
func FormatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
