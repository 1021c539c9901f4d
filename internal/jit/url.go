package jit

import (
	"net"
	"net/url"
	"strings"
)

// CheckURL parses the address of a server that is sent credentials: https:// or http://, a host, and perhaps a port and
// a path. It refuses http:// to another host than this one. Its errors do not quote the text, because a URL that cannot
// be parsed, or has an @ in its host or path, may contain a password anywhere.
func CheckURL(attribute, hint, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, Invalid(attribute, hint, "it is not the URL of a server")
	case Misplaced(text):
		return nil, Invalid(attribute, hint, "the URL has an @ outside of its user")
	case u.User != nil:
		return nil, Invalid(attribute, hint, "the URL of %s has a user in it", u.Host)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, Invalid(attribute, hint, "the URL of %s has a query or a fragment", u.Host)
	case u.Scheme == "http" && !Loopback(u.Hostname()):
		return nil, Invalid(attribute, hint, "http://%s would send credentials unencrypted", u.Host)
	}
	return u, nil
}

// Misplaced reports whether a URL has an @ that does not end its user and password. Programs disagree about what is the
// host then, and take a part of the password for it.
func Misplaced(text string) bool {
	u, err := url.Parse(text)
	n := strings.Count(text, "@")
	return err == nil && (n > 1 || n == 1 && u.User == nil)
}

// Loopback reports whether a host is this machine.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
