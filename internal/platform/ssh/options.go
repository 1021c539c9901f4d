package ssh

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// noShell is the command of a port-forward line, which runs in place of a shell or any command. Every shell
// understands it.
const noShell = "echo this key is for port forwarding only; exit 1"

// noListen prevents a port-forward line from opening a port on the host: sshd lets it listen on this name only, which
// never matches, because sshd compares it with a name in lower case (remote_open_match).
const noListen = "NOWHERE:1"

// expiryForm is sshd's form of a time; with the Z it is UTC (since 9.1), without it the host's local time.
const expiryForm = "20060102150405"

// options writes the options of a line, in a fixed order. A zero end writes no expiry-time. sshd admits the key while
// now <= expiry-time (auth_authorise_keyopts: "valid_before < now" is expired), so expiry-time is the last second
// inside the window.
func (r role) options(end time.Time) string {
	var all []string
	switch {
	case r.command != "":
		all = append(all, "restrict", "command="+quote(r.command))
	case r.forward != "":
		// sshd has no option against forwarding of Unix sockets: with port-forwarding a key can open and reach the
		// sockets that the account may open, unless sshd_config says AllowStreamLocalForwarding no.
		all = append(all, "restrict", "port-forwarding", "permitopen="+quote(r.forward),
			"permitlisten="+quote(noListen), "command="+quote(noShell))
	}
	if !end.IsZero() {
		all = append(all, "expiry-time="+quote(end.Add(-time.Second).UTC().Format(expiryForm)+"Z"))
	}
	return strings.Join(all, ",")
}

// quote writes a value as opt_dequote of sshd reads it: only quotes are escaped.
func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

// options is the meaning of a line's options for sshd.
type options struct {
	restrict, forwarding, authority bool
	command                         string
	hasCommand                      bool
	permitOpen                      []string
	// end is the first moment without access; zero when there is no expiry-time.
	end time.Time
}

// role is the nearest of our roles.
func (o options) role() role {
	switch {
	case !o.hasCommand:
		return role{}
	case o.command == noShell && o.restrict && o.forwarding && len(o.permitOpen) == 1:
		return role{forward: o.permitOpen[0]}
	}
	return role{command: o.command}
}

// flags holds the options without a value; true means that they may begin with "no-".
var flags = map[string]bool{
	"restrict": false, "cert-authority": false,
	"port-forwarding": true, "agent-forwarding": true, "x11-forwarding": true,
	"touch-required": true, "verify-required": true, "pty": true, "user-rc": true,
}

// onlyOnce holds the options that sshd refuses to read twice.
var onlyOnce = map[string]bool{"command": true, "from": true, "principals": true}

// parseOptions reads options as sshauthopt_parse of sshd does. An error means that sshd ignores the whole line. Values
// without an effect here are not checked, so that a line counts if in doubt.
func parseOptions(s string) (options, error) {
	var o options
	seen := map[string]bool{}
	for s != "" {
		n := strings.IndexAny(s+",", "=,")
		name := strings.ToLower(s[:n])
		rest, err := o.option(name, s[n:])
		if seen[name] && onlyOnce[name] {
			err = errors.New("given twice")
		}
		if err != nil {
			return options{}, fmt.Errorf("%s: %w", name, err)
		}
		seen[name], s = true, strings.TrimPrefix(rest, ",")
	}
	return o, nil
}

// option reads one option; s is the text after its name.
func (o *options) option(name, s string) (rest string, err error) {
	written, ok := strings.CutPrefix(s, "=")
	if !ok {
		return s, o.flag(name)
	}
	value, rest, err := dequote(written)
	if err != nil {
		return "", err
	}
	return rest, o.value(name, value)
}

func (o *options) flag(name string) error {
	positive, negated := strings.CutPrefix(name, "no-")
	negatable, known := flags[positive]
	if name != "" && (!known || negated && !negatable) {
		return errors.New("unknown option")
	}
	switch positive {
	case "restrict":
		o.restrict, o.forwarding = true, false
	case "cert-authority":
		o.authority = true
	case "port-forwarding":
		o.forwarding = !negated
	}
	return nil
}

func (o *options) value(name, value string) error {
	switch name {
	case "command":
		o.command, o.hasCommand = value, true
	case "expiry-time":
		last, err := parseExpiry(value)
		if err != nil {
			return err
		}
		o.expire(last.Add(time.Second))
	case "permitopen":
		o.permitOpen = append(o.permitOpen, value)
	case "from", "principals", "permitlisten", "environment", "tunnel":
	default:
		return errors.New("unknown option")
	}
	return nil
}

// latest is the last time that a record can hold: RFC 3339 has four digits for the year.
var latest = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// expire sets the end. The earliest of several counts.
func (o *options) expire(end time.Time) {
	for _, earlier := range []time.Time{latest, o.end} {
		if !earlier.IsZero() && earlier.Before(end) {
			end = earlier
		}
	}
	o.end = end
}

// expiryDigits captures a date, perhaps with hours and minutes, perhaps with seconds, and the zone.
var expiryDigits = regexp.MustCompile(`^(?i)([\d \t\v\f]{8}(?:[\d \t\v\f]{4}(?:[\d \t\v\f]{2})?)?)(Z|UTC)?$`)

// expiryFields are year, month, day, hour, minute and second, with the limits of strptime.
var expiryFields = [...]struct{ width, least, most int }{
	{4, 0, 9999}, {2, 1, 12}, {2, 1, 31}, {2, 0, 23}, {2, 0, 59}, {2, 0, 61},
}

// parseExpiry reads the last moment of access as parse_absolute_time of sshd does: strptime accepts blanks in place of
// leading zeros, 31 days in every month and 61 seconds; a surplus carries over.
func parseExpiry(s string) (time.Time, error) {
	m := expiryDigits.FindStringSubmatch(s)
	if m == nil {
		return time.Time{}, fmt.Errorf("%q is not a time", s)
	}
	digits, where := m[1], time.Local
	if m[2] != "" {
		where = time.UTC
	}
	var v [len(expiryFields)]int
	for i, f := range expiryFields {
		if digits == "" {
			break
		}
		n, err := strconv.Atoi(strings.TrimLeft(digits[:f.width], " \t\v\f"))
		if err != nil || n < f.least || n > f.most {
			return time.Time{}, fmt.Errorf("%q is not a time", s)
		}
		v[i], digits = n, digits[f.width:]
	}
	t := time.Date(v[0], time.Month(v[1]), v[2], v[3], v[4], v[5], 0, where).UTC()
	if t.Unix() <= 0 {
		return time.Time{}, fmt.Errorf("%q is not after 1970", s)
	}
	return t, nil
}

// quoted captures a quoted value. A quote after backslashes is part of the value.
var quoted = regexp.MustCompile(`^"((?:[^"\\]|\\+[^\\])*)"`)

// dequote reads a quoted value at the beginning of s.
func dequote(s string) (value, rest string, err error) {
	m := quoted.FindStringSubmatch(s)
	if m == nil {
		return "", "", errors.New("the value has no quotes around it")
	}
	rest = s[len(m[0]):]
	if rest != "" && rest[0] != ',' {
		return "", "", errors.New("something follows the closing quote")
	}
	return strings.ReplaceAll(m[1], `\"`, `"`), rest, nil
}
