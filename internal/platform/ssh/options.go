package ssh

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// noShell is the command of a port-forward line: whoever asks for a shell or a
// command gets this instead. Every shell understands it.
const noShell = "echo this key is for port forwarding only; exit 1"

// noListen keeps a port-forward line from opening a port on the host: sshd admits
// listening on this name alone, and compares it with the name that is asked for in
// lower case (remote_open_match), which it never is.
const noListen = "NOWHERE:1"

// expiryForm is sshd's form of a time; with the Z it is UTC (since 9.1), without it the host's local time.
const expiryForm = "20060102150405"

// options writes the options of a line, in the fixed order. A zero end writes none.
// sshd admits the key while now <= expiry-time (auth_authorise_keyopts: "valid_before
// < now" is expired), so what is written is the last second inside the window.
func (r role) options(end time.Time) string {
	var all []string
	switch {
	case r.command != "":
		all = append(all, "restrict", "command="+quote(r.command))
	case r.forward != "":
		// sshd has no option against forwarding of Unix sockets: with port-forwarding a key can open and
		// reach the sockets that the account may open, unless sshd_config says AllowStreamLocalForwarding no.
		all = append(all, "restrict", "port-forwarding", "permitopen="+quote(r.forward), "permitlisten="+quote(noListen), "command="+quote(noShell))
	}
	if !end.IsZero() {
		all = append(all, "expiry-time="+quote(end.Add(-time.Second).UTC().Format(expiryForm)+"Z"))
	}
	return strings.Join(all, ",")
}

// quote writes a value as opt_dequote of sshd reads it: a quote is escaped, nothing else is.
func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

// options are what sshd makes of the options of a line.
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

// flags are the options without a value; those that allow a no- before them are true.
var flags = map[string]bool{
	"restrict": false, "cert-authority": false, "port-forwarding": true, "agent-forwarding": true, "x11-forwarding": true,
	"touch-required": true, "verify-required": true, "pty": true, "user-rc": true,
}

// parseOptions reads options as sshauthopt_parse of sshd does. An error means that
// sshd ignores the whole line; values that have no effect on us are not looked into, so
// that in doubt a line counts.
func parseOptions(s string) (options, error) {
	var o options
	seen := map[string]bool{}
	for s != "" {
		n := strings.IndexAny(s, `=,`)
		if n < 0 {
			n = len(s)
		}
		name := strings.ToLower(s[:n])
		s = s[n:]
		if !strings.HasPrefix(s, "=") {
			if err := o.flag(name); err != nil {
				return options{}, err
			}
		} else {
			value, rest, err := dequote(s[1:])
			if err == nil {
				err = o.value(name, value, seen[name])
			}
			if err != nil {
				return options{}, fmt.Errorf("%s: %w", name, err)
			}
			seen[name], s = true, rest
		}
		s = strings.TrimPrefix(s, ",")
	}
	return o, nil
}

func (o *options) flag(name string) error {
	positive := strings.TrimPrefix(name, "no-")
	negatable, known := flags[positive]
	if !known && name != "" || positive != name && !negatable {
		return fmt.Errorf("unknown option %q", name)
	}
	switch positive {
	case "restrict":
		o.restrict, o.forwarding = true, false
	case "cert-authority":
		o.authority = true
	case "port-forwarding":
		o.forwarding = positive == name
	}
	return nil
}

func (o *options) value(name, value string, again bool) error {
	switch name {
	case "command":
		o.command, o.hasCommand = value, true
		if again {
			return errors.New("given twice")
		}
	case "from", "principals":
		if again {
			return errors.New("given twice")
		}
	case "expiry-time":
		last, err := parseExpiry(value)
		if err != nil {
			return err
		}
		end := last.Add(time.Second)
		if end.After(latest) {
			end = latest
		}
		// The earliest of several counts.
		if o.end.IsZero() || end.Before(o.end) {
			o.end = end
		}
	case "permitopen":
		o.permitOpen = append(o.permitOpen, value)
	case "permitlisten", "environment", "tunnel":
	default:
		return errors.New("unknown option")
	}
	return nil
}

// parseExpiry reads the last moment of access as parse_absolute_time of sshd does: strptime lets blanks stand for
// leading zeros and knows 31 days in every month and 61 seconds, and what is too many of them runs over into the next.
func parseExpiry(s string) (time.Time, error) {
	digits, where := s, time.Local
	for _, suffix := range []string{"Z", "UTC"} {
		if n := len(s) - len(suffix); n > 0 && strings.EqualFold(s[n:], suffix) {
			digits, where = s[:n], time.UTC
			break
		}
	}
	if n := len(digits); n != len("20060102") && n != len("200601021504") && n != len(expiryForm) {
		return time.Time{}, fmt.Errorf("%q is not a time", s)
	}
	var v [len(expiryFields)]int
	for i, f := range expiryFields {
		if digits == "" {
			break
		}
		n, err := strconv.ParseUint(strings.TrimLeft(digits[:f.width], " \t\v\f"), 10, 16)
		if v[i] = int(n); err != nil || v[i] < f.least || v[i] > f.most {
			return time.Time{}, fmt.Errorf("%q is not a time", s)
		}
		digits = digits[f.width:]
	}
	t := time.Date(v[0], time.Month(v[1]), v[2], v[3], v[4], v[5], 0, where).UTC()
	if t.Unix() <= 0 {
		return time.Time{}, fmt.Errorf("%q is not after 1970", s)
	}
	return t, nil
}

// expiryFields are year, month, day, hour, minute and second, as strptime bounds them.
var expiryFields = [...]struct{ width, least, most int }{{4, 0, 9999}, {2, 1, 12}, {2, 1, 31}, {2, 0, 23}, {2, 0, 59}, {2, 0, 61}}

// latest is the last time that a record can hold: RFC 3339 has four digits for the year.
var latest = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// dequote reads a quoted value at the beginning of s.
func dequote(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		return "", "", errors.New("the value is not quoted")
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			rest = s[i+1:]
			if rest != "" && rest[0] != ',' {
				return "", "", errors.New("something follows the closing quote")
			}
			return b.String(), rest, nil
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == '"':
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", errors.New("the closing quote is missing")
}
