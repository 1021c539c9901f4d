package ssh

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Given returns what else a login permits, which commands are in a command, whether it starts a shell, and the other
// spellings of a destination. It makes no call.
func (p *Platform) Given(_ context.Context, b jit.Binding, _ bool) (jit.Given, error) {
	g := jit.AsWritten(b)
	r, err := parseRole(b.Role)
	if err != nil {
		return g, err
	}
	if path, err := p.path(b.Scope); err == nil && path != b.Scope {
		g.Scope.IDs = []string{path}
	}
	switch {
	case r.command != "":
		g.Role = commandNames(r.command)
	case r.forward != "":
		g.Role = forwardNames(r.forward)
	default:
		g.Role.Covers = []string{commandPrefix + "*", forwardPrefix + "*"}
	}
	return g, nil
}

// maxWords is the longest command that is analysed, in words; a longer one may give anything.
const maxWords = 100

// commandNames returns what a command gives.
func commandNames(command string) jit.Named {
	n := jit.Named{Name: commandPrefix + command, Within: []string{login}}
	if strings.ContainsAny(command, shellCharacters) || strings.Contains(command, "..") {
		n.Guard = `a shell gives a meaning to some of its characters, or it has ".." in it`
	}
	if len(strings.Fields(command)) > maxWords {
		n.Covers = []string{commandPrefix + "*", login}
		return n
	}
	for _, words := range simpleCommands(command) {
		for i := range words { // what follows exec, env, nice and the like
			n.Covers = append(n.Covers, commandPrefix+strings.Join(words[i:], " "))
		}
	}
	if startsShell(command) {
		n.Covers = append(n.Covers, login)
		n.Guard = cmp.Or(n.Guard, "it may start a shell")
	}
	return n
}

// forwardNames returns the spellings of a destination: host names are case-insensitive, and an address has several
// forms.
func forwardNames(destination string) jit.Named {
	host, port, err := net.SplitHostPort(strings.ToLower(destination))
	if err != nil {
		return jit.Named{Name: forwardPrefix + destination}
	}
	name := func(host string) string { return forwardPrefix + net.JoinHostPort(host, port) }
	ip, ok := address(host)
	if ok {
		host = ip.String()
	}
	n := jit.Named{Name: name(host)}
	if written := forwardPrefix + destination; written != n.Name {
		n.IDs = []string{written}
	}
	if ip.IsLoopback() || ip.IsUnspecified() || strings.HasSuffix("."+host, ".localhost") {
		n.Covers = []string{name("localhost"), name("127.0.0.1"), name("::1")}
	}
	return n
}

// address reads a host as an address in any form that inet_aton takes: 127.1, 0x7f000001, 2130706433.
func address(host string) (netip.Addr, bool) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().WithZone(""), true
	}
	value, ok := parseNumbers(strings.Split(host, "."))
	if !ok {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), true
}

// parseNumbers reads up to four numbers of one byte each; the last one fills the rest of four bytes.
func parseNumbers(parts []string) (value uint64, ok bool) {
	last := len(parts) - 1
	for i, part := range parts {
		width := 8
		if i == last {
			width = 8 * (4 - last)
		}
		n, err := parseNumber(part)
		if last > 3 || err != nil || n >= 1<<width {
			return 0, false
		}
		value = value<<width | n
	}
	return value, true
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
