package jit

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Window is the half-open time [Start, End) in which a grant gives access. Both are whole UTC seconds.
type Window struct {
	Start time.Time `json:"starts_at"`
	End   time.Time `json:"expires_at"`
}

// Contains reports whether access is given at t.
func (w Window) Contains(t time.Time) bool { return !t.Before(w.Start) && t.Before(w.End) }

// Over reports whether the window has ended by t.
func (w Window) Over(t time.Time) bool { return !t.Before(w.End) }

// Length returns the time from Start to End.
func (w Window) Length() time.Duration { return w.End.Sub(w.Start) }

// Equal compares the instants.
func (w Window) Equal(o Window) bool { return w.Start.Equal(o.Start) && w.End.Equal(o.End) }

// Second truncates t to a whole UTC second, the resolution of every window.
func Second(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}

// MinTTL is the length of the shortest grant, DefaultMaxTTL of the longest if the configuration sets no max_ttl.
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
		if at := anyTime(s); at != "" {
			return TTL{}, Invalid("ttl", fmt.Sprintf("write expires_at = %q in place of ttl", at),
				"%q is a time; ttl is a duration", s)
		}
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

// units are the units of durations, the largest first.
var units = []struct {
	letter string
	size   time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}

var durationForm = regexp.MustCompile(`^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$`)

// ParseDuration reads a duration as [ParseTTL] does, zero included. Errors name attribute.
func ParseDuration(attribute, s string) (time.Duration, error) {
	d, problem := readDuration(s)
	if problem == "" {
		return d, nil
	}
	name := attribute[strings.LastIndex(attribute, ".")+1:]
	hint := strings.Replace(ttlHint, "ttl =", name+" =", 1)
	if d := meantDuration(s); d > 0 {
		hint = fmt.Sprintf("write %s = %q", name, FormatDuration(d))
	}
	return 0, Invalid(attribute, hint, "%q %s", s, problem)
}

// readDuration reads a duration, or says what is wrong with it.
func readDuration(s string) (total time.Duration, problem string) {
	const invalid = "is not a duration; it takes whole numbers of d, h, m and s, largest first"
	parts := durationForm.FindStringSubmatch(s)
	if s == "" || parts == nil {
		return 0, invalid
	}
	for i, u := range units {
		number, given := strings.CutSuffix(parts[i+1], u.letter)
		if !given {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return 0, invalid
		}
		if n > int64((math.MaxInt64-total)/u.size) {
			return 0, "is longer than any calendar"
		}
		total += time.Duration(n) * u.size
	}
	return total, ""
}

// FormatDuration writes d as [ParseDuration] reads it, truncated to seconds: "1d12h", "1h30m", "0s". A negative
// duration gets a minus sign, for messages.
func FormatDuration(d time.Duration) string {
	d = d.Truncate(time.Second) // also makes the least duration one that can be negated
	if d < 0 {
		return "-" + FormatDuration(-d)
	}
	text := ""
	for _, u := range units {
		if n := int64(d / u.size); n > 0 {
			text += strconv.FormatInt(n, 10) + u.letter
			d %= u.size
		}
	}
	return cmp.Or(text, "0s")
}

// timeForm refuses forms that time.Parse accepts beyond RFC 3339: an hour of one digit, a comma before the fraction,
// offsets of a day or longer.
var timeForm = regexp.MustCompile(`T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`)

// ParseTime reads an RFC 3339 instant in whole seconds; errors name attribute.
func ParseTime(attribute, s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || !timeForm.MatchString(s) {
		hint := fmt.Sprintf(`write for example %s = "2026-11-23T18:00:00Z"`, attribute)
		if meant, local := meantTime(s); local {
			hint = fmt.Sprintf("write %s = %q if that is the time in UTC; else write its offset from UTC in place of Z, "+
				"such as +01:00", attribute, meant)
		} else if meant != "" {
			hint = fmt.Sprintf("write %s = %q", attribute, meant)
		} else if d := meantDuration(s); d > 0 && attribute == "expires_at" {
			hint = fmt.Sprintf("write ttl = %q in place of expires_at", FormatDuration(d))
		}
		return time.Time{}, Invalid(attribute, hint, "%q is not an RFC 3339 time", s)
	}
	if t.Nanosecond() != 0 {
		return time.Time{}, Invalid(attribute, "leave out the fraction",
			"%q has a fraction of a second; windows are whole seconds", s)
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
