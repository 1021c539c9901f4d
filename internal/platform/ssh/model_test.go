package ssh

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// admission is the access of the line that lets a key in.
type admission struct {
	line       int
	restricted bool
	forwarding bool
	command    string
	forced     bool
	permitOpen []string
	expires    time.Time // last second
}

// admit decides as sshd does whether the file lets the key in at now. It transcribes auth_check_authkeys_file and
// auth_check_authkey_line (auth2-pubkeyfile.c), sshauthopt_parse (auth-options.c) and parse_absolute_time (misc.c) of
// OpenSSH, with sshd(8), AUTHORIZED_KEYS FILE FORMAT. It shares no code with the code under test.
func admit(file []byte, key ssh.PublicKey, now time.Time) (admission, bool) {
	for i, raw := range strings.SplitAfter(string(file), "\n") {
		if nul := strings.IndexByte(raw, 0); nul >= 0 {
			raw = raw[:nul]
		}
		cp := strings.TrimLeft(raw, " \t")
		if cp == "" || cp[0] == '\n' || cp[0] == '#' {
			continue
		}
		written := ""
		found, ok := sshkeyRead(cp, key.Type())
		if !ok {
			n, quoted := 0, false
			for n < len(cp) && (quoted || cp[n] != ' ' && cp[n] != '\t') {
				if cp[n] == '\\' && n+1 < len(cp) && cp[n+1] == '"' {
					n++
				} else if cp[n] == '"' {
					quoted = !quoted
				}
				n++
			}
			if n >= len(cp) && quoted {
				continue
			}
			n = min(n, len(cp))
			written = cp[:n]
			if found, ok = sshkeyRead(strings.TrimLeft(cp[n:], " \t"), key.Type()); !ok {
				continue
			}
		}
		opts, authority, ok := sshauthoptParse(written)
		if !ok || authority || found != string(key.Marshal()) {
			continue
		}
		// "if (opts->valid_before && now > 0 && opts->valid_before < (uint64_t)now)": expired.
		if !opts.expires.IsZero() && opts.expires.Unix() < now.Unix() {
			continue
		}
		opts.line = i + 1
		return opts, true
	}
	return admission{}, false
}

func sshkeyRead(cp, kind string) (blob string, ok bool) {
	if !strings.HasPrefix(cp, kind) || len(cp) == len(kind) || cp[len(kind)] != ' ' && cp[len(kind)] != '\t' {
		return "", false
	}
	cp = strings.TrimLeft(cp[len(kind):], " \t")
	if n := strings.IndexAny(cp, " \t"); n >= 0 {
		cp = cp[:n]
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.Map(func(r rune) rune {
		if strings.ContainsRune("\n\r\v\f", r) { // b64_pton skips white space
			return -1
		}
		return r
	}, cp))
	if err != nil {
		return "", false
	}
	key, err := ssh.ParsePublicKey(decoded)
	if err != nil || key.Type() != kind {
		return "", false
	}
	return string(decoded), true
}

func sshauthoptParse(opts string) (a admission, authority, ok bool) {
	flag := func(name string, negate bool) int {
		rest, value := opts, 1
		if negate && len(rest) >= 3 && strings.EqualFold(rest[:3], "no-") {
			rest, value = rest[3:], 0
		}
		if len(rest) >= len(name) && strings.EqualFold(rest[:len(name)], name) {
			opts = rest[len(name):]
			return value
		}
		return -1
	}
	bad := false
	value := func(name string) (string, bool) {
		if len(opts) <= len(name) || !strings.EqualFold(opts[:len(name)], name) || opts[len(name)] != '=' {
			return "", false
		}
		opts = opts[len(name)+1:]
		var v []byte
		if !strings.HasPrefix(opts, `"`) {
			bad = true
			return "", true
		}
		for i := 1; i < len(opts); i++ {
			if opts[i] == '"' {
				opts = opts[i+1:]
				return string(v), true
			}
			if opts[i] == '\\' && i+1 < len(opts) && opts[i+1] == '"' {
				i++
			}
			v = append(v, opts[i])
		}
		bad = true
		return "", true
	}
	seen := map[string]bool{}
	for opts != "" {
		matched := true
		if flag("restrict", false) >= 0 {
			a.restricted, a.forwarding = true, false
		} else if flag("cert-authority", false) >= 0 {
			authority = true
		} else if f := flag("port-forwarding", true); f >= 0 {
			a.forwarding = f == 1
		} else {
			matched = false
			for _, name := range []string{"agent-forwarding", "x11-forwarding", "touch-required", "verify-required",
				"pty", "user-rc"} {
				if flag(name, true) >= 0 {
					matched = true
					break
				}
			}
		}
		for _, name := range []string{"command", "principals", "from", "expiry-time", "environment", "permitopen",
			"permitlisten", "tunnel"} {
			if matched {
				break
			}
			v, is := value(name)
			if !is {
				continue
			}
			matched = true
			switch name {
			case "command":
				a.command, a.forced = v, true
			case "permitopen":
				a.permitOpen = append(a.permitOpen, v)
			case "expiry-time":
				t, valid := parseAbsoluteTime(v)
				if !valid {
					bad = true
				}
				if a.expires.IsZero() || t.Before(a.expires) {
					a.expires = t
				}
			}
			if seen[name] && (name == "command" || name == "principals" || name == "from") {
				bad = true
			}
			seen[name] = true
		}
		if bad {
			return a, authority, false
		}
		if opts == "" {
			break
		}
		if opts[0] != ',' {
			return a, authority, false
		}
		opts = opts[1:]
	}
	return a, authority, true
}

