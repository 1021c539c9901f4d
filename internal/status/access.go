package status

import (
	"cmp"
	"context"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Access says where the server listens and who may read the page and the metrics.
type Access struct {
	// Listen is an address such as "127.0.0.1:8085" or "localhost:8085". ":8085" is loopback, too; "0.0.0.0:8085" is
	// every interface.
	Listen string
	// Token, if set, lets in requests with the header Authorization: Bearer <token>. It is a secret.
	Token string
	// ProxyHeader, if set, lets in requests from one of Proxies that have this header. The proxy authenticates the
	// user.
	ProxyHeader string
	Proxies     []netip.Prefix
}

// minToken is the shortest token, in characters.
const minToken = 16

// Check returns the address to listen on. It refuses settings that would let everybody in, or nobody.
func (a Access) Check() (address string, err error) {
	host, port, err := net.SplitHostPort(a.Listen)
	if err == nil {
		_, err = net.DefaultResolver.LookupPort(context.Background(), "tcp", port) // reads a local file at most
	}
	if err != nil {
		return "", jit.Invalid("listen", `write for example listen = "127.0.0.1:8085"`,
			"%q is not an address with a port", a.Listen)
	}
	host = cmp.Or(host, "127.0.0.1")
	if problem := tokenProblem(a.Token); problem != "" {
		return "", jit.Invalid("listen_token", "make one with: openssl rand -hex 32", "%s", problem)
	}
	if a.ProxyHeader != "" && len(a.Proxies) == 0 {
		return "", jit.Invalid("listen_proxy",
			`write for example listen_proxy = { header = "X-Forwarded-User", from = ["10.0.0.7/32"] }`,
			"anybody could set the header %q; name the addresses of the proxies that may set it", a.ProxyHeader)
	}
	if a.open() && !jit.Loopback(host) {
		return "", jit.Invalid("listen", `listen on 127.0.0.1, or set listen_token or listen_proxy`,
			"%s can be reached from other machines, and anybody could read who has access to what", a.Listen)
	}
	return net.JoinHostPort(host, port), nil
}

// tokenProblem says why a token cannot be used. No token at all is no problem. The text does not contain the token.
func tokenProblem(token string) string {
	switch {
	case token == "":
		return ""
	case len(token) < minToken:
		return fmt.Sprintf("the token has %d characters; it needs at least %d", len(token), minToken)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "the token has a character that a header cannot contain"
	}
	return ""
}

// open reports whether requests need no credential.
func (a Access) open() bool { return a.Token == "" && a.ProxyHeader == "" }

// guard passes on the requests that are allowed.
func (a Access) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case a.open() && !localHost(r.Host):
			// The server listens on loopback only. A web page elsewhere can point its own name at it: the browser then
			// sends that name.
			http.Error(w, "this is not the name of this server", http.StatusMisdirectedRequest)
		case a.open(), a.bearsToken(r), a.fromProxy(r):
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="jit"`)
			http.Error(w, "a bearer token is needed", http.StatusUnauthorized)
		}
	})
}

// localHost reports whether a Host header names this machine.
func localHost(name string) bool {
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	return jit.Loopback(strings.Trim(name, "[]"))
}

func (a Access) bearsToken(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && a.Token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(a.Token)) == 1
}

// fromProxy reports whether one of the proxies sent the request and has authenticated the user.
func (a Access) fromProxy(r *http.Request) bool {
	if a.ProxyHeader == "" || strings.TrimSpace(r.Header.Get(a.ProxyHeader)) == "" {
		return false
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	sent := func(proxy netip.Prefix) bool { return proxy.Contains(from.Addr().Unmap()) }
	return err == nil && slices.ContainsFunc(a.Proxies, sent)
}
