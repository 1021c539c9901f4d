package ssh

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// shellCharacters are those that the shell of the account, which runs a forced command, gives a meaning to.
const shellCharacters = ";|&$`<>(){}[]*?!~#\"'\\"

// shells run what their input says.
var shells = names("sh bash dash ash zsh ksh mksh csh tcsh fish rbash rksh pwsh python perl ruby node lua php tclsh irb")

// escapes let their user start a shell from within.
var escapes = names("su runuser ssh login screen tmux script eval source . vi vim nvim view ex ed emacs less more man gdb chroot nsenter unshare")

func names(list string) map[string]bool {
	all := map[string]bool{}
	for _, name := range strings.Fields(list) {
		all[name] = true
	}
	return all
}

// simpleCommands splits a command as a shell would, roughly: quotes are dropped, and every operator and bracket ends a
// command. Paths are cleaned, so that one program has one name.
func simpleCommands(command string) [][]string {
	command = strings.NewReplacer(`'`, "", `"`, "", `\`, "").Replace(command)
	var all [][]string
	for _, simple := range strings.FieldsFunc(command, func(r rune) bool { return strings.ContainsRune(";|&`<>(){}!", r) }) {
		words := strings.Fields(simple)
		for i, w := range words {
			if strings.Contains(w, "/") {
				words[i] = path.Clean(w)
			}
		}
		if len(words) > 0 {
			all = append(all, words)
		}
	}
	return all
}

// startsShell reports whether a command seems to start a shell, which is as much as a login. What a program does by
// itself cannot be told from its name.
func startsShell(command string) bool {
	if strings.ContainsAny(command, "$`") {
		return true // what stands there is known when it runs only
	}
	// What an option names, as in --rsh=bash, is a word of its own.
	for _, words := range simpleCommands(strings.ReplaceAll(command, "=", " ")) {
		for i, w := range words {
			if isShell(w, words[i+1:]) {
				return true
			}
		}
	}
	return false
}

// isShell reports whether a word of a command is a program that gives a shell, with what follows it. A shell that is
// handed a file by its full path runs that.
func isShell(word string, rest []string) bool {
	base := path.Base(word)
	program := strings.TrimRight(strings.ToLower(base), "0123456789.-")
	switch {
	case word == ".", escapes[program]:
		return true
	case program == "sudo" || program == "doas":
		return asksForShell(rest)
	case program == "machinectl":
		return slices.Contains(rest, "shell") || slices.Contains(rest, "login")
	case strings.HasPrefix(word, "-") && !strings.HasPrefix(word, "--"):
		return stuckShell(word)
	case strings.ContainsAny(base, "*?["):
		return matchesShell(base)
	case !shells[program]:
		return false
	}
	script := len(rest) > 0 && strings.HasPrefix(rest[0], "/") && !strings.HasPrefix(rest[0], "/dev/") && !strings.HasPrefix(rest[0], "/proc/")
	return !script
}

// withValue are the options of sudo and doas that take a value, which may stand apart from them.
const withValue = "aCcDghpRrTtUu"

// asksForShell reports whether the options of sudo or doas, which come before the command, ask for a shell.
func asksForShell(words []string) bool {
	for i := 0; i < len(words) && strings.HasPrefix(words[i], "-") && words[i] != "--"; i++ {
		if long, ok := strings.CutPrefix(words[i], "--"); ok {
			if long != "" && (strings.HasPrefix("login", long) || strings.HasPrefix("shell", long)) {
				return true
			}
			if i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
				return asksForShell(words[i+2:]) || asksForShell(words[i+1:]) // the next word may be its value
			}
			continue
		}
		for at, option := range words[i][1:] {
			if option == 'i' || option == 's' {
				return true
			}
			if strings.ContainsRune(withValue, option) {
				if at == len(words[i])-2 {
					i++ // the value is the next word
				}
				break
			}
		}
	}
	return false
}

// stuckShell reports whether a shell is stuck to an option of one letter, as in env -Sbash, or flock -cbash.
func stuckShell(word string) bool {
	return len(word) > 2 && (shells[path.Base(word[2:])] || escapes[path.Base(word[2:])])
}

// matchesShell reports whether a pattern of the shell's may stand for one of the programs.
func matchesShell(pattern string) bool {
	for _, programs := range []map[string]bool{shells, escapes} {
		for name := range programs {
			if ok, err := path.Match(pattern, name); ok || err != nil {
				return true
			}
		}
	}
	return false
}

// parseNumber reads a number as inet_aton does: decimal, octal after 0, hexadecimal after 0x.
func parseNumber(s string) (uint64, error) {
	if rest, ok := strings.CutPrefix(s, "0x"); ok {
		return strconv.ParseUint(rest, 16, 32)
	}
	if len(s) > 1 && s[0] == '0' {
		return strconv.ParseUint(s[1:], 8, 32)
	}
	return strconv.ParseUint(s, 10, 32)
}
