package azure

import (
	"cmp"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// durationForm captures days, and a time that [time.ParseDuration] reads in lower case.
var durationForm = regexp.MustCompile(`^P(?:(\d{1,4})D)?(?:T((?:\d{1,6}H)?(?:\d{1,8}M)?(?:\d{1,9}S)?))?$`)

// parseDuration reads a duration as PIM writes it, such as PT8H (ISO 8601); ok is false for months and years, which
// have no fixed length.
func parseDuration(s string) (d time.Duration, ok bool) {
	m := durationForm.FindStringSubmatch(s)
	if m == nil || m[1]+m[2] == "" {
		return 0, false
	}
	days, err := strconv.Atoi(cmp.Or(m[1], "0"))
	rest, unreadable := time.ParseDuration(cmp.Or(strings.ToLower(m[2]), "0"))
	return time.Duration(days)*24*time.Hour + rest, errors.Join(err, unreadable) == nil
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
