package jit

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	// isoDuration is a duration of ISO 8601 without months and years, which have no fixed length.
	isoDuration = regexp.MustCompile(
		`^P(?:(\d{1,6})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,6})S)?)?$`)
	// wordedDuration is one or several numbers with their units, and durationPart one of them.
	wordedDuration = regexp.MustCompile(`^(?:` + durationPart.String() + `)+$`)
	durationPart   = regexp.MustCompile(
		`(\d{1,6}(?:\.\d{1,3})?) *(weeks?|w|days?|d|hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s)(?:, *| +and +| *)`)
)

// isoUnits are the units of [isoDuration], in its order, and unitOf the unit of the first letter of a word.
var (
	isoUnits = []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second}
	unitOf   = map[byte]time.Duration{'w': isoUnits[0], 'd': isoUnits[1], 'h': isoUnits[2], 'm': isoUnits[3],
		's': isoUnits[4]}
)

// meantDuration returns what people mean who write a duration as elsewhere: PT8H, 1w, 1.5h, 8 hours, 1h 30m. It returns
// zero for all else, also for 30M, which may be months.
func meantDuration(s string) (d time.Duration) {
	if parts := isoDuration.FindStringSubmatch(strings.ToUpper(s)); parts != nil {
		for i, unit := range isoUnits {
			n, _ := strconv.Atoi("0" + parts[i+1])
			d += time.Duration(n) * unit
		}
		return d
	}
	lower := strings.ToLower(s)
	if strings.HasSuffix(s, "M") || !wordedDuration.MatchString(lower) {
		return 0
	}
	for _, part := range durationPart.FindAllStringSubmatch(lower, -1) {
		n, _ := strconv.ParseFloat(part[1], 64)
		d += time.Duration(math.Round(n * float64(unitOf[part[2][0]])))
	}
	return d.Truncate(time.Second)
}

// withZone are forms of a time that name the offset from UTC, withoutZone forms that do not.
var (
	withZone = []string{"2006-01-02T15:04Z07:00", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04Z07:00",
		"2006-01-02 15:04:05 Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04 -0700",
		time.RFC1123Z}
	withoutZone = []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04",
		time.DateOnly, "02.01.2006", "02.01.2006 15:04"}
)

// meantTime returns what people mean who write a time as elsewhere, in RFC 3339; empty if that is unclear. If the text
// names no time zone, the time is taken to be UTC, and local is true.
func meantTime(s string) (written string, local bool) {
	s = strings.TrimSpace(s)
	for _, utc := range []string{" UTC", " GMT"} {
		if whole, ok := strings.CutSuffix(s, utc); ok {
			s = whole + "Z"
		}
	}
	for _, form := range withZone {
		if t, err := time.Parse(form, s); err == nil {
			return t.Format(time.RFC3339), false
		}
	}
	for _, form := range withoutZone {
		if t, err := time.Parse(form, s); err == nil {
			return t.Format(time.RFC3339), true
		}
	}
	return "", false
}

// anyTime returns a time in any form that people write, in RFC 3339; empty for all else.
func anyTime(s string) string {
	if _, err := ParseTime("", s); err == nil {
		return s
	}
	meant, _ := meantTime(s)
	return meant
}