func parseAbsoluteTime(s string) (time.Time, bool) {
	where := time.Local
	if l := len(s); l > 1 && strings.EqualFold(s[l-1:], "Z") {
		s, where = s[:l-1], time.UTC
	} else if l > 3 && strings.EqualFold(s[l-3:], "UTC") {
		s, where = s[:l-3], time.UTC
	}
	if len(s) != 8 && len(s) != 12 && len(s) != 14 {
		return time.Time{}, false
	}
	s += "000000"[:14-len(s)]
	// strptime: %Y, %m, %d, %H, %M, %S, each after white space.
	var field [6]int
	for i, at := range []int{0, 4, 6, 8, 10, 12} {
		text := strings.TrimLeft(s[at:at+2], " \t\v\f")
		if i == 0 {
			text = strings.TrimLeft(s[:4], " \t\v\f")
		}
		for _, digit := range text {
			if digit < '0' || digit > '9' {
				return time.Time{}, false
			}
			field[i] = 10*field[i] + int(digit-'0')
		}
		if text == "" || field[i] < []int{0, 1, 1, 0, 0, 0}[i] || field[i] > []int{9999, 12, 31, 23, 59, 61}[i] {
			return time.Time{}, false
		}
	}
	t := time.Date(field[0], time.Month(field[1]), field[2], field[3], field[4], field[5], 0,
		where) // as timegm, which carries over
	return t, t.Unix() > 0
}

// gives reports whether the file gives the key the role at now.
func gives(t testing.TB, file []byte, principal, roleName string, now time.Time) bool {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(principal))
	if err != nil {
		t.Fatal(err)
	}
	a, ok := admit(file, key, now)
	if !ok {
		return false
	}
	unrestricted := !a.forced && !a.restricted
	switch {
	case roleName == "login":
		return unrestricted
	case strings.HasPrefix(roleName, "command:"):
		return unrestricted || a.forced && a.command == strings.TrimPrefix(roleName, "command:")
	default:
		return unrestricted || a.forwarding && len(a.permitOpen) == 1 && "port-forward:"+a.permitOpen[0] == roleName
	}
}

// TestModelDecidesAsSSHD holds the model to the words of sshd(8).
func TestModelDecidesAsSSHD(t *testing.T) {
	end := time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	tests := []struct {
		name, file string
		at         time.Time
		line       int // 0: refused
	}{
		{"plain", alice + "\n", end, 1},
		{"no line feed at the end", "# a\n\n\t" + alice, end, 3},
		{"comment", "#" + alice + "\n", end, 0},
		{"another key", bob + "\n", end, 0},
		{"before the end", `expiry-time="20261123175959Z" ` + alice, end.Add(-time.Second), 1},
		{"the last second is inside", `expiry-time="20261123180000Z" ` + alice, end, 1},
		{"after it", `expiry-time="20261123175959Z" ` + alice, end, 0},
		{"the earliest of two", `expiry-time="20271123175959Z",expiry-time="20261123175959Z" ` + alice, end, 0},
		{"an unreadable time refuses", `expiry-time="soon" ` + alice, end, 0},
		{"an unknown option refuses", `sudo ` + alice, end, 0},
		{"the first line that admits counts",
			`expiry-time="20200101Z" ` + alice + "\n" + bob + "\n" + `command="x" ` + alice + "\n" + alice, end, 3},
		{"an authority is no key", "cert-authority " + alice, end, 0},
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(alice))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		if a, ok := admit([]byte(tt.file), key, tt.at); a.line != tt.line || ok != (tt.line > 0) {
			t.Errorf("%s: let in by line %d (%t), want %d", tt.name, a.line, ok, tt.line)
		}
	}
}
