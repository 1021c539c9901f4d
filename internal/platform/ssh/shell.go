package ssh

import (
	"path"
	"slices"
	"strings"
)

// shellCharacters have a meaning for the account's shell, which runs a forced command.
const shellCharacters = ";|&$`<>(){}[]*?!~#\"'\\"

// shells run their input as commands.
var shells = names("sh bash dash ash zsh ksh mksh csh tcsh fish rbash rksh pwsh " +
	"python perl ruby node lua php tclsh irb")

// escapes let their user start a shell.
var escapes = names("su runuser ssh login screen tmux script eval source . chroot nsenter unshare " +
	"vi vim nvim view ex ed emacs less more man gdb")

func names(list string) map[string]bool {
	all := map[string]bool{}
	for name := range strings.FieldsSeq(list) {
		all[name] = true
	}
	return all
}

var unquote = strings.NewReplacer(`'`, "", `"`, "", `\`, "")

// simpleCommands splits a command roughly as a shell would: quotes are dropped, and every operator and bracket ends a
// command. Paths are cleaned, so that each program has one name.
func simpleCommands(command string) [][]string {
	var all [][]string
	for _, simple := range strings.FieldsFunc(unquote.Replace(command),
		func(r rune) bool { return strings.ContainsRune(";|&`<>(){}!", r) }) {
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

// startsShell reports whether a command seems to start a shell, which is as much as a login. It cannot tell from its
// name what a program does by itself.
func startsShell(command string) bool {
	if strings.ContainsAny(command, "$`") {
		return true // the text is known only when it runs
	}
	// The value of an option, as in --rsh=bash, is a word of its own.
	for _, words := range simpleCommands(strings.ReplaceAll(command, "=", " ")) {
		for i, w := range words {
			if isShell(w, words[i+1:]) {
				return true
			}
		}
	}
	return false
}

// isShell reports whether a word of a command is a program that gives a shell, with the words after it.
func isShell(word string, rest []string) bool {
	base := path.Base(word)
	program := strings.TrimRight(strings.ToLower(base), "0123456789.-")
	switch {
	case word == ".", escapes[program]:
		return true
	case program == "sudo", program == "doas":
		return asksForShell(rest)
	case program == "machinectl":
		return slices.Contains(rest, "shell") || slices.Contains(rest, "login")
	case strings.HasPrefix(word, "-") && !strings.HasPrefix(word, "--"):
		return stuckShell(word)
	case strings.ContainsAny(base, "*?["):
		return matchesShell(base)
	}
	return shells[program] && !runsScript(rest)
}

// runsScript reports whether the first argument of a shell is a file by its full path, which it runs.
func runsScript(arguments []string) bool {
	return len(arguments) > 0 && strings.HasPrefix(arguments[0], "/") &&
		!strings.HasPrefix(arguments[0], "/dev/") && !strings.HasPrefix(arguments[0], "/proc/")
}

// asksForShell reports whether the options of sudo or doas, which come before the command, ask for a shell.
func asksForShell(words []string) bool {
	if len(words) == 0 || !strings.HasPrefix(words[0], "-") || words[0] == "--" {
		return false
	}
	option, rest := words[0], words[1:]
	if long, ok := strings.CutPrefix(option, "--"); ok {
		return longOption(long, rest)
	}
	asks, takesNext := shortOptions(option[1:])
	if takesNext && len(rest) > 0 {
		rest = rest[1:]
	}
	return asks || asksForShell(rest)
}

// longOption is [asksForShell] for an option with a name, which may be cut short, and the words after it.
func longOption(name string, rest []string) bool {
	if strings.HasPrefix("login", name) || strings.HasPrefix("shell", name) {
		return true
	}
	value := len(rest) > 0 && !strings.HasPrefix(rest[0], "-") // the next word may be its value
	return value && asksForShell(rest[1:]) || asksForShell(rest)
}

// withValue holds the options of sudo and doas that take a value, in the same word or the next.
const withValue = "aCcDghpRrTtUu"

// shortOptions reports whether options of one letter ask for a shell, and whether the next word is a value of theirs.
func shortOptions(letters string) (asks, takesNext bool) {
	for i, option := range letters {
		if option == 'i' || option == 's' {
			return true, false
		}
		if strings.ContainsRune(withValue, option) {
			return false, i == len(letters)-1
		}
	}
	return false, false
}

// stuckShell reports whether a shell is stuck to an option of one letter, as in env -Sbash, or flock -cbash.
func stuckShell(word string) bool {
	return len(word) > 2 && (shells[path.Base(word[2:])] || escapes[path.Base(word[2:])])
}

// matchesShell reports whether a pattern of the shell may match one of the programs.
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
