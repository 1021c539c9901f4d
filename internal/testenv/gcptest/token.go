package gcptest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Admit makes the server accept only requests with one of these tokens or with an issued one.
func (s *Server) Admit(tokens ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = map[string]bool{}
	for _, token := range tokens {
		s.tokens[token] = true
	}
}

// NeedQuotaProject makes the server refuse requests that do not name this project as the one whose quota they use, as
// the service does for a user's credentials (https://cloud.google.com/docs/authentication/troubleshoot-adc).
func (s *Server) NeedQuotaProject(project string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.payer = project
}

// MayImpersonate makes service accounts that every admitted caller can act as.
func (s *Server) MayImpersonate(addresses ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range addresses {
		s.accountID[a] = true
	}
}

// KeyFile writes a new key of a service account into a file and returns its path. Only the newest key yields tokens.
func (s *Server) KeyFile(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"quota_project_id": s.payer, "type": "service_account", "project_id": "test", "private_key_id": "1",
		"client_email": "key@test.iam.gserviceaccount.com", "client_id": "1", "token_uri": s.URL + "/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// authenticate issues tokens and refuses requests without one. It reports whether it has answered.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path == "/token" {
		s.exchange(w, r)
		return true
	}
	s.mu.Lock()
	in := s.tokens == nil || s.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	unpaid := s.payer != "" && r.Header.Get("X-Goog-User-Project") != s.payer
	s.mu.Unlock()
	if !in {
		s.answer(w, parse(r), nil,
			refuse(http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials."))
		return true
	}
	if unpaid {
		s.answer(w, parse(r), nil, refuse(http.StatusForbidden, "PERMISSION_DENIED",
			"Your application is authenticating by using local Application Default Credentials. "+
				"The cloudresourcemanager.googleapis.com API requires a quota project, which is not set by default."))
		return true
	}
	address := strings.TrimPrefix(r.URL.Path, "/v1/projects/-/serviceAccounts/")
	address, impersonates := strings.CutSuffix(address, ":generateAccessToken")
	if impersonates {
		s.impersonate(w, address)
	}
	return impersonates
}

// impersonate issues a token of another service account.
func (s *Server) impersonate(w http.ResponseWriter, address string) {
	s.mu.Lock()
	may := s.accountID[address]
	s.mu.Unlock()
	if !may {
		s.answer(w, Request{}, nil, refuse(http.StatusForbidden, "PERMISSION_DENIED",
			"Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."))
		return
	}
	expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	s.answer(w, Request{}, map[string]string{"accessToken": s.issue(), "expireTime": expires}, nil)
}

// issue makes a valid token.
func (s *Server) issue() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := rand.Text()
	if s.tokens != nil {
		s.tokens[token] = true
	}
	return token
}

// exchange issues a token for a signed assertion (RFC 7523).
func (s *Server) exchange(w http.ResponseWriter, r *http.Request) {
	head, claims, signature := "", "", ""
	if parts := strings.Split(r.FormValue("assertion"), "."); len(parts) == 3 {
		head, claims, signature = parts[0], parts[1], parts[2]
	}
	sum := sha256.Sum256([]byte(head + "." + claims))
	signed, err := base64.RawURLEncoding.DecodeString(signature)
	s.mu.Lock()
	k := s.key
	s.mu.Unlock()
	if err != nil || k == nil || rsa.VerifyPKCS1v15(&k.PublicKey, crypto.SHA256, sum[:], signed) != nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(
			map[string]string{"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
		return
	}
	s.answer(w, Request{}, map[string]any{"access_token": s.issue(), "token_type": "Bearer", "expires_in": 3600}, nil)
}
