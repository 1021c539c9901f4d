package status

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guard lets through who may look.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.Access.Token == "" && s.Access.ProxyHeader == "":
			// Only loopback is listened on. A page elsewhere may have its name point here: then the request names that host.
			if !localHost(r.Host) {
				http.Error(w, "this is not the name of this server", http.StatusMisdirectedRequest)
				return
			}
		case s.bearer(r), s.byProxy(r):
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="jit"`)
			http.Error(w, "a bearer token is needed", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func localHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	return loopback(strings.Trim(name, "[]"))
}

// bearer reports whether the request bears the token.
func (s *Server) bearer(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && s.Access.Token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(s.Access.Token)) == 1
}

// byProxy reports whether one of the proxies has told who asks.
func (s *Server) byProxy(r *http.Request) bool {
	if s.Access.ProxyHeader == "" || strings.TrimSpace(r.Header.Get(s.Access.ProxyHeader)) == "" {
		return false
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	for _, proxy := range s.Access.Proxies {
		if proxy.Contains(from.Addr().Unmap()) {
			return true
		}
	}
	return false
}
